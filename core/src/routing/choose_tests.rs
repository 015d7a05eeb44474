//! The router on small catalogs: what is wanted, added, cut and ordered.

use super::*;
use crate::policy::effect::{Pin, Split};
use crate::policy::terms::Winner;
use crate::routing::catalog::unlisted;

fn target(id: &str, family: &str, tier: &str, region: &str) -> Target {
    let (provider, model) = id.split_once('/').unwrap();
    Target { family: family.into(), tier: tier.into(), region: region.into(), ..unlisted(provider, model) }
}

fn catalog() -> Catalog {
    Catalog::new(
        [
            target("a/big", "alpha", "high", "us"),
            target("a/small", "alpha", "low", "us"),
            target("b/big", "beta", "high", "eu"),
            target("b/small", "beta", "low", "eu"),
            target("off/big", "alpha", "high", "us"),
        ],
        BTreeMap::from([("best".into(), "big".into())]),
    )
}

fn winner<T>(value: T) -> Winner<T> {
    Winner { value, policy: "p".into(), at: Default::default() }
}

fn require(of: Trait, any: &[&str]) -> Requirement {
    Requirement { of, any: any.iter().map(|s| (*s).to_owned()).collect(), policies: ["p".into()].into() }
}

fn run(intent: Intent, terms: &Terms) -> Result<Vec<String>, NoRoute> {
    let given = Given {
        intent: &intent,
        operation: Operation::Chat,
        needs: &[],
        instead: &[],
        held_at: None,
        speaks: &|_| true,
        serves: &|p| p != "off",
        takes_unlisted: &|p| p == "open",
        unnamed: &[],
        default_provider: None,
        granted: &|_| true,
        bucket: &|_, _| 2_500,
    };
    choose(&catalog(), terms, &given).map(|r| r.targets.iter().map(|t| t.id.to_string()).collect())
}

/// A call that names nothing, which these providers could take.
fn run_unnamed(unnamed: &[&str], terms: &Terms, granted: &[&str]) -> Result<Vec<String>, NoRoute> {
    let grant = crate::identity::tenants::Grant {
        models: granted.iter().map(|glob| Glob::new(glob).unwrap()).collect(),
        ..Default::default()
    };
    let given = Given {
        intent: &Intent::default(),
        operation: Operation::Images,
        needs: &[],
        instead: &[],
        held_at: None,
        speaks: &|_| true,
        serves: &|_| true,
        takes_unlisted: &|_| false,
        unnamed,
        default_provider: None,
        granted: &|target| grant.admits(target),
        bucket: &|_, _| 0,
    };
    choose(&catalog(), terms, &given).map(|r| r.targets.iter().map(|t| t.id.to_string()).collect())
}

#[test]
fn a_call_without_a_model_goes_where_one_provider_can_choose() {
    let none = Terms::default();
    assert_eq!(run_unnamed(&["a"], &none, &[]).unwrap(), ["a/"], "the one that there is");
    for (unnamed, why) in [(&["a", "b"][..], "several"), (&[], "none")] {
        let told = unnamed.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(run_unnamed(unnamed, &none, &[]), Err(NoRoute::Unnamed(told)), "{why}");
    }
    for (granted, admitted, why) in [
        (&["*"][..], true, "all models are granted"),
        (&["a/*"], true, "all of the provider's"),
        (&["gpt-*", "a/gpt-*"], false, "a list of models is no leave to let another choose"),
        (&["b/*"], false, "another provider's"),
    ] {
        assert_eq!(run_unnamed(&["a"], &none, granted).is_ok(), admitted, "{why}");
    }
    let required = Terms { require: vec![require(Trait::Models, &["gpt-*"])], ..Terms::default() };
    assert!(matches!(run_unnamed(&["a"], &required, &[]), Err(NoRoute::AllCut(_))), "nor does a policy's list");
    let preferred = Terms { prefer: vec![(Wish::Tier("low".into()), 1)], ..Terms::default() };
    assert_eq!(run_unnamed(&["a"], &preferred, &[]).unwrap(), ["a/small", "b/small"], "a policy may choose one");
}

fn model(name: &str) -> Intent {
    Intent { asked: name.into(), model: name.into(), ..Intent::default() }
}

#[test]
fn the_intent_names_the_wanted_targets() {
    let pinned = |p: &str, m: &str| Intent { provider: p.into(), ..model(m) };
    let tier = |t: &str| Intent { asked: format!("@{t}"), tier: t.into(), ..Intent::default() };
    for (intent, expected, why) in [
        (model("big"), vec!["a/big", "b/big"], "a model is at every configured provider, in the catalog's order"),
        (model("best"), vec!["a/big", "b/big"], "an alias is its model"),
        (pinned("b", "big"), vec!["b/big"], "a pinned provider"),
        (pinned("open", "x/y"), vec!["open/x/y"], "an open provider takes what no catalog lists"),
        (tier("low"), vec!["a/small", "b/small"], "a tier"),
        (Intent { family: "beta".into(), ..tier("low") }, vec!["b/small"], "a family and a tier"),
        (Intent { region: "eu".into(), ..model("big") }, vec!["b/big"], "a region cuts"),
    ] {
        assert_eq!(run(intent, &Terms::default()).unwrap(), expected, "{why}");
    }
}

#[test]
fn policies_add_cut_and_order() {
    let prefer = |wish, score| Terms { prefer: vec![(wish, score)], ..Terms::default() };
    let pin =
        Terms { pin: Some(winner(Pin { target: "b/small".into(), may_replace_pinned: false })), ..Terms::default() };
    let split = Terms {
        split: Some(winner(Split {
            name: "s".into(),
            by: StickyBy::User,
            weights: BTreeMap::from([("a/small".into(), 25), ("b/small".into(), 75)]),
            may_replace_pinned: false,
        })),
        ..Terms::default()
    };
    let fallback = Terms { fallback: vec!["b/small".into()], ..Terms::default() };
    for (terms, expected, why) in [
        (prefer(Wish::Tier("low".into()), 1), vec!["a/small", "b/small"], "a preferred tier replaces the model's"),
        (prefer(Wish::Target("b/big".into()), 5), vec!["b/big", "a/big"], "a score orders"),
        (prefer(Wish::Target("b/small".into()), -5), vec!["a/big", "b/big", "b/small"], "a low score comes last"),
        (pin.clone(), vec!["b/small", "a/big", "b/big"], "a pin goes first"),
        (split, vec!["b/small", "a/big", "b/big"], "bucket 2500 of 10000 is behind the first quarter"),
        (fallback.clone(), vec!["a/big", "b/big", "b/small"], "a fallback goes last"),
        (
            Terms { require: vec![require(Trait::Regions, &["eu"])], ..fallback },
            vec!["b/big", "b/small"],
            "a requirement cuts, whoever added the target",
        ),
        (
            Terms { require: vec![require(Trait::Regions, &["u*"])], ..pin },
            vec!["a/big"],
            "a requirement cuts a pin too",
        ),
    ] {
        assert_eq!(run(model("big"), &terms).unwrap(), expected, "{why}");
    }
}

#[test]
fn a_route_that_is_none_says_why() {
    assert!(matches!(
        run(model("bog"), &Terms::default()),
        Err(NoRoute::Unknown { nearest: Some(n), .. }) if n == "big"
    ));
    let both = Terms {
        require: vec![require(Trait::Regions, &["eu"]), require(Trait::Families, &["alpha"])],
        ..Terms::default()
    };
    let Err(NoRoute::AllCut(considered)) = run(model("big"), &both) else { panic!("expected all cut") };
    assert!(considered.iter().all(|c| c.cut.is_some()), "{considered:?}");
}

#[test]
fn a_bucket_falls_to_its_share() {
    let weights = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 0), ("c".to_owned(), 3)]);
    for (bucket, expected) in [(0, "a"), (2_499, "a"), (2_500, "c"), (9_999, "c")] {
        assert_eq!(share(&weights, bucket), Some(expected), "{bucket}");
    }
}

#[test]
fn what_a_provider_holds_is_asked_for_there_and_nowhere_else() {
    let route = |intent: &Intent, instead: &[Arc<Target>], held_at, terms: &Terms| {
        let given = Given {
            intent,
            operation: Operation::Chat,
            needs: &[],
            instead,
            held_at,
            speaks: &|_| true,
            serves: &|_| true,
            takes_unlisted: &|_| false,
            unnamed: &[],
            default_provider: None,
            granted: &|_| true,
            bucket: &|_, _| 0,
        };
        choose(&catalog(), terms, &given)
    };
    let ids = |route: Route| route.targets.iter().map(|t| t.id.to_string()).collect::<Vec<_>>();
    let fallback = Terms { fallback: vec!["a/small".into()], ..Terms::default() };
    let went = route(&model("big"), &[], Some("b"), &fallback);
    assert_eq!(went.map(ids), Ok(vec!["b/big".to_owned()]), "no fallback leads away from it");
    let cut = route(&Intent { provider: "a".into(), ..model("big") }, &[], Some("b"), &Terms::default());
    let Err(NoRoute::AllCut(considered)) = cut else { panic!("{cut:?}") };
    assert_eq!(considered[0].cut, Some(Cut::Elsewhere { provider: "b".into() }));
    let whole = [Arc::new(crate::routing::catalog::whole("a")), Arc::new(crate::routing::catalog::whole("b"))];
    let terms = Terms { require: vec![require(Trait::Providers, &["b"])], ..fallback };
    let went = route(&Intent::default(), &whole, None, &terms);
    assert_eq!(went.map(ids), Ok(vec!["b".to_owned()]), "requirements cut providers as they cut models");
}
