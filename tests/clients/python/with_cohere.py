"""The official cohere package, version 2 of its interface: chat, embeddings and errors."""

import json

import cohere
from cohere.core.api_error import ApiError

from checks import ASK, BASE, CITY, HELLO, KEY, OTHERS, OWN, RESULT, check, done, everywhere, raises, same, versions

versions("cohere")
client = cohere.ClientV2(api_key=KEY, base_url=BASE)
once = {"max_retries": 0}
hello = [{"role": "user", "content": HELLO}]
weather = [{"type": "function", "function": {"name": "weather", "description": "Tells the weather", "parameters": CITY}}]


def tokens(usage):
    return int(usage.tokens.input_tokens), int(usage.tokens.output_tokens)


def plain(model):
    answer = client.chat(model=model, messages=hello)
    check("an id", answer.id and answer.message.role == "assistant", answer)
    [block] = answer.message.content
    return block.text, answer.finish_reason, *tokens(answer.usage)


def stream(model):
    texts, last = [], None
    for event in client.chat_stream(model=model, messages=hello):
        if event.type == "content-delta":
            texts.append(event.delta.message.content.text)
        last = event
    same("the last event", last.type, "message-end")
    return "".join(texts), last.delta.finish_reason, *tokens(last.delta.usage), len(texts)


def tool(model):
    turns = [{"role": "user", "content": ASK}]
    answer = client.chat(model=model, messages=turns, tools=weather)
    same("it ended for its call", answer.finish_reason, "TOOL_CALL")
    [call] = answer.message.tool_calls
    turns += [answer.message, {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
    more = client.chat(model=model, messages=turns, tools=weather)
    return call.function.name, json.loads(call.function.arguments), more.message.content[0].text


def tool_stream(model):
    name, pieces = None, []
    for event in client.chat_stream(model=model, messages=[{"role": "user", "content": ASK}], tools=weather):
        if event.type == "tool-call-start":
            name = event.delta.message.tool_calls.function.name
            pieces.append(event.delta.message.tool_calls.function.arguments or "")
        if event.type == "tool-call-delta":
            pieces.append(event.delta.message.tool_calls.function.arguments)
    return name, json.loads("".join(pieces))


def schema(model):
    answer = client.chat(model=model, messages=hello, response_format={"type": "json_object", "json_schema": CITY})
    return json.loads(answer.message.content[0].text)


MODELS = [OWN, *OTHERS.values()]
everywhere("chat", MODELS, plain, stream, tool, tool_stream, schema)

embedded = client.embed(model="sim/sim-embed", texts=["one", "two"], input_type="search_document", embedding_types=["float"])
check("embeddings", len(embedded.embeddings.float_) == 2 and len(embedded.embeddings.float_[0]) == 64, embedded)

wrong = cohere.ClientV2(api_key="tg_wrong", base_url=BASE)
raises("a wrong key", cohere.UnauthorizedError, 401, lambda: wrong.chat(model=OWN, messages=hello, request_options=once))
raises("an unknown model", cohere.NotFoundError, 404, lambda: client.chat(model="sim-2", messages=hello, request_options=once))
for model in MODELS:
    raises(f"a rate limit at {model}", cohere.TooManyRequestsError, 429, lambda: client.chat(
        model=f"{model}?status=429", messages=hello, request_options=once))
    raises(f"too long a prompt at {model}", cohere.BadRequestError, 400, lambda: client.chat(
        model=f"{model}?error=context", messages=hello, request_options=once))
    last = list(client.chat_stream(model=f"{model}?error_at=3", messages=hello))[-1]
    same(f"a failure on the way at {model} is the last event", (last.type, last.delta.finish_reason), ("message-end", "ERROR"))
done()
