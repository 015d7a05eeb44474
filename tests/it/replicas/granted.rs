//! A grant that an operator makes at one gateway: on all of them, through an emptied store and a kill, until it is revoked.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::{chat, config, limits, replicas};
use crate::budgets::spent;
use crate::calls::post;
use crate::keys::{admin, token};
use crate::support::gateway::{Gateway, eventually, tollgate};
use crate::support::redis::Redis;

const DAY: &str = "/admin/v1/budgets/day/tenant=default";

/// `tollgate budget ...` at this gateway: whether it was done, and what was told.
pub(super) fn budget(gateway: &Gateway, args: &[&str]) -> (bool, String) {
    let args = [&["budget"], args, &["--operators", &gateway.operators]].concat();
    let out = tollgate(&args, &gateway.state);
    (out.status.success(), format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)))
}

/// Limit and grants in force as `budget show` lists them here.
fn shown(gateway: &Gateway) -> (u64, Vec<String>) {
    let (_, told) = budget(gateway, &["show", "--json", "--rule", "day"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    let of = &told["budgets"][0];
    let ids = of["grants"].as_array().into_iter().flatten().map(|grant| grant["id"].as_str().unwrap().to_owned());
    (of["limit"].as_u64().unwrap_or_default(), ids.collect())
}

/// How long it takes until a call of 1,500 tokens is answered so.
async fn until_answered(gateway: &Gateway, status: u16) -> Duration {
    let begun = Instant::now();
    loop {
        let answer = post(gateway, chat(1_500), &[("x-sim", "tokens=1500")]).await;
        if answer.status() == status {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{}", answer.text().await.unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_at_one_gateway_lets_in_who_was_refused_at_another() {
    let Some(mut store) = Redis::start("a grant for gateways that share limits") else { return };
    let repository = limits("budgets:\n  day: { per: [tenant], limit_tokens: 3000, period: day }\n");
    let mut gateways = replicas(3, store.port, &repository);
    spent(&gateways[0], 1_500).await.unwrap();
    spent(&gateways[1], 1_500).await.unwrap_err();
    let why = ["--until", "1h", "--reason", "a launch"];
    let grant = |id| [&["grant", "day", "tenant=default", "3000tokens", "--id", id], &why[..]].concat();
    let (done, told) = budget(&gateways[2], &grant("launch"));
    assert!(done && told.contains("grant launch of day tenant=default"), "{told}");
    println!("let in after {:?}", until_answered(&gateways[1], 200).await);
    for gateway in &gateways {
        eventually("it is listed", || (shown(gateway) == (6_000, vec!["launch".to_owned()])).then_some(()));
    }
    let receipt = gateways[1].receipt(&spent(&gateways[1], 10).await.unwrap());
    assert_eq!(receipt["holds"][0]["limit"], 6_000, "{}", receipt["holds"]);

    // The store forgets, and a gateway is killed: both hear of it again.
    store.ask(&["FLUSHALL"]);
    eventually("the grant in the store", || {
        store.ask(&["HKEYS", "{tollgate}:amendments"]).contains("launch").then_some(())
    });
    let killed = std::sync::Arc::into_inner(gateways.remove(0)).unwrap();
    let state = killed.state.clone();
    let folder = killed.kill();
    let again = Gateway::on(folder, state, &["--policies", repository.address()], Some(&config(store.port)));
    eventually("it is listed after a kill", || (shown(&again).0 == 6_000).then_some(()));
    let same = json!({ "tokens": 3000, "until": "period", "reason": "a launch", "id": "launch" });
    let again_told = admin(&again, &token(&again), Method::POST, &format!("{DAY}/grants"), same, None).await;
    assert_eq!((again_told.0, &again_told.2["balance"]["limit"]), (200, &json!(6_000)), "once: {}", again_told.2);

    // Where the store does not answer all have it in the end, or none: nobody knows which, and it counts once.
    store.stand_still();
    let lost = json!({ "tokens": 500, "until": "period", "reason": "lost", "id": "lost" });
    let grants = format!("{DAY}/grants");
    let (status, _, told) = admin(&again, &token(&again), Method::POST, &grants, lost.clone(), None).await;
    let code = told["code"].as_str().unwrap_or_default();
    assert!(matches!((status, code), (504, "not_said") | (503, "limits_unreachable")), "{status} {told}");
    store.go_on();
    eventually("it is granted, once", || {
        let (done, _) = budget(
            &gateways[0],
            &["grant", "day", "tenant=default", "500tokens", "--id", "lost", "--until", "period", "--reason", "lost"],
        );
        done.then_some(())
    });
    for gateway in gateways.iter().map(|gateway| &**gateway).chain([&again]) {
        eventually("all agree", || (shown(gateway).0 == 6_500).then_some(()));
    }
    let acts = String::from_utf8(tollgate(&["trail", "acts", "--json"], &again.state).stdout).unwrap();
    let on_record = acts.lines().filter(|act| act.contains("\"status\":504")).count();
    assert_eq!(on_record, usize::from(status == 504), "what may act is on record: {acts}");
    assert!(budget(&gateways[0], &["revoke", "day", "tenant=default", "lost"]).0);

    let path = format!("{DAY}/grants/launch");
    let (status, _, told) = admin(&again, &token(&again), Method::DELETE, &path, Value::Null, None).await;
    assert_eq!((status, &told["record"]["state"], &told["balance"]["limit"]), (200, &json!("revoked"), &json!(3_000)));
    for gateway in &gateways {
        eventually("it is no more", || (shown(gateway) == (3_000, Vec::new())).then_some(()));
        spent(gateway, 1_500).await.unwrap_err();
    }

    // Without the store nothing is changed, and it is told.
    store.kill();
    eventually("the store is away", || budget(&again, &grant("late")).1.contains("nothing was changed").then_some(()));
    let (status, _, told) = admin(
        &again,
        &token(&again),
        Method::POST,
        &format!("{DAY}/grants"),
        json!({ "tokens": 5, "until": "period", "reason": "x" }),
        None,
    )
    .await;
    assert_eq!((status, &told["code"]), (503, &json!("limits_unreachable")), "{told}");
    assert!(gateways.iter().all(|gateway| shown(gateway) == (3_000, Vec::new())));
}
