// The official AWS package for Bedrock: converse and converse-stream, by bearer token.

import {
  AccessDeniedException,
  BedrockRuntimeClient,
  ConverseCommand,
  ConverseStreamCommand,
  ResourceNotFoundException,
  ThrottlingException,
  ValidationException,
} from "@aws-sdk/client-bedrock-runtime";

import { ASK, BASE, CITY, HELLO, KEY, MODELS, OWN, RESULT, check, done, everywhere, listed, raises, same, versions } from "./checks.mjs";

versions("@aws-sdk/client-bedrock-runtime");
const of = (token) =>
  new BedrockRuntimeClient({
    endpoint: BASE,
    region: "eu-north-1",
    token: { token },
    authSchemePreference: ["httpBearerAuth"],
    maxAttempts: 1,
  });
const client = of(KEY);
const user = (...content) => ({ role: "user", content });
const toolConfig = { tools: [{ toolSpec: { name: "weather", description: "Tells the weather", inputSchema: { json: CITY } } }] };
const converse = (model, messages, more) => client.send(new ConverseCommand({ modelId: model, messages, ...more }));
const events = async (model, messages, more) =>
  listed((await client.send(new ConverseStreamCommand({ modelId: model, messages, ...more }))).stream);

await everywhere("converse", MODELS, {
  async plain(model) {
    const { output, stopReason, usage } = await converse(model, [user({ text: HELLO })]);
    return [output.message.content[0].text, stopReason, usage.inputTokens, usage.outputTokens];
  },
  async stream(model) {
    const told = await events(model, [user({ text: HELLO })]);
    const texts = told.flatMap((event) => event.contentBlockDelta?.delta.text ?? []);
    const { stopReason } = told.find((event) => event.messageStop).messageStop;
    const { usage } = told.find((event) => event.metadata).metadata;
    return [texts.join(""), stopReason, usage.inputTokens, usage.outputTokens, texts.length];
  },
  async tools(model) {
    const turns = [user({ text: ASK })];
    const { output, stopReason } = await converse(model, turns, { toolConfig });
    same("it stopped for its call", stopReason, "tool_use");
    const { toolUse } = output.message.content.find((block) => block.toolUse);
    const toolResult = { toolUseId: toolUse.toolUseId, content: [{ text: RESULT }] };
    const more = await converse(model, [...turns, output.message, user({ toolResult })], { toolConfig });
    return [toolUse.name, toolUse.input, more.output.message.content[0].text];
  },
  async streamedTools(model) {
    const told = await events(model, [user({ text: ASK })], { toolConfig });
    const { toolUse } = told.find((event) => event.contentBlockStart).contentBlockStart.start;
    const input = told.flatMap((event) => event.contentBlockDelta?.delta.toolUse?.input ?? []).join("");
    return [toolUse.name, JSON.parse(input)];
  },
});

const hello = [user({ text: HELLO })];
const status = (error) => error.$metadata.httpStatusCode;
await raises("a wrong key", AccessDeniedException, 403, () => of("tg_wrong").send(new ConverseCommand({ modelId: OWN, messages: hello })), status);
await raises("an unknown model", ResourceNotFoundException, 404, () => converse("sim-2", hello), status);
for (const model of MODELS) {
  await raises(`a rate limit at ${model}`, ThrottlingException, 429, () => converse(`${model}?status=429`, hello), status);
  await raises(`too long a prompt at ${model}`, ValidationException, 400, () => converse(`${model}?error=context`, hello), status);
  const error = await raises(`a failure on the way at ${model}`, Error, 0, () => events(`${model}?error_at=3`, hello), () => 0);
  check("it says what happened", /told to fail/.test(String(error.message)), error);
}
done();
