#!/usr/bin/env bash
# Contracts of departments, read by a policy in JavaScript.
source "$(dirname "$0")/../gateway.sh"
here="$(cd "$(dirname "$0")" && pwd)"

"$TOLLGATE" policy test --policies "$here/policies" >"$work/cases" 2>&1 || surprise "cases fail: $(cat "$work/cases")"
echo "ok: $(tail -n 1 "$work/cases")"

start --policies "$here/policies"
ask "$key" sim/sim-1
expect 400 no_contract "an application without a contract is turned away"
ask "$key" sim/sim-1 -H 'tollgate-app: chatbot'
expect 200 '"choices"' "one with a contract is served"

stop
"$TOLLGATE" replay --policies "$here/policies" --state "$state" >"$work/replay" 2>&1 ||
  surprise "the calls are decided otherwise: $(cat "$work/replay")"
grep -q '2 decided again with equal digests, 0 different' "$work/replay" || surprise "$(cat "$work/replay")"
echo "ok: $(cat "$work/replay")"
