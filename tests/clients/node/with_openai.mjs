// The official openai package for Node: chat, responses and errors.

import OpenAI from "openai";

import { ASK, BASE, CITY, HELLO, KEY, MODELS, OTHERS, OWN, RESULT, check, done, everywhere, listed, raises, same, versions } from "./checks.mjs";

versions("openai");
const client = new OpenAI({ baseURL: `${BASE}/v1`, apiKey: KEY, maxRetries: 0 });
const hello = [{ role: "user", content: HELLO }];
const weather = { name: "weather", description: "Tells the weather", parameters: CITY };
const tools = [{ type: "function", function: weather }];
// Ollama has no word for a required call; there the question does it.
const required = (model) => (model === OTHERS.ollama ? {} : { tool_choice: "required" });

await everywhere("chat", MODELS, {
  async plain(model) {
    const { choices, usage } = await client.chat.completions.create({ model, messages: hello });
    same("the total", usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
    return [choices[0].message.content, choices[0].finish_reason, usage.prompt_tokens, usage.completion_tokens];
  },
  async stream(model) {
    const options = { model, messages: hello, stream: true, stream_options: { include_usage: true } };
    let [text, finish, usage, pieces] = ["", null, null, 0];
    for await (const chunk of await client.chat.completions.create(options)) {
      usage = chunk.usage ?? usage;
      for (const { delta, finish_reason } of chunk.choices) {
        text += delta.content ?? "";
        pieces += delta.content ? 1 : 0;
        finish = finish_reason ?? finish;
      }
    }
    return [text, finish, usage.prompt_tokens, usage.completion_tokens, pieces];
  },
  async tools(model) {
    // The package runs the tool and sends its result back itself.
    const run = { type: "function", function: { ...weather, parse: JSON.parse, function: () => RESULT } };
    const runner = client.chat.completions.runTools({ model, messages: [{ role: "user", content: ASK }], tools: [run] });
    const text = await runner.finalContent();
    const call = runner.messages.find((message) => message.tool_calls).tool_calls[0];
    return [call.function.name, JSON.parse(call.function.arguments), text];
  },
  async streamedTools(model) {
    const messages = [{ role: "user", content: ASK }];
    const stream = client.chat.completions.stream({ model, messages, tools, ...required(model) });
    const [{ message, finish_reason }] = (await stream.finalChatCompletion()).choices;
    same("the stream ended for its call", finish_reason, "tool_calls");
    return [message.tool_calls[0].function.name, JSON.parse(message.tool_calls[0].function.arguments)];
  },
  async structured(model) {
    const format = { type: "json_schema", json_schema: { name: "found", schema: CITY, strict: true } };
    const answer = await client.chat.completions.parse({ model, messages: hello, response_format: format });
    return JSON.parse(answer.choices[0].message.content);
  },
});

const calls = [{ type: "function", strict: true, ...weather }];
await everywhere("responses", MODELS, {
  async plain(model) {
    const { output_text, status, usage } = await client.responses.create({ model, input: HELLO });
    return [output_text, status, usage.input_tokens, usage.output_tokens];
  },
  async stream(model) {
    const events = await listed(await client.responses.create({ model, input: HELLO, stream: true }));
    const deltas = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta);
    const { response } = events.find((event) => event.type === "response.completed");
    return [deltas.join(""), response.status, response.usage.input_tokens, response.usage.output_tokens, deltas.length];
  },
  async tools(model) {
    const input = [{ role: "user", content: ASK }];
    const { output } = await client.responses.create({ model, input, tools: calls });
    const call = output.find((item) => item.type === "function_call");
    input.push(...output, { type: "function_call_output", call_id: call.call_id, output: RESULT });
    const more = await client.responses.create({ model, input, tools: calls });
    return [call.name, JSON.parse(call.arguments), more.output_text];
  },
  async streamedTools(model) {
    const stream = client.responses.stream({ model, input: ASK, tools: calls, ...required(model) });
    const call = (await stream.finalResponse()).output.find((item) => item.type === "function_call");
    return [call.name, JSON.parse(call.arguments)];
  },
  async structured(model) {
    const format = { type: "json_schema", name: "found", schema: CITY, strict: true };
    return JSON.parse((await client.responses.create({ model, input: HELLO, text: { format } })).output_text);
  },
});

const wrong = new OpenAI({ baseURL: `${BASE}/v1`, apiKey: "tg_wrong", maxRetries: 0 });
await raises("a wrong key", OpenAI.AuthenticationError, 401, () => wrong.chat.completions.create({ model: OWN, messages: hello }));
const unknown = await raises("an unknown model", OpenAI.NotFoundError, 404, () =>
  client.chat.completions.create({ model: "sim-2", messages: hello }));
check("the error says what to do", unknown.message.includes("did you mean") && unknown.code, unknown.message);
for (const model of MODELS) {
  await raises(`a rate limit at ${model}`, OpenAI.RateLimitError, 429, () =>
    client.chat.completions.create({ model: `${model}?status=429`, messages: hello }));
  await raises(`too long a prompt at ${model}`, OpenAI.BadRequestError, 400, () =>
    client.responses.create({ model: `${model}?error=context`, input: HELLO }));
  for (const script of ["cut=3", "error_at=3"]) {
    const error = await raises(`${script} at ${model}`, OpenAI.APIError, undefined, async () =>
      listed(await client.chat.completions.create({ model: `${model}?${script}`, messages: hello, stream: true })));
    check("it says what happened", /broke off|told to fail/.test(String(error.message)), error.message);
  }
}
done();
