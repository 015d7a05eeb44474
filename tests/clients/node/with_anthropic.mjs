// The official Anthropic package for Node: messages, thinking, counting and errors.

import Anthropic from "@anthropic-ai/sdk";

import { ASK, BASE, CITY, HELLO, INPUT, KEY, MODELS, OTHERS, OWN, RESULT, check, done, everywhere, listed, raises, same, versions } from "./checks.mjs";

versions("@anthropic-ai/sdk");
const client = new Anthropic({ baseURL: BASE, apiKey: KEY, maxRetries: 0 });
const messages = [{ role: "user", content: HELLO }];
const tools = [{ name: "weather", description: "Tells the weather", input_schema: CITY }];
const asked = { max_tokens: 100, messages: [{ role: "user", content: ASK }], tools };

await everywhere("messages", MODELS, {
  async plain(model) {
    const { content, stop_reason, usage } = await client.messages.create({ model, max_tokens: 100, messages });
    return [content[0].text, stop_reason, usage.input_tokens, usage.output_tokens];
  },
  async stream(model) {
    let pieces = 0;
    const stream = client.messages.stream({ model, max_tokens: 100, messages }).on("text", () => (pieces += 1));
    const { content, stop_reason, usage } = await stream.finalMessage();
    return [content[0].text, stop_reason, usage.input_tokens, usage.output_tokens, pieces];
  },
  async tools(model) {
    const { content, stop_reason } = await client.messages.create({ model, ...asked });
    same("it stopped for its call", stop_reason, "tool_use");
    const call = content.find((block) => block.type === "tool_use");
    const turns = [
      ...asked.messages,
      { role: "assistant", content },
      { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: RESULT }] },
    ];
    const more = await client.messages.create({ model, ...asked, messages: turns });
    return [call.name, call.input, more.content[0].text];
  },
  async streamedTools(model) {
    const [call] = (await client.messages.stream({ model, ...asked }).finalMessage()).content;
    check("the streamed call has an id", call.id, call);
    return [call.name, call.input];
  },
  async structured(model) {
    const output_config = { format: { type: "json_schema", schema: CITY } };
    const { content } = await client.messages.create({ model, max_tokens: 100, messages, output_config });
    return JSON.parse(content[0].text);
  },
});

for (const model of [OWN, OTHERS.anthropic, OTHERS.gemini]) {
  const thinking = { type: "enabled", budget_tokens: 2000 };
  const { content } = await client.messages.stream({ model, max_tokens: 4000, messages, thinking }).finalMessage();
  check(`thoughts at ${model}`, content[0].thinking === "sim thinks of this" && content[0].signature, content);
}
same("tokens are counted", (await client.messages.countTokens({ model: OWN, messages })).input_tokens, INPUT);

const wrong = new Anthropic({ baseURL: BASE, apiKey: "tg_wrong", maxRetries: 0 });
await raises("a wrong key", Anthropic.AuthenticationError, 401, () => wrong.messages.create({ model: OWN, max_tokens: 9, messages }));
await raises("an unknown model", Anthropic.NotFoundError, 404, () => client.messages.create({ model: "sim-2", max_tokens: 9, messages }));
for (const model of MODELS) {
  await raises(`a rate limit at ${model}`, Anthropic.RateLimitError, 429, () =>
    client.messages.create({ model: `${model}?status=429`, max_tokens: 9, messages }));
  for (const script of ["cut=3", "error_at=3"]) {
    const error = await raises(`${script} at ${model}`, Anthropic.APIError, undefined, async () =>
      listed(await client.messages.create({ model: `${model}?${script}`, max_tokens: 99, messages, stream: true })));
    check("it says what happened", /broke off|told to fail/.test(String(error.message)), error.message);
  }
}
done();
