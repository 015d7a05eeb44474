//! Folders of organisations, teams and apps: who is asked, what they may not say, and where that is told.

use std::sync::Arc;

use crate::{assert_told, listed, loaded, manifest, marked};
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::verdict::{Layer, LoweredBy, Outcome};
use tollgate_core::policy::{Hook, Mode};

const TENANTS: &str = "tenants:\n  acme: { apps: [desk, finder, crawler], teams: { search: { apps: [finder, crawler] } } }\n  umbrella: {}\nkeys: []\ngrants: []\n";
const ROOT: &str = "  - { name: own, path: policies/own, hook: pre-route, on_error: deny }\n";
const MORE: &str = "for: { use_case: x }";

/// A manifest of one entry `own` with these members beside the usual ones.
fn one(more: &str) -> String {
    let more = if more.is_empty() { String::new() } else { format!(", {more}") };
    manifest(&format!("  - {{ name: §own, path: policies/own, hook: pre-route, on_error: deny{more} }}\n"))
}

fn rules(part: &str) -> [(String, String); 2] {
    [
        (
            format!("{part}policies/own/rules.yaml"),
            format!("rules:\n  - when: 'true'\n    tag: {{ from: \"{part}\" }}\n"),
        ),
        (
            format!("{part}policies/own/cases.yaml"),
            format!("- name: it tags\n  facts: {{}}\n  expect: {{ tag: {{ from: \"{part}\" }} }}\n"),
        ),
    ]
}

#[test]
fn each_folder_sees_its_own_calls_and_stands_below_those_above() {
    let parts =
        ["orgs/acme/", "orgs/acme/teams/search/", "orgs/acme/teams/search/apps/finder/", "orgs/acme/apps/desk/"];
    let mut files: Vec<(String, String)> = vec![("tenants.yaml".to_owned(), TENANTS.to_owned())];
    for part in parts {
        files.extend(rules(part));
        let owned = one("").replace('§', "").replace("policies:", &format!("owner: of-{}\npolicies:", part.len()));
        files.push((format!("{part}tollgate-policies.yaml"), owned));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let loaded = loaded(&manifest(ROOT), &files);
    let revision = loaded.revision.as_ref().unwrap_or_else(|| panic!("{}", listed(&loaded.findings)));
    let listed: Vec<_> = loaded.policies.iter().map(|p| (&*p.name, p.layer, &*p.declared.file)).collect();
    assert_eq!(
        listed,
        [
            ("own", Layer::Platform, "tollgate-policies.yaml"),
            ("acme:own", Layer::Org, "orgs/acme/tollgate-policies.yaml"),
            ("acme/apps/desk:own", Layer::App, "orgs/acme/apps/desk/tollgate-policies.yaml"),
            ("acme/teams/search:own", Layer::Team, "orgs/acme/teams/search/tollgate-policies.yaml"),
            (
                "acme/teams/search/apps/finder:own",
                Layer::App,
                "orgs/acme/teams/search/apps/finder/tollgate-policies.yaml"
            ),
        ]
    );
    assert_eq!(loaded.policies[1].owner.as_deref(), Some("of-10"), "the folder's owner");
    for (tenant, app, asked) in [
        ("umbrella", "desk", &["own"][..]),
        ("acme", "", &["own", "acme:own"]),
        ("acme", "desk", &["own", "acme:own", "acme/apps/desk:own"]),
        ("acme", "crawler", &["own", "acme:own", "acme/teams/search:own"]),
        ("acme", "finder", &["own", "acme:own", "acme/teams/search:own", "acme/teams/search/apps/finder:own"]),
        ("umbrella", "finder", &["own"]),
    ] {
        let mut facts = Facts::default();
        facts.caller.tenant = tenant.into();
        facts.caller.app = app.into();
        let verdicts = revision.judge.ask(Hook::PreRoute, &Arc::new(facts));
        let decided = verdicts.iter().filter(|v| matches!(v.outcome, Outcome::Decided(_)));
        assert_eq!(decided.map(|v| &*v.policy.name).collect::<Vec<_>>(), asked, "{tenant}/{app}");
    }
}

/// Midnight after the last day of the waivers below.
const END_MS: i64 = 1_806_537_600_000;

fn waiver(more: &str) -> String {
    format!(
        "waivers:\n  - {{ policy: §own, for: {{ tenant: acme }}, until: 2027-03-31, reason: moving house{more} }}\n"
    )
}

#[test]
fn a_waiver_lets_calls_pass_until_its_day_ends_without_a_reload() {
    let text = manifest(ROOT) + &*waiver("").replace('§', "");
    let loaded = loaded(&text, &[]);
    let revision = loaded.revision.as_ref().unwrap_or_else(|| panic!("{}", listed(&loaded.findings)));
    for (tenant, time_ms, waived, why) in [
        ("acme", 0, true, "while it holds"),
        ("acme", END_MS - 1, true, "to the end of the day"),
        ("acme", END_MS, false, "and no longer"),
        ("umbrella", 0, false, "others are not waived"),
    ] {
        let mut facts = Facts::default();
        facts.caller.tenant = tenant.into();
        facts.call.time_ms = time_ms;
        let verdict = revision.judge.ask(Hook::PreRoute, &Arc::new(facts)).remove(0);
        assert_eq!(verdict.mode, if waived { Mode::Observe } else { Mode::Enforce }, "{why}");
        let told = verdict.lowered.map(|l| (l.by, l.until_ms, l.reason.clone(), l.at.clone().map(|at| at.line)));
        let expected = (LoweredBy::Waiver, END_MS, "moving house".to_owned(), Some(5));
        assert_eq!(told, waived.then_some(expected), "{why}");
    }
}

#[test]
fn a_waiver_stands_with_its_policy_or_above_it() {
    let above = manifest(ROOT);
    let below = "orgs/acme/tollgate-policies.yaml";
    let [program, cases] = rules("orgs/acme/");
    for (root, org, told, why) in [
        (above.clone() + &*waiver("").replace("§own", "acme:own"), one("").replace('§', ""), None, "from above"),
        (above.clone(), one("").replace('§', "") + &*waiver("").replace('§', ""), None, "by its own folder"),
        (
            above.clone(),
            manifest("").replace("policies:\n", "policies: []\n") + &*waiver("").replace('§', ""),
            Some("TG0126"),
            "from below",
        ),
        (above.clone() + &*waiver("").replace("§own", "owm"), one("").replace('§', ""), Some("TG0126"), "nobody's"),
        (
            above.clone(),
            one("").replace('§', "") + &*waiver("").replace('§', "").replace("tenant: acme", "tenant: umbrella"),
            Some("TG0122"),
            "others' calls",
        ),
        (
            above.clone() + &*waiver("").replace('§', "").replace("for: { tenant: acme }, ", ""),
            one("").replace('§', ""),
            Some("TG0104"),
            "for nobody in particular",
        ),
        (
            above.clone() + &*waiver("").replace('§', "").replace("2027-03-31", "soon"),
            one("").replace('§', ""),
            Some("TG0106"),
            "no date",
        ),
    ] {
        let files = [("tenants.yaml", TENANTS), (&*program.0, &*program.1), (&cases.0, &cases.1), (below, &org)];
        let loaded = loaded(&root, &files);
        match told {
            None => assert!(loaded.revision.is_some(), "{why}: {}", listed(&loaded.findings)),
            Some(code) => {
                assert!(loaded.findings.iter().any(|f| f.code == code), "{why}: {}", listed(&loaded.findings))
            }
        }
    }
}

#[test]
fn what_a_folder_may_not_is_told_where_it_stands() {
    let at = "orgs/acme/tollgate-policies.yaml";
    for (path, text, code, words, why) in [
        (at, one("for: { tenant: umbrella }"), "TG0122", "`umbrella`", "another tenant"),
        (at, one("for: { tenant: [acme, 'a*'] }"), "TG0122", "`a*`", "a pattern may reach others"),
        (
            "orgs/acme/teams/search/tollgate-policies.yaml",
            one("for: { app: desk }"),
            "TG0122",
            "`desk`",
            "another's app",
        ),
        (
            "orgs/acne/tollgate-policies.yaml",
            one("").replace('§', ""),
            "TG0124",
            "did you mean `acme`",
            "no such tenant",
        ),
        (
            "orgs/acme/teams/serch/tollgate-policies.yaml",
            one("").replace('§', ""),
            "TG0124",
            "did you mean `search`",
            "no such team",
        ),
        (
            "orgs/acme/apps/desc/tollgate-policies.yaml",
            one("").replace('§', ""),
            "TG0124",
            "did you mean `desk`",
            "no such app",
        ),
        ("orgs/acme/limits.yaml", "budgets: {}\n".to_owned(), "TG0125", "at the root", "a table of its own"),
        ("orgs/readme.md", "x".to_owned(), "TG0125", "no organisation", "a file of nobody"),
        (at, one(MORE).replace("policies/own", "policies/none"), "TG0110", "orgs/acme/policies/none", "its folder"),
        (at, one("when: 'caller.tenat == \"x\"'").replace('§', ""), "TG05", "tenat", "a name in a selector"),
    ] {
        let (text, place) = if text.contains('§') { marked(&text) } else { (text, (0, 0)) };
        let [program, cases] = rules(&path[..path.rfind('/').map_or(0, |at| at + 1)]);
        let files = [("tenants.yaml", TENANTS), (&program.0, &program.1), (&cases.0, &cases.1), (path, &text)];
        let loaded = loaded(&manifest(ROOT), &files);
        assert!(loaded.revision.is_none(), "{why}: an error anywhere, and nothing of the revision acts");
        let found = loaded.findings.iter().find(|f| f.code.starts_with(code) && f.file == path);
        let found = found.unwrap_or_else(|| panic!("{why}: {}", listed(&loaded.findings)));
        assert!(
            found.to_string().contains(words) || found.help.as_deref().is_some_and(|h| h.contains(words)),
            "{why}: {found}"
        );
        if code == "TG0122" {
            assert_told(&loaded.findings, code, place, words, why);
        }
    }
}
