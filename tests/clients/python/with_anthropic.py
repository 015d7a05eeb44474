"""The official anthropic package: messages, thinking, counting and errors."""

import anthropic
import pydantic

from checks import ASK, BASE, CITY, FOUND, HELLO, INPUT, KEY, OTHERS, OWN, RESULT, WORDS, check, done, everywhere, raises, same, versions

versions("anthropic")
client = anthropic.Anthropic(base_url=BASE, api_key=KEY, max_retries=0)
hello = [{"role": "user", "content": HELLO}]
weather = [{"name": "weather", "description": "Tells the weather", "input_schema": CITY}]


class Found(pydantic.BaseModel):
    city: str


def plain(model):
    answer = client.messages.create(model=model, max_tokens=100, messages=hello)
    check("a message with an id", answer.id and answer.type == "message" and answer.role == "assistant" and answer.model, answer)
    same("one block", [block.type for block in answer.content], ["text"])
    return answer.content[0].text, answer.stop_reason, answer.usage.input_tokens, answer.usage.output_tokens


def stream(model):
    pieces = 0
    with client.messages.stream(model=model, max_tokens=100, messages=hello) as events:
        for event in events:
            pieces += event.type == "text"
        final = events.get_final_message()
    same("one streamed block", [block.type for block in final.content], ["text"])
    return final.content[0].text, final.stop_reason, final.usage.input_tokens, final.usage.output_tokens, pieces


def tool(model):
    turns = [{"role": "user", "content": ASK}]
    answer = client.messages.create(model=model, max_tokens=100, messages=turns, tools=weather)
    same("it stopped for its call", answer.stop_reason, "tool_use")
    [call] = [block for block in answer.content if block.type == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": RESULT}]}
    turns += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    more = client.messages.create(model=model, max_tokens=100, messages=turns, tools=weather)
    same("no second call", more.stop_reason, "end_turn")
    return call.name, call.input, more.content[0].text


def tool_stream(model):
    choice = {} if model == OTHERS["ollama"] else {"tool_choice": {"type": "tool", "name": "weather"}}
    choice = {"tool_choice": {"type": "any"}} if model == OTHERS["cohere"] else choice
    with client.messages.stream(
        model=model, max_tokens=100, messages=[{"role": "user", "content": ASK}], tools=weather, **choice
    ) as events:
        final = events.get_final_message()
    same("it stopped for its streamed call", final.stop_reason, "tool_use")
    [call] = final.content
    check("the streamed call has an id", call.type == "tool_use" and call.id, call)
    return call.name, call.input


def schema(model):
    parsed = client.messages.parse(model=model, max_tokens=100, messages=hello, output_format=Found)
    return parsed.parsed_output.model_dump()


MODELS = [OWN, *OTHERS.values()]
everywhere("messages", MODELS, plain, stream, tool, tool_stream, schema)

# Which models of Bedrock's think, and how they are asked to, goes by their names.
for model in [OWN, OTHERS["anthropic"], OTHERS["gemini"], "as_bedrock/anthropic.claude-sonnet-4-sim"]:
    turns = [{"role": "user", "content": ASK}]
    asked = {"model": model, "max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000}, "tools": weather}
    answer = client.messages.create(messages=turns, **asked)
    thinking, call = answer.content
    check(f"thoughts at {model}", thinking.type == "thinking" and thinking.thinking == "sim thinks of this" and thinking.signature, thinking)
    with client.messages.stream(messages=turns, **asked) as events:
        streamed = events.get_final_message()
    thinking = streamed.content[0]
    check(f"streamed thoughts at {model}", thinking.thinking == "sim thinks of this" and thinking.signature, thinking)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": RESULT}
    turns += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    more = client.messages.create(messages=turns, **asked)
    check(f"thoughts go back to {model}", "sunny" in more.content[-1].text, more)

counted = client.messages.count_tokens(model=OWN, messages=hello)
same("tokens are counted", counted.input_tokens, INPUT)
cached = client.messages.create(model=OWN, max_tokens=100, system=[
    {"type": "text", "text": "Be brief", "cache_control": {"type": "ephemeral"}}], messages=hello)
check("marks for the cache", cached.content[0].text == WORDS, cached)
short = client.messages.create(model=OTHERS["openai"], max_tokens=3, messages=hello)
same("a bound is kept", (short.stop_reason, short.usage.output_tokens), ("max_tokens", 3))

wrong = anthropic.Anthropic(base_url=BASE, api_key="tg_wrong", max_retries=0)
raises("a wrong key", anthropic.AuthenticationError, 401, lambda: wrong.messages.create(model=OWN, max_tokens=9, messages=hello))
error = raises("an unknown model", anthropic.NotFoundError, 404, lambda: client.messages.create(model="sim-2", max_tokens=9, messages=hello))
check("the error says what to do", "did you mean" in str(error) and error.body["error"]["type"] == "not_found_error", error.body)
NATIVE = [OWN, OTHERS["anthropic"]]
for model in MODELS:
    for script, kind, status in [
        ("status=429", anthropic.RateLimitError, (429, 429)),
        ("error=context", anthropic.BadRequestError, (400, 400)),
        ("status=500", anthropic.InternalServerError, (500, 502)),
    ]:
        raises(f"{script} at {model}", kind, status[model not in NATIVE], lambda: client.messages.create(
            model=f"{model}?{script}", max_tokens=99, messages=hello))
    for script in ("cut=3", "error_at=3"):
        error = raises(f"{script} at {model}", anthropic.APIError, None, lambda: list(client.messages.create(
            model=f"{model}?{script}", max_tokens=99, messages=hello, stream=True)), lambda error: None)
        check("it says what happened", "broke off" in str(error) or "told to fail" in str(error), error)
done()
