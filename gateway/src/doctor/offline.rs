//! What needs no running gateway: state folder, disk, clock, journal, policies, certificates, descriptors.
//! Nothing is made or changed.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tollgate_policy_runtime::diagnostic::Severity;
use tollgate_store::journal::{self, Folder};

use super::{Files, Finding};
use crate::cli::Places;
use crate::config::Config;
use crate::policies::{self, Checkout};
use crate::state::State;
use crate::tls::doors;
use crate::tls::watch::DAYS_WARNED;

/// Below the first there is a warning, below the second the trail may stop at any time.
const DISK_BYTES_WARN: u64 = 2 << 30;
const DISK_BYTES_FAIL: u64 = 200 << 20;
/// A file that was written so far ahead of now: the clock was set back.
const CLOCK_AHEAD_S: u64 = 60;
/// No clock is right that shows less: 1 January 2026.
const CLOCK_S_MIN: u64 = 1_767_225_600;
/// Besides connections: files, providers, the journal.
const FILES_BESIDES: u64 = 256;

pub fn state(state: &State) -> Vec<Finding> {
    let path = &state.path;
    let shown = path.display();
    let about = match std::fs::metadata(path) {
        Ok(about) => about,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
            return vec![Finding::ok("state", format!("`{shown}` is not there yet: the first start makes it"))];
        }
        Err(why) => {
            let remedy = "run `tollgate doctor` as the user that runs the gateway";
            return vec![Finding::fail("state", format!("cannot look at `{shown}`: {why}"), remedy)];
        }
    };
    let mut found = vec![private("state", path, about.mode(), "700")];
    for name in ["pepper", "operator-token", "keys.json"] {
        let path = path.join(name);
        if let Ok(about) = std::fs::metadata(&path) {
            found.push(private("state", &path, about.mode(), "600"));
        }
    }
    found.push(match state.is_running() {
        Ok(true) => Finding::ok("lock", "a gateway runs on this state folder"),
        Ok(false) => Finding::ok("lock", "no gateway runs on this state folder"),
        Err(why) => Finding::fail("lock", why, "run `tollgate doctor` as the user that runs the gateway"),
    });
    found.push(disk(path));
    found
}

/// The certificates that listeners are to serve with, read as a start reads them.
pub fn certificates(config: &Config) -> Vec<Finding> {
    let now = jiff::Timestamp::now();
    let mut found = Vec::new();
    for (key, read) in doors::read(config, now.as_millisecond()) {
        match read {
            Err(why) => found.push(Finding::fail("listener", format!("{key}: {why}"), format!("mend `{key}`"))),
            Ok(doors::Files { until_ms, warnings }) => {
                let remedy = || format!("put a newer one in the place of `{key}.cert`: it is taken without a restart");
                let until = jiff::Timestamp::from_millisecond(until_ms).unwrap_or(jiff::Timestamp::MAX);
                let said = format!("{key}: the certificate is good until {until:.0}");
                found.push(match until.duration_since(now).as_hours() < DAYS_WARNED * 24 {
                    true => Finding::warn("listener", said, remedy()),
                    false => Finding::ok("listener", said),
                });
                let told = |warning| Finding::warn("listener", format!("{key}: {warning}"), format!("mend `{key}`"));
                found.extend(warnings.into_iter().map(told));
            }
        }
    }
    found
}

/// May anybody but its owner look into it?
pub fn private(check: &'static str, path: &Path, mode: u32, wanted: &str) -> Finding {
    let shown = path.display();
    match mode & 0o077 {
        0 => Finding::ok(check, format!("`{shown}` is its owner's alone")),
        _ => Finding::fail(
            check,
            format!("`{shown}` has mode {:03o}: others can look into it", mode & 0o777),
            format!("chmod {wanted} {shown}"),
        ),
    }
}

fn disk(path: &Path) -> Finding {
    let remedy = "make room, or move old files of `trail/` away: the gateway never deletes them";
    let about = match rustix::fs::statvfs(path) {
        Ok(about) => about,
        Err(why) => return Finding::warn("disk", format!("its free space cannot be told: {why}"), remedy),
    };
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    let told = format!("{:.1} GiB free for `{}`", free as f64 / f64::from(1 << 30), path.display());
    match free {
        _ if free < DISK_BYTES_FAIL => Finding::fail("disk", told, remedy),
        _ if free < DISK_BYTES_WARN => Finding::warn("disk", told, remedy),
        _ => Finding::ok("disk", told),
    }
}

/// Without asking anybody: by what was written before.
pub fn clock(state: &State) -> Finding {
    let remedy = "set the clock by NTP: periods of budgets, tokens and signatures go by it";
    let now = SystemTime::now();
    let now_s = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if now_s < CLOCK_S_MIN {
        return Finding::fail("clock", format!("it shows {}", jiff::Timestamp::now()), remedy);
    }
    let folders = [state.trail(), state.journal()];
    let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let ahead = files
        .filter_map(|file| file.metadata().ok()?.modified().ok()?.duration_since(now).ok())
        .max()
        .map_or(0, |ahead| ahead.as_secs());
    match ahead > CLOCK_AHEAD_S {
        true => {
            Finding::warn("clock", format!("the state was written {ahead} s ahead of now: it was set back"), remedy)
        }
        false => Finding::ok("clock", format!("it shows {:.0}", jiff::Timestamp::now())),
    }
}

pub fn journal(state: &State) -> Finding {
    let folder = state.journal();
    if !folder.is_dir() {
        return Finding::ok("journal", "there is none yet");
    }
    match journal::verify(Arc::new(Folder::at(&folder)), None) {
        Ok(sound) => Finding::ok("journal", format!("{} records are sound", sound.records)),
        Err(why) => Finding::fail("journal", why.to_string(), "see docs/journal.md before anything is removed"),
    }
}

/// Those of the gateway that runs, where no others are named. A repository on another machine is asked only where that was wanted.
pub fn policies(config: &Config, places: &Places, state: &State, may_ask: bool) -> Finding {
    let is_served = places.policies.is_none() && policies::serving(state).is_some();
    if policies::is_remote(config, places) && !may_ask && !is_served {
        return Finding::ok("policies", "the repository is on another machine: `--probe` asks it");
    }
    let remedy = "see `tollgate check`";
    let (repository, other) = match policies::as_served(config, places, Checkout::Commits) {
        Ok(read) => read,
        Err(ended) => return Finding::fail("policies", ended.said, remedy),
    };
    let loaded = repository.check(&policies::builtin());
    let errors = loaded.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let (from, warnings) = (&repository.described, loaded.findings.len() - errors);
    match (&loaded.revision, warnings) {
        (None, _) => Finding::fail("policies", format!("{from}: {errors} errors, nothing would be loaded"), remedy),
        (Some(_), _) if other.is_some() => {
            let remedy = "leave `--policies` out to look at what it serves";
            Finding::warn("policies", format!("{from}: looked at; {}", other.unwrap_or_default()), remedy)
        }
        (Some(_), 0) => Finding::ok("policies", format!("{from}: {} policies", loaded.policies.len())),
        (Some(_), _) => Finding::warn("policies", format!("{from}: {warnings} warnings"), remedy),
    }
}

/// `live` is of the gateway that runs; absent = those of this process, which had the same parent, perhaps.
pub fn files(config: &Config, live: Option<Files>) -> Finding {
    let Some(files) = live.or_else(Files::own) else {
        let remedy = "look at `ulimit -n`";
        return Finding::warn("files", "the system does not tell how many files may be open", remedy);
    };
    // A call has two: its caller's and its provider's.
    let wanted = (config.edge.connections_max.get() as u64).saturating_mul(2).saturating_add(FILES_BESIDES);
    let whose = if live.is_some() {
        format!("{} open, at most {}", files.open, files.max)
    } else {
        format!("at most {}", files.max)
    };
    match files.max < wanted {
        true => Finding::warn(
            "files",
            format!("{whose}; `edge.connections_max` may need {wanted}"),
            format!("raise the limit (`ulimit -n {wanted}`, `LimitNOFILE={wanted}`), or lower `edge.connections_max`"),
        ),
        false => Finding::ok("files", whose),
    }
}
