//! One file with the followed commit, its history and its signatures: for gateways that reach no git host.

use std::ffi::OsString;
use std::path::Path;

use crate::GitError;
use crate::follow::Follow;
use crate::mirror::CANDIDATE;
use crate::read::Commit;
use crate::source::GitSource;
use crate::verify::TAGS;

impl GitSource {
    /// Fetches, verifies, and writes a git bundle. A source reads it like any repository, by its path.
    pub fn bundle(&mut self, to: &Path) -> Result<Commit, GitError> {
        self.head()?;
        let commit = self.fetch()?;
        let wrong = |why: String| GitError::Bundle { path: to.display().to_string(), why };
        let to = std::path::absolute(to).map_err(|why| wrong(why.to_string()))?;
        let name = match &self.follow {
            Follow::Branch(_) | Follow::Tag(_) => self.follow.refname().unwrap_or_default(),
            Follow::Commit(_) => "refs/heads/main".to_owned(),
        };
        let mut refs = vec![name.clone()];
        let repository = self.mirror().repository()?;
        let damaged = |why: git2::Error| self.mirror().damaged(&why);
        let object = repository.refname_to_id(CANDIDATE).map_err(damaged)?;
        self.mirror().set(&repository, &name, object)?;
        for tag in repository.references_glob(&format!("{TAGS}*")).map_err(damaged)?.flatten() {
            let shown = String::from_utf8_lossy(tag.name_bytes()).into_owned();
            if let (Some(rest), Some(id)) = (shown.strip_prefix(TAGS), tag.target()) {
                let public = format!("refs/tags/{rest}");
                self.mirror().set(&repository, &public, id)?;
                refs.push(public);
            }
        }
        let mut args: Vec<OsString> = vec!["bundle".into(), "create".into(), "--quiet".into(), to.into()];
        args.extend(refs.iter().map(OsString::from));
        let said = self.git(Some(self.mirror()), "write the bundle", self.fetch_timeout, args)?;
        if said.ok { Ok(commit) } else { Err(wrong(said.why)) }
    }
}
