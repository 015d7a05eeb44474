//! One branch of one repository: asked for its tip, fetched, accepted. It decides nothing about policies.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use git2::{BranchType, ErrorCode, Oid, Repository};

use crate::address::{self, Address};
use crate::mirror::{ACTIVE, CANDIDATE, Mirror};
use crate::program::{self, Call, Said};
use crate::read::{self, Commit, Unread};
use crate::{GitError, library};

/// A fetch that takes longer is stopped.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// A question to a remote that takes longer is stopped.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Every fetch that brings something adds a pack; above this the mirror is tidied up.
const PACKS_MAX: usize = 50;
/// In messages, no more branches are named.
const NAMED_MAX: usize = 10;

/// Which branch of which repository, and where the mirror of it is kept.
#[derive(Debug, Clone, Default)]
pub struct GitOptions {
    /// A path, or a URL that begins with `file://`, `https://` or `ssh://`, or `user@host:path`.
    pub url: String,
    pub branch: String,
    /// A folder of our own: made where absent, made anew where damaged or of another source.
    pub mirror_dir: PathBuf,
    /// The folder of the repository that is the root of the policies; `None` = all of it.
    pub subfolder: Option<String>,
    /// Take a branch that does not descend from the active commit.
    pub allow_rewind: bool,
}

/// A branch that is followed.
#[derive(Debug)]
pub struct GitSource {
    pub url: String,
    pub branch: String,
    pub mirror_dir: PathBuf,
    pub subfolder: Option<String>,
    pub allow_rewind: bool,
    /// The program that fetches; found in `PATH` where it is a plain name.
    pub program: PathBuf,
    pub fetch_timeout: Duration,
    pub ask_timeout: Duration,
    address: Address,
    parts: Vec<String>,
    mirror: Mirror,
    /// The tip as it was seen last.
    tip: Option<String>,
    /// A commit that can never be taken, and why: it is not fetched again.
    refused: Option<(String, GitError)>,
}

/// Checks the options and makes the mirror. The repository itself is not asked yet.
pub fn open(options: GitOptions) -> Result<GitSource, GitError> {
    let GitOptions { url, branch, mirror_dir, subfolder, allow_rewind } = options;
    let address = Address::parse(&url)?;
    address::check_branch(&branch)?;
    let parts = address::folder_parts(subfolder.as_deref().unwrap_or_default())?;
    let mirror_dir = std::path::absolute(&mirror_dir)
        .map_err(|why| GitError::Mirror { path: mirror_dir.display().to_string(), why: why.to_string() })?;
    library::prepare().map_err(|why| GitError::Mirror { path: mirror_dir.display().to_string(), why })?;
    let place = match &address {
        Address::Local(path) => path.display().to_string(),
        Address::Remote { url, .. } => url.clone(),
    };
    let mirror = Mirror::open(&mirror_dir, format!("{place}\n{branch}\n"))?;
    Ok(GitSource {
        url,
        branch,
        mirror_dir,
        subfolder,
        allow_rewind,
        program: "git".into(),
        fetch_timeout: FETCH_TIMEOUT,
        ask_timeout: ASK_TIMEOUT,
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

    /// The commit that the branch points to now. Local repositories are read directly, which takes a fraction of a
    /// millisecond; others are asked over the network.
    pub fn head(&mut self) -> Result<String, GitError> {
        let tip = match &self.address {
            Address::Local(path) => match self.head_of(path)? {
                Some(tip) => tip,
                None => self.head_listed()?,
            },
            Address::Remote { .. } => self.head_listed()?,
        };
        self.tip = Some(tip.clone());
        Ok(tip)
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
        self.mirror.set_active(&repository, id)?;
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

    pub(crate) fn parts(&self) -> &[String] {
        &self.parts
    }

    /// Reads the ref with libgit2; `None` where the repository has a format that only git itself reads.
    fn head_of(&self, path: &Path) -> Result<Option<String>, GitError> {
        let repository = match Repository::open(path) {
            Ok(repository) => repository,
            Err(_) if path.join("HEAD").exists() || path.join(".git").exists() => return Ok(None),
            Err(_) => {
                let why = if path.exists() { "it is no git repository" } else { "there is no such folder" };
                return Err(GitError::Unreachable { url: self.url.clone(), why: why.to_owned() });
            }
        };
        match repository.refname_to_id(&format!("refs/heads/{}", self.branch)) {
            Ok(id) => Ok(Some(id.to_string())),
            Err(why) if why.code() == ErrorCode::NotFound => {
                let branches = repository.branches(Some(BranchType::Local));
                let names =
                    branches.into_iter().flatten().flatten().filter_map(|(branch, _)| {
                        Some(String::from_utf8_lossy(branch.name_bytes().ok()?).into_owned())
                    });
                Err(self.missing(names.collect()))
            }
            Err(_) => Ok(None),
        }
    }

    /// Asks for the branch as `git ls-remote` does; where it is missing, for the others too, to name them.
    fn head_listed(&self) -> Result<String, GitError> {
        let full = format!("refs/heads/{}", self.branch);
        let lines = self.listed(&full)?;
        if let Some((id, _)) = lines.iter().find(|(_, name)| *name == full) {
            return Ok(id.clone());
        }
        let names = self.listed("refs/heads/*")?;
        Err(self.missing(names.iter().filter_map(|(_, n)| n.strip_prefix("refs/heads/")).map(str::to_owned).collect()))
    }

    fn listed(&self, pattern: &str) -> Result<Vec<(String, String)>, GitError> {
        let args = ["ls-remote".into(), "--refs".into(), "--".into(), self.place(), pattern.into()];
        let said = self.git(None, "list the branches", self.ask_timeout, args.to_vec())?;
        if !said.ok {
            return Err(self.unreachable(&said.why));
        }
        let pair = |line: &str| line.split_once('\t').map(|(id, name)| (id.to_owned(), name.to_owned()));
        Ok(said.stdout.lines().filter_map(pair).filter(|(id, _)| Oid::from_str(id).is_ok()).collect())
    }

    /// One fetch into a mirror, and everything that must hold of its result.
    fn fetch_into(&self, mirror: &Mirror) -> Result<Commit, Failed> {
        let refspec = format!("+refs/heads/{}:{CANDIDATE}", self.branch);
        self.git_fetch(mirror, self.place(), refspec)?;
        let broken = |why: git2::Error| Failed::Here(mirror.damaged(&why));
        let repository = mirror.repository().map_err(Failed::Here)?;
        let candidate = repository.refname_to_id(CANDIDATE).map_err(broken)?;
        if let Some(active) = mirror.active()
            && active != candidate
            && !self.allow_rewind
            && !repository.graph_descendant_of(candidate, active).map_err(broken)?
        {
            return Err(Failed::Stopped(rewind(active, candidate)));
        }
        match read::commit(&repository, candidate, &self.parts) {
            Ok(commit) => Ok(commit),
            Err(Unread::Refused(error)) => Err(Failed::Content(error)),
            Err(Unread::Damaged(why)) => {
                Err(Failed::Here(GitError::Damaged { path: mirror.dir.display().to_string(), why }))
            }
        }
    }

    pub(crate) fn git_fetch(&self, mirror: &Mirror, from: OsString, refspec: String) -> Result<(), Failed> {
        let flags = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--"];
        let mut args: Vec<OsString> = flags.iter().map(OsString::from).collect();
        args.extend([from, refspec.into()]);
        let said = self.git(Some(mirror), "fetch", self.fetch_timeout, args).map_err(Failed::Stopped)?;
        // Whether the remote or the mirror is to blame, git does not say in a way that could be relied on.
        if said.ok { Ok(()) } else { Err(Failed::Here(self.unreachable(&said.why))) }
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
        let candidate = repository.refname_to_id(CANDIDATE).map_err(|why| fresh.damaged(&why))?;
        let descends = repository.find_commit(active).is_ok()
            && repository.graph_descendant_of(candidate, active).is_ok_and(|d| d);
        if descends || candidate == active {
            return fresh.set_active(&repository, active);
        }
        if !self.allow_rewind {
            return Err(rewind(active, candidate));
        }
        let refspec = format!("+{ACTIVE}:{ACTIVE}");
        if self.git_fetch(fresh, self.mirror.dir.clone().into(), refspec).is_err() {
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

    fn git(
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
        program::run(&Call { program: &self.program, repository, url: &self.url, protocol, args, timeout, what })
    }

    pub(crate) fn place(&self) -> OsString {
        match &self.address {
            Address::Local(path) => path.clone().into(),
            Address::Remote { url, .. } => url.into(),
        }
    }

    fn unreachable(&self, why: &str) -> GitError {
        let url = self.url.clone();
        match why.contains("dubious ownership") {
            true => GitError::Owner { url },
            false => GitError::Unreachable { url, why: why.to_owned() },
        }
    }

    fn missing(&self, mut names: Vec<String>) -> GitError {
        let (url, branch) = (self.url.clone(), self.branch.clone());
        if names.is_empty() {
            return GitError::Empty { url, branch };
        }
        names.sort();
        let more = names.len().saturating_sub(NAMED_MAX);
        let shown: Vec<String> = names.iter().take(NAMED_MAX).map(|name| format!("`{name}`")).collect();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        GitError::NoBranch { url, branch, known: shown.join(", ") + &more }
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
        GitError::Program { .. }
        | GitError::Address { .. }
        | GitError::Branch { .. }
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

fn rewind(active: Oid, candidate: Oid) -> GitError {
    GitError::Rewind { active: active.to_string(), candidate: candidate.to_string() }
}
