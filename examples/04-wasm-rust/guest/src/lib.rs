//! A company's own data classifier: what class of data is in the prompt, and where may it go?
//!
//! It looks for the company's own words (by the gateway, nothing is copied) and for numbers of accounts and cards whose
//! check digits are right (here, piece by piece). What it finds decides the regions; the numbers themselves are never told.

mod numbers;

wit_bindgen::generate!({ path: "wit", world: "policy" });

use numbers::Numbers;
use tollgate::policy::effects::{Deny, Require, Tag, TraitOf};

/// Bytes of the prompt that are looked at in one go.
const PIECE: u32 = 16 * 1024;

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Class {
    Internal,
    Confidential,
    Restricted,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Class::Internal => "internal",
            Class::Confidential => "confidential",
            Class::Restricted => "restricted",
        }
    }
}

struct Classifier;

impl Guest for Classifier {
    fn decide(hook: Hook, facts: Facts) -> Result<Vec<Effect>, String> {
        if hook != Hook::PreRoute {
            return Err("the classifier reads the prompt, which is known at pre-route".to_owned());
        }
        let regions = facts.param_texts("regions").ok_or("`regions` must be a list of texts")?;
        let words = facts.param_texts("words").ok_or("`words` must be a list of texts")?;
        let numbers = numbers(&facts);
        let class = match (numbers.all(), facts.text_find(&words).len()) {
            (1.., _) => Class::Restricted,
            (0, 1..) => Class::Confidential,
            (0, 0) => Class::Internal,
        };
        let mut effects = vec![tag("data_class", class.name())];
        if class == Class::Restricted && !facts.param_flag("allow_restricted").unwrap_or(false) {
            let reason = format!(
                "the prompt holds {} account numbers and {} card numbers: take them out",
                numbers.accounts, numbers.cards
            );
            effects.push(Effect::Deny(Deny { code: "restricted_data".to_owned(), reason }));
        } else if class >= Class::Confidential {
            effects.push(Effect::Require(Require { of: TraitOf::Regions, any: regions }));
        }
        let stated = facts.meta_data_class();
        if class > Class::Internal && stated != class.name() {
            effects.push(Effect::Note(format!("found {} data, stated as `{stated}`", class.name())));
        }
        Ok(effects)
    }
}

fn numbers(facts: &Facts) -> Numbers {
    let mut numbers = Numbers::default();
    for part in 0..facts.text_parts() {
        let mut at = 0;
        let len = facts.text_len(part);
        while at < len {
            let piece = facts.text_slice(part, at, PIECE);
            piece.bytes().for_each(|byte| numbers.look(byte));
            at += piece.len().max(1) as u32;
        }
        // A number does not go on in another message.
        numbers.look(b'\n');
    }
    numbers
}

fn tag(key: &str, value: &str) -> Effect {
    Effect::Tag(Tag { key: key.to_owned(), value: value.to_owned() })
}

export!(Classifier);
