"""The official anthropic package in its Bedrock mode: `InvokeModel` in Anthropic's form, streams in Amazon's frames."""

import anthropic

from checks import ASK, BASE, CITY, HELLO, KEY, OTHERS, OWN, RESULT, check, everywhere, raises, same, two_calls, versions, done

versions("anthropic", "botocore")
client = anthropic.AnthropicBedrock(base_url=BASE, api_key=KEY, aws_region="eu-central-1", max_retries=0)
hello = [{"role": "user", "content": HELLO}]
weather = [{"name": "weather", "description": "Tells the weather", "input_schema": CITY}]


def plain(model):
    answer = client.messages.create(model=model, max_tokens=100, messages=hello)
    same("one block", [block.type for block in answer.content], ["text"])
    return answer.content[0].text, answer.stop_reason, answer.usage.input_tokens, answer.usage.output_tokens


def stream(model):
    pieces = 0
    with client.messages.stream(model=model, max_tokens=100, messages=hello) as events:
        for event in events:
            pieces += event.type == "text"
        final = events.get_final_message()
    return final.content[0].text, final.stop_reason, final.usage.input_tokens, final.usage.output_tokens, pieces


def tool(model):
    turns = [{"role": "user", "content": ASK}]
    answer = client.messages.create(model=model, max_tokens=100, messages=turns, tools=weather)
    [call] = [block for block in answer.content if block.type == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": RESULT}]}
    turns += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    more = client.messages.create(model=model, max_tokens=100, messages=turns, tools=weather)
    return call.name, call.input, more.content[0].text


def calls(model, scripted):
    turns = [{"role": "user", "content": ASK}]
    with client.messages.stream(model=scripted, max_tokens=100, messages=turns, tools=weather) as events:
        content = events.get_final_message().content
    results = [{"type": "tool_result", "tool_use_id": c.id, "content": text} for c, text in zip(content, ["one", "two"])]
    turns += [{"role": "assistant", "content": content}, {"role": "user", "content": results}]
    more = client.messages.create(model=model, max_tokens=100, messages=turns, tools=weather)
    return [(c.id, c.name, c.input) for c in content], more.content[0].text


MODELS = [OWN, *OTHERS.values()]
everywhere("invoke", MODELS, plain, stream, tool)
two_calls("invoke", MODELS, calls)

wrong = anthropic.AnthropicBedrock(base_url=BASE, api_key="tg_wrong", aws_region="eu-central-1", max_retries=0)
raises("a wrong key", anthropic.PermissionDeniedError, 403, lambda: wrong.messages.create(model=OWN, max_tokens=9, messages=hello))
error = raises("an unknown model", anthropic.NotFoundError, 404, lambda: client.messages.create(model="sim-2", max_tokens=9, messages=hello))
check("the error says what to do", "did you mean" in str(error), error)
for model in (OWN, OTHERS["openai"]):
    error = raises(f"cut=3 at {model}", anthropic.APIError, None, lambda: list(client.messages.create(
        model=f"{model}?cut=3", max_tokens=99, messages=hello, stream=True)), lambda error: None)
    check("it says what happened", "broke off" in str(error), error)
done()
