#!/usr/bin/env bash
# Two keys are made, and each tenant meets its own gateway.
source "$(dirname "$0")/../gateway.sh"
here="$(cd "$(dirname "$0")" && pwd)"

cp -r "$here/policies" "$work/policies"
for tenant in acme globex; do
  "$TOLLGATE" key new --tenant "$tenant" --state "$state" >"$work/key" 2>/dev/null
  declare "$tenant=$(grep -o '^tg_[A-Za-z0-9_]*' "$work/key")"
  grep '^  - ' "$work/key" >>"$work/policies/tenants.yaml"
done

"$TOLLGATE" check --config "$here/tollgate.yaml" --policies "$work/policies" >"$work/check" 2>&1 ||
  surprise "the repository does not load: $(cat "$work/check")"
echo "ok: the repository loads"

start --config "$here/tollgate.yaml" --policies "$work/policies"
[ -z "$key" ] || surprise "a gateway with a table of tenants has no one-time key"

ask "$acme" @standard
expect 200 'tollgate-target: sim/sim-eu' "acme asks for a tier and is answered in Europe"
ask "$acme" sim-us
[ "$status" != 200 ] || surprise "acme left Europe"
expect "$status" acme-stays-in-europe "acme cannot leave Europe, and is told by which policy"
ask "$acme" sim-large
[ "$status" != 200 ] || surprise "acme used a tier that no row grants"
echo "ok: acme has no row for the high tier ($status)"

ask "$globex" sim-small
expect 200 'tollgate-target: sim/sim-small' "globex has its one model"
ask "$globex" sim-1
[ "$status" != 200 ] || surprise "globex used a model that no row grants"
echo "ok: and no other ($status)"
for _ in 1 2 3; do ask "$globex" sim-small; done
expect 429 globex-minute "globex has used up its minute"
ask "$acme" @standard
expect 200 sim/sim-eu "which is no matter for acme"

ask tg_nobody @standard
expect 401 '"error"' "a stranger is turned away"

sleep 0.5
"$TOLLGATE" trail tail --state "$state" >"$work/trail"
grep -q acme "$work/trail" && grep -q globex "$work/trail" || surprise "the trail lacks a tenant: $(cat "$work/trail")"
echo "ok: the trail tells who called what, at what cost"
sed 's/^/    /' "$work/trail"
