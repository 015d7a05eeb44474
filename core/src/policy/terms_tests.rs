//! The merge as properties: order never counts, and more policies never loosen.

use proptest::prelude::*;

use super::*;
use crate::policy::Hook;
use crate::policy::effect::{Deny, Prefer, Require, Said, StickyBy};
use crate::policy::verdict::{Engine, Standing};

fn any_effect() -> impl Strategy<Value = Effect> {
    let name = "[a-c]";
    prop_oneof![
        name.prop_map(|code| Effect::Deny(Deny { code, reason: String::new() })),
        (1u64..9).prop_map(|n| Effect::Cap(Cap::MaxTokens(n))),
        (1i64..9).prop_map(|n| Effect::Cap(Cap::MaxCostNanousd(n))),
        (1u64..9).prop_map(|n| Effect::Cap(Cap::DeadlineMs(n))),
        (1u32..9).prop_map(|n| Effect::Cap(Cap::Attempts(n))),
        proptest::collection::btree_set("[a-c]", 1..3)
            .prop_map(|any| Effect::Require(Require { of: Trait::Regions, any })),
        name.prop_map(Effect::Reserve),
        (name, any::<i32>()).prop_map(|(t, score)| Effect::Prefer(Prefer { wish: Wish::Tier(t), score: score / 8 })),
        name.prop_map(|target| Effect::Pin(Pin { target, may_replace_pinned: false })),
        (name, 1u32..9).prop_map(|(t, w)| Effect::Split(Split {
            name: "s".into(),
            by: StickyBy::User,
            weights: BTreeMap::from([(t, w)]),
            may_replace_pinned: false
        })),
        proptest::collection::vec("[a-e]", 1..4).prop_map(Effect::Fallback),
        (0i64..9).prop_map(|n| Effect::Set("temperature".into(), n.into())),
        name.prop_map(Effect::Drop),
        (name, name).prop_map(|(k, v)| Effect::Tag(k, v)),
        name.prop_map(Effect::Note),
    ]
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    let layer = prop_oneof![Just(Layer::Platform), Just(Layer::Org), Just(Layer::Team), Just(Layer::App)];
    let outcome = prop_oneof![
        8 => proptest::collection::vec((any_effect(), 1u32..5), 0..4).prop_map(|effects| {
            Outcome::Decided(effects.into_iter().map(|(effect, line)| Said {
                effect, at: At { file: "p".into(), line, column: 1 },
            }).collect())
        }),
        1 => Just(Outcome::NotMatched("when".into())),
    ];
    ("[p-z]", layer, -2i32..3, outcome).prop_map(|(name, layer, priority, outcome)| Verdict {
        policy: Arc::new(Standing { name: name.into(), layer, priority, engine: Engine::Cel, declared: At::default() }),
        hook: Hook::PreRoute,
        mode: Mode::Enforce,
        lowered: None,
        outcome,
        ops: 0,
    })
}

proptest! {
    #[test]
    fn shuffling_policies_never_changes_the_terms(
        (verdicts, shuffled) in proptest::collection::vec(any_verdict(), 0..8)
            .prop_flat_map(|v| (Just(v.clone()), Just(v).prop_shuffle()))
    ) {
        prop_assert_eq!(Terms::resolve(&verdicts), Terms::resolve(&shuffled));
    }

    #[test]
    fn saying_the_same_twice_changes_only_summed_scores(verdicts in proptest::collection::vec(any_verdict(), 0..6)) {
        let once = Terms::resolve(&verdicts);
        let twice = Terms::resolve(verdicts.iter().chain(&verdicts));
        prop_assert_eq!(Terms { prefer: vec![], ..once }, Terms { prefer: vec![], ..twice });
    }

    #[test]
    fn adding_a_policy_never_loosens(
        verdicts in proptest::collection::vec(any_verdict(), 0..6), more in any_verdict()
    ) {
        let before = Terms::resolve(&verdicts);
        let after = Terms::resolve(verdicts.iter().chain([&more]));
        for denial in &before.deny {
            prop_assert!(after.deny.contains(denial));
        }
        let tighter = |a: Option<u64>, b: Option<u64>| a.is_none_or(|a| b.is_some_and(|b| b <= a));
        prop_assert!(tighter(before.max_tokens, after.max_tokens));
        prop_assert!(tighter(before.deadline_ms, after.deadline_ms));
        prop_assert!(tighter(before.attempts.map(u64::from), after.attempts.map(u64::from)));
        prop_assert!(tighter(before.max_cost_nanousd.map(|n| n as u64), after.max_cost_nanousd.map(|n| n as u64)));
        for requirement in &before.require {
            prop_assert!(after.require.iter().any(|r| (r.of, &r.any) == (requirement.of, &requirement.any)));
        }
        prop_assert!(after.reserve.is_superset(&before.reserve));
        prop_assert!(after.drop.is_superset(&before.drop));
    }

    #[test]
    fn a_lower_layer_never_widens_nor_wins(
        platform in proptest::collection::vec(any_verdict(), 0..5), lower in proptest::collection::vec(any_verdict(), 0..5)
    ) {
        let at = |verdicts: Vec<Verdict>, least: Layer| verdicts.into_iter().map(|v| {
            let layer = if least == Layer::Platform { least } else { v.policy.layer.max(least) };
            Verdict { policy: Arc::new(Standing { layer, ..(*v.policy).clone() }), ..v }
        }).collect::<Vec<_>>();
        let (platform, lower) = (at(platform, Layer::Platform), at(lower, Layer::Org));
        let before = Terms::resolve(&platform);
        let after = Terms::resolve(platform.iter().chain(&lower));
        prop_assert!(before.deny.iter().all(|d| after.deny.contains(d)));
        prop_assert_eq!(before.deny.first().map(|d| d.layer), after.deny.first().map(|d| d.layer).filter(|_| !before.deny.is_empty()));
        let tighter = |a: Option<u64>, b: Option<u64>| a.is_none_or(|a| b.is_some_and(|b| b <= a));
        prop_assert!(tighter(before.max_tokens, after.max_tokens) && tighter(before.deadline_ms, after.deadline_ms));
        prop_assert!(before.require.iter().all(|r| after.require.iter().any(|a| (a.of, &a.any) == (r.of, &r.any))));
        prop_assert!(after.reserve.is_superset(&before.reserve));
        prop_assert!(before.pin.is_none() || before.pin == after.pin);
        prop_assert!(before.split.is_none() || before.split == after.split);
        prop_assert!(before.set.iter().all(|(name, value)| after.set.get(name) == Some(value)));
        prop_assert!(after.fallback.starts_with(&before.fallback), "theirs come behind ours");
    }
}

#[test]
fn observing_policies_act_only_in_the_shadow() {
    let deny = Said { effect: Effect::Deny(Deny { code: "x".into(), reason: String::new() }), at: At::default() };
    let standing = Arc::new(Standing {
        name: "p".into(),
        layer: Layer::Platform,
        priority: 0,
        engine: Engine::Cel,
        declared: At::default(),
    });
    for (mode, acts, shadow, why) in [
        (Mode::Enforce, 1, 1, "enforce acts"),
        (Mode::Warn, 0, 1, "warn would have"),
        (Mode::Observe, 0, 1, "observe would have"),
        (Mode::Off, 0, 0, "off is not there"),
    ] {
        let verdict = Verdict {
            policy: standing.clone(),
            hook: Hook::PreRoute,
            mode,
            lowered: None,
            outcome: Outcome::Decided(vec![deny.clone()]),
            ops: 0,
        };
        assert_eq!(Terms::resolve([&verdict]).deny.len(), acts, "{why}");
        let terms = Terms::resolve([&verdict]);
        let all = Terms::resolve_shadow(std::slice::from_ref(&verdict), &terms).map_or(terms, |shadow| *shadow);
        assert_eq!(all.deny.len(), shadow, "{why}");
    }
}

/// Terms stand in receipts: what cannot be written would take the whole receipt with it.
#[test]
fn settings_of_every_type_are_written_and_read_again() {
    for value in
        [serde_json::json!(0.5), serde_json::json!("x"), serde_json::json!(true), serde_json::json!({ "a": 1 })]
    {
        let mut terms = Terms::default();
        let setting = Setting { value: value.clone(), policy: "p".into(), at: At::default() };
        terms.set.insert("temperature".to_owned(), setting);
        let written = serde_json::to_string(&terms).unwrap_or_else(|why| panic!("{value}: {why}"));
        assert_eq!(serde_json::from_str::<Terms>(&written).unwrap(), terms, "{value}");
    }
}
