//! Keys from outside: made, rotated and revoked while calls go on; what each may do, from where, and until when.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::calls::{chat, client, post};
use crate::support::gateway::{Gateway, tollgate};

/// Two tenants, with everything granted to both.
const TENANTS: &str = "tenants: { acme: { apps: [desk, shop] }, umbrella: }\ngrants:\n  - { for: {} }\n";

/// A gateway whose repository has these tables, and the folder of the repository.
pub fn with_tenants(tenants: &str) -> (Gateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tollgate-policies.yaml"), "api: tollgate.policy/v1\npolicies: []\n").unwrap();
    std::fs::write(folder.path().join("tenants.yaml"), tenants).unwrap();
    let gateway = Gateway::with(&["--policies", folder.path().to_str().unwrap()], None);
    (gateway, folder)
}

pub fn token(gateway: &Gateway) -> String {
    std::fs::read_to_string(gateway.state.join("operator-token")).unwrap()
}

/// One request to the operators' side: status, ETag, what was told.
pub async fn admin(
    gateway: &Gateway,
    token: &str,
    method: Method,
    path: &str,
    body: Value,
    if_match: Option<&str>,
) -> (u16, String, Value) {
    let mut request = client().request(method, format!("{}{path}", gateway.operators)).bearer_auth(token);
    if !body.is_null() {
        request = request.body(body.to_string());
    }
    if let Some(etag) = if_match {
        request = request.header("if-match", etag);
    }
    let answer = request.send().await.unwrap();
    let etag = answer.headers().get("etag").map_or("", |v| v.to_str().unwrap()).to_owned();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, etag, serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// A new key: its id and its text.
pub async fn made(gateway: &Gateway, wanted: Value) -> (String, String) {
    let (status, _, told) = admin(gateway, &token(gateway), Method::POST, "/admin/v1/keys", wanted, None).await;
    assert_eq!(status, 201, "{told}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&told["record"]["id"]), text(&told["key"]))
}

pub async fn json_of(answer: reqwest::Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

/// One chat with a key: status and the refusal's code.
pub async fn call(gateway: &Gateway, key: &str) -> (u16, String) {
    let answer = post(gateway, chat("sim/sim-1").to_string(), &[("authorization", &format!("Bearer {key}"))]).await;
    let status = answer.status().as_u16();
    let body = json_of(answer).await;
    (status, body["error"]["tollgate"]["code"].as_str().unwrap_or_default().to_owned())
}

fn refused(code: &str) -> (u16, String) {
    (401, code.to_owned())
}

fn taken() -> (u16, String) {
    (200, String::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_rotated_and_revoked_while_the_gateway_runs_and_outlives_it() {
    let (gateway, folder) = with_tenants(TENANTS);
    let operator = token(&gateway);
    let (id, first) = made(&gateway, json!({ "tenant": "acme", "app": "desk", "owner": "team-desk" })).await;
    assert_eq!(call(&gateway, &first).await, taken());
    let path = format!("/admin/v1/keys/{id}");
    let (status, etag, told) = admin(&gateway, &operator, Method::GET, &path, Value::Null, None).await;
    assert_eq!((status, told["state"].as_str(), told["owner"].as_str()), (200, Some("good"), Some("team-desk")));
    assert!(told.get("hash").is_none() && !told.to_string().contains(&first), "{told}");

    // A dry run tells and does nothing.
    let rotate = format!("{path}/rotate");
    let dry = admin(&gateway, &operator, Method::POST, &format!("{rotate}?dry_run=true"), Value::Null, None).await;
    assert_eq!((dry.0, dry.2["record"]["state"].as_str(), &dry.2["key"]), (200, Some("rotating"), &Value::Null));
    let stale = admin(&gateway, &operator, Method::POST, &rotate, Value::Null, Some("\"0\"")).await;
    assert_eq!((stale.0, stale.2["code"].as_str()), (412, Some("stale")), "another has changed it");
    let (status, after, told) =
        admin(&gateway, &operator, Method::POST, &rotate, json!({ "overlap_s": 600 }), Some(&etag)).await;
    assert_eq!((status, after == etag), (200, false), "{told}");
    let second = told["key"].as_str().unwrap().to_owned();
    assert_eq!(told["record"]["id"], id.as_str(), "a rotation keeps the id");
    assert_eq!((call(&gateway, &first).await, call(&gateway, &second).await), (taken(), taken()), "both, for a while");
    // Without an overlap the one before ends at once.
    let (_, _, told) = admin(&gateway, &operator, Method::POST, &rotate, json!({ "overlap_s": 0 }), None).await;
    let third = told["key"].as_str().unwrap().to_owned();
    assert_eq!(call(&gateway, &second).await, refused("replaced_key"));
    assert_eq!(call(&gateway, &first).await, refused("unknown_key"), "only the one before was kept");
    assert_eq!(call(&gateway, &third).await, taken());

    let (gone, gone_key) = made(&gateway, json!({ "tenant": "umbrella" })).await;
    let (status, _, _) =
        admin(&gateway, &operator, Method::DELETE, &format!("/admin/v1/keys/{gone}"), Value::Null, None).await;
    assert_eq!(status, 200);
    assert_eq!(call(&gateway, &gone_key).await, refused("revoked_key"), "the next call already");

    let state = gateway.state.clone();
    let (_, held) = gateway.stop();
    let again = Gateway::on(held, state, &["--policies", folder.path().to_str().unwrap()], None);
    assert_eq!((call(&again, &third).await, call(&again, &gone_key).await), (taken(), refused("revoked_key")));
    let acts = tollgate(&["trail", "acts", "--json"], &again.state);
    let acts: Vec<Value> =
        String::from_utf8(acts.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let did: Vec<&str> = acts.iter().map(|act| act["did"].as_str().unwrap().split(' ').next().unwrap()).collect();
    assert_eq!(did, ["POST", "POST", "POST", "POST", "DELETE"], "each act, and no dry run: {acts:?}");
    assert!(acts.iter().all(|act| act["actor"] == "operator-token" && act["address"] == "127.0.0.1"), "{acts:?}");
    for secret in [&first, &second, &third, &gone_key, &operator] {
        assert!(
            !format!("{acts:?}{}", String::from_utf8_lossy(&std::fs::read(again.state.join("keys.redb")).unwrap()))
                .contains(secret)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_the_repository_is_revoked_without_a_commit_and_comes_back_with_none() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let out = tollgate(
        &["key", "new", "--row", "--json", "--tenant", "acme", "--scope", "chat", "--cidr", "127.0.0.0/8"],
        &state,
    );
    let row: Value = serde_json::from_slice(&out.stdout).unwrap();
    let (id, key) = (row["id"].as_str().unwrap(), row["key"].as_str().unwrap());
    let policies = tempfile::tempdir().unwrap();
    let manifest = "api: tollgate.policy/v1\npolicies: []\n";
    std::fs::write(policies.path().join("tollgate-policies.yaml"), manifest).unwrap();
    let rows = format!(
        "{TENANTS}keys:\n  - {{ id: {id}, hash: \"{}\", tenant: acme, scopes: [chat], cidr: [127.0.0.0/8] }}\n",
        row["hash"].as_str().unwrap()
    );
    std::fs::write(policies.path().join("tenants.yaml"), rows).unwrap();
    let args = ["--policies", policies.path().to_str().unwrap()];
    let gateway = Gateway::on(folder, state, &args, None);
    assert_eq!(call(&gateway, key).await, taken());
    let cli = |gateway: &Gateway, words: &[&str]| {
        let mut args = words.to_vec();
        args.extend(["--json", "--operators", &gateway.operators]);
        let out = tollgate(&args, &gateway.state);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if out.status.success() { Ok(text(out.stdout)) } else { Err(text(out.stderr)) }
    };
    assert!(cli(&gateway, &["key", "rotate", id]).unwrap_err().contains("stands in `tenants.yaml`"));
    cli(&gateway, &["key", "revoke", id, "--dry-run"]).unwrap();
    assert_eq!(call(&gateway, key).await, taken(), "a dry run");
    cli(&gateway, &["key", "revoke", id]).unwrap();
    assert_eq!(call(&gateway, key).await, refused("revoked_key"));
    let listed: Value = serde_json::from_str(&cli(&gateway, &["key", "list"]).unwrap()).unwrap();
    let listed = &listed["keys"][0];
    assert_eq!(
        (&listed["id"], &listed["state"], &listed["source"]),
        (&json!(id), &json!("revoked"), &json!("tenants.yaml"))
    );
    let (_, folder) = gateway.stop();
    let state = folder.path().join("state");
    let again = Gateway::on(folder, state, &args, None);
    assert_eq!(call(&again, key).await, refused("revoked_key"), "after a restart too");
    // Where a gateway runs, a new key is one of its own.
    let new: Value = serde_json::from_str(&cli(&again, &["key", "new", "--tenant", "acme"]).unwrap()).unwrap();
    assert_eq!(call(&again, new["key"].as_str().unwrap()).await, taken());
    let wrong = cli(&again, &["key", "new", "--tenant", "acne"]).unwrap_err();
    assert!(wrong.contains("did you mean `acme`?"), "{wrong}");
    let row = cli(&again, &["key", "new", "--row", "--tenant", "acme", "--scope", "chatt"]).unwrap_err();
    assert!(row.contains("did you mean `chat`?"), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_what_its_scopes_say_from_where_they_say() {
    let (gateway, _folder) = with_tenants(TENANTS);
    let out_of_scope = (403, "out_of_scope".to_owned());
    for (wanted, came, why) in [
        (json!({ "tenant": "acme" }), taken(), "calls of all kinds"),
        (json!({ "tenant": "acme", "scopes": ["chat"] }), taken(), "what it is for"),
        (json!({ "tenant": "acme", "scopes": ["embeddings"] }), out_of_scope.clone(), "another operation"),
        (json!({ "tenant": "acme", "scopes": ["admin"] }), out_of_scope.clone(), "an operator's key makes no calls"),
        (json!({ "tenant": "acme", "cidr": ["127.0.0.0/8", "::1"] }), taken(), "from here"),
        (json!({ "tenant": "acme", "cidr": ["192.0.2.0/24"] }), refused("wrong_network"), "from elsewhere"),
    ] {
        let (_, key) = made(&gateway, wanted).await;
        assert_eq!(call(&gateway, &key).await, came, "{why}");
    }
    let (_, key) = made(&gateway, json!({ "tenant": "acme", "scopes": ["embeddings"] })).await;
    let models: Value = json_of(client().get(gateway.url("/v1/models")).bearer_auth(&key).send().await.unwrap()).await;
    let names: Vec<&str> = models["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert!(!names.is_empty() && names.iter().all(|name| name.contains("embed")), "only what it may use: {names:?}");
    for (wanted, told) in [
        (json!({}), "`tenant` is missing"),
        (json!({ "tenant": "acne" }), "did you mean `acme`?"),
        (json!({ "tenant": "acme", "app": "desk2" }), "did you mean `desk`?"),
        (json!({ "tenant": "acme", "cidr": ["10.0.0.1/8"] }), "write `10.0.0.0/8`"),
        (json!({ "tenant": "acme", "scopes": [] }), "lists nothing"),
        (json!({ "tenant": "acme", "expires": "2020-01-01" }), "is over already"),
        (json!({ "tenant": "acme", "tenent": "x" }), "unknown field `tenent`"),
    ] {
        let (status, _, came) = admin(&gateway, &token(&gateway), Method::POST, "/admin/v1/keys", wanted, None).await;
        assert!(status == 400 && came["error"].as_str().unwrap().contains(told), "{told}: {came}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_manages_its_own_keys_and_gives_no_more_than_it_has() {
    let (gateway, _folder) = with_tenants(TENANTS);
    let (_, keeper) = made(&gateway, json!({ "tenant": "acme", "scopes": ["calls", "keys"] })).await;
    let (theirs, _) = made(&gateway, json!({ "tenant": "umbrella" })).await;
    let (above, _) = made(&gateway, json!({ "tenant": "acme", "scopes": ["admin"] })).await;
    let listed = admin(&gateway, &keeper, Method::GET, "/admin/v1/keys", Value::Null, None).await.2;
    assert!(listed["keys"].as_array().unwrap().iter().all(|key| key["tenant"] == "acme"), "{listed}");
    for (wanted, status, why) in [
        (json!({ "tenant": "acme", "scopes": ["chat"] }), 201, "of its own"),
        (json!({ "tenant": "umbrella" }), 403, "of another tenant"),
        (json!({ "tenant": "acme", "scopes": ["admin:read"] }), 403, "more than it has"),
        (json!({ "tenant": "acme", "scopes": ["mint"] }), 403, "what it has not"),
        (json!({ "tenant": "acme", "may_assert": true }), 403, "a way to other tenants"),
    ] {
        let came = admin(&gateway, &keeper, Method::POST, "/admin/v1/keys", wanted, None).await;
        assert_eq!(came.0, status, "{why}: {}", came.2);
    }
    for (id, method, path, status, why) in [
        (&theirs, Method::GET, "", 404, "another tenant's is told like none"),
        (&theirs, Method::DELETE, "", 404, "nor revoked"),
        (&above, Method::POST, "/rotate", 403, "a rotation would hand it over"),
    ] {
        let path = format!("/admin/v1/keys/{id}{path}");
        assert_eq!(admin(&gateway, &keeper, method, &path, Value::Null, None).await.0, status, "{why}");
    }
    let (reader_id, reader) = made(&gateway, json!({ "tenant": "acme", "scopes": ["admin:read"] })).await;
    assert_eq!(admin(&gateway, &reader, Method::GET, "/admin/v1/policies", Value::Null, None).await.0, 200);
    assert_eq!(admin(&gateway, &reader, Method::POST, "/admin/v1/policies/rollback", Value::Null, None).await.0, 403);
    let path = format!("/admin/v1/keys/{reader_id}");
    assert_eq!(admin(&gateway, &token(&gateway), Method::DELETE, &path, Value::Null, None).await.0, 200);
    assert_eq!(admin(&gateway, &reader, Method::GET, "/admin/v1/policies", Value::Null, None).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_lived_key_has_some_of_the_rights_and_ends_with_its_key() {
    let (gateway, _folder) = with_tenants(TENANTS);
    let (id, strong) = made(&gateway, json!({ "tenant": "acme", "app": "desk", "scopes": ["calls", "mint"] })).await;
    let (_, plain) = made(&gateway, json!({ "tenant": "acme" })).await;
    let exchange = async |key: &str, wanted: Value| {
        let request = client().post(gateway.url("/v1/keys")).bearer_auth(key).body(wanted.to_string());
        let answer = request.send().await.unwrap();
        (answer.status(), json_of(answer).await)
    };
    let (status, told) = exchange(&strong, json!({ "ttl_s": 60, "user": "ann", "scopes": ["chat"] })).await;
    assert_eq!(status, StatusCode::CREATED, "{told}");
    let ticket = told["key"].as_str().unwrap().to_owned();
    let body = json!({ "model": "sim/sim-1", "messages": [{ "role": "user", "content": "Hello" }], "user": "ann" });
    let answer = post(&gateway, body.to_string(), &[("authorization", &format!("Bearer {ticket}"))]).await;
    assert_eq!(answer.status(), 200);
    let receipt = gateway.receipt(answer.headers()["tollgate-call-id"].to_str().unwrap());
    let caller = &receipt["caller"];
    assert_eq!(
        (&caller["key"], &caller["app"], &caller["user_source"]),
        (&json!(id), &json!("desk"), &json!("verified"))
    );
    let bob = json!({ "model": "sim/sim-1", "messages": [], "user": "bob" }).to_string();
    let answer = post(&gateway, bob, &[("authorization", &format!("Bearer {ticket}"))]).await;
    assert_eq!(answer.status(), 403, "it is ann's");
    let embeddings = client().post(gateway.url("/v1/embeddings")).bearer_auth(&ticket);
    let answer = embeddings.body(json!({ "model": "sim/sim-embed", "input": "a" }).to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 403, "it is for chat");
    for (key, wanted, status, why) in [
        (&plain, json!({}), 403, "a key without the scope"),
        (&ticket, json!({}), 403, "a short-lived key makes no others"),
        (&strong, json!({ "ttl_s": 3601 }), 400, "too long"),
        (&strong, json!({ "ttl_s": 0 }), 400, "no time at all"),
        (&strong, json!({ "app": "shop" }), 403, "another app"),
        (&strong, json!({ "scopes": ["admin"] }), 403, "more than its key"),
        (&strong, json!({ "scopes": ["mint"] }), 403, "not to be handed on"),
    ] {
        assert_eq!(exchange(key, wanted).await.0.as_u16(), status, "{why}");
    }
    let (body, mac) = ticket.split_once('.').unwrap();
    assert_eq!(call(&gateway, &format!("{body}A.{mac}")).await, refused("malformed_key"));
    let path = format!("/admin/v1/keys/{id}");
    assert_eq!(admin(&gateway, &token(&gateway), Method::DELETE, &path, Value::Null, None).await.0, 200);
    assert_eq!(call(&gateway, &ticket).await, refused("revoked_key"), "it ends with its key");
}

/// Neither what the key says nor what the call says: a receipt has users as digests only.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_another_user_names_neither() {
    let (gateway, _folder) = with_tenants(TENANTS);
    let (_, key) = made(&gateway, json!({ "tenant": "acme", "user": "ann@acme.example" })).await;
    let bearer = format!("Bearer {key}");
    let mut body = chat("sim/sim-1");
    body["user"] = "bob@acme.example".into();
    let answer = post(&gateway, body.to_string(), &[("authorization", &bearer)]).await;
    assert_eq!(answer.status(), 403);
    let id = answer.headers()["tollgate-call-id"].to_str().unwrap().to_owned();
    let (told, receipt) = (answer.text().await.unwrap(), gateway.receipt(&id).to_string());
    for text in [&told, &receipt] {
        assert!(text.contains("the call says another user than its key"), "{text}");
        assert!(!text.contains("ann@") && !text.contains("bob@"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_put_in_a_key_s_place_is_anything_but_a_wrong_key() {
    let (gateway, _folder) = with_tenants(TENANTS);
    let (id, key) = made(&gateway, json!({ "tenant": "acme" })).await;
    let secret = key.split('_').nth(2).unwrap();
    for wrong in [
        "' OR '1'='1",
        "tg_' OR 1=1 --_x_000000",
        "redis.call('FLUSHALL')",
        "tg_%00_x_000000",
        "../../keys.json",
        "${jndi:ldap://localhost/a}",
        "tgt_",
        "tgt_e30.e30",
        "Bearer",
        &format!("tg_{id}_{secret}_000000"),
        &format!("tg_{id}_{}", "A".repeat(40)),
        &"A".repeat(60_000),
    ] {
        assert_eq!(call(&gateway, wrong).await, refused("malformed_key"), "{}", &wrong[..wrong.len().min(40)]);
    }
    // Texts that a client will not send: over a plain socket. They end in a refusal or a closed connection, never in a call.
    let address = gateway.base.trim_start_matches("http://").to_owned();
    for (credential, why) in [
        (b"tg_\0\0_x_000000".to_vec(), "NUL"),
        (b"tg_\xff\xfe_x_000000".to_vec(), "no text"),
        (vec![b'A'; 10 << 20], "10 MB"),
    ] {
        let told = tokio::task::spawn_blocking({
            let address = address.clone();
            move || raw(&address, &credential)
        });
        let told = told.await.unwrap();
        let status = told.split(' ').nth(1).unwrap_or("closed");
        assert!(["400", "401", "431", "closed"].contains(&status), "{why}: {told}");
    }
    assert_eq!(call(&gateway, &key).await, taken(), "and the gateway goes on");
}

/// What the gateway answers to a head with this credential; empty where it closes.
fn raw(address: &str, credential: &[u8]) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let mut head =
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nauthorization: Bearer ".to_vec();
    head.extend_from_slice(credential);
    head.extend_from_slice(b"\r\n\r\n");
    // It may close before everything was sent.
    let _ = stream.write_all(&head);
    let mut answer = vec![0; 64];
    let read = stream.read(&mut answer).unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).into_owned()
}
