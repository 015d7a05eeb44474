//! What providers hold: files, batches, and responses by their ids. They are found again where they were made, by the tenant
//! that made them, and by nobody else.

use axum::http::Method;
use serde_json::{Value, json};

use crate::passing::{ask, code, header, id, told, upload};
use crate::support::gateway::{Gateway, tollgate};
use crate::support::hosts;
use crate::support::repository::Repository;

/// A gateway before two scripted providers that hold different things.
fn before_two(a: &hosts::Host, b: &hosts::Host) -> Gateway {
    let row = |name: &str, host: &hosts::Host| {
        format!("  {name}: {{ base_url: \"http://127.0.0.1:{}/v1\", api: openai, unlisted: true }}\n", host.port)
    };
    Gateway::with(&[], Some(&format!("providers:\n{}{}", row("a", a), row("b", b))))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_batches_are_found_again_where_they_were_made() {
    let (a, b) = (hosts::sim(), hosts::sim());
    let gateway = before_two(&a, &b);
    let get = |path: String| ask(&gateway, &gateway.key, Method::GET, &path);
    let line = json!({ "custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
        "body": { "model": "sim-1", "messages": [{ "role": "user", "content": "hi" }] } });
    let content = format!("{line}\n");
    let (status, target, made) =
        told(upload(&gateway, &gateway.key, content.as_bytes()).header("tollgate-provider", "b")).await;
    assert_eq!((status, target.as_str(), &made["bytes"]), (200, "b", &content.len().into()), "{made}");
    let file = id(&made).to_owned();
    let (status, target, found) = told(get(format!("/v1/files/{file}"))).await;
    assert_eq!((status, target.as_str(), &found["filename"]), (200, "b", &"a.jsonl".into()), "nobody had to say where");
    let answer = get(format!("/openai/v1/files/{file}/content")).send().await.unwrap();
    assert_eq!(header(&answer, "content-type"), "application/octet-stream");
    assert_eq!(answer.text().await.unwrap(), content);
    let (_, target, listed) = told(get("/v1/files".to_owned())).await;
    assert_eq!(
        (target.as_str(), listed["data"].as_array().map(Vec::len)),
        ("a", Some(0)),
        "a list is of one provider, the first"
    );

    let order = json!({ "input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h" });
    let create = ask(&gateway, &gateway.key, Method::POST, "/v1/batches").body(order.to_string());
    let (status, target, batch) = told(create).await;
    assert_eq!((status, target.as_str()), (200, "b"), "a batch goes to its file: {batch}");
    let (_, _, done) = told(get(format!("/v1/batches/{}", id(&batch)))).await;
    let output = done["output_file_id"].as_str().unwrap();
    let answer = get(format!("/v1/files/{output}/content")).send().await.unwrap();
    assert_eq!(header(&answer, "tollgate-target"), "b", "so does what came of it");
    assert!(answer.text().await.unwrap().contains("\"custom_id\":\"1\""));
    let cancel = ask(&gateway, &gateway.key, Method::POST, &format!("/v1/batches/{}/cancel", id(&batch)));
    assert_eq!(told(cancel).await.2["status"], "cancelling");

    let delete = ask(&gateway, &gateway.key, Method::DELETE, &format!("/v1/files/{file}")).send().await.unwrap();
    let call = header(&delete, "tollgate-call-id");
    assert!(delete.text().await.unwrap().contains("\"deleted\":true"));
    let receipt = gateway.receipt(&call);
    assert_eq!(
        (&receipt["place"], &receipt["attempts"][0]["target"]),
        (&format!("DELETE /files/{file}").into(), &"b".into())
    );
    assert_eq!(told(get(format!("/v1/files/{file}"))).await.0, 404, "the provider's own word");
    let (status, _, unknown) = told(get("/v1/files/file-elsewhere".to_owned())).await;
    assert_eq!((status, code(&unknown)), (404, "unknown_id"));
    let message = unknown["error"]["message"].as_str().unwrap();
    assert!(message.contains("a or b") && message.contains("tollgate-provider"), "{message}");
    let (status, target, _) = told(get("/v1/files/file-elsewhere".to_owned()).header("tollgate-provider", "a")).await;
    assert_eq!((status, target.as_str()), (404, "a"), "it was asked");
    let (status, _, not_there) = told(get(format!("/v1/files/{output}")).header("tollgate-provider", "a")).await;
    assert_eq!((status, code(&not_there)), (404, "held_elsewhere"));
    let wrong = told(get("/v1/files".to_owned()).header("tollgate-provider", "c")).await;
    assert_eq!((wrong.0, code(&wrong.2)), (404, "unknown_provider"));
    let put = ask(&gateway, &gateway.key, Method::DELETE, "/v1/files").send().await.unwrap();
    assert_eq!(put.status().as_u16(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_goes_on_at_the_provider_that_has_it() {
    let (a, b) = (hosts::sim(), hosts::sim());
    let gateway = before_two(&a, &b);
    let post = |body: Value| ask(&gateway, &gateway.key, Method::POST, "/v1/responses").body(body.to_string());
    let (_, _, first) = told(post(json!({ "model": "b/sim-1", "input": "Hello" }))).await;
    let first = id(&first).to_owned();
    let (status, target, _) =
        told(post(json!({ "model": "b/sim-1", "input": "more", "previous_response_id": first }))).await;
    assert_eq!((status, target.as_str()), (200, "b/sim-1"));
    let (status, _, cut) =
        told(post(json!({ "model": "a/sim-1", "input": "more", "previous_response_id": first }))).await;
    assert_eq!((status, code(&cut)), (404, "no_route"));
    assert!(cut["error"]["message"].as_str().unwrap().contains("`b` holds what the call speaks of"), "{cut}");

    let path = format!("/v1/responses/{first}");
    let looked = ask(&gateway, &gateway.key, Method::GET, &path).send().await.unwrap();
    assert_eq!(header(&looked, "tollgate-target"), "b/sim-1");
    let call = header(&looked, "tollgate-call-id");
    let body: Value = serde_json::from_str(&looked.text().await.unwrap()).unwrap();
    assert_eq!((id(&body), body["usage"]["output_tokens"].as_u64() > Some(0)), (&*first, true));
    let usage = gateway.receipt(&call)["usage"].clone();
    assert_eq!((&usage["input"], &usage["output"]), (&0.into(), &0.into()), "what was paid for once is not paid again");
    let items = told(ask(&gateway, &gateway.key, Method::GET, &format!("{path}/input_items"))).await;
    assert_eq!(items.2["data"][0]["content"][0]["text"], "Hello");
    let again = ask(&gateway, &gateway.key, Method::GET, &format!("{path}?stream=true")).send().await.unwrap();
    assert!(again.text().await.unwrap().contains("response.completed"));
    assert_eq!(
        told(ask(&gateway, &gateway.key, Method::POST, &format!("{path}/cancel"))).await.2["status"],
        "cancelled"
    );
    assert_eq!(told(ask(&gateway, &gateway.key, Method::DELETE, &path)).await.2["deleted"], true);

    let stream = post(json!({ "model": "b/sim-1", "input": "Hello", "stream": true }))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let data = stream.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let event: Value = serde_json::from_str(data).unwrap();
    let (_, target, _) =
        told(ask(&gateway, &gateway.key, Method::GET, &format!("/v1/responses/{}", id(&event["response"])))).await;
    assert_eq!(target, "b/sim-1", "a streamed one is known too");
    let (_, _, unstored) = told(post(json!({ "model": "b/sim-1", "input": "Hello", "store": false }))).await;
    let gone = told(ask(&gateway, &gateway.key, Method::GET, &format!("/v1/responses/{}", id(&unstored)))).await;
    assert_eq!((gone.0, code(&gone.2)), (404, "unknown_id"), "nobody holds what was not to be kept");
    let wrong = told(post(json!({ "model": "b/sim-1", "input": "x", "previous_response_id": 5 }))).await;
    assert_eq!((wrong.0, code(&wrong.2)), (400, "wrong_value"));
}

/// A key of a tenant, and its row.
fn key(tenant: &str, state: &std::path::Path) -> (String, String) {
    let out = tollgate(&["key", "new", "--tenant", tenant], state);
    let text = String::from_utf8(out.stdout).unwrap();
    let (key, row) = text.split_once('\n').unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&out.stderr)));
    (key.to_owned(), row.trim_end().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_read_must_be_granted_and_tenants_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let ((acme, acme_row), (globex, globex_row)) = (key("acme", &state), key("globex", &state));
    let tenants = format!(
        "tenants: {{ acme: {{}}, globex: {{}} }}\nkeys:\n{acme_row}\n{globex_row}\ngrants:\n  - {{ for: {{ tenant: acme }}, operations: [files, batches, audio], uninspected: true }}\n  - {{ for: {{}}, operations: [chat, files, batches, audio] }}\n"
    );
    let repository = Repository::new(&[
        ("tollgate-policies.yaml", "api: tollgate.policy/v1\npolicies: []\n"),
        ("tenants.yaml", &tenants),
        (
            "limits.yaml",
            "budgets: { month: { per: [tenant], limit_usd: \"100\", period: month } }\nunknown_price: deny\n",
        ),
    ]);
    let gateway = Gateway::on(folder, state, &["--policies", repository.address()], None);
    let (status, _, refused) = told(upload(&gateway, &globex, b"{}")).await;
    assert_eq!((status, code(&refused)), (400, "uninspected"), "{refused}");
    assert_eq!(refused["error"]["tollgate"]["category"], "policy_violation");
    assert!(refused["error"]["message"].as_str().unwrap().contains("`uninspected: true`"));
    let (status, _, mine) = told(upload(&gateway, &acme, b"{}")).await;
    assert_eq!(status, 200, "a file costs nothing, so no price has to be known: {mine}");
    let file = id(&mine).to_owned();

    for (method, path) in [
        (Method::GET, format!("/v1/files/{file}")),
        (Method::DELETE, format!("/v1/files/{file}")),
        (Method::GET, format!("/v1/files/{file}/content")),
    ] {
        let (status, _, body) = told(ask(&gateway, &globex, method, &path)).await;
        assert_eq!((status, code(&body)), (404, "unknown_id"), "{path}");
    }
    let named = json!({ "model": "sim/sim-1", "messages": [{ "role": "user", "content": [{ "type": "file", "file": { "file_id": file } }] }] });
    for text in [named.to_string(), named.to_string().replace("file_id", "file\\u005fid")] {
        let chat = ask(&gateway, &globex, Method::POST, "/v1/chat/completions").body(text);
        let (status, _, body) = told(chat).await;
        assert_eq!((status, code(&body)), (404, "unknown_id"), "in a prompt neither, however it is written");
    }
    let list = |key: &str| ask(&gateway, key, Method::GET, "/v1/files");
    let seen = told(list(&acme)).await.2;
    assert_eq!((seen["data"].as_array().map(Vec::len), &seen["last_id"]), (Some(1), &file.as_str().into()), "{seen}");
    let seen = told(list(&globex)).await.2;
    assert_eq!((seen["data"].as_array().map(Vec::len), &seen["last_id"]), (Some(0), &Value::Null), "{seen}");
    assert_eq!(
        told(ask(&gateway, &acme, Method::GET, &format!("/v1/files/{file}"))).await.0,
        200,
        "its owner still has it"
    );

    let order =
        json!({ "input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h" }).to_string();
    let batch = |key: &str| ask(&gateway, key, Method::POST, "/v1/batches").body(order.clone());
    let (status, _, body) = told(batch(&globex)).await;
    assert_eq!((status, code(&body)), (404, "unknown_id"));
    let (status, _, body) = told(batch(&acme)).await;
    assert_eq!((status, code(&body)), (429, "price_unknown"), "nobody knows what its calls will cost");
}
