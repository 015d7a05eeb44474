"""The official google-genai package: contents, counting, embedding and errors."""

import pydantic
from google import genai
from google.genai import errors, types

from checks import ASK, BASE, CITY, HELLO, INPUT, KEY, OTHERS, OWN, RESULT, check, done, everywhere, raises, same, versions

versions("google-genai")


def of(key):
    # One attempt: a script counts on being asked once.
    return genai.Client(api_key=key, http_options=types.HttpOptions(
        base_url=BASE, retry_options=types.HttpRetryOptions(attempts=1)))


client = of(KEY)
weather = types.Tool(function_declarations=[
    types.FunctionDeclaration(name="weather", description="Tells the weather", parameters_json_schema=CITY)])


class Found(pydantic.BaseModel):
    city: str


def plain(model):
    answer = client.models.generate_content(model=model, contents=HELLO)
    usage = answer.usage_metadata
    same("the total", usage.total_token_count, usage.prompt_token_count + usage.candidates_token_count)
    check("an id and a model", answer.response_id and answer.model_version, answer)
    return answer.text, answer.candidates[0].finish_reason.value, usage.prompt_token_count, usage.candidates_token_count


def stream(model):
    text, finish, usage, pieces = "", None, None, 0
    for chunk in client.models.generate_content_stream(model=model, contents=HELLO):
        text += chunk.text or ""
        pieces += bool(chunk.text)
        usage = chunk.usage_metadata or usage
        if chunk.candidates and chunk.candidates[0].finish_reason:
            finish = chunk.candidates[0].finish_reason.value
    return text, finish, usage.prompt_token_count, usage.candidates_token_count, pieces


def config(**more):
    return types.GenerateContentConfig(
        tools=[weather], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True), **more)


def tool(model):
    turns = [types.Content(role="user", parts=[types.Part(text=ASK)])]
    answer = client.models.generate_content(model=model, contents=turns, config=config())
    [call] = answer.function_calls
    result = types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": RESULT}))
    turns += [answer.candidates[0].content, types.Content(role="user", parts=[result])]
    more = client.models.generate_content(model=model, contents=turns, config=config())
    same("no second call", more.function_calls, None)
    return call.name, call.args, more.text


def tool_stream(model):
    mode = "AUTO" if model == OTHERS["ollama"] else "ANY"
    choice = types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode=mode))
    chunks = list(client.models.generate_content_stream(model=model, contents=ASK, config=config(tool_config=choice)))
    [call] = [call for chunk in chunks for call in chunk.function_calls or []]
    return call.name, call.args


def schema(model):
    answer = client.models.generate_content(model=model, contents=HELLO, config=types.GenerateContentConfig(
        response_mime_type="application/json", response_schema=Found))
    check("the package parses it", isinstance(answer.parsed, Found), answer.text)
    return answer.parsed.model_dump()


def json_schema(model):
    answer = client.models.generate_content(model=model, contents=HELLO, config=types.GenerateContentConfig(
        response_mime_type="application/json", response_json_schema=CITY))
    return answer.parsed


MODELS = [OWN, *OTHERS.values()]
everywhere("generateContent", MODELS, plain, stream, tool, tool_stream, schema)
everywhere("generateContent, JSON schema", MODELS, structured=json_schema)

chat = client.chats.create(model=OTHERS["openai"])
chat.send_message("First")
check("a chat keeps its turns", chat.send_message(HELLO).text.startswith("sim: Hello") and len(chat.get_history()) == 4)

for model in [OWN, OTHERS["gemini"], OTHERS["anthropic"]]:
    answer = client.models.generate_content(model=model, contents=HELLO, config=types.GenerateContentConfig(
        thinking_config=types.ThinkingConfig(thinking_budget=1024, include_thoughts=True), max_output_tokens=4000))
    thoughts = [part.text for part in answer.candidates[0].content.parts if part.thought]
    same(f"thoughts at {model}", thoughts, ["sim thinks of this"])
    check(f"thoughts of {model} are counted", answer.usage_metadata.thoughts_token_count or model == OTHERS["anthropic"], answer.usage_metadata)

same("tokens are counted", client.models.count_tokens(model=OWN, contents=HELLO).total_tokens, INPUT)
vectors = client.models.embed_content(model="sim/sim-embed", contents=["one", "two"]).embeddings
check("embeddings", len(vectors) == 2 and len(vectors[0].values) == 64 and vectors[0].values != vectors[1].values)

code = lambda error: error.code
wrong = of("tg_wrong")
raises("a wrong key", errors.ClientError, 401, lambda: wrong.models.generate_content(model=OWN, contents=HELLO), code)
error = raises("an unknown model", errors.ClientError, 404, lambda: client.models.generate_content(model="sim-2", contents=HELLO), code)
check("the error says what to do", "did you mean" in error.message and error.status == "NOT_FOUND", error)
NATIVE = [OWN, OTHERS["gemini"]]
for model in MODELS:
    for script, kind, status in [
        ("status=429", errors.ClientError, (429, 429)),
        ("error=context", errors.ClientError, (400, 400)),
        ("status=500", errors.ServerError, (500, 502)),
    ]:
        raises(f"{script} at {model}", kind, status[model not in NATIVE], lambda: client.models.generate_content(
            model=f"{model};{script}", contents=HELLO), code)
    for script in ("cut=3", "error_at=3"):
        error = raises(f"{script} at {model}", errors.APIError, None, lambda: list(client.models.generate_content_stream(
            model=f"{model};{script}", contents=HELLO)), lambda error: None)
        check("it says what happened", "broke off" in str(error) or "told to fail" in str(error), error)
done()
