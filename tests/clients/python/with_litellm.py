"""litellm as a client: its own translations to OpenAI's, Anthropic's, Google's and Cohere's dialects, then ours."""

import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

from checks import ASK, BASE, CITY, HELLO, KEY, OTHERS, OWN, RESULT, check, done, everywhere, raises, same, versions

versions("litellm")
litellm.suppress_debug_info = True
litellm.telemetry = False
hello = [{"role": "user", "content": HELLO}]
weather = [{"type": "function", "function": {"name": "weather", "description": "Tells the weather", "parameters": CITY}}]
WAYS = {"openai": f"{BASE}/v1", "anthropic": BASE}


def asked(way):
    def complete(model, messages, **more):
        return litellm.completion(model=f"{way}/{model}", messages=messages, api_base=WAYS[way], api_key=KEY, num_retries=0, max_retries=0, **more)

    def plain(model):
        answer = complete(model, hello)
        choice, usage = answer.choices[0], answer.usage
        return choice.message.content, choice.finish_reason, usage.prompt_tokens, usage.completion_tokens

    def stream(model):
        chunks = list(complete(model, hello, stream=True, stream_options={"include_usage": True}))
        texts = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
        whole = litellm.stream_chunk_builder(chunks)
        finish = whole.choices[0].finish_reason
        return "".join(texts), finish, whole.usage.prompt_tokens, whole.usage.completion_tokens, len(texts)

    def tool(model):
        turns = [{"role": "user", "content": ASK}]
        message = complete(model, turns, tools=weather).choices[0].message
        [call] = message.tool_calls
        turns += [message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
        return call.function.name, json.loads(call.function.arguments), complete(model, turns, tools=weather).choices[0].message.content

    def tool_stream(model):
        chunks = list(complete(model, [{"role": "user", "content": ASK}], tools=weather, stream=True))
        [call] = litellm.stream_chunk_builder(chunks).choices[0].message.tool_calls
        return call.function.name, json.loads(call.function.arguments)

    return complete, plain, stream, tool, tool_stream


MODELS = [OWN, *OTHERS.values()]
for way in WAYS:
    complete, *functions = asked(way)
    everywhere(f"litellm, {way}", MODELS, *functions)
    for model in MODELS:
        raises(f"a rate limit at {model}", litellm.RateLimitError, 429, lambda: complete(f"{model}?status=429", hello))
done()
