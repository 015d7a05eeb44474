//! Plain reading of formatted sources and manifests: lines, imports, functions. Enough for a guard, no parser.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::root;

/// One source file.
pub struct Source {
    /// From the root, with `/`.
    pub path: String,
    pub text: String,
    /// Declared for tests, or in their folders.
    pub is_test: bool,
}

impl Source {
    /// Numbered lines of code: no comments, and nothing of the tests at the foot.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_comment = |line: &str| line.trim_start().starts_with("//");
        (1..)
            .zip(self.text.lines())
            .take_while(|(_, line)| *line != "mod tests {")
            .filter(move |(_, line)| !is_comment(line))
    }

    pub fn lines(&self) -> usize {
        self.text.lines().count()
    }
}

/// All sources of ours, in order.
pub fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.sort();
    let root = root();
    let mut sources: Vec<Source> = found
        .into_iter()
        .map(|path| Source {
            path: path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/"),
            text: std::fs::read_to_string(&path).unwrap(),
            is_test: false,
        })
        .collect();
    let declared: BTreeSet<String> = sources.iter().flat_map(test_files).collect();
    for source in &mut sources {
        let mut folders = source.path.split('/');
        // What lies in the folder of a module is declared with it.
        let is_declared = |file: &String| {
            let rest = source.path.strip_prefix(file.trim_end_matches(".rs"));
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        source.is_test = declared.iter().any(is_declared) || folders.any(|f| f == "tests" || f == "benches");
    }
    sources
}

/// The files that a file declares for tests: `#[cfg(test)]`, perhaps `#[path = ...]`, then `mod NAME;`.
fn test_files(source: &Source) -> Vec<String> {
    let (folder, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let stem = file.trim_end_matches(".rs");
    let below = if matches!(stem, "lib" | "main" | "mod") { folder.to_owned() } else { format!("{folder}/{stem}") };
    let mut files = Vec::new();
    for (_, rest) in source.text.match_indices("#[cfg(test)]\n").map(|(at, mark)| source.text.split_at(at + mark.len()))
    {
        let mut lines = rest.lines();
        let first = lines.next().unwrap_or_default();
        let named = first.strip_prefix("#[path = \"").and_then(|path| path.strip_suffix("\"]"));
        let module = first.trim_start_matches("pub ").strip_prefix("mod ").and_then(|name| name.strip_suffix(';'));
        files.extend(named.map(|path| format!("{folder}/{path}")));
        files.extend(module.map(|name| format!("{below}/{name}.rs")));
    }
    files
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            walk(&path, found);
        } else if name.ends_with(".rs") && path.is_file() {
            found.push(path);
        }
    }
}

/// The names in the tables of a manifest whose headings `wanted` admits.
pub fn dependencies(manifest: &str, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(heading) = line.strip_prefix('[') {
            let heading = heading.trim_end_matches(']');
            inside = wanted(heading);
            // `[dependencies.NAME]` is a table of its own.
            if let Some((table, name)) = heading.rsplit_once('.')
                && wanted(table)
            {
                names.insert(name.to_owned());
            }
        } else if inside && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if !name.is_empty() {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

pub fn manifest(folder: &str) -> String {
    std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap()
}

/// The paths behind `crate::` in a line, without braces: `policy::effect`, or the one name: `policy::facts::Glob`.
pub fn imports(line: &str) -> impl Iterator<Item = String> + '_ {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        rest[..end].trim_end_matches(':').to_owned()
    })
}

/// The name of the function that a line declares.
pub fn function(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let words = ["", "pub", "const", "async", "pub(crate)", "pub(super)"];
    let declares = before.trim_start().split(' ').all(|word| words.contains(&word));
    declares.then(|| after.split(['(', '<']).next().unwrap_or_default())
}

/// From its first line to the brace that stands as far in as its first word. None where it has no body.
pub fn function_lines<'a>(first: &str, lines: impl Iterator<Item = (usize, &'a str)>) -> Option<usize> {
    let indent = &first[..first.len() - first.trim_start().len()];
    let mut opened = false;
    for (count, text) in lines {
        if !opened {
            match text.trim_end().chars().last() {
                Some('{') => opened = true,
                Some(';' | '}') => return None,
                Some(_) | None => {}
            }
        } else if text.trim_end() == format!("{indent}}}") {
            return Some(count);
        }
    }
    None
}

#[test]
fn sources_are_read_as_they_are_meant() {
    let of = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned(), is_test: false };
    let source = of("core/src/routing/choose.rs", "//! x\n#[cfg(test)]\n#[path = \"choose_tests.rs\"]\nmod tests;\n");
    assert_eq!(test_files(&source), ["core/src/routing/choose_tests.rs"], "a file named by its path");
    let source = of("store/src/lib.rs", "//! x\n#[cfg(test)]\nmod trying;\n");
    assert_eq!(test_files(&source), ["store/src/trying.rs"], "a file beside lib.rs");
    let source = of("a.rs", "//! x\nfn a() {}\n// said\nfn b() {}\n\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\n");
    let code: Vec<usize> = source.code().map(|(line, _)| line).collect();
    assert_eq!(code, [2, 4, 5, 6], "no comments, no tests");

    let up: Vec<String> = imports("use crate::policy::facts::{Glob, Intent};").collect();
    assert_eq!(up, ["policy::facts"], "braces are not looked into");
    assert_eq!(function("    pub(crate) async fn carry<T>(core: &Core)"), Some("carry"));
    assert_eq!(function("    let x: fn() = y;"), None, "a type is no function");
    for (text, lines, why) in [
        ("fn a() {\n    b()\n}", Some(3), "a plain one"),
        ("    fn a(\n        b: u8,\n    ) {\n        c();\n    }", Some(5), "arguments on lines of their own"),
        ("fn a() -> u8;", None, "a declaration"),
        ("fn a() {}", None, "one line"),
    ] {
        let first = text.lines().next().unwrap();
        assert_eq!(function_lines(first, (1..).zip(text.lines())), lines, "{why}");
    }
    let manifest =
        "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = \"1\"\n[dependencies.c]\nversion = \"1\"\n";
    let names: Vec<String> = dependencies(manifest, |heading| heading == "dependencies").into_iter().collect();
    assert_eq!(names, ["a", "b", "c"]);
}
