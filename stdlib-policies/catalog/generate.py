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

# Providers that speak OpenAI's dialect and are known to the gateway by name.
PROVIDERS = ["openai", "groq", "mistral", "deepseek", "xai", "together", "perplexity", "cerebras"]

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
    (r"gpt-oss", "gpt-oss"),
    (r"(^|/)(gpt|chat-latest|daybreak)", "gpt"),
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

# What recorded answers of the provider show and the table does not tell.
CORRECTIONS = {("deepseek", "deepseek-reasoner"): ["function_calling"]}


def per_million(per_token):
    """Exact decimal text, without an exponent and without zeros at the end."""
    text = format(Decimal(per_token) * 1_000_000, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if len(text.partition(".")[2]) > 9:
        sys.exit(f"{per_token} a token has more than 9 decimals a million: the gateway could not hold it")
    return text


def wanted(row):
    """A model that can be called by the operations that the gateway serves."""
    name = row["model"]
    if row["mode"] not in ("chat", "embedding") or name.startswith("ft:"):
        return False
    if name.startswith("together-ai-"):
        return False  # a class of prices by size, no model
    if row["prices"].get("input") is None and row["context_window"] is None:
        return False  # a fee, no model
    endpoints = row.get("endpoints")
    return not endpoints or row["mode"] == "embedding" or "/v1/chat/completions" in endpoints


def price(row):
    """None where the table does not know it: a zero for a model that is paid would be a wrong claim."""
    prices = row["prices"]
    given, out = prices.get("input"), prices.get("output")
    if row["mode"] == "embedding":
        return None if not given or not Decimal(given) else {"input": per_million(given), "output": "0"}
    if not given or not out or not Decimal(given) or not Decimal(out):
        return None
    told = {"input": per_million(given)}
    if prices.get("cached_input") is not None:
        told["cached_input"] = per_million(prices["cached_input"])
    told["output"] = per_million(out)
    return told


def tier(row, told, as_of):
    if row.get("deprecation") and row["deprecation"] <= as_of:
        return "retired"
    if told is None or SPECIAL.search(row["model"].lower()):
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
        ("operations", "[embeddings]" if row["mode"] == "embedding" else "[chat]"),
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
        inner = ", ".join(f'{name}: "{amount}"' for name, amount in told.items())
        parts.append(("price", f"{{ {inner} }}"))
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
        rows = [row for row in table["models"] if row["provider"] == provider and wanted(row)]
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
