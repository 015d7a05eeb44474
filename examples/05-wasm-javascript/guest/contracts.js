// Departments have contracts: which tiers they may use, from how long a prompt on, and in which hours.
// The contracts are a table in the manifest; this file only reads it.

export function decide(hook, facts) {
  if (hook !== "pre-route") throw "contracts are looked at when the model is chosen: set `hook: pre-route`";
  const contracts = JSON.parse(facts.paramJson("contracts") ?? "{}");
  const app = facts.callerApp();
  const contract = contracts[app] ?? contracts["*"];
  if (!contract) return [deny("no_contract", `no contract for \`${app}\`: ask your platform team for one`)];

  const effects = [require("tiers", contract.tiers), tag("contract", contracts[app] ? app : "*")];
  const wanted = facts.intentTier();
  const tokens = Number(facts.promptTokens());
  const small = contract.small_below ?? 0;
  if (wanted === "high" && tokens < small && contract.tiers.includes("standard")) {
    effects.push(prefer("standard", 100), note(`${tokens} tokens are fewer than ${small}: the standard tier answers`));
  }
  const [from, to] = contract.hours ?? [0, 24];
  const hour = Number(facts.callHour());
  if (hour < from || hour >= to) {
    effects.push({ tag: "cap", val: { tag: "max-tokens", val: contract.night_tokens ?? 1000 } });
    effects.push(note(`outside ${from} to ${to} o'clock: short answers only`));
  }
  return effects;
}

const deny = (code, reason) => ({ tag: "deny", val: { code, reason } });
const require = (of, any) => ({ tag: "require", val: { of, any } });
const prefer = (tier, score) => ({ tag: "prefer", val: { wish: { tag: "tier", val: tier }, score } });
const tag = (key, value) => ({ tag: "tag", val: { key, value } });
const note = (text) => ({ tag: "note", val: text });
