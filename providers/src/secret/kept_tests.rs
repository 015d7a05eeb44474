//! One secret over time: what stays, what is read how often, what its id tells.

use super::*;

fn of(source: SecretSource, key: u8) -> (Arc<Kept>, Arc<Mutex<Vec<String>>>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let kept = log.clone();
    let told: Told = Arc::new(move |_, id, what| kept.lock().unwrap().push(format!("{id} {what:?}")));
    let keeping = Keeping { key: [key; 32], told };
    (Arc::new(Kept::new("p".into(), vec![source], Form::Line("Bearer "), keeping)), log)
}

fn shown(kept: &Kept) -> String {
    kept.version().and_then(|v| v.header.clone()).map_or_else(String::new, |h| h.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn the_last_good_version_stays_until_there_is_a_better_one() {
    let folder = std::env::temp_dir().join(format!("tollgate-kept-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("secret");
    let (kept, log) = of(SecretSource::File(path.clone()), 1);
    assert!(kept.version().is_none() && kept.problem().is_some() && !kept.is_due());
    let mut ids = Vec::new();
    for (text, expected, why) in [
        (Some("one"), "Bearer one", "it is there now"),
        (Some(""), "Bearer one", "it is being written"),
        (Some("two\n"), "Bearer two", "it was written"),
        (None, "Bearer two", "it was taken away"),
    ] {
        match text {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        assert!(kept.is_due(), "{why}");
        kept.reread().await;
        assert!(!kept.is_due(), "{why}: once");
        assert_eq!(shown(&kept), expected, "{why}");
        ids.push(kept.version().unwrap().id.clone());
    }
    assert_ne!(ids[0], ids[2], "two versions have two ids");
    assert_eq!((kept.report(Vec::new()).state, kept.problem().is_some()), ("good", true));
    assert!(!format!("{:?}{:?}", log.lock().unwrap(), kept.report(Vec::new())).contains("Bearer"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn refusals_make_it_be_read_once_a_second_and_rest() {
    let count = std::env::temp_dir().join(format!("tollgate-kept-count-{}", std::process::id()));
    let script = format!("echo x >> {0}; echo sk-same", count.display());
    let words = ["sh".to_owned(), "-c".to_owned(), script];
    let (kept, log) = of(SecretSource::Command { words: words.to_vec(), every: None }, 1);
    let seen = kept.version().unwrap();
    for _ in 0..20 {
        assert!(!kept.renewed(Some(&seen)).await);
    }
    assert_eq!(std::fs::read_to_string(&count).unwrap().lines().count(), 2, "at the start, and once for 20 refusals");
    std::fs::remove_file(count).unwrap();
    assert!(kept.may_be_shown());
    kept.refuse(&seen, 401);
    kept.refuse(&seen, 401);
    assert!(!kept.may_be_shown() && kept.is_refused());
    kept.rests_until.store(1, Relaxed);
    assert_eq!((kept.may_be_shown(), kept.may_be_shown()), (true, false), "after its rest one call tries it");
    kept.used(200);
    assert!(kept.may_be_shown() && !kept.is_refused());
    assert_eq!(log.lock().unwrap().len(), 1, "it is told once: {:?}", log.lock().unwrap());
}

#[test]
fn a_fingerprint_tells_nothing_without_its_key() {
    let source = || SecretSource::Command { words: vec!["echo".into(), "sk-1".into()], every: None };
    let id = |key| of(source(), key).0.version().unwrap().id.clone();
    assert_eq!(id(1), id(1));
    assert_ne!(id(1), id(2));
    assert!(id(1).starts_with("command:echo#"), "{}", id(1));
}
