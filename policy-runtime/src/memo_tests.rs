//! What may be remembered of policies, and what may not.

use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate_core::policy::effect::{At, Effect, Said};
use tollgate_core::policy::schema::FIELDS;

use super::*;
use crate::trying::{compile, effects};

fn facts(value: Value) -> Arc<Facts> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn tenant(name: &str, user: &str) -> Arc<Facts> {
    facts(json!({ "caller": { "tenant": name, "user": user } }))
}

/// A program, asked as the policies of a revision are.
struct Asked(Memo, Arc<dyn Program>);

impl Asked {
    fn of(program: Arc<dyn Program>) -> Asked {
        Asked(Memo::of(&*program), program)
    }

    fn decide(&self, hook: Hook, facts: &Arc<Facts>) -> Result<Answer, Stop> {
        self.0.answer(hook, facts, || self.1.decide(hook, facts).map(Some)).map(Option::unwrap)
    }
}

/// Looks at the tenant, and for `acme` at the user; counts how often it is run.
#[derive(Default)]
struct Counted {
    runs: AtomicUsize,
    says: usize,
    reads_words: bool,
}

impl Counted {
    fn runs(&self) -> usize {
        self.runs.load(Ordering::Relaxed)
    }
}

fn ask(facts: &Facts, name: &str) -> String {
    let field = FIELDS.iter().find(|field| field.group == Group::Caller && field.name == name).unwrap();
    format!("{:?}", fact(facts, field))
}

impl Program for Counted {
    fn decide(&self, _: Hook, facts: &Arc<Facts>) -> Result<Answer, Stop> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        if self.reads_words {
            words();
        }
        let mut told = ask(facts, "tenant");
        if told.contains("acme") {
            told += &ask(facts, "user");
        }
        if told.contains("fails") {
            return Err(Stop {
                kind: tollgate_core::policy::verdict::FailureKind::Error,
                what: told,
                at: At::default(),
                ops: 1,
            });
        }
        let effect = Effect::Note(told.repeat(self.says.max(1)));
        Ok(Answer { effects: vec![Said { effect, at: At::default() }], ops: 7 })
    }

    fn is_watched(&self) -> bool {
        true
    }
}

#[test]
fn what_it_did_not_look_at_may_differ() {
    let program = Arc::new(Counted::default());
    let memo = Asked::of(program.clone());
    let mut told = Vec::new();
    for (tenant_name, user, runs, why) in [
        ("other", "ann", 1, "nothing is known yet"),
        ("other", "bob", 1, "of this tenant the user is not looked at"),
        ("acme", "ann", 2, "another tenant"),
        ("acme", "bob", 3, "of this one the user is"),
        ("acme", "ann", 3, "both are known"),
        ("other", "cyd", 3, "so is the first"),
    ] {
        let answer = memo.decide(Hook::PreRoute, &tenant(tenant_name, user)).unwrap();
        assert_eq!(program.runs(), runs, "{why}");
        assert_eq!(answer.ops, 7);
        told.push(format!("{:?}", answer.effects));
    }
    assert_eq!((&told[1], &told[4], &told[5]), (&told[0], &told[2], &told[0]));
    memo.decide(Hook::PostResponse, &tenant("other", "ann")).unwrap();
    assert_eq!(program.runs(), 4, "another hook is another question");
}

#[test]
fn failures_words_and_long_answers_are_not_remembered() {
    for (program, name, why) in [
        (Counted::default(), "fails", "a failure"),
        (Counted { reads_words: true, ..Counted::default() }, "other", "words of the prompt"),
        (Counted { says: 1_000, ..Counted::default() }, "other", "a long answer"),
        (Counted::default(), &*"x".repeat(3_000), "a long fact"),
    ] {
        let program = Arc::new(program);
        let memo = Asked::of(program.clone());
        for _ in 0..3 {
            let _ = memo.decide(Hook::PreRoute, &tenant(name, "ann"));
        }
        assert_eq!(program.runs(), 3, "{why}");
    }
}

#[test]
fn what_never_comes_again_is_seldom_watched_and_little_is_kept() {
    let program = Arc::new(Counted::default());
    let memo = Asked::of(program.clone());
    for n in 0..1_000 {
        memo.decide(Hook::PreRoute, &tenant(&format!("t{n}"), "ann")).unwrap();
    }
    assert_eq!(program.runs(), 1_000);
    assert_eq!(memo.0.kept.as_ref().unwrap().load().len(), KEPT_MAX);
    // Of the last 64 one was watched: 960.
    let last = memo.decide(Hook::PreRoute, &tenant("t960", "ann")).unwrap();
    assert_eq!((program.runs(), last.ops), (1_000, 7));
    // That something came again makes it worth watching.
    memo.decide(Hook::PreRoute, &tenant("t2000", "ann")).unwrap();
    memo.decide(Hook::PreRoute, &tenant("t2000", "ann")).unwrap();
    assert_eq!(program.runs(), 1_001);
}

const SCRIPT: &str = r#"
fn pre_route(facts) {
    let decision = tag("tier", facts.intent.tier);
    if facts.caller.tenant == "acme" && "ops" in facts.caller.groups {
        decision += note("on call");
    }
    if facts.budget("month").ratio > 0.5 {
        decision += prefer_tier("cheap", 10);
    }
    if facts.rate("rpm").remaining < 10 && facts.bucket("slow", "user") < 5000 {
        decision += tag("slow", facts.request.stream);
    }
    if facts.prompt.tokens > 100 && facts.text.contains("secret") {
        decision += deny("secret");
    }
    decision
}"#;

fn any_facts() -> impl Strategy<Value = Arc<Facts>> {
    let names = (0..3_usize, 0..3_usize, 0..2_usize, 0..3_usize, any::<bool>());
    let numbers = (0..3_usize, 0..2_usize, 0..3_u64, any::<bool>());
    (names, numbers).prop_map(|((who, user, groups, tier, stream), (ratio, left, tokens, secret))| {
        let (who, user, tier) = (["acme", "b", ""][who], ["ann", "bob", ""][user], ["high", "low", ""][tier]);
        let groups: &[&str] = [&[][..], &["ops"][..]][groups];
        let (ratio, left) = ([0.0, 0.5, 0.9][ratio], [5, 50][left]);
        facts(json!({
            "caller": { "tenant": who, "user": user, "groups": groups },
            "intent": { "tier": tier },
            "call": { "stream": stream },
            "prompt": { "tokens": tokens * 100 },
            "budget": { "month": { "ratio": ratio } },
            "rate": { "rpm": { "remaining": left } },
            "text": [{ "role": "user", "text": if secret { "a secret" } else { "nothing" } }],
        }))
    })
}

const TABLE: &str = r#"
rules:
  - tag: { always: "yes" }
  - when: 'caller.tenant == "acme" && "ops" in caller.groups'
    note: on call
  - when: 'budget["month"].ratio > 0.5'
    prefer: { tier: cheap, score: 10 }
  - when: 'rate["rpm"].remaining < 10 && bucket("slow", "user") < 5000'
    tag: { slow: "yes" }
  - when: 'intent.tier.matches("^h") || glob(caller.user, "b*")'
    stop: true
    tag: { high: "yes" }
  - when: 'prompt.tokens > 100 && text.contains("secret")'
    deny: { code: secret }
"#;

proptest! {
    #[test]
    fn whoever_is_asked_again_says_what_a_run_would_say(all in proptest::collection::vec(any_facts(), 1..60)) {
        for (file, text) in [("policy.rhai", SCRIPT), ("rules.yaml", TABLE)] {
            let program: Arc<dyn Program> = compile(file, text, json!({})).unwrap().into();
            let memo = Asked::of(program.clone());
            for facts in &all {
                let (run, told) = (program.decide(Hook::PreRoute, facts), memo.decide(Hook::PreRoute, facts));
                prop_assert_eq!(&run, &told);
                prop_assert!(!effects(&told.unwrap()).is_empty());
            }
        }
    }
}

/// What a receipt tells of buckets is what the policy asked for, remembered or not.
#[test]
fn a_remembered_answer_asks_for_the_buckets_that_the_policy_asks_for() {
    let memo = Asked::of(compile("policy.rhai", SCRIPT, json!({})).unwrap().into());
    let slow = || facts(json!({ "caller": { "user": "ann" }, "rate": { "rpm": { "remaining": 5 } } }));
    let quick = || facts(json!({ "caller": { "user": "ann" }, "rate": { "rpm": { "remaining": 50 } } }));
    for (facts, buckets) in [(slow(), 1), (quick(), 0), (slow(), 1), (quick(), 0)] {
        memo.decide(Hook::PreRoute, &facts).unwrap();
        assert_eq!(facts.buckets().len(), buckets);
    }
}

/// The replay names why it cannot decide a call again.
#[test]
fn what_no_receipt_holds_is_noted_where_a_program_looks_at_it() {
    for (when, user, expected, why) in [
        ("text.contains(\"x\")", "ann", &["text"][..], "words are never recorded"),
        ("caller.user == \"ann\"", "~8792", &["caller.user"], "the user is a digest"),
        ("caller.user == \"ann\"", "", &[], "nobody is recorded as nobody"),
        ("caller.tenant == \"acme\"", "ann", &[], "a tenant is recorded"),
        ("caller.tenant == \"bolt\" && text.contains(\"x\")", "ann", &[], "it does not come so far"),
    ] {
        let program = compile("rules.yaml", &format!("rules:\n  - when: '{when}'\n    note: n\n"), json!({})).unwrap();
        let facts = tenant("acme", user);
        let found = unrecorded(|| program.decide(Hook::PreRoute, &facts).map(|_| ()));
        assert!(found.iter().map(String::as_str).eq(expected.iter().copied()), "{why}: {found:?}");
    }
}
