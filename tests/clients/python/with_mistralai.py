"""The official mistralai package: chat and errors. It speaks OpenAI's chat with words of its own.

No calls in streams: the package wants the tool's name in every piece, and OpenAI's dialect tells it in the first only.
"""

import json

try:
    from mistralai.client import Mistral
    from mistralai.client.errors import SDKError
except ImportError:
    from mistralai import Mistral
    from mistralai.models import SDKError

from checks import ASK, BASE, CITY, HELLO, KEY, OTHERS, OWN, RESULT, done, everywhere, raises, versions

versions("mistralai")
client = Mistral(api_key=KEY, server_url=BASE)
hello = [{"role": "user", "content": HELLO}]
weather = [{"type": "function", "function": {"name": "weather", "description": "Tells the weather", "parameters": CITY}}]


def plain(model):
    answer = client.chat.complete(model=model, messages=hello)
    choice, usage = answer.choices[0], answer.usage
    return choice.message.content, choice.finish_reason, usage.prompt_tokens, usage.completion_tokens


def stream(model):
    texts, finish = [], None
    for event in client.chat.stream(model=model, messages=hello):
        for choice in event.data.choices:
            texts += [choice.delta.content] if choice.delta.content else []
            finish = choice.finish_reason or finish
    return "".join(texts), finish, len(texts)


def tool(model):
    turns = [{"role": "user", "content": ASK}]
    answer = client.chat.complete(model=model, messages=turns, tools=weather)
    message = answer.choices[0].message
    [call] = message.tool_calls
    turns += [message, {"role": "tool", "tool_call_id": call.id, "name": "weather", "content": RESULT}]
    more = client.chat.complete(model=model, messages=turns, tools=weather)
    return call.function.name, json.loads(call.function.arguments), more.choices[0].message.content


def schema(model):
    answer = client.chat.complete(model=model, messages=hello, response_format={
        "type": "json_schema", "json_schema": {"name": "found", "schema": CITY, "strict": True}})
    return json.loads(answer.choices[0].message.content)


MODELS = [OWN, "as_mistral/sim-1", *OTHERS.values()]
everywhere("chat", MODELS, plain, tools=tool, structured=schema)
# The package cannot ask for the usage of a stream: Mistral tells it unasked.
everywhere("chat", MODELS, stream=stream, usage=False)
wrong = Mistral(api_key="tg_wrong", server_url=BASE)
raises("a wrong key", SDKError, 401, lambda: wrong.chat.complete(model=OWN, messages=hello))
raises("an unknown model", SDKError, 404, lambda: client.chat.complete(model="sim-2", messages=hello))
for model in MODELS:
    raises(f"a rate limit at {model}", SDKError, 429, lambda: client.chat.complete(model=f"{model}?status=429", messages=hello))
done()
