//! What a call may use at most, before it leaves: holds and caps on cost rest on it.

use std::cell::OnceCell;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::allowance::Allowed;
use super::identify::Identified;
use crate::contract::refusal::{Category, Refusal};
use crate::contract::tokens::Counts;
use crate::contract::tokens::families::Family;
use crate::contract::{Dialect, Operation};
use crate::dialects::spots;
use crate::dialects::words::Words;
use crate::limits::claim::Claim;
use crate::limits::money::{Most, Price, usd_text};
use crate::limits::rules::{Unit, UnknownPrice};
use crate::policy::facts::Facts;
use crate::policy::revision::Revision;
use crate::policy::terms::Terms;
use crate::routing::catalog::{Catalog, PriceRow, Target};

/// Output tokens assumed where neither caller, policy nor catalog bounds them.
pub const OUTPUT_TOKENS_ASSUMED: u64 = 4_096;

/// A picture costs at most so many tokens, as it is made or read.
const PICTURE_TOKENS: u64 = 8_192;
/// Files are sound or pictures: so many bytes at least for each token (the thinnest speech has about 75), and so many tokens
/// for a file that is small and shows much.
const FILE_BYTES_A_TOKEN: u64 = 16;
const FILE_TOKENS: u64 = PICTURE_TOKENS;

/// What is known of a call's size.
pub struct Bound<'a> {
    call: &'a Identified,
    facts: &'a Facts,
    /// The least of the bounds that caller and policies set.
    max_tokens: Option<u64>,
    max_cost_nanousd: Option<i64>,
    /// Answers that are asked for at once, each with all the tokens it may have.
    answers: u64,
    /// Counted when somebody asks.
    counts: OnceCell<Counts>,
    /// Whether it may use what is dearer, looked for when somebody asks.
    dearer: OnceCell<Dearer>,
}

/// Kinds of tokens that are dearer than others. They count where the body has their word anywhere: that may be too dear, and
/// never too cheap.
#[derive(Clone, Copy)]
struct Dearer {
    audio: bool,
    hour: bool,
}

impl<'a> Bound<'a> {
    pub fn of(call: &'a Identified, facts: &'a Facts, terms: &Terms) -> Self {
        let intent = &facts.intent;
        let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Bound {
            call,
            facts,
            max_tokens: least(terms.max_tokens, intent.max_tokens),
            max_cost_nanousd: terms.max_cost_nanousd.into_iter().chain(intent.max_cost_nanousd).min(),
            answers: answers(call, terms),
            counts: OnceCell::new(),
            dearer: OnceCell::new(),
        }
    }

    fn dearer(&self) -> Dearer {
        let says = |word: &str| memchr::memmem::find(&self.call.body, word.as_bytes()).is_some();
        let look =
            || Dearer { audio: says("audio") || self.call.dialect == Dialect::OpenaiAudio, hour: says("\"1h\"") };
        *self.dearer.get_or_init(look)
    }

    fn input(&self, target: &Target) -> u64 {
        let counts =
            self.counts.get_or_init(|| self.facts.words.as_ref().map(Words::counts_for_bound).unwrap_or_default());
        let (bytes, files) = self.call.wire.files();
        let of_files = bytes as u64 / FILE_BYTES_A_TOKEN + files as u64 * FILE_TOKENS;
        Family::of(&target.upstream_model).bound(counts, target.context_tokens).saturating_add(of_files)
    }

    fn output(&self, target: &Target) -> u64 {
        if matches!(target.operations[..], [Operation::Embeddings | Operation::Rerank]) {
            return 0;
        }
        let assumed = match self.operation() {
            Operation::Images => PICTURE_TOKENS,
            Operation::Moderations => return 0,
            Operation::Chat
            | Operation::Embeddings
            | Operation::Completions
            | Operation::CountTokens
            | Operation::Rerank
            | Operation::Audio
            | Operation::Files
            | Operation::Batches => OUTPUT_TOKENS_ASSUMED,
        };
        let each = self.max_tokens.into_iter().chain(target.output_tokens_max).min().unwrap_or(assumed);
        each.saturating_mul(self.answers)
    }

    fn cost(&self, price: &Price, target: &Target) -> i64 {
        price.worst(&self.most(target))
    }

    fn most(&self, target: &Target) -> Most {
        let (input, output) = (self.input(target), self.output(target));
        let search_units = if self.operation() == Operation::Rerank { self.search_units(input) } else { 0 };
        let Dearer { audio, hour } = self.dearer();
        Most { input, output, audio, hour, search_units }
    }

    /// A unit ranks a hundred documents, of at most five hundred tokens with the query: longer ones count as several.
    fn search_units(&self, input: u64) -> u64 {
        let documents = self.facts.prompt().messages;
        documents.saturating_add(input / 250).div_ceil(100)
    }

    fn computes_nothing(&self) -> bool {
        self.call.place.computes_nothing(self.call.dialect)
    }

    fn operation(&self) -> Operation {
        self.call.dialect.operation().granted_as()
    }

    /// The price of a target, where it has one for this operation.
    fn price_of<'t>(&self, target: &'t Target) -> Option<&'t PriceRow> {
        target.price.as_ref().filter(|row| self.operation() != Operation::Rerank || row.price.search_unit.is_some())
    }

    /// The dearest single attempt over the targets, in the unit of each rule.
    pub fn worst_case(&self, claims: &mut [Claim], targets: &[Arc<Target>]) {
        if claims.is_empty() {
            return;
        }
        if self.computes_nothing() {
            claims.iter_mut().for_each(|claim| {
                claim.worst = match claim.rule.unit {
                    Unit::Nanousd | Unit::Tokens => 0,
                    Unit::Requests | Unit::InFlight => 1,
                }
            });
            return;
        }
        let tokens = targets.iter().map(|t| self.input(t).saturating_add(self.output(t))).max().unwrap_or(0);
        let costs = targets.iter().filter_map(|t| self.price_of(t).map(|row| self.cost(&row.price, t)));
        let cost = costs.max().unwrap_or(0);
        for claim in claims {
            claim.worst = match claim.rule.unit {
                Unit::Nanousd => u64::try_from(cost).unwrap_or(0),
                Unit::Tokens => tokens,
                Unit::Requests | Unit::InFlight => 1,
            };
        }
    }

    /// The most output tokens with which no target needs more than `left`; `None` = not even its prompt fits.
    pub fn affords(&self, targets: &[Arc<Target>], unit: Unit, left: u64) -> Option<u64> {
        let fits = |output: u64| match unit {
            Unit::Tokens => targets.iter().all(|t| self.input(t).saturating_add(output) <= left),
            Unit::Nanousd => targets.iter().filter_map(|t| Some((self.price_of(t)?, t))).all(|(row, t)| {
                let most = Most { output, ..self.most(t) };
                u64::try_from(row.price.worst(&most)).unwrap_or(u64::MAX) <= left
            }),
            Unit::Requests | Unit::InFlight => false,
        };
        let (mut low, mut high) = (0, targets.iter().map(|t| self.output(t)).max()?);
        if !fits(low) {
            return None;
        }
        // Dearer with every token: halved until one remains.
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if fits(middle) { low = middle } else { high = middle - 1 }
        }
        Some(low / self.answers)
    }

    pub fn caps_cost(&self) -> bool {
        self.max_cost_nanousd.is_some()
    }

    /// By what the stream of this call is metered.
    pub fn allowed(&self, targets: &[Arc<Target>]) -> Allowed {
        let input = targets.iter().map(|t| self.input(t)).max().unwrap_or(0);
        let Dearer { audio, hour } = self.dearer();
        let most = Most { input, output: 0, audio, hour, search_units: 0 };
        let (max_tokens, max_cost_nanousd) = (self.max_tokens, self.max_cost_nanousd);
        Allowed { most, max_tokens, assumed: OUTPUT_TOKENS_ASSUMED, answers: self.answers, max_cost_nanousd }
    }

    /// Targets whose worst case is above the cap on cost leave; with none left, the cap is told.
    pub fn within_cost(&self, targets: &mut Vec<Arc<Target>>) -> Result<(), Refusal> {
        let Some(cap) = self.max_cost_nanousd.filter(|_| !self.computes_nothing()) else { return Ok(()) };
        let known = |t: &Target| self.price_of(t).filter(|row| !row.assumed).map(|row| self.cost(&row.price, t));
        let cheapest = targets.iter().filter_map(|t| known(t).map(|cost| (cost, t.id.clone()))).min();
        // A target without a price cannot promise to stay below a cap.
        targets.retain(|t| known(t).is_some_and(|cost| cost <= cap));
        if !targets.is_empty() {
            return Ok(());
        }
        let told = match cheapest {
            Some((cost, target)) => format!(
                "the call may cost up to {} USD at `{target}`, the cap is {} USD: lower `max_tokens`, shorten the prompt, or raise the cap",
                usd_text(cost),
                usd_text(cap)
            ),
            None => "the call has a cap on cost, and no target has a known price".to_owned(),
        };
        Err(Refusal::new(Category::BudgetExceeded, "cost_cap_exceeded", told))
    }

    /// Money is counted, and some targets have no price: the revision's rule says what becomes of them.
    pub fn price_unknown(&self, revision: &Revision, targets: &mut Vec<Arc<Target>>) -> Result<(), Refusal> {
        let unpriced = targets.iter().find(|t| self.price_of(t).is_none() && !self.computes_nothing());
        let Some(first) = unpriced.map(|t| t.id.clone()) else { return Ok(()) };
        match revision.limits.unknown_price {
            UnknownPrice::Flagged => return Ok(()),
            UnknownPrice::Deny => targets.retain(|t| self.price_of(t).is_some()),
            UnknownPrice::WorstCase => targets.retain_mut(|target| {
                if self.price_of(target).is_none() {
                    let Some(row) = self.dearest(&revision.catalog, target) else { return false };
                    *target = Arc::new(Target { price: Some(row), ..(**target).clone() });
                }
                true
            }),
        }
        if !targets.is_empty() {
            return Ok(());
        }
        let told = format!(
            "a limit in money applies, and nobody knows the price of `{first}`: write one into the catalog, or set `unknown_price` in limits.yaml"
        );
        Err(Refusal::new(Category::BudgetExceeded, "price_unknown", told))
    }

    /// The dearest price for this call among models for the same operation: of the same provider, else of the catalog.
    fn dearest(&self, catalog: &Catalog, unpriced: &Target) -> Option<PriceRow> {
        let operation = self.operation();
        let alike = |t: &&Arc<Target>| t.operations.contains(&operation);
        let priced = |t: &'_ Arc<Target>| {
            let cost = self.price_of(t).map(|row| self.cost(&row.price, unpriced))?;
            Some((cost, t.clone()))
        };
        let of_provider = |t: &&Arc<Target>| alike(t) && t.provider == unpriced.provider;
        let targets = catalog.targets();
        let dearest = targets.iter().filter(of_provider).filter_map(priced).max_by_key(|(cost, _)| *cost);
        let (_, dearest) =
            dearest.or_else(|| targets.iter().filter(alike).filter_map(priced).max_by_key(|(cost, _)| *cost))?;
        let row = dearest.price.as_ref()?;
        let source = format!("the dearest that it could be: that of `{}`, {}", dearest.id, row.source);
        Some(PriceRow { price: row.price.clone(), as_of: row.as_of.clone(), source: source.into(), assumed: true })
    }
}

/// How many answers a call asks for at once: what it says itself, or what a policy sets; for each of its prompts.
fn answers(call: &Identified, terms: &Terms) -> u64 {
    let set = terms.set.get("n").map(|setting| setting.value.clone());
    let own = spots::of(call.dialect, "n");
    let said = spots::answers(call.dialect).iter().filter(|spot| set.is_none() || **spot != own);
    let said = said.filter_map(|spot| serde_json::from_slice(spot.read(&call.body, &call.skim)?).ok());
    // Forms say it as a text.
    let number = |value: serde_json::Value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    // What is no number its provider refuses; what is too large to be one is as dear as can be.
    let each = said.chain(set.clone()).filter_map(number).fold(1.0, f64::max).ceil() as u64;
    each.saturating_mul(prompts(call))
}

/// A list of texts, or of texts as tokens, is so many prompts, each with answers of its own.
fn prompts(call: &Identified) -> u64 {
    let list = (call.dialect == Dialect::OpenaiCompletions).then(|| call.skim.raw(&call.body, "prompt")).flatten();
    let list = list.and_then(|raw| serde_json::from_slice::<Vec<&RawValue>>(raw).ok()).unwrap_or_default();
    let is_prompt = |item: &&&RawValue| item.get().starts_with(['"', '[']);
    list.iter().filter(is_prompt).count().max(1) as u64
}

/// Targets that may cost too much leave, and each claim is told how much the call may use.
pub fn bounded(
    bound: &Bound<'_>,
    revision: &Revision,
    claims: &mut [Claim],
    targets: &mut Vec<Arc<Target>>,
) -> Result<(), Refusal> {
    if claims.iter().any(|claim| claim.rule.unit == Unit::Nanousd) {
        bound.price_unknown(revision, targets)?;
    }
    bound.within_cost(targets)?;
    bound.worst_case(claims, targets);
    Ok(())
}
