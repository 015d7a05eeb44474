//! No folder widens: whatever is written below `orgs/`, calls of others stay as they are, and its own are only held tighter.

use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;
use tollgate_core::policy::Hook;
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::revision::Revision;
use tollgate_core::policy::terms::Terms;
use tollgate_policy_runtime::load::{Given, load};

use crate::{builtin, listed, tree};

const TENANTS: &str = "tenants:\n  acme: { apps: [desk, finder, crawler], teams: { search: { apps: [finder, crawler] } } }\n  umbrella: {}\nkeys: []\ngrants: []\n";
const LIMITS: &str = "budgets:\n  a: { per: tenant, limit_usd: \"1\", period: day }\n  b: { per: tenant, limit_usd: \"1\", period: day }\n";
/// The root, and every kind of folder that there is.
const FOLDERS: [&str; 5] =
    ["", "orgs/acme/", "orgs/acme/teams/search/", "orgs/acme/teams/search/apps/finder/", "orgs/acme/apps/desk/"];
/// Whose calls are looked at: tenant, app, and which of the folders speak of them.
const CALLS: [(&str, &str, &[usize]); 5] = [
    ("umbrella", "desk", &[0]),
    ("acme", "", &[0, 1]),
    ("acme", "desk", &[0, 1, 4]),
    ("acme", "crawler", &[0, 1, 2]),
    ("acme", "finder", &[0, 1, 2, 3]),
];

/// One policy of a folder: what it says, how much it counts, whether it acts.
type Entry = (usize, usize, u32, i32, usize);

fn effect(kind: usize, n: u32) -> String {
    match kind {
        0 => format!("deny: {{ code: c{n} }}"),
        1 => format!("cap: {{ max_tokens: {n}, attempts: {n} }}"),
        2 => format!("cap: {{ deadline_ms: {n}, max_cost_usd: \"0.{n}\" }}"),
        3 => format!("require: {{ regions: [r{n}] }}"),
        4 => "pin: openai/mini".to_owned(),
        5 => format!("set: {{ temperature: 0.{n}, max_tokens: {}00 }}", n),
        6 => format!("prefer: {{ tier: cheap, score: {n} }}"),
        7 => format!("fallback: [openai/mini, openai/m{n}]"),
        8 => format!("drop: f{n}"),
        9 => format!("reserve: {}", if n.is_multiple_of(2) { "a" } else { "b" }),
        _ => format!("split: {{ name: s{n}, weights: {{ openai/mini: {n} }} }}"),
    }
}

const KINDS: usize = 11;

/// The revision of those entries whose folder is among `folders`.
fn revision(entries: &[Entry], folders: &[usize]) -> Arc<Revision> {
    let mut files =
        vec![("tenants.yaml".to_owned(), TENANTS.to_owned()), ("limits.yaml".to_owned(), LIMITS.to_owned())];
    for &folder in folders {
        let mut manifest = "api: tollgate.policy/v1\npolicies:\n".to_owned();
        let own = entries.iter().enumerate().filter(|(_, entry)| entry.0 == folder);
        let before = files.len();
        for (n, (_, kind, number, priority, mode)) in own {
            let mode = ["enforce", "enforce", "warn", "observe"][*mode];
            let _ = writeln!(
                manifest,
                "  - {{ name: p{n}, path: policies/p{n}, hook: pre-route, mode: {mode}, on_error: deny, priority: {priority} }}"
            );
            let rules = format!("rules:\n  - {}\n", effect(*kind, *number));
            files.push((format!("{}policies/p{n}/rules.yaml", FOLDERS[folder]), rules));
        }
        if files.len() == before {
            manifest = manifest.replace("policies:\n", "policies: []\n");
        }
        files.push((format!("{}tollgate-policies.yaml", FOLDERS[folder]), manifest));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let loaded = load(&tree("dir-layers", &files), &builtin(), &Given::default());
    loaded.revision.unwrap_or_else(|| panic!("{}", listed(&loaded.findings)))
}

fn terms(revision: &Revision, tenant: &str, app: &str) -> Terms {
    let mut facts = Facts::default();
    (facts.caller.tenant, facts.caller.app) = (tenant.into(), app.into());
    Terms::resolve(&revision.judge.ask(Hook::PreRoute, &Arc::new(facts)))
}

fn is_tighter(above: &Terms, below: &Terms) -> Result<(), TestCaseError> {
    let tighter = |a: Option<u64>, b: Option<u64>| a.is_none_or(|a| b.is_some_and(|b| b <= a));
    prop_assert!(above.deny.iter().all(|denial| below.deny.contains(denial)));
    prop_assert!(tighter(above.max_tokens, below.max_tokens) && tighter(above.deadline_ms, below.deadline_ms));
    prop_assert!(tighter(above.attempts.map(u64::from), below.attempts.map(u64::from)));
    prop_assert!(tighter(above.max_cost_nanousd.map(|n| n as u64), below.max_cost_nanousd.map(|n| n as u64)));
    prop_assert!(above.require.iter().all(|r| below.require.iter().any(|b| (b.of, &b.any) == (r.of, &r.any))));
    prop_assert!(below.reserve.is_superset(&above.reserve) && below.drop.is_superset(&above.drop));
    prop_assert!(above.pin.is_none() || above.pin == below.pin, "the higher voice is heard");
    prop_assert!(above.split.is_none() || above.split == below.split, "the higher voice is heard");
    prop_assert!(above.set.iter().all(|(name, value)| below.set.get(name) == Some(value)));
    prop_assert!(below.fallback.starts_with(&above.fallback), "theirs come behind ours");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_folder_holds_its_own_calls_tighter_and_touches_no_others(
        entries in proptest::collection::vec((0..FOLDERS.len(), 0..KINDS, 1u32..9, -2i32..3, 0usize..4), 1..14)
    ) {
        let all = revision(&entries, &[0, 1, 2, 3, 4]);
        for (tenant, app, speak) in CALLS {
            // With one folder less below, and so on up to the root.
            let mut above = terms(&revision(&entries, &speak[..1]), tenant, app);
            for most in 2..=speak.len() {
                let below = terms(&revision(&entries, &speak[..most]), tenant, app);
                is_tighter(&above, &below)?;
                above = below;
            }
            prop_assert_eq!(above, terms(&all, tenant, app), "folders of others are not asked for {}/{}", tenant, app);
        }
    }
}
