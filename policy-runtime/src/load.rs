//! A tree of files becomes a revision, or a list of everything that is wrong with it.
//!
//! Order: tables, manifest, then per entry its folder, parameters, selector and program, then all cases. Nothing stops at
//! the first mistake; one error anywhere and there is no revision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Date;
use serde_json::{Map, Value};
use tollgate_core::policy::Hook;
use tollgate_core::policy::revision::Revision;
use tollgate_core::policy::schema::{Group, GroupSet};
use tollgate_core::policy::tree::Tree;

use crate::cases::{self, CaseReport, Trial};
use crate::diagnostic::{Diagnostic, Severity};
use crate::engine::{Bounds, Foreign, Program};
use crate::engines::{self, Selector};
use crate::expr::Names;
use crate::home::{self, Home, Want};
use crate::judge::{Bench, Quota, Seat};
use crate::layers::{self, Folder};
pub use crate::listing::PolicyInfo;
use crate::listing::{info, standing};
use crate::manifest::{self, Day, Entry, Manifest, Program as Where};
use crate::memo::Memo;
use crate::overlap;
use crate::reading::{MANIFEST, Reading};
use crate::switches::Switches;
use crate::tables::{catalog, limits, tenants};
use crate::targets;
use crate::trouble::Trouble;
use crate::waivers::{self, Waiver};
use crate::yaml::{Data, Node};

/// What the loader cannot know from the files.
#[derive(Clone, Default)]
pub struct Given {
    /// For `expires`; `None` = nothing has expired.
    pub today: Option<Date>,
    /// The id of the gateway's pepper; `None` = hashes of any pepper are taken.
    pub pepper: Option<Arc<str>>,
    /// Who compiles `policy.wasm`; `None` = nobody, and such a policy is refused.
    pub wasm: Option<Arc<dyn Foreign>>,
    /// What operators lowered, where live calls are to be decided. `None` = a trial or a replay: nothing is counted.
    pub live: Option<Arc<Switches>>,
    /// `check` takes what has expired for an error.
    pub strict: bool,
}

/// What became of a tree.
#[derive(Debug)]
pub struct Loaded {
    /// `None` where a finding is an error.
    pub revision: Option<Arc<Revision>>,
    pub findings: Vec<Diagnostic>,
    pub policies: Vec<PolicyInfo>,
    pub cases: CaseReport,
}

/// Loads a tree; `std/...` and the base of the catalog come from `builtin`. The same tree may be both.
pub fn load(tree: &Tree, builtin: &Tree, given: &Given) -> Loaded {
    Loader::read(tree, builtin, given).finish()
}

/// Runs the cases whose `policy/case` contains `filter`, those of folders that no manifest entry uses included.
/// What does not load is told by `load`; its cases are not run.
pub fn test(tree: &Tree, builtin: &Tree, given: &Given, filter: Option<&str>) -> CaseReport {
    let mut loader = Loader::read(tree, builtin, given);
    loader.run_unused();
    let mut report = CaseReport::default();
    for result in loader.cases.results {
        if filter.is_none_or(|part| format!("{}/{}", result.policy, result.case).contains(part)) {
            report.add(result);
        }
    }
    report
}

struct Loader<'t> {
    tree: &'t Tree,
    builtin: &'t Tree,
    wasm: Option<Arc<dyn Foreign>>,
    live: Option<Arc<Switches>>,
    findings: Vec<Diagnostic>,
    /// Folders found so far; `None` = it was told already that there is none.
    homes: BTreeMap<Where, Option<Home<'t>>>,
    tried: BTreeSet<(Where, Vec<Hook>)>,
    limits: limits::Read,
    tables: Option<(tollgate_core::routing::catalog::Catalog, tollgate_core::identity::tenants::Tenants)>,
    seats: Vec<Arc<Seat>>,
    policies: Vec<PolicyInfo>,
    folders: Vec<Folder>,
    cases: CaseReport,
}

impl<'t> Loader<'t> {
    fn read(tree: &'t Tree, builtin: &'t Tree, given: &Given) -> Self {
        let mut findings = Vec::new();
        unread(tree, &mut findings);
        let catalog = catalog::read(tree, builtin, &mut findings);
        let tenants = tenants::read(tree.read(tenants::FILE), &catalog, given.pepper.as_deref(), &mut findings);
        let limits = limits::read(tree.read(limits::FILE), &mut findings);
        let folders = layers::folders(tree, &tenants, &mut findings);
        let mut loader = Loader {
            tree,
            builtin,
            wasm: given.wasm.clone(),
            live: given.live.clone(),
            findings,
            homes: BTreeMap::new(),
            tried: BTreeSet::new(),
            limits,
            tables: Some((catalog, tenants)),
            seats: Vec::new(),
            policies: Vec::new(),
            folders: Vec::new(),
            cases: CaseReport::default(),
        };
        let mut waived = Vec::new();
        for folder in folders {
            let (entries, waivers) = loader.manifest(&folder, Day { today: given.today, strict: given.strict });
            entries.iter().for_each(|entry| loader.enter(entry, &folder));
            waived.push((loader.folders.len(), waivers));
            loader.folders.push(folder);
        }
        // A waiver may speak of a folder that comes after its own. Where a policy did not load, that is told already.
        if !loader.findings.iter().any(|f| f.severity == Severity::Error) {
            for (at, waivers) in waived {
                let told = waivers::lay(&loader.folders[at], waivers, &mut loader.seats);
                loader.findings.extend(told);
            }
        }
        loader.findings.extend(overlap::warn(&loader.seats));
        if let Some((catalog, _)) = &loader.tables {
            loader.findings.extend(targets::warn(&loader.seats, catalog));
        }
        loader.warn_of_unused();
        loader
    }

    /// The entries of one folder's manifest, as its own.
    fn manifest(&mut self, folder: &Folder, day: Day) -> (Vec<Entry>, Vec<Waiver>) {
        let file = folder.manifest();
        let Some(bytes) = self.tree.read(&file) else {
            let message = format!("there is no `{file}`");
            let help = format!("put one at the root; the smallest is `api: {}` and `policies: []`", manifest::API);
            self.findings.push(Diagnostic::error("TG0101", &file, message).help(help));
            return (Vec::new(), Vec::new());
        };
        let (Manifest { entries, waivers }, told) = manifest::parse(&file, bytes, day);
        self.findings.extend(told);
        let adopt = |mut entry: Entry| match folder.adopt(&mut entry) {
            Ok(()) => Some(entry),
            Err(told) => {
                self.findings.push(told);
                None
            }
        };
        (entries.into_iter().filter_map(adopt).collect(), waivers)
    }

    fn finish(mut self) -> Loaded {
        self.findings.extend(self.cases.findings());
        // A program that several entries or cases compile tells the same mistake each time.
        let mut told: Vec<Diagnostic> = Vec::with_capacity(self.findings.len());
        for finding in std::mem::take(&mut self.findings) {
            if !told.contains(&finding) {
                told.push(finding);
            }
        }
        self.findings = told;
        let refused = self.findings.iter().any(|f| f.severity == Severity::Error);
        let revision = self.tables.take().filter(|_| !refused).map(|(catalog, tenants)| {
            Arc::new(Revision {
                id: self.tree.id.clone(),
                catalog,
                tenants,
                limits: self.limits.limits,
                judge: Box::new(Bench::of(self.seats, self.live)),
            })
        });
        Loaded { revision, findings: self.findings, policies: self.policies, cases: self.cases }
    }

    /// One entry of the manifest: from declared to ready to be asked.
    fn enter(&mut self, entry: &Entry, folder: &Folder) {
        self.find_home(entry);
        let Some(Some(home)) = self.homes.get(&entry.program) else { return };
        let reading = Reading::of(&entry.file, MANIFEST);
        let params = params(&reading, home, entry).map(Arc::new);
        let budgets: Vec<&str> = self.limits.budgets.iter().map(|n| &**n).collect();
        let rates: Vec<&str> = self.limits.rates.iter().map(|n| &**n).collect();
        let mut compiled = None;
        if let Some(params) = params.as_ref().filter(|_| !entry.hooks.is_empty()) {
            let want = Want {
                name: &entry.name,
                hooks: &entry.hooks,
                params: params.clone(),
                budgets: &budgets,
                rates: &rates,
                reads: entry.reads,
                bounds: entry.bounds,
            };
            match (selector(&reading, entry, &want), home.compile(&want)) {
                (Ok(when), Ok(program)) => compiled = Some((when, program)),
                (when, program) => self.findings.extend([when.err(), program.err()].into_iter().flatten().flatten()),
            }
        }
        self.findings.extend(reading.findings());
        let (Some(params), Some((when, program))) = (params, compiled) else { return };
        self.findings.extend(program.warnings());
        let first = self.tried.insert((entry.program.clone(), entry.hooks.clone()));
        if !home.is_std || first {
            let trial = trial(home, entry, &params, &program, &budgets, &rates);
            cases::run(&trial, &mut self.cases, &mut self.findings);
        }
        let standing = standing(entry, folder.layer, home.engine);
        self.policies.push(info(entry, home, &standing, params));
        self.seats.push(Arc::new(Seat {
            standing,
            hooks: entry.hooks.clone(),
            mode: entry.mode,
            on_error: entry.on_error,
            share: entry.share.map(|s| Quota {
                bucket: format!("share:{}", entry.name).into(),
                below: s.below,
                by: s.by,
            }),
            scope: entry.scope.clone(),
            when,
            reads: entry.reads,
            memo: Memo::of(&*program),
            program,
            waivers: Vec::new(),
            trouble: self.live.as_ref().map(|_| Trouble::default()),
        }));
    }

    fn find_home(&mut self, entry: &Entry) {
        if self.homes.contains_key(&entry.program) {
            return;
        }
        let home = Home::find(&entry.program, self.tree, self.builtin, self.wasm.clone(), &mut self.findings);
        let home = home.map_err(|(message, help)| {
            let at = entry.program_at;
            self.findings.push(
                Diagnostic::error("TG0110", &entry.file, message).at(at.line, at.column).over(at.length).help(help),
            );
        });
        self.homes.insert(entry.program.clone(), home.ok());
    }

    /// Folders with a program that no entry uses.
    fn unused(&self) -> Vec<&'t str> {
        let tree = self.tree;
        let is_builtin = tree.id == self.builtin.id;
        let used = |folder: &str| {
            let std = folder.strip_prefix("policies/").map(|name| Where::Std(name.to_owned()));
            self.homes.contains_key(&Where::Path(folder.to_owned()))
                || std.is_some_and(|std| is_builtin && self.homes.contains_key(&std))
        };
        let is_policy = |folder: &str| {
            engines::PROGRAMS.iter().any(|(program, _)| tree.files.contains_key(&format!("{folder}/{program}")))
        };
        let all = self.folders.iter().flat_map(|folder| home::folders(tree, &folder.prefix));
        all.filter(|folder| is_policy(folder) && !used(folder)).collect()
    }

    fn warn_of_unused(&mut self) {
        // The built-in tree holds policies for others to use, and an entry that was not read may be the one that uses it.
        let broken = self.findings.iter().any(|f| f.severity == Severity::Error);
        if broken || self.tree.id == self.builtin.id {
            return;
        }
        for folder in self.unused() {
            let message = format!("`{folder}` is used by no entry of the manifest: it is neither compiled nor asked");
            self.findings.push(Diagnostic::warning("TG0119", manifest::FILE, message));
        }
    }

    /// For `test`: the cases of folders that no entry uses, each at its own hook, else at pre-route.
    fn run_unused(&mut self) {
        let is_builtin = self.tree.id == self.builtin.id;
        for folder in self.unused() {
            let place = match folder.strip_prefix("policies/") {
                Some(name) if is_builtin => Where::Std(name.to_owned()),
                Some(_) | None => Where::Path(folder.to_owned()),
            };
            let home = Home::find(&place, self.tree, self.builtin, self.wasm.clone(), &mut self.findings);
            let Ok(home) = home else { continue };
            let mut all = GroupSet::default();
            Group::ALL.into_iter().for_each(|group| all.insert(group));
            let empty = Node { at: Default::default(), data: Data::Map(Vec::new()) };
            let reading = Reading::of(manifest::FILE, MANIFEST);
            let params = home.schema.as_ref().map_or(Value::Object(Map::new()), |s| s.fill(&reading, &empty));
            let trial = Trial {
                home: &home,
                policy: &home.shown,
                hooks: &[Hook::PreRoute],
                params: Arc::new(params),
                compiled: None,
                budgets: &[],
                rates: &[],
                reads: Some(all),
                bounds: Bounds::default(),
            };
            cases::run(&trial, &mut self.cases, &mut self.findings);
        }
    }
}

/// Built-in policies are tried as their authors wrote them: a case without `with` means the defaults, whatever this
/// repository sets. Cases of its own policies are tried with what its entry sets.
fn trial<'a>(
    home: &'a Home<'a>,
    entry: &'a Entry,
    params: &Arc<Value>,
    program: &Arc<dyn Program>,
    budgets: &'a [&'a str],
    rates: &'a [&'a str],
) -> Trial<'a> {
    let defaults = || {
        let reading = Reading::of(manifest::FILE, MANIFEST);
        let empty = Node { at: Default::default(), data: Data::Map(Vec::new()) };
        Arc::new(home.schema.as_ref().map_or(Value::Object(Map::new()), |s| s.fill(&reading, &empty)))
    };
    Trial {
        home,
        policy: if home.is_std { &home.shown } else { &entry.name },
        hooks: &entry.hooks,
        params: if home.is_std { defaults() } else { params.clone() },
        compiled: if home.is_std { None } else { Some(program.clone()) },
        budgets,
        rates,
        reads: entry.reads,
        bounds: entry.bounds,
    }
}

/// `with` over the defaults; `None` where it does not fit.
fn params(reading: &Reading<'_>, home: &Home<'_>, entry: &Entry) -> Option<Value> {
    match (&home.schema, &entry.with) {
        (None, None) => Some(Value::Object(Map::new())),
        (None, Some(with)) => {
            let message = format!("`{}` has no `params.schema.json` and takes no `with`", home.shown);
            reading.tell_help("TG0113", with.at, message, "add the schema to the folder, or take `with` out");
            None
        }
        (Some(schema), with) => {
            let empty = Node { at: entry.at, data: Data::Map(Vec::new()) };
            let filled = schema.fill(reading, with.as_ref().unwrap_or(&empty));
            (!reading.has_errors()).then_some(filled)
        }
    }
}

/// The compiled `when`, and whether it reads what the entry lists.
fn selector(reading: &Reading<'_>, entry: &Entry, want: &Want<'_>) -> Result<Option<Selector>, Vec<Diagnostic>> {
    let Some(when) = &entry.when else { return Ok(None) };
    let names = Names {
        hooks: want.hooks,
        params: &want.params,
        budgets: want.budgets,
        rates: want.rates,
        bounds: want.bounds,
    };
    let selector = engines::selector(&entry.file, when, names)?;
    for group in Group::ALL.into_iter().filter(|g| selector.reads().contains(*g)) {
        if !entry.reads.map_or(group != Group::Text, |reads| reads.contains(group)) {
            let message = format!("`when` reads `{}`, which `reads` does not list", group.name());
            reading.tell_help("TG0116", when.at, message, format!("add `{}` to `reads`", group.name()));
        }
    }
    Ok(Some(selector))
}

/// Parts of a repository that this version does not read. Silence would let their authors believe that they act.
fn unread(tree: &Tree, findings: &mut Vec<Diagnostic>) {
    for (folder, what) in [("redaction", "redaction profiles")] {
        if let Some((path, _)) = tree.below(folder).find(|(path, _)| path.ends_with(".yaml")) {
            let message = format!("`{folder}/`: {what} are not read by this version of the gateway");
            let help = "take the folder out, or use a version of tollgate that reads it";
            findings.push(Diagnostic::error("TG0120", path, message).help(help));
        }
    }
}
