"""LangChain's models of OpenAI (chat and responses) and of Anthropic."""

import anthropic
import openai
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool as as_tool
from langchain_openai import ChatOpenAI

from checks import ASK, BASE, CITY, HELLO, KEY, OTHERS, OWN, RESULT, check, done, everywhere, raises, same, versions

versions("langchain-openai", "langchain-anthropic", "langchain-core")


@as_tool
def weather(city: str) -> str:
    """Tells the weather"""
    return RESULT


def chat(model):
    return ChatOpenAI(model=model, base_url=f"{BASE}/v1", api_key=KEY, max_retries=0, stream_usage=True)


def responses(model):
    return ChatOpenAI(model=model, base_url=f"{BASE}/v1", api_key=KEY, max_retries=0, use_responses_api=True)


def messages(model):
    return ChatAnthropic(model=model, base_url=BASE, api_key=KEY, max_retries=0, max_tokens=100)


def finish(message):
    meta = message.response_metadata
    return meta.get("finish_reason") or meta.get("stop_reason") or meta.get("status")


def told(message):
    usage = message.usage_metadata
    return message.text, finish(message), usage["input_tokens"], usage["output_tokens"]


def asked(of):
    def stream(model):
        whole, pieces = None, 0
        for piece in of(model).stream(HELLO):
            whole = piece if whole is None else whole + piece
            pieces += bool(piece.text)
        return *told(whole), pieces

    def tools(model):
        bound = of(model).bind_tools([weather])
        turns = [HumanMessage(ASK)]
        answer = bound.invoke(turns)
        [call] = answer.tool_calls
        more = bound.invoke([*turns, answer, ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])])
        return call["name"], call["args"], more.text

    def streamed_tools(model):
        whole = None
        for piece in of(model).bind_tools([weather]).stream(ASK):
            whole = piece if whole is None else whole + piece
        [call] = whole.tool_calls
        return call["name"], call["args"]

    def structured(model):
        schema = {"title": "Found", "description": "What was found", **CITY}
        return of(model).with_structured_output(schema, method="json_schema").invoke(HELLO)

    return (lambda model: told(of(model).invoke(HELLO))), stream, tools, streamed_tools, structured


MODELS = [OWN, *OTHERS.values()]
for name, of, kind in [("chat", chat, openai.RateLimitError), ("responses", responses, openai.RateLimitError), ("messages", messages, anthropic.RateLimitError)]:
    everywhere(f"langchain, {name}", MODELS, *asked(of))
    for model in MODELS:
        raises(f"a rate limit at {model}", kind, 429, lambda: of(f"{model}?status=429").invoke(HELLO))
done()
