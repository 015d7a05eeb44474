"""The official openai package against a gateway: what it asks, what it gets, and which of its errors it raises.

    sdk.py BASE_URL KEY
"""
import sys

import openai

base, key = sys.argv[1], sys.argv[2]
client = openai.OpenAI(base_url=base, api_key=key, max_retries=0)
hello = [{"role": "user", "content": "Hello from the SDK"}]


def check(what, holds):
    if not holds:
        raise SystemExit(f"FAILED: {what}")
    print(f"ok {what}")


def raises(what, kind, status, call):
    try:
        call()
    except kind as error:
        check(f"{what}: {type(error).__name__} {error.status_code}", error.status_code == status)
        return error
    raise SystemExit(f"FAILED: {what}: nothing was raised")


answer = client.chat.completions.create(model="sim/sim-1", messages=hello)
check("a chat", answer.choices[0].message.content.startswith("sim: Hello from the SDK"))
check("its usage", answer.usage.completion_tokens == 16 and answer._request_id)

raw = client.chat.completions.with_raw_response.create(
    model="sim/sim-1", messages=hello, extra_headers={"x-request-id": "mine-1", "tollgate-use-case": "sdk"})
check("the request id comes back", raw.headers["x-request-id"] == "mine-1")
check("cost and target are told", float(raw.headers["tollgate-cost-usd"]) > 0 and raw.headers["tollgate-target"] == "sim/sim-1")

parts = list(client.chat.completions.create(model="sim/sim-1", messages=hello, stream=True))
text = "".join(c.choices[0].delta.content or "" for c in parts)
check("a stream", text == answer.choices[0].message.content)
check("no usage chunk that nobody asked for", all(c.choices for c in parts))
parts = list(client.chat.completions.create(
    model="sim/sim-1", messages=hello, stream=True, stream_options={"include_usage": True}))
check("the usage chunk where it was asked for", parts[-1].usage.completion_tokens == 16 and not parts[-1].choices)

tools = [{"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
called = client.chat.completions.create(model="sim/sim-1", messages=hello, tools=tools, tool_choice="required")
call = called.choices[0].message.tool_calls[0]
check("a tool call", call.function.name == "weather" and called.choices[0].finish_reason == "tool_calls")
more = hello + [called.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
check("its result goes back", client.chat.completions.create(model="sim/sim-1", messages=more, tools=tools).choices[0].message.content)
streamed = client.chat.completions.create(model="sim/sim-1", messages=hello, tools=tools, tool_choice="required", stream=True)
arguments = "".join(c.choices[0].delta.tool_calls[0].function.arguments or "" for c in streamed if c.choices[0].delta.tool_calls)
check("a streamed tool call", arguments == call.function.arguments)

vectors = client.embeddings.create(model="sim/sim-embed", input=["one", "two"])
floats = client.embeddings.create(model="sim/sim-embed", input=["one", "two"], encoding_format="float")
near = all(abs(a - b) < 1e-6 for a, b in zip(vectors.data[0].embedding, floats.data[0].embedding))
check("embeddings, packed and plain", near and len(vectors.data) == 2)

listed = [m.id for m in client.models.list()]
check("models", "sim-1" in listed)
check("one model", client.models.retrieve("sim-1").id == "sim-1")
governed = client.chat.completions.create(
    model="sim/sim-1", messages=hello, extra_body={"tollgate": {"use_case": "sdk", "data_class": "public"}})
check("the tollgate object", governed.choices[0].message.content)

wrong = openai.OpenAI(base_url=base, api_key="tg_wrong", max_retries=0)
raises("a wrong key", openai.AuthenticationError, 401, lambda: wrong.chat.completions.create(model="sim/sim-1", messages=hello))
error = raises("an unknown model", openai.NotFoundError, 404, lambda: client.chat.completions.create(model="sim-2", messages=hello))
check("the error says what to do", "did you mean" in str(error) and error.body["tollgate"]["category"] == "no_route")
raises("a wrong data class", openai.BadRequestError, 400, lambda: client.chat.completions.create(
    model="sim/sim-1", messages=hello, extra_headers={"tollgate-data-class": "secret"}))
raises("a provider's rate limit", openai.RateLimitError, 429, lambda: client.chat.completions.create(model="sim/sim-1?status=429", messages=hello))
raises("a provider's failure", openai.InternalServerError, 500, lambda: client.chat.completions.create(model="sim/sim-1?status=500", messages=hello))
raises("a proxy's page", openai.InternalServerError, 502, lambda: client.chat.completions.create(model="sim/sim-1?error=html", messages=hello))
try:
    list(client.chat.completions.create(model="sim/sim-1?cut=3", messages=hello, stream=True))
    raise SystemExit("FAILED: a cut stream looked complete")
except openai.APIError as error:
    check("a cut stream is an error", "broke off" in str(error))

retrying = openai.OpenAI(base_url=base, api_key=key, max_retries=2)
raises("a spent quota is not asked again", openai.RateLimitError, 429, lambda: retrying.chat.completions.create(
    model="sim/sim-1?error=quota", messages=hello))
print("all good")
