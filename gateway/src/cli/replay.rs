//! `tollgate replay`: recorded calls decided again from their receipts alone, by the code that decided them.

use serde_json::json;
use tollgate_core::evidence::receipt::Receipt;
use tollgate_core::evidence::replay::{Again, Differs, decide_again};
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
    /// Decided otherwise by policies that look at what is never recorded: nothing is known of these.
    untold: Vec<Untold>,
    /// Decided by another revision than the repository's.
    elsewhere: usize,
    /// Ended before a policy was asked, or nobody saw their end: their receipts say nothing of decisions.
    undecided: usize,
    unreadable: usize,
}

/// A call that cannot be replayed, and for what.
struct Untold {
    call: String,
    /// `policy `p` reads text`
    why: Vec<String>,
}

impl Untold {
    fn of(receipt: &Receipt, again: &Again) -> Untold {
        let why = |differs: &Differs| format!("policy `{}` reads {}", differs.policy, differs.unrecorded.join(", "));
        Untold { call: receipt.call_id.to_string(), why: again.differs.iter().map(why).collect() }
    }
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
                Ok(again) if again.cannot_be_told() => count.untold.push(Untold::of(&receipt, &again)),
                Ok(_) => count.different.push(receipt.call_id.to_string()),
                Err(_) => count.unreadable += 1,
            },
        }
    }
    tell(&count, &revision.id, args.json);
    match count.different.is_empty() && count.unreadable == 0 && count.equal + count.untold.len() > 0 {
        true => Ok(()),
        false => Err(Ended::failed("")),
    }
}

fn tell(count: &Count, revision: &RevisionId, as_json: bool) {
    if as_json {
        let untold = count.untold.iter().map(|one| json!({ "call": one.call, "why": one.why }));
        let told = json!({
            "revision": revision, "equal": count.equal, "different": count.different,
            "cannot_be_replayed": untold.collect::<Vec<_>>(),
            "of_another_revision": count.elsewhere, "undecided": count.undecided, "unreadable": count.unreadable,
        });
        println!("{told}");
        return;
    }
    for id in count.different.iter().take(TOLD_MAX) {
        println!("different: {id} (`tollgate explain {id}` tells how it was decided)");
    }
    for Untold { call, why } in count.untold.iter().take(TOLD_MAX) {
        println!("cannot be replayed: {call}: {}", why.join("; "));
    }
    if !count.untold.is_empty() {
        println!("(words of a prompt are never recorded, of a user and an address a keyed digest alone)");
    }
    println!(
        "revision {}: {} decided again with equal digests, {} different, {} cannot be replayed, {} of another revision, {} undecided, {} unreadable",
        revision.short(),
        count.equal,
        count.different.len(),
        count.untold.len(),
        count.elsewhere,
        count.undecided,
        count.unreadable
    );
    if count.elsewhere > 0 {
        println!(
            "calls are decided again by their own revision alone; `tollgate policy rehearse REVISION` tries another beside the active \
             one, on the calls that come"
        );
    }
}
