//! What a gateway says at its start of the store, or of there being none.

use std::collections::BTreeMap;
use std::time::Duration;

use super::granted::budget;
use super::{LEASE_MS, chat, config, limits, month, replicas};
use crate::calls::post;
use crate::support::gateway::{Gateway, eventually, tollgate};
use crate::support::redis::Redis;

#[test]
fn a_store_that_forgets_is_refused_at_the_start() {
    for (args, part, why) in [
        (&["--appendonly", "no"][..], "appendonly no", "a restart would forget"),
        (
            &["--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"],
            "maxmemory-policy allkeys-lru",
            "memory that is short would",
        ),
        (
            &["--appendonly", "yes", "--rename-command", "CONFIG", ""],
            "trust_store: true",
            "nobody can see whether it would",
        ),
    ] {
        let Some(store) = Redis::with("a store that forgets", args) else { return };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tollgate.yaml");
        std::fs::write(&path, config(store.port)).unwrap();
        let flags = ["--listen", "127.0.0.1:0", "--operators", "127.0.0.1:0", "--config", path.to_str().unwrap()];
        let out = tollgate(&flags, &folder.path().join("state"));
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{why}: {told}");
        assert!(told.contains(part), "{why}: {told}");
    }
}

#[test]
fn several_gateways_without_a_store_keep_their_shares_or_do_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tollgate.yaml");
    std::fs::write(&path, "store: { replicas: 3 }\n").unwrap();
    let flags = ["--listen", "127.0.0.1:0", "--operators", "127.0.0.1:0", "--config", path.to_str().unwrap()];
    let out = tollgate(&flags, &folder.path().join("state"));
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{told}");
    assert!(told.contains("share: \"1/3\"") && told.contains("redis: "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_a_limit_is_all_that_a_gateway_spends() {
    let repository = limits("rates:\n  hour: { per: [tenant], requests: 30, every: 1h }\n");
    let gateway =
        Gateway::with(&["--policies", repository.address()], Some("store: { replicas: 3, share: \"1/3\" }\n"));
    let mut counts = BTreeMap::new();
    for _ in 0..15 {
        *counts.entry(post(&gateway, chat(10), &[]).await.status().as_u16()).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([(200, 10), (429, 5)]));
    let more = ["override", "hour", "tenant=default", "60requests", "--until", "1h", "--reason", "more"];
    let (done, told) = budget(&gateway, &more);
    assert!(!done && told.contains("keeps to its share of each limit"), "a part of a grant is no grant: {told}");
}

/// A start without the store: nothing under a limit is admitted, all else is, and the store is found when it comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_begins_without_its_store_and_finds_it() {
    let Some(mut store) = Redis::start("a store that is not there") else { return };
    store.kill();
    let repository = month("1");
    let gateways = replicas(1, store.port, &repository);
    let answer = post(&gateways[0], chat(10), &[]).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"), "{:?}", answer.headers());
    let told = answer.text().await.unwrap();
    assert!(told.contains("limits_unreachable") && told.contains("`month`"), "{told}");
    let again = Redis::on(store.port, "a store that comes", &["--appendonly", "yes"]).unwrap();
    eventually("the gateway at the store", || again.ask(&["EXISTS", "{tollgate}:epoch"]).contains('1').then_some(()));
    tokio::time::sleep(Duration::from_millis(LEASE_MS + 300)).await;
    assert_eq!(post(&gateways[0], chat(10), &[]).await.status(), 200);
}
