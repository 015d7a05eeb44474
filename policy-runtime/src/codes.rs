//! All codes of findings: what each means and how it is mended. The table is a page of the documentation.

/// The page, which is the only place where codes are explained.
const PAGE: &str = include_str!("../../docs/reference/codes.md");

/// A code, what it means, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    pub code: &'static str,
    pub means: &'static str,
    pub mend: &'static str,
}

/// All of them, in order.
pub fn all() -> impl Iterator<Item = Code> {
    PAGE.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| TG")?.strip_suffix(" |")?.split(" | ");
        let code = line.get(2..8)?;
        cells.next()?;
        Some(Code { code, means: cells.next()?, mend: cells.next()? })
    })
}

/// What a code means.
pub fn explain(code: &str) -> Option<Code> {
    all().find(|known| known.code.eq_ignore_ascii_case(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All codes in the sources below a folder.
    fn codes_in(folder: &std::path::Path, found: &mut Vec<String>) {
        let code = regex::Regex::new("TG0[0-8][0-9]{2}").unwrap();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                codes_in(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("codes.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.extend(code.find_iter(&text).map(|m| m.as_str().to_owned()));
            }
        }
    }

    #[test]
    fn every_code_is_explained_and_every_explanation_is_used() {
        let mut used = Vec::new();
        let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        for sources in ["src", "git/src", "wasm/src", "../gateway/src"] {
            codes_in(&own.join(sources), &mut used);
        }
        // Examples that stand for any code.
        used.retain(|code| code != "TG0123" && code != "TG0000");
        for code in &used {
            assert!(explain(code).is_some(), "{code} is not explained in docs/reference/codes.md");
        }
        let codes: Vec<&str> = all().map(|known| known.code).collect();
        for code in &codes {
            assert!(used.iter().any(|u| u == code), "{code} is never used");
        }
        assert!(codes.len() > 80 && codes.is_sorted_by(|a, b| a < b), "in order and each once: {codes:?}");
        assert!(all().all(|known| !known.means.is_empty() && !known.mend.is_empty()));
    }
}
