"""instructor: answers as objects, by tools, by JSON and by schema."""

import instructor
import openai
import pydantic

from checks import BASE, FOUND, HELLO, KEY, OTHERS, OWN, check, done, everywhere, raises, versions

versions("instructor", "openai")
client = openai.OpenAI(base_url=f"{BASE}/v1", api_key=KEY, max_retries=0)
hello = [{"role": "user", "content": HELLO}]


class Found(pydantic.BaseModel):
    city: str


def asked(mode):
    patched = instructor.from_openai(client, mode=mode)
    return lambda model: patched.chat.completions.create(
        model=model, messages=hello, response_model=Found, max_retries=0).model_dump()


MODELS = [OWN, *OTHERS.values()]
for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    everywhere(f"instructor, {mode.value}", MODELS, structured=asked(mode))
done()
