//! A target's price: what each kind of token costs, and what all cost in a call with a long prompt.

use tollgate_core::contract::Operation;
use tollgate_core::limits::money::{Above, Price, Rates};

use crate::reading::{Reading, Table};
use crate::yaml::Node;

/// No price has more rows for long prompts.
const ABOVE_MAX: usize = 8;

const RATES: [&str; 8] =
    ["input", "cached_input", "cache_write", "cache_write_1h", "input_audio", "output", "reasoning", "output_audio"];

pub fn price(reading: &Reading<'_>, node: &Node, operations: &[Operation]) -> Option<Price> {
    let table = reading.table(node, "`price`", &[&RATES[..], &["above", "search_unit"]].concat())?;
    let rates = rates(reading, &table, operations);
    let mut above: Vec<Above> = Vec::new();
    let rows = table.get("above").map_or(&[][..], |v| reading.list(v, "`price.above`"));
    for node in rows {
        let row = reading.table(node, "a row of `price.above`", &[&["tokens"][..], &RATES].concat())?;
        row.need("tokens", "the row applies to calls with more input tokens than this, like 200000");
        let tokens = row.whole("tokens", 1, i64::MAX).and_then(|n| u64::try_from(n).ok());
        let rates = self::rates(reading, &row, operations);
        let (tokens, rates) = (tokens?, rates?);
        if above.last().is_some_and(|last| last.tokens >= tokens) || above.len() == ABOVE_MAX {
            let help = format!("rows stand by rising `tokens`, at most {ABOVE_MAX} of them");
            reading.tell_help("TG0211", node.at, format!("`price.above`: the row of {tokens} tokens"), help);
            return None;
        }
        above.push(Above { tokens, rates });
    }
    let search_unit = match table.get("search_unit") {
        None => None,
        Some(_) => Some(amount(reading, &table, "search_unit")?),
    };
    Some(Price { rates: rates?, search_unit, above })
}

fn rates(reading: &Reading<'_>, table: &Table<'_, '_>, operations: &[Operation]) -> Option<Rates> {
    let input = match (table.get("input"), operations) {
        // Rankings are paid by the search.
        (None, [Operation::Rerank]) => Some(0),
        (Some(_) | None, _) => table
            .need("input", "dollars per million tokens, like \"0.15\"")
            .and_then(|_| amount(reading, table, "input")),
    };
    let output = match (table.get("output"), operations) {
        // Embeddings and rankings have no output tokens.
        (None, [Operation::Embeddings] | [Operation::Rerank]) => Some(0),
        (Some(_) | None, _) => table
            .need("output", "dollars per million tokens, like \"0.60\"")
            .and_then(|_| amount(reading, table, "output")),
    };
    let mut wrong = false;
    let mut kind = |key: &str| {
        table.get(key)?;
        let amount = amount(reading, table, key);
        wrong |= amount.is_none();
        amount
    };
    let rates = Rates {
        cached_input: kind("cached_input"),
        cache_write: kind("cache_write"),
        cache_write_1h: kind("cache_write_1h"),
        input_audio: kind("input_audio"),
        reasoning: kind("reasoning"),
        output_audio: kind("output_audio"),
        input: input?,
        output: output?,
    };
    (!wrong).then_some(rates)
}

fn amount(reading: &Reading<'_>, table: &Table<'_, '_>, key: &str) -> Option<i64> {
    let node = table.get(key)?;
    let text = reading.decimal(node, &format!("`price.{key}`"))?;
    match Price::femto_from_usd_per_million(&text) {
        Ok(femto) => Some(femto),
        Err(why) => {
            reading.tell("TG0211", node.at, format!("`price.{key}`: {why}"));
            None
        }
    }
}
