//! Deciding a recorded call again, from its receipt alone, by the code that decided it.

use std::sync::Arc;

use super::digest;
use super::receipt::Receipt;
use crate::policy::Hook;
use crate::policy::revision::Revision;
use crate::policy::verdict::{FailureKind, Outcome, Verdict};

/// What became of a second decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Again {
    pub verdicts: Vec<Verdict>,
    pub digest: String,
    /// The digest equals the recorded one.
    pub same: bool,
    /// The policies that decided otherwise; empty where the digests are equal.
    pub differs: Vec<Differs>,
}

/// A policy that decided otherwise than the receipt says.
#[derive(Debug, Clone, PartialEq)]
pub struct Differs {
    pub policy: Arc<str>,
    pub hook: Hook,
    /// What it looks at that no receipt holds. Where it looks at any, that it differs says nothing.
    pub unrecorded: Vec<String>,
}

impl Again {
    /// Does all that differs hang on what is never recorded?
    pub fn cannot_be_told(&self) -> bool {
        !self.differs.is_empty() && self.differs.iter().all(|differs| !differs.unrecorded.is_empty())
    }
}

/// Asks the revision about the recorded facts. Outcomes that time decided (CPU kills, quarantine) are honoured as recorded.
pub fn decide_again(receipt: &Receipt, revision: &Revision) -> Result<Again, serde_json::Error> {
    let mut verdicts: Vec<Verdict> = Vec::new();
    for (hook, facts) in receipt.facts.keys().filter_map(|hook| Some((hook, receipt.facts_at(*hook)?))) {
        let facts = Arc::new(facts?);
        let fresh = revision.judge.ask(*hook, &facts);
        verdicts.extend(fresh.into_iter().map(|verdict| honoured(receipt, *hook, verdict)));
    }
    let digest = digest::decision(&verdicts);
    let same = digest == receipt.decision_digest;
    let differs = if same { Vec::new() } else { differs(receipt, revision, &verdicts) };
    Ok(Again { same, verdicts, digest, differs })
}

/// The policies whose part of the digest is another: a policy sees what is not recorded as if it were not there.
fn differs(receipt: &Receipt, revision: &Revision, fresh: &[Verdict]) -> Vec<Differs> {
    let of = |verdicts: &[Verdict], asked: &Verdict| {
        let same = |v: &&Verdict| v.hook == asked.hook && v.policy.name == asked.policy.name;
        digest::decision(verdicts.iter().filter(same))
    };
    let gone =
        receipt.verdicts.iter().filter(|v| !fresh.iter().any(|f| f.hook == v.hook && f.policy.name == v.policy.name));
    let other = fresh.iter().chain(gone).filter(|asked| of(fresh, asked) != of(&receipt.verdicts, asked));
    let told = |verdict: &Verdict| {
        let facts = receipt.facts_at(verdict.hook).and_then(Result::ok).map(Arc::new);
        let unrecorded = |facts| revision.judge.unrecorded(verdict.hook, &verdict.policy.name, &facts);
        let unrecorded = facts.map(unrecorded).unwrap_or_default();
        Differs { policy: verdict.policy.name.clone(), hook: verdict.hook, unrecorded }
    };
    other.map(told).collect()
}

fn honoured(receipt: &Receipt, hook: Hook, fresh: Verdict) -> Verdict {
    let killed = receipt.verdicts.iter().find(|v| {
        v.hook == hook
            && v.policy.name == fresh.policy.name
            && matches!(&v.outcome, Outcome::Failed(f) if matches!(f.kind, FailureKind::CpuTime | FailureKind::Quarantine))
    });
    killed.cloned().unwrap_or(fresh)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::contract::Dialect;
    use crate::evidence::receipt::{Opening, Recorded};
    use crate::policy::Mode;
    use crate::policy::effect::{At, Effect, Said};
    use crate::policy::facts::Facts;
    use crate::policy::revision::Judge;
    use crate::policy::schema::GroupSet;
    use crate::policy::tree::RevisionId;
    use crate::policy::verdict::{Engine, Layer, Standing};

    fn verdict(policy: &str, note: &str) -> Verdict {
        let declared = At::default();
        let standing =
            Standing { name: policy.into(), layer: Layer::Platform, priority: 0, engine: Engine::Cel, declared };
        let said = Said { effect: Effect::Note(note.into()), at: At::default() };
        let (policy, outcome) = (Arc::new(standing), Outcome::Decided(vec![said]));
        Verdict { policy, hook: Hook::PreRoute, mode: Mode::Enforce, lowered: None, outcome, ops: 0 }
    }

    /// Notes `again` for both of its policies; `words` looks at the prompt.
    struct Two;

    impl Judge for Two {
        fn ask(&self, _: Hook, _: &Arc<Facts>) -> Vec<Verdict> {
            vec![verdict("plain", "again"), verdict("words", "again")]
        }

        fn sits_at(&self, _: Hook) -> bool {
            true
        }

        fn reads(&self, _: Hook) -> GroupSet {
            GroupSet::default()
        }

        fn unrecorded(&self, _: Hook, policy: &str, _: &Arc<Facts>) -> Vec<String> {
            if policy == "words" { vec!["text".to_owned()] } else { Vec::new() }
        }
    }

    #[test]
    fn what_hangs_on_what_is_never_recorded_is_told_apart() {
        let revision = Revision {
            id: RevisionId::new("r"),
            catalog: Default::default(),
            tenants: Default::default(),
            limits: Default::default(),
            judge: Box::new(Two),
        };
        for (plain, words, differs, is_untold, why) in [
            ("again", "again", &[][..], false, "as it was decided"),
            ("again", "before", &["words"], true, "only a policy that looks at words"),
            ("before", "again", &["plain"], false, "a policy that sees all that it saw"),
            ("before", "before", &["plain", "words"], false, "one of both is enough"),
        ] {
            let mut receipt = Receipt::open(Opening {
                call_id: "c".into(),
                request_id: "c".into(),
                time_ms: 0,
                contract: "".into(),
                revision: "r".into(),
                dialect: Dialect::default(),
            });
            receipt.facts.insert(Hook::PreRoute, Recorded::Read(json!({})));
            receipt.verdicts = vec![verdict("plain", plain), verdict("words", words)];
            receipt.decision_digest = digest::decision(&receipt.verdicts);
            let again = decide_again(&receipt, &revision).unwrap();
            assert!(again.differs.iter().map(|d| &*d.policy).eq(differs.iter().copied()), "{why}: {:?}", again.differs);
            assert_eq!((again.same, again.cannot_be_told()), (differs.is_empty(), is_untold), "{why}");
        }
    }
}
