"""The official ollama package: chat and errors."""

import json

import ollama

from checks import ASK, BASE, CITY, HELLO, KEY, OTHERS, OWN, RESULT, check, done, everywhere, raises, same, versions

versions("ollama")


def of(key):
    return ollama.Client(host=BASE, headers={"authorization": f"Bearer {key}"})


client = of(KEY)
hello = [{"role": "user", "content": HELLO}]
weather = [{"type": "function", "function": {"name": "weather", "description": "Tells the weather", "parameters": CITY}}]


def plain(model):
    answer = client.chat(model=model, messages=hello)
    check("it is done", answer.done and answer.created_at and answer.message.role == "assistant", answer)
    return answer.message.content, answer.done_reason, answer.prompt_eval_count, answer.eval_count


def stream(model):
    parts = list(client.chat(model=model, messages=hello, stream=True))
    texts = [part.message.content for part in parts if part.message.content]
    last = parts[-1]
    check("only the last is done", last.done and not any(part.done for part in parts[:-1]), parts)
    return "".join(texts), last.done_reason, last.prompt_eval_count, last.eval_count, len(texts)


def tool(model):
    turns = [{"role": "user", "content": ASK}]
    answer = client.chat(model=model, messages=turns, tools=weather)
    [call] = answer.message.tool_calls
    turns += [answer.message, {"role": "tool", "tool_name": "weather", "content": RESULT}]
    more = client.chat(model=model, messages=turns, tools=weather)
    return call.function.name, dict(call.function.arguments), more.message.content


def tool_stream(model):
    parts = list(client.chat(model=model, messages=[{"role": "user", "content": ASK}], tools=weather, stream=True))
    [call] = [call for part in parts for call in part.message.tool_calls or []]
    return call.function.name, dict(call.function.arguments)


def schema(model):
    return json.loads(client.chat(model=model, messages=hello, format=CITY).message.content)


MODELS = [OWN, *OTHERS.values()]
everywhere("chat", MODELS, plain, stream, tool, tool_stream, schema)

wrong = of("tg_wrong")
raises("a wrong key", ollama.ResponseError, 401, lambda: wrong.chat(model=OWN, messages=hello))
error = raises("an unknown model", ollama.ResponseError, 404, lambda: client.chat(model="sim-2", messages=hello))
check("the error says what to do", "did you mean" in error.error, error)
for model in MODELS:
    raises(f"a rate limit at {model}", ollama.ResponseError, 429, lambda: client.chat(model=f"{model}?status=429", messages=hello))
    error = raises(f"a failure on the way at {model}", ollama.ResponseError, -1, lambda: list(client.chat(
        model=f"{model}?error_at=3", messages=hello, stream=True)))
    check("it says what happened", "told to fail" in error.error, error)
done()
