//! Folders of organisations, teams and apps: which there are, and whom their policies may speak of.
//!
//! `orgs/O/` is a tenant's, `orgs/O/teams/T/` a team's of it, `.../apps/A/` an app's. Each has a manifest and policies of its
//! own. The loader narrows them to the folder's calls; lower layers lose every tie, and what they ask for only adds up.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_core::contract::glob::Glob;
use tollgate_core::contract::nearest;
use tollgate_core::identity::tenants::Tenants;
use tollgate_core::policy::tree::Tree;
use tollgate_core::policy::verdict::Layer;

use crate::diagnostic::Diagnostic;
use crate::manifest::{self, Entry};
use crate::selectors::Scope;

/// The folder below which others may write.
const ORGS: &str = "orgs";
/// Files that count at the root only.
const ROOT_ONLY: [&str; 4] = ["tenants.yaml", "limits.yaml", "catalog/", "redaction/"];

/// One folder with a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder {
    /// With its last slash: `orgs/acme/`; empty for the root.
    pub prefix: String,
    pub layer: Layer,
    /// Whose calls its policies see; `None` = everybody's.
    pub of: Option<Of>,
}

/// The calls of a folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Of {
    pub tenant: Arc<str>,
    /// `None` = all apps of the tenant.
    pub apps: Option<Vec<Arc<str>>>,
}

impl Folder {
    pub fn root() -> Folder {
        Folder { prefix: String::new(), layer: Layer::Platform, of: None }
    }

    /// Its manifest's path in the tree.
    pub fn manifest(&self) -> String {
        format!("{}{}", self.prefix, manifest::FILE)
    }

    /// What stands before the names of its policies: `acme/teams/search:`.
    pub fn label(&self) -> String {
        let inner = self.prefix.trim_start_matches("orgs/").trim_end_matches('/');
        if inner.is_empty() { String::new() } else { format!("{inner}:") }
    }

    /// Makes an entry one of this folder: named, found and narrowed so. `Err` = it speaks of others.
    pub fn adopt(&self, entry: &mut Entry) -> Result<(), Diagnostic> {
        if self.of.is_none() {
            return Ok(());
        }
        if let manifest::Program::Path(path) = &mut entry.program {
            *path = format!("{}{path}", self.prefix);
        }
        entry.name = format!("{}{}", self.label(), entry.name).into();
        self.narrow(&mut entry.scope).map_err(|(key, told)| self.outside(entry, key, &told))
    }

    /// Narrows a scope to the folder's calls. `Err` = the key and the name that are not the folder's.
    pub fn narrow(&self, scope: &mut Scope) -> Result<(), (&'static str, String)> {
        let Some(of) = &self.of else { return Ok(()) };
        let own = |name: &str| *name == *of.tenant;
        narrow(&mut scope.tenant, std::slice::from_ref(&of.tenant), own).map_err(|told| ("tenant", told))?;
        if let Some(apps) = &of.apps {
            let own = |name: &str| apps.iter().any(|app| **app == *name);
            narrow(&mut scope.app, apps, own).map_err(|told| ("app", told))?;
        }
        Ok(())
    }

    fn outside(&self, entry: &Entry, key: &str, told: &str) -> Diagnostic {
        let message =
            format!("`{}` speaks of the {key} `{told}`, and `{}` may speak of its own only", entry.name, self.prefix);
        let help = format!("name those of the folder, or take `for.{key}` out: it is narrowed by itself");
        Diagnostic::error("TG0122", &entry.file, message)
            .at(entry.at.line, entry.at.column)
            .over(entry.at.length)
            .help(help)
    }
}

/// Nothing said = all of ours; what is said must be ours, by name. The error is the first that is not.
fn narrow(globs: &mut Vec<Glob>, ours: &[Arc<str>], is_ours: impl Fn(&str) -> bool) -> Result<(), String> {
    if globs.is_empty() {
        // Invariant: names of tenants and apps are plain where they came from a folder or `tenants.yaml`.
        *globs = ours.iter().filter_map(|name| Glob::new(name).ok()).collect();
        return Ok(());
    }
    match globs.iter().find(|glob| !glob.exact().is_some_and(&is_ours)) {
        Some(other) => Err(other.text().to_owned()),
        None => Ok(()),
    }
}

/// The root and every folder below `orgs/` that has a manifest, in order of their paths.
pub fn folders(tree: &Tree, tenants: &Tenants, findings: &mut Vec<Diagnostic>) -> Vec<Folder> {
    let mut found: BTreeMap<&str, Folder> = BTreeMap::new();
    for (path, _) in tree.below(ORGS) {
        let Some((prefix, rest)) = split(path) else {
            let message = format!("`{path}` belongs to no organisation, team or app");
            let help = "folders are `orgs/O/`, `orgs/O/teams/T/`, `orgs/O/apps/A/` and `orgs/O/teams/T/apps/A/`";
            findings.push(Diagnostic::error("TG0125", path, message).help(help));
            continue;
        };
        if ROOT_ONLY.iter().any(|own| rest.starts_with(own)) {
            let message = format!("`{path}` is not read: this table counts at the root of the repository only");
            findings.push(Diagnostic::error("TG0125", path, message).help("move its rows into the table at the root"));
        }
        if rest == manifest::FILE {
            match folder(prefix, tenants) {
                Ok(folder) => drop(found.insert(prefix, folder)),
                Err(told) => findings.push(Diagnostic::error("TG0124", path, told)),
            }
        }
    }
    std::iter::once(Folder::root()).chain(found.into_values()).collect()
}

/// `orgs/O/teams/T/policies/x/policy.rhai` -> `orgs/O/teams/T/` and `policies/x/policy.rhai`.
fn split(path: &str) -> Option<(&str, &str)> {
    let mut at = ORGS.len() + 1;
    at += 1 + path.get(at..)?.find('/')?;
    for kind in ["teams/", "apps/"] {
        if let Some(rest) = path[at..].strip_prefix(kind) {
            at += kind.len() + 1 + rest.find('/')?;
        }
    }
    Some(path.split_at(at))
}

fn folder(prefix: &str, tenants: &Tenants) -> Result<Folder, String> {
    let parts: Vec<&str> = prefix.trim_end_matches('/').split('/').collect();
    let name =
        |kind: &str| parts.iter().position(|part| *part == kind).filter(|at| at % 2 == 0).map(|at| parts[at + 1]);
    let org = parts[1];
    let known = tenants.tenants.get(org);
    if known.is_none() && !tenants.tenants.is_empty() {
        let hint = nearest::hint(org, tenants.tenants.keys().map(|n| &**n));
        return Err(format!("`tenants.yaml` has no tenant `{org}`{hint}, so nobody's calls are those of `{prefix}`"));
    }
    let mut apps: Option<Vec<Arc<str>>> = None;
    if let Some(team) = name("teams") {
        let teams = known.map(|tenant| &tenant.teams);
        let Some(of_team) = teams.and_then(|teams| teams.get(team)) else {
            let hint = nearest::hint(team, teams.into_iter().flat_map(|t| t.keys()).map(|n| &**n));
            return Err(format!("`tenants.yaml` gives the tenant `{org}` no team `{team}`{hint}: list its apps there"));
        };
        apps = Some(of_team.clone());
    }
    if let Some(app) = name("apps") {
        let listed = apps.as_deref().or(known.map(|t| &*t.apps)).unwrap_or_default();
        let is_any = listed.is_empty() && apps.is_none();
        if !is_any && !listed.iter().any(|a| **a == *app) {
            let hint = nearest::hint(app, listed.iter().map(|a| &**a));
            return Err(format!(
                "`tenants.yaml` lists no app `{app}` there{hint}, so nobody's calls are those of `{prefix}`"
            ));
        }
        apps = Some(vec![app.into()]);
    }
    let layer = match (name("teams"), name("apps")) {
        (_, Some(_)) => Layer::App,
        (Some(_), None) => Layer::Team,
        (None, None) => Layer::Org,
    };
    Ok(Folder { prefix: prefix.to_owned(), layer, of: Some(Of { tenant: org.into(), apps }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_folder_or_none() {
        for (path, folder, why) in [
            ("orgs/acme/tollgate-policies.yaml", Some("orgs/acme/"), "an organisation"),
            ("orgs/acme/policies/x/policy.rhai", Some("orgs/acme/"), "a policy of it"),
            ("orgs/acme/teams/s/policies/x/rules.yaml", Some("orgs/acme/teams/s/"), "a team's"),
            ("orgs/acme/apps/a/tollgate-policies.yaml", Some("orgs/acme/apps/a/"), "an app's without a team"),
            ("orgs/acme/teams/s/apps/a/README.md", Some("orgs/acme/teams/s/apps/a/"), "an app's of a team"),
            ("orgs/README.md", None, "nobody's"),
            ("orgs/acme/teams/README.md", None, "no team's"),
        ] {
            assert_eq!(split(path).map(|(folder, _)| folder), folder, "{why}");
        }
    }
}
