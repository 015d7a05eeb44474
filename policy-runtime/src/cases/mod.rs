//! `cases.yaml`: facts, and the decision expected of them. A revision whose cases fail is refused.

pub mod expect;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use tollgate_core::contract::nearest;
use tollgate_core::policy::Hook;
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::revision::{Known, Reason};
use tollgate_core::policy::schema::GroupSet;

use crate::coverage::Covered;
use crate::diagnostic::Diagnostic;
use crate::engine::{Answer, Bounds, Program, Stop};
use crate::home::{CASES, Home, Want};
use crate::reading::{self, Reading};
use crate::yaml::{Data, Node, Place};
use expect::Expectation;

/// No policy has more cases.
const CASES_MAX: usize = 1_000;

const HOOKS: [(&str, Hook); 3] =
    [("pre-auth", Hook::PreAuth), ("pre-route", Hook::PreRoute), ("post-response", Hook::PostResponse)];

/// What became of all cases.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CaseReport {
    pub passed: usize,
    pub failed: usize,
    pub results: Vec<CaseResult>,
}

/// What became of one case.
#[derive(Debug, Clone, Serialize)]
pub struct CaseResult {
    /// The policy's name in the manifest; `std/NAME` for the built-in ones.
    pub policy: String,
    pub case: String,
    pub file: String,
    pub line: u32,
    pub column: u32,
    pub passed: bool,
    /// It could not even be read, so nothing was asked: findings say why.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
    /// One sentence each; empty where the case passed.
    pub differences: Vec<String>,
    /// To ask again and measure; `None` where nothing could be compiled.
    #[serde(skip)]
    pub question: Option<Question>,
}

/// What a case asks of which program.
#[derive(Clone)]
pub struct Question {
    program: Arc<dyn Program>,
    hook: Hook,
    facts: Arc<Facts>,
}

impl Question {
    /// Asks once. The answer's operations are 0 where there was none.
    pub fn ask(&self) -> Result<Answer, Stop> {
        self.program.decide(self.hook, &self.facts)
    }

    /// Notes what of the program the case reaches.
    pub fn cover(&self, covered: &mut Covered) {
        self.program.cover(self.hook, &self.facts, covered);
    }

    /// Which rules of the program apply, and why others do not.
    pub fn why(&self) -> Vec<Reason> {
        self.program.why(&Known::all(&self.facts))
    }

    pub fn hook(&self) -> Hook {
        self.hook
    }

    pub fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Question({})", self.hook.name())
    }
}

impl CaseReport {
    pub fn add(&mut self, result: CaseResult) {
        match result.passed {
            true => self.passed += 1,
            false => self.failed += 1,
        }
        self.results.push(result);
    }

    /// The failed ones as findings. What could not be read is one already.
    pub fn findings(&self) -> Vec<Diagnostic> {
        let failed = self.results.iter().filter(|r| !r.passed && !r.unread);
        failed
            .map(|r| {
                let message = format!("case `{}` of `{}`: {}", r.case, r.policy, r.differences.join("; "));
                Diagnostic::error("TG0311", &r.file, message)
                    .at(r.line, r.column)
                    .help("mend the policy or the case; `tollgate policy test` runs the cases alone")
            })
            .collect()
    }
}

/// What the cases of one policy are run with.
pub struct Trial<'a> {
    pub home: &'a Home<'a>,
    /// The name under which results are told.
    pub policy: &'a str,
    /// Cases that name no hook are asked here, if there is only one.
    pub hooks: &'a [Hook],
    /// The parameters of a case without `with`.
    pub params: Arc<Value>,
    /// The program compiled with `params` for `hooks`, if there is one already.
    pub compiled: Option<Arc<dyn Program>>,
    pub budgets: &'a [&'a str],
    pub rates: &'a [&'a str],
    pub reads: Option<GroupSet>,
    pub bounds: Bounds,
}

/// One case as it stands in the file.
struct Case {
    name: String,
    at: Place,
    hook: Hook,
    /// Its own parameters over the defaults.
    params: Option<Arc<Value>>,
    facts: Arc<Facts>,
    expected: Expectation,
}

/// Runs all cases of a folder. Findings are about the file; failures stand in the report.
pub fn run(trial: &Trial<'_>, report: &mut CaseReport, findings: &mut Vec<Diagnostic>) {
    let file = format!("{}/{CASES}", trial.home.shown);
    let Some(bytes) = trial.home.cases() else {
        let message = format!("`{}` has no cases: nothing shows that it does what it should", trial.home.shown);
        findings
            .push(Diagnostic::warning("TG0312", &file, message).help("add a `cases.yaml` with `facts` and `expect`"));
        return;
    };
    let reading = Reading::of(&file, reading::CASES);
    let cases = match reading.parse(bytes) {
        Some(node) => read(&reading, trial, &node),
        None => vec![Err(Unread { name: CASES.to_owned(), at: Place::default(), why: reading.told_since(0) })],
    };
    findings.extend(reading.findings());
    let mut programs = Programs { trial, compiled: Vec::new() };
    let told = |name: String, at: Place| CaseResult {
        policy: trial.policy.to_owned(),
        case: name,
        file: file.clone(),
        line: at.line,
        column: at.column,
        passed: false,
        unread: false,
        differences: Vec::new(),
        question: None,
    };
    for case in cases {
        let case = match case {
            Ok(case) => case,
            Err(Unread { name, at, why }) => {
                report.add(CaseResult { unread: true, differences: why, ..told(name, at) });
                continue;
            }
        };
        let question =
            programs.of(&case).map(|program| Question { program, hook: case.hook, facts: case.facts.clone() });
        let differences = match &question {
            Ok(question) => case.expected.differences(&question.ask()),
            Err(why) => {
                why.iter().map(|f| format!("it does not compile with the parameters of the case: {f}")).collect()
            }
        };
        let (passed, question) = (differences.is_empty(), question.ok());
        report.add(CaseResult { passed, differences, question, ..told(case.name, case.at) });
    }
}

/// Programs compiled so far: cases with the same parameters share one.
struct Programs<'a> {
    trial: &'a Trial<'a>,
    compiled: Vec<(Key, Compiled)>,
}

type Compiled = Result<Arc<dyn Program>, Vec<Diagnostic>>;

/// Parameters, hook, and the rules that the facts know of.
type Key = (Arc<Value>, Hook, BTreeSet<String>, BTreeSet<String>);

impl Programs<'_> {
    fn of(&mut self, case: &Case) -> Compiled {
        let trial = self.trial;
        if let (None, Some(program), true) = (&case.params, &trial.compiled, trial.hooks.contains(&case.hook)) {
            return Ok(program.clone());
        }
        let params = case.params.clone().unwrap_or_else(|| trial.params.clone());
        // A case may speak of rules that this repository does not have: the built-in policies cannot know its names.
        let with = |known: &[&str], facts: &BTreeMap<String, _>| -> BTreeSet<String> {
            known.iter().map(|n| (*n).to_owned()).chain(facts.keys().cloned()).collect()
        };
        let key = (params, case.hook, with(trial.budgets, &case.facts.budget), with(trial.rates, &case.facts.rate));
        if let Some((_, known)) = self.compiled.iter().find(|(k, _)| *k == key) {
            return known.clone();
        }
        let program = trial.home.compile(&Want {
            name: trial.policy,
            hooks: &[case.hook],
            params: key.0.clone(),
            budgets: &key.2.iter().map(String::as_str).collect::<Vec<_>>(),
            rates: &key.3.iter().map(String::as_str).collect::<Vec<_>>(),
            reads: trial.reads,
            bounds: trial.bounds,
        });
        self.compiled.push((key, program.clone()));
        program
    }
}

/// A case that cannot be read, under the name that it has or its number.
struct Unread {
    name: String,
    at: Place,
    why: Vec<String>,
}

fn read(reading: &Reading<'_>, trial: &Trial<'_>, node: &Node) -> Vec<Result<Case, Unread>> {
    if node.is_null() {
        return Vec::new();
    }
    let before = reading.count();
    let list = reading.list(node, "the file");
    if reading.count() > before {
        return vec![Err(Unread { name: CASES.to_owned(), at: node.at, why: reading.told_since(before) })];
    }
    if let Some(node) = list.get(CASES_MAX) {
        reading.tell("TG0306", node.at, format!("at most {CASES_MAX} cases"));
    }
    let one = |(n, node): (usize, &Node)| {
        let before = reading.count();
        case(reading, trial, node).ok_or_else(|| {
            let members = if let Data::Map(members) = &node.data { &members[..] } else { &[] };
            let named = members.iter().find_map(|(key, value)| match &value.data {
                Data::Text(text) if key.text == "name" => Some(text.clone()),
                _ => None,
            });
            let name = named.unwrap_or_else(|| format!("case {}", n + 1));
            Unread { name, at: node.at, why: reading.told_since(before) }
        })
    };
    list.iter().take(CASES_MAX).enumerate().map(one).collect()
}

fn case(reading: &Reading<'_>, trial: &Trial<'_>, node: &Node) -> Option<Case> {
    let table = reading.table(node, "a case", &["name", "hook", "with", "facts", "expect"])?;
    let name = table.need("name", "a sentence that says what is true").and_then(|v| reading.text(v, "`name`"));
    let hook = match (table.get("hook"), trial.hooks) {
        (Some(_), _) => table.pick("hook", &HOOKS),
        (None, [hook]) => Some(*hook),
        (None, hooks) => {
            let names: Vec<&str> = hooks.iter().map(|h| h.name()).collect();
            let help = format!("one of {}", names.join(", "));
            reading.tell_help("TG0315", node.at, "the policy has several hooks: say `hook` in the case", help);
            None
        }
    };
    let params = match (table.get("with"), &trial.home.schema) {
        (None, _) => None,
        (Some(with), Some(schema)) => Some(Arc::new(schema.fill(reading, with))),
        (Some(with), None) => {
            reading.tell(
                "TG0113",
                with.at,
                format!("`{}` has no `params.schema.json` and takes no `with`", trial.home.shown),
            );
            None
        }
    };
    let facts = match table.get("facts") {
        None => Some(Facts::default()),
        Some(node) => facts(reading, node),
    };
    let expected =
        table.need("expect", "the effects, or `expect: {}` for none").and_then(|v| Expectation::read(reading, v));
    Some(Case {
        name: name?.to_owned(),
        at: node.at,
        hook: hook?,
        params,
        facts: Arc::new(facts?),
        expected: expected?,
    })
}

fn facts(reading: &Reading<'_>, node: &Node) -> Option<Facts> {
    let mut json = node.json();
    for group in ["budget", "rate"] {
        let rules = json.get_mut(group).and_then(Value::as_object_mut);
        rules.into_iter().flat_map(|rules| rules.values_mut()).for_each(complete);
    }
    match serde_json::from_value(json) {
        Ok(facts) => Some(facts),
        Err(error) => {
            let told = error.to_string();
            // `unknown field `usecase`, expected one of `use_case`, ...`: the near name is among those listed.
            let mut names = told.split('`').skip(1).step_by(2);
            let wrong = names.next().unwrap_or_default();
            let hint = nearest::hint(wrong, names);
            let at = node.find_key(wrong).map_or(node.at, |key| key.at);
            let sentence =
                told.split(", expected").next().unwrap_or(&told).replace("unknown field", "no fact is called");
            let message = format!("`facts`: {sentence}{hint}");
            reading.tell_help("TG0313", at, message, "`tollgate policy schema` lists all facts");
            None
        }
    }
}

/// A rule in a case may give `limit` and `used` alone: the rest follows from them, as in a live call.
fn complete(rule: &mut Value) {
    let Some(rule) = rule.as_object_mut() else { return };
    let number = |rule: &serde_json::Map<String, Value>, key: &str| rule.get(key).and_then(Value::as_i64).unwrap_or(0);
    let limit = number(rule, "limit");
    let taken = number(rule, "used").saturating_add(number(rule, "held"));
    if limit > 0 && !rule.contains_key("ratio") {
        rule.insert("ratio".to_owned(), Value::from(taken as f64 / limit as f64));
    }
    if limit > 0 && !rule.contains_key("remaining") {
        rule.insert("remaining".to_owned(), Value::from(limit.saturating_sub(taken).max(0)));
    }
}
