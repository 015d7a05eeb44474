//! A policy repository of a test's own: real git, real commits.

use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Repository {
    pub path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Repository {
    /// With these files as its first commit.
    pub fn new(files: &[(&str, &str)]) -> Repository {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policies");
        std::fs::create_dir(&path).unwrap();
        let repository = Repository { path, _folder: folder };
        repository.git(&["init", "-q", "-b", "main"]);
        repository.commit(files);
        repository
    }

    /// Writes files and commits them; gives the commit's id.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            let path = self.path.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&[
            "-c",
            "user.name=test",
            "-c",
            "user.email=test@localhost",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "change",
        ]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    pub fn address(&self) -> &str {
        self.path.to_str().unwrap()
    }

    pub fn git(&self, args: &[&str]) -> String {
        run(&self.path, args)
    }
}

fn run(path: &Path, args: &[&str]) -> String {
    let out = Command::new("git").arg("-C").arg(path).args(args).output().expect("git runs");
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}
