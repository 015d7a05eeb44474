#!/usr/bin/env bash
# A policy is changed by a commit, a broken commit changes nothing, and a revert is the way back.
source "$(dirname "$0")/../gateway.sh"

"$TOLLGATE" policy init "$work/policies" >/dev/null
git clone -q --bare "$work/policies" "$work/policies.git"
commit() {
  git -C "$work/policies" -c user.name=example -c user.email=example@localhost "$@"
  git -C "$work/policies" push -q "$work/policies.git" main
}
edit() {
  sed -i.before "$1" "$work/policies/tollgate-policies.yaml"
  rm "$work/policies/tollgate-policies.yaml.before"
}

# until_status STATUS WHY: the same call again, until it is answered so.
until_status() {
  for _ in $(seq 200); do
    ask "$key" sim/sim-1
    [ "$status" != "$1" ] || return 0
    sleep 0.05
  done
  surprise "$2: status $status instead of $1: $body"
}

"$TOLLGATE" policy test --policies "$work/policies" >"$work/cases" 2>&1 || surprise "cases fail: $(cat "$work/cases")"
echo "ok: $(tail -n 1 "$work/cases")"

start --policies "$work/policies.git"
ask "$key" sim/sim-1
expect 200 "tollgate-revision: $(git -C "$work/policies" rev-parse HEAD | cut -c 1-12)" "the answer names the commit that decided"

edit 's/mode: observe/mode: enforce/'
commit commit -qam 'Every call names its use case'
until_status 400 "a pushed policy acts"
expect 400 missing_use_case "the policy is enforced, and the caller is told by its code"
ask "$key" sim/sim-1 -H 'tollgate-use-case: support'
expect 200 '"choices"' "a call that names its use case passes"

edit 's/mode: enforce/mode: enforced/'
commit commit -qam 'A mistake'
for _ in $(seq 200); do
  grep -q 'enforced' "$work/log" && break
  sleep 0.05
done
grep -q 'tollgate-policies.yaml:' "$work/log" || surprise "the log does not say where the mistake is"
echo "ok: the log says where the mistake is"
ask "$key" sim/sim-1
expect 400 missing_use_case "the revision before it goes on deciding"

commit revert --no-edit HEAD~2..HEAD >/dev/null
until_status 200 "a revert is the way back"
echo "ok: a revert is the way back"
