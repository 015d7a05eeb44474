//! Pages that are made from files: a test says where they differ, and writes them anew when asked to.

use std::path::Path;

/// `TOLLGATE_WRITE=1 cargo test --release -p tollgate-tests --test it` writes what it would else find different.
const WRITE: &str = "TOLLGATE_WRITE";

/// Fails where the page is not what it should be, and names the first line that differs.
pub fn is_as_made(page: &Path, made: &str) {
    let found = std::fs::read_to_string(page).unwrap_or_default();
    if found == made {
        return;
    }
    if std::env::var_os(WRITE).is_some_and(|v| !v.is_empty()) {
        std::fs::write(page, made).unwrap();
        return;
    }
    let differs = found.lines().zip(made.lines()).position(|(a, b)| a != b);
    let line = differs.unwrap_or_else(|| found.lines().count().min(made.lines().count())) + 1;
    let at = |text: &str| text.lines().nth(line - 1).unwrap_or("(the end)").to_owned();
    panic!(
        "{}:{line} differs from what it is made of:\n  there: {}\n  made:  {}\nmend the files, or write the page anew with {WRITE}=1",
        page.display(),
        at(&found),
        at(made)
    );
}

/// The page with what stands between two marks replaced. Both marks stand on lines of their own.
pub fn between(page: &str, begin: &str, end: &str, made: &str) -> String {
    let from = page.find(begin).unwrap_or_else(|| panic!("the page has no `{begin}`")) + begin.len();
    let to = from + page[from..].find(end).unwrap_or_else(|| panic!("the page has no `{end}`"));
    format!("{}\n{made}{}", &page[..from], &page[to..])
}
