#!/usr/bin/env bash
# Runs everything that can be checked on one machine; installs what it needs. `--long` adds the slow forms.
#
# One build profile (release) serves the program, its tests and everyday use, so that nothing is built twice.
set -euo pipefail
cd "$(dirname "$0")"

long=""
for argument in "$@"; do
  case "$argument" in
    --long) long=1 ;;
    *) echo "test.sh: unknown argument \`$argument\`: the only one is --long" >&2; exit 2 ;;
  esac
done
export TOLLGATE_LONG="$long"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"

# Official clients are the judges of the callers' side.
tests/clients/install ${long:+long}

# Policies over ssh are tried against a real sshd. Nobody's machine gets a server from a test, but CI's may.
if [ -n "${CI:-}" ] && [ ! -x /usr/sbin/sshd ] && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  echo "test.sh: installing openssh-server"
  { apt-get update && apt-get install -y --no-install-recommends openssh-server; } > /dev/null 2>&1 || echo "test.sh: there is no sshd: policies over ssh are skipped"
fi

# Limits that gateways share are tried against a real redis-server.
if [ -n "${CI:-}" ] && ! command -v redis-server > /dev/null && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  echo "test.sh: installing redis-server"
  { apt-get update && apt-get install -y --no-install-recommends redis-server; } > /dev/null 2>&1 || echo "test.sh: there is no redis-server: shared limits are skipped"
fi

cargo fmt --all --check
cargo clippy --release --workspace --all-targets -- -D warnings
# With the tests: alone, the program's dependencies have fewer features, and a third of them would be built twice.
cargo build --release --workspace --all-targets
cargo test --release --workspace

# What came from outside, at random: every reader of bytes, ten seconds each; ten minutes each in the long form.
cargo fmt --manifest-path fuzz/Cargo.toml --check
if command -v c++ > /dev/null; then
  fuzz/run ${long:+600}
else
  echo "test.sh: there is no C++ compiler: FUZZING IS SKIPPED"
fi
