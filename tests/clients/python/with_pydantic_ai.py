"""Pydantic AI's agents on models of OpenAI (chat and responses) and of Anthropic."""

import asyncio

import pydantic
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from checks import ASK, BASE, HELLO, KEY, OTHERS, OWN, RESULT, check, done, everywhere, raises, same, versions

versions("pydantic-ai-slim")
openai = OpenAIProvider(base_url=f"{BASE}/v1", api_key=KEY)
anthropic = AnthropicProvider(base_url=BASE, api_key=KEY)


class Found(pydantic.BaseModel):
    city: str


def by_schema(model):
    return model.profile.get("supports_json_schema_output")


def asked(of):
    def told(result, *pieces):
        usage = result.usage
        return usage.input_tokens, usage.output_tokens, *pieces

    def plain(model):
        result = Agent(of(model)).run_sync(HELLO)
        return result.output, result.response.finish_reason, *told(result)

    async def streamed(model):
        async with Agent(of(model)).run_stream(HELLO) as result:
            pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
            return "".join(pieces), result.response.finish_reason, *told(result, len(pieces))

    def tools(model):
        agent = Agent(of(model))

        @agent.tool_plain
        def weather(city: str) -> str:
            """Tells the weather"""
            return RESULT

        result = agent.run_sync(ASK)
        [call] = [part for message in result.all_messages() for part in message.parts if isinstance(part, ToolCallPart)]
        return call.tool_name, call.args_as_dict(), result.output

    def structured(model):
        # By schema; where the package does not know that the model takes one, by a tool that must be called.
        output = NativeOutput(Found) if by_schema(of(model)) else Found
        return Agent(of(model), output_type=output).run_sync(HELLO).output.model_dump()

    return {"plain": plain, "stream": lambda model: asyncio.run(streamed(model)), "tools": tools}, structured


MODELS = [OWN, *OTHERS.values()]
for name, of in [
    ("chat", lambda model: OpenAIChatModel(model, provider=openai)),
    ("responses", lambda model: OpenAIResponsesModel(model, provider=openai)),
    ("messages", lambda model: AnthropicModel(model, provider=anthropic)),
]:
    functions, structured = asked(of)
    everywhere(f"agents, {name}", MODELS, **functions)
    # Ollama has no word for a call that must be made.
    able = [model for model in MODELS if by_schema(of(model)) or model != OTHERS["ollama"]]
    everywhere(f"agents, {name}", able, structured=structured)
    for model in MODELS:
        raises(f"a rate limit at {model}", ModelHTTPError, 429, lambda: Agent(of(f"{model}?status=429")).run_sync(HELLO))
done()
