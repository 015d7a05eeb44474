// The AI SDK with its providers for OpenAI (responses and chat) and Anthropic.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, Output, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

import { ASK, BASE, CITY, HELLO, KEY, MODELS, OTHERS, OWN, RESULT, check, done, everywhere, raises, same, versions } from "./checks.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
versions("ai", "@ai-sdk/openai", "@ai-sdk/anthropic");
const openai = createOpenAI({ baseURL: `${BASE}/v1`, apiKey: KEY });
const anthropic = createAnthropic({ baseURL: `${BASE}/v1`, apiKey: KEY });
const weather = (execute) => ({ weather: tool({ description: "Tells the weather", inputSchema: jsonSchema(CITY), execute }) });

for (const [name, of] of [["responses", openai], ["chat", openai.chat], ["messages", anthropic]]) {
  await everywhere(`ai, ${name}`, MODELS, {
    async plain(model) {
      const { text, finishReason, usage } = await generateText({ model: of(model), prompt: HELLO });
      return [text, finishReason, usage.inputTokens, usage.outputTokens];
    },
    async stream(model) {
      const result = streamText({ model: of(model), prompt: HELLO });
      let [text, pieces] = ["", 0];
      for await (const piece of result.textStream) [text, pieces] = [text + piece, pieces + 1];
      const usage = await result.usage;
      return [text, await result.finishReason, usage.inputTokens, usage.outputTokens, pieces];
    },
    async tools(model) {
      const { steps, text } = await generateText({ model: of(model), prompt: ASK, tools: weather(() => RESULT), stopWhen: stepCountIs(2) });
      const [call] = steps[0].toolCalls;
      same("one call, then its answer", steps.map((step) => step.finishReason), ["tool-calls", "stop"]);
      return [call.toolName, call.input, text];
    },
    async streamedTools(model) {
      const [call] = await streamText({ model: of(model), prompt: ASK, tools: weather() }).toolCalls;
      return [call.toolName, call.input];
    },
  });
  const structured = async (model) =>
    (await generateText({ model: of(model), prompt: HELLO, output: Output.object({ schema: jsonSchema(CITY) }) })).output;
  // In messages the package demands one call of a tool. Where none can be demanded, that is told, and the model answers as it likes.
  const able = name === "messages" ? MODELS.filter((model) => model !== OTHERS.ollama) : MODELS;
  await everywhere(`ai, ${name}`, able, { structured });
  for (const model of MODELS) {
    await raises(`ai, ${name}: a rate limit at ${model}`, APICallError, 429, () =>
      generateText({ model: of(`${model}?status=429`), prompt: HELLO, maxRetries: 0 }), (error) => error.statusCode);
  }
}
done();
