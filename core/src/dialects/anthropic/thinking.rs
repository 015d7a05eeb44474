//! How a model is told to think, and how long its answer may be: both depend on its generation.
//!
//! Up to 4.5 a model is given a budget of tokens, which is part of `max_tokens`; from 4.6 on it decides for itself and is
//! given an effort; what came before 3.7 does not think.

use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{Kind, Maker, Part, Role};
use crate::contract::canonical::{ReasoningAsk, Request, ToolChoice};
use crate::dialects::To;

/// The provider takes no smaller budget.
const BUDGET_MIN: u64 = 1_024;
/// For an answer whose length nobody told, by a model that the catalog does not know: every model can say so much.
const ANSWER_DEFAULT: u64 = 4_096;
/// Longer answers must be asked for: the provider holds so many tokens against the caller's limits.
const ANSWER_DEFAULT_MAX: u64 = 64_000;
/// Budgets for efforts; other gateways give about the same.
const BUDGETS: [(&str, u64); 6] =
    [("minimal", 1_024), ("low", 4_096), ("medium", 10_240), ("high", 24_576), ("xhigh", 32_768), ("max", 32_768)];
const BUDGET_DEFAULT: u64 = 10_240;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thinking {
    Disabled,
    Enabled(u64),
    Adaptive,
}

/// What a request says about thinking.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    pub max_tokens: u64,
    pub thinking: Option<Thinking>,
    pub effort: Option<&'static str>,
    pub display: Option<&'static str>,
}

/// What a model is able to, as far as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Able {
    thinks: Thinks,
    /// Takes temperature, top_p and top_k.
    pub sampling: bool,
    /// Takes temperature and top_p together.
    pub both_sampling: bool,
    /// Takes messages of the system behind others.
    pub midway: bool,
    /// Keeps to a schema, in answers and in arguments of tools.
    pub schemas: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thinks {
    Never,
    ByBudget,
    /// By budget as well, and up to an effort of `high` or `max`.
    ByEither,
    ByEffort,
}

/// By name: `claude-3-7-sonnet-20250219`, `claude-sonnet-4-5`, `us.anthropic.claude-opus-4-6-v1:0`. A name without a number
/// is taken for the newest, but what it may refuse is left to it to refuse; one that is no Claude at all is a server that
/// speaks the dialect as it was when they copied it.
pub fn able(model: &str) -> Able {
    let Some(at) = model.find("claude") else {
        return Able { thinks: Thinks::ByBudget, sampling: true, both_sampling: true, midway: false, schemas: true };
    };
    let told = version(&model[at..]);
    let version = told.unwrap_or((u64::MAX, 0));
    let thinks = match version {
        v if v < (3, 7) => Thinks::Never,
        v if v < (4, 6) => Thinks::ByBudget,
        (4, 6) => Thinks::ByEither,
        _ => Thinks::ByEffort,
    };
    Able {
        thinks,
        sampling: told.is_none() || thinks != Thinks::ByEffort,
        both_sampling: told.is_none() || version < (4, 1),
        midway: version >= (4, 8),
        schemas: version >= (4, 1),
    }
}

/// The first number of one or two digits, and the one right behind it.
fn version(name: &str) -> Option<(u64, u64)> {
    let short = |part: &&str| (1..=2).contains(&part.len());
    let mut parts =
        name.split(['-', '.', '@', '_', ':']).skip_while(|part| !(short(part) && part.parse::<u64>().is_ok()));
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next().filter(short).and_then(|part| part.parse().ok()).unwrap_or(0);
    Some((major, minor))
}

pub fn plan(request: &Request<'_>, to: &To<'_>, able: Able, lost: &mut Vec<Loss>) -> Plan {
    let most = to.output_tokens_max.unwrap_or(u64::MAX);
    // A model that can say less than the caller allows says no more than that either.
    let asked = request.max_tokens.map(|asked| asked.min(most));
    let default = to.output_tokens_max.map_or(ANSWER_DEFAULT, |most| most.min(ANSWER_DEFAULT_MAX));
    let mut plan = Plan { max_tokens: asked.unwrap_or(default), thinking: None, effort: None, display: None };
    let lacks = to.quirks.lacks.contains(&Element::ReasoningAsked);
    let Some(ask) = request.reasoning.as_ref().filter(|ask| asks(ask) && !lacks) else { return plan };
    let not = |lost: &mut Vec<Loss>, why: String| lost.push(Loss::value(Element::ReasoningAsked, why));
    if ask.effort.as_deref() == Some("none") || ask.budget_tokens == Some(0) && ask.effort.is_none() {
        plan.thinking = (able.thinks != Thinks::Never).then_some(Thinking::Disabled);
        return plan;
    }
    if able.thinks == Thinks::Never {
        not(lost, format!("`{}` does not think", to.model));
        return plan;
    }
    if let Thinks::ByEffort | Thinks::ByEither = able.thinks {
        plan.effort = effort(ask, able.thinks, lost);
    }
    let wanted = match (ask.budget_tokens, able.thinks) {
        (Some(0), _) => Thinking::Disabled,
        (Some(budget), Thinks::ByBudget | Thinks::ByEither) if !ask.adaptive => Thinking::Enabled(budget),
        (_, Thinks::ByBudget) => Thinking::Enabled(budget_of(ask, lost)),
        (_, Thinks::ByEither | Thinks::ByEffort | Thinks::Never) => Thinking::Adaptive,
    };
    if let Some(why) = hindrance(request, wanted, able) {
        not(lost, why.to_owned());
        return plan;
    }
    plan.thinking = Some(wanted);
    if let Thinking::Enabled(budget) = wanted {
        let exact = ask.budget_tokens.is_some();
        match room(budget, exact, asked, most, &mut plan.max_tokens) {
            Some(fits) => {
                plan.thinking = Some(Thinking::Enabled(fits));
                if exact && fits != budget {
                    not(lost, format!("a budget of {budget} tokens becomes {fits}: it must fit into the answer's"));
                }
            }
            None => {
                plan.thinking = None;
                not(lost, format!("{} tokens leave no room to think: {BUDGET_MIN} are the least", plan.max_tokens));
            }
        }
    }
    plan.display = display(ask, able.thinks, plan.thinking, lost);
    plan
}

/// Thoughts that shall be shown are wished for too; in which form they come back asks for none.
fn asks(ask: &ReasoningAsk<'_>) -> bool {
    let shown = ask.show.as_deref().is_some_and(|show| !show.is_empty());
    ask.effort.is_some() || ask.budget_tokens.is_some() || ask.adaptive || shown
}

/// Why there can be no thinking, though it is asked for: what else is asked for weighs more.
fn hindrance(request: &Request<'_>, wanted: Thinking, able: Able) -> Option<&'static str> {
    if wanted == Thinking::Disabled {
        return None;
    }
    let warm = |t: &crate::contract::read::Number<'_>| t.float() != 1.0;
    match &request.tool_choice {
        Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Among { required: true, .. }) => {
            return Some("a tool that must be called and thinking exclude each other");
        }
        Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Among { required: false, .. }) | None => {}
    }
    if able.sampling && (request.temperature.as_ref().is_some_and(warm) || request.top_k.is_some()) {
        return Some("`temperature` other than 1 or `top_k`, and thinking exclude each other");
    }
    if able.sampling && request.top_p.as_ref().is_some_and(|p| p.float() < 0.95) {
        return Some("`top_p` below 0.95 and thinking exclude each other");
    }
    match wanted {
        Thinking::Enabled(_) if goes_on_without(request) => {
            Some("the turn that goes on began without thoughts of this provider's")
        }
        Thinking::Enabled(_) | Thinking::Adaptive | Thinking::Disabled => None,
    }
}

/// Does the conversation end in a turn of the assistant, to be gone on with, that begins with no thoughts of its own maker?
pub fn goes_on_without(request: &Request<'_>) -> bool {
    let Some(last) = request.messages.iter().rposition(|m| m.role == Role::Assistant) else { return false };
    let said_after = request.messages[last + 1..].iter().flat_map(|m| &m.parts);
    let goes_on = said_after.clone().all(|part| matches!(part.kind, Kind::ToolResult(_)));
    let begin = request.messages[..last].iter().rposition(|m| m.role == Role::User).map_or(0, |at| at + 1);
    let mut turn = request.messages[begin..=last].iter().filter(|m| m.role == Role::Assistant).flat_map(|m| &m.parts);
    goes_on && !turn.next().is_some_and(is_own_thought)
}

/// Thoughts that the provider takes back: its own, sealed.
pub fn is_own_thought(part: &Part<'_>) -> bool {
    let Kind::Reasoning(reasoning) = &part.kind else { return false };
    let Some(signature) = part.signature.as_ref().filter(|s| s.by == Maker::Anthropic) else { return false };
    reasoning.encrypted.is_some() || !signature.data.is_empty()
}

fn effort(ask: &ReasoningAsk<'_>, thinks: Thinks, lost: &mut Vec<Loss>) -> Option<&'static str> {
    let mut instead = |asked: &str, given: &'static str| {
        lost.push(Loss::value(Element::ReasoningAsked, format!("effort `{asked}` goes as `{given}`")));
        Some(given)
    };
    match (ask.effort.as_deref(), ask.budget_tokens) {
        (Some("low"), _) => Some("low"),
        (Some("medium"), _) => Some("medium"),
        (Some("high"), _) => Some("high"),
        (Some("max"), _) => Some("max"),
        (Some("xhigh"), _) if thinks == Thinks::ByEffort => Some("xhigh"),
        (Some("xhigh"), _) => instead("xhigh", "high"),
        (Some("minimal"), _) => instead("minimal", "low"),
        (Some(other), _) => instead(other, "medium"),
        // Models that take no budget: the effort that others would give it for.
        (None, Some(budget)) if thinks == Thinks::ByEffort => {
            Some(["low", "medium", "high"][BUDGETS[1..3].iter().filter(|(_, up_to)| budget > *up_to).count()])
        }
        (None, _) => None,
    }
}

fn budget_of(ask: &ReasoningAsk<'_>, lost: &mut Vec<Loss>) -> u64 {
    let Some(effort) = ask.effort.as_deref() else { return BUDGET_DEFAULT };
    match BUDGETS.iter().find(|(name, _)| *name == effort) {
        Some((_, budget)) => *budget,
        None => {
            let told = format!("effort `{effort}` is unknown: it gets a budget of {BUDGET_DEFAULT} tokens");
            lost.push(Loss::value(Element::ReasoningAsked, told));
            BUDGET_DEFAULT
        }
    }
}

/// Fits a budget below `max_tokens`: the caller's is never raised, one that nobody set is. A budget that is told in tokens
/// stays what it is where it fits at all; one that comes from an effort leaves a fifth for the answer.
fn room(budget: u64, exact: bool, asked: Option<u64>, most: u64, max_tokens: &mut u64) -> Option<u64> {
    let budget = budget.max(BUDGET_MIN);
    if asked.is_none() {
        *max_tokens = (*max_tokens).max(budget.saturating_add(ANSWER_DEFAULT)).min(most);
    }
    let most_thoughts = *max_tokens - *max_tokens / 5;
    let fits = match exact && budget < *max_tokens {
        true => budget,
        false => budget.min(most_thoughts),
    };
    (*max_tokens > BUDGET_MIN).then_some(fits.max(BUDGET_MIN))
}

/// Newer models show no thoughts unless asked; older ones do unless asked.
fn display(
    ask: &ReasoningAsk<'_>,
    thinks: Thinks,
    thinking: Option<Thinking>,
    lost: &mut Vec<Loss>,
) -> Option<&'static str> {
    let thinks_at_all = matches!(thinking, Some(Thinking::Enabled(_) | Thinking::Adaptive));
    match (ask.show.as_deref().filter(|_| thinks_at_all)?, thinks) {
        ("", Thinks::ByEither | Thinks::ByEffort) => Some("omitted"),
        ("", Thinks::ByBudget | Thinks::Never) => {
            lost.push(Loss::value(Element::ReasoningShown, "this model always shows what it thinks"));
            None
        }
        (_, Thinks::ByEffort) => Some("summarized"),
        (_, Thinks::ByEither | Thinks::ByBudget | Thinks::Never) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::Quirks;

    #[test]
    fn a_name_tells_the_generation() {
        use Thinks::{ByBudget, ByEffort, ByEither, Never};
        for (model, thinks, why) in [
            ("claude-2.1", Never, "before there was thinking"),
            ("claude-3-5-sonnet-20240620", Never, "3.5"),
            ("claude-3-haiku-20240307", Never, "the date is no minor version"),
            ("claude-3-7-sonnet-20250219", ByBudget, "the first that thinks"),
            ("claude-sonnet-4-20250514", ByBudget, "4.0, the date is no minor version"),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", ByBudget, "as Bedrock names it"),
            ("claude-opus-4-6", ByEither, "both are taken"),
            ("anthropic/claude-opus-4.7", ByEffort, "a budget is refused"),
            ("claude-sonnet-5", ByEffort, "later"),
            ("claude-mythos-preview", ByEffort, "no number: the newest"),
            ("deepseek-chat", ByBudget, "a server that copied the dialect"),
        ] {
            assert_eq!(able(model).thinks, thinks, "{model}: {why}");
        }
        for (model, sampling, why) in [
            ("claude-sonnet-4-5", true, "takes a temperature"),
            ("claude-opus-4.7", false, "known to refuse it"),
            ("claude-next", true, "not known: the provider says what it refuses"),
        ] {
            assert_eq!(able(model).sampling, sampling, "{model}: {why}");
        }
    }

    type Row<'a> = (&'a str, &'a str, Option<u64>, Option<u64>, Option<u64>, u64, Option<Thinking>, Option<&'a str>);

    /// Model, effort, budget, the caller's bound, the model's; then what is written.
    #[test]
    fn budgets_fit_below_the_bound() {
        use Thinking::{Adaptive, Disabled, Enabled};
        let rows: [Row<'_>; 16] = [
            ("claude-sonnet-4-5", "low", None, None, None, 8_192, Some(Enabled(4_096)), None),
            ("claude-sonnet-4-5", "high", None, None, Some(64_000), 64_000, Some(Enabled(24_576)), None),
            ("claude-sonnet-4-5", "high", None, None, Some(20_000), 20_000, Some(Enabled(16_000)), None),
            ("claude-sonnet-4-5", "high", None, Some(10_000), Some(64_000), 10_000, Some(Enabled(8_000)), None),
            ("claude-sonnet-4-5", "high", None, Some(1_200), None, 1_200, Some(Enabled(1_024)), None),
            ("claude-sonnet-4-5", "high", None, Some(1_024), None, 1_024, None, None),
            ("claude-sonnet-4-5", "", Some(3_000), Some(3_001), None, 3_001, Some(Enabled(3_000)), None),
            ("claude-sonnet-4-5", "", Some(3_000), Some(3_000), None, 3_000, Some(Enabled(2_400)), None),
            ("claude-sonnet-4-5", "", Some(10), None, None, 5_120, Some(Enabled(1_024)), None),
            ("claude-sonnet-4-5", "none", None, None, None, 4_096, Some(Disabled), None),
            ("claude-opus-4-6", "xhigh", None, None, Some(128_000), 64_000, Some(Adaptive), Some("high")),
            ("claude-opus-4-6", "", Some(2_048), None, None, 6_144, Some(Enabled(2_048)), None),
            ("claude-opus-4-8", "xhigh", None, Some(100), None, 100, Some(Adaptive), Some("xhigh")),
            ("claude-opus-4-8", "", Some(20_000), None, None, 4_096, Some(Adaptive), Some("high")),
            ("claude-opus-4-8", "", Some(0), None, None, 4_096, Some(Disabled), None),
            ("claude-3-5-haiku-latest", "low", None, Some(9_000), Some(8_192), 8_192, None, None),
        ];
        for (model, effort, budget_tokens, max_tokens, output_tokens_max, max, thinking, said) in rows {
            let effort = (!effort.is_empty()).then(|| effort.into());
            let reasoning = Some(ReasoningAsk { effort, budget_tokens, ..ReasoningAsk::default() });
            let request = Request { reasoning, max_tokens, ..Request::default() };
            let to = To { model, output_tokens_max, quirks: &Quirks::default() };
            let plan = plan(&request, &to, able(model), &mut Vec::new());
            let why = format!("{model} {:?} {max_tokens:?}", request.reasoning);
            assert_eq!((plan.max_tokens, plan.thinking, plan.effort), (max, thinking, said), "{why}");
        }
    }
}
