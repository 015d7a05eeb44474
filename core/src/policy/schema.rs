//! The one list of facts and effects. Facts: path, type, hooks (by their group), and how each is read. Effects: members and
//! their types, merge, and how each is written. Engines, docs and checks are made from it.

use std::borrow::Cow;

use super::effect::SETTABLE;
use super::facts::{Facts, LimitFact, Source};
pub use super::groups::{Group, GroupSet};

/// What kind of value a fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Int,
    Float,
    Bool,
    TextList,
}

/// The value of a fact, borrowed from the facts.
#[derive(Debug, Clone, PartialEq)]
pub enum FactValue<'a> {
    Text(Cow<'a, str>),
    Int(i64),
    Float(f64),
    Bool(bool),
    TextList(Vec<&'a str>),
}

/// One fact. `budget` and `rate` are tables by rule name; their fields are in [`LIMIT_FIELDS`].
pub struct Field {
    pub group: Group,
    pub name: &'static str,
    pub kind: Kind,
    pub about: &'static str,
    pub get: for<'a> fn(&'a Facts) -> FactValue<'a>,
}

impl Field {
    /// Receipts hold a keyed digest in its place.
    pub fn is_sealed(&self) -> bool {
        self.group == Group::Caller && matches!(self.name, "user" | "address")
    }
}

fn text(s: &str) -> FactValue<'_> {
    FactValue::Text(Cow::Borrowed(s))
}

fn count(n: u64) -> FactValue<'static> {
    FactValue::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn source(s: Source) -> FactValue<'static> {
    FactValue::Text(Cow::Borrowed(match s {
        Source::Absent => "absent",
        Source::Asserted => "asserted",
        Source::Verified => "verified",
    }))
}

fn texts(list: &[String]) -> FactValue<'_> {
    FactValue::TextList(list.iter().map(String::as_str).collect())
}

macro_rules! fields {
    ($($group:ident . $name:ident : $kind:ident = $get:expr, $about:literal;)*) => {
        /// All facts but the rules of `budget` and `rate`.
        pub static FIELDS: &[Field] = &[$(Field {
            group: Group::$group, name: stringify!($name), kind: Kind::$kind, about: $about, get: $get,
        }),*];
    };
}

fields! {
    Call.id: Text = |f| text(&f.call.id), "the call id";
    Call.time_ms: Int = |f| FactValue::Int(f.call.time_ms), "milliseconds since 1970 (UTC), frozen for the call";
    Call.hour: Int = |f| FactValue::Int(f.call.time_ms.div_euclid(3_600_000).rem_euclid(24)), "hour of the day, UTC, 0 to 23";
    Call.weekday: Int = |f| FactValue::Int((f.call.time_ms.div_euclid(86_400_000) + 3).rem_euclid(7) + 1), "day of the week, UTC, 1 = Monday to 7";
    Call.dialect: Text = |f| text(f.call.dialect.name()), "the wire protocol of the caller";
    Call.operation: Text = |f| text(f.call.operation.name()), "`chat`, `embeddings`, `completions`, `count_tokens`, `rerank`, `images`, `audio`, `moderations`, `files` or `batches`";
    Call.stream: Bool = |f| FactValue::Bool(f.call.stream), "the caller asked for a stream";
    Call.body_bytes: Int = |f| count(f.call.body_bytes), "bytes of the request body; 0 at pre-auth";
    Call.user_agent: Text = |f| text(&f.call.user_agent), "the header, at most 256 bytes";
    Caller.tenant: Text = |f| text(&f.caller.tenant), "the tenant";
    Caller.tenant_source: Text = |f| source(f.caller.tenant_source), "`verified`, `asserted` or `absent`";
    Caller.app: Text = |f| text(&f.caller.app), "the application";
    Caller.app_source: Text = |f| source(f.caller.app_source), "`verified`, `asserted` or `absent`";
    Caller.user: Text = |f| text(&f.caller.user), "the end user; a keyed digest in receipts";
    Caller.user_source: Text = |f| source(f.caller.user_source), "`verified`, `asserted` or `absent`";
    Caller.key: Text = |f| text(&f.caller.key), "the id of the key, empty at pre-auth";
    Caller.groups: TextList = |f| FactValue::TextList(f.caller.groups.iter().map(|g| &**g).collect()), "groups of the key";
    Caller.region: Text = |f| text(&f.caller.region), "the tenant's region, from `tenants.yaml`";
    Caller.address: Text = |f| text(&f.caller.address), "the peer's address; a keyed digest in receipts";
    Meta.use_case: Text = |f| text(&f.meta.use_case), "`tollgate-use-case`";
    Meta.channel: Text = |f| text(&f.meta.channel), "`tollgate-channel`";
    Meta.data_class: Text = |f| text(f.meta.data_class.name()), "`public`, `internal`, `confidential`, `restricted` or empty";
    Meta.session: Text = |f| text(&f.meta.session), "`tollgate-session` and its like";
    Meta.region: Text = |f| text(&f.meta.region), "`tollgate-region`";
    Meta.retention: Text = |f| text(&f.meta.retention), "`tollgate-retention`";
    Meta.redaction: Text = |f| text(&f.meta.redaction), "`tollgate-redaction`";
    Meta.pii_mode: Text = |f| text(&f.meta.pii_mode), "`tollgate-pii-mode`";
    Intent.asked: Text = |f| text(&f.intent.asked), "the model string as sent";
    Intent.model: Text = |f| text(&f.intent.model), "the model, where one is named";
    Intent.provider: Text = |f| text(&f.intent.provider), "the provider, where the caller pinned one";
    Intent.family: Text = |f| text(&f.intent.family), "the family asked for, else the named model's";
    Intent.tier: Text = |f| text(&f.intent.tier), "the tier asked for, else the named model's";
    Intent.region: Text = |f| text(&f.intent.region), "the region asked for";
    Intent.max_tokens: Int = |f| count(f.intent.max_tokens.unwrap_or(0)), "the caller's bound on output tokens; 0 = none";
    Intent.max_cost_nanousd: Int = |f| FactValue::Int(f.intent.max_cost_nanousd.unwrap_or(0)), "the caller's bound on cost, nano-dollars; 0 = none";
    Intent.max_latency_ms: Int = |f| count(f.intent.max_latency_ms.unwrap_or(0)), "the caller's deadline; 0 = none";
    Prompt.tokens: Int = |f| count(f.prompt().tokens), "estimated tokens of the prompt";
    Prompt.messages: Int = |f| count(f.prompt().messages), "number of messages (or inputs)";
    Prompt.turns: Int = |f| count(f.prompt().turns), "answers of the model that the conversation has: how deep an agent is";
    Prompt.repeats: Int = |f| count(f.prompt().repeats), "how many of the last turns called the same tools with the same arguments; 0 = none was called";
    Prompt.roles: TextList = |f| texts(&f.prompt().roles), "roles in order of the messages, at most 1000";
    Prompt.tools: TextList = |f| texts(&f.prompt().tools), "names of the tools offered";
    Prompt.has_images: Bool = |f| FactValue::Bool(f.prompt().has_images), "a message has an image";
    Prompt.has_audio: Bool = |f| FactValue::Bool(f.prompt().has_audio), "a message has sound";
    Prompt.features: TextList = |f| texts(&f.prompt().features), "features that the call needs of a model";
    Answer.target: Text = |f| f.answer.as_ref().map_or(text(""), |a| text(&a.target)), "who answered";
    Answer.status: Int = |f| f.answer.as_ref().map_or(FactValue::Int(0), |a| FactValue::Int(a.status.into())), "HTTP status";
    Answer.input_tokens: Int = |f| count(f.answer.as_ref().map_or(0, |a| a.input_tokens)), "input tokens, without cached ones";
    Answer.cached_input_tokens: Int = |f| count(f.answer.as_ref().map_or(0, |a| a.cached_input_tokens)), "input tokens read from the provider's cache";
    Answer.cache_write_tokens: Int = |f| count(f.answer.as_ref().map_or(0, |a| a.cache_write_tokens)), "input tokens written to the provider's cache";
    Answer.output_tokens: Int = |f| count(f.answer.as_ref().map_or(0, |a| a.output_tokens)), "output tokens, without reasoning";
    Answer.reasoning_tokens: Int = |f| count(f.answer.as_ref().map_or(0, |a| a.reasoning_tokens)), "reasoning tokens";
    Answer.estimated: Bool = |f| FactValue::Bool(f.answer.as_ref().is_some_and(|a| a.estimated)), "the usage is our estimate";
    Answer.cost_nanousd: Int = |f| FactValue::Int(f.answer.as_ref().and_then(|a| a.cost_nanousd).unwrap_or(0)), "nano-dollars; 0 where the price is not known";
    Answer.cost_known: Bool = |f| FactValue::Bool(f.answer.as_ref().is_some_and(|a| a.cost_nanousd.is_some())), "the price is known";
    Answer.latency_ms: Int = |f| count(f.answer.as_ref().map_or(0, |a| a.latency_ms)), "from arrival to the end of the answer";
    Answer.first_token_ms: Int = |f| count(f.answer.as_ref().map_or(0, |a| a.first_token_ms)), "from arrival to its first byte";
    Answer.attempts: Int = |f| FactValue::Int(f.answer.as_ref().map_or(0, |a| a.attempts.into())), "attempts made";
    Answer.finish_reason: Text = |f| f.answer.as_ref().map_or(text(""), |a| text(&a.finish_reason)), "why the model stopped";
}

/// One field of a rule in `budget` and `rate`.
pub struct LimitField {
    pub name: &'static str,
    pub kind: Kind,
    pub about: &'static str,
    pub get: fn(&LimitFact) -> FactValue<'static>,
}

macro_rules! limit_fields {
    ($($name:ident : $kind:ident = $get:expr, $about:literal;)*) => {
        /// The fields of `budget["NAME"]` and `rate["NAME"]`. A rule that does not apply reads as ratio 0 without limit.
        pub static LIMIT_FIELDS: &[LimitField] = &[$(LimitField {
            name: stringify!($name), kind: Kind::$kind, about: $about, get: $get,
        }),*];
    };
}

limit_fields! {
    limit: Int = |l| FactValue::Int(l.limit), "in the rule's unit; 0 = no limit";
    used: Int = |l| FactValue::Int(l.used), "settled";
    held: Int = |l| FactValue::Int(l.held), "reserved by calls under way";
    remaining: Int = |l| FactValue::Int(l.remaining), "limit less used less held, never below 0";
    ratio: Float = |l| FactValue::Float(l.ratio), "(used + held) / limit";
    resets_at_ms: Int = |l| FactValue::Int(l.resets_at_ms), "milliseconds since 1970";
}

/// The field by its path, for look-ups at load.
pub fn field(group: Group, name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|f| f.group == group && f.name == name)
}

/// One member of an effect, as rules and expectations write it.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    pub name: &'static str,
    pub shape: Shape,
    /// Without it the effect says nothing.
    pub needed: bool,
}

/// What a member holds.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Text,
    /// A text, or a list of them.
    Texts,
    /// A whole number above 0.
    Count,
    /// Decimal dollars, as a text or a number.
    Dollars,
    /// A whole number of 32 bits.
    Score,
    Flag,
    OneOf(&'static [&'static str]),
    /// A table of targets, each with a whole number.
    Weights,
}

/// What stands behind an effect's name in a rule.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    Text,
    /// A text, or a list of them.
    Texts,
    /// A table of names of one's own, each with a text.
    Named,
    /// A table of these names, each with a text, a number or a truth value.
    Settings(&'static [&'static str]),
    /// A table of these members.
    Table(&'static [Member]),
    /// The same, and the first member's text may stand alone.
    TextOr(&'static [Member]),
    /// A table of any of these members; each is an effect of its own.
    AnyOf(&'static [Member]),
    /// A table of exactly one of the first and any of the others.
    OneOf(&'static [Member], &'static [Member]),
}

impl Form {
    /// Its members, in order.
    pub fn members(self) -> impl Iterator<Item = Member> {
        let (first, others): (&[Member], &[Member]) = match self {
            Form::Text | Form::Texts | Form::Named | Form::Settings(_) => (&[], &[]),
            Form::Table(members) | Form::TextOr(members) | Form::AnyOf(members) => (members, &[]),
            Form::OneOf(one, others) => (one, others),
        };
        first.iter().chain(others).copied()
    }
}

const fn need(name: &'static str, shape: Shape) -> Member {
    Member { name, shape, needed: true }
}

const fn may(name: &'static str, shape: Shape) -> Member {
    Member { name, shape, needed: false }
}

/// What a split or a bucket may be sticky by.
pub const STICKY_BY: [&str; 7] = ["sticky", "tenant", "app", "user", "key", "session", "call"];
pub const SEVERITIES: [&str; 3] = ["info", "warning", "critical"];

/// One effect: what it holds, how it is said, and what many of it become.
pub struct EffectRow {
    pub name: &'static str,
    pub about: &'static str,
    /// How the effects of many policies become one.
    pub merge: &'static str,
    pub form: Form,
    /// As a member of a rule in YAML.
    pub rule: &'static str,
    /// As a call in a script.
    pub script: &'static str,
    /// What its function takes in a script, one text for each way to call it.
    pub calls: &'static [&'static str],
}

macro_rules! effects {
    ($($name:ident: $form:expr, about $about:literal, merge $merge:literal, rule $rule:literal, script $script:literal, calls $calls:expr;)*) => {
        /// All effects, in the order in which `Effect::NAMES` lists them.
        pub static EFFECTS: &[EffectRow] = &[$(EffectRow {
            name: stringify!($name), about: $about, merge: $merge, form: $form, rule: $rule, script: $script, calls: &$calls,
        }),*];
    };
}

effects! {
    deny: Form::Table(&[need("code", Shape::Text), may("reason", Shape::Text)]),
        about "refuses the call; at post-response, what was not sent yet",
        merge "any denies; all reasons are kept, the highest layer's is told",
        rule "deny: { code: no_batch, reason: not during the day }",
        script "deny(\"no_batch\", \"not during the day\")",
        calls ["code: String", "code: String, reason: String"];
    cap: Form::AnyOf(&[
        may("max_tokens", Shape::Count),
        may("max_cost_usd", Shape::Dollars),
        may("deadline_ms", Shape::Count),
        may("attempts", Shape::Count),
    ]),
        about "a bound: `max_tokens`, `max_cost_usd`, `deadline_ms`, `attempts`",
        merge "the smallest of each",
        rule "cap: { max_tokens: 4096, max_cost_usd: \"0.25\" }",
        script "cap(\"max_tokens\", 4096)",
        calls ["name: String, value: ?"];
    require: Form::AnyOf(&[
        may("models", Shape::Texts),
        may("families", Shape::Texts),
        may("providers", Shape::Texts),
        may("regions", Shape::Texts),
        may("tiers", Shape::Texts),
    ]),
        about "targets must match one of the globs: `models`, `families`, `providers`, `regions`, `tiers`",
        merge "all requirements hold; none left = refused, naming who asked",
        rule "require: { regions: [eu, \"eu-*\"] }",
        script "require(\"regions\", [\"eu\", \"eu-*\"])",
        calls ["of: String, any: Array"];
    reserve: Form::Texts,
        about "a rule of `limits.yaml` must be held",
        merge "union: all must be held",
        rule "reserve: tenant-month",
        script "reserve(\"tenant-month\")",
        calls ["rule: String"];
    prefer: Form::OneOf(
        &[may("target", Shape::Text), may("tier", Shape::Text), may("family", Shape::Text)],
        &[may("score", Shape::Score)],
    ),
        about "a wish for a target, tier or family, with a score; a tier or family above 0 replaces the intent's",
        merge "scores are summed by wish",
        rule "prefer: { tier: standard, score: 100 }",
        script "prefer(\"standard\", 100)",
        calls ["name: String, score: int"];
    pin: Form::TextOr(&[need("target", Shape::Text), may("may_replace_pinned", Shape::Flag)]),
        about "this target first, whatever was asked for",
        merge "single writer: highest layer, then priority, then name",
        rule "pin: openai/gpt-4o-mini",
        script "pin(\"openai/gpt-4o-mini\")",
        calls ["target: String"];
    split: Form::Table(&[
        need("name", Shape::Text),
        may("by", Shape::OneOf(&STICKY_BY)),
        need("weights", Shape::Weights),
        may("may_replace_pinned", Shape::Flag),
    ]),
        about "one of several targets, by weight and by a stable bucket of the caller",
        merge "single writer",
        rule "split: { name: spring, by: user, weights: { openai/gpt-4o: 9, openai/gpt-5: 1 } }",
        script "split(\"spring\", \"user\", #{ \"openai/gpt-4o\": 9, \"openai/gpt-5\": 1 })",
        calls ["name: String, weights: Map", "name: String, by: String, weights: Map"];
    fallback: Form::Texts,
        about "targets that are tried when those before them fail",
        merge "concatenated by layer, priority and name, each once",
        rule "fallback: [groq/openai/gpt-oss-120b, sim/sim-1]",
        script "fallback([\"groq/openai/gpt-oss-120b\", \"sim/sim-1\"])",
        calls ["targets: Array", "target: String"];
    set: Form::Settings(&SETTABLE),
        about "a parameter of the request, such as `temperature`; never its words",
        merge "single writer per parameter",
        rule "set: { temperature: 0 }",
        script "set(\"temperature\", 0)",
        calls ["name: String, value: ?"];
    drop: Form::Texts,
        about "takes a member out of the request",
        merge "union",
        rule "drop: [logprobs]",
        script "drop(\"logprobs\")",
        calls ["field: String"];
    tag: Form::Named,
        about "a key and a value for receipts and reports",
        merge "union",
        rule "tag: { team: search }",
        script "tag(\"team\", \"search\")",
        calls ["key: String, value: ?"];
    note: Form::Text,
        about "a sentence for whoever reads the receipt",
        merge "union",
        rule "note: downgraded at 80 % of the budget",
        script "note(\"downgraded at 80 % of the budget\")",
        calls ["text: String"];
    alert: Form::TextOr(&[need("text", Shape::Text), may("severity", Shape::OneOf(&SEVERITIES))]),
        about "a sentence for operators: `info`, `warning` or `critical`",
        merge "union",
        rule "alert: { severity: critical, text: the budget is spent }",
        script "alert(\"critical\", \"the budget is spent\")",
        calls ["text: String", "severity: String, text: String"];
}

/// The effect by its name.
pub fn effect(name: &str) -> Option<&'static EffectRow> {
    EFFECTS.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_effects_is_the_list_of_effects() {
        assert!(EFFECTS.iter().map(|row| row.name).eq(crate::policy::effect::Effect::NAMES));
    }

    #[test]
    fn every_field_gives_the_kind_that_the_list_says() {
        let mut facts = Facts::default();
        facts.answer = Some(Default::default());
        for field in FIELDS {
            let kind = match (field.get)(&facts) {
                FactValue::Text(_) => Kind::Text,
                FactValue::Int(_) => Kind::Int,
                FactValue::Float(_) => Kind::Float,
                FactValue::Bool(_) => Kind::Bool,
                FactValue::TextList(_) => Kind::TextList,
            };
            assert_eq!(kind, field.kind, "{}.{}", field.group.name(), field.name);
        }
    }

    #[test]
    fn the_first_of_january_1970_was_a_thursday() {
        let facts = Facts::default();
        assert_eq!((field(Group::Call, "weekday").unwrap().get)(&facts), FactValue::Int(4));
    }
}
