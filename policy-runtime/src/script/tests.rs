//! Scripts: what they see and say, what is refused at load and where, what bombs cost.

use serde_json::json;

use super::*;
use crate::trying::{compile, compile_with, decide, effects};
use tollgate_core::policy::effect::Effect;

/// A policy of everyday size.
pub const THIRTY_LINES: &str = r#"
// Where a call goes, by tier, budget and use case.
fn pre_route(facts) {
    let caller = facts.caller;
    let meta = facts.meta;
    let tier = facts.intent.tier;
    if caller.tenant == "" || meta.use_case == "blocked" {
        return deny("no_tenant", `use case ${meta.use_case} needs a tenant`);
    }
    let budget = facts.budget("month");
    if budget.ratio >= 1.0 {
        return deny("budget_exhausted", `tenant ${caller.tenant} has spent its month`);
    }
    if budget.ratio > param("downgrade_at") && tier == "high" {
        tier = "standard";
    }
    let decision = none();
    for role in facts.prompt.roles {
        if role == "tool" {
            decision += tag("tools", "yes");
        }
    }
    if facts.prompt.tokens > 1000 {
        decision += cap("max_tokens", 2048);
    } else {
        decision += cap("max_tokens", 4096);
    }
    let routes = param("routes");
    if tier in routes {
        decision += prefer(routes[tier], 100);
    }
    decision + tag("tier", tier)
}
"#;

fn script(body: &str) -> Result<Box<dyn Program>, Vec<Diagnostic>> {
    compile("policy.rhai", &format!("fn pre_route(facts) {{\n{body}\n}}"), json!({ "limit": 5, "table": { "a": 1 } }))
}

#[test]
fn a_script_sees_facts_and_says_effects_with_their_lines() {
    let params = json!({ "routes": { "high": "a/b", "standard": "c/d" }, "downgrade_at": 0.8 });
    let script = compile("policy.rhai", THIRTY_LINES, params).unwrap_or_else(|f| panic!("{f:?}"));
    let answer = decide(&*script).unwrap();
    let said: Vec<(&str, u32)> = answer.effects.iter().map(|s| (s.effect.name(), s.at.line)).collect();
    assert_eq!(said, [("cap", 26), ("prefer", 30), ("tag", 32)]);
    assert_eq!(&*answer.effects[0].at.file, "policies/p/policy.rhai");
    assert!(answer.ops > 10);
}

#[test]
fn facts_are_reached_in_all_their_ways() {
    for (expression, expected) in [
        ("facts.caller.tenant", "acme"),
        ("facts.meta.use_case", "support"),
        ("`${facts.prompt.tokens}`", "120"),
        ("`${facts.request.stream}`", "true"),
        ("`${facts.budget(\"month\").used}`", "90"),
        ("`${facts.rate(\"rpm\").ratio}`", "0.0"),
        ("`${facts.text.contains(\"secret\")}`", "true"),
        ("`${facts.text.contains(\"system\", \"secret\")}`", "false"),
        ("`${facts.caller.groups.len()}`", "2"),
        ("`${param(\"table\").a + param(\"limit\")}`", "6"),
        ("`${facts.bucket(\"x\", \"user\") == facts.bucket(\"x\", \"user\")}`", "true"),
    ] {
        let script = script(&format!("tag(\"k\", {expression})")).unwrap_or_else(|f| panic!("{expression}: {f:?}"));
        let answer = decide(&*script).unwrap_or_else(|s| panic!("{expression}: {s:?}"));
        assert_eq!(effects(&answer), [Effect::Tag("k".into(), expected.into())], "{expression}");
    }
}

#[test]
fn what_an_author_gets_wrong_is_told_at_load_with_its_place() {
    for (body, code, line, told) in [
        ("denny(\"x\")", "TG0604", 2, "did you mean `deny`?"),
        ("deny()", "TG0605", 2, "takes 1 or 2 arguments, not 0"),
        ("\n  facts.caller.tenat; none()", "TG0606", 3, "did you mean `tenant`?"),
        ("facts.caler.tenant; none()", "TG0606", 2, "did you mean `caller`?"),
        ("let caller = facts.caller;\n  tag(\"t\", caller.tenat)", "TG0606", 3, "did you mean `tenant`?"),
        ("let month = facts.budget(\"month\");\n  cap(\"attempts\", month.rato)", "TG0606", 3, "did you mean `ratio`?"),
        ("for group in facts.caller.groups { helper(group); }\n  none()", "TG0604", 2, "unknown function `helper`"),
        ("facts.budget(\"mont\").ratio; none()", "TG0608", 2, "did you mean `month`?"),
        ("facts.budget(\"month\").rato; none()", "TG0606", 2, "did you mean `ratio`?"),
        ("param(\"limt\"); none()", "TG0607", 2, "did you mean `limit`?"),
        ("reserve(\"moth\")", "TG0608", 2, "did you mean `month`?"),
        ("sleep(5); none()", "TG0603", 2, "no clock"),
        ("print(\"x\"); none()", "TG0603", 2, "note(..)"),
        ("eval(\"1\")", "TG0601", 2, "eval"),
        ("let x = ;", "TG0601", 2, ""),
        ("undefined_variable", "TG0601", 2, "undefined_variable"),
        ("import \"std/x\" as x; none()", "TG0601", 2, "std/x"),
    ] {
        let found = script(body).err().unwrap_or_else(|| panic!("{body} was taken"));
        assert_eq!((found[0].code, found[0].line), (code, line), "{body}: {found:?}");
        assert!(found[0].message.contains(told), "{body}: {}", found[0].message);
    }
    let found = compile("policy.rhai", "fn pre_rout(facts) { none() }", json!({})).err().unwrap();
    assert!(found[0].message.contains("`pre_route(facts)`") && found[0].message.contains("did you mean"), "{found:?}");
    let found = compile_with(
        "policy.rhai",
        &[("policy.rhai", "fn pre_auth(facts) { pin(\"a/b\") }")],
        json!({}),
        Hook::PreAuth,
    );
    assert_eq!(found.err().unwrap()[0].code, "TG0609", "an effect that has no place there");
}

/// A variable that holds something else as well is taken as it comes.
#[test]
fn what_a_variable_holds_is_not_guessed() {
    for body in [
        "let meta = facts.meta; if true { let meta = param(\"table\"); note(`${meta.a}`) } else { none() }",
        "let meta = facts.meta; meta = param(\"table\"); note(`${meta.a}`)",
        "for meta in [param(\"table\")] { return note(`${meta.a}`); } none()",
    ] {
        let program = script(body).unwrap_or_else(|found| panic!("{body}: {found:?}"));
        assert_eq!(effects(&decide(&*program).unwrap()), [Effect::Note("1".into())], "{body}");
    }
}

/// Each function of a script for several hooks is held to its own hook.
#[test]
fn a_script_of_several_hooks_is_told_what_each_cannot_know_or_say() {
    let text = "fn pre_auth(facts) {\n  if facts.answer.status == 200 { note(\"x\") } else { none() }\n}\nfn post_response(facts) {\n  if facts.answer.status == 200 { pin(\"a/b\") } else { none() }\n}\nfn pre_route(facts) { none() }";
    let found = crate::trying::compile_by("policy.rhai", text, json!({}), |unit| {
        compile_script(&Unit { hooks: &Hook::ALL, params: unit.params.clone(), ..*unit })
    });
    let found = found.err().expect("it was taken");
    let told: Vec<_> = found.iter().map(|f| (f.code, f.line)).collect();
    assert_eq!(told, [("TG0611", 2), ("TG0609", 5)], "{found:?}");
}

/// What a module says and calls is looked at, too, and told under the module's own file.
#[test]
fn modules_are_looked_at_as_the_script_is() {
    let main = "import \"lib/tiers\" as t;\nfn pre_route(facts) { tag(\"k\", t::lower(facts)) }";
    for (main, library, code, place, told) in [
        (
            main,
            "fn lower(facts) {\n  lowr(facts)\n}",
            "TG0604",
            ("policies/p/lib/tiers.rhai", 2),
            "did you mean `lower`?",
        ),
        (
            main,
            "fn lower(facts) { facts.intent.teir }",
            "TG0606",
            ("policies/p/lib/tiers.rhai", 1),
            "did you mean `tier`?",
        ),
        (main, "fn lowr(facts) { \"x\" }", "TG0604", ("policies/p/policy.rhai", 2), "did you mean `lowr`?"),
        (main, "fn lower() { \"x\" }", "TG0605", ("policies/p/policy.rhai", 2), "takes 0 arguments, not 1"),
        (main, "fn lower(facts) { sleep(1) }", "TG0603", ("policies/p/lib/tiers.rhai", 1), "no clock"),
    ] {
        let files = [("policy.rhai", main), ("lib/tiers.rhai", library)];
        let found = compile_with("policy.rhai", &files, json!({}), Hook::PreRoute).err();
        let found = found.unwrap_or_else(|| panic!("{library}: it was taken"));
        assert_eq!((found[0].code, (found[0].file.as_str(), found[0].line)), (code, place), "{library}: {found:?}");
        assert!(found[0].message.contains(told), "{library}: {}", found[0].message);
    }
}

#[test]
fn errors_name_their_line() {
    for (body, line, told) in [
        ("let x = 1;\nthrow \"no\"", 3, "no"),
        ("facts.caller.groups[7]; none()", 2, "index"),
        ("let t = param(\"table\");\nt.b; none()", 3, "b"),
        ("cap(\"max_tokens\", -1)", 2, "above 0"),
        ("5", 0, "must return a decision"),
    ] {
        let stop = decide(&*script(body).unwrap_or_else(|f| panic!("{body}: {f:?}"))).unwrap_err();
        assert_eq!(stop.kind, FailureKind::Error, "{body}");
        assert_eq!(stop.at.line, line, "{body}: {stop:?}");
        assert!(stop.what.to_lowercase().contains(told), "{body}: {}", stop.what);
    }
}

/// Bytecode is new: what it says and where it fails must be what the tree says.
#[test]
fn bytecode_and_tree_decide_alike() {
    let thirty = THIRTY_LINES.split_once("fn pre_route(facts) {").unwrap().1.trim_end().trim_end_matches('}');
    for body in [
        thirty,
        "let d = none(); for g in facts.caller.groups { d += tag(g, g.to_upper()); } d",
        "let n = 0; while n < 7 { n += 2; if n == 4 { continue; } } tag(\"n\", n)",
        "switch facts.intent.tier { \"high\" | \"top\" => prefer_tier(\"low\", 7), _ => none() }",
        "let a = [1, 2, 3]; a[1] += 40; let m = #{ x: a }; m.x[2] = 9; tag(\"a\", `${m.x}`)",
        "try { throw \"x\" } catch (e) { return note(e); } none()",
        "let t = param(\"table\"); if \"a\" in t { t.a += 1 } tag(\"a\", t.a) + tag(\"b\", param(\"table\").a)",
        "let v = if facts.request.stream { 5 } else { 6 }; cap(\"max_tokens\", v) + cap(\"deadline_ms\", v * 2 ** 3)",
        "tag(\"s\", facts.meta.use_case.sub_string(1, 3) + \"x\" + 'c' + 1.5)",
        "deny(\"a\", `${facts.caller.tenant}`) + cap(\"max_tokens\", 0)",
        "let x = 5; x / (x - 5); none()",
        "facts.caller.groups[9]; none()",
        "helper(facts, 3)",
    ] {
        let text = format!(
            "fn helper(facts, n) {{ if n == 0 {{ deny(facts.caller.user) }} else {{ helper(facts, n - 1) }} }}\nfn pre_route(facts) {{{body}}}"
        );
        let params = json!({ "routes": { "high": "a/b" }, "downgrade_at": 0.95, "limit": 5, "table": { "a": 1 } });
        let decide_on = |own: bool| {
            let text = text.clone();
            crate::trying::compile_by("policy.rhai", &text.clone(), params.clone(), move |unit| {
                let host = Host::of(if own { "import" } else { "" });
                compile_on(host, &text, unit)
            })
            .map(|program| (decide(&*program), decide(&*program)))
            .unwrap_or_else(|f| panic!("{body}: {f:?}"))
        };
        let said = |decided: Result<Answer, Stop>| decided.map(|a| a.effects).map_err(|s| (s.kind, s.what, s.at));
        let (first, again) = decide_on(false);
        assert_eq!(first, again, "{body}: a second run is like the first");
        assert_eq!(said(first), said(decide_on(true).0), "{body}");
    }
}

#[test]
fn what_nobody_means_is_told() {
    for (body, expected, why) in [
        (
            "if facts.caller.user == \"\" { deny(\"a\", \"b\"); } none()",
            Some(("TG0613", 2)),
            "the answer is the last value",
        ),
        ("deny(\"a\");\nnone()", Some(("TG0613", 2)), "it stands alone"),
        ("note(\"a\") + note(\"b\");\nnone()", Some(("TG0613", 2)), "two, joined"),
        (
            "for g in facts.caller.groups { tag(\"g\", g); }\nnone()",
            Some(("TG0613", 2)),
            "what a loop's body is, is nothing",
        ),
        (
            "switch facts.intent.tier { \"a\" => deny(\"a\"), _ => none() }\nnone()",
            Some(("TG0613", 2)),
            "a switch that stands alone",
        ),
        ("if facts.caller.user == \"\" { return deny(\"a\"); } none()", None, "returned"),
        ("if facts.caller.user == \"\" { deny(\"a\") } else { none() }", None, "the value of the last statement"),
        ("let d = none(); d += tag(\"a\", \"b\"); if true { d += note(\"x\"); } d", None, "added"),
        ("let d = if facts.request.stream { deny(\"a\") } else { none() }; d", None, "kept"),
        ("switch facts.intent.tier { \"a\" => { deny(\"a\") }, _ => none() }", None, "a switch that is the last"),
        ("deny(\"a\");", None, "the last, with a semicolon"),
        ("if facts.prompt.tokens > \"5\" { return deny(\"a\"); } none()", Some(("TG0614", 2)), "a number and a text"),
        (
            "if facts.caller.groups == \"interns\" { return deny(\"a\"); } none()",
            Some(("TG0614", 2)),
            "a list and a text",
        ),
        (
            "if facts.budget(\"month\").ratio > \"0.5\" { return deny(\"a\"); } none()",
            Some(("TG0614", 2)),
            "a rule's number",
        ),
        (
            "let b = facts.budget(\"month\"); if b.ratio >= \"1\" { return deny(\"a\"); } none()",
            Some(("TG0614", 2)),
            "by a variable",
        ),
        (
            "let c = facts.caller; if c.user != 5 { return deny(\"a\"); } none()",
            Some(("TG0614", 2)),
            "a group by a variable",
        ),
        (
            "if facts.budget(\"month\").ratio > 1 || facts.prompt.tokens < 1.5 { return deny(\"a\"); } none()",
            None,
            "two numbers",
        ),
        (
            "if facts.caller.user.len() > 3 || \"a\" in facts.caller.groups { return deny(\"a\"); } none()",
            None,
            "what is made of a fact",
        ),
    ] {
        let found = script(body).err().map(|found| (found[0].code, found[0].line));
        assert_eq!(found, expected, "{why}: {body}");
    }
}
