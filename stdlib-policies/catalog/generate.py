#!/usr/bin/env python3
"""Writes one catalog file per provider from a table of models and prices.

    TOLLGATE_CORPUS=/path/to/corpus python3 generate.py

The table is `prices/models.json` in that folder: LiteLLM's model table (MIT) with dollars per token as exact decimal
text. The rules are told in README.md beside this file. `sim.yaml` is written by hand and left alone.
"""

import json
import os
import re
import sys
from decimal import Decimal
from pathlib import Path

# Providers that the gateway knows by name, or that its kinds of API are named after.
PROVIDERS = [
    *["openai", "groq", "mistral", "deepseek", "xai", "together", "perplexity", "cerebras"],
    *["anthropic", "gemini", "vertex", "bedrock", "cohere", "azure"],
]

# Hosts of other makers' models list many that nobody begins with today; these are left out.
STALE = re.compile(
    r"claude-(v[12]|instant|3-|opus-4-2025|sonnet-4-2025|opus-4-1-)|claude-3|ai21|jamba|medlm|palmyra|twelvelabs|pegasus"
    r"|j2-|titan-text|command-(light-)?text|llama2|llama3-(8b|70b)|llama3-405b|llama3-[12]-|llama-3\.[12]-|mistral-7b|mixtral|mistral-(large|small)-240"
    r"|gpt-3\.?5|gpt-4(-|$)(?!\.)|gpt-4\.5|o1-|gemini-exp|learnlm|lyria|robotics|gemma-2|gemma-3|multimodalembedding|textembedding"
    r"|text-embedding-(004|preview|large-exp)|gemini-2\.0|cyber|container|model-router|codestral@|@latest|@default|mistral-nemo|^ada$"
)
SELDOM = ["vertex", "bedrock", "azure", "gemini"]

# Bedrock's profiles compute within a geography; the others are left to a repository's own rows.
GEOGRAPHIES = {"eu": "eu", "us": "us", "global": None}
PROFILE = re.compile(r"^(apac|au|ca|eu|global|in|jp|sa|us|us-gov)\.")

# Dollars per million output tokens (of embeddings: input tokens).
HIGH_FROM = Decimal("6")
CHEAP_BELOW = Decimal("0.60")

# Made for one purpose, or not meant to stay: nobody who asks for a tier wants them.
SPECIAL = re.compile(
    r"audio|search|guard|computer-use|cyber|daybreak|rosalind|-law\b|voxtral|-fim-|deep-research|vibe-cli"
    r"|preview|beta|exp\b|experimental|^labs-|embed-context|codestral-embed"
)

# The first that fits names the family.
FAMILIES = [
    (r"embed|bge-", "embedding"),
    (r"rerank", "rerank"),
    (r"claude", "claude"),
    (r"gemini", "gemini"),
    (r"nova", "nova"),
    (r"(^|[/.])command|aya", "command"),
    (r"gpt-oss", "gpt-oss"),
    (r"(^|[/.])(gpt|chat-latest|codex|daybreak)", "gpt"),
    (r"^o[0-9]", "o"),
    (r"deepseek", "deepseek"),
    (r"qwen|qwq", "qwen"),
    (r"llama", "llama"),
    (r"mixtral|mistral|ministral|codestral|devstral|magistral|pixtral|voxtral", "mistral"),
    (r"gemma", "gemma"),
    (r"grok", "grok"),
    (r"sonar", "sonar"),
    (r"kimi", "kimi"),
    (r"glm", "glm"),
    (r"minimax", "minimax"),
    (r"nemotron", "nemotron"),
    (r"muse", "muse"),
    (r"leanstral", "mistral"),
    (r"pplx", "pplx"),
]

FEATURES = [
    ("function_calling", "tools"),
    ("parallel_function_calling", "parallel_tools"),
    ("vision", "vision"),
    ("audio_input", "audio_input"),
    ("response_schema", "json_schema"),
    ("reasoning", "reasoning"),
]

# What recorded answers of the provider show, or its own pages say, and the table does not tell.
CORRECTIONS = {
    ("deepseek", "deepseek-reasoner"): ["function_calling"],
    ("cohere", "command-a-03-2025"): ["response_schema"],
    ("bedrock", "qwen.qwen3-32b-v1:0"): ["response_schema"],
    ("vertex", "gemini-3-flash-preview"): ["audio_input"],
}

# A slip of the source, a thousand times the price of its siblings: no price is the better claim.
DOUBTFUL = {("cohere", "embed-multilingual-light-v3.0")}

# Long prompts: the source's names to ours.
ABOVE = re.compile(
    r"^(input_cost_per_token|output_cost_per_token|cache_read_input_token_cost|cache_creation_input_token_cost"
    r"|cache_creation_input_token_cost_above_1hr)_above_(\d+)k_tokens$"
)
OURS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
}

# Kinds in the order of a row, with the kind whose price they have where they have none. Writes to a cache stand always.
KINDS = [
    ("input", None),
    ("cached_input", "input"),
    ("cache_write", None),
    ("cache_write_1h", None),
    ("input_audio", "input"),
    ("output", None),
    ("reasoning", "output"),
    ("output_audio", "output"),
]


def per_million(per_token):
    """Exact decimal text, without an exponent and without zeros at the end."""
    text = format(Decimal(per_token) * 1_000_000, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if len(text.partition(".")[2]) > 9:
        sys.exit(f"{per_token} a token has more than 9 decimals a million: the gateway could not hold it")
    return text


def wanted(row, as_of):
    """A model that can be called by the operations that the gateway serves."""
    name = row["model"]
    modes = ("chat", "embedding", "rerank") if row["provider"] == "cohere" else ("chat", "embedding")
    if row["mode"] not in modes or name.startswith("ft:"):
        return False
    if name.startswith("together-ai-"):
        return False  # a class of prices by size, no model
    if row["prices"].get("input") is None and row["context_window"] is None:
        return False  # a fee, no model
    if row["provider"] in SELDOM and not seldom_wanted(row, as_of):
        return False
    endpoints = row.get("endpoints")
    return not endpoints or row["mode"] == "embedding" or "/v1/chat/completions" in endpoints


def seldom_wanted(row, as_of):
    name, profile = row["model"], PROFILE.match(row["model"])
    if STALE.search(name) or (row.get("deprecation") or "9") <= as_of:
        return False
    if profile and profile[1] not in GEOGRAPHIES:
        return False
    if row["provider"] == "vertex":  # the others speak other protocols there
        return name.startswith("gemini-")
    if row["provider"] == "bedrock" and ("@" in name or name.startswith("claude-")):
        return False  # no id of Bedrock's
    if row["provider"] == "azure":  # a deployment has the caller's own name; dated ones are left out
        return "/" not in name and not re.search(r"\d{4}-\d\d-\d\d$", name)
    return True


def region(row):
    profile = PROFILE.match(row["model"]) if row["provider"] == "bedrock" else None
    return GEOGRAPHIES[profile[1]] if profile else None


def price(row):
    """None where the table does not know it: a zero for a model that is paid would be a wrong claim."""
    prices = {("reasoning" if kind == "reasoning_output" else kind): amount for kind, amount in row["prices"].items()}
    given, out = prices.get("input"), prices.get("output")
    if (row["provider"], row["model"]) in DOUBTFUL:
        return None
    if row["mode"] == "rerank":  # by the search, not by the token
        by_search = (row.get("extra") or {}).get("input_cost_per_query")
        return {"search_unit": per_million(by_search)} if by_search and Decimal(by_search) else None
    if row["mode"] == "embedding":
        return None if not given or not Decimal(given) else {"input": per_million(given), "output": "0"}
    if not given or not out or not Decimal(given) or not Decimal(out):
        return None
    told = kinds(prices)
    above = long_prompts(row, prices)
    if above:
        told["above"] = above
    return told


def kinds(prices):
    """Those that differ from the kind behind them."""
    told = {}
    for kind, behind in KINDS:
        if prices.get(kind) is None:
            continue
        if behind and Decimal(prices[kind]) == Decimal(prices.get(behind) or prices["input"]):
            continue
        told[kind] = per_million(prices[kind])
    return told


def long_prompts(row, base):
    """Rows by rising bound. A kind that the source does not name above it keeps its price, where that is the dearer."""
    rows = {}
    for name, amount in (row.get("extra") or {}).items():
        found = ABOVE.match(name)
        if found:
            rows.setdefault(int(found[2]) * 1000, {})[OURS[found[1]]] = amount
    told = []
    for tokens, named in sorted(rows.items()):
        if "input" not in named and "output" not in named:
            continue
        prices = {"input": named.get("input", base["input"]), "output": named.get("output", base["output"]), **named}
        for kind, behind in KINDS:
            if kind not in prices and base.get(kind) and Decimal(base[kind]) > Decimal(prices.get(behind) or prices["input"]):
                prices[kind] = base[kind]
        told.append({"tokens": tokens, **kinds(prices)})
    return told


def price_text(told):
    def one(name, amount):
        if name == "above":
            return f"above: [{', '.join(price_text(row) for row in amount)}]"
        return f"{name}: {amount}" if name == "tokens" else f'{name}: "{amount}"'

    return "{ " + ", ".join(one(name, amount) for name, amount in told.items()) + " }"


def tier(row, told, as_of):
    if row.get("deprecation") and row["deprecation"] <= as_of:
        return "retired"
    if row["mode"] == "rerank" or told is None or SPECIAL.search(row["model"].lower()):
        return "special"
    measure = Decimal(told["input"] if row["mode"] == "embedding" else told["output"])
    if row["mode"] == "embedding":
        return "cheap" if measure < Decimal("0.10") else "standard"
    if measure >= HIGH_FROM:
        return "high"
    return "cheap" if measure < CHEAP_BELOW else "standard"


def family(row):
    name = row["model"].lower()
    for pattern, told in FAMILIES:
        if re.search(pattern, name):
            return told
    return re.split(r"[-/.]", name.rsplit("/", 1)[-1])[0]


def plain(text):
    """Text in a flow map: quoted where YAML could read it as something else."""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", text) and text.lower() not in ("y", "n", "yes", "no", "on", "off"):
        return text
    return json.dumps(text)


def line(row, as_of):
    told = price(row)
    parts = [
        ("provider", row["provider"]),
        ("model", plain(row["model"])),
        ("family", plain(family(row))),
        ("tier", tier(row, told, as_of)),
        *([("region", region(row))] if region(row) else []),
        ("operations", {"embedding": "[embeddings]", "rerank": "[rerank]"}.get(row["mode"], "[chat]")),
    ]
    capabilities = row["capabilities"] + CORRECTIONS.get((row["provider"], row["model"]), [])
    features = [ours for theirs, ours in FEATURES if theirs in capabilities]
    if features and row["mode"] == "chat":
        parts.append(("features", f"[{', '.join(features)}]"))
    if row["context_window"]:
        parts.append(("context_tokens", row["context_window"]))
    if row["max_output_tokens"] and row["mode"] == "chat":
        parts.append(("output_tokens_max", row["max_output_tokens"]))
    if told:
        parts.append(("price", price_text(told)))
    return "  - { " + ", ".join(f"{name}: {value}" for name, value in parts) + " }"


ORDER = ["high", "standard", "cheap", "special", "retired"]


def place(row, as_of):
    """The order of the file is the order of choice within a tier: the cheapest first, names without a date first."""
    told = price(row)
    amount = Decimal((told or {}).get("output", "0")) + Decimal((told or {}).get("input", "0"))
    return (ORDER.index(tier(row, told, as_of)), row["mode"], amount, len(row["model"]), row["model"])


def main():
    corpus = os.environ.get("TOLLGATE_CORPUS")
    if not corpus:
        sys.exit("set TOLLGATE_CORPUS to the folder that holds prices/models.json")
    table = json.loads(Path(corpus, "prices", "models.json").read_text())
    as_of = table["as_of"]
    here = Path(__file__).resolve().parent
    for provider in PROVIDERS:
        rows = [row for row in table["models"] if row["provider"] == provider and wanted(row, as_of)]
        rows.sort(key=lambda row: place(row, as_of))
        lines = [
            "# Made by generate.py from the table named below: change the table or the rules, not this file.",
            "# Prices are dollars per million tokens.",
            f'as_of: "{as_of}"',
            f'source: "{table["source"]}"',
            "models:",
            *(line(row, as_of) for row in rows),
        ]
        Path(here, f"{provider}.yaml").write_text("\n".join(lines) + "\n")
        print(f"{provider}: {len(rows)} models")


if __name__ == "__main__":
    main()
