# The habits of the house; `just` lists them. `just check` is what CI runs.

default:
    @just --list

# Everything that a push must pass
check: fmt-check lint test deny

# All tests; `just test long` adds the slow forms
test what="":
    ./test.sh {{ if what == "long" { "--long" } else { "" } }}

# Only the rules of the house
house:
    cargo test --release -p tollgate-tests --test it house

fmt:
    cargo fmt --all

fmt-check:
    cargo fmt --all --check

lint:
    cargo clippy --release --workspace --all-targets -- -D warnings

# Licences, advisories, sources (needs cargo-deny)
deny:
    cargo deny check

# Build, then run the examples one after the other
examples:
    cargo build --release
    for example in examples/*/run.sh; do echo "== $example"; "$example" || exit 1; done

# What tollgate costs beside a bare proxy
bench:
    ./bench/run.sh

# Write the built-in catalog anew; TOLLGATE_CORPUS names the folder with prices/models.json
catalog:
    python3 stdlib-policies/catalog/generate.py
