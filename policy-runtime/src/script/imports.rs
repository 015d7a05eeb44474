//! What scripts may import, and what is refused before anything of it runs.

use serde_json::json;
use tollgate_core::policy::Hook;
use tollgate_core::policy::effect::Effect;

use crate::trying::{compile_with, decide, effects};

/// Says the tier that a function of the module `lib/m0` tells, wherever the import stands.
fn main_file(path: &str) -> String {
    format!("import \"{path}\" as m;\nfn pre_route(facts) {{ tag(\"k\", m::f()) }}")
}

#[test]
fn modules_come_from_the_policys_folder_wherever_they_are_imported() {
    for (main, why) in [
        ("import \"lib/t\" as t;\nfn pre_route(facts) { tag(\"k\", t::lower(\"high\")) }", "outside of functions"),
        ("fn pre_route(facts) { import \"lib/t\" as t; tag(\"k\", t::lower(\"high\")) }", "in the function"),
        (
            "import \"lib/t\" as t; fn own() { t::lower(\"high\") }\nfn pre_route(facts) { tag(\"k\", own()) }",
            "for another",
        ),
        ("import \"lib/u\" as u;\nfn pre_route(facts) { tag(\"k\", u::again()) }", "by a module"),
        ("const T = \"standard\";\nfn pre_route(facts) { tag(\"k\", global::T) } // import", "a constant beside it"),
        ("const T = \"standard\";\nfn pre_route(facts) { tag(\"k\", global::T) }", "a constant alone"),
    ] {
        let files = [
            ("policy.rhai", main),
            ("lib/t.rhai", "fn lower(tier) { if tier == \"high\" { \"standard\" } else { tier } }"),
            ("lib/u.rhai", "import \"lib/t\" as t;\nfn again() { t::lower(\"high\") }"),
        ];
        let program =
            compile_with("policy.rhai", &files, json!({}), Hook::PreRoute).unwrap_or_else(|f| panic!("{why}: {f:?}"));
        for _ in 0..2 {
            let answer = decide(&*program).unwrap_or_else(|stop| panic!("{why}: {stop:?}"));
            assert_eq!(effects(&answer), [Effect::Tag("k".into(), "standard".into())], "{why}");
        }
    }
}

#[test]
fn what_cannot_be_imported_is_told_where_it_stands() {
    for (main, library, file, line, told) in [
        ("import \"lib/no\" as m;\nfn pre_route(facts) { none() }", "", "policy.rhai", 1, "not found: lib/no"),
        ("fn pre_route(facts) {\n  import \"../../q/policy\" as m; none() }", "", "policy.rhai", 2, "not found"),
        ("import \"lib/\" + \"m\" as m;\nfn pre_route(facts) { none() }", "fn f() { 1 }", "", 0, ""),
        ("fn pre_route(facts) { let p = facts.caller.user; import p as m; none() }", "", "policy.rhai", 1, "in quotes"),
        (&main_file("lib/m"), "fn f( { 1 }", "lib/m.rhai", 1, "Expecting"),
        (&main_file("lib/m"), "import \"lib/m\" as m; fn f() { 1 }", "lib/m.rhai", 1, "itself: lib/m -> lib/m"),
        (&main_file("lib/m"), "let n = 0; loop { n += 1; } fn f() { 1 }", "lib/m.rhai", 1, "20000 operations"),
        (&main_file("lib/m"), "\nthrow \"no\"; fn f() { 1 }", "lib/m.rhai", 2, "no"),
    ] {
        let found =
            compile_with("policy.rhai", &[("policy.rhai", main), ("lib/m.rhai", library)], json!({}), Hook::PreRoute);
        let found = match (found, file) {
            (Ok(_), "") => continue,
            (Ok(_), _) => panic!("{main} {library}: it was taken"),
            (Err(found), _) => found,
        };
        assert!(found[0].file.ends_with(file) && found[0].line == line, "{main} {library}: {found:?}");
        assert!(found[0].message.contains(told), "{main} {library}: {}", found[0].message);
    }
}

/// Modules that import modules: in a ring, in a row, and all of them all behind them, which doubles with each where every way
/// is gone by itself.
#[test]
fn modules_are_counted_once_each_and_rings_are_refused() {
    type Imports = fn(usize, usize) -> Vec<usize>;
    let next: Imports = |n, count| (n + 1..count).take(1).collect();
    let ring: Imports = |n, count| vec![(n + 1) % count];
    let behind: Imports = |n, count| (n + 1..count).collect();
    for (count, imports, told) in [
        (16, next, None),
        (16, behind, None),
        (17, next, Some("at most 16")),
        (3_000, next, Some("at most 16")),
        (2, ring, Some("lib/m0 -> lib/m1 -> lib/m0")),
    ] {
        let module = |n: usize| {
            let head: String = imports(n, count).iter().map(|m| format!("import \"lib/m{m}\" as m{m};\n")).collect();
            (format!("lib/m{n}.rhai"), head + "fn f() { 1 }")
        };
        let mut files = vec![("policy.rhai".to_owned(), main_file("lib/m0"))];
        files.extend((0..count).map(module));
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        match (compile_with("policy.rhai", &files, json!({}), Hook::PreRoute), told) {
            (Ok(_), None) => {}
            (Err(found), Some(told)) => assert!(found[0].message.contains(told), "{count}: {found:?}"),
            (Ok(_), Some(told)) => panic!("{count}: it was taken, and not told `{told}`"),
            (Err(found), None) => panic!("{count}: {found:?}"),
        }
    }
}
