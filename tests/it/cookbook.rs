//! The cookbook: every recipe loads, passes its cases, does to real calls what its page says, and is told as it is.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::calls::{chat, post};
use crate::support::gateway::{Gateway, tollgate};
use crate::support::{pages, root};

/// The calls that a test makes; the gateway does not read it.
const CALLS: &str = "calls.json";

/// The folders of all recipes.
fn recipes() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("docs/cookbook")).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    found.sort();
    assert!(found.len() >= 12, "a cookbook has a dozen recipes");
    found
}

#[test]
fn every_recipe_loads_and_passes_its_cases() {
    let state = tempfile::tempdir().unwrap();
    for folder in recipes() {
        let policies = folder.to_str().unwrap();
        for (verb, tells) in [(&["check"][..], ": 0 errors, 0 warnings"), (&["policy", "test"], " passed, 0 failed")] {
            let args: Vec<&str> = verb.iter().copied().chain(["--policies", policies]).collect();
            let out = tollgate(&args, state.path());
            let told = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success() && told.contains(tells), "{args:?}\n{told}");
            assert!(
                !told.contains("\n0 passed") && !told.contains(" 0 cases passed"),
                "{policies} has no cases:\n{told}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_get_what_the_recipe_says() {
    for folder in recipes() {
        let calls = std::fs::read_to_string(folder.join(CALLS)).expect("a recipe has calls");
        let calls: Vec<Map<String, Value>> = serde_json::from_str(&calls).unwrap();
        let gateway = Gateway::with(&["--policies", folder.to_str().unwrap()], None);
        for call in calls {
            let text = |key: &str| call.get(key).and_then(Value::as_str);
            let what = format!("{}: {}", folder.display(), text("why").expect("a call says why"));
            let mut body = chat(text("model").expect("a call names a model"));
            for (name, value) in call.get("body").and_then(Value::as_object).into_iter().flatten() {
                body[name] = value.clone();
            }
            let headers = call.get("headers").and_then(Value::as_object).into_iter().flatten();
            let headers: Vec<(&str, &str)> = headers.map(|(k, v)| (k.as_str(), v.as_str().unwrap())).collect();
            let answer = post(&gateway, body.to_string(), &headers).await;
            assert_eq!(Some(u64::from(answer.status().as_u16())), call["status"].as_u64(), "{what}");
            let header = |name: &str| answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
            if let Some(target) = text("target") {
                assert_eq!(header("tollgate-target").as_deref(), Some(target), "{what}");
            }
            if let Some(policy) = text("warn") {
                assert!(header("tollgate-warn").is_some_and(|told| told.contains(policy)), "{what}");
            }
            if let Some(code) = text("code") {
                let told: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
                assert_eq!(told["error"]["tollgate"]["code"], code, "{what}");
            }
        }
    }
}

/// On a page, a line that names a file alone (`` `policies/x/rules.yaml` ``) is followed by the file in a fence.
#[test]
fn pages_show_the_files_as_they_are() {
    let index = std::fs::read_to_string(root().join("docs/cookbook/README.md")).unwrap();
    for folder in recipes() {
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(index.contains(&format!("({name}.md)")), "docs/cookbook/README.md does not list {name}");
        let page = folder.with_extension("md");
        let text = std::fs::read_to_string(&page).unwrap_or_else(|_| panic!("{} is not there", page.display()));
        let mut shown = text.clone();
        for file in files(&folder) {
            let path = file.strip_prefix(&folder).unwrap().to_str().unwrap().replace('\\', "/");
            let mark = format!("\n`{path}`\n\n```");
            let at = text.find(&mark).unwrap_or_else(|| panic!("{} does not show `{path}`", page.display()));
            let fence: String = text[at + mark.len()..].lines().take(1).collect();
            let whole = std::fs::read_to_string(&file).unwrap();
            shown = pages::between(&shown, &format!("{mark}{fence}"), "```", &whole);
        }
        pages::is_as_made(&page, &shown);
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}
