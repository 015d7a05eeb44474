"""The official openai package: chat, responses, embeddings, models and errors."""

import json

import openai
import pydantic

from checks import ASK, BASE, CITY, HELLO, KEY, OTHERS, OWN, RESULT, check, done, everywhere, raises, same, versions

versions("openai")
client = openai.OpenAI(base_url=f"{BASE}/v1", api_key=KEY, max_retries=0)
hello = [{"role": "user", "content": HELLO}]
weather = {"name": "weather", "description": "Tells the weather", "parameters": CITY}
chat_tools = [{"type": "function", "function": weather}]
response_tools = [{"type": "function", **weather}]


class Found(pydantic.BaseModel):
    city: str


def required(model):
    """Ollama has no word for it; there the question does it."""
    return {} if model == OTHERS["ollama"] else {"tool_choice": "required"}


def chat(model):
    answer = client.chat.completions.create(model=model, messages=hello)
    choice = answer.choices[0]
    check("an id, a model and the usual role", answer.id and answer.model and choice.message.role == "assistant", answer)
    check("no call that nobody made", choice.message.tool_calls is None and choice.message.refusal is None, choice)
    usage = answer.usage
    same("the total", usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
    return choice.message.content, choice.finish_reason, usage.prompt_tokens, usage.completion_tokens


def chat_stream(model):
    text, finish, usage, pieces, ids = "", None, None, 0, set()
    for chunk in client.chat.completions.create(
        model=model, messages=hello, stream=True, stream_options={"include_usage": True}
    ):
        ids.add(chunk.id)
        usage = chunk.usage or usage
        for choice in chunk.choices:
            pieces += bool(choice.delta.content)
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    check("one id for all of a stream", len(ids) == 1, ids)
    return text, finish, usage.prompt_tokens, usage.completion_tokens, pieces


def chat_tool(model):
    turns = [{"role": "user", "content": ASK}]
    answer = client.chat.completions.create(model=model, messages=turns, tools=chat_tools)
    choice = answer.choices[0]
    same("it ended for its call", choice.finish_reason, "tool_calls")
    [call] = choice.message.tool_calls
    check("the call has an id", call.id and call.type == "function", call)
    turns += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
    more = client.chat.completions.create(model=model, messages=turns, tools=chat_tools)
    same("no second call", more.choices[0].message.tool_calls, None)
    return call.function.name, json.loads(call.function.arguments), more.choices[0].message.content


def chat_tool_stream(model):
    """By the package's own gathering of deltas."""
    turns = [{"role": "user", "content": ASK}]
    with client.chat.completions.stream(model=model, messages=turns, tools=chat_tools, **required(model)) as stream:
        final = stream.get_final_completion()
    [call] = final.choices[0].message.tool_calls
    check("the streamed call has an id", call.id, call)
    same("the stream ended for its call", final.choices[0].finish_reason, "tool_calls")
    return call.function.name, json.loads(call.function.arguments)


def chat_schema(model):
    parsed = client.chat.completions.parse(model=model, messages=hello, response_format=Found)
    return parsed.choices[0].message.parsed.model_dump()


def response(model):
    answer = client.responses.create(model=model, input=HELLO)
    check("an id and a status", answer.id.startswith("resp_") and answer.error is None, answer)
    return answer.output_text, answer.status, answer.usage.input_tokens, answer.usage.output_tokens


def response_stream(model):
    text, pieces, numbers = "", 0, []
    for event in client.responses.create(model=model, input=HELLO, stream=True):
        numbers.append(event.sequence_number)
        if event.type == "response.output_text.delta":
            text += event.delta
            pieces += 1
        elif event.type == "response.completed":
            final = event.response
    same("events are numbered", numbers, list(range(len(numbers))))
    same("the whole is the sum of its pieces", final.output_text, text)
    return text, final.status, final.usage.input_tokens, final.usage.output_tokens, pieces


def response_tool(model):
    items = [{"role": "user", "content": ASK}]
    answer = client.responses.create(model=model, input=items, tools=response_tools, store=False)
    [call] = [item for item in answer.output if item.type == "function_call"]
    items += [item.model_dump(exclude_none=True) for item in answer.output]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": RESULT})
    more = client.responses.create(model=model, input=items, tools=response_tools, store=False)
    return call.name, json.loads(call.arguments), more.output_text


def response_tool_stream(model):
    with client.responses.stream(model=model, input=ASK, tools=response_tools, **required(model)) as stream:
        final = stream.get_final_response()
    [call] = [item for item in final.output if item.type == "function_call"]
    return call.name, json.loads(call.arguments)


def response_schema(model):
    return client.responses.parse(model=model, input=HELLO, text_format=Found).output_parsed.model_dump()


MODELS = [OWN, *OTHERS.values()]
# Where the provider speaks it itself: what it says passes untouched.
CHAT = [OWN, OTHERS["openai"], OTHERS["compatible"], OTHERS["ollama"]]
RESPONSES = [OWN, OTHERS["openai"]]
everywhere("chat", MODELS, chat, chat_stream, chat_tool, chat_tool_stream, chat_schema)
everywhere("responses", MODELS, response, response_stream, response_tool, response_tool_stream, response_schema)

raw = client.chat.completions.with_raw_response.create(
    model=OWN, messages=hello, extra_headers={"x-request-id": "mine-1", "tollgate-use-case": "sdk"})
check("the request id comes back", raw.headers["x-request-id"] == "mine-1")
check("cost and target are told", float(raw.headers["tollgate-cost-usd"]) > 0 and raw.headers["tollgate-target"] == OWN)
parts = list(client.chat.completions.create(model=OWN, messages=hello, stream=True))
check("no usage chunk that nobody asked for", all(c.choices for c in parts))

vectors = client.embeddings.create(model="sim/sim-embed", input=["one", "two"])
floats = client.embeddings.create(model="sim/sim-embed", input=["one", "two"], encoding_format="float")
near = all(abs(a - b) < 1e-6 for a, b in zip(vectors.data[0].embedding, floats.data[0].embedding))
check("embeddings, packed and plain", near and len(vectors.data) == 2)

listed = [m.id for m in client.models.list()]
check("models", "sim-1" in listed)
check("one model", client.models.retrieve("sim-1").id == "sim-1")
governed = client.chat.completions.create(
    model=OWN, messages=hello, extra_body={"tollgate": {"use_case": "sdk", "data_class": "public"}})
check("the tollgate object", governed.choices[0].message.content)

wrong = openai.OpenAI(base_url=f"{BASE}/v1", api_key="tg_wrong", max_retries=0)
raises("a wrong key", openai.AuthenticationError, 401, lambda: wrong.chat.completions.create(model=OWN, messages=hello))
error = raises("an unknown model", openai.NotFoundError, 404, lambda: client.chat.completions.create(model="sim-2", messages=hello))
check("the error says what to do", "did you mean" in str(error) and error.body["tollgate"]["category"] == "no_route")
raises("a wrong data class", openai.BadRequestError, 400, lambda: client.chat.completions.create(
    model=OWN, messages=hello, extra_headers={"tollgate-data-class": "secret"}))
for model in MODELS:
    for script, kind, status in [
        ("status=429", openai.RateLimitError, (429, 429)),
        ("error=quota", openai.RateLimitError, (429, 429)),
        ("error=context", openai.BadRequestError, (400, 400)),
        # In another dialect it is the gateway that answers, and it says whose failure it was.
        ("status=500", openai.InternalServerError, (500, 502)),
    ]:
        raises(f"{script} at {model}", kind, status[model not in CHAT], lambda: client.chat.completions.create(
            model=f"{model}?{script}", messages=hello))
        raises(f"{script} at {model}, responses", kind, status[model not in RESPONSES], lambda: client.responses.create(
            model=f"{model}?{script}", input=HELLO))
    for script in ("cut=3", "error_at=3"):
        for what, call in [
            ("chat", lambda: list(client.chat.completions.create(model=f"{model}?{script}", messages=hello, stream=True))),
            ("responses", lambda: list(client.responses.create(model=f"{model}?{script}", input=HELLO, stream=True))),
        ]:
            if what == "responses" and script == "error_at=3" and model in RESPONSES:
                # OpenAI's own event passes untouched, and its package hands it over rather than raising.
                last = call()[-1]
                check(f"{what}: {script} at {model}: the error is the last event", last.type == "error" and "told to fail" in last.message, last)
                continue
            error = raises(f"{what}: {script} at {model}", openai.APIError, None, call, lambda error: None)
            check("it says what happened", "broke off" in str(error) or "told to fail" in str(error), error)
raises("a proxy's page", openai.InternalServerError, 502, lambda: client.chat.completions.create(model=f"{OWN}?error=html", messages=hello))
retrying = openai.OpenAI(base_url=f"{BASE}/v1", api_key=KEY, max_retries=2)
error = raises("a spent quota is not asked again", openai.RateLimitError, 429, lambda: retrying.chat.completions.create(
    model=f"{OWN}?error=quota", messages=hello))
done()
