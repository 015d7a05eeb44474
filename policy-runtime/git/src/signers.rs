//! Who may sign: the lines of git's `allowed_signers` file, and the keys that are trusted no longer.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ssh_key::public::KeyData;
use ssh_key::{Fingerprint, HashAlg, PublicKey};

/// What git names its signatures: one made for another purpose is none.
pub(crate) const NAMESPACE: &str = "git";
/// More signers than people who can be known by name.
const SIGNERS_MAX: usize = 1_000;
/// No line is longer.
const LINE_MAX: usize = 4_096;

/// One line: a key, whose it is, and from when to when it counts.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    pub principal: String,
    key: KeyData,
    /// Milliseconds since 1970; a signature counts from `after` on and before `before`.
    after: Option<i64>,
    before: Option<i64>,
    /// `namespaces` is absent or holds `git`.
    is_for_git: bool,
}

/// Everybody who may sign, by key.
#[derive(Debug, Clone, Default)]
pub struct Signers {
    list: Vec<Signer>,
    revoked: BTreeSet<String>,
}

/// Why a key does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unfit {
    Revoked { fingerprint: String },
    Unknown { fingerprint: String },
    NotForGit { principal: String },
    Early { principal: String },
    Late { principal: String },
}

impl Signers {
    /// Reads `allowed_signers` (as in `ssh-keygen(1)`) and a list of revoked keys or fingerprints. The error names the
    /// line and what to do.
    pub fn parse(allowed: &str, revoked: &str) -> Result<Signers, String> {
        let mut signers = Signers::default();
        for (number, line) in lines(allowed) {
            let signer = signer(line).map_err(|why| format!("line {number}: {why}"))?;
            signers.list.push(signer);
        }
        if signers.list.is_empty() {
            return Err("it names nobody: give lines like `ann@example.com ssh-ed25519 AAAA...`".to_owned());
        }
        if signers.list.len() > SIGNERS_MAX {
            return Err(format!("it has {} lines, at most {SIGNERS_MAX} are taken", signers.list.len()));
        }
        for (number, line) in lines(revoked) {
            let told = fingerprint_of(line).map_err(|why| format!("revoked, line {number}: {why}"))?;
            signers.revoked.insert(told);
        }
        Ok(signers)
    }

    /// Different people, whatever number of keys they have.
    pub fn principals(&self) -> BTreeSet<&str> {
        self.list.iter().map(|s| s.principal.as_str()).collect()
    }

    /// Whose key it is, where it counts at every one of `times_ms`.
    pub(crate) fn whose(&self, key: &KeyData, times_ms: &[i64]) -> Result<&str, Unfit> {
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        if self.revoked.contains(&fingerprint) {
            return Err(Unfit::Revoked { fingerprint });
        }
        let mut unfit = Unfit::Unknown { fingerprint };
        for signer in self.list.iter().filter(|s| s.key == *key) {
            let principal = signer.principal.clone();
            if !signer.is_for_git {
                unfit = Unfit::NotForGit { principal };
            } else if times_ms.iter().any(|at| signer.after.is_some_and(|after| *at < after)) {
                unfit = Unfit::Early { principal };
            } else if times_ms.iter().any(|at| signer.before.is_some_and(|before| *at >= before)) {
                unfit = Unfit::Late { principal };
            } else {
                return Ok(&signer.principal);
            }
        }
        Err(unfit)
    }
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// `principals [options] key-type key [comment]`
fn signer(line: &str) -> Result<Signer, String> {
    if line.len() > LINE_MAX {
        return Err(format!("it has {} bytes, at most {LINE_MAX} are taken", line.len()));
    }
    let (principals, rest) = word(line);
    let principal = principals.split(',').next().unwrap_or_default();
    if principal.is_empty() || principal.contains(['*', '?', '!']) {
        return Err(format!("`{principals}` names no one person: patterns cannot tell who signed"));
    }
    let (first, after_options) = word(rest);
    let (options, key) = if is_key_type(first) { ("", rest) } else { (first, after_options) };
    let mut signer =
        Signer { principal: principal.to_owned(), key: public_key(key)?, after: None, before: None, is_for_git: true };
    for option in split_unquoted(options, ',') {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = value.trim_matches('"');
        match name.to_ascii_lowercase().as_str() {
            "namespaces" => signer.is_for_git = value.split(',').any(|n| n == NAMESPACE),
            "valid-after" => signer.after = Some(time_ms(value)?),
            "valid-before" => signer.before = Some(time_ms(value)?),
            "cert-authority" => {
                return Err("certificate authorities are not taken: list each signer's own key".to_owned());
            }
            _ => return Err(format!("`{name}` is no option: namespaces, valid-after and valid-before are")),
        }
    }
    Ok(signer)
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| word.starts_with(prefix))
}

fn public_key(text: &str) -> Result<KeyData, String> {
    let (kind, _) = word(text);
    if kind == "ssh-rsa" || kind == "ssh-dss" || kind == "ecdsa-sha2-nistp521" {
        return Err(format!("keys of type `{kind}` are not taken: make one with `ssh-keygen -t ed25519`"));
    }
    match PublicKey::from_openssh(text) {
        Ok(key) => Ok(key.key_data().clone()),
        Err(why) if is_key_type(kind) => Err(format!("the `{kind}` key cannot be read: {why}")),
        Err(_) => Err("no key follows: write `NAME ssh-ed25519 AAAA...`".to_owned()),
    }
}

/// The word before the first space outside quotes, and what follows.
fn word(text: &str) -> (&str, &str) {
    let mut parts = split_unquoted(text, ' ');
    let first = parts.next().unwrap_or_default();
    (first, text[first.len()..].trim_start())
}

/// Splits at `by`, but not between quotes.
fn split_unquoted(text: &str, by: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let is_end = move |c: char| {
        is_quoted ^= c == '"';
        !is_quoted && (c == by || by == ' ' && c == '\t')
    };
    text.split(is_end).filter(|part| !part.is_empty())
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, a `Z` may follow; UTC in any case, so that all replicas agree.
fn time_ms(text: &str) -> Result<i64, String> {
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let wrong = || format!("`{text}` is no time: write YYYYMMDD or YYYYMMDDHHMMSS, UTC");
    if !matches!(digits.len(), 8 | 12 | 14) {
        return Err(wrong());
    }
    let full = format!("{digits:0<14}");
    let time = DateTime::strptime("%Y%m%d%H%M%S", &full).map_err(|_| wrong())?;
    let zoned = time.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
    Ok(zoned.timestamp().as_millisecond())
}

fn fingerprint_of(line: &str) -> Result<String, String> {
    if line.starts_with("SHA256:") {
        let (text, _) = word(line);
        let parsed: Fingerprint = text.parse().map_err(|why| format!("the fingerprint cannot be read: {why}"))?;
        return Ok(parsed.to_string());
    }
    let key = if is_key_type(word(line).0) { line } else { word(line).1 };
    match PublicKey::from_openssh(key) {
        Ok(key) => Ok(key.fingerprint(HashAlg::Sha256).to_string()),
        Err(_) => Err("it is neither a public key nor a fingerprint `SHA256:...`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn lines_are_read_or_told() {
        for (line, told, why) in [
            (format!("ann@x {ANN}"), None, "the plain form"),
            (format!("ann@x,ann {ANN} a comment"), None, "several names are one person"),
            (format!("ann@x namespaces=\"git,file\" {ANN}"), None, "an option"),
            (format!("ann@x namespaces=\"git\",valid-before=\"20300101\" {ANN}"), None, "two options"),
            (format!("# nobody\n\n  ann@x\t{ANN}"), None, "comments, tabs"),
            (String::new(), Some("names nobody"), "an empty list lets nobody sign"),
            (format!("*@x {ANN}"), Some("no one person"), "a pattern"),
            (format!("ann@x cert-authority {ANN}"), Some("line 1: certificate authorities"), "a certificate"),
            (format!("ann@x valid-until=\"20300101\" {ANN}"), Some("`valid-until` is no option"), "a typing error"),
            (format!("ann@x valid-before=\"soon\" {ANN}"), Some("`soon` is no time"), "no time"),
            ("ann@x".to_owned(), Some("no key follows"), "no key"),
            ("ann@x ssh-ed25519 AAAA".to_owned(), Some("cannot be read"), "half a key"),
            ("ann@x ssh-rsa AAAA".to_owned(), Some("`ssh-rsa` are not taken"), "a kind that is not read"),
        ] {
            let parsed = Signers::parse(&line, "").map(|_| ());
            match told {
                None => assert_eq!(parsed, Ok(()), "{why}"),
                Some(words) => assert!(parsed.as_ref().is_err_and(|e| e.contains(words)), "{why}: {parsed:?}"),
            }
        }
        assert!(Signers::parse(&format!("ann@x {ANN}"), "ann").is_err_and(|e| e.starts_with("revoked, line 1")));
    }

    #[test]
    fn a_key_counts_in_its_time_for_its_purpose_until_revoked() {
        let key = public_key(ANN).unwrap();
        let day = |text: &str| time_ms(text).unwrap();
        let line = format!("ann@x valid-after=\"20260101\",valid-before=\"20270101Z\" {ANN}");
        let signers = Signers::parse(&line, "").unwrap();
        let principal = || "ann@x".to_owned();
        assert_eq!(signers.whose(&key, &[day("20260601")]), Ok("ann@x"));
        assert_eq!(signers.whose(&key, &[day("20251231")]), Err(Unfit::Early { principal: principal() }));
        let both = [day("20260601"), day("202701010000")];
        assert_eq!(signers.whose(&key, &both), Err(Unfit::Late { principal: principal() }), "all times count");
        let files = Signers::parse(&format!("ann@x namespaces=\"file\" {ANN}"), "").unwrap();
        assert_eq!(files.whose(&key, &[]), Err(Unfit::NotForGit { principal: principal() }));
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        for revoked in [ANN, &fingerprint, &format!("ann@x {ANN}")] {
            let signers = Signers::parse(&format!("ann@x {ANN}"), revoked).unwrap();
            assert_eq!(signers.whose(&key, &[]), Err(Unfit::Revoked { fingerprint: fingerprint.clone() }), "{revoked}");
        }
    }
}
