//! Runs the program `git` within bounds: of time, of output, of disk, and of what it takes from its surroundings.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;

use crate::GitError;

/// Of each output no more is kept; the rest is read and thrown away, so that git never waits for us.
const OUTPUT_BYTES_MAX: usize = 256 << 10;
/// A mirror that grows above this while git runs stops it.
pub(crate) const MIRROR_BYTES_MAX: u64 = 512 << 20;
/// How often the size is looked at.
const SIZE_EVERY: Duration = Duration::from_millis(250);
/// How long outputs may stay open after git has ended: a helper process may hold them.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);
/// Of what git says on stderr, this much is told.
const TOLD_CHARS_MAX: usize = 400;

/// Given with every call: nothing of a repository is run, nothing happens behind our back.
const SETTINGS: [&str; 8] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "gc.auto=0",
    "maintenance.auto=false",
    // Packs, not loose files: their number tells when to tidy up.
    "fetch.unpackLimit=1",
    "fetch.writeCommitGraph=false",
    // Refs stay plain files, so that the active commit can be read from a damaged mirror.
    "gc.packRefs=false",
    "credential.interactive=false",
];

/// What git needs of our environment wherever it fetches from.
const KEPT: [&str; 4] = ["PATH", "TMPDIR", "LD_LIBRARY_PATH", "SystemRoot"];
/// What it needs beyond that for ssh and https: the user's configuration, agents, proxies, certificates. Everything
/// else, the secrets of providers above all, stays with us.
const KEPT_FOR_REMOTES: [&str; 17] = [
    "HOME",
    "USER",
    "LOGNAME",
    "GIT_ASKPASS",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_CERT",
    "GIT_SSL_KEY",
    "GIT_PROXY_SSL_CAINFO",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GH_TOKEN",
    "GITHUB_TOKEN",
    "GITLAB_TOKEN",
];
/// The same, by how the name begins or ends.
const KEPT_PREFIXES: [&str; 4] = ["XDG_", "SSH_", "GIT_CONFIG_", "GIT_HTTP_"];
const KEPT_SUFFIXES: [&str; 2] = ["_proxy", "_PROXY"];

/// One call of git.
pub(crate) struct Call<'a> {
    pub program: &'a Path,
    /// The repository it works on; `None` for questions to a remote.
    pub repository: Option<&'a Path>,
    /// Where it fetches from, for messages.
    pub url: &'a str,
    /// The only protocol it may speak.
    pub protocol: &'static str,
    /// Shown to an https host, and to no other.
    pub token: Option<String>,
    pub args: Vec<OsString>,
    pub timeout: Duration,
    /// For messages: `fetch`, `list the branches`.
    pub what: &'static str,
}

/// Whoever knows the token of an https host. It is asked before each use, so that a token may be changed.
#[derive(Clone)]
pub struct Token(Arc<dyn Fn() -> Result<String, String> + Send + Sync>);

impl Token {
    pub fn new(read: impl Fn() -> Result<String, String> + Send + Sync + 'static) -> Token {
        Token(Arc::new(read))
    }

    pub(crate) fn read(&self) -> Result<String, String> {
        (self.0)()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// What git said.
pub(crate) struct Said {
    pub ok: bool,
    pub stdout: String,
    /// The useful end of stderr, in one line.
    pub why: String,
}

/// Runs git to its end, or stops it. `Err` means that it could not run or was stopped; a failure of its own is `Said`.
pub(crate) fn run(call: &Call<'_>) -> Result<Said, GitError> {
    let mut child = command(call)
        .spawn()
        .map_err(|why| GitError::Program { program: call.program.display().to_string(), why: why.to_string() })?;
    let stdout = child.stdout.take().map(gather);
    let stderr = child.stderr.take().map(gather);
    let status = match wait(&mut child, call) {
        Ok(status) => status,
        Err(error) => {
            stop(&mut child);
            sweep(call.repository);
            return Err(error);
        }
    };
    Ok(Said { ok: status, stdout: text(stdout), why: useful(&text(stderr)) })
}

fn command(call: &Call<'_>) -> Command {
    let mut command = Command::new(call.program);
    for setting in SETTINGS {
        command.arg("-c").arg(setting);
    }
    if call.token.is_some() {
        command.args(["-c", "http.followRedirects=false"]);
    }
    command.args(&call.args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env_clear();
    let is_remote = call.protocol != "file";
    command.envs(std::env::vars_os().filter(|(name, _)| is_kept(name, is_remote)));
    command
        .env("LC_ALL", "C")
        .env("GIT_ALLOW_PROTOCOL", call.protocol)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_NO_LAZY_FETCH", "1");
    if let Some(repository) = call.repository {
        command.env("GIT_DIR", repository);
    }
    if is_remote {
        // ssh asks on the terminal for passwords and host keys, whoever stands there; this makes every question fail.
        if std::env::var_os("SSH_ASKPASS").is_none() {
            command.env("SSH_ASKPASS", "false");
        }
        command.env("SSH_ASKPASS_REQUIRE", "force");
    }
    // The host's configuration could send git elsewhere. Only https without a token needs it: its credential helpers.
    if call.protocol != "https" || call.token.is_some() {
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    }
    if let Some(token) = &call.token {
        show(&mut command, call.url, token);
    }
    // A group of its own: stopping git stops its ssh and its helpers too.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

/// Shows a token to the host of `url`, and to no host that it points to. In the environment: arguments are for all to see.
fn show(command: &mut Command, url: &str, token: &str) {
    let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or((USER, authority));
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", token.trim()));
    command
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", format!("http.https://{host}/.extraHeader"))
        .env("GIT_CONFIG_VALUE_0", format!("Authorization: Basic {basic}"));
}

/// The name that git hosts take together with a token.
const USER: &str = "x-access-token";

fn is_kept(name: &OsStr, is_remote: bool) -> bool {
    let Some(name) = name.to_str() else { return false };
    KEPT.contains(&name)
        || is_remote
            && (KEPT_FOR_REMOTES.contains(&name)
                || KEPT_PREFIXES.iter().any(|p| name.starts_with(p))
                || KEPT_SUFFIXES.iter().any(|s| name.ends_with(s)))
}

/// Waits for the end; the pauses grow, so that a fetch of 5 ms is not made one of 20.
fn wait(child: &mut Child, call: &Call<'_>) -> Result<bool, GitError> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(1);
    let mut looked = began;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) => {}
            Err(why) => {
                let program = call.program.display().to_string();
                return Err(GitError::Program { program, why: why.to_string() });
            }
        }
        if began.elapsed() > call.timeout {
            let limit_ms = u64::try_from(call.timeout.as_millis()).unwrap_or(u64::MAX);
            return Err(GitError::Timeout { what: call.what, limit_ms });
        }
        if looked.elapsed() > SIZE_EVERY {
            looked = Instant::now();
            if let Some(repository) = call.repository
                && packs(repository).1 > MIRROR_BYTES_MAX
            {
                let what = format!("its mirror is above {} MiB", MIRROR_BYTES_MAX >> 20);
                return Err(GitError::TooLarge { url: call.url.to_owned(), what });
            }
        }
        thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(20));
    }
}

/// Ends git and everything it has started.
fn stop(child: &mut Child) {
    // The shell has `kill` built in everywhere that git runs; a group can be ended by no safe function of the library.
    #[cfg(unix)]
    let _ = Command::new("sh")
        .args(["-c", "kill -KILL -- \"-$1\"", "sh", &child.id().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    // Both fail only where it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

/// A stopped fetch leaves its half pack behind: without this, every try would leave another.
fn sweep(repository: Option<&Path>) {
    let Some(folder) = repository.map(|r| r.join("objects/pack")) else { return };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with("tmp_")) {
            // One that stays is swept by the next tidying.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// How many packs a repository has, and the bytes of all files beside them.
pub(crate) fn packs(repository: &Path) -> (usize, u64) {
    let mut found = (0, 0);
    for entry in std::fs::read_dir(repository.join("objects/pack")).into_iter().flatten().flatten() {
        found.0 += usize::from(entry.path().extension().is_some_and(|e| e == "pack"));
        found.1 += entry.metadata().map_or(0, |m| m.len());
    }
    found
}

/// Reads an output on a thread of its own: keeps the beginning, throws the rest away.
fn gather(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || {
        let mut kept = Vec::new();
        let mut block = [0; 8192];
        while let Ok(read @ 1..) = from.read(&mut block) {
            let room = OUTPUT_BYTES_MAX - kept.len();
            kept.extend_from_slice(&block[..read.min(room)]);
        }
        // Nobody waits for it any more: git was stopped.
        let _ = sender.send(kept);
    });
    receiver
}

fn text(output: Option<Receiver<Vec<u8>>>) -> String {
    let bytes = output.and_then(|o| o.recv_timeout(OUTPUT_GRACE).ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The lines that tell something, without git's prefixes and without anything that could move a terminal.
fn useful(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .map(|line| line.trim())
        .map(|line| line.trim_start_matches("fatal: ").trim_start_matches("error: "))
        .filter(|line| !line.is_empty() && !line.starts_with("hint:") && !line.starts_with("Please make sure"))
        .filter(|line| *line != "and the repository exists.")
        .take(3)
        .collect();
    let told: String = lines.join("; ").chars().filter(|c| !c.is_control()).take(TOLD_CHARS_MAX).collect();
    if told.is_empty() { "git failed and said nothing".to_owned() } else { told }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout_ms: u64) -> Result<Said, GitError> {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("git");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let timeout = Duration::from_millis(timeout_ms);
        let again = || {
            run(&Call {
                program: &program,
                repository: None,
                url: "",
                protocol: "file",
                token: None,
                args: vec![],
                timeout,
                what: "fetch",
            })
        };
        // A test beside this one may fork while the script is being written, and hold it open for a moment.
        let busy = |said: &Result<Said, GitError>| {
            said.as_ref().err().is_some_and(|e| e.to_string().contains("Text file busy"))
        };
        (0..50).fold(again(), |said, _| {
            if !busy(&said) {
                return said;
            }
            std::thread::sleep(Duration::from_millis(10));
            again()
        })
    }

    #[test]
    fn a_git_that_hangs_is_stopped_with_all_it_started() {
        let began = Instant::now();
        let hung = shell("sleep 60 & sleep 60", 200).err().unwrap();
        assert_eq!(hung, GitError::Timeout { what: "fetch", limit_ms: 200 });
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn output_is_bounded_and_the_environment_is_ours() {
        let said = shell("head -c 3000000 /dev/zero | tr '\\0' x; echo 'fatal: it broke' >&2; exit 3", 20_000).unwrap();
        assert_eq!((said.ok, said.stdout.len(), &*said.why), (false, OUTPUT_BYTES_MAX, "it broke"));
        let environment = shell("env", 20_000).unwrap().stdout;
        assert!(environment.contains("GIT_CONFIG_GLOBAL=/dev/null"), "{environment}");
        assert!(!environment.contains("CARGO"), "what the tests' own process has is not handed on: {environment}");
    }

    #[test]
    fn secrets_stay_here_also_for_remotes() {
        for (name, kept) in [("SSH_AUTH_SOCK", true), ("https_proxy", true), ("OPENAI_API_KEY", false)] {
            assert_eq!(is_kept(OsStr::new(name), true), kept, "{name}");
        }
        assert!(!is_kept(OsStr::new("SSH_AUTH_SOCK"), false));
        assert!(!is_kept(OsStr::new("GIT_DIR"), true), "ours is set for each call");
    }
}
