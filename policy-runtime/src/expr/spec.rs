//! The CEL specification's own cases, on the interpreter with which policies run.
//!
//! `tests/cel/cases.json` holds the cases that need no protobuf (`convert.mjs` beside it makes them), `tests/cel/known.txt`
//! every one that does not pass, and why. The lists must agree exactly: what begins to pass is seen as what begins to fail.
//! The figures of `docs/reference/cel.md` are made here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelType, CelUInt,
};
use cel::common::value::Val;
use cel::{Context, Value};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tollgate_core::policy::Hook;

use super::check::FUNCTIONS;
use super::slots::ENV;
use super::{Names, Origin, compile_when, guard};
use crate::engine::Bounds;
use crate::trying::facts;

const CASES: &str = include_str!("../../tests/cel/cases.json");
const KNOWN: &str = include_str!("../../tests/cel/known.txt");
const PAGE: &str = include_str!("../../../docs/reference/cel.md");

#[derive(Deserialize)]
struct Spec {
    left_out: BTreeMap<String, usize>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    expr: String,
    #[serde(default)]
    with: BTreeMap<String, Json>,
    is: Option<Json>,
    #[serde(default)]
    error: bool,
}

const ORIGIN: Origin<'static> = Origin { shown: "spec", line: 1, column: 1 };

impl Case {
    fn section(&self) -> &str {
        self.id.split('/').next().unwrap_or_default()
    }

    /// Nothing where the case passes, else what came.
    fn fails(&self) -> Option<String> {
        let root = match guard::parse(&self.expr, ORIGIN) {
            Ok(parsed) => parsed.root,
            Err(found) => return (!self.error).then(|| found[0].message.clone()),
        };
        let mut context = Context::with_env(ENV.clone());
        for (name, bound) in &self.with {
            context.add_variable_as_val(name.clone(), value(bound));
        }
        match (Value::resolve_val(&root, &context), &self.is) {
            (Err(why), Some(_)) => Some(why.to_string()),
            (Err(_), None) => None,
            (Ok(got), None) => Some(format!("came to {got:?}")),
            (Ok(got), Some(is)) => {
                let nan = is["double"] == "NaN" && got.downcast_ref::<CelDouble>().is_some_and(|d| d.inner().is_nan());
                let wanted = value(is);
                let same = wanted.equals(&*got) && wanted.get_type().name() == got.get_type().name();
                (!same && !nan).then(|| format!("came to {got:?}"))
            }
        }
    }

    /// Would a policy be taken that says this, and does it come to the same?
    fn taken(&self) -> bool {
        let names =
            Names { hooks: &[Hook::PreRoute], params: &json!({}), budgets: &[], rates: &[], bounds: Bounds::default() };
        // A list of it, so that it may be of any type.
        let text = format!("[{}] != []", self.expr);
        match compile_when(&text, ORIGIN, names) {
            Ok(selector) => selector.matches(&facts()).is_ok() != self.error,
            Err(_) => false,
        }
    }
}

fn value(json: &Json) -> Box<dyn Val> {
    let (kind, inner) = json.as_object().and_then(|o| o.iter().next()).expect("a value has its kind");
    let text = || inner.as_str().unwrap_or_default();
    match kind.as_str() {
        "int" => Box::new(CelInt::from(text().parse::<i64>().expect("a whole number"))),
        "uint" => Box::new(CelUInt::from(text().parse::<u64>().expect("a natural number"))),
        "double" => Box::new(CelDouble::from(match inner {
            Json::String(special) => special.replace("Infinity", "inf").parse().expect("a number"),
            plain => plain.as_f64().expect("a number"),
        })),
        "text" => Box::new(CelString::from(text().to_owned())),
        "bytes" => {
            let bytes: Vec<u8> = serde_json::from_value(inner.clone()).expect("bytes");
            Box::new(CelBytes::from(bytes))
        }
        "bool" => Box::new(CelBool::from(inner == true)),
        "null" => Box::new(CelNull),
        "type" => Box::new(CelType::new(text())),
        "list" => Box::new(CelList::from(inner.as_array().into_iter().flatten().map(value).collect::<Vec<_>>())),
        "map" => {
            let pairs = inner.as_array().into_iter().flatten();
            let pairs = pairs.map(|pair| (CelMapKey::try_from(value(&pair[0])).expect("a key"), value(&pair[1])));
            Box::new(CelMap::from(pairs.collect::<HashMap<_, _>>()))
        }
        other => panic!("a value of the kind {other}"),
    }
}

/// The cases that are known not to pass: `[reason] words`, and the ids below it.
fn known() -> BTreeSet<&'static str> {
    let lines = KNOWN.lines().map(str::trim);
    lines.filter(|l| !l.is_empty() && !l.starts_with(['#', '['])).collect()
}

fn spec() -> Spec {
    serde_json::from_str(CASES).expect("the cases are JSON of our making")
}

#[test]
fn what_does_not_pass_is_known_by_name() {
    let spec = spec();
    let known = known();
    let mut wrong = String::new();
    for case in &spec.cases {
        match (case.fails(), known.contains(case.id.as_str())) {
            (Some(why), false) => writeln!(wrong, "fails:  {}: `{}` {why}", case.id, case.expr).unwrap(),
            (None, true) => writeln!(wrong, "passes: {}: take it from tests/cel/known.txt", case.id).unwrap(),
            (Some(_), true) | (None, false) => {}
        }
    }
    let ids: BTreeSet<&str> = spec.cases.iter().map(|c| c.id.as_str()).collect();
    for gone in known.difference(&ids) {
        writeln!(wrong, "gone:   {gone}").unwrap();
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn the_page_tells_the_pass_rate() {
    let spec = spec();
    let known = known();
    let mut rows: BTreeMap<&str, [usize; 4]> = spec.left_out.iter().map(|(s, n)| (s.as_str(), [*n, 0, 0, 0])).collect();
    for case in &spec.cases {
        let row = rows.entry(case.section()).or_default();
        row[1] += 1;
        row[2] += usize::from(!known.contains(case.id.as_str()));
        row[3] += usize::from(case.with.is_empty() && case.taken());
    }
    let total = rows.values().fold([0; 4], |sum, row| std::array::from_fn(|i| sum[i] + row[i]));
    let rate = |passed: usize, of: usize| match of {
        0 => "-".to_owned(),
        of => format!("{:.1} %", passed as f64 * 100.0 / of as f64),
    };
    let mut table =
        "| section | protobuf, left out | run | pass | rate | taken in a policy |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for (section, [left_out, run, pass, taken]) in rows.into_iter().chain([("all", total)]) {
        writeln!(table, "| {section} | {left_out} | {run} | {pass} | {} | {taken} |", rate(pass, run)).unwrap();
    }
    assert!(PAGE.contains(&table), "docs/reference/cel.md must have this table:\n{table}");
}

#[test]
fn the_page_names_every_function() {
    for name in FUNCTIONS {
        let short = name.trim_start_matches("math.");
        let named = [format!("`{name}("), format!(".{short}(")].iter().any(|written| PAGE.contains(written));
        assert!(named, "docs/reference/cel.md does not tell of `{name}`");
    }
}
