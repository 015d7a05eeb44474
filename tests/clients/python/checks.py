"""What every client is asked, wherever the answer comes from, and what it must hold in the end.

A script gives functions that take a model and return plain values; what is checked is the same for all of them:

    SCRIPT BASE_URL KEY
"""

import importlib.metadata
import sys

BASE, KEY = sys.argv[1].rstrip("/"), sys.argv[2]

HELLO = "Hello from the client"
# The scripted provider says the same words in every dialect, some beyond ASCII, and counts them truly.
WORDS = "sim: Hello from the client the gate counts every token für alle calls and keeps 日本語"
INPUT, OUTPUT = 7, 16
# A question that names a tool is answered by a call of it.
ASK = "What is the weather in Oslo?"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
FOUND = {"city": "sim"}
RESULT = "sunny in Oslo"

OWN = "sim/sim-1"
# The same provider, reached in one dialect only each.
OTHERS = {kind: f"as_{kind}/sim-1" for kind in ("openai", "compatible", "anthropic", "gemini", "bedrock", "cohere", "ollama")}


def versions(*packages):
    print("versions", " ".join(f"{p}=={importlib.metadata.version(p)}" for p in packages), flush=True)


def check(what, holds, *seen):
    if not holds:
        raise SystemExit(f"FAILED: {what}: {' '.join(repr(s) for s in seen)}")
    print(f"ok {what}", flush=True)


def same(what, got, expected):
    check(what, got == expected, got, "is not", expected)


def raises(what, kinds, status, call, told=lambda error: getattr(error, "status_code", None)):
    """The error that a call raises: of one of these classes, and with this status."""
    try:
        got = call()
    except kinds as error:
        check(f"{what}: {type(error).__name__} {told(error)}", told(error) == status, error)
        return error
    raise SystemExit(f"FAILED: {what}: nothing was raised, but {got!r} came")


def everywhere(name, models, plain=None, stream=None, tools=None, streamed_tools=None, structured=None, usage=True):
    """Asks the same of each model. Each function returns what its words say:

    plain, stream: text, finish, input tokens, output tokens, and for a stream the number of its pieces
    tools: name, arguments, and the text that answers the result; streamed_tools: name, arguments; structured: a dict
    """
    for model in models:
        at = f"{name} at {model}"
        if plain:
            text, finish, *tokens = plain(model)
            same(f"{at}: words", text, WORDS)
            check(f"{at}: it ended by itself", str(finish).lower() in ("stop", "end_turn", "complete", "completed"), finish)
            if usage:
                same(f"{at}: usage", tokens, [INPUT, OUTPUT])
        if stream:
            text, finish, *tokens, pieces = stream(model)
            same(f"{at}: streamed words", text, WORDS)
            check(f"{at}: in {pieces} pieces", pieces >= OUTPUT, pieces)
            check(f"{at}: the stream ended by itself", str(finish).lower() in ("stop", "end_turn", "complete", "completed"), finish)
            if usage:
                same(f"{at}: usage of the stream", tokens, [INPUT, OUTPUT])
        if tools:
            called, arguments, text = tools(model)
            same(f"{at}: a call of a tool", (called, arguments), ("weather", FOUND))
            check(f"{at}: its result went back", text.startswith("sim: ") and "sunny" in text, text)
        if streamed_tools:
            same(f"{at}: a streamed call", streamed_tools(model), ("weather", FOUND))
        if structured:
            same(f"{at}: an answer in a schema", structured(model), FOUND)


def done():
    print("all good", flush=True)
