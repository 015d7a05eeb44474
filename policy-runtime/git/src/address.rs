//! Where a repository is: parsed from text that may be hostile, into what can be handed to `git` as an argument.

use std::path::{Path, PathBuf, absolute};

use crate::GitError;

/// No address or name is longer.
const TEXT_MAX: usize = 2_048;

/// A place that `git` can fetch from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A bare repository, a checkout or its `.git`; read directly.
    Local(PathBuf),
    /// Over the network; always through the program `git`.
    Remote { url: String, protocol: &'static str },
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Address, GitError> {
        let wrong = |why: &str| GitError::Address { url: printable(url), why: why.to_owned() };
        if url.is_empty() || url.len() > TEXT_MAX || url.chars().any(char::is_control) {
            return Err(wrong("it must be 1 to 2048 characters without control characters"));
        }
        if url.starts_with('-') {
            return Err(wrong("it must not begin with `-`"));
        }
        match url.split_once("://") {
            Some(("file", rest)) => {
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                if !path.starts_with('/') {
                    return Err(wrong("write it as `file:///path/to/repository`"));
                }
                let path = decoded(path).ok_or_else(|| wrong("its `%` escapes are broken"))?;
                Ok(Address::Local(PathBuf::from(path)))
            }
            Some((scheme @ ("https" | "ssh"), rest)) => {
                let (authority, _) = rest.split_once('/').ok_or_else(|| wrong("it names no repository on the host"))?;
                check_authority(authority).map_err(wrong)?;
                let protocol = if scheme == "ssh" { "ssh" } else { "https" };
                Ok(Address::Remote { url: url.to_owned(), protocol })
            }
            Some(_) => Err(wrong("only `https://`, `ssh://`, `file://` and plain paths are understood")),
            None => match scp_like(url) {
                Some((authority, path)) => {
                    check_authority(authority).map_err(wrong)?;
                    // `ext::command` is git's way to name a helper that runs anything.
                    if path.is_empty() || path.starts_with(['-', ':']) {
                        return Err(wrong("the path behind `:` must not be empty or begin with `-` or `:`"));
                    }
                    Ok(Address::Remote { url: url.to_owned(), protocol: "ssh" })
                }
                None => {
                    let path = absolute(Path::new(url)).map_err(|why| wrong(&why.to_string()))?;
                    Ok(Address::Local(path))
                }
            },
        }
    }
}

/// `git@host:path`: a colon before any slash, as git itself takes it.
fn scp_like(url: &str) -> Option<(&str, &str)> {
    let (authority, path) = url.split_once(':')?;
    (!authority.contains('/') && !authority.is_empty()).then_some((authority, path))
}

/// User and host reach the command line of `ssh`; a password would reach process lists and logs.
fn check_authority(authority: &str) -> Result<(), &'static str> {
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() || host.starts_with('-') || user.starts_with('-') {
        return Err("user and host must not be empty or begin with `-`");
    }
    if user.contains(':') {
        return Err("it holds a password, which process lists would show: use a git credential helper, or ssh");
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]~+".contains(&b);
    if !host.bytes().all(plain) || !user.bytes().all(plain) {
        return Err("user and host may hold letters, digits and `-._` only");
    }
    Ok(())
}

/// The address as it may be told: a password in it is left out.
fn printable(url: &str) -> String {
    let shown: String = url.chars().filter(|c| !c.is_control()).take(200).collect();
    match shown.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?))) {
        Some((scheme, (user, host))) => {
            format!("{scheme}://{}@{host}", user.split(':').next().unwrap_or_default())
        }
        None => shown,
    }
}

/// Percent escapes as in any URL; `None` where they are broken or give no UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?].map(|b| char::from(b).to_digit(16));
        let value = u8::try_from(digits[0]? * 16 + digits[1]?).ok()?;
        if value == 0 {
            return None;
        }
        bytes.push(value);
    }
    String::from_utf8(bytes).ok()
}

/// A branch must be a name that git takes, and nothing that a command line or a refspec takes for something else.
pub(crate) fn check_branch(branch: &str) -> Result<(), GitError> {
    let wrong = |why: &str| {
        let shown = branch.chars().filter(|c| !c.is_control()).take(200).collect();
        Err(GitError::Branch { branch: shown, why: why.to_owned() })
    };
    if branch.starts_with('-') {
        return wrong("it must not begin with `-`");
    }
    if branch.starts_with("refs/") {
        return wrong("give the name alone, as in `main`");
    }
    if branch.len() > TEXT_MAX || !git2::Reference::is_valid_name(&format!("refs/heads/{branch}")) {
        return wrong("spaces, `..`, `~`, `^`, `:`, `?`, `*`, `[`, `\\` and control characters cannot be in it");
    }
    Ok(())
}

/// The parts of a folder inside the repository.
pub(crate) fn folder_parts(subfolder: &str) -> Result<Vec<String>, GitError> {
    let wrong =
        |why: &str| GitError::Subfolder { subfolder: subfolder.chars().take(200).collect(), why: why.to_owned() };
    if subfolder.starts_with('/') {
        return Err(wrong("it must be relative to the root of the repository"));
    }
    if subfolder.len() > TEXT_MAX || subfolder.chars().any(|c| c.is_control() || c == '\\') {
        return Err(wrong("control characters and `\\` cannot be in it"));
    }
    let parts: Vec<String> = subfolder.split('/').filter(|p| !p.is_empty() && *p != ".").map(str::to_owned).collect();
    if parts.iter().any(|part| part == "..") {
        return Err(wrong("`..` cannot be in it"));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_place_or_refused() {
        let remote = |url: &str, protocol| Some(Address::Remote { url: url.to_owned(), protocol });
        let local = |path: &str| Some(Address::Local(PathBuf::from(path)));
        for (url, parsed, why) in [
            ("/srv/p.git", local("/srv/p.git"), "a path"),
            ("file:///srv/p%20q.git", local("/srv/p q.git"), "a file URL, escapes undone as git does"),
            ("file://localhost/srv/p.git", local("/srv/p.git"), "this host"),
            ("file://other/srv/p.git", None, "another host's files are not here"),
            ("file:///srv/%00", None, "no path holds a zero byte"),
            ("https://git.example/p.git", remote("https://git.example/p.git", "https"), "https"),
            ("https://me:secret@git.example/p.git", None, "a password would be shown by `ps`"),
            ("ssh://git@git.example:22/p.git", remote("ssh://git@git.example:22/p.git", "ssh"), "ssh"),
            ("git@git.example:team/p.git", remote("git@git.example:team/p.git", "ssh"), "ssh, the short way"),
            ("ssh://-oProxyCommand=id/p", None, "an option for ssh"),
            ("-oProxyCommand=id:p", None, "an option for git"),
            ("--upload-pack=id", None, "an option for git"),
            ("host:-p", None, "an option for the program on the far side"),
            ("ext::sh -c id", None, "a remote helper that runs commands"),
            ("http://git.example/p.git", None, "anybody between could change policies"),
            ("git://git.example/p.git", None, "the same"),
            ("", None, "nothing"),
            ("/srv/p\n.git", None, "no control characters"),
        ] {
            assert_eq!(Address::parse(url).ok(), parsed, "{url:?}: {why}");
        }
        let told = Address::parse("https://me:secret@git.example/p.git").unwrap_err().to_string();
        assert!(!told.contains("secret"), "{told}");
    }

    #[test]
    fn a_branch_is_a_name_and_nothing_else() {
        for (branch, good, why) in [
            ("main", true, "plain"),
            ("team/policies", true, "with a slash"),
            ("", false, "empty"),
            ("-x", false, "an option"),
            ("--upload-pack=id", false, "an option"),
            ("main:refs/heads/other", false, "a refspec"),
            ("a..b", false, "a range"),
            ("*", false, "a pattern"),
            ("refs/heads/main", false, "would be looked for below `refs/heads` again"),
            ("main\n", false, "a control character"),
        ] {
            assert_eq!(check_branch(branch).is_ok(), good, "{branch:?}: {why}");
        }
    }

    #[test]
    fn a_subfolder_stays_inside() {
        for (subfolder, parts) in [
            ("policies", Some(vec!["policies"])),
            ("./a//b/", Some(vec!["a", "b"])),
            ("", Some(vec![])),
            ("../x", None),
            ("a/../../x", None),
            ("/etc", None),
            ("a\\b", None),
        ] {
            let parts = parts.map(|p| p.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(folder_parts(subfolder).ok(), parts, "{subfolder}");
        }
    }
}
