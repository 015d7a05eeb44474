//! The rules of the house, kept by reading manifests, imports and sources.
//!
//! A rule that is broken for a reason is named in a table here with that reason; a reason that no longer holds is told
//! too.

mod sources;

use std::collections::BTreeSet;

use crate::support::root;
use sources::{dependencies, function, function_lines, imports, manifest, sources};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 60;

/// Files that are longer, and why they are still one idea.
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions that are longer, and why they are not divided.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[
    ("core/src/contract/skim.rs", "value", "one step of the one pass over a body: a branch for each kind of value"),
    ("core/src/pipeline/answer.rs", "answer", "the way over targets in turn, told from top to bottom"),
    ("core/src/policy/terms.rs", "finish", "one paragraph for each kind of effect"),
    ("policy-runtime/src/cases/expect.rs", "text", "one arm for each kind of effect"),
];

/// The only files with `unsafe`: each wraps calls that have no safe form.
const UNSAFE_FILES: &[(&str, &str)] = &[
    ("policy-runtime/git/src/library.rs", "the options of libgit2 are global state of a C library"),
    (
        "policy-runtime/wasm/src/kept.rs",
        "the engine believes the machine code that it loads: it is our own, under a MAC",
    ),
];

/// What each of our packages may use of the others. `tests` drives the built program and imports none.
const NEIGHBOURS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("policy-runtime", &["tollgate-core"]),
    ("policy-runtime/git", &["tollgate-core"]),
    // Its guests are programs like those of the other languages: it fulfils their contract.
    ("policy-runtime/wasm", &["tollgate-core", "tollgate-policy-runtime"]),
    ("providers", &["tollgate-core"]),
    ("store", &["tollgate-core"]),
    (
        "gateway",
        &[
            "tollgate-core",
            "tollgate-policy-git",
            "tollgate-policy-runtime",
            "tollgate-policy-wasm",
            "tollgate-providers",
            "tollgate-store",
        ],
    ),
    ("tests", &[]),
];

/// Clients, servers, databases and engines: the core names what it needs in its ports and is given it.
const NOT_IN_CORE: &str =
    "axum cel clap git2 hyper hyper-util moka notify redb reqwest rhai serde-saphyr tower-http wasmtime";

/// What the core asks nobody for: time, disk, network, environment and threads are given to it.
const NOT_ASKED_BY_CORE: &str = "std::env std::fs std::net std::process std::thread tokio::fs tokio::net tokio::time \
                                 Instant::now SystemTime::now Timestamp::now";

/// The floors of `core/src`, lowest first. A module imports from its own floor and those below.
const FLOORS: &[&[&str]] = &[
    &["contract"],
    &["dialects"],
    &["limits"],
    &["routing"],
    &["identity"],
    &["policy"],
    &["evidence"],
    &["ports"],
    &["pipeline"],
];

/// Imports that point up, and why they are borne. A name stands for all below it.
const IMPORTS_UP: &[(&str, &str, &str)] = &[(
    "routing/choose.rs",
    "policy",
    "the router turns terms into targets: it belongs above policy, the catalog below",
)];

/// Names that say nothing: whatever they would hold has a home already.
const EMPTY_NAMES: [&str; 8] = ["common", "helper", "helpers", "manager", "misc", "types", "util", "utils"];

/// Fails with all that is wrong at once.
fn nothing_wrong(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn packages_import_only_what_stands_below_them() {
    let mut wrong = Vec::new();
    for (folder, allowed) in NEIGHBOURS {
        let used = dependencies(&manifest(folder), |heading| heading.ends_with("dependencies"));
        for name in used.iter().filter(|name| name.starts_with("tollgate-") && !allowed.contains(&name.as_str())) {
            wrong.push(format!(
                "{folder}/Cargo.toml: it may not use `{name}`: name what it needs as a port in core/src/ports.rs, \
                 and let gateway wire the two"
            ));
        }
    }
    let members = manifest("");
    let listed = members.split_once("members = [").and_then(|(_, rest)| rest.split(']').next()).unwrap_or_default();
    for member in listed.split('"').skip(1).step_by(2) {
        if !NEIGHBOURS.iter().any(|(folder, _)| *folder == member) {
            wrong
                .push(format!("Cargo.toml: `{member}` is new: say in NEIGHBOURS of tests/it/house.rs what it may use"));
        }
    }
    nothing_wrong(&wrong);
}

#[test]
fn the_core_brings_no_client_no_database_and_no_engine() {
    let used = dependencies(&manifest("core"), |heading| heading == "dependencies");
    let told = |name: &str| format!("core/Cargo.toml: `{name}` does not belong in the core: use it behind a port");
    let wrong: Vec<String> = NOT_IN_CORE.split(' ').filter(|name| used.contains(*name)).map(told).collect();
    nothing_wrong(&wrong);
}

/// Engines and their compilers are large: each stays in the package that is made for it.
#[test]
fn each_engine_stays_in_its_package() {
    let mut wrong = Vec::new();
    for (name, home) in [("wasmtime", "policy-runtime/wasm"), ("git2", "policy-runtime/git")] {
        for (folder, _) in NEIGHBOURS.iter().filter(|(folder, _)| *folder != home) {
            if dependencies(&manifest(folder), |heading| heading.ends_with("dependencies")).contains(name) {
                wrong.push(format!("{folder}/Cargo.toml: `{name}` belongs in {home}: use what that package gives"));
            }
        }
    }
    nothing_wrong(&wrong);
}

#[test]
fn the_core_asks_for_neither_time_nor_disk_nor_network() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|s| s.path.starts_with("core/src/") && !s.is_test) {
        for (line, text) in source.code() {
            for name in NOT_ASKED_BY_CORE.split(' ').filter(|name| text.contains(*name)) {
                wrong.push(format!(
                    "{}:{line}: the core is given what `{name}` gives: take it as an argument",
                    source.path
                ));
            }
        }
    }
    nothing_wrong(&wrong);
}

/// A comparison of secrets that stops at the first difference tells where it is.
#[test]
fn secrets_are_compared_in_one_place() {
    const HOME: &str = "core/src/identity/key.rs";
    let mut wrong = Vec::new();
    let mut at_home = 0;
    for source in sources().iter().filter(|s| !s.is_test) {
        for (line, text) in source.code().filter(|(_, text)| text.contains("ct_eq(") || text.contains("subtle::")) {
            match source.path == HOME {
                true => at_home += 1,
                false => wrong.push(format!("{}:{line}: `{}`: compare with `key::equal`", source.path, text.trim())),
            }
        }
        // Whatever is kept of a secret is compared there and nowhere else.
        let kept = [".hash ==", ".hash !=", ".token ==", ".token !=", "mac ==", "mac !="];
        for (line, text) in source.code() {
            for mark in kept.iter().filter(|mark| text.contains(**mark)) {
                wrong.push(format!("{}:{line}: `{mark}`: compare with `key::equal`", source.path));
            }
        }
    }
    assert_eq!(at_home, 2, "{HOME} has the one import and the one call");
    for (folder, _) in NEIGHBOURS.iter().filter(|(folder, _)| *folder != "core") {
        if dependencies(&manifest(folder), |heading| heading.ends_with("dependencies")).contains("subtle") {
            wrong.push(format!("{folder}/Cargo.toml: `subtle`: compare with `key::equal` of the core"));
        }
    }
    nothing_wrong(&wrong);
}

#[test]
fn imports_inside_the_core_point_down() {
    let floor = |module: &str| FLOORS.iter().position(|floor| floor.contains(&module));
    let mut wrong = Vec::new();
    let mut needed = BTreeSet::new();
    for source in sources().iter().filter(|s| s.path.starts_with("core/src/") && !s.is_test) {
        let path = source.path.trim_start_matches("core/src/");
        let own = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        if own == "lib" {
            continue;
        }
        let Some(own_floor) = floor(own) else {
            wrong.push(format!("core/src/{path}: `{own}` is new: give it a floor in tests/it/house.rs"));
            continue;
        };
        for (line, name) in source.code().flat_map(|(line, text)| imports(text).map(move |name| (line, name))) {
            let module = name.split("::").next().unwrap_or_default();
            if floor(module).is_none_or(|theirs| theirs <= own_floor) && !name.is_empty() {
                continue;
            }
            let borne = |up: &&(&str, &str, &str)| {
                up.0 == path && name.strip_prefix(up.1).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            };
            match IMPORTS_UP.iter().find(borne) {
                Some(up) => drop(needed.insert((up.0, up.1))),
                None => wrong.push(format!(
                    "core/src/{path}:{line}: `{own}` imports `crate::{name}`, which stands above it: move what both \
                     need down, and write one `use` for each module"
                )),
            }
        }
    }
    for (path, name, _) in IMPORTS_UP.iter().filter(|(path, name, _)| !needed.contains(&(*path, *name))) {
        wrong.push(format!("{path} imports `{name}` no more: take the row out of IMPORTS_UP in tests/it/house.rs"));
    }
    nothing_wrong(&wrong);
}

#[test]
fn unsafe_code_stands_in_named_files_only() {
    let mut wrong = Vec::new();
    for source in sources() {
        let named = UNSAFE_FILES.iter().any(|(path, _)| *path == source.path);
        let marks =
            ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "allow(unsafe_code"].map(|m| m.to_owned());
        let own = source.path == "tests/it/house.rs";
        for (line, text) in source.code().filter(|_| !named && !own) {
            if marks.iter().any(|mark| text.contains(mark)) {
                wrong.push(format!(
                    "{}:{line}: `unsafe` stands only in UNSAFE_FILES of tests/it/house.rs: find a safe way",
                    source.path
                ));
            }
        }
    }
    nothing_wrong(&wrong);
}

#[test]
fn files_hold_one_idea() {
    let mut wrong = Vec::new();
    for source in sources() {
        let name = source.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
        let lines = source.lines();
        let borne = LONG_FILES.iter().any(|(path, _)| *path == source.path);
        match (lines > FILE_LINES_MAX, borne) {
            (true, false) => wrong.push(format!(
                "{}: {lines} lines, at most {FILE_LINES_MAX}: look for the second idea in it and give it a file",
                source.path
            )),
            (false, true) => {
                wrong
                    .push(format!("{}: short enough now: take it out of LONG_FILES in tests/it/house.rs", source.path));
            }
            (true, true) | (false, false) => {}
        }
        if !source.text.starts_with("//!") {
            wrong.push(format!("{}: begin it with `//!` and say what the file does", source.path));
        }
        if EMPTY_NAMES.contains(&name.as_str()) {
            wrong.push(format!("{}: `{name}` says nothing: put its parts where they belong", source.path));
        }
    }
    nothing_wrong(&wrong);
}

#[test]
fn functions_fit_on_a_screen() {
    let mut wrong = Vec::new();
    let mut needed = BTreeSet::new();
    for source in sources().iter().filter(|s| !s.is_test) {
        let code: Vec<(usize, &str)> = source.code().collect();
        for (at, (line, text)) in code.iter().enumerate() {
            let Some(name) = function(text) else { continue };
            let long = code[at..].iter().map(|(n, text)| (n - line + 1, *text));
            let Some(lines) = function_lines(text, long).filter(|lines| *lines > FUNCTION_LINES_MAX) else { continue };
            match LONG_FUNCTIONS.iter().find(|(path, borne, _)| *path == source.path && *borne == name) {
                Some((path, name, _)) => drop(needed.insert((*path, *name))),
                None => wrong.push(format!(
                    "{}:{line}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}: find the second idea in it",
                    source.path
                )),
            }
        }
    }
    for (path, name, _) in LONG_FUNCTIONS.iter().filter(|(path, name, _)| !needed.contains(&(*path, *name))) {
        wrong.push(format!("{path}: `{name}` is short enough now: take it out of LONG_FUNCTIONS in tests/it/house.rs"));
    }
    nothing_wrong(&wrong);
}

#[test]
fn nothing_is_unwrapped_or_left_for_later() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|s| !s.is_test) {
        for (line, text) in source.code() {
            if text.contains(".unwrap()") {
                wrong.push(format!(
                    "{}:{line}: `unwrap` is for tests: give the error on, or `expect(\"why this cannot fail\")`",
                    source.path
                ));
            }
            if ["todo!(", "unimplemented!(", "dbg!("].iter().any(|mark| text.contains(mark)) {
                wrong.push(format!("{}:{line}: finish it, or take it out", source.path));
            }
        }
    }
    nothing_wrong(&wrong);
}

#[test]
fn every_built_in_policy_has_cases_and_a_note() {
    let mut wrong = Vec::new();
    for folder in std::fs::read_dir(root().join("stdlib-policies/policies")).unwrap().map(|e| e.unwrap().path()) {
        let has = |name: &str| folder.join(name).is_file();
        let told = |what: &str| format!("{}: {what}", folder.display());
        if !["policy.rhai", "rules.yaml"].iter().any(|name| has(name)) {
            wrong.push(told("it needs a `policy.rhai` or a `rules.yaml`"));
        }
        for name in ["cases.yaml", "README.md", "params.schema.json"].iter().filter(|name| !has(name)) {
            wrong.push(told(&format!("it needs a `{name}`")));
        }
        let cases = std::fs::read_to_string(folder.join("cases.yaml")).unwrap_or_default();
        if !["deny:", "cap:", "require:", "prefer:", "pin:", "split:", "alert:"].iter().any(|acts| cases.contains(acts))
        {
            wrong.push(told("none of its cases shows it act"));
        }
    }
    nothing_wrong(&wrong);
}
