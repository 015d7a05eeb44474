//! What the cases of policies reach: statements of scripts, branches of conditions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tollgate_core::policy::effect::At;

/// Line, column and kind of each part of a file, and whether it was reached.
type Sites = BTreeMap<(u32, u32, String), bool>;

/// The parts seen so far, and whether any case reached each.
#[derive(Debug, Default)]
pub struct Covered {
    files: BTreeMap<Arc<str>, Sites>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileCoverage {
    pub file: Arc<str>,
    pub reached: usize,
    pub total: usize,
    pub uncovered: Vec<Missed>,
}

/// A part that no case reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missed {
    pub line: u32,
    pub column: u32,
    pub what: String,
}

impl Covered {
    /// Notes a part; once reached, it stays reached.
    pub fn site(&mut self, at: &At, what: &str, reached: bool) {
        let sites = self.files.entry(at.file.clone()).or_default();
        *sites.entry((at.line, at.column, what.to_owned())).or_default() |= reached;
    }

    pub fn files(&self) -> Vec<FileCoverage> {
        let of = |(file, sites): (&Arc<str>, &Sites)| FileCoverage {
            file: file.clone(),
            reached: sites.values().filter(|reached| **reached).count(),
            total: sites.len(),
            uncovered: sites
                .iter()
                .filter(|(_, reached)| !**reached)
                .map(|((line, column, what), _)| Missed { line: *line, column: *column, what: what.clone() })
                .collect(),
        };
        self.files.iter().map(of).collect()
    }

    /// Of all parts of all files; 100 where there is none.
    pub fn percent(&self) -> f64 {
        let files = self.files();
        let (reached, total) = files.iter().fold((0, 0), |(r, t), file| (r + file.reached, t + file.total));
        if total == 0 { 100.0 } else { reached as f64 * 100.0 / total as f64 }
    }
}
