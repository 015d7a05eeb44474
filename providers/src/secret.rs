//! Secrets of providers: named by reference, read once and again after a 401, never printed.

use std::path::PathBuf;
use std::process::Command;

use http::HeaderValue;

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A variable of the environment.
    Env(String),
    /// A file; white space at its end does not count.
    File(PathBuf),
    /// A program and its arguments; what it prints.
    Command(Vec<String>),
}

impl SecretSource {
    /// Reads it. The error names the source, never the secret.
    pub fn read(&self) -> Result<Secret, String> {
        let text = self.document()?;
        let text = text.trim();
        match text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            true => Err("it is empty, or has characters that no header may carry".to_owned()),
            false => Ok(Secret(text.to_owned())),
        }
    }

    /// Reads what may have several lines, such as the key file of a service account.
    pub fn document(&self) -> Result<String, String> {
        match self {
            SecretSource::Env(name) => std::env::var(name).map_err(|_| format!("the environment has no `{name}`")),
            SecretSource::File(path) => {
                std::fs::read_to_string(path).map_err(|why| format!("cannot read `{}`: {why}", path.display()))
            }
            SecretSource::Command(words) => {
                let (program, args) = words.split_first().ok_or("its command is empty")?;
                let run = Command::new(program).args(args).stdin(std::process::Stdio::null()).output();
                let out = run.map_err(|why| format!("cannot run `{program}`: {why}"))?;
                if !out.status.success() {
                    return Err(format!("`{program}` ended with {}", out.status));
                }
                String::from_utf8(out.stdout).map_err(|_| format!("`{program}` printed no text"))
            }
        }
    }
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

    #[test]
    fn a_secret_is_read_from_its_source_and_never_printed() {
        let path = std::env::temp_dir().join(format!("tollgate-secret-{}", std::process::id()));
        std::fs::write(&path, "sk-canary\n").unwrap();
        let secret = SecretSource::File(path.clone()).read().unwrap();
        assert_eq!(secret.header("Bearer "), "Bearer sk-canary");
        assert!(!format!("{secret:?} {:?}", secret.header("Bearer ")).contains("canary"));
        std::fs::remove_file(path).unwrap();
        for (source, told) in [
            (SecretSource::Env("TOLLGATE_NO_SUCH".to_owned()), "has no `TOLLGATE_NO_SUCH`"),
            (SecretSource::File("/no/such".into()), "cannot read"),
            (SecretSource::Command(vec!["false".to_owned()]), "ended with"),
            (SecretSource::Command(vec!["echo".to_owned(), "a b".to_owned()]), "no header may carry"),
        ] {
            assert!(source.read().unwrap_err().contains(told), "{source:?}");
        }
    }
}
