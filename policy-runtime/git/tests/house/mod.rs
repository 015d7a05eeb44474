//! A temporary folder with a repository `origin` in it, and the tools to fill it.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its own part, and may fail loudly")]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use tollgate_policy_git::{Follow, GitOptions, GitSource, Verification, open};

pub struct House {
    dir: tempfile::TempDir,
    origin: String,
}

impl House {
    pub fn new() -> House {
        let dir = tempfile::tempdir().unwrap();
        let origin = dir.path().join("origin").to_str().unwrap().to_owned();
        let house = House { dir, origin };
        house.git(&["init", "--quiet", "--initial-branch=main", &house.origin]);
        house
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn origin_text(&self) -> &str {
        &self.origin
    }

    pub fn options(&self) -> GitOptions {
        GitOptions {
            url: self.origin.clone(),
            follow: Follow::Branch("main".to_owned()),
            verify: Verification::Off,
            token: None,
            mirror_dir: self.path("mirror.git").into(),
            subfolder: None,
            allow_rewind: false,
        }
    }

    pub fn source(&self) -> GitSource {
        open(self.options()).unwrap()
    }

    pub fn source_of(&self, url: &str, mirror: &str) -> GitSource {
        open(GitOptions { url: url.to_owned(), mirror_dir: mirror.into(), ..self.options() }).unwrap()
    }

    pub fn git(&self, args: &[&str]) -> String {
        self.feed(args, b"")
    }

    pub fn in_origin(&self, args: &[&str]) -> String {
        self.git(&[&["-C", &self.origin], args].concat())
    }

    /// Writes the files, among hidden ones and a backup, and commits everything.
    pub fn commit(&self, message: &str, files: &[(&str, &str)]) -> String {
        self.commit_by(&[], message, files)
    }

    /// The same with settings of git before the verb.
    pub fn commit_by(&self, settings: &[&str], message: &str, files: &[(&str, &str)]) -> String {
        for (path, text) in [&[(".github/ci.yml", "x"), ("a.yaml~", "x")], files].concat() {
            let path = std::path::Path::new(&self.origin).join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        self.in_origin(&["add", "--all"]);
        self.in_origin(&[settings, &["commit", "--quiet", "--allow-empty", "--message", message]].concat());
        self.in_origin(&["rev-parse", "HEAD"])
    }

    /// Writes an object as it is, whatever git would say of it.
    pub fn hash(&self, kind: &str, bytes: &[u8]) -> String {
        self.feed(&["-C", &self.origin, "hash-object", "-t", kind, "-w", "--literally", "--stdin"], bytes)
    }

    /// Moves `main` to a commit of this tree, made without looking into it.
    pub fn commit_tree(&self, tree: &str) -> String {
        let commit = self.in_origin(&["commit-tree", tree, "-m", "hostile"]);
        self.in_origin(&["update-ref", "refs/heads/main", &commit]);
        self.in_origin(&["read-tree", "--empty"]);
        commit
    }

    pub fn script(&self, path: &str, text: &str) {
        std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn feed(&self, args: &[&str], input: &[u8]) -> String {
        let mut child = Command::new("git")
            .args(args)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@example.org")])
            .envs([("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "ada@example.org")])
            .env("GIT_AUTHOR_DATE", "1700000000 +0100")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A git that reads nothing may have closed its end.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// A tree object's bytes: mode, name and the id of each entry.
pub fn raw_tree(entries: &[(&str, &str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        bytes.extend((0..20).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap()));
    }
    bytes
}

/// A person with a key.
pub struct Person<'h> {
    house: &'h House,
    pub key: String,
    /// The line of `allowed_signers`, without options.
    pub public: String,
    pub name: String,
}

pub fn person<'h>(house: &'h House, name: &str) -> Person<'h> {
    let key = house.path(name);
    let args = ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &key];
    assert!(Command::new("ssh-keygen").args(args).status().unwrap().success());
    let public = std::fs::read_to_string(format!("{key}.pub")).unwrap().trim().to_owned();
    Person { house, key, public, name: name.to_owned() }
}

impl Person<'_> {
    pub fn settings(&self) -> [String; 6] {
        let key = format!("user.signingkey={}", self.key);
        ["-c", "gpg.format=ssh", "-c", &key, "-c", "commit.gpgsign=true"].map(str::to_owned)
    }

    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        let settings = self.settings();
        self.house.commit_by(&settings.each_ref().map(String::as_str), "signed", files)
    }

    pub fn tag(&self, name: &str, commit: &str) {
        let settings = self.settings();
        let settings = settings.each_ref().map(String::as_str);
        self.house.in_origin(&[&settings[..], &["tag", "-f", "-s", "-m", "approved", name, commit]].concat());
    }

    pub fn line(&self) -> String {
        format!("{} {}\n", self.name, self.public)
    }
}
