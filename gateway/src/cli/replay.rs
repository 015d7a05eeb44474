//! `tollgate replay`: recorded calls decided again from their receipts alone, by the code that decided them.

use serde_json::json;
use tollgate_core::evidence::receipt::Receipt;
use tollgate_core::evidence::replay::decide_again;
use tollgate_core::policy::tree::RevisionId;
use tollgate_store::trail;

use super::{Ended, Replay};
use crate::policies::{self, Checkout};
use crate::start;

/// How many differences are told one by one.
const TOLD_MAX: usize = 20;

#[derive(Default)]
struct Count {
    equal: usize,
    different: Vec<String>,
    /// Decided by another revision than the repository's.
    elsewhere: usize,
    /// Ended before a policy was asked, or nobody saw their end: their receipts say nothing of decisions.
    undecided: usize,
    unreadable: usize,
}

pub fn run(args: &Replay) -> Result<(), Ended> {
    let config = start::config(&args.places)?;
    let state = super::trail::open(&args.places)?;
    let repository = policies::once(&config, &args.places, Checkout::Commits)?;
    let loaded = repository.load(&policies::builtin());
    let Some(revision) = loaded.revision else {
        return Err(Ended::failed(format!("{} does not load: `tollgate check` says why", repository.described)));
    };
    let told = |why: std::io::Error| Ended::failed(format!("cannot read `{}`: {why}", state.trail().display()));
    let lines = match &args.id {
        Some(id) => trail::find(&state.trail(), id).map_err(told)?.into_iter().collect(),
        None => trail::tail(&state.trail(), args.lines).map_err(told)?,
    };
    if lines.is_empty() {
        return Err(Ended::failed(format!("no such call is in the trail `{}`", state.trail().display())));
    }
    let mut count = Count::default();
    for line in &lines {
        match serde_json::from_str::<Receipt>(line) {
            Err(_) => count.unreadable += 1,
            Ok(receipt) if receipt.decision_digest.is_empty() => count.undecided += 1,
            Ok(receipt) if *receipt.revision != *revision.id.0 => count.elsewhere += 1,
            Ok(receipt) => match decide_again(&receipt, &revision) {
                Ok(again) if again.same => count.equal += 1,
                Ok(_) => count.different.push(receipt.call_id.to_string()),
                Err(_) => count.unreadable += 1,
            },
        }
    }
    tell(&count, &revision.id, args.json);
    match count.different.is_empty() && count.unreadable == 0 && count.equal > 0 {
        true => Ok(()),
        false => Err(Ended::failed("")),
    }
}

fn tell(count: &Count, revision: &RevisionId, as_json: bool) {
    if as_json {
        let told = json!({
            "revision": revision, "equal": count.equal, "different": count.different,
            "of_another_revision": count.elsewhere, "undecided": count.undecided, "unreadable": count.unreadable,
        });
        println!("{told}");
        return;
    }
    for id in count.different.iter().take(TOLD_MAX) {
        println!("different: {id} (`tollgate explain {id}` tells how it was decided)");
    }
    println!(
        "revision {}: {} decided again with equal digests, {} different, {} of another revision, {} undecided, {} unreadable",
        revision.short(),
        count.equal,
        count.different.len(),
        count.elsewhere,
        count.undecided,
        count.unreadable
    );
}
