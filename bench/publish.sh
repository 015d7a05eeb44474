#!/usr/bin/env bash
# Builds the program as it is published: the profile `dist`, laid out by what a run of it measured.
#
#   bench/publish.sh        -> target/published/tollgate, in 20 to 50 minutes on 2 cores
#
# First a build that counts what it runs, then calls of every kind through it (`bench/train.py`), then the build that is
# published: what is run is inlined and lies together, what is not stays out of the way. Both see the same sources.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')

merge=
for at in "$(rustc --print target-libdir)/../bin/llvm-profdata" "/usr/lib/llvm-$llvm/bin/llvm-profdata" "$(command -v "llvm-profdata-$llvm" || true)"; do
  if [ -x "$at" ]; then merge=$at; break; fi
done
[ -n "$merge" ] || {
  echo "bench/publish.sh: there is no llvm-profdata of LLVM $llvm: \`rustup component add llvm-tools\`, or install the package \`llvm-$llvm\`" >&2
  exit 2
}

build() { # TARGET_DIR FLAGS
  RUSTFLAGS="$2" cargo build --locked --profile dist --package tollgate --bin tollgate --target "$host" --target-dir "$1"
}

counts=$PWD/target/profile
rm -rf "$counts"
mkdir -p "$counts" target/published
build target/counting "-Cprofile-generate=$counts"
python3 bench/train.py "target/counting/$host/dist/tollgate"
"$merge" merge -o "$counts/merged" "$counts"/*.profraw
build target/laid-out "-Cprofile-use=$counts/merged"
cp "target/laid-out/$host/dist/tollgate" target/published/tollgate
ls -l target/published/tollgate
