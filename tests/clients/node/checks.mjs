// What every client is asked, wherever the answer comes from, and what it must hold in the end: see `python/checks.py`.
//
//     SCRIPT BASE_URL KEY

import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";

export const [BASE, KEY] = process.argv.slice(2);

export const HELLO = "Hello from the client";
// The scripted provider says the same words in every dialect, some beyond ASCII, and counts them truly.
export const WORDS = "sim: Hello from the client the gate counts every token für alle calls and keeps 日本語";
export const [INPUT, OUTPUT] = [7, 16];
// A question that names a tool is answered by a call of it.
export const ASK = "What is the weather in Oslo?";
export const CITY = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
export const FOUND = { city: "sim" };
export const RESULT = "sunny in Oslo";

export const OWN = "sim/sim-1";
const KINDS = ["openai", "compatible", "anthropic", "gemini", "bedrock", "cohere", "ollama"];
// The same provider, reached in one dialect only each.
export const OTHERS = Object.fromEntries(KINDS.map((kind) => [kind, `as_${kind}/sim-1`]));
export const MODELS = [OWN, ...Object.values(OTHERS)];

export function versions(...packages) {
  const version = (name) =>
    JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))).version;
  console.log("versions", packages.map((name) => `${name}@${version(name)}`).join(" "));
}

export function check(what, holds, ...seen) {
  if (!holds) {
    console.log(`FAILED: ${what}: ${seen.map((s) => JSON.stringify(s) ?? String(s)).join(" ")}`);
    process.exit(1);
  }
  console.log(`ok ${what}`);
}

export function same(what, got, expected) {
  check(what, isDeepStrictEqual(got, expected), got, "is not", expected);
}

// The error that a call raises: of this class, and with this status.
export async function raises(what, kind, status, call, told = (error) => error.status) {
  let got;
  try {
    got = await call();
  } catch (error) {
    const name = error?.constructor?.name;
    check(`${what}: ${name} ${told(error)}`, error instanceof kind && told(error) === status, String(error));
    return error;
  }
  check(what, false, "nothing was raised, but this came", got);
}

export async function listed(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

const ENDED = ["stop", "end_turn", "complete", "completed"];

// Asks the same of each model. What the functions return is what `python/checks.py` says.
export async function everywhere(name, models, { plain, stream, tools, streamedTools, structured, usage = true }) {
  for (const model of models) {
    const at = `${name} at ${model}`;
    if (plain) {
      const [text, finish, ...tokens] = await plain(model);
      same(`${at}: words`, text, WORDS);
      check(`${at}: it ended by itself`, ENDED.includes(String(finish).toLowerCase()), finish);
      if (usage) same(`${at}: usage`, tokens, [INPUT, OUTPUT]);
    }
    if (stream) {
      const [text, finish, input, output, pieces] = await stream(model);
      same(`${at}: streamed words`, text, WORDS);
      check(`${at}: in ${pieces} pieces`, pieces >= OUTPUT, pieces);
      check(`${at}: the stream ended by itself`, ENDED.includes(String(finish).toLowerCase()), finish);
      if (usage) same(`${at}: usage of the stream`, [input, output], [INPUT, OUTPUT]);
    }
    if (tools) {
      const [called, args, text] = await tools(model);
      same(`${at}: a call of a tool`, [called, args], ["weather", FOUND]);
      check(`${at}: its result went back`, text.startsWith("sim: ") && text.includes("sunny"), text);
    }
    if (streamedTools) same(`${at}: a streamed call`, await streamedTools(model), ["weather", FOUND]);
    if (structured) same(`${at}: an answer in a schema`, await structured(model), FOUND);
  }
}

export function done() {
  console.log("all good");
}
