//! `tollgate check`: what would be loaded, and everything that is wrong with it.

use serde_json::json;
use tollgate_policy_runtime::diagnostic::Severity;

use super::{Check, Ended, Format, diagnostics, formats};
use crate::policies::{self, Checkout};
use crate::{start, upstreams};

pub fn run(args: &Check) -> Result<(), Ended> {
    let config = start::config(&args.places)?;
    upstreams::configured(&config)?;
    let repository = policies::once(&config, &args.places, Checkout::Files)?;
    let builtin = policies::builtin();
    let loaded = repository.check(&builtin);
    let errors = loaded.findings.iter().filter(|f| f.severity == Severity::Error).count();
    let warnings = loaded.findings.len() - errors;
    if args.format == Format::Sarif {
        println!("{}", formats::sarif(&loaded.findings));
    } else if args.json || args.format == Format::Json {
        let told = json!({
            "revision": repository.tree.id,
            "source": repository.described,
            "accepted": loaded.revision.is_some(),
            "findings": loaded.findings,
            "policies": loaded.policies,
        });
        println!("{told}");
    } else {
        diagnostics::print(&loaded.findings, &[&repository.tree, &builtin]);
        for policy in &loaded.policies {
            let hooks: Vec<&str> = policy.hooks.iter().map(|h| h.name()).collect();
            let mode = format!("{:?}", policy.mode).to_lowercase();
            println!("{:<28} {:<14} {:<8} {}", policy.name, hooks.join(","), mode, policy.file);
        }
        if let Some(revision) = &loaded.revision {
            println!(
                "{} policies, {} targets, {} keys, {} limits, {} cases passed",
                loaded.policies.len(),
                revision.catalog.targets().len(),
                revision.tenants.keys.len(),
                revision.limits.rules.len(),
                loaded.cases.passed,
            );
        }
        println!("{}: {errors} errors, {warnings} warnings", repository.described);
    }
    match errors {
        0 => Ok(()),
        _ => Err(Ended::failed("")),
    }
}
