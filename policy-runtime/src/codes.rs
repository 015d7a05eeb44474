//! All codes of findings, one explanation each: what `tollgate check` and the documentation tell of a code.
//!
//! TG01 the manifest, TG02 the tables, TG03 the cases, TG04 the source; the engines' own follow (TG05 CEL, TG06 Rhai, TG07 Wasm).

/// A code and what it means.
pub const CODES: &[(&str, &str)] = &[
    ("TG0101", "the repository has no `tollgate-policies.yaml` at its root"),
    ("TG0102", "the manifest is no YAML, or unfolds to more than the loader takes"),
    ("TG0103", "a key of the manifest is not known; the nearest known one is named"),
    ("TG0104", "a key of the manifest is missing"),
    ("TG0105", "a value in the manifest is of another kind: a number for a text, a list for a table"),
    ("TG0106", "a value in the manifest is not among those known, or out of bounds"),
    ("TG0107", "the version under `api` is not served by this gateway"),
    ("TG0108", "two policies have the same name; receipts could not tell them apart"),
    ("TG0109", "the name of a policy has characters that messages and labels cannot carry"),
    ("TG0110", "`use` or `path` leads to no program: no such folder, no program in it, or more than one"),
    ("TG0111", "a glob in `for` is broken, or a list in it is empty"),
    ("TG0112", "`with` does not fit the policy's `params.schema.json`"),
    ("TG0113", "`with` is given to a policy that has no `params.schema.json`"),
    ("TG0114", "a `params.schema.json` is faulty; as a warning: it has a keyword that checks nothing here"),
    ("TG0115", "a group of facts is read that is not known at the hook"),
    ("TG0116", "`when` reads a group of facts that `reads` does not list"),
    ("TG0117", "a policy's `expires` has passed; it still acts"),
    ("TG0118", "`share` is set on a policy that does not act in any case"),
    ("TG0119", "a folder below `policies/` is used by no entry of the manifest"),
    ("TG0120", "the repository has a part that this version does not read, so what it says would not act"),
    ("TG0121", "a size under `limits` cannot be read or is out of bounds"),
    ("TG0202", "a table is no YAML, or unfolds to more than the loader takes"),
    ("TG0203", "a key of a table is not known; the nearest known one is named"),
    ("TG0204", "a key of a table is missing"),
    ("TG0205", "a value in a table is of another kind"),
    ("TG0206", "a value in a table is not among those known, or out of bounds"),
    ("TG0207", "a glob in a table is broken, or a list is empty where an empty list would admit all"),
    ("TG0211", "a price is no decimal, or has no date and source"),
    ("TG0212", "a row or a name is there twice"),
    ("TG0213", "an alias leads nowhere or in a circle"),
    ("TG0214", "a grant names a tenant, family or tier that nobody has; it grants nothing"),
    ("TG0215", "the hash of a key cannot be read"),
    ("TG0216", "the hash of a key was made with the pepper of another gateway; the key can never match here"),
    ("TG0217", "a key belongs to a tenant or app that `tenants` does not list"),
    ("TG0218", "the end of a key is no date and no time"),
    ("TG0219", "a rule has no unit, several, a limit of 0, or a name that ledgers cannot carry"),
    ("TG0220", "the time zone of a budget is not known"),
    ("TG0221", "the span of a rate cannot be read, or does not belong there"),
    ("TG0302", "a file of cases is no YAML, or unfolds to more than the loader takes"),
    ("TG0303", "a key of a case is not known; the nearest known one is named"),
    ("TG0304", "a key of a case is missing"),
    ("TG0305", "a value in a case is of another kind"),
    ("TG0306", "a value in a case is not among those known, or out of bounds"),
    ("TG0311", "a case failed: the policy does not do what the case says"),
    ("TG0312", "a policy has no cases"),
    ("TG0313", "the facts of a case have a name or a value that no fact has"),
    ("TG0314", "the expectation of a case cannot be read, or contradicts itself"),
    ("TG0315", "a case of a policy with several hooks does not say at which one it is asked"),
    ("TG0401", "a file or folder of the source cannot be read; it is tried again"),
    ("TG0402", "the source holds a symbolic link"),
    ("TG0403", "the source exceeds a bound: files, bytes, depth"),
    ("TG0404", "the source holds a name that is not UTF-8"),
    ("TG0405", "the source failed in a way of its own"),
    ("TG0406", "the last good revision cannot be written to or read from the disk"),
    ("TG0407", "the last good revision on disk is damaged"),
    ("TG0701", "a policy is a `policy.wasm`, and this program was made without an engine for it"),
    ("TG0702", "a `policy.wasm` is no component: a core module, text, machine code, or faulty"),
    ("TG0703", "a component imports what no policy is given: WASI, or another package's interface"),
    ("TG0704", "a component does not fit the world `tollgate:policy`: `decide` is missing or has another type"),
    ("TG0705", "the engine of components cannot start on this machine"),
];

/// What a code means.
pub fn explain(code: &str) -> Option<&'static str> {
    CODES.iter().find(|(known, _)| *known == code).map(|(_, explanation)| *explanation)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All codes between quotes or brackets in a source file.
    fn codes_in(folder: &std::path::Path, found: &mut Vec<String>) {
        let code = regex::Regex::new("TG0[1-4][0-9]{2}").unwrap();
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
    fn every_code_of_the_loader_is_explained_and_every_explanation_is_used() {
        let mut used = Vec::new();
        codes_in(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut used);
        for code in &used {
            assert!(explain(code).is_some() || code == "TG0123", "{code} is not explained");
        }
        for (code, _) in CODES.iter().filter(|(code, _)| code < &"TG05") {
            assert!(used.iter().any(|u| u == code), "{code} is never used");
        }
        assert!(CODES.is_sorted_by(|a, b| a.0 < b.0), "in order and each once");
    }
}
