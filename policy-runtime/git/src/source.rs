//! One branch of one repository: asked for its tip, fetched, accepted. It decides nothing about policies.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use git2::{ObjectType, Oid, Repository};

use crate::address::{self, Address};
use crate::follow::Follow;
use crate::mirror::{ACTIVE, CANDIDATE, Mirror};
use crate::program::{self, Call, Said, Token};
use crate::read::{self, Commit, Unread};
use crate::verify::{self, Candidate, VERIFIED, Verification, What};
use crate::{GitError, library, signature};

/// A fetch that takes longer is stopped.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// A question to a remote that takes longer is stopped.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Every fetch that brings something adds a pack; above this the mirror is tidied up.
const PACKS_MAX: usize = 50;

/// What of which repository, whose signatures count, and where the mirror of it is kept.
#[derive(Debug, Clone)]
pub struct GitOptions {
    /// A path, or a URL that begins with `file://`, `https://` or `ssh://`, or `user@host:path`.
    pub url: String,
    pub follow: Follow,
    pub verify: Verification,
    /// For `https://`; asked for before each use, so that it may change.
    pub token: Option<Token>,
    /// A folder of our own: made where absent, made anew where damaged or of another source.
    pub mirror_dir: PathBuf,
    /// The folder of the repository that is the root of the policies; `None` = all of it.
    pub subfolder: Option<String>,
    /// Take a branch that does not descend from the active commit.
    pub allow_rewind: bool,
}

/// A branch, a tag or a commit that is followed.
#[derive(Debug)]
pub struct GitSource {
    pub url: String,
    pub follow: Follow,
    pub verify: Verification,
    pub mirror_dir: PathBuf,
    pub subfolder: Option<String>,
    pub allow_rewind: bool,
    /// The program that fetches; found in `PATH` where it is a plain name.
    pub program: PathBuf,
    pub fetch_timeout: Duration,
    pub ask_timeout: Duration,
    /// Milliseconds since 1970, for the time of signatures.
    pub clock: fn() -> i64,
    token: Option<Token>,
    address: Address,
    parts: Vec<String>,
    mirror: Mirror,
    /// The tip as it was seen last.
    pub(crate) tip: Option<String>,
    /// A commit that can never be taken, and why: it is not fetched again.
    refused: Option<(String, GitError)>,
}

/// Checks the options and makes the mirror. The repository itself is not asked yet.
pub fn open(options: GitOptions) -> Result<GitSource, GitError> {
    let GitOptions { url, follow, verify, token, mirror_dir, subfolder, allow_rewind } = options;
    let address = Address::parse(&url)?;
    follow.check()?;
    if let Verification::On(rules) = &verify {
        let wants_tag = rules.what == What::Tag && !matches!(follow, Follow::Tag(_));
        let checked =
            if wants_tag { Err(format!("what: tag, but {follow} is followed: set `tag`")) } else { rules.check() };
        checked.map_err(|why| GitError::Rules { why })?;
    }
    let parts = address::folder_parts(subfolder.as_deref().unwrap_or_default())?;
    let mirror_dir = std::path::absolute(&mirror_dir)
        .map_err(|why| GitError::Mirror { path: mirror_dir.display().to_string(), why: why.to_string() })?;
    library::prepare().map_err(|why| GitError::Mirror { path: mirror_dir.display().to_string(), why })?;
    let place = match &address {
        Address::Local(path) => path.display().to_string(),
        Address::Remote { url, .. } => url.clone(),
    };
    let mirror = Mirror::open(&mirror_dir, format!("{place}\n{follow}\n"))?;
    Ok(GitSource {
        url,
        follow,
        verify,
        mirror_dir,
        subfolder,
        allow_rewind,
        program: "git".into(),
        fetch_timeout: FETCH_TIMEOUT,
        ask_timeout: ASK_TIMEOUT,
        clock: now_ms,
        token,
        address,
        parts,
        mirror,
        tip: None,
        refused: None,
    })
}

impl GitSource {
    /// The same as the function `open`.
    pub fn open(options: GitOptions) -> Result<GitSource, GitError> {
        open(options)
    }

    /// Fetches the branch and reads its tip. What the mirror lacks through damage is fetched anew.
    pub fn fetch(&mut self) -> Result<Commit, GitError> {
        if let (Some((commit, error)), Some(tip)) = (&self.refused, &self.tip)
            && commit == tip
            && !(self.allow_rewind && matches!(error, GitError::Rewind { .. }))
        {
            return Err(error.clone());
        }
        let fetched = match self.fetch_into(&self.mirror) {
            Err(Failed::Here(error)) => self.fetch_anew(error),
            Err(Failed::Content(error) | Failed::Stopped(error)) => Err(error),
            Ok(commit) => Ok(commit),
        };
        self.refused = fetched.as_ref().err().and_then(never_taken);
        if fetched.is_ok() && program::packs(&self.mirror.dir).0 > PACKS_MAX {
            self.tidy();
        }
        fetched
    }

    /// Marks a fetched commit as the active one: the next must descend from it, and a restart begins with it.
    pub fn accept(&mut self, commit: &str) -> Result<(), GitError> {
        let unknown = || GitError::UnknownCommit { commit: commit.chars().take(64).collect() };
        let id = Oid::from_str(commit).map_err(|_| unknown())?;
        let repository = self.mirror.repository()?;
        repository.find_commit(id).map_err(|_| unknown())?;
        self.mirror.set(&repository, ACTIVE, id)?;
        if let Verification::On(_) = &self.verify {
            self.mirror.set(&repository, VERIFIED, id)?;
        }
        // What was a rewind of the one before may be none of this.
        self.refused = None;
        Ok(())
    }

    /// The commit that was accepted last, from the mirror alone: for a start while the git host is away.
    pub fn active(&self) -> Result<Option<Commit>, GitError> {
        let damaged = |why| GitError::Damaged { path: self.mirror.dir.display().to_string(), why };
        let Some(id) = self.mirror.active() else {
            return match self.mirror.dir.join(ACTIVE).exists() {
                true => Err(damaged("the record of the accepted commit is no commit id".to_owned())),
                false => Ok(None),
            };
        };
        let repository = self.mirror.repository()?;
        match read::commit(&repository, id, &self.parts) {
            Ok(commit) => Ok(Some(commit)),
            Err(Unread::Refused(error)) => Err(error),
            Err(Unread::Damaged(why)) => Err(damaged(why)),
        }
    }

    pub(crate) fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// One fetch into a mirror, and everything that must hold of its result.
    fn fetch_into(&self, mirror: &Mirror) -> Result<Commit, Failed> {
        self.fetch_candidate(mirror)?;
        let broken = |why: git2::Error| Failed::Here(mirror.damaged(&why));
        let repository = mirror.repository().map_err(Failed::Here)?;
        let object = repository.refname_to_id(CANDIDATE).map_err(broken)?;
        let peeled = repository.find_object(object, None).and_then(|o| o.peel(ObjectType::Commit));
        let candidate = peeled.map_err(broken)?.id();
        // A commit that the settings name is meant, wherever it stands.
        let is_pinned = matches!(self.follow, Follow::Commit(_));
        if let Some(active) = mirror.active()
            && active != candidate
            && !(self.allow_rewind || is_pinned)
            && !repository.graph_descendant_of(candidate, active).map_err(broken)?
        {
            return Err(Failed::Stopped(rewind(active, candidate)));
        }
        let signers = self.verified(&repository, Some(object), candidate, is_pinned).map_err(Failed::Content)?;
        self.read(&repository, candidate, signers).map_err(|error| match error {
            GitError::Damaged { .. } => Failed::Here(error),
            refused => Failed::Content(refused),
        })
    }

    /// Who signed, where signatures are required. `object` is what the followed ref points to.
    pub(crate) fn verified(
        &self,
        repository: &Repository,
        object: Option<Oid>,
        commit: Oid,
        is_asked: bool,
    ) -> Result<Vec<String>, GitError> {
        let Verification::On(rules) = &self.verify else { return Ok(Vec::new()) };
        let tag = object.and_then(|id| signature::tag(repository, id));
        let followed = match &self.follow {
            Follow::Tag(name) => tag.map(|tag| (tag, name.as_str())),
            Follow::Branch(_) | Follow::Commit(_) => None,
        };
        let base = repository.refname_to_id(VERIFIED).ok().filter(|_| !is_asked);
        let (folder, now_ms) = (&*self.parts, (self.clock)());
        let of = Candidate { tip: commit, tag: followed, base, folder, now_ms, is_asked };
        verify::verify(repository, rules, &of).map(|signers| signers.into_iter().collect())
    }

    /// The files of a commit that was verified.
    pub(crate) fn read(&self, from: &Repository, id: Oid, signers: Vec<String>) -> Result<Commit, GitError> {
        match read::commit(from, id, &self.parts) {
            Ok(mut commit) => {
                commit.tree.signers = signers;
                Ok(commit)
            }
            Err(Unread::Refused(error)) => Err(error),
            Err(Unread::Damaged(why)) => Err(GitError::Damaged { path: from.path().display().to_string(), why }),
        }
    }

    /// A fetch failed: if the remote answers, the mirror is at fault, and a new one takes its place.
    fn fetch_anew(&mut self, error: GitError) -> Result<Commit, GitError> {
        // What is wrong with the remote is told better by this than by the fetch.
        self.head()?;
        let fresh = self.mirror.fresh()?;
        let fetched = self.fetch_into(&fresh);
        let carried = match &fetched {
            // The new one does no better: what was wrong at first is what is wrong.
            Err(Failed::Here(_)) => Err(error),
            Err(Failed::Stopped(stopped)) => Err(stopped.clone()),
            Err(Failed::Content(_)) | Ok(_) => self.carry_active(&fresh),
        };
        if let Err(error) = carried {
            self.mirror.remove(&fresh.dir)?;
            return Err(error);
        }
        self.mirror.replace_by(&fresh)?;
        tracing::warn!(mirror = %self.mirror.dir.display(), "the mirror of the policies was damaged and was made anew");
        fetched.map_err(Failed::error)
    }

    /// Takes the accepted commit over: from the history just fetched, or else from the damaged mirror.
    fn carry_active(&self, fresh: &Mirror) -> Result<(), GitError> {
        let Some(active) = self.mirror.active() else { return Ok(()) };
        let repository = fresh.repository()?;
        if let Some(verified) = self.mirror.plain(VERIFIED).filter(|id| repository.find_commit(*id).is_ok()) {
            fresh.set(&repository, VERIFIED, verified)?;
        }
        let candidate = repository.refname_to_id(CANDIDATE).map_err(|why| fresh.damaged(&why))?;
        let descends = repository.find_commit(active).is_ok()
            && repository.graph_descendant_of(candidate, active).is_ok_and(|d| d);
        if descends || candidate == active {
            return fresh.set(&repository, ACTIVE, active);
        }
        if !self.allow_rewind {
            return Err(rewind(active, candidate));
        }
        let refspec = format!("+{ACTIVE}:{ACTIVE}");
        if self.git_fetch(fresh, self.mirror.dir.clone().into(), vec![refspec]).is_err() {
            tracing::warn!(%active, "the accepted commit was lost with the damaged mirror; rewinds are allowed, so it is given up");
        }
        Ok(())
    }

    /// Repacks the mirror, or makes it anew where that fails. A fetch that went well stays well.
    fn tidy(&mut self) {
        let args = ["gc", "--quiet", "--prune=now"].map(OsString::from).to_vec();
        let why = match self.git(Some(&self.mirror), "tidy up the mirror", self.fetch_timeout, args) {
            Ok(said) if said.ok => return,
            Ok(said) => said.why,
            Err(error) => error.to_string(),
        };
        tracing::warn!(why, "the mirror of the policies cannot be tidied up, it is made anew");
        if let Err(error) = self.fetch_anew(self.mirror.wrong(why)) {
            tracing::warn!(%error, "the mirror of the policies cannot be made anew");
        }
    }

    pub(crate) fn git(
        &self,
        mirror: Option<&Mirror>,
        what: &'static str,
        timeout: Duration,
        args: Vec<OsString>,
    ) -> Result<Said, GitError> {
        let protocol = match &self.address {
            Address::Local(_) => "file",
            Address::Remote { protocol, .. } => protocol,
        };
        let repository = mirror.map(|m| &*m.dir);
        let token = self.token.as_ref().filter(|_| protocol == "https").map(Token::read).transpose();
        let token = token.map_err(|why| GitError::Token { url: self.url.clone(), why })?;
        program::run(&Call { program: &self.program, repository, url: &self.url, protocol, token, args, timeout, what })
    }

    pub(crate) fn place(&self) -> OsString {
        match &self.address {
            Address::Local(path) => path.clone().into(),
            Address::Remote { url, .. } => url.into(),
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn unreachable(&self, why: &str) -> GitError {
        let url = self.url.clone();
        match why.contains("dubious ownership") {
            true => GitError::Owner { url },
            false => GitError::Unreachable { url, why: why.to_owned() },
        }
    }
}

/// Why one fetch gave no commit, by what is to be done.
pub(crate) enum Failed {
    /// The mirror may be at fault.
    Here(GitError),
    /// The mirror is fine, the commit is not.
    Content(GitError),
    /// Nothing that a new mirror would change.
    Stopped(GitError),
}

impl Failed {
    pub(crate) fn error(self) -> GitError {
        match self {
            Failed::Here(error) | Failed::Content(error) | Failed::Stopped(error) => error,
        }
    }
}

/// The commit that an error is about, where it will be the same as long as the branch points there.
fn never_taken(error: &GitError) -> Option<(String, GitError)> {
    match error {
        GitError::Refused { commit, .. }
        | GitError::NoSubfolder { commit, .. }
        | GitError::Rewind { candidate: commit, .. } => Some((commit.clone(), error.clone())),
        GitError::Unverified { commit, doubt } if !doubt.may_pass() => Some((commit.clone(), error.clone())),
        GitError::Program { .. }
        | GitError::Address { .. }
        | GitError::Branch { .. }
        | GitError::Tag { .. }
        | GitError::NoTag { .. }
        | GitError::CommitId { .. }
        | GitError::Rules { .. }
        | GitError::NoCommit { .. }
        | GitError::Token { .. }
        | GitError::Bundle { .. }
        | GitError::Unverified { .. }
        | GitError::Subfolder { .. }
        | GitError::Unreachable { .. }
        | GitError::Owner { .. }
        | GitError::Empty { .. }
        | GitError::NoBranch { .. }
        | GitError::Timeout { .. }
        | GitError::TooLarge { .. }
        | GitError::Mirror { .. }
        | GitError::Damaged { .. }
        | GitError::UnknownCommit { .. } => None,
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

fn rewind(active: Oid, candidate: Oid) -> GitError {
    GitError::Rewind { active: active.to_string(), candidate: candidate.to_string() }
}
