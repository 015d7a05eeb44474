#!/usr/bin/env bash
# The README's steps, tried: a call, a stream, a wrong key, and the explanation.
source "$(dirname "$0")/../gateway.sh"

start
[ -n "$key" ] || surprise "no one-time key was printed"

ask "$key" sim/sim-1
expect 200 '"choices"' "the scripted provider answers"
expect 200 'tollgate-target: sim/sim-1' "the answer says who answered"
[ -n "$(header tollgate-cost-usd)" ] || surprise "the answer says no cost"
id="$(header tollgate-call-id)"

ask "$key" @cheap
expect 200 'tollgate-target: sim/sim-small' "a tier instead of a model: the catalog chooses"

stream="$(curl -sS -N "$base/chat/completions" -H "authorization: Bearer $key" -H 'content-type: application/json' \
  -d '{"model": "sim/sim-1", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}')"
grep -q 'data: \[DONE\]' <<<"$stream" || surprise "the stream has no end: $stream"
echo "ok: a stream comes to its end"

ask tg_wrong sim/sim-1
expect 401 '"error"' "a wrong key is turned away"

# A receipt is written a moment after the answer.
for _ in $(seq 100); do
  told="$("$TOLLGATE" explain "$id" --state "$state" 2>/dev/null || true)"
  [ -z "$told" ] || break
  sleep 0.05
done
grep -q 'sim/sim-1' <<<"$told" || surprise "\`tollgate explain $id\` tells no target: $told"
echo "ok: tollgate explain tells how it was decided"
sed 's/^/    /' <<<"$told"
