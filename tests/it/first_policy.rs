//! The page for a newcomer, followed as it stands: every block of commands is run in an empty folder, and what the page says
//! one will see is what comes. Ids, times and the port are the reader's own.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use crate::support::gateway::{binary, eventually, gather, signal};
use crate::support::root;

/// The gateway of the reader's first terminal; it ends with the test.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A block, and the text that the page shows below it.
struct Step {
    run: String,
    seen: Option<String>,
}

fn steps(page: &str) -> Vec<Step> {
    let mut found: Vec<Step> = Vec::new();
    for fence in page.split("```").skip(1).step_by(2) {
        let (kind, text) = fence.split_once('\n').unwrap();
        match kind {
            "sh" => found.push(Step { run: text.to_owned(), seen: None }),
            "text" => found.last_mut().expect("a text follows on a block").seen = Some(text.to_owned()),
            other => panic!("a fence of the kind `{other}`: a reader types `sh` and sees `text`"),
        }
    }
    found
}

/// The reader's shell; nothing of this machine's git counts in it, and a provider's key stands in its environment.
fn shell(home: &Path, folder: &Path, run: &str) -> Command {
    let path = format!("{}:{}", binary().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", run]).current_dir(folder).env("PATH", path).env("HOME", home).env("OPENAI_API_KEY", "sk-none");
    command.env("TOLLGATE_STATE", home.join("state")).env("NO_COLOR", "1").env_remove("XDG_CONFIG_HOME");
    command
}

fn output(mut command: Command) -> String {
    let out = command.output().unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

/// What must be the same whoever reads: lines without what is the reader's own, and the end of the line after it.
fn lasting(text: &str) -> Vec<String> {
    let own =
        ["request-id", "tollgate-call-id", "date: ", "key: tg_", "call 0", "who: ", "took ", "processing", "sim: "];
    let kept =
        text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !own.iter().any(|mark| line.contains(mark)));
    let plain = |word: &str| !(word.starts_with("20") && word.contains('T') && word.ends_with('Z'));
    kept.map(|line| line.split(' ').filter(|word| plain(word)).collect::<Vec<_>>().join(" ")).collect()
}

/// Lines of a running gateway: these are compared by how they begin, as they go on with ids, ports and milliseconds.
fn begins(line: &str) -> &str {
    let marks = [" ms=", " in ", " http://", "tg_", "\"request_id\""];
    &line[..marks.iter().filter_map(|mark| line.find(mark)).min().unwrap_or(line.len())]
}

#[test]
fn the_first_policy_is_written_as_the_page_says() {
    let page = std::fs::read_to_string(root().join("docs/first-policy.md")).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let home = tempfile::tempdir().unwrap();
    let settings = "[user]\n\tname = Ann\n\temail = ann@example.com\n";
    std::fs::write(home.path().join(".gitconfig"), settings).unwrap();
    let folder = empty.path().join("my-policies");
    let (operators, listen) = (port(), port());
    let mut gateway = None;
    let mut key = String::new();
    let log = Arc::new(Mutex::new(String::new()));
    for Step { run, seen } in steps(&page) {
        let at = if folder.exists() { &folder } else { empty.path() };
        let run = run.replace("127.0.0.1:4000", &format!("127.0.0.1:{listen}"));
        let told = if run.contains("\ntollgate --policies") {
            let served = run.replace(
                "tollgate --policies .",
                &format!("exec tollgate --policies . --listen 127.0.0.1:{listen} --operators 127.0.0.1:{operators}"),
            );
            let mut command = shell(home.path(), at, &served);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            let mut child = command.spawn().unwrap();
            gather(child.stdout.take().unwrap(), log.clone());
            gather(child.stderr.take().unwrap(), log.clone());
            gateway = Some(Served(child));
            eventually("the greeting", || log.lock().unwrap().contains("tollgate explain").then_some(()));
            log.lock().unwrap().clone()
        } else if run.starts_with("KEY=") {
            let said = log.lock().unwrap().clone();
            key = said.split_once("\nkey: ").and_then(|(_, rest)| rest.split(' ').next()).unwrap().to_owned();
            continue;
        } else if run.contains("git init") {
            let mut child = gateway.take().expect("it was started above");
            signal(child.0.id(), "INT");
            child.0.wait().unwrap();
            output(shell(home.path(), at, &run))
        } else if seen.as_ref().is_some_and(|text| text.contains("revision rejected")) {
            output(shell(home.path(), at, &run));
            eventually("the refusal in the log", || {
                let said = log.lock().unwrap().clone();
                said.contains("revision rejected").then_some(said)
            })
        } else {
            output(shell(home.path(), at, &format!("KEY={key}\n{run}")))
        };
        let told: Vec<String> = lasting(&told);
        for line in seen.iter().flat_map(|text| lasting(text)) {
            let is_there = told.iter().any(|own| begins(own) == begins(&line) || own.ends_with(&line));
            assert!(is_there, "the page shows `{line}`\nafter\n{run}\nand what came is\n{}", told.join("\n"));
        }
    }
}

fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
