//! Official clients are the judges of the callers' side: each asks at its own provider, and at others whose answers are
//! translated for it. Their scripts lie in `tests/clients`, `tests/clients/install` installs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::gateway::Gateway;
use crate::support::{hosts, is_long, root};

/// One client may take this long; on an idle machine the slowest takes some ten seconds.
const CLIENT_MAX: Duration = Duration::from_secs(300);

/// Kinds of API that the scripted provider stands in for, each under the name `as_KIND`.
const KINDS: [&str; 8] = ["openai", "compatible", "anthropic", "gemini", "bedrock", "cohere", "ollama", "mistral"];

/// The providers of a config that reaches one `sim` in all dialects at once, and in one dialect only each.
pub fn kinds(sim: &hosts::Host) -> String {
    let base = format!("http://127.0.0.1:{}", sim.port);
    let mut config = format!("providers:\n  sim: {{ base_url: \"{base}/v1\" }}\n");
    for kind in KINDS {
        // The others have paths of their own below the address.
        let version = if matches!(kind, "openai" | "compatible" | "mistral") { "/v1" } else { "" };
        config += &format!("  as_{kind}: {{ base_url: \"{base}{version}\", api: {kind}, unlisted: true }}\n");
    }
    config
}

/// A gateway before such a `sim`.
pub fn before(sim: &hosts::Host) -> Gateway {
    Gateway::with(&[], Some(&kinds(sim)))
}

/// Where a language's clients are installed; `None` = nowhere, which is said loudly.
pub fn installed(folder: &str, program: &str) -> Option<PathBuf> {
    let path = root().join("target/clients").join(folder);
    if path.join("installed").is_file() && (program.is_empty() || path.join(program).is_file()) {
        return Some(path);
    }
    let told =
        format!("the official clients of target/clients/{folder} are not there (`tests/clients/install` makes them)");
    assert!(std::env::var_os("CI").is_none(), "{told}");
    eprintln!("SKIPPED: {told}");
    None
}

/// Runs one script to its end; it says `all good` there, and where it fails what it saw.
pub fn content(command: &mut Command, what: &str, at: &Gateway) {
    let begun = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let mut child = command
        .args([&at.base, &at.key])
        // No client shall look for its own provider, or tell it anything.
        .env_remove("OPENAI_API_KEY")
        .env_remove("ANTHROPIC_API_KEY")
        .env_remove("GEMINI_API_KEY")
        .env_remove("GOOGLE_API_KEY")
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(std::fs::File::create(&err).unwrap())
        .spawn()
        .unwrap_or_else(|why| panic!("{what} does not run: {why}"));
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > CLIENT_MAX {
            child.kill().unwrap();
            break child.wait().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = std::fs::read_to_string(out).unwrap();
    let last: Vec<&str> = text.lines().rev().take(10).collect();
    let said = std::fs::read_to_string(err).unwrap();
    assert!(
        status.success() && text.ends_with("all good\n"),
        "{what}: {status} after {:?}\n{}\n{said}\n{}",
        begun.elapsed(),
        last.into_iter().rev().collect::<Vec<_>>().join("\n"),
        at.log.lock().unwrap(),
    );
    let checks = text.lines().filter(|line| line.starts_with("ok ")).count();
    for line in text.lines().filter(|line| line.starts_with("versions ")) {
        println!("{what}: {} ({checks} checks, {:.1} s)", &line[9..], begun.elapsed().as_secs_f64());
    }
}

fn python(folder: &str, scripts: &[&str]) {
    let Some(installed) = installed(folder, "bin/python") else { return };
    let sim = hosts::sim();
    let gateway = before(&sim);
    for script in scripts {
        let path = root().join("tests/clients/python").join(format!("with_{script}.py"));
        let mut command = Command::new(installed.join("bin/python"));
        content(command.arg("-B").arg(path), &format!("Python {script}"), &gateway);
    }
}

/// Modules are looked for beside the script: the scripts go where the packages are.
fn node(folder: &str, scripts: &[&str]) {
    let Some(installed) = installed(folder, "") else { return };
    let sim = hosts::sim();
    let gateway = before(&sim);
    let copy = |name: &str| {
        let to = installed.join(name);
        std::fs::copy(root().join("tests/clients/node").join(name), &to).unwrap();
        to
    };
    copy("checks.mjs");
    for script in scripts {
        let path: &Path = &copy(&format!("with_{script}.mjs"));
        content(Command::new("node").arg(path), &format!("Node {script}"), &gateway);
    }
}

#[test]
fn official_clients_in_python_are_content() {
    python("python", &["openai", "openai_files", "anthropic", "google_genai"]);
}

#[test]
fn the_official_client_in_node_is_content() {
    node("node", &["openai"]);
}

#[test]
fn further_clients_in_python_are_content() {
    if is_long() {
        let further = ["mistralai", "cohere", "ollama", "boto3", "langchain", "litellm", "pydantic_ai"];
        python("python-long", &[&["anthropic_bedrock"][..], &further].concat());
        python("instructor", &["instructor"]);
    }
}

#[test]
fn further_clients_in_node_are_content() {
    if is_long() {
        node("node-long", &["anthropic", "google_genai", "bedrock", "ai"]);
    }
}
