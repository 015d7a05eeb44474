//! Reload: a broken revision never replaces a good one, and a restart begins with the last good one.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::{OWN, builtin, manifest};
use tollgate_core::ports::Policies;
use tollgate_policy_runtime::reload::{Active, Event, Offered, Setup, StartError};
use tollgate_policy_runtime::source::FolderSource;
use tollgate_policy_runtime::watch::Watch;

const CASE: &str = "- name: it tags\n  facts: {}\n  expect: { tag: { own: here } }\n";

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn good(root: &Path) {
    write(root, "tollgate-policies.yaml", &manifest(OWN));
    write(root, "policies/own/rules.yaml", "rules:\n  - when: 'true'\n    tag: { own: here }\n");
    write(root, "policies/own/cases.yaml", CASE);
}

fn setup(kept: Option<&Path>) -> Setup {
    let clock = AtomicI64::new(1_000);
    Setup {
        builtin: Arc::new(builtin()),
        pepper: None,
        wasm: None,
        clock: Arc::new(move || clock.fetch_add(1, Ordering::Relaxed)),
        switches: Default::default(),
        kept: kept.map(Path::to_owned),
        on_event: None,
    }
}

#[test]
fn broken_then_good_again() {
    let dir = tempfile::tempdir().unwrap();
    good(dir.path());
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = events.clone();
    let tell = move |event: &Event<'_>| {
        let told = match event {
            Event::Accepted { policies, .. } => format!("accepted {policies}"),
            Event::Rejected { findings, .. } => format!("rejected {}", findings[0].code),
            Event::SourceFailed { .. } => "failed".to_owned(),
            _ => "other".to_owned(),
        };
        heard.lock().unwrap().push(told);
    };
    let mut source = FolderSource::new(dir.path());
    let active = Active::start(&mut source, Setup { on_event: Some(Box::new(tell)), ..setup(None) }).unwrap();
    let first = active.pin();
    assert_eq!(active.check(&mut source), None, "nothing changed");

    write(dir.path(), "tollgate-policies.yaml", "api: tollgate.policy/v1\npolicy: []\n");
    assert!(matches!(active.check(&mut source), Some(Offered::Rejected(_))));
    assert_eq!(active.pin().id, first.id, "the last good one stays");
    let rejected = active.status().rejected.unwrap();
    assert_eq!((rejected.findings[0].line, rejected.findings[0].column), (2, 1));
    assert_eq!(active.check(&mut source), None, "the same broken content is not compiled again");

    write(dir.path(), "tollgate-policies.yaml", &manifest(&OWN.replace("name: own", "name: mine")));
    assert!(matches!(active.check(&mut source), Some(Offered::Accepted(_))));
    assert_ne!(active.pin().id, first.id);
    assert_eq!((active.status().swaps, active.status().rejected), (1, None));

    good(dir.path());
    fs::remove_dir_all(dir.path().join("policies")).unwrap();
    assert!(matches!(active.check(&mut source), Some(Offered::Rejected(_))));
    write(dir.path(), "tollgate-policies.yaml", &manifest(&OWN.replace("name: own", "name: mine")));
    good(dir.path());
    write(dir.path(), "tollgate-policies.yaml", &manifest(&OWN.replace("name: own", "name: mine")));
    assert_eq!(active.check(&mut source), Some(Offered::Unchanged), "changed back to what is active");
    assert_eq!(active.status().rejected, None);
    assert_eq!(*events.lock().unwrap(), ["accepted 1", "rejected TG0103", "accepted 1", "rejected TG0110"]);
}

#[test]
fn a_restart_begins_with_the_last_good_revision() {
    let (dir, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    good(dir.path());
    let start = || Active::start(&mut FolderSource::new(dir.path()), setup(Some(kept.path())));
    let first = start().unwrap().pin().id.clone();

    write(dir.path(), "policies/own/cases.yaml", &CASE.replace("here", "there"));
    let active = start().unwrap();
    let status = active.status();
    assert_eq!((&status.active, status.from_disk), (&first, true), "a broken newest revision");
    assert_eq!(status.rejected.unwrap().findings[0].code, "TG0311");

    let gone = dir.path().join("policies");
    fs::remove_dir_all(&gone).unwrap();
    fs::remove_file(dir.path().join("tollgate-policies.yaml")).unwrap();
    fs::remove_dir(dir.path()).unwrap();
    let active = start().unwrap();
    assert_eq!(active.status().active, first, "the source is down");
    assert!(active.status().source_error.unwrap().contains("cannot be read"));

    fs::write(kept.path().join("last-good.tree"), "damaged").unwrap();
    assert!(matches!(start(), Err(StartError::Unreachable { .. })), "a damaged file is not used");
}

#[test]
fn a_watched_folder_is_followed_also_when_an_editor_deletes_and_creates() {
    let dir = tempfile::tempdir().unwrap();
    good(dir.path());
    let mut source = FolderSource::new(dir.path());
    let active = Active::start(&mut source, setup(None)).unwrap();
    let first = active.pin().id.clone();
    // The pause is far longer than the test: only the folder's own events can bring the news.
    let watch = Watch::begin(active.clone(), Box::new(source), Duration::from_secs(600)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    fs::remove_file(dir.path().join("tollgate-policies.yaml")).unwrap();
    write(dir.path(), "tollgate-policies.yaml", &manifest(&OWN.replace("name: own", "name: mine")));
    let begun = Instant::now();
    while active.pin().id == first && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_ne!(active.pin().id, first);
    assert_eq!(active.status().rejected, None, "the moment without the file was waited out");
    watch.stop();
}
