//! Bombs: scripts made to cost. Each ends within its bounds, and says why.

use std::time::Duration;

use serde_json::json;

use crate::engine::Bounds;
use crate::expr::thread_cpu;
use crate::trying::{compile, decide};

const BOMBS: [(&str, &str); 34] = [
    ("loop { }", "an endless loop"),
    ("let n = 0; while true { n += 1 } none()", "another"),
    ("let s = \"x\"; loop { s += s; }", "a text that doubles"),
    ("let s = \"\"; loop { s += \"xxxxxxxx\"; }", "a text that grows"),
    ("let s = \"x\"; loop { s = `${s}${s}`; }", "a text that is interpolated into itself"),
    (
        "let s = \"ab\"; loop { s.replace(\"a\", \"aaab\"); s.replace(\"b\", \"bbba\"); }",
        "a text that grows by replacing",
    ),
    ("let s = \"a\"; for n in 0..15 { s += s; } loop { let t = s.to_upper(); }", "copies of a long text"),
    ("let s = \"a,\"; for n in 0..14 { s += s; } loop { let t = s.split(\",\"); }", "a long text taken apart"),
    ("let s = \"a\"; for n in 0..15 { s += s; } loop { s.index_of(\"b\"); }", "searching without end"),
    ("let s = \"x\"; s.pad(1000000000, \"y\"); none()", "a text that is padded"),
    ("let a = []; loop { a.push(1); }", "a list that grows"),
    ("let a = [1]; loop { a += a; }", "a list that doubles"),
    ("let a = []; loop { a = [a]; }", "a list in a list"),
    ("let a = [1]; loop { a = [a, a]; }", "a tree of lists"),
    ("let m = #{}; loop { m = #{ a: m, b: m }; }", "a tree of maps"),
    ("let m = #{}; let n = 0; loop { m[`k${n}`] = n; n += 1; }", "a map that grows"),
    ("let m = #{}; let n = 0; loop { m.set(`k${n}`, n); n += 1; }", "a map that is set"),
    ("let a = []; a.pad(1000000000, 0); none()", "a list that is padded"),
    ("let b = blob(1000000000, 7); none()", "a large blob"),
    ("let b = blob(); loop { b.push(7); b += b; }", "a blob that doubles"),
    ("let a = []; for n in range(0, 1000000000) { a.push(`${n}`); } none()", "a range made a list"),
    ("for a in 0..1000000 { for b in 0..1000000 { if a == b { facts; } } } none()", "loops in loops"),
    ("let n = 0; for a in 0..9223372036854775807 { n += a; } none()", "a range without end"),
    ("fn_bomb(facts)", "recursion"),
    ("two(facts)", "recursion by turns"),
    ("let f = |x| x; loop { f.call(1); }", "closures"),
    ("let f = |x| x; loop { f = f.curry(1); }", "a closure curried without end"),
    ("let a = []; for n in 0..900 { a.push(n); } loop { a.map(|x| x + 1); }", "a closure for each element"),
    (
        "let a = []; for n in 0..900 { a.push(n); } a.sort(|x, y| if x < y { 1 } else { -1 }); a.sort(|x, y| 1); loop { a.sort(|x, y| y - x); }",
        "sorting with a closure",
    ),
    ("let a = []; for n in 0..900 { a.push(\"x\"); } loop { a.sort(); }", "sorting without end"),
    ("loop { facts.bucket(\"x\"); }", "host calls"),
    ("loop { facts.text.contains(\"x\"); }", "host calls that read"),
    ("let d = none(); loop { d += tag(\"a\", \"b\"); }", "effects without end"),
    ("let d = tag(\"a\", \"b\"); loop { d += d; }", "effects that double"),
];

/// Bombs whose text is long: nothing in them turns or calls, so nothing but the text itself could be counted.
fn straight() -> Vec<(String, &'static str)> {
    let long = "let s = \"x\"; for n in 0..15 { s += s; } ";
    vec![
        (format!("{long}{} none()", "s.to_upper(); ".repeat(6_000)), "copies one after the other"),
        (format!("{long}{} none()", "s.replace(\"x\", \"y\"); ".repeat(6_000)), "replacing one after the other"),
        (format!("{long}let t = s; {} none()", "t = s + \"1\"; ".repeat(6_000)), "sums one after the other"),
        (format!("{long}let d = none(); {} d", "d += note(s); ".repeat(250)), "long texts said"),
        (format!("{long}let d = note(s); {} d", "d += d; ".repeat(8)), "a long text said, doubled"),
        (format!("{long}let a = [s]; {} none()", "a.push(s + \"1\"); ".repeat(200)), "long texts in a list"),
    ]
}

#[test]
fn bombs_end_soon_and_say_why() {
    let bounds = Bounds::default();
    let mut wrong = Vec::new();
    let straight = straight();
    for (body, why) in BOMBS.into_iter().chain(straight.iter().map(|(body, why)| (body.as_str(), *why))) {
        let text = format!(
            "fn fn_bomb(facts) {{ fn_bomb(facts) }}\nfn one(facts) {{ two(facts) }}\nfn two(facts) {{ one(facts) }}\n\
             fn pre_route(facts) {{ {body} }}"
        );
        let script = compile("policy.rhai", &text, json!({})).unwrap_or_else(|f| panic!("{why}: {f:?}"));
        let (mut decided, mut took) = (None, Duration::ZERO);
        let memory = allocation_counter::measure(|| {
            let begun = thread_cpu();
            decided = Some(decide(&*script));
            took = thread_cpu() - begun;
        });
        let told = format!("{why}: {took:?} and {} bytes", memory.bytes_max);
        match decided {
            Some(Err(stop)) => {
                println!("{told}: {:?} {} after {} operations", stop.kind, stop.what, stop.ops);
                // A slow machine with others on it counts more than the net allows: figures are told, and the bound is three nets.
                let within = took <= Duration::from_millis(3 * bounds.cpu_ms) && memory.bytes_max <= bounds.memory;
                if !within || stop.what.is_empty() {
                    wrong.push(format!("{told}: {} operations", stop.ops));
                }
            }
            other => wrong.push(format!("{told}: it came to {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is large before it runs is not taken at load.
#[test]
fn large_scripts_are_not_taken() {
    for (body, why) in [
        (format!("{}1{}; none()", "(".repeat(5_000), ")".repeat(5_000)), "brackets"),
        (format!("let a = {}1{}; none()", "[".repeat(500), "]".repeat(500)), "lists in lists"),
        (format!("let a = 1{}; none()", "+1".repeat(20_000)), "a long sum"),
        (format!("let a = \"{}\"; none()", "x".repeat(140_000)), "a long text"),
        (format!("let a = {}; none()", "\"\" + ".repeat(10_000) + "1"), "many texts"),
        (format!("let a = [{}]; none()", "1,".repeat(100_000)), "a long list"),
        ("if true { ".repeat(500) + "none()" + " }".repeat(500).as_str(), "blocks in blocks"),
        (format!("facts{}; none()", ".caller".repeat(5_000)), "an endless path"),
        (format!("let a = [1]; a{}; none()", "[0]".repeat(5_000)), "a chain of indices"),
        (
            format!(
                "hoard(\"x\", 14)\n}}\nfn hoard(s, n) {{ {} if n > 0 {{ hoard(s, n - 1); }} none()",
                "let v = s + \"1\"; ".repeat(100)
            ),
            "many variables in calls in calls",
        ),
        (
            format!("let f = |g| {{ {} g.call(g) }}; f.call(f); none()", "let v = 1; ".repeat(40)),
            "many variables in a closure that calls itself",
        ),
        (format!("{} none()", "let v = 1; ".repeat(130)), "many variables"),
    ] {
        let begun = thread_cpu();
        let found = compile("policy.rhai", &format!("fn pre_route(facts) {{ {body} }}"), json!({}));
        let took = thread_cpu() - begun;
        println!("{why}: {took:?} {:?}", found.as_ref().err().map(|f| &f[0].message));
        assert!(found.is_err(), "{why} was taken");
        assert!(took.as_millis() < 200, "{why}: {took:?}");
    }
}
