//! Git hosts and a provider on loopback, and people with keys that commit to them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::gateway::{binary, eventually};
use super::repository::Repository;
use super::root;

/// A host that ends with its test.
pub struct Host {
    child: Child,
    pub port: u16,
    /// What was asked of it, a line each.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The scripted provider as a process of its own.
pub fn sim() -> Host {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(binary());
    let child = command.args(["sim", "--listen", &format!("127.0.0.1:{port}")]).stdout(Stdio::null()).spawn().unwrap();
    let host = Host { child, port, asked: Arc::default() };
    eventually("the scripted provider", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    host
}

/// Git's own `http-backend` behind TLS and a token. The certificate is written to `folder/ca.pem`.
pub fn https(folder: &Path, repositories: &Path, token: &str) -> Host {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (folder.join("ca.pem"), folder.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let script = root().join("tests/python/git_https.py");
    let mut child = Command::new("python3")
        .arg(script)
        .args([&cert, &key, repositories])
        .arg(token)
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let port = lines.next().and_then(|line| line.parse().ok()).expect("the host prints its port");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    std::thread::spawn(move || lines.for_each(|line| kept.lock().unwrap().push(line)));
    Host { child, port, asked }
}

/// `sshd` for one key, and the `ssh` command that reaches it; `None` where there is no sshd, which is said loudly.
pub fn ssh(folder: &Path) -> Option<(Host, String)> {
    let places = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].map(PathBuf::from);
    let Some(sshd) = places.into_iter().find(|path| path.exists()) else {
        eprintln!("SKIPPED: policies over ssh: there is no sshd here (package openssh-server)");
        return None;
    };
    let keygen = |name: &str| {
        let key = folder.join(name);
        let run = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
        assert!(run.unwrap().success());
        key
    };
    let (host, user) = (keygen("host"), keygen("user"));
    let public = |key: &Path| std::fs::read_to_string(key.with_extension("pub")).unwrap();
    std::fs::write(folder.join("authorized"), public(&user)).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
         PermitRootLogin yes\nPasswordAuthentication no\nPidFile none\n",
        host.display(),
        folder.join("authorized").display()
    );
    std::fs::write(folder.join("sshd_config"), config).unwrap();
    // A root's sshd wants this folder for its unprivileged half.
    let _ = std::fs::create_dir_all("/run/sshd");
    let known = folder.join("known");
    std::fs::write(&known, format!("[127.0.0.1]:{port} {}", public(&host))).unwrap();
    let child = Command::new(sshd)
        .args(["-D", "-e", "-f"])
        .arg(folder.join("sshd_config"))
        .stderr(Stdio::null())
        .spawn()
        .expect("sshd runs");
    let command = format!(
        "ssh -F none -i {} -o UserKnownHostsFile={} -o StrictHostKeyChecking=yes",
        user.display(),
        known.display()
    );
    Some((Host { child, port, asked: Arc::default() }, command))
}

/// Somebody with a signing key.
pub struct Person {
    key: PathBuf,
    pub name: String,
}

impl Person {
    pub fn new(folder: &Path, name: &str) -> Person {
        let key = folder.join(name);
        let args = ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"];
        assert!(Command::new("ssh-keygen").args(args).arg(&key).status().unwrap().success());
        Person { key, name: name.to_owned() }
    }

    /// The line of `allowed_signers`.
    pub fn line(&self) -> String {
        format!("{} {}", self.name, self.public())
    }

    pub fn key(&self) -> &Path {
        &self.key
    }

    pub fn public(&self) -> String {
        std::fs::read_to_string(self.key.with_extension("pub")).unwrap().trim().to_owned()
    }

    /// Commits whatever is in the work tree, signed.
    pub fn commit(&self, repository: &Repository, files: &[(&str, &str)]) -> String {
        self.set(repository);
        let id = repository.commit(files);
        repository.git(&["config", "--unset", "commit.gpgsign"]);
        id
    }

    pub fn tag(&self, repository: &Repository, name: &str) {
        self.set(repository);
        let who = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
        repository.git(&[&who[..], &["tag", "-f", "-s", "-m", "approved", name]].concat());
        repository.git(&["config", "--unset", "commit.gpgsign"]);
    }

    /// From now on git signs as this person.
    pub fn set(&self, repository: &Repository) {
        repository.git(&["config", "gpg.format", "ssh"]);
        repository.git(&["config", "user.signingkey", self.key.to_str().unwrap()]);
        repository.git(&["config", "commit.gpgsign", "true"]);
    }
}
