//! Bombs: expressions made to cost. Each is refused at load or ends within its bounds, and is told.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tollgate_core::policy::Hook;
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::verdict::FailureKind;

use super::tests::when;
use super::{Selector, compile_rules, thread_cpu};
use crate::diagnostic::Diagnostic;
use crate::engine::{Bounds, Unit};
use crate::trying::compile_by;

/// On the parser's own thread it may take longer; this is the caller's.
const COMPILE_MS_MAX: u128 = 60;

/// What becomes of a bomb.
#[derive(Debug, PartialEq)]
enum End {
    /// Not taken at load, with this code.
    Refused(&'static str),
    /// Stopped by this bound: the policy's `on_error` decides.
    Stopped(FailureKind),
    /// It looks worse than it is.
    Answered,
}

/// Facts as a hostile caller would make them.
fn large() -> Arc<Facts> {
    let value = json!({
        "caller": { "tenant": "acme", "user": "u".repeat(8_000), "groups": vec!["g".repeat(100); 1_000] },
        "intent": { "asked": "m".repeat(1 << 20) },
        "prompt": { "roles": vec!["user"; 1_000], "tools": ["t".repeat(1 << 20)] },
        "text": [{ "role": "user", "text": "a".repeat(4 << 20) }],
    });
    Arc::new(serde_json::from_value(value).expect("facts as the case says"))
}

#[test]
fn bombs_are_refused_or_end_within_their_bounds() {
    use End::{Answered, Refused, Stopped};
    use FailureKind::{Budget, Error};
    let many = |what: &str, n: usize, by: &str| vec![what; n].join(by);
    let nested = |open: &str, close: &str, n: usize| [open.repeat(n).as_str(), "true", &close.repeat(n)].concat();
    let turns = |body: &str| format!("prompt.roles.all(a, prompt.roles.all(b, {body}))");
    let bombs: Vec<(&str, String, End)> = vec![
        ("a sum that overflows the parser's stack", many("1", 2_000, "+") + " == 1", Refused("TG0501")),
        ("more operators than are taken", many("1", 300, "+") + " == 1", Refused("TG0501")),
        ("nested brackets", nested("(", ")", 2_000), Refused("TG0501")),
        ("nested lists", nested("[", "]", 2_000), Refused("TG0501")),
        ("nested maps", nested("{1:", "}", 40), Refused("TG0501")),
        ("a row of negations", nested("!", "", 2_000), Refused("TG0501")),
        ("what makes the parser guess without end", "!!(".repeat(41) + "true", Refused("TG0501")),
        (
            "ternaries in ternaries",
            ["true ? ".repeat(200), "true".into(), " : true".repeat(200)].concat(),
            Refused("TG0502"),
        ),
        ("a long name", "a".repeat(100_000), Refused("TG0501")),
        ("a long literal", format!("\"{}\" == \"\"", "x".repeat(5_000)), Refused("TG0501")),
        ("a list of many literals", format!("[{}].all(x, x > 0)", many("1", 900, ",")), Refused("TG0501")),
        ("an index chain", format!("param.names{} == 1", "[0]".repeat(200)), Stopped(Error)),
        ("a chain of fields", format!("param{} == 1", ".a".repeat(300)), Refused("TG0501")),
        ("control characters", "\u{0}".repeat(50), Refused("TG0502")),
        ("quotes that never end", "`".repeat(1_000), Refused("TG0502")),
        ("loops three deep", turns("prompt.roles.all(c, a == c)"), Refused("TG0508")),
        ("a large regular expression", "caller.user.matches('(a{1,1000}){1,1000}')".into(), Refused("TG0511")),
        ("a regular expression out of facts", "caller.user.matches(intent.asked)".into(), Refused("TG0511")),
        ("replace that grows", "'a'.replace('', 'aaaa').replace('', 'aaaa') == ''".into(), Refused("TG0503")),
        ("a list that is joined", "caller.groups.join('x') == ''".into(), Refused("TG0503")),
        ("a text that is taken apart", "caller.user.split('') == []".into(), Refused("TG0503")),
        ("a loop in a loop", turns("a == b"), Stopped(Budget)),
        ("a loop in a loop with a large body", turns(&many("a == b", 60, " && ")), Stopped(Budget)),
        ("a loop in a loop that errs at every turn", turns("1 / 0 == 1"), Stopped(Budget)),
        ("lists of lists", "prompt.roles.map(a, prompt.roles.map(b, a + b)) == []".into(), Stopped(Budget)),
        ("lists of a long literal", format!("prompt.roles.map(a, '{}' + a) == []", "x".repeat(3_900)), Stopped(Budget)),
        ("sums of texts", format!("caller.groups.map(g, {}) == []", many("g", 200, "+")), Stopped(Budget)),
        (
            "filters in filters",
            "prompt.roles.filter(a, prompt.roles.filter(b, a == b) == []) == []".into(),
            Stopped(Budget),
        ),
        ("one long text, read often", many("intent.asked", 100, "+") + " == ''", Stopped(Budget)),
        (
            "one long element, joined often",
            format!("prompt.tools.all(t, {} == '')", many("t", 200, "+")),
            Stopped(Budget),
        ),
        ("a long text, searched often", many("text.contains('b')", 40, " || "), Stopped(Budget)),
        ("a pattern with backtracking elsewhere", "caller.user.matches('(a*)*b')".into(), Answered),
        ("a division by zero", "1 / 0 == 1".into(), Stopped(Error)),
        ("a number that overflows", "9223372036854775807 + 1 == 0".into(), Stopped(Error)),
    ];
    let facts = large();
    let bounds = Bounds::default();
    let mut wrong = Vec::new();
    for (why, text, end) in bombs {
        let begun = thread_cpu();
        let selector = when(&text);
        let compiled = thread_cpu() - begun;
        let (mut got, mut took) = (Answered, Duration::ZERO);
        let memory = allocation_counter::measure(|| {
            let begun = thread_cpu();
            got = end_of(&selector, &facts);
            took = thread_cpu() - begun;
        });
        let told = format!("{why}: {got:?} after {took:?} and {} bytes, compiled in {compiled:?}", memory.bytes_max);
        println!("{told}");
        let within = took.as_millis() as u64 <= 3 * bounds.cpu_ms
            && memory.bytes_max <= bounds.memory
            && compiled.as_millis() <= COMPILE_MS_MAX;
        // A busy machine counts what it took away as the thread's own time: the net may then come before the operations.
        let by_the_net = end == Stopped(Budget) && got == Stopped(FailureKind::CpuTime);
        if got != end && !by_the_net || !within {
            wrong.push(format!("{told}, and it should be {end:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A manifest may give more operations than there is time for: the clock holds then, in one expression and over a table.
#[test]
fn time_holds_whatever_operations_are_given() {
    let bounds = Bounds { ops: 10_000_000, ..Bounds::default() };
    let facts = large();
    let loops = [
        "prompt.roles.all(a, prompt.roles.all(b, a == b))",
        "prompt.roles.map(a, prompt.roles.filter(b, a != b)) == []",
    ];
    for text in loops {
        let table = [text; 20].map(|when| format!("  - when: '{when}'\n    note: x\n")).concat();
        for (rules, why) in
            [(format!("rules:\n  - when: '{text}'\n    note: x\n"), "one"), (format!("rules:\n{table}"), "twenty")]
        {
            let program = compile_by("rules.yaml", &rules, json!({}), |unit| {
                compile_rules(&Unit { bounds, params: unit.params.clone(), ..*unit })
            });
            let program = program.unwrap_or_else(|found| panic!("{found:?}"));
            let begun = thread_cpu();
            let ended = program.decide(Hook::PreRoute, &facts).map(|answer| answer.ops);
            let took = thread_cpu() - begun;
            println!("{why} of {text}: {took:?} {ended:?}");
            assert_eq!(ended.map_err(|stop| stop.kind), Err(FailureKind::CpuTime), "{why} of {text}");
            assert!(took <= Duration::from_millis(3 * bounds.cpu_ms), "{why} of {text}: {took:?}");
        }
    }
}

fn end_of(selector: &Result<Selector, Vec<Diagnostic>>, facts: &Arc<Facts>) -> End {
    match selector {
        Err(found) => End::Refused(found[0].code),
        Ok(selector) => match selector.matches(facts) {
            Ok(_) => End::Answered,
            Err(stop) => End::Stopped(stop.kind),
        },
    }
}
