//! A store that speaks TLS and lets in whom it knows: how a gateway comes to it, and what it says where it does not.

use std::net::TcpListener;
use std::sync::Arc;

use super::granted::budget;
use super::{LEASE_MS, chat, month};
use crate::calls::post;
use crate::support::certificates::{Authority, DAY_S};
use crate::support::gateway::{Gateway, tollgate};
use crate::support::redis::{self, Redis};

/// What `docs/replicas.md` says that a gateway needs.
const RIGHTS: &str = "~{tollgate}:* resetchannels -@all +evalsha +script|load +info +time +hgetall +hmget +hset +hdel \
                      +hincrby +del +pexpireat +config|get";

struct Secured {
    store: Redis,
    tls_port: u16,
    folder: tempfile::TempDir,
}

/// A store with TLS, the users `gate` and `default` with a password each; `None` = there is none here that can.
fn secured(what: &str) -> Option<Secured> {
    if !redis::speaks_tls(what) {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let (root, other) = (Authority::root("the store's"), Authority::root("somebody else's"));
    let held = root.server(DAY_S);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (name, text) in [
        ("cert.pem", &*held.cert),
        ("key.pem", &held.key),
        ("root.pem", &root.pem()),
        ("other.pem", &other.pem()),
        ("empty.pem", ""),
        ("word", "a-word-of-gate\n"),
        ("default", "a-word-of-all\n"),
        ("wrong", "a-guess\n"),
    ] {
        std::fs::write(path(name), text).unwrap();
    }
    let tls_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (port, cert, key, root) = (tls_port.to_string(), path("cert.pem"), path("key.pem"), path("root.pem"));
    let files = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &root];
    let args = [&["--appendonly", "yes", "--tls-port", &*port, "--tls-auth-clients", "no"][..], &files].concat();
    let store = Redis::with(what, &args)?;
    let words: Vec<&str> =
        ["ACL", "SETUSER", "gate", "on", ">a-word-of-gate"].into_iter().chain(RIGHTS.split(' ')).collect();
    assert_eq!(store.ask(&words), "OK");
    assert_eq!(store.ask(&["CONFIG", "SET", "requirepass", "a-word-of-all"]), "OK");
    Some(Secured { store, tls_port, folder })
}

impl Secured {
    /// The section, with the names of files made to paths.
    fn config(&self, address: &str, ca: &str, password: &str) -> String {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let mut section = format!("store: {{ redis: \"{address}\", lease_ms: {LEASE_MS}");
        if !ca.is_empty() {
            section += &format!(", ca: \"{}\"", path(ca));
        }
        if !password.is_empty() {
            section += &format!(", password: {{ file: \"{}\" }}", path(password));
        }
        section + " }\n"
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_spent_over_tls_by_a_user_with_the_rights_that_are_documented() {
    let Some(secured) = secured("a store with TLS") else { return };
    let repository = month("1");
    for (user, password) in [("gate@", "word"), ("", "default")] {
        let config = secured.config(&format!("rediss://{user}127.0.0.1:{}", secured.tls_port), "root.pem", password);
        let gateway = Arc::new(Gateway::with(&["--policies", repository.address()], Some(&config)));
        // A machine that is busy makes the store slow now and then.
        let mut status = 0;
        for _ in 0..100 {
            status = post(&gateway, chat(10), &[]).await.status().as_u16();
            if status != 503 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(status, 200, "{user}");
        for args in [
            &["grant", "month", "tenant=default", "1usd", "--until", "1h", "--reason", "more", "--id", password][..],
            &["revoke", "month", "tenant=default", password],
        ] {
            let (done, told) = budget(&gateway, args);
            assert!(done, "{user}: {told}");
        }
        let log = secured.store.ask(&["ACL", "LOG"]);
        assert!(!log.contains("command"), "{user} was denied something: {log}");
    }
}

#[test]
fn who_is_not_let_in_does_not_start_and_says_what_to_do() {
    let Some(secured) = secured("a store that lets nobody in") else { return };
    let (tls, plain) = (format!("127.0.0.1:{}", secured.tls_port), format!("127.0.0.1:{}", secured.store.port));
    for (address, ca, password, part, why) in [
        (format!("rediss://gate@{tls}"), "root.pem", "wrong", "see to `store.password`", "a wrong password"),
        (format!("rediss://nobody@{tls}"), "root.pem", "word", "the user in `store.redis`", "a user that is not there"),
        (format!("rediss://{tls}"), "root.pem", "", "give it with `store.password", "no password"),
        (format!("redis://{plain}"), "", "wrong", "see to `store.password`", "a wrong one without TLS"),
        (format!("rediss://gate@{tls}"), "other.pem", "word", "`store.ca: FILE`", "another CA"),
        (format!("rediss://gate@{tls}"), "", "word", "`store.ca: FILE`", "one that this machine does not know"),
        (format!("redis://gate@{plain}"), "root.pem", "word", "write `rediss://`", "a CA for nothing"),
        (format!("rediss://gate@{tls}"), "empty.pem", "word", "no certificate", "a file without one"),
        (format!("rediss://gate@{tls}"), "missing.pem", "word", "missing.pem", "a file that is not there"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tollgate.yaml");
        std::fs::write(&path, secured.config(&address, ca, password)).unwrap();
        let flags = ["--listen", "127.0.0.1:0", "--operators", "127.0.0.1:0", "--config", path.to_str().unwrap()];
        let out = tollgate(&flags, &folder.path().join("state"));
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        println!("{why}: {told}");
        assert_eq!(out.status.code(), Some(2), "{why}: {told}");
        assert!(told.contains(part), "{why}: {told}");
        assert!(!told.contains("a-word") && !told.contains("a-guess"), "{why}: a password is told: {told}");
    }
}
