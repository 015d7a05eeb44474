// The official Google GenAI package for Node: contents, thoughts, counting and errors.

import { ApiError, GoogleGenAI } from "@google/genai";

import { ASK, BASE, CITY, HELLO, INPUT, KEY, MODELS, OTHERS, OWN, RESULT, check, done, everywhere, listed, raises, same, versions } from "./checks.mjs";

versions("@google/genai");
const of = (apiKey) => new GoogleGenAI({ apiKey, httpOptions: { baseUrl: BASE, retryOptions: { attempts: 1 } } }).models;
const client = of(KEY);
const tools = [{ functionDeclarations: [{ name: "weather", description: "Tells the weather", parametersJsonSchema: CITY }] }];
const tokens = ({ promptTokenCount, candidatesTokenCount }) => [promptTokenCount, candidatesTokenCount];

await everywhere("generateContent", MODELS, {
  async plain(model) {
    const answer = await client.generateContent({ model, contents: HELLO });
    return [answer.text, answer.candidates[0].finishReason, ...tokens(answer.usageMetadata)];
  },
  async stream(model) {
    const chunks = await listed(await client.generateContentStream({ model, contents: HELLO }));
    const texts = chunks.map((chunk) => chunk.text).filter(Boolean);
    const last = chunks.findLast((chunk) => chunk.candidates?.[0]?.finishReason);
    const { usageMetadata } = chunks.findLast((chunk) => chunk.usageMetadata);
    return [texts.join(""), last.candidates[0].finishReason, ...tokens(usageMetadata), texts.length];
  },
  async tools(model) {
    const contents = [{ role: "user", parts: [{ text: ASK }] }];
    const answer = await client.generateContent({ model, contents, config: { tools } });
    const [call] = answer.functionCalls;
    const functionResponse = { id: call.id, name: call.name, response: { output: RESULT } };
    contents.push(answer.candidates[0].content, { role: "user", parts: [{ functionResponse }] });
    const more = await client.generateContent({ model, contents, config: { tools } });
    return [call.name, call.args, more.text];
  },
  async streamedTools(model) {
    const chunks = await listed(await client.generateContentStream({ model, contents: ASK, config: { tools } }));
    const [call] = chunks.flatMap((chunk) => chunk.functionCalls ?? []);
    return [call.name, call.args];
  },
  async structured(model) {
    const config = { responseMimeType: "application/json", responseJsonSchema: CITY };
    return JSON.parse((await client.generateContent({ model, contents: HELLO, config })).text);
  },
});

for (const model of [OWN, OTHERS.gemini, OTHERS.anthropic]) {
  const config = { thinkingConfig: { thinkingBudget: 1024, includeThoughts: true }, maxOutputTokens: 4000 };
  const answer = await client.generateContent({ model, contents: HELLO, config });
  const thoughts = answer.candidates[0].content.parts.filter((part) => part.thought).map((part) => part.text);
  same(`thoughts at ${model}`, thoughts, ["sim thinks of this"]);
}
same("tokens are counted", (await client.countTokens({ model: OWN, contents: HELLO })).totalTokens, INPUT);

await raises("a wrong key", ApiError, 401, () => of("tg_wrong").generateContent({ model: OWN, contents: HELLO }));
await raises("an unknown model", ApiError, 404, () => client.generateContent({ model: "sim-2", contents: HELLO }));
for (const model of MODELS) {
  await raises(`a rate limit at ${model}`, ApiError, 429, () => client.generateContent({ model: `${model};status=429`, contents: HELLO }));
  // What a stream's error is told as is the package's own affair; that it is one is ours.
  for (const script of ["cut=3", "error_at=3"]) {
    const error = await raises(`${script} at ${model}`, Error, 0, async () =>
      listed(await client.generateContentStream({ model: `${model};${script}`, contents: HELLO })), () => 0);
    check("it says what happened", /broke off|told to fail/.test(String(error.message)), error.message);
  }
}
done();
