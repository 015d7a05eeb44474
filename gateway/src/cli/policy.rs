//! `tollgate policy ...`: for authors; needs no server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use include_dir::{Dir, include_dir};
use serde_json::json;
use tollgate_policy_runtime::cases::CaseReport;
use tollgate_policy_runtime::coverage::Covered;

use super::{Ended, Places, diagnostics, formats};
use crate::policies::{self, Checkout};
use crate::start;

/// How often `--watch` looks for changes.
const WATCH_EVERY: Duration = Duration::from_millis(300);

/// The repository of the third example is what `init` makes: one text, tried by one test.
static BEGINNING: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../examples/03-policies-from-git/policies");

static TENANTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../examples/02-two-tenants/policies");
static WASM: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../examples/04-wasm-rust/policies");

/// What a new repository holds.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Template {
    /// A table, a script and a built-in policy, with limits
    Start,
    /// Tenants with keys, grants and a budget each
    Tenants,
    /// A policy in Wasm that looks for a company's own words
    Wasm,
    /// A manifest without policies
    Empty,
}

impl Template {
    fn extract(self, to: &Path) -> std::io::Result<()> {
        match self {
            Template::Start => BEGINNING.extract(to),
            Template::Tenants => TENANTS.extract(to),
            Template::Wasm => WASM.extract(to),
            Template::Empty => {
                let text = format!("api: {}\npolicies: []\n", tollgate_policy_runtime::manifest::API);
                std::fs::write(to.join(tollgate_policy_runtime::manifest::FILE), text)
            }
        }
    }
}

/// Makes a policy repository to begin with, and its first commit.
pub fn init(dir: &Path, template: Template) -> Result<(), Ended> {
    let told = |why: std::io::Error| Ended::failed(format!("cannot make `{}`: {why}", dir.display()));
    if dir.exists() && std::fs::read_dir(dir).map_err(told)?.next().is_some() {
        return Err(Ended::usage(format!("`{}` is not empty: name a new folder", dir.display())));
    }
    std::fs::create_dir_all(dir).map_err(told)?;
    template.extract(dir).map_err(told)?;
    let git = |args: &[&str]| {
        let run = Command::new("git").arg("-C").arg(dir).args(args).output();
        run.is_ok_and(|out| out.status.success())
    };
    let author = ["-c", "user.name=tollgate", "-c", "user.email=tollgate@localhost"];
    let committed = git(&["init", "-q", "-b", "main"])
        && git(&["add", "-A"])
        && git(&[&author[..], &["commit", "-q", "-m", "A policy repository to begin with"]].concat());
    println!("made {}", dir.display());
    if !committed {
        println!("git is not here: the folder serves as it is, and its changes act when they are saved");
    }
    println!(
        "try it:    tollgate check --policies {0}\nserve it:  tollgate --policies {0}\nchange it: edit, `git commit`, and the next call is decided by it",
        dir.display()
    );
    Ok(())
}

/// How the results of cases are told.
pub struct Told {
    pub json: bool,
    pub junit: Option<PathBuf>,
    pub watch: bool,
    pub coverage: bool,
    /// Percent.
    pub coverage_min: Option<f64>,
}

/// Runs the cases of the policies; with `watch`, again and again.
pub fn test(places: &Places, filter: Option<&str>, told: &Told) -> Result<(), Ended> {
    if !told.watch {
        return once(places, filter, told).map(|_| ());
    }
    let mut seen = None;
    loop {
        let config = start::config(places)?;
        let digest = policies::once(&config, places, Checkout::Files).map(|r| r.tree.digest()).ok();
        if digest != seen {
            if let Err(ended) = once(places, filter, told)
                && !ended.said.is_empty()
            {
                eprintln!("tollgate: {}", ended.said);
            }
            println!("-- waiting for changes (Ctrl-C ends)");
            seen = digest;
        }
        std::thread::sleep(WATCH_EVERY);
    }
}

fn once(places: &Places, filter: Option<&str>, told: &Told) -> Result<(), Ended> {
    let config = start::config(places)?;
    let repository = policies::once(&config, places, Checkout::Files)?;
    let builtin = policies::builtin();
    let loaded = repository.load(&builtin);
    let report = repository.test(&builtin, filter);
    if let Some(file) = &told.junit {
        std::fs::write(file, formats::junit(&report))
            .map_err(|why| Ended::failed(format!("cannot write `{}`: {why}", file.display())))?;
    }
    let covered = told.coverage.then(|| covered(&report));
    if told.json {
        let mut all = json!({ "passed": report.passed, "failed": report.failed, "cases": report.results, "findings": loaded.findings });
        if let Some(covered) = &covered {
            all["coverage"] = json!({ "percent": covered.percent(), "files": covered.files() });
        }
        println!("{all}");
    } else {
        for result in &report.results {
            let sign = if result.passed { "ok  " } else { "FAIL" };
            println!("{sign} {}: {}", result.policy, result.case);
            for difference in &result.differences {
                println!("       {difference}");
            }
            if !result.passed {
                println!("       {}:{}", result.file, result.line);
            }
        }
        // Failed cases are told above; what does not even load is told here.
        let rest: Vec<_> = loaded.findings.into_iter().filter(|f| !f.code.starts_with("TG03")).collect();
        diagnostics::print(&rest, &[&repository.tree, &builtin]);
        println!("{} passed, {} failed", report.passed, report.failed);
        covered.iter().for_each(tell_coverage);
    }
    let loads = loaded.revision.is_some() || report.failed > 0;
    match (report.failed, loads, report.results.is_empty()) {
        (0, true, false) => enough(covered.as_ref(), told.coverage_min),
        (0, true, true) => {
            Err(Ended::failed("no case was run: name another filter, or write `cases.yaml` beside the policy"))
        }
        (0, false, _) | (1.., _, _) => Err(Ended::failed("")),
    }
}

fn covered(report: &CaseReport) -> Covered {
    let mut covered = Covered::default();
    report.results.iter().filter_map(|r| r.question.as_ref()).for_each(|question| question.cover(&mut covered));
    covered
}

fn tell_coverage(covered: &Covered) {
    for file in covered.files() {
        println!("{}: {} of {} reached", file.file, file.reached, file.total);
        for missed in &file.uncovered {
            println!("       {}:{}:{}: {} is reached by no case", file.file, missed.line, missed.column, missed.what);
        }
    }
    println!("coverage {:.1} % of statements and branches", covered.percent());
}

fn enough(covered: Option<&Covered>, min: Option<f64>) -> Result<(), Ended> {
    match (covered.map(Covered::percent), min) {
        (Some(percent), Some(min)) if percent < min => Err(Ended::failed(format!(
            "the cases reach {percent:.1} % of the policies, less than the {min} % asked for: write cases for the lines told \
             above, or lower --coverage-min"
        ))),
        _ => Ok(()),
    }
}

/// The interface of guests.
pub fn wit() -> Result<(), Ended> {
    print!("{}", tollgate_policy_wasm::wit::WORLD);
    Ok(())
}

/// Writes the followed commit, its history and its signatures into one file.
pub fn bundle(places: &Places, out: &Path) -> Result<(), Ended> {
    let config = start::config(places)?;
    let (tree, described) = policies::bundle(&config, places, out)?;
    let by = match tree.signers.is_empty() {
        true => "no signatures were asked for: give the config that has `policies.verify`".to_owned(),
        false => format!("signed by {}", tree.signers.join(", ")),
    };
    println!("wrote {}: {} of {described}, {by}", out.display(), tree.id.short());
    println!("serve it:  tollgate --policies {}", out.display());
    Ok(())
}
