//! The files of a listener: wrong ones at the start, new and broken ones while connections are open, and clients that keep
//! handshakes open.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest::Client;
use serde_json::json;

use crate::clients::{content, installed};
use crate::support::root;

use super::{House, READ, acme, call, put, told};
use crate::support::certificates::{Authority, DAY_S, Held, Wanted};
use crate::support::gateway::{binary, eventually, signal};

/// The certificate that a client is shown, as it was sent.
async fn shown(house: &House, client: &Client) -> Vec<u8> {
    let answer = client.get(house.gateway.url("/")).send().await.unwrap();
    answer.extensions().get::<reqwest::tls::TlsInfo>().unwrap().peer_certificate().unwrap().to_vec()
}

/// Asks until the answer is another one than it was.
async fn until_it_is(house: &House, client: &Client, expected: (u16, String), why: &str) -> Duration {
    let begun = Instant::now();
    loop {
        let came = call(house, client, None).await;
        if came == expected {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{why}: {came:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_served_and_open_connections_go_on() {
    let house = House::new("optional", READ);
    let held = house.root.sign(&acme());
    let open = house.root.client(Some(&held), |client| client.http1_only());
    let old = shown(&house, &open).await;
    // A stream that lasts longer than the change.
    let slow = json!({
        "model": "sim/sim-1?tps=20&tokens=60", "stream": true,
        "messages": [{ "role": "user", "content": "Hello" }],
    });
    let url = house.gateway.url("/v1/chat/completions");
    let streaming = house.client(Some(&held));
    let mut stream = streaming.post(url).body(slow.to_string()).send().await.unwrap().bytes_stream();
    let mut text = String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap();
    let next = house.root.server(200 * DAY_S);
    put(&house.path, "server", &next);
    let begun = Instant::now();
    let new = loop {
        let new = shown(&house, &house.client(Some(&held))).await;
        if new != old {
            break new;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the new certificate is never served");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(begun.elapsed() < Duration::from_secs(5), "a change acts within about a second: {:?}", begun.elapsed());
    assert_eq!(shown(&house, &open).await, old, "a connection that was open goes on");
    while let Some(piece) = stream.next().await {
        text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
    }
    assert!(text.contains("[DONE]"), "a stream under way ends well: {text}");

    // A broken file keeps what is there; SIGHUP does not change that.
    for (name, content, why) in [
        ("server.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned(), "no key"),
        ("server.key", house.root.server(DAY_S).key, "the key of another"),
        ("server.pem", house.root.server(-DAY_S / 2).cert, "one that has expired"),
        ("server.pem", String::new(), "an empty file"),
        ("clients.crl", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n".to_owned(), "no list"),
        ("clients.crl", Authority::root("another").revokes(&[]), "a list of somebody else"),
        ("clients.pem", "nothing".to_owned(), "no root"),
    ] {
        put(&house.path, "server", &next);
        std::fs::write(house.path.join("clients.pem"), house.root.pem()).unwrap();
        house.revoke(&[]);
        let begins = "tollgate_tls_loads_total{side=\"callers\",result=\"rejected\"}";
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        let before = house.metric(begins).await;
        std::fs::write(house.path.join(name), content).unwrap();
        let begun = Instant::now();
        while house.metric(begins).await <= before {
            assert!(begun.elapsed() < Duration::from_secs(20), "{why}: it is not told");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(shown(&house, &house.client(Some(&held))).await, new, "{why}");
        assert_eq!(call(&house, &house.client(Some(&held)), None).await, told(200, ""), "{why}");
        let log = house.gateway.log.lock().unwrap().clone();
        assert!(log.contains(&format!("{name}`")) && log.contains("those before serve on"), "{why}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_the_files_at_once_and_never_ends_the_gateway() {
    let house = House::new("off", "");
    let accepted = "tollgate_tls_loads_total{side=\"callers\",result=\"accepted\"}";
    let before = house.metric(accepted).await;
    signal(house.gateway.pid(), "HUP");
    let begun = Instant::now();
    while house.metric(accepted).await < before + 1.0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing was read");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(house.client(None).get(house.gateway.url("/")).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_ends_on_its_open_connection() {
    let house = House::new("optional", READ);
    let (one, two) =
        (house.root.sign(&Wanted { serial: 1, ..acme() }), house.root.sign(&Wanted { serial: 2, ..acme() }));
    let [first, second] = [&one, &two].map(|held| house.root.client(Some(held), |client| client.http1_only()));
    for client in [&first, &second] {
        assert_eq!(call(&house, client, None).await, told(200, ""));
    }
    house.revoke(&[1]);
    let took = until_it_is(&house, &first, told(401, "revoked_certificate"), "the revocation").await;
    assert!(took < Duration::from_secs(5), "about a second: {took:?}");
    assert_eq!(call(&house, &second, None).await, told(200, ""), "the other one is not touched");
    assert_eq!(call(&house, &house.client(Some(&one)), None).await, told(0, "no connection"), "nor does it come back");
    let key = house.key(json!({ "tenant": "acme" })).await;
    assert_eq!(call(&house, &first, Some(&key)).await, told(401, "revoked_certificate"), "a key does not help");
    house.revoke(&[]);
    until_it_is(&house, &first, told(200, ""), "a list may take one back").await;
    // Another root: those of the old one are nobody's.
    let other = Authority::root("the next root");
    std::fs::write(house.path.join("clients.pem"), other.pem()).unwrap();
    std::fs::write(house.path.join("clients.crl"), other.revokes(&[])).unwrap();
    until_it_is(&house, &second, told(401, "wrong_certificate"), "the root is gone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_ends_on_its_open_connection() {
    let house = House::new("optional", READ);
    let held = house.root.sign(&Wanted { until_s: 4, ..acme() });
    let client = house.root.client(Some(&held), |client| client.http1_only());
    assert_eq!(call(&house, &client, None).await, told(200, ""));
    until_it_is(&house, &client, told(401, "expired_certificate"), "its end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_certificate_is_told_before_it_comes() {
    let house = House::until("off", "", 10 * DAY_S + 100);
    eventually("the warning", || house.gateway.log.lock().unwrap().contains("ends soon").then_some(()));
    let days = house.metric("tollgate_tls_certificate_days_left{side=\"callers\"}").await;
    assert!((9.9..=10.1).contains(&days), "{days}");
    let fresh = House::until("off", "", 20 * DAY_S);
    assert!(fresh.metric("tollgate_tls_certificate_days_left{side=\"operators\"}").await > 19.0);
    assert!(!fresh.gateway.log.lock().unwrap().contains("ends soon"), "20 days are enough");
}

/// The program with these settings of `listen.tls`.
fn with_tls(folder: &tempfile::TempDir, tls: &str, more: &str, args: &[&str]) -> Output {
    let config = folder.path().join("tls.yaml");
    std::fs::write(&config, format!("listen:\n  tls: {tls}\n{more}")).unwrap();
    let mut program = Command::new("timeout");
    program.arg("20").arg(binary()).args(args).arg("--config").arg(&config);
    program.arg("--state").arg(folder.path().join("state")).current_dir(folder.path()).output().unwrap()
}

/// One start: what was said, where it did not start.
fn refused(folder: &tempfile::TempDir, tls: &str, more: &str) -> String {
    let out = with_tls(folder, tls, more, &["--listen", "127.0.0.1:0", "--operators", "127.0.0.1:0"]);
    assert_eq!(out.status.code(), Some(2), "{tls} was taken");
    String::from_utf8_lossy(&out.stderr).replace('\n', " ")
}

#[test]
fn wrong_files_are_told_before_anybody_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::root("a root");
    let good = root.server(DAY_S);
    put(folder.path(), "good", &good);
    put(folder.path(), "old", &root.server(-DAY_S / 2));
    put(folder.path(), "early", &root.sign(&Wanted { from_s: DAY_S, until_s: 2 * DAY_S, ..Wanted::default() }));
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("swapped.pem", &good.key);
    write("broken.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    write("locked.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n");
    write("root.pem", &root.pem());
    write("root.crl", &root.revokes(&[]));
    write("other.crl", &Authority::root("another root").revokes(&[]));
    write("namesake.crl", &Authority::root("a root").revokes(&[]));
    let clients = |rest: &str| format!("{{ cert: good.pem, key: good.key, {rest} }}");
    let pair = |cert: &str, key: &str| format!("{{ cert: {cert}, key: {key} }}");
    for (tls, parts) in [
        (pair("none.pem", "good.key"), &["cannot read `none.pem`", "listen.tls"][..]),
        (pair("swapped.pem", "good.key"), &["`swapped.pem`", "no certificate"]),
        (pair("broken.pem", "good.key"), &["`broken.pem`", "cannot be read"]),
        (pair("old.pem", "old.key"), &["`old.pem`", "expired on"]),
        (pair("early.pem", "early.key"), &["`early.pem`", "not valid before"]),
        (pair("good.pem", "old.key"), &["`old.key` is not the key of the certificate `good.pem`"]),
        (pair("good.pem", "good.pem"), &["`good.pem`", "no private key"]),
        (pair("good.pem", "locked.key"), &["`locked.key`", "passphrase"]),
        (clients("client: required"), &["`client_ca`"]),
        (clients("client_ca: root.pem"), &["`client` to `optional` or `required`"]),
        (clients("client_crl: [root.crl]"), &["`client_ca`"]),
        (clients("client: optional, client_ca: good.key"), &["`good.key`", "no certificate"]),
        (clients("client: optional, client_ca: root.pem, client_crl: [root.pem]"), &["`root.pem`", "X509 CRL"]),
        (clients("client: optional, client_ca: root.pem, client_crl: [other.crl]"), &["none of the lists", "a root"]),
        (
            clients("client: optional, client_ca: root.pem, client_crl: [namesake.crl]"),
            &["`namesake.crl`", "not have the signature of that root"],
        ),
    ] {
        let said = refused(&folder, &tls, "");
        assert!(parts.iter().all(|part| said.contains(part)), "{tls}: {said}");
    }
    put(folder.path(), "lasting", &root.server(30 * DAY_S));
    for (tls, code, part) in [
        (pair("old.pem", "old.key"), 1, "FAIL  listener  listen.tls: `old.pem`: the certificate expired on"),
        (pair("good.pem", "good.key"), 0, "warn  listener  listen.tls: the certificate is good until"),
        (pair("lasting.pem", "lasting.key"), 0, "ok    listener  listen.tls: the certificate is good until"),
    ] {
        let out = with_tls(&folder, &tls, "", &["doctor"]);
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.code() == Some(code) && said.contains(part), "{tls}: {said}");
    }
    let unasked = refused(&folder, &pair("good.pem", "good.key"), "identity: { certificates: { tenant: '\"a\"' } }\n");
    assert!(unasked.contains("nobody is asked for a certificate"), "{unasked}");
    let wrong = "identity: { certificates: { tenant: 'cert.', app: 'x' } }\n";
    let wrong = refused(&folder, &clients("client: optional, client_ca: root.pem"), wrong);
    assert!(wrong.contains("identity.certificates.tenant"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_plain_http_is_told_and_who_keeps_handshakes_open_makes_room() {
    let house = House::new("off", "");
    let at = house.gateway.base.trim_start_matches("https://").to_owned();
    let hint =
        Client::builder().no_proxy().build().unwrap().get(format!("http://{at}/v1/models")).send().await.unwrap();
    assert_eq!(hint.status(), 400);
    assert!(hint.text().await.unwrap().contains("write the address with `https://`"));

    // As many as are let wait, and some more: half of them say nothing, half begin and go no further.
    let mut open: Vec<TcpStream> = Vec::new();
    for n in 0..1_100 {
        let mut stream = TcpStream::connect(&at).unwrap();
        if n % 2 == 1 {
            stream.write_all(&[0x16, 3, 1]).unwrap();
        }
        open.push(stream);
    }
    let begun = Instant::now();
    let answer = house.client(None).get(house.gateway.url("/")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(begun.elapsed() < Duration::from_secs(5), "an honest client waits for nobody: {:?}", begun.elapsed());
    assert!(house.metric("tollgate_tls_handshakes_total{side=\"callers\",result=\"made_room\"}").await >= 50.0);
    open[0].set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(matches!(open[0].read(&mut [0; 16]), Ok(0) | Err(_)), "the oldest was closed");
    let last = open.last_mut().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!(matches!(last.read(&mut [0; 16]), Ok(0)), "the others when their time is over");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(house.metric("tollgate_tls_handshakes_total{side=\"callers\",result=\"slow\"}").await >= 1.0);
}

/// Who has the official client has no key to give: an empty one counts as none.
#[test]
fn the_official_client_calls_with_a_certificate_alone() {
    let Some(installed) = installed("python", "bin/python") else { return };
    let house = House::new("optional", READ);
    put(&house.path, "desk", &house.root.sign(&acme()));
    std::fs::write(house.path.join("root.pem"), house.root.pem()).unwrap();
    let mut command = Command::new(installed.join("bin/python"));
    command.arg("-B").arg(root().join("tests/clients/python/with_openai_certificate.py"));
    for (name, file) in [("ROOT", "root.pem"), ("CERT", "desk.pem"), ("CERT_KEY", "desk.key")] {
        command.env(name, house.path.join(file));
    }
    content(&mut command, "Python openai with a certificate", &house.gateway);
}

/// With curl, as the page on TLS has it.
#[test]
fn curl_shows_its_certificate_over_both_versions_of_http() {
    let house = House::new("required", READ);
    let held: Held = house.root.sign(&acme());
    put(&house.path, "desk", &held);
    std::fs::write(house.path.join("root.pem"), house.root.pem()).unwrap();
    for version in ["--http1.1", "--http2"] {
        let curl = |shows: &[&str]| {
            let mut command = Command::new("curl");
            command.current_dir(&house.path).args(["--silent", "--max-time", "20", version, "--cacert", "root.pem"]);
            command.args(shows).arg(house.gateway.url("/v1/models")).output().unwrap()
        };
        let out = curl(&["--cert", "desk.pem", "--key", "desk.key"]);
        assert!(String::from_utf8_lossy(&out.stdout).contains("sim-1"), "{version}: {out:?}");
        assert!(!curl(&[]).status.success(), "{version}: without a certificate");
    }
}
