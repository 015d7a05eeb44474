//! A gateway of a test's own: the real binary, on free ports, with a state folder that goes with it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take that should take a moment.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Gateway {
    child: Child,
    pub base: String,
    pub operators: String,
    /// The one-time key; empty where the repository has keys.
    pub key: String,
    pub state: PathBuf,
    pub log: Arc<Mutex<String>>,
    _folder: tempfile::TempDir,
}

/// The binary that the tests drive: built by the same command that built them.
pub fn binary() -> PathBuf {
    let named = std::env::var_os("TOLLGATE").map(PathBuf::from);
    named.unwrap_or_else(|| {
        let test = std::env::current_exe().expect("a test knows where it is");
        let folder = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
        folder.join("tollgate")
    })
}

/// One run of a verb.
pub fn tollgate(args: &[&str], state: &Path) -> Output {
    Command::new(binary())
        .args(args)
        .env("TOLLGATE_STATE", state)
        .env_remove("OPENAI_API_KEY")
        .output()
        .expect("the binary runs: build it with `cargo build --release`")
}

impl Gateway {
    /// With nothing but what every test needs.
    pub fn start() -> Gateway {
        Gateway::with(&[], None)
    }

    /// With flags, and the text of a config file.
    pub fn with(args: &[&str], config: Option<&str>) -> Gateway {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        Gateway::on(folder, state, args, config)
    }

    /// With a config, and with variables of the environment.
    pub fn in_environment(variables: &[(&str, &str)], config: &str) -> Gateway {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        Gateway::begin(folder, state, &[], Some(config), variables)
    }

    /// On a state folder that exists already.
    pub fn on(folder: tempfile::TempDir, state: PathBuf, args: &[&str], config: Option<&str>) -> Gateway {
        Gateway::begin(folder, state, args, config, &[])
    }

    fn begin(
        folder: tempfile::TempDir,
        state: PathBuf,
        args: &[&str],
        config: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Gateway {
        let mut command = Command::new(binary());
        command.args(["--listen", "127.0.0.1:0", "--operators", "127.0.0.1:0", "--state"]).arg(&state).args(args);
        if let Some(text) = config {
            let path = folder.path().join("tollgate.yaml");
            std::fs::write(&path, text).unwrap();
            command.arg("--config").arg(path);
        }
        for name in ["OPENAI_API_KEY", "OPENAI_BASE_URL", "GROQ_API_KEY", "MISTRAL_API_KEY"] {
            command.env_remove(name);
        }
        let mut child = command
            .current_dir(folder.path())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs: build it with `cargo build --release`");
        let log = Arc::new(Mutex::new(String::new()));
        gather(child.stderr.take().unwrap(), log.clone());
        let said = Arc::new(Mutex::new(String::new()));
        gather(child.stdout.take().unwrap(), said.clone());
        let begun = Instant::now();
        let greeting = loop {
            let text = said.lock().unwrap().clone();
            if text.contains("\nkey: ") || text.contains("\nkeys: ") {
                break text;
            }
            if begun.elapsed() > PATIENCE || child.try_wait().unwrap().is_some() {
                panic!("the gateway did not start:\n{text}\n{}", log.lock().unwrap());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let after = |mark: &str, end: char| -> String {
            greeting.split_once(mark).and_then(|(_, rest)| rest.split(end).next()).unwrap_or_default().to_owned()
        };
        Gateway {
            child,
            base: after(" at ", ' ').trim_end_matches("/v1").to_owned(),
            operators: after("(operators: ", ')'),
            key: after("\nkey: ", ' '),
            state,
            log,
            _folder: folder,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The receipt of a call, as soon as it is written.
    pub fn receipt(&self, id: &str) -> Value {
        eventually(&format!("the receipt of {id}"), || {
            let out = tollgate(&["explain", id, "--json"], &self.state);
            out.status.success().then(|| serde_json::from_slice(&out.stdout).unwrap())
        })
    }

    /// All receipts so far.
    pub fn receipts(&self) -> Vec<Value> {
        let out = tollgate(&["trail", "tail", "-n", "1000000", "--json"], &self.state);
        String::from_utf8_lossy(&out.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// The most that was ever resident, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, which: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(which));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    }

    /// Kills it: it learns nothing of its end.
    pub fn kill(mut self) -> tempfile::TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self._folder, tempfile::tempdir().unwrap())
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(mut self) -> (std::process::ExitStatus, tempfile::TempDir) {
        signal(self.child.id(), "TERM");
        let status = self.child.wait().unwrap();
        (status, std::mem::replace(&mut self._folder, tempfile::tempdir().unwrap()))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(sent.is_ok_and(|s| s.success()), "the process {pid} could not be told to {name}");
}

/// Tries until there is a value; panics with `what` when there is none in time.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} did not come within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Lines as they come.
pub fn gather(from: impl Read + Send + 'static, to: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut text = to.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
}
