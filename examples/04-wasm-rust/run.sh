#!/usr/bin/env bash
# A company's own classifier, written in Rust and built as a component, decides where prompts may go.
source "$(dirname "$0")/../gateway.sh"
here="$(cd "$(dirname "$0")" && pwd)"

"$TOLLGATE" policy test --policies "$here/policies" >"$work/cases" 2>&1 || surprise "cases fail: $(cat "$work/cases")"
echo "ok: $(tail -n 1 "$work/cases")"

# say WORDS: one chat with these words. Sets status, body and head.
say() {
  status="$(curl -sS -o "$work/body" -D "$work/head" -w '%{http_code}' "$base/chat/completions" \
    -H "authorization: Bearer $key" -H 'content-type: application/json' \
    -d "{\"model\": \"sim/sim-1\", \"messages\": [{\"role\": \"user\", \"content\": \"$1\"}]}")"
  body="$(cat "$work/body")"
  head="$(tr -d '\r' <"$work/head")"
}

start --policies "$here/policies"
say "What is the weather like?"
expect 200 '"choices"' "plain words go anywhere"
say "Pay 20 to DE89 3704 0044 0532 0130 00, please"
expect 400 restricted_data "the number of an account goes nowhere"
grep -q '0130 00' <<<"$body" && surprise "the number is told: $body"
say "Pay 20 to DE88 3704 0044 0532 0130 00, please"
expect 200 '"choices"' "a number with wrong check digits is a number"

ls "$state"/machine-code/*.code >/dev/null || surprise "the machine code was not kept"
stop
start --policies "$here/policies"
say "4111 1111 1111 1111"
expect 400 restricted_data "a second start takes the machine code that the first one kept"
