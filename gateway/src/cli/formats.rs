//! Findings and cases for other programs: SARIF for code reviews, JUnit for CI.

use serde_json::{Value, json};
use tollgate_policy_runtime::cases::{CaseReport, CaseResult};
use tollgate_policy_runtime::codes;
use tollgate_policy_runtime::diagnostic::{Diagnostic, Severity};

/// SARIF 2.1.0, as code hosts read it.
pub fn sarif(findings: &[Diagnostic]) -> Value {
    let mut used: Vec<&str> = findings.iter().map(|f| f.code).collect();
    used.sort_unstable();
    used.dedup();
    let rules: Vec<Value> = used
        .iter()
        .map(|code| {
            let known = codes::explain(code);
            json!({
                "id": code,
                "shortDescription": { "text": known.map_or("", |k| k.means) },
                "help": { "text": known.map_or("", |k| k.mend) },
            })
        })
        .collect();
    let results: Vec<Value> = findings.iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "tollgate", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(finding: &Diagnostic) -> Value {
    let text = match &finding.help {
        Some(help) => format!("{}: {help}", finding.message),
        None => finding.message.clone(),
    };
    let mut place = json!({ "artifactLocation": { "uri": uri(&finding.file) } });
    if finding.line > 0 {
        place["region"] = json!({
            "startLine": finding.line,
            "startColumn": finding.column.max(1),
            "endColumn": finding.column.max(1) + finding.length.max(1),
        });
    }
    json!({
        "ruleId": finding.code,
        "level": match finding.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "message": { "text": text },
        "locations": [{ "physicalLocation": place }],
    })
}

/// A path as a relative address: what an address cannot hold is written as its bytes.
fn uri(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// One suite per policy, as CI servers read it.
pub fn junit(report: &CaseReport) -> String {
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"{}\" {}>\n",
        report.results.len(),
        counted(&report.results.iter().collect::<Vec<_>>())
    );
    let mut policies: Vec<&str> = report.results.iter().map(|r| r.policy.as_str()).collect();
    policies.dedup();
    for policy in policies {
        let cases: Vec<_> = report.results.iter().filter(|r| r.policy == policy).collect();
        let name = xml(policy);
        out.push_str(&format!("  <testsuite name=\"{name}\" tests=\"{}\" {}>\n", cases.len(), counted(&cases)));
        for case in cases {
            let (title, file, line) = (xml(&case.case), xml(&case.file), case.line);
            out.push_str(&format!(
                "    <testcase classname=\"{name}\" name=\"{title}\" file=\"{file}\" line=\"{line}\""
            ));
            match case.passed {
                true => out.push_str("/>\n"),
                false => {
                    let (first, all) =
                        (case.differences.first().map_or("", String::as_str), case.differences.join("\n"));
                    let kind = if case.unread { "error" } else { "failure" };
                    out.push_str(&format!(
                        ">\n      <{kind} message=\"{}\">{file}:{line}\n{}</{kind}>\n    </testcase>\n",
                        xml(first),
                        xml(&all)
                    ));
                }
            }
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// Cases that failed, and those that could not be read, as attributes.
fn counted(cases: &[&CaseResult]) -> String {
    let unread = cases.iter().filter(|case| case.unread).count();
    let failed = cases.iter().filter(|case| !case.passed && !case.unread).count();
    format!("failures=\"{failed}\" errors=\"{unread}\"")
}

/// Text between tags or quotes; characters that XML cannot hold are replaced.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(letter),
            other if other.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sarif_has_the_place_the_rule_and_what_to_do() {
        let finding = Diagnostic::error("TG0103", "tollgate-policies.yaml", "unknown key `moed`").at(3, 5).over(4);
        let sarif = sarif(&[finding.clone(), Diagnostic::warning("TG0312", "policies/a/cases.yaml", "no cases")]);
        let run = &sarif["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"][0]["id"], "TG0103");
        assert!(run["tool"]["driver"]["rules"][0]["help"]["text"].as_str().unwrap().contains("named key"));
        let region = &run["results"][0]["locations"][0]["physicalLocation"]["region"];
        assert_eq!(*region, json!({ "startLine": 3, "startColumn": 5, "endColumn": 9 }));
        assert_eq!(run["results"][1]["level"], "warning");
        assert!(run["results"][1]["locations"][0]["physicalLocation"]["region"].is_null(), "the whole file");
    }

    #[test]
    fn a_case_that_cannot_be_read_is_an_error() {
        let result = |case: &str, passed, unread| CaseResult {
            policy: "p".to_owned(),
            case: case.to_owned(),
            file: "policies/p/cases.yaml".to_owned(),
            line: 2,
            column: 3,
            passed,
            unread,
            differences: vec!["no fact is called `hour`".to_owned()],
            question: None,
        };
        let mut report = CaseReport::default();
        for one in [result("ok", true, false), result("no", false, false), result("hour", false, true)] {
            report.add(one);
        }
        let told = junit(&report);
        assert!(told.contains("<testsuites tests=\"3\" failures=\"1\" errors=\"1\">"), "{told}");
        assert!(told.contains("<error message=\"no fact is called `hour`\">"), "{told}");
    }

    #[test]
    fn a_path_is_an_address() {
        assert_eq!(uri("policies/ä b#c/rules.yaml"), "policies/%C3%A4%20b%23c/rules.yaml");
    }

    #[test]
    fn xml_is_escaped() {
        assert_eq!(xml("a < b && \"c\" \u{1}"), "a &lt; b &amp;&amp; &quot;c&quot; \u{fffd}");
    }
}
