//! Targets, tiers and families that effects name, held against the catalog: told at load where it has none of that name.
//!
//! A warning, because a provider of the gateway's own config may take models that no catalog lists.

use std::sync::Arc;

use tollgate_core::contract::nearest;
use tollgate_core::policy::effect::{At, Effect, Wish};
use tollgate_core::routing::catalog::Catalog;

use crate::diagnostic::Diagnostic;
use crate::judge::Seat;

/// In one revision, no more are told.
const TOLD_MAX: usize = 20;

/// One name in a program's text, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    pub wish: Wish,
    pub at: At,
}

/// What an effect names.
pub fn of(effect: &Effect) -> Vec<Wish> {
    let all = |names: Vec<&String>| names.into_iter().cloned().map(Wish::Target).collect();
    match effect {
        Effect::Pin(pin) => vec![Wish::Target(pin.target.clone())],
        Effect::Split(split) => all(split.weights.keys().collect()),
        Effect::Fallback(targets) => all(targets.iter().collect()),
        Effect::Prefer(prefer) => vec![prefer.wish.clone()],
        Effect::Deny(_)
        | Effect::Cap(_)
        | Effect::Require(_)
        | Effect::Reserve(_)
        | Effect::Set(..)
        | Effect::Drop(_)
        | Effect::Tag(..)
        | Effect::Note(_)
        | Effect::Alert(_) => Vec::new(),
    }
}

/// Warns of every name that the catalog does not have, each place once.
pub fn warn(seats: &[Arc<Seat>], catalog: &Catalog) -> Vec<Diagnostic> {
    let mut told: Vec<Diagnostic> = Vec::new();
    for Named { wish, at } in seats.iter().flat_map(|seat| seat.program.names()) {
        if let Some(finding) = finding(&wish, &at, catalog).filter(|finding| !told.contains(finding)) {
            told.push(finding);
        }
        if told.len() == TOLD_MAX {
            break;
        }
    }
    told
}

fn finding(wish: &Wish, at: &At, catalog: &Catalog) -> Option<Diagnostic> {
    let targets = || catalog.targets().iter();
    let (what, name, hint) = match wish {
        Wish::Target(name) if catalog.target(name).is_some() || catalog.of_model(name).next().is_some() => return None,
        Wish::Tier(name) if catalog.has_tier(name) => return None,
        Wish::Family(name) if catalog.has_family(name) => return None,
        Wish::Target(name) => ("target", name, nearest::hint(name, catalog.names())),
        Wish::Tier(name) => ("tier", name, nearest::hint(name, targets().map(|target| &*target.tier))),
        Wish::Family(name) => ("family", name, nearest::hint(name, targets().map(|target| &*target.family))),
    };
    let help = match wish {
        Wish::Target(name) if name.contains('/') => {
            "add it to `catalog/`; it is reached without only where the gateway's own config has that provider"
        }
        Wish::Target(_) => "write `provider/model`, or add it to `catalog/`: nothing is called that",
        Wish::Tier(_) | Wish::Family(_) => "no call can go there: mend the name, or add it to `catalog/`",
    };
    let message = format!("the catalog has no {what} `{name}`{hint}");
    Some(Diagnostic::warning("TG0129", &at.file, message).at(at.line, at.column).help(help))
}
