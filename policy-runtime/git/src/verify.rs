//! Whether a commit may become a revision: signed by whom the gateway's own settings trust, and nothing smuggled below.
//!
//! The rules come from `tollgate.yaml` alone; nothing that a candidate holds can loosen them.

use std::collections::BTreeSet;
use std::sync::Arc;

use git2::{Oid, Repository};

use crate::GitError;
use crate::signature::{self, SignedTag};
use crate::signers::Signers;

/// Where tags are fetched to, when they may hold approvals.
pub(crate) const TAGS: &str = "refs/tollgate/tags/";
/// The last commit that was accepted while signatures were required.
pub(crate) const VERIFIED: &str = "refs/tollgate/verified";
/// No range is longer: set `since` to a later commit.
const RANGE_MAX: usize = 50_000;
/// Clocks of authors may run ahead of ours by so much.
const AHEAD_MAX_MS: i64 = 3_600_000;

/// What carries the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The newest commit: whoever signs it vouches for all files.
    Commit,
    /// The annotated tag that is followed.
    Tag,
    /// Every commit on the first-parent line that changed the policies since the last accepted one.
    Range,
}

/// Below this folder the named signers may change files, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    pub path: String,
    pub signers: BTreeSet<String>,
}

/// What must hold of a commit.
#[derive(Debug, Clone)]
pub struct Rules {
    pub what: What,
    pub signers: Signers,
    /// So many different people must have signed the newest commit: itself, or a tag on it.
    pub approvals: usize,
    /// A commit that is known to be good: where a range begins, and below which nothing is taken.
    pub since: Option<String>,
    /// A newest commit that is older is not taken: somebody may be withholding newer ones.
    pub max_age_ms: Option<i64>,
    pub folders: Vec<Folder>,
}

impl Rules {
    /// The error says what is missing or contradicts, and what to do.
    pub fn check(&self) -> Result<(), String> {
        let people = self.signers.principals();
        if self.approvals == 0 || self.approvals > people.len() {
            let (approvals, people) = (self.approvals, people.len());
            return Err(format!("approvals: {approvals} of {people} signers cannot be had: give 1 to {people}"));
        }
        if let Some(since) = &self.since
            && !(since.len() == 40 && Oid::from_str(since).is_ok())
        {
            return Err(format!("since: `{since}` is no commit id: give all 40 digits"));
        }
        if !self.folders.is_empty() && self.what != What::Range {
            return Err("folders: who may change a folder is told of every commit: set `what: range`".to_owned());
        }
        for folder in &self.folders {
            if folder.signers.is_empty() {
                return Err(format!("folders: `{}` has no signers", folder.path));
            }
            if let Some(unknown) = folder.signers.iter().find(|name| !people.contains(name.as_str())) {
                return Err(format!("folders: `{unknown}` of `{}` is none of the signers", folder.path));
            }
        }
        Ok(())
    }

    pub(crate) fn wants_tags(&self) -> bool {
        self.approvals > 1 || self.what == What::Tag
    }

    /// Who is named for folders may change only these; all others may change everything.
    fn may_change(&self, signer: &str, path: &str) -> bool {
        let mut own = self.folders.iter().filter(|f| f.signers.contains(signer)).peekable();
        own.peek().is_none() || own.any(|f| path.strip_prefix(&*f.path).is_some_and(|rest| rest.starts_with('/')))
    }
}

/// Whether signatures are required. There is no default: who opens a source says it.
#[derive(Debug, Clone)]
pub enum Verification {
    Off,
    On(Arc<Rules>),
}

/// Why a commit is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Doubt {
    #[error("it is not signed [TG0801]")]
    Unsigned,
    #[error("its signature cannot be taken: {why} [TG0802]")]
    Broken { why: String },
    #[error("it is signed with the key {fingerprint}, which is no signer's [TG0803]")]
    Stranger { fingerprint: String },
    #[error("{why} [TG0804]")]
    Unfit { why: String },
    #[error("{have} of {want} approvals are there{by}: another signer tags it, `git tag -s NAME {commit}` [TG0805]")]
    Approvals { have: usize, want: usize, by: String, commit: String },
    #[error("{signer} may not change `{path}` [TG0806]")]
    Folder { signer: String, path: String },
    #[error("it is {age_h} h old, above the bound of {max_h} h: newer commits may be withheld [TG0807]")]
    Frozen { age_h: i64, max_h: i64 },
    #[error("its history does not lead back to `since`, {since} [TG0808]")]
    Since { since: String },
    #[error("its time is {ahead_s} s ahead of this machine's clock [TG0809]")]
    Ahead { ahead_s: i64 },
}

impl Doubt {
    /// True where the same commit may be taken later.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Doubt::Approvals { .. } | Doubt::Ahead { .. })
    }
}

/// What is to be verified, and against what.
pub(crate) struct Candidate<'a> {
    pub tip: Oid,
    /// The tag that is followed, where one is.
    pub tag: Option<(SignedTag, &'a str)>,
    /// The last commit that was verified and accepted; `None` for what is asked for by name.
    pub base: Option<Oid>,
    /// The folder of the policies.
    pub folder: &'a [String],
    pub now_ms: i64,
    /// An operator asks for this commit by name: its age says nothing.
    pub is_asked: bool,
}

/// Everybody who signed, or the commit and why it is not taken.
pub(crate) fn verify(from: &Repository, rules: &Rules, of: &Candidate<'_>) -> Result<BTreeSet<String>, GitError> {
    let look = Look { from, rules, of };
    let mut signers = match rules.what {
        What::Commit => BTreeSet::from([look.commit(of.tip, look.is_new())?]),
        What::Tag => BTreeSet::from([look.tag()?]),
        What::Range => look.range()?,
    };
    look.since()?;
    look.age()?;
    if rules.approvals > 1 {
        signers = look.approved()?;
    }
    Ok(signers)
}

struct Look<'a> {
    from: &'a Repository,
    rules: &'a Rules,
    of: &'a Candidate<'a>,
}

impl Look<'_> {
    fn doubt(&self, commit: Oid, doubt: Doubt) -> GitError {
        GitError::Unverified { commit: commit.to_string(), doubt }
    }

    fn broken(&self, why: &git2::Error) -> GitError {
        GitError::Damaged { path: self.from.path().display().to_string(), why: why.message().to_owned() }
    }

    /// It comes to a gateway that runs: its keys must count now as well.
    fn is_new(&self) -> bool {
        self.of.base.is_some_and(|base| base != self.of.tip)
    }

    /// The signer of one commit. What is new must be signed by a key that counts now as well.
    fn commit(&self, id: Oid, is_new: bool) -> Result<String, GitError> {
        let commit = self.from.find_commit(id).map_err(|why| self.broken(&why))?;
        let times = self.times(commit.time().seconds().saturating_mul(1_000), is_new, id)?;
        signature::of_commit(self.from, id, &self.rules.signers, &times).map_err(|doubt| self.doubt(id, doubt))
    }

    fn times(&self, made_ms: i64, is_new: bool, id: Oid) -> Result<Vec<i64>, GitError> {
        let ahead_ms = made_ms.saturating_sub(self.of.now_ms);
        if ahead_ms > AHEAD_MAX_MS {
            return Err(self.doubt(id, Doubt::Ahead { ahead_s: ahead_ms / 1_000 }));
        }
        Ok(if is_new { vec![made_ms, self.of.now_ms] } else { vec![made_ms] })
    }

    /// The signer of the followed tag, or of any tag on a commit that was asked for.
    fn tag(&self) -> Result<String, GitError> {
        let tip = self.of.tip;
        if let Some((tag, name)) = &self.of.tag {
            if tag.name != *name {
                let why = format!("it was made for the tag `{}`, not for `{name}`", tag.name);
                return Err(self.doubt(tip, Doubt::Broken { why }));
            }
            let times = self.times(tag.time_ms, self.is_new(), tip)?;
            return signature::of_tag(tag, &self.rules.signers, &times).map_err(|doubt| self.doubt(tip, doubt));
        }
        if !self.of.is_asked {
            // The followed tag has no object of its own: it is a name that anybody can move.
            return Err(self.doubt(tip, Doubt::Unsigned));
        }
        self.tags()?.into_iter().next().ok_or_else(|| self.doubt(tip, Doubt::Unsigned))
    }

    /// Everybody who signed a tag on the newest commit. A tag that does not count is passed over: anybody may push one.
    fn tags(&self) -> Result<BTreeSet<String>, GitError> {
        let mut found = BTreeSet::new();
        let tags = self.from.references_glob(&format!("{TAGS}*")).map_err(|why| self.broken(&why))?;
        for id in tags.flatten().filter_map(|reference| reference.target()) {
            let Some(tag) = signature::tag(self.from, id).filter(|tag| tag.commit == self.of.tip) else { continue };
            let Ok(times) = self.times(tag.time_ms, self.is_new(), id) else { continue };
            found.extend(signature::of_tag(&tag, &self.rules.signers, &times).ok());
        }
        Ok(found)
    }

    /// Walks back from the newest commit. The last commit that changed the policies is always looked at, so that
    /// a signer who was struck off since vouches for nothing.
    fn range(&self) -> Result<BTreeSet<String>, GitError> {
        let (mut signers, mut at) = (BTreeSet::new(), self.of.tip);
        let mut is_new = self.of.base.is_some();
        for _ in 0..RANGE_MAX {
            is_new &= self.of.base != Some(at);
            let is_known = self.of.base.is_some() && !is_new;
            if self.is_since(at) || is_known && !signers.is_empty() {
                return Ok(signers);
            }
            let commit = self.from.find_commit(at).map_err(|why| self.broken(&why))?;
            let parent = commit.parent_id(0).ok();
            if self.folder_of(Some(at))? != self.folder_of(parent)? {
                let signer = self.commit(at, is_new)?;
                self.check_folders(&signer, parent, at)?;
                signers.insert(signer);
            }
            match parent {
                Some(parent) => at = parent,
                None => return Ok(signers),
            }
        }
        let why = format!("more than {RANGE_MAX} commits lead to it: set `since` to a later one");
        Err(self.doubt(self.of.tip, Doubt::Broken { why }))
    }

    fn is_since(&self, id: Oid) -> bool {
        self.rules.since.as_ref().is_some_and(|since| *since == id.to_string())
    }

    fn since(&self) -> Result<(), GitError> {
        let Some(since) = &self.rules.since else { return Ok(()) };
        let is_below = self.is_since(self.of.tip)
            || Oid::from_str(since).is_ok_and(|id| self.from.graph_descendant_of(self.of.tip, id).unwrap_or(false));
        if is_below { Ok(()) } else { Err(self.doubt(self.of.tip, Doubt::Since { since: since.clone() })) }
    }

    fn age(&self) -> Result<(), GitError> {
        let commit = self.from.find_commit(self.of.tip).map_err(|why| self.broken(&why))?;
        let made_ms = match &self.of.tag {
            Some((tag, _)) => tag.time_ms,
            None => commit.time().seconds().saturating_mul(1_000),
        };
        match stale(self.rules, made_ms, self.of.now_ms) {
            Some(doubt) if !self.of.is_asked => Err(self.doubt(self.of.tip, doubt)),
            Some(_) | None => Ok(()),
        }
    }

    /// Everybody who vouches for the newest commit, where they are enough.
    fn approved(&self) -> Result<BTreeSet<String>, GitError> {
        let tip = self.of.tip;
        let mut by = self.tags()?;
        // In a range the newest commit may need no signature of its own: one that does not count adds nobody.
        by.extend(self.commit(tip, self.is_new()).ok());
        if let Some((tag, _)) = &self.of.tag {
            let times = self.times(tag.time_ms, self.is_new(), tip)?;
            by.extend(signature::of_tag(tag, &self.rules.signers, &times).ok());
        }
        by.retain(|signer| self.check_folders(signer, self.of.base, tip).is_ok());
        if by.len() >= self.rules.approvals {
            return Ok(by);
        }
        let names = by.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let told = if names.is_empty() { names } else { format!(", by {names}") };
        let (have, want, commit) = (by.len(), self.rules.approvals, tip.to_string());
        Err(self.doubt(tip, Doubt::Approvals { have, want, by: told, commit }))
    }

    fn check_folders(&self, signer: &str, before: Option<Oid>, after: Oid) -> Result<(), GitError> {
        if self.rules.folders.is_empty() {
            return Ok(());
        }
        for path in self.changed(before, after)? {
            if !self.rules.may_change(signer, &path) {
                return Err(self.doubt(after, Doubt::Folder { signer: signer.to_owned(), path }));
            }
        }
        Ok(())
    }

    /// Files that differ between two commits, named from the folder of the policies.
    fn changed(&self, before: Option<Oid>, after: Oid) -> Result<BTreeSet<String>, GitError> {
        let tree = |commit: Option<Oid>| {
            let Some(id) = self.folder_of(commit)? else { return Ok(None) };
            self.from.find_tree(id).map(Some).map_err(|why| self.broken(&why))
        };
        let (before, after) = (tree(before)?, tree(Some(after))?);
        let diff = self.from.diff_tree_to_tree(before.as_ref(), after.as_ref(), None);
        let diff = diff.map_err(|why| self.broken(&why))?;
        let files = diff.deltas().flat_map(|delta| [delta.old_file().path_bytes(), delta.new_file().path_bytes()]);
        Ok(files.flatten().map(|path| String::from_utf8_lossy(path).into_owned()).collect())
    }

    /// The tree of the policies in a commit; `None` where it has none.
    fn folder_of(&self, commit: Option<Oid>) -> Result<Option<Oid>, GitError> {
        let Some(commit) = commit else { return Ok(None) };
        let commit = self.from.find_commit(commit).map_err(|why| self.broken(&why))?;
        let mut at = commit.tree_id();
        for part in self.of.folder {
            let tree = self.from.find_tree(at).map_err(|why| self.broken(&why))?;
            match tree.get_name(part).filter(|e| e.kind() == Some(git2::ObjectType::Tree)) {
                Some(entry) => at = entry.id(),
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }
}

/// The age alone, of what was verified before.
pub(crate) fn check_age(rules: &Rules, made_ms: i64, now_ms: i64, commit: Oid) -> Result<(), GitError> {
    match stale(rules, made_ms, now_ms) {
        Some(doubt) => Err(GitError::Unverified { commit: commit.to_string(), doubt }),
        None => Ok(()),
    }
}

/// Whether what was made then is too old now.
fn stale(rules: &Rules, made_ms: i64, now_ms: i64) -> Option<Doubt> {
    let (age, max) = (now_ms.saturating_sub(made_ms), rules.max_age_ms?);
    (age > max).then_some(Doubt::Frozen { age_h: age / 3_600_000, max_h: max / 3_600_000 })
}
