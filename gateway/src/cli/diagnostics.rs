//! Findings on the terminal: the source line underlined, the code, what would be right.

use std::io::IsTerminal;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Severity as Shown};
use tollgate_core::policy::tree::Tree;
use tollgate_policy_runtime::diagnostic::{Diagnostic, Severity};

/// Prints findings to stderr, each with its line. `trees` are looked through for the file, in order.
pub fn print(findings: &[Diagnostic], trees: &[&Tree]) {
    for finding in findings {
        eprint!("{}", render(finding, source(finding, trees)));
    }
}

/// The text of the file that a finding speaks of.
fn source(finding: &Diagnostic, trees: &[&Tree]) -> Option<String> {
    let std = finding.file.strip_prefix("std/").map(|rest| format!("policies/{rest}"));
    let path = std.as_deref().unwrap_or(&finding.file);
    let bytes = match std.is_some() {
        true => trees.last()?.read(path)?,
        false => trees.iter().find_map(|tree| tree.read(path))?,
    };
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// One finding as text.
pub fn render(finding: &Diagnostic, source: Option<String>) -> String {
    let terminal = std::io::stderr().is_terminal();
    let theme = match (super::colour(terminal), terminal) {
        (true, _) => GraphicalTheme::unicode(),
        (false, true) => GraphicalTheme::unicode_nocolor(),
        (false, false) => GraphicalTheme::none(),
    };
    let place = match finding.line {
        0 => finding.file.clone(),
        line => format!("{}:{line}:{}", finding.file, finding.column),
    };
    let mut shown = MietteDiagnostic::new(format!("{place}: {}", finding.message)).with_code(finding.code);
    shown = shown.with_severity(match finding.severity {
        Severity::Error => Shown::Error,
        Severity::Warning => Shown::Warning,
    });
    if let Some(help) = &finding.help {
        shown = shown.with_help(help);
    }
    let span = source.as_deref().and_then(|text| span(text, finding));
    if let Some((offset, length)) = span {
        shown = shown.with_label(LabeledSpan::new(None, offset, length));
    }
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(theme).with_width(110).with_context_lines(1);
    let rendered = match (span, source) {
        (Some(_), Some(text)) => {
            let report = miette::Report::new(shown).with_source_code(NamedSource::new(&finding.file, text));
            handler.render_report(&mut out, report.as_ref())
        }
        _ => handler.render_report(&mut out, &shown),
    };
    match rendered {
        Ok(()) => out,
        // A renderer that gives up must not hide the finding.
        Err(_) => format!("{finding}\n"),
    }
}

/// Line and column (in characters, from 1) to bytes.
fn span(text: &str, finding: &Diagnostic) -> Option<(usize, usize)> {
    let line = usize::try_from(finding.line).ok()?.checked_sub(1)?;
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..)?.lines().next()?;
    let skip = (finding.column as usize).saturating_sub(1);
    let from: usize = rest.chars().take(skip).map(char::len_utf8).sum();
    let over: usize = rest.chars().skip(skip).take(finding.length.max(1) as usize).map(char::len_utf8).sum();
    Some((start + from, over))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_shown_and_underlined() {
        let finding = Diagnostic::error("TG0102", "tollgate-policies.yaml", "unknown key `moed`")
            .at(2, 3)
            .over(4)
            .help("did you mean `mode`?");
        let text = render(&finding, Some("policies:\n  moed: x\n".to_owned()));
        for part in ["TG0102", "tollgate-policies.yaml:2:3", "moed: x", "did you mean `mode`?"] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }

    #[test]
    fn columns_are_characters() {
        let finding = Diagnostic::error("TG0000", "f", "m").at(1, 3).over(2);
        assert_eq!(span("äöü€", &finding), Some((4, 5)));
    }
}
