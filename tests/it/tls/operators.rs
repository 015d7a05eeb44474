//! The operators' port behind TLS: what a certificate may do there, and the verbs of the command line.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::{House, READ, acme, put};
use crate::keys::json_of;
use crate::support::certificates::{Held, Wanted};
use crate::support::gateway::{binary, eventually, tollgate};

async fn asked(house: &House, client: &Client, method: &str, path: &str, body: &str) -> (u16, Value) {
    let url = format!("{}{path}", house.gateway.operators);
    let request = client.request(method.parse::<Method>().unwrap(), url).body(body.to_owned());
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

/// For every route of the operators: certificates by what they are for, and none.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_asks_a_certificate_for_its_right() {
    let house = House::new("optional", READ);
    let of = |unit: &'static str, is_named: bool| {
        let wanted = acme();
        let alternative = if is_named { wanted.alternative } else { Vec::new() };
        house.client(Some(&house.root.sign(&Wanted { unit, alternative, ..wanted })))
    };
    let rows = [
        ("none", house.client(None), [401, 401, 401]),
        ("a caller's", of("callers", true), [403, 403, 403]),
        ("one that reads", of("reader", true), [0, 403, 403]),
        ("one that reads, of no tenant", of("reader", false), [0, 403, 403]),
        ("an operator's", of("admin", true), [0, 0, 0]),
        ("an operator's, of no tenant", of("admin", false), [0, 0, 0]),
        ("nobody's", of("else", false), [401, 401, 401]),
    ];
    let (status, index) = asked(&house, &rows[4].1, "GET", "/admin/v1", "").await;
    assert_eq!(status, 200, "{index}");
    let routes = index["routes"].as_array().unwrap();
    assert!(routes.len() >= 19, "{index}");
    for route in routes {
        let text = |name: &str| route[name].as_str().unwrap();
        let (method, path) = (text("method"), text("path").replace("{id}", "none"));
        for (name, client, [read, keys, all]) in &rows {
            let expected = match text("needs") {
                "nothing" => 0,
                "admin:read" | "budgets" => *read,
                "keys" => *keys,
                "admin" => *all,
                // It is for machines with a secret of their own.
                "its own" => 401,
                other => panic!("`{other}` of {method} {path} is new: say here who has it"),
            };
            let (got, _) = asked(&house, client, method, &path, "{}").await;
            assert_eq!(if matches!(got, 401 | 403) { got } else { 0 }, expected, "{method} {path}: {name}");
        }
    }
    // What was done stands in the record of acts, under the certificate.
    let made = asked(&house, &rows[5].1, "POST", "/admin/v1/keys", &json!({ "tenant": "acme" }).to_string()).await;
    assert_eq!(made.0, 201, "{}", made.1);
    let acts = tollgate(&["trail", "acts", "--json"], &house.gateway.state);
    let acts = String::from_utf8(acts.stdout).unwrap();
    assert!(acts.lines().last().unwrap().contains("\"actor\":\"certificate cert:~"), "{acts}");
    // A page of another site does not act in an operator's name.
    let url = format!("{}/admin/v1/policies/rollback", house.gateway.operators);
    let answer = rows[4].1.post(url).header("sec-fetch-site", "cross-site").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), json_of(answer).await["code"].as_str()), (401, Some("another_site")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_no_operators_any_more() {
    let house = House::new("optional", READ);
    let held: Held = house.root.sign(&Wanted { serial: 3, unit: "admin", ..acme() });
    let client = house.root.client(Some(&held), |client| client.http1_only());
    assert_eq!(asked(&house, &client, "GET", "/admin/v1", "").await.0, 200);
    house.revoke(&[3]);
    let begun = std::time::Instant::now();
    while asked(&house, &client, "GET", "/admin/v1", "").await.0 == 200 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "it is still taken");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let (status, told) = asked(&house, &client, "GET", "/admin/v1", "").await;
    assert_eq!((status, told["code"].as_str()), (401, Some("revoked_certificate")));
}

#[test]
fn the_verbs_of_the_command_line_find_their_gateway_behind_tls() {
    for client in ["off", "required"] {
        let house = House::new(client, "");
        put(&house.path, "own", &house.root.sign(&acme()));
        let at = |more: &[&str]| {
            let config = house.path.join("tollgate.yaml");
            let mut command = std::process::Command::new(binary());
            command.args(["key", "list", "--json", "--operators", &house.gateway.operators, "--config"]).arg(config);
            command.arg("--state").arg(&house.gateway.state).args(more).current_dir(&house.path);
            command.output().unwrap()
        };
        let own = at(&["--client-cert", "own.pem", "--client-key", "own.key"]);
        assert!(own.status.success(), "{client}: {own:?}");
        let without = at(&[]);
        assert_eq!(without.status.success(), client == "off", "{client}: {without:?}");
        if client == "off" {
            // The config names a certificate that is not the one that is served: nobody is believed.
            std::fs::write(house.path.join("server.pem"), house.root.server(1_000).cert).unwrap();
            eventually("the rejected file", || {
                house.gateway.log.lock().unwrap().contains("those before serve on").then_some(())
            });
            let other = at(&[]);
            assert_eq!(other.status.code(), Some(3));
            assert!(String::from_utf8_lossy(&other.stderr).contains("another certificate"), "{other:?}");
        }
    }
}
