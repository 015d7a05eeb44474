//! More for authors: what a policy costs, and a built-in policy taken into one's own repository.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tollgate_policy_runtime::cases::{CaseResult, Question};
use tollgate_policy_runtime::expr::thread_cpu;
use tollgate_policy_runtime::{reference, stdlib};

use super::{Ended, Places, diagnostics};
use crate::policies::{self, Checkout};
use crate::start;

/// Each case is asked for about so long, after a tenth of it to warm up.
const MEASURE: Duration = Duration::from_millis(100);

/// Asks every case again and again, and tells the thread's CPU time and the operations.
pub fn bench(places: &Places, filter: Option<&str>, as_json: bool) -> Result<(), Ended> {
    let config = start::config(places)?;
    let repository = policies::once(&config, places, Checkout::Files)?;
    let builtin = policies::builtin();
    let report = repository.test(&builtin, filter);
    let mut lines = Vec::new();
    for result in &report.results {
        let Some(question) = &result.question else { continue };
        let (ns, ops) = measure(question);
        let mut line = json!({ "policy": result.policy, "case": result.case, "ns": ns, "ops": ops });
        let mut shown = format!("{:>9.2} us {ops:>6} ops", ns as f64 / 1e3);
        if let Some((count, bytes)) = allocations(question) {
            (line["allocations"], line["allocated_bytes"]) = (count.into(), bytes.into());
            shown += &format!(" {count:>5} allocations {bytes:>7} bytes");
        }
        lines.push(line);
        if !as_json {
            println!("{shown}  {}: {}", result.policy, result.case);
        }
    }
    if lines.is_empty() {
        diagnostics::print(&repository.load(&builtin).findings, &[&repository.tree, &builtin]);
        return Err(Ended::failed("no case was asked: name another filter, or write `cases.yaml` beside the policy"));
    }
    let unread: Vec<String> = report.results.iter().filter(|r| r.unread).map(unread).collect();
    if as_json {
        println!("{}", json!({ "unit": "thread CPU time in nanoseconds, median of ten", "cases": lines }));
    }
    match unread.is_empty() {
        true => Ok(()),
        false => Err(Ended::failed(format!("not asked, for it cannot be read: {}", unread.join("; ")))),
    }
}

fn unread(result: &CaseResult) -> String {
    let why = result.differences.join(", ");
    format!("{}: {} ({}:{}: {why})", result.policy, result.case, result.file, result.line)
}

/// How often one question asks for memory, and for how many bytes; known where the program was built to count it.
#[cfg(feature = "allocations")]
fn allocations(question: &Question) -> Option<(u64, u64)> {
    let counted = allocation_counter::measure(|| drop(question.ask()));
    Some((counted.count_total, counted.bytes_total))
}

#[cfg(not(feature = "allocations"))]
fn allocations(_question: &Question) -> Option<(u64, u64)> {
    None
}

/// The median of ten runs of many questions each.
fn measure(question: &Question) -> (u64, u64) {
    let ops = match question.ask() {
        Ok(answer) => answer.ops,
        Err(stop) => stop.ops,
    };
    let spent = |times: u32| {
        let begun = thread_cpu();
        for _ in 0..times {
            // What it says does not matter here.
            let _ = question.ask();
        }
        thread_cpu() - begun
    };
    let mut times = 1;
    while spent(times) < MEASURE / 20 && times < 1 << 20 {
        times *= 2;
    }
    let mut runs: Vec<u128> = (0..10).map(|_| spent(times).as_nanos() / u128::from(times)).collect();
    runs.sort_unstable();
    (u64::try_from(runs[runs.len() / 2]).unwrap_or(u64::MAX), ops)
}

/// Prints one part of what is generated from the list of facts and effects.
pub fn schema(part: &str) -> Result<(), Ended> {
    let names = reference::PARTS.map(|(name, _)| name);
    let text = reference::part(part).ok_or_else(|| {
        let hint = tollgate_core::contract::nearest::hint(part, names);
        Ended::usage(format!("there is no part `{part}`{hint} (there are: {})", names.join(", ")))
    })?;
    print!("{text}");
    Ok(())
}

/// Copies a built-in policy into a repository, to be changed there.
pub fn eject(name: &str, into: &Path) -> Result<(), Ended> {
    let plain = name.strip_prefix("std/").unwrap_or(name);
    let tree = stdlib::tree();
    let folder = format!("policies/{plain}");
    let files: Vec<_> = tree.below(&folder).collect();
    if files.is_empty() {
        let mut known: Vec<&str> = tree.below("policies").filter_map(|(path, _)| path.split('/').nth(1)).collect();
        known.dedup();
        let hint = tollgate_core::contract::nearest::hint(plain, known.iter().copied());
        return Err(Ended::usage(format!(
            "no built-in policy is called `{plain}`{hint} (there are: {})",
            known.join(", ")
        )));
    }
    let target = into.join(&folder);
    if target.exists() {
        return Err(Ended::usage(format!(
            "`{}` is there already: remove it, or name another folder with --into",
            target.display()
        )));
    }
    let told = |why: std::io::Error| Ended::failed(format!("cannot write `{}`: {why}", target.display()));
    std::fs::create_dir_all(&target).map_err(told)?;
    for (path, bytes) in files {
        let file = into.join(path);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent).map_err(told)?;
        }
        let text = std::str::from_utf8(bytes).ok().filter(|_| path.ends_with("/cases.yaml"));
        let written = match text {
            Some(text) => std::fs::write(file, with_defaults(text)),
            None => std::fs::write(file, bytes),
        };
        written.map_err(told)?;
    }
    println!("wrote {}\nin the manifest: replace `use: std/{plain}` by `path: {folder}`", target.display());
    Ok(())
}

/// A case without `with` means the defaults in a built-in policy, and what the manifest sets in one's own: here it says so.
fn with_defaults(cases: &str) -> String {
    let mut out = String::with_capacity(cases.len() + 64);
    for (at, case) in cases.split("- name:").enumerate() {
        if at == 0 {
            out.push_str(case);
            continue;
        }
        out.push_str("- name:");
        match (case.contains("\n  with:"), case.split_once('\n')) {
            (false, Some((name, rest))) => out.push_str(&format!("{name}\n  with: {{}}\n{rest}")),
            _ => out.push_str(case),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_say_the_defaults_they_meant() {
        let cases = "# About.\n- name: a\n  facts: {}\n  expect: {}\n\n- name: b\n  with: { x: 1 }\n  expect: {}\n";
        let said =
            "# About.\n- name: a\n  with: {}\n  facts: {}\n  expect: {}\n\n- name: b\n  with: { x: 1 }\n  expect: {}\n";
        assert_eq!(with_defaults(cases), said);
    }
}
