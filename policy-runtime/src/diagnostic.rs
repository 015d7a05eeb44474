//! What is wrong with a repository, told so that it can be mended: code, place, sentence, and what would be right.

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The revision is refused.
    Error,
    /// It is told and nothing else.
    Warning,
}

/// One finding. Lines and columns count from 1 (columns in characters); 0 = the whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// `TG0123`: stable, searchable.
    pub code: &'static str,
    pub severity: Severity,
    pub file: String,
    pub line: u32,
    pub column: u32,
    /// Characters to underline, at least 1 where there is a column.
    pub length: u32,
    /// Lower case, no full stop, user input in backticks.
    pub message: String,
    pub help: Option<String>,
}

impl Diagnostic {
    pub fn error(code: &'static str, file: &str, message: impl Into<String>) -> Self {
        Diagnostic {
            code,
            severity: Severity::Error,
            file: file.to_owned(),
            line: 0,
            column: 0,
            length: 1,
            message: message.into(),
            help: None,
        }
    }

    pub fn warning(code: &'static str, file: &str, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Self::error(code, file, message) }
    }

    pub fn at(self, line: u32, column: u32) -> Self {
        Diagnostic { line, column, ..self }
    }

    pub fn over(self, length: u32) -> Self {
        Diagnostic { length: length.max(1), ..self }
    }

    pub fn help(self, help: impl Into<String>) -> Self {
        Diagnostic { help: Some(help.into()), ..self }
    }
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {} [{}]", self.file, self.message, self.code),
            _ => write!(f, "{}:{}:{}: {} [{}]", self.file, self.line, self.column, self.message, self.code),
        }
    }
}
