//! `rules.yaml`: a table of rules, each a CEL condition and literal effects. All that match apply; `stop: true` ends it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tollgate_core::contract::nearest;
use tollgate_core::policy::Hook;
use tollgate_core::policy::effect::{At, Effect, Said};
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::parse;
use tollgate_core::policy::revision::{Applies, Known, Reason};
use tollgate_core::policy::schema::{Group, GroupSet};
use tollgate_core::policy::verdict::Outcome;

use super::slots::{Compiled, Spent};
use super::{Names, Origin, bind, guard};
use crate::coverage::Covered;
use crate::diagnostic::Diagnostic;
use crate::engine::{Answer, Bounds, Program, Stop, Unit};
use crate::targets::{self, Named};
use crate::yaml::{self, Data, Key, Node, Place};

/// No table has more rules.
const RULES_MAX: usize = 1_000;

struct Table {
    rules: Vec<Rule>,
    bounds: Bounds,
}

struct Rule {
    at: At,
    /// `None` = always.
    when: Option<Compiled>,
    effects: Vec<Said>,
    stop: bool,
}

impl Program for Table {
    fn writes(&self) -> Vec<String> {
        let effects = self.rules.iter().flat_map(|rule| &rule.effects);
        let mut writes: Vec<String> = effects.filter_map(|said| said.effect.single_writer()).collect();
        writes.sort();
        writes.dedup();
        writes
    }

    fn names(&self) -> Vec<Named> {
        let effects = self.rules.iter().flat_map(|rule| &rule.effects);
        let named =
            |said: &Said| targets::of(&said.effect).into_iter().map(|wish| (wish, said.at.clone())).collect::<Vec<_>>();
        effects.flat_map(named).map(|(wish, at)| Named { wish, at }).collect()
    }

    fn decide(&self, _hook: Hook, facts: &Arc<Facts>) -> Result<Answer, Stop> {
        let (mut answer, mut spent) = (Answer::default(), Spent::default());
        for rule in &self.rules {
            let applies = match &rule.when {
                None => true,
                Some(when) => {
                    let ops = spent.ops;
                    when.is_true(facts, &self.bounds, &mut spent).map_err(|fault| fault.stop(&rule.at, ops))?
                }
            };
            if applies {
                answer.effects.extend(rule.effects.iter().cloned());
                if rule.stop {
                    break;
                }
            }
        }
        answer.ops = spent.ops;
        Ok(answer)
    }

    fn is_watched(&self) -> bool {
        true
    }

    fn cover(&self, _hook: Hook, facts: &Arc<Facts>, covered: &mut Covered) {
        let mut reached = true;
        for rule in &self.rules {
            match &rule.when {
                None => covered.site(&rule.at, "the rule", reached),
                Some(when) => {
                    let truth =
                        reached.then(|| when.is_true(facts, &self.bounds, &mut Spent::default()).ok()).flatten();
                    covered.site(&rule.at, "`when` true", truth == Some(true));
                    covered.site(&rule.at, "`when` false", truth == Some(false));
                    when.cover(facts, &rule.at, reached, covered);
                    if reached && truth.is_none() {
                        reached = false;
                    }
                    reached &= !(rule.stop && truth == Some(true));
                    continue;
                }
            }
            reached &= !rule.stop;
        }
    }

    fn warnings(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let mut stops: Vec<(&At, BTreeSet<String>)> = Vec::new();
        for rule in &self.rules {
            let told = |message: String, help: &str| {
                let at = &rule.at;
                Diagnostic::warning("TG0522", &at.file, message).at(at.line, at.column).help(help)
            };
            let constant = rule.when.as_ref().and_then(Compiled::constant);
            let parts =
                rule.when.as_ref().filter(|_| constant != Some(true)).map(Compiled::conjuncts).unwrap_or_default();
            if constant == Some(false) {
                found.push(told(
                    "the rule never applies: its `when` is always false".to_owned(),
                    "mend it, or take the rule out",
                ));
            } else if let Some((at, _)) = stops.iter().find(|(_, needed)| needed.is_subset(&parts)) {
                let message = format!(
                    "the rule can never be reached: whenever it would apply, the rule at line {} stops the table",
                    at.line
                );
                found.push(told(message, "move it up, or take `stop` away from the other"));
            } else if rule.stop {
                stops.push((&rule.at, parts));
            }
        }
        found
    }

    fn why(&self, known: &Known<'_>) -> Vec<Reason> {
        let mut reasons = Vec::with_capacity(self.rules.len());
        let mut stopped: Option<(&At, Applies)> = None;
        for rule in &self.rules {
            let reason = match stopped {
                None => rule.why(known),
                Some((at, applied)) => rule.behind(at, applied, known),
            };
            if rule.stop && reason.applied != Applies::No && !stopped.is_some_and(|(_, by)| by == Applies::Yes) {
                stopped = Some((&rule.at, reason.applied));
            }
            reasons.push(reason);
        }
        reasons
    }
}

impl Rule {
    /// As the receipt has it, where its effects stand there or do not; else as far as the facts tell.
    fn why(&self, known: &Known<'_>) -> Reason {
        let (guessed, parts) = self.when.as_ref().map_or((Applies::Yes, Vec::new()), |when| when.why(known));
        let applied = self.on_record(known).unwrap_or(guessed);
        Reason { at: self.at.clone(), applied, parts: if applied == Applies::Yes { Vec::new() } else { parts } }
    }

    /// The same behind a rule that stopped the table, or may have.
    fn behind(&self, stop: &At, stopped: Applies, known: &Known<'_>) -> Reason {
        match (stopped, self.on_record(known)) {
            (_, Some(Applies::Yes)) | (Applies::No, _) => self.why(known),
            (Applies::Yes, _) => {
                let parts = vec![format!("the rule at line {} applied and stops the table", stop.line)];
                Reason { at: self.at.clone(), applied: Applies::No, parts }
            }
            (Applies::Untold, on_record) => {
                let told = self.why(known);
                let applied = match (on_record, told.applied) {
                    (Some(applied), _) => applied,
                    (None, Applies::No) => Applies::No,
                    (None, Applies::Yes | Applies::Untold) => Applies::Untold,
                };
                let mut parts = told.parts;
                parts.push(format!("whether the rule at line {} stopped the table cannot be told", stop.line));
                Reason { applied, parts, ..told }
            }
        }
    }

    /// Effects are recorded with their places; a rule without any leaves no trace.
    fn on_record(&self, known: &Known<'_>) -> Option<Applies> {
        let Some(Outcome::Decided(said)) = known.came else { return None };
        let first = self.effects.first()?;
        Some(if said.iter().any(|said| said.at == first.at) { Applies::Yes } else { Applies::No })
    }
}

/// Compiles a table; everything that is wrong with it is told at once.
pub fn compile_rules(unit: &Unit<'_>) -> Result<Box<dyn Program>, Vec<Diagnostic>> {
    let bytes = unit.tree.read(unit.file).unwrap_or_default();
    let lines = std::str::from_utf8(bytes).unwrap_or_default().lines().collect();
    let mut reading = Reading { unit, lines, found: Vec::new() };
    let rules = match yaml::parse(bytes) {
        Ok(node) => reading.table(&node),
        Err(why) => {
            reading.tell("TG0520", why.at, why.message);
            Vec::new()
        }
    };
    match reading.found.is_empty() {
        true => Ok(Box::new(Table { rules, bounds: unit.bounds })),
        false => Err(reading.found),
    }
}

struct Reading<'a> {
    unit: &'a Unit<'a>,
    /// The file's own, to find where the text of an expression begins.
    lines: Vec<&'a str>,
    found: Vec<Diagnostic>,
}

impl Reading<'_> {
    fn tell(&mut self, code: &'static str, at: Place, message: String) {
        let told = Diagnostic::error(code, self.unit.shown, message).at(at.line, at.column).over(at.length);
        self.found.push(told);
    }

    fn table(&mut self, node: &Node) -> Vec<Rule> {
        let Data::Map(members) = &node.data else {
            self.tell("TG0520", node.at, "a table of rules begins with `rules:` and a list".to_owned());
            return Vec::new();
        };
        let mut rules = Vec::new();
        for (key, value) in members {
            match (key.text.as_str(), &value.data) {
                ("rules", Data::List(list)) if list.len() <= RULES_MAX => {
                    rules.extend(list.iter().filter_map(|rule| self.rule(rule)));
                }
                ("rules", Data::List(list)) => {
                    self.tell(
                        "TG0520",
                        key.at,
                        format!("{} rules are too many: at most {RULES_MAX} are taken", list.len()),
                    );
                }
                ("rules", _) => self.tell("TG0520", value.at, "`rules` must be a list".to_owned()),
                (other, _) => {
                    let hint = nearest::hint(other, ["rules"]);
                    self.tell("TG0520", key.at, format!("unknown key `{other}`{hint}"));
                }
            }
        }
        if rules.is_empty() && self.found.is_empty() {
            self.tell("TG0520", node.at, "the table has no rule".to_owned());
        }
        rules
    }

    fn rule(&mut self, node: &Node) -> Option<Rule> {
        let Data::Map(members) = &node.data else {
            self.tell("TG0520", node.at, "a rule is a table: `when`, effects, `stop`".to_owned());
            return None;
        };
        let at = |place: Place| At { file: self.unit.shown.into(), line: place.line, column: place.column };
        let mut rule = Rule { at: at(node.at), when: None, effects: Vec::new(), stop: false };
        for (key, value) in members {
            match key.text.as_str() {
                "when" => {
                    rule.at = at(yaml::first_character(&self.lines, value.at));
                    rule.when = self.when(value);
                }
                "stop" => match value.data {
                    Data::Bool(stop) => rule.stop = stop,
                    _ => self.tell("TG0520", value.at, "`stop` must be true or false".to_owned()),
                },
                _ => {
                    let effects = self.effects(key, value);
                    rule.effects.extend(effects.into_iter().map(|effect| Said { effect, at: at(key.at) }));
                }
            }
        }
        if rule.effects.is_empty() && !rule.stop && self.found.is_empty() {
            let known = Effect::NAMES.join("`, `");
            self.tell("TG0521", node.at, format!("the rule says nothing: name an effect (`{known}`)"));
        }
        Some(rule)
    }

    fn when(&mut self, value: &Node) -> Option<Compiled> {
        let text = match &value.data {
            Data::Text(text) => text.as_str(),
            Data::Bool(true) => "true",
            Data::Bool(false) => "false",
            _ => {
                self.tell("TG0520", value.at, "`when` must be an expression in CEL".to_owned());
                return None;
            }
        };
        let at = yaml::first_character(&self.lines, value.at);
        let origin = Origin { shown: self.unit.shown, line: at.line, column: at.column };
        let names = Names {
            hooks: self.unit.hooks,
            params: &self.unit.params,
            budgets: self.unit.budgets,
            rates: self.unit.rates,
            bounds: self.unit.bounds,
        };
        let bound = guard::parse(text, origin).and_then(|parsed| bind::bind(parsed, text, origin, names));
        match bound {
            Ok((compiled, reads)) => {
                self.listed(value.at, reads);
                Some(compiled)
            }
            Err(found) => {
                self.found.extend(found);
                None
            }
        }
    }

    /// What a rule reads must be listed in `reads`; without a list, all but `text` is.
    fn listed(&mut self, at: Place, reads: GroupSet) {
        for group in Group::ALL.into_iter().filter(|g| reads.contains(*g)) {
            let listed = self.unit.reads.map_or(group != Group::Text, |listed| listed.contains(group));
            if !listed {
                self.tell(
                    "TG0524",
                    at,
                    format!("the rule reads `{0}`: add `{0}` to `reads` in the manifest", group.name()),
                );
            }
        }
    }

    fn effects(&mut self, key: &Key, value: &Node) -> Vec<Effect> {
        let name = key.text.as_str();
        let effects = match parse::effects(name, &value.json()) {
            Ok(effects) => effects,
            Err(message) => {
                let place = if message.starts_with("unknown effect") { key.at } else { value.at };
                self.tell("TG0521", place, message);
                return Vec::new();
            }
        };
        for effect in &effects {
            if let Some(hook) = self.unit.hooks.iter().find(|hook| !effect.legal_at(**hook)) {
                self.tell("TG0523", key.at, format!("`{name}` has no effect at {}", hook.name()));
            }
            if let Effect::Reserve(rule) = effect
                && !self.unit.budgets.contains(&rule.as_str())
                && !self.unit.rates.contains(&rule.as_str())
            {
                let known = self.unit.budgets.iter().chain(self.unit.rates).copied();
                let hint = nearest::hint(rule, known);
                self.tell("TG0506", value.at, format!("limits.yaml has no rule `{rule}`{hint}"));
            }
        }
        effects
    }
}
