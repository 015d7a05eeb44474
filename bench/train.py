#!/usr/bin/env python3
"""Calls of every kind through one gateway, for a build that counts what it runs: `bench/train.py PROGRAM`.

A `sim` beside it stands in for the providers. Policies are those of the benchmark, with limits beside them; a second round
goes without limits. Nothing but 127.0.0.1 is talked to; it ends by itself, within two minutes.
"""
import http.client, json, os, re, shutil, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.abspath(sys.argv[1])
CONNECTIONS = 8
ROUNDS = 40

CONFIG = """
providers:
  bench: { base_url: "http://127.0.0.1:%d/v1", default: true, unlisted: true }
  claude: { api: anthropic, base_url: "http://127.0.0.1:%d", unlisted: true }
  google: { api: gemini, base_url: "http://127.0.0.1:%d", unlisted: true }
"""
LIMITS = """
budgets:
  all: { per: [], limit_usd: "1000000", period: month }
  tenant: { per: [tenant], limit_usd: "100000", period: month }
  key: { per: [tenant, key], limit_usd: "10000", period: day }
rates:
  requests: { per: [key], requests: 6000000, every: 1m }
  tokens: { per: [tenant], tokens: 2000000000, every: 1m }
"""


def words(size):
    text = "please tell the gate how many ways there are to carry a token from here to there\n"
    return (text * (size // len(text) + 1))[:size]


def chat(size, **more):
    return dict(model="gpt-4o-mini", max_tokens=256, temperature=0.2, messages=[
        {"role": "system", "content": "You are a careful assistant."}, {"role": "user", "content": words(size)}], **more)


def messages(size, model, **more):
    return dict(model=model, max_tokens=256, system="You are a careful assistant.",
                messages=[{"role": "user", "content": words(size)}], **more)


TOOLS = [{"type": "function", "function": {"name": "look", "description": words(200), "parameters": {
    "type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}}]
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
# How often in a round, where, what, and the status that is to come.
CALLS = [
    (12, CHAT, chat(900), 200),
    (6, CHAT, chat(900, stream=True, stream_options={"include_usage": True}), 200),
    (1, CHAT, chat(100_000), 200),
    (2, CHAT, chat(4_000, tools=TOOLS), 200),
    (3, CHAT, dict(chat(900), model="claude/sim-1"), 200),
    (2, CHAT, dict(chat(900, stream=True), model="claude/sim-1"), 200),
    (1, CHAT, dict(chat(900), model="google/sim-1"), 200),
    (3, MESSAGES, messages(900, "claude/sim-1"), 200),
    (3, MESSAGES, messages(900, "bench/sim-1"), 200),
    (2, MESSAGES, messages(900, "bench/sim-1", stream=True), 200),
    (1, "/v1/responses", {"model": "bench/sim-1", "input": words(900)}, 200),
    (2, "/v1/embeddings", {"model": "bench/sim-embed", "input": words(200)}, 200),
    (1, CHAT, {"model": "gpt-4o-mini"}, 400),
    (1, CHAT, dict(chat(100), model="bench/sim-1?status=500"), 500),
]


def start(*args, **env):
    log = tempfile.TemporaryFile("w+")
    return subprocess.Popen([PROGRAM, *args], stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ, **env)), log


def said(process, log, what):
    for _ in range(600):
        log.seek(0)
        text = log.read()
        if found := re.search(what, text):
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise SystemExit(f"train.py: `{what}` was not said:\n{text[-2000:]}")


def calls(port, key, wrong):
    to = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(ROUNDS):
        for count, path, body, status in CALLS:
            for _ in range(count):
                to.request("POST", path, json.dumps(body), {"content-type": "application/json", "authorization": f"Bearer {key}"})
                answer = to.getresponse()
                text = answer.read()
                if answer.status != status:
                    wrong.append(f"{path}: {answer.status} instead of {status}: {text[:300]!r}")


def train(limits):
    folder = tempfile.mkdtemp()
    policies = os.path.join(folder, "policies")
    shutil.copytree(os.path.join(HERE, "policies"), policies)
    if limits:
        with open(os.path.join(policies, "limits.yaml"), "w") as file:
            file.write(LIMITS)
    sim, sim_log = start("sim", "--listen", "127.0.0.1:0", LLVM_PROFILE_FILE=os.devnull)
    port = int(said(sim, sim_log, r"127\.0\.0\.1:(\d+)"))
    config = os.path.join(folder, "tollgate.yaml")
    with open(config, "w") as file:
        file.write(CONFIG % (port, port, port))
    gateway, log = start("--config", config, "--policies", policies, "--state", os.path.join(folder, "state"),
                         "--listen", "127.0.0.1:0", "--operators", "127.0.0.1:0")
    key = said(gateway, log, r"key: .*?(tg_\w+)")
    port = int(said(gateway, log, r"http://127\.0\.0\.1:(\d+)"))
    wrong = []
    threads = [threading.Thread(target=calls, args=(port, key, wrong)) for _ in range(CONNECTIONS)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    # Counts are written where the program ends.
    gateway.terminate()
    gateway.wait(60)
    sim.kill()
    shutil.rmtree(folder, ignore_errors=True)
    if wrong:
        raise SystemExit("train.py: " + "\n".join(wrong[:5]))
    print(f"{CONNECTIONS * ROUNDS * sum(count for count, *_ in CALLS)} calls, {'with' if limits else 'without'} limits")


for limits in (False, True):
    train(limits)
