//! Where policies come from: the built-in ones, a folder, or a git repository; read once, or watched.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tollgate_core::policy::tree::{RevisionId, Tree};
use tollgate_policy_git::{Follow, GitError, GitOptions, GitSource};
use tollgate_policy_runtime::cases::CaseReport;
use tollgate_policy_runtime::kept::Kept;
use tollgate_policy_runtime::load::{self, Given, Loaded};
use tollgate_policy_runtime::source::{Fixed, FolderSource, Source, SourceError};
use tollgate_policy_runtime::stdlib;
use tollgate_policy_wasm::Wasm;

use crate::cli::{Ended, Places};
use crate::config::Config;
use crate::state::State;
use crate::trust;

/// The policies that are part of the program.
pub fn builtin() -> Tree {
    stdlib::tree()
}

/// One reading of a repository, for verbs that need no server.
pub struct Repository {
    pub tree: Tree,
    /// Where it was read, for people.
    pub described: String,
    given: Given,
}

impl Repository {
    pub fn load(&self, builtin: &Tree) -> Loaded {
        load::load(&self.tree, builtin, &self.given)
    }

    /// As an author wants to hear it: what has expired is an error.
    pub fn check(&self, builtin: &Tree) -> Loaded {
        load::load(&self.tree, builtin, &Given { strict: true, ..self.given.clone() })
    }

    pub fn test(&self, builtin: &Tree, filter: Option<&str>) -> CaseReport {
        load::test(&self.tree, builtin, &self.given, filter)
    }
}

/// How they are told to people.
const BUILTIN: &str = "the built-in policies";

/// What the loader is told besides the files. Verbs keep no machine code: they may be anybody's.
fn given() -> Given {
    Given {
        today: Some(jiff::Zoned::now().date()),
        pepper: None,
        wasm: Some(Arc::new(Wasm::new(None))),
        ..Given::default()
    }
}

/// Reads the repository that flags or config name, once.
pub fn once(config: &Config, places: &Places, of: Checkout) -> Result<Repository, Ended> {
    read(config, places, of, None)
}

/// The revision that a gateway keeps in its state folder, where that is the one.
pub fn kept(state: &State, revision: &RevisionId) -> Option<Repository> {
    // A file that cannot be read is told by the gateway that begins with it.
    let (tree, described) = Kept::at(state.revisions()).any().ok()??;
    (tree.id == *revision).then(|| Repository { tree, described, given: given() })
}

/// What the gateway that runs on this state folder decides by. `None` = none runs, or it does not tell.
pub fn serving(state: &State) -> Option<Repository> {
    if !state.is_running().unwrap_or(false) {
        return None;
    }
    let id = Kept::at(state.revisions()).acting()?;
    let builtin = builtin();
    match id == builtin.id {
        true => Some(Repository { tree: builtin, described: BUILTIN.to_owned(), given: given() }),
        false => kept(state, &id),
    }
}

/// The policies by which a verb decides as the gateway would: what `--policies` names, else what the gateway serves that runs
/// on the state folder, else what the config names. The second says where another revision is served than is read.
pub fn as_served(config: &Config, places: &Places, of: Checkout) -> Result<(Repository, Option<String>), Ended> {
    let state = State::named(places.state.as_deref().or(config.store.path.as_deref())).map_err(Ended::usage)?;
    match (&places.policies, serving(&state)) {
        (None, Some(serving)) => Ok((serving, None)),
        (_, serving) => {
            let read = once(config, places, of)?;
            let other = serving.filter(|serving| serving.tree.id != read.tree.id).map(|serving| {
                format!(
                    "the gateway on `{}` serves another revision: {} of {}",
                    state.path.display(),
                    serving.tree.id.short(),
                    serving.described
                )
            });
            Ok((read, other))
        }
    }
}

/// Reads one revision of the repository: the newest where that is the one, else what git still has of it.
pub fn at(config: &Config, places: &Places, revision: &RevisionId) -> Result<Repository, Ended> {
    read(config, places, Checkout::Commits, Some(revision))
}

fn read(config: &Config, places: &Places, of: Checkout, revision: Option<&RevisionId>) -> Result<Repository, Ended> {
    let mirror = std::env::temp_dir().join(format!("tollgate-check-{}", std::process::id()));
    let named = source(config, places, &mirror, &Accepted::default(), of)?;
    let (mut source, described) = (named.source, named.described);
    let read = source.poll().map_err(|why| Ended::usage(format!("{described}: {why}"))).and_then(|tree| {
        let empty = || Ended::usage(format!("{described} has nothing to read"));
        let newest = tree.ok_or_else(empty)?;
        let tree = match revision.filter(|wanted| **wanted != newest.id) {
            None => newest,
            Some(wanted) => source.at(&wanted.to_string()).map_err(|why| {
                Ended::usage(format!("{described} is at {}, and has no other: {why}", newest.id.short()))
            })?,
        };
        Ok(Repository { tree, described, given: given() })
    });
    // The mirror of a check is of no further use; where it cannot be removed, the system's cleaning will.
    let _ = std::fs::remove_dir_all(mirror);
    read
}

/// A source, and how often it is asked when it does not ring by itself.
pub struct Named {
    pub source: Box<dyn Source>,
    pub described: String,
    pub pause: Duration,
}

/// The commit that was accepted last: written by who loads, read by the source before it fetches again.
pub type Accepted = Arc<Mutex<Option<String>>>;

/// A repository on this machine costs a fraction of a millisecond to ask.
const LOCAL_PAUSE: Duration = Duration::from_millis(200);
/// A folder rings by itself; this is for file systems that do not.
const FOLDER_PAUSE: Duration = Duration::from_secs(2);
/// The built-in policies never change.
const BUILTIN_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// What counts of a folder that is a git checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkout {
    /// What is committed.
    Commits,
    /// What stands in the folder.
    Files,
}

/// The source that flags or config name, else the built-in policies.
pub fn source(
    config: &Config,
    places: &Places,
    mirror: &Path,
    accepted: &Accepted,
    of: Checkout,
) -> Result<Named, Ended> {
    let named = places.policies.as_deref().or(config.policies.repository.as_deref());
    let unsigned = |what: &str| match (&config.policies.verify, of) {
        (Some(_), Checkout::Commits) => Err(Ended::usage(format!(
            "policies.verify asks for signatures, and {what} has none: name a git repository, or take `verify` out [TG0810]"
        ))),
        (Some(_) | None, _) => Ok(()),
    };
    let Some(named) = named else {
        unsigned("the built-in policies")?;
        let source = Box::new(Fixed::new(builtin()));
        return Ok(Named { source, described: BUILTIN.to_owned(), pause: BUILTIN_PAUSE });
    };
    let (url, asked) = address(named);
    let plain = Path::new(url);
    let is_checkout = plain.join(".git").exists();
    if plain.is_dir() && !is_bare(plain) && !(is_checkout && of == Checkout::Commits) {
        unsigned(&format!("the plain folder `{url}`"))?;
        let root = plain.join(&*config.policies.folder);
        let described = root.display().to_string();
        return Ok(Named { source: Box::new(FolderSource::new(root)), described, pause: FOLDER_PAUSE });
    }
    let (git, described) = git(config, url, asked, mirror)?;
    let local = local(url);
    let pause = match (local.exists(), local.is_file()) {
        (true, true) => FOLDER_PAUSE,
        (true, false) => LOCAL_PAUSE,
        (false, _) => Duration::from_secs(config.policies.poll_s.get()),
    };
    let source = Git { git, described: described.clone(), seen: None, accepted: accepted.clone() };
    Ok(Named { source: Box::new(source), described, pause })
}

/// Would reading it ask another machine?
pub fn is_remote(config: &Config, places: &Places) -> bool {
    let named = places.policies.as_deref().or(config.policies.repository.as_deref());
    let Some((url, _)) = named.map(address) else { return false };
    let is_file = !url.contains("://") || url.starts_with("file://");
    !local(url).exists() && (!is_file || url.contains('@'))
}

/// `PATH_OR_URL` or `PATH_OR_URL#BRANCH`.
fn address(named: &str) -> (&str, Option<&str>) {
    match named.rsplit_once('#') {
        Some((url, branch)) if !branch.is_empty() => (url, Some(branch)),
        Some(_) | None => (named, None),
    }
}

fn local(url: &str) -> &Path {
    Path::new(url.strip_prefix("file://").unwrap_or(url))
}

/// A git repository of the config's signers, with how it is told to people.
fn git(config: &Config, url: &str, asked: Option<&str>, mirror: &Path) -> Result<(GitSource, String), Ended> {
    if !url.contains("://") && !Path::new(url).exists() && !url.contains('@') {
        return Err(Ended::usage(format!(
            "there is no policy repository at `{url}`: name a folder, a bare repository or a URL"
        )));
    }
    let follow = match asked {
        Some(branch) => Follow::Branch(branch.to_owned()),
        None => trust::follow(&config.policies, checked_out(local(url)).as_deref().unwrap_or(BRANCH))?,
    };
    let described = format!("{url} ({follow})");
    let options = GitOptions {
        url: url.to_owned(),
        follow,
        verify: trust::verification(&config.policies)?,
        token: config.policies.token.as_ref().map(trust::token),
        mirror_dir: mirror.to_owned(),
        subfolder: Some(config.policies.folder.0.clone()).filter(|f| !f.is_empty()),
        allow_rewind: config.policies.allow_rewind,
    };
    let git = GitSource::open(options).map_err(|why| Ended::usage(why.to_string()))?;
    Ok((git, described))
}

/// Writes the repository into one file; gives what it holds and where it came from.
pub fn bundle(config: &Config, places: &Places, out: &Path) -> Result<(Tree, String), Ended> {
    let Some(named) = places.policies.as_deref().or(config.policies.repository.as_deref()) else {
        return Err(Ended::usage("there is no repository to bundle: name one with `--policies`".to_owned()));
    };
    let (url, asked) = address(named);
    let mirror = std::env::temp_dir().join(format!("tollgate-bundle-{}", std::process::id()));
    let written = git(config, url, asked, &mirror).and_then(|(mut git, described)| {
        let commit = git.bundle(out).map_err(|why| Ended::usage(format!("{described}: {why}")))?;
        Ok((commit.tree, described))
    });
    // As with a check, the system's cleaning removes what stays.
    let _ = std::fs::remove_dir_all(mirror);
    written
}

/// The branch where nobody says which.
const BRANCH: &str = "main";

/// The branch that a repository on this machine has checked out, or names as its first.
fn checked_out(path: &Path) -> Option<String> {
    let head = [path.join(".git/HEAD"), path.join("HEAD")].into_iter().find_map(|p| std::fs::read_to_string(p).ok())?;
    head.trim().strip_prefix("ref: refs/heads/").map(str::to_owned)
}

fn is_bare(path: &Path) -> bool {
    path.join("HEAD").is_file() && path.join("objects").is_dir() && path.join("refs").is_dir()
}

/// A branch of a git repository as a source of trees.
struct Git {
    git: GitSource,
    described: String,
    /// What the followed ref pointed to when a tree was given.
    seen: Option<String>,
    accepted: Accepted,
}

fn told(why: GitError) -> SourceError {
    match why {
        GitError::Unverified { .. } => SourceError::Unverified(why.to_string()),
        other => SourceError::Other(other.to_string()),
    }
}

impl Source for Git {
    fn poll(&mut self) -> Result<Option<Tree>, SourceError> {
        let accepted = self.accepted.lock().expect("no code panics while it holds the commit").take();
        if let Some(commit) = accepted {
            self.git.accept(&commit).map_err(told)?;
        }
        let head = self.git.head().map_err(told)?;
        if self.seen.as_ref() == Some(&head) {
            return self.git.check_age().map(|()| None).map_err(told);
        }
        let commit = self.git.fetch().map_err(told)?;
        self.seen = Some(head);
        Ok(Some(commit.tree))
    }

    fn at(&mut self, revision: &str) -> Result<Tree, SourceError> {
        self.git.revision(revision).map(|commit| commit.tree).map_err(told)
    }

    fn vouch(&mut self, tree: &Tree) -> Result<(), SourceError> {
        self.git.vouch(tree).map_err(told)
    }

    fn describe(&self) -> String {
        self.described.clone()
    }
}

/// The mirror of the policy repository below the state folder.
pub fn mirror(state: &Path) -> PathBuf {
    state.join("revisions").join("mirror.git")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A verb that says what would be must decide as the gateway does that runs.
    #[test]
    fn what_a_running_gateway_serves_decides_unless_other_policies_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(Some(&folder.path().join("state"))).unwrap();
        let named = folder.path().join("named");
        std::fs::create_dir_all(&named).unwrap();
        std::fs::write(named.join("tollgate-policies.yaml"), "api: tollgate.policy/v1\npolicies: []\n").unwrap();
        let kept = Kept::at(state.revisions());
        let tree = Tree { id: RevisionId::new("served"), ..builtin() };
        kept.write(&tree, "elsewhere").unwrap();
        kept.note_acting(&tree.id);
        let (config, builtin) = (Config::default(), builtin().id);
        let read = |policies: Option<&Path>| {
            let policies = policies.map(|path| path.display().to_string());
            let places = Places { policies, state: Some(state.path.clone()), ..Places::default() };
            let (read, other) =
                as_served(&config, &places, Checkout::Files).unwrap_or_else(|why| panic!("{}", why.said));
            (read.tree.id, other)
        };
        assert_eq!(read(None), (builtin.clone(), None), "none runs: what the config names");
        let _runs = state.lock().unwrap();
        assert_eq!(read(None), (tree.id.clone(), None), "one runs: what it serves");
        let (id, other) = read(Some(&named));
        assert!(
            id != tree.id && other.is_some_and(|told| told.contains("served of elsewhere")),
            "another is named, and said"
        );
        kept.note_acting(&builtin);
        assert_eq!(read(None), (builtin, None), "it serves the built-in ones, and what is kept is of an earlier one");
    }
}
