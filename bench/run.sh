#!/usr/bin/env bash
# Measures the gateway beside the floor proxies, in one run: CPU time per call, medians over interleaved rounds.
#
#   bench/run.sh [ROUNDS] [SCENARIOS]       5 rounds of chat,chat-100k,stream where nothing is said
#
# Between dialects: chat-to-anthropic, chat-to-anthropic-stream, messages, messages-stream, agent, agent-messages.
#
# The harness (load generator, mock provider, floor proxies) lies outside the project: TOLLGATE_BENCH names its folder.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
rounds=${1:-5}
scenarios=${2:-chat,chat-100k,stream}
harness=${TOLLGATE_BENCH:-../shared/bench}
[ -f "$harness/measure.py" ] || { echo "bench/run.sh: there is no harness at \`$harness\`: set TOLLGATE_BENCH" >&2; exit 2; }

# TOLLGATE names another build, such as one of the profile `dist`, which is what is published.
program=${TOLLGATE:-target/release/tollgate}
[ -n "${TOLLGATE:-}" ] || cargo build --release
work=target/bench
mkdir -p "$work"
cp -r "$harness"/. "$work/harness"
(cd "$work/harness" && cargo build --release --target-dir ../build)

state=$(mktemp -d)
export TOLLGATE_BENCH_SECRET=sk-upstream
"$program" --config bench/tollgate.yaml --policies bench/policies --state "$state" --threads 1 \
  --listen 127.0.0.1:8080 --operators 127.0.0.1:8081 >"$state/out" 2>"$state/log" &
gateway=$!
trap 'kill $gateway 2>/dev/null; wait $gateway 2>/dev/null; rm -rf "$state"' EXIT
for _ in $(seq 100); do grep -q '^key: ' "$state/out" && break; sleep 0.05; done
key=$(grep -o 'tg_[A-Za-z0-9_]*' "$state/out" | head -n 1)
cd "$work/harness"
python3 "$here/scenarios.py" --bin ../build/release --targets targets.json --only floor-pass,floor-lean \
  --gateway "tollgate,127.0.0.1:8080,$gateway" --header "authorization: Bearer $key" \
  --rounds "$rounds" --scenarios "$scenarios" --nice "${TOLLGATE_BENCH_NICE:-0}" --out ../results.jsonl | tail -n 60
python3 - ../results.jsonl <<'P'
import json, statistics, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
last = {}
for row in rows:
    if "round" in row:
        last.setdefault(row["scenario"], {}).setdefault(row["round"], {})[row["target"]] = row
for scenario, per_round in last.items():
    ratios = [r["tollgate"]["cpu_us_per_req"] / r["floor-lean"]["cpu_us_per_req"] for r in per_round.values() if {"tollgate", "floor-lean"} <= r.keys()]
    if ratios:
        print(f"{scenario}: {statistics.median(ratios):.2f} x floor-lean (from {min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} rounds)")
P
grep VmRSS "/proc/$gateway/status"
