//! Secrets of providers: named by reference, read within bounds, never printed.

mod command;
pub mod kept;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderValue;

/// A secret is no longer than this, a key file included.
const BYTES_MAX: usize = 64 << 10;

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A variable of the environment.
    Env(String),
    /// A file; white space at its end does not count.
    File(PathBuf),
    /// A program and its arguments; what it prints. Run anew after `every`, where that is set.
    Command { words: Vec<String>, every: Option<Duration> },
}

impl SecretSource {
    /// Reads it. The error names the source, never the secret. A command may take seconds: not on a thread that carries calls.
    pub fn read(&self) -> Result<Secret, String> {
        self.document().and_then(line)
    }

    /// Reads what may have several lines, such as the key file of a service account.
    pub fn document(&self) -> Result<String, String> {
        match self {
            SecretSource::Env(name) => std::env::var(name).map_err(|_| format!("the environment has no `{name}`")),
            SecretSource::File(path) => file(path),
            SecretSource::Command { words, .. } => command::run(words),
        }
    }

    /// Its name, for people and receipts. Arguments of a command may be secrets: they are not in it.
    pub fn name(&self) -> String {
        match self {
            SecretSource::Env(name) => format!("env:{name}"),
            SecretSource::File(path) => format!("file:{}", path.display()),
            SecretSource::Command { words, .. } => {
                format!("command:{}", words.first().map_or("", String::as_str))
            }
        }
    }
}

/// What a header can carry.
fn line(text: String) -> Result<Secret, String> {
    let text = text.trim();
    match text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        true => Err("it is empty, or has characters that no header may carry".to_owned()),
        false => Ok(Secret(text.to_owned())),
    }
}

/// A pipe would make its reader wait for a writer: only what is a file is opened.
fn file(path: &Path) -> Result<String, String> {
    let told = |why: &dyn std::fmt::Display| format!("cannot read `{}`: {why}", path.display());
    let about = std::fs::metadata(path).map_err(|why| told(&why))?;
    if !about.is_file() {
        return Err(told(&"it is no file"));
    }
    let file = std::fs::File::open(path).map_err(|why| told(&why))?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|why| told(&why))?;
    if bytes.len() > BYTES_MAX {
        return Err(told(&format!("it is longer than {BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| told(&"it is no text"))
}

/// A secret in memory.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// For whoever must show it otherwise than in a header of ours.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// As the header's value, marked so that nobody prints it.
    pub fn header(&self, prefix: &str) -> HeaderValue {
        let text = format!("{prefix}{}", self.0);
        let mut value = HeaderValue::from_str(&text).expect("it was checked to be visible ASCII when it was read");
        value.set_sensitive(true);
        value
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> SecretSource {
        SecretSource::Command { words: words.iter().map(|word| word.to_string()).collect(), every: None }
    }

    #[test]
    fn a_secret_is_read_from_its_source_and_never_printed() {
        let path = std::env::temp_dir().join(format!("tollgate-secret-{}", std::process::id()));
        std::fs::write(&path, "sk-canary\n").unwrap();
        let secret = SecretSource::File(path.clone()).read().unwrap();
        assert_eq!(secret.header("Bearer "), "Bearer sk-canary");
        assert!(!format!("{secret:?} {:?}", secret.header("Bearer ")).contains("canary"));
        std::fs::write(&path, "x".repeat(BYTES_MAX + 1)).unwrap();
        for (source, told) in [
            (SecretSource::Env("TOLLGATE_NO_SUCH".to_owned()), "has no `TOLLGATE_NO_SUCH`"),
            (SecretSource::File("/no/such".into()), "cannot read"),
            (SecretSource::File("/dev/null".into()), "it is no file"),
            (SecretSource::File(path.clone()), "longer than"),
            (command(&["false"]), "ended with"),
            (command(&["echo", "a b"]), "no header may carry"),
        ] {
            assert!(source.read().unwrap_err().contains(told), "{source:?}");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_command_is_held_to_its_bounds_and_its_words_stay_here() {
        assert_eq!(command(&["sh", "-c", "echo sk-canary; echo canary >&2"]).read().unwrap().text(), "sk-canary");
        let long = command(&["sh", "-c", "while :; do echo xxxxxxxxxxxxxxxx; done"]).read().unwrap_err();
        assert!(long.contains("more than"), "{long}");
        let wrong = command(&["sh", "-c", "echo canary; exit 3", "canary"]);
        let told = format!("{} {}", wrong.name(), wrong.read().unwrap_err());
        assert!(told.contains("command:sh") && !told.contains("canary"), "{told}");
    }
}
