# For the examples: starts a gateway of their own and looks at its answers. Source it; it needs bash, curl and the binary.

set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
TOLLGATE="${TOLLGATE:-$root/target/release/tollgate}"
[ -x "$TOLLGATE" ] || { echo "no binary at $TOLLGATE: run cargo build --release, or set TOLLGATE" >&2; exit 2; }
TOLLGATE="$(cd "$(dirname "$TOLLGATE")" && pwd)/$(basename "$TOLLGATE")"

# Only the scripted provider: an example spends nobody's key.
unset "${!OPENAI_@}" "${!GROQ_@}" "${!MISTRAL_@}" "${!DEEPSEEK_@}" "${!OPENROUTER_@}" "${!XAI_@}" "${!TOGETHER_@}" \
  "${!PERPLEXITY_@}" "${!CEREBRAS_@}" "${!OLLAMA_@}" "${!VLLM_@}" 2>/dev/null || true
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

work="$(mktemp -d)"
state="$work/state"
gateway=""

stop() {
  [ -z "$gateway" ] || { kill "$gateway" 2>/dev/null || true; wait "$gateway" 2>/dev/null || true; }
  gateway=""
}
trap 'stop; rm -rf "$work"' EXIT

surprise() {
  echo "SURPRISE: $1" >&2
  [ ! -s "$work/log" ] || { echo "the gateway's log:" >&2; tail -n 30 "$work/log" >&2; }
  exit 1
}

# start ARGS...: on free ports, with a state folder of its own. Sets base, and key where there is a one-time key.
start() {
  "$TOLLGATE" serve --listen 127.0.0.1:0 --operators 127.0.0.1:0 --state "$state" "$@" >"$work/out" 2>"$work/log" &
  gateway=$!
  for _ in $(seq 200); do
    if grep -q '^keys\?: ' "$work/out"; then
      base="$(grep -o 'http://[0-9.:]*/v1' "$work/out" | head -n 1)"
      key="$(grep -o '^key: tg_[A-Za-z0-9_]*' "$work/out" | cut -d ' ' -f 2 || true)"
      return
    fi
    kill -0 "$gateway" 2>/dev/null || break
    sleep 0.05
  done
  cat "$work/out" >&2
  surprise "the gateway did not start"
}

# ask KEY MODEL [CURL ARGS...]: one chat. Sets status, body and head.
ask() {
  local bearer="$1" model="$2"
  shift 2
  status="$(curl -sS -o "$work/body" -D "$work/head" -w '%{http_code}' "$base/chat/completions" \
    -H "authorization: Bearer $bearer" -H 'content-type: application/json' "$@" \
    -d "{\"model\": \"$model\", \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}")"
  body="$(cat "$work/body")"
  head="$(tr -d '\r' <"$work/head")"
}

# header NAME: of the last answer.
header() {
  grep -i "^$1: " <<<"$head" | head -n 1 | cut -d ' ' -f 2-
}

# expect STATUS WORDS WHY: the last answer has this status, and its body or head these words.
expect() {
  [ "$status" = "$1" ] || surprise "$3: status $status instead of $1: $body"
  grep -qF -- "$2" <<<"$head
$body" || surprise "$3: no \`$2\` in: $head $body"
  echo "ok: $3"
}
