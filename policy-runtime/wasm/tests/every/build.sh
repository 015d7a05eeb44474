#!/usr/bin/env bash
# Builds the guest, which is committed built. Needs: `rustup target add wasm32-unknown-unknown`, nothing else.
#
# The linker that comes with Rust makes a component of what it links; the small stack keeps the memory that a fresh
# instance touches small.
set -euo pipefail
cd "$(dirname "$0")"
tools="$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin"
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="$tools/wasm-component-ld"
export RUSTFLAGS="-C link-arg=--wasm-ld-path=$tools/gcc-ld/wasm-ld -C link-arg=-zstack-size=32768"
cargo build --release --locked --target wasm32-unknown-unknown
cp target/wasm32-unknown-unknown/release/every_effect.wasm every.wasm
