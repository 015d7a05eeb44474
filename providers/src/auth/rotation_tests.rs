//! Secrets that change while calls go on: read anew after a refusal, replaced by the next, shown to one host alone.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, header};
use serde_json::json;
use tollgate_core::contract::Dialect;
use tollgate_core::dialects::paths::Address;
use tollgate_core::ports::{Fault, Outgoing, Upstream};
use tollgate_core::routing::catalog::unlisted;

use super::Auth;
use super::aws::Keys;
use super::tests::{Cloud, file, folder, provider};
use crate::http::Providers;
use crate::secret::SecretSource;
use crate::secret::kept::Keeping;

/// Status, whether there is another secret, and the id of the one that was shown.
async fn send(providers: &Providers, name: &str, model: &str) -> (u16, bool, String) {
    attempt(providers, name, model).await.unwrap()
}

async fn attempt(providers: &Providers, name: &str, model: &str) -> Result<(u16, bool, String), Fault> {
    let target = unlisted(name, model);
    let dialect = match name {
        "bedrock" => Dialect::BedrockConverse,
        "gemini" => Dialect::Gemini,
        _ => Dialect::OpenaiChat,
    };
    let mut secret = None;
    let reply = providers.send(&target, outgoing(dialect, model), &mut secret).await?;
    Ok((reply.status.as_u16(), reply.other_secret, secret.unwrap_or_default().to_string()))
}

fn outgoing(dialect: Dialect, model: &str) -> Outgoing {
    Outgoing {
        address: Address { model: Some(model.into()), stream: Some(false), ..Address::of(dialect) },
        query: None,
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{\"messages\":[]}"),
        deadline_ms: 5_000,
    }
}

fn shown(cloud: &Cloud, header: &str) -> Vec<String> {
    cloud.received().iter().map(|got| got.headers[header].to_str().unwrap().to_owned()).collect()
}

fn watched(list: Vec<crate::Provider>) -> (Providers, Arc<Mutex<Vec<String>>>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let kept = log.clone();
    let told = move |provider: &str, _: &str, what: crate::Happened<'_>| {
        kept.lock().unwrap().push(format!("{provider} {what:?}"));
    };
    let keeping = Keeping { key: [7; 32], told: Arc::new(told) };
    (Providers::new(list, &keeping).unwrap().0, log)
}

#[tokio::test]
async fn a_refused_secret_is_read_anew_and_the_call_may_go_again() {
    let (cloud, folder) = (Cloud::default(), folder("renewed"));
    let base = cloud.serve().await;
    let key = Auth::Key(vec![file(&folder, "key", "canary-1")]);
    let (providers, log) = watched(vec![provider("compatible", &base, key)]);
    file(&folder, "key", "canary-2\n");
    cloud.say(401, json!({}));
    let (status, other, first) = send(&providers, "compatible", "m").await;
    assert_eq!((status, other), (401, true));
    let (status, other, second) = send(&providers, "compatible", "m").await;
    assert_eq!((status, other), (200, false));
    assert_eq!(shown(&cloud, "authorization"), ["Bearer canary-1", "Bearer canary-2"]);
    let mark = format!("file:{}/key#", folder.display());
    assert!(first.starts_with(&mark) && second.starts_with(&mark) && first != second, "{first} {second}");
    cloud.say(401, json!({}));
    assert!(!send(&providers, "compatible", "m").await.1, "nothing is new");
    assert_eq!(log.lock().unwrap().join("; "), "compatible Changed; compatible Refused(401)");
    std::fs::remove_dir_all(folder).unwrap();
}

/// Google tells of a wrong key as of a bad request; a caller's words in the message are no sign of it.
#[tokio::test]
async fn a_bad_request_about_the_key_is_a_refused_secret() {
    let (cloud, folder) = (Cloud::default(), folder("google"));
    let base = cloud.serve().await;
    let both = vec![file(&folder, "new", "canary-new"), file(&folder, "old", "canary-old")];
    let (providers, log) = watched(vec![provider("gemini", &base, Auth::Key(both))]);
    let error = |message: &str, details: serde_json::Value| {
        json!({ "error": {
            "code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": details,
        }})
    };
    let info = json!([{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID" }]);
    for (body, is_refused, why) in [
        (error("Invalid value at 'x': \"API key not valid\"", json!([])), false, "the words are the caller's"),
        (json!("no error of Google's"), false, "nobody says what it is about"),
        (error("API key not valid. Please pass a valid API key.", info), true, "it is about the key"),
    ] {
        cloud.say(400, body.clone());
        let reply = providers.send(&unlisted("gemini", "m"), outgoing(Dialect::Gemini, "m"), &mut None).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.other_secret), (400, is_refused), "{why}");
        let told: Vec<u8> = reply.body.map(|piece| piece.unwrap()).collect::<Vec<_>>().await.concat();
        assert_eq!(told, body.to_string().into_bytes(), "the caller gets it as it came");
    }
    assert!(log.lock().unwrap().join("; ").starts_with("gemini Refused(400); gemini Next("));
    assert_eq!(send(&providers, "gemini", "m").await.0, 200);
    assert_eq!(shown(&cloud, "x-goog-api-key").pop().unwrap(), "canary-old");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn of_two_live_secrets_the_next_is_used_when_the_first_is_refused() {
    let (cloud, folder) = (Cloud::default(), folder("two"));
    let base = cloud.serve().await;
    let both = vec![file(&folder, "new", "canary-new"), file(&folder, "old", "canary-old")];
    let (providers, log) = watched(vec![provider("compatible", &base, Auth::Key(both))]);
    cloud.say(401, json!({}));
    assert!(send(&providers, "compatible", "m").await.1, "the next is there");
    for _ in 0..3 {
        assert_eq!(send(&providers, "compatible", "m").await.0, 200);
    }
    let old = "Bearer canary-old";
    assert_eq!(shown(&cloud, "authorization"), ["Bearer canary-new", old, old, old]);
    let states: Vec<&str> = providers.secrets().iter().map(|secret| secret.state).collect();
    assert_eq!(states, ["refused", "good"]);
    let told = log.lock().unwrap().join("; ");
    assert!(told.starts_with("compatible Refused(401); compatible Next(\"file:") && !told.contains("canary"), "{told}");
    // A new version of the first is used at once.
    file(&folder, "new", "canary-newer");
    let (again, rung) = tokio::sync::watch::channel(0);
    again.send(1).unwrap();
    let kept = providers.keep(rung);
    let _ = tokio::time::timeout(std::time::Duration::from_millis(300), kept).await;
    assert_eq!(send(&providers, "compatible", "m").await.0, 200);
    assert_eq!(shown(&cloud, "authorization").pop().unwrap(), "Bearer canary-newer");
    // Both are refused: the call is told so, and the first goes on being tried.
    cloud.say(401, json!({}));
    cloud.say(401, json!({}));
    assert_eq!(
        (send(&providers, "compatible", "m").await.1, send(&providers, "compatible", "m").await.1),
        (true, false)
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn amazons_keys_are_changed_together() {
    let (cloud, folder) = (Cloud::default(), folder("pairs"));
    let base = cloud.serve().await;
    let keys = |name: &str| Keys {
        access_key: file(&folder, &format!("id-{name}"), &format!("AKID{name}")),
        secret_key: file(&folder, &format!("secret-{name}"), "canary"),
        session_token: None,
        region: "eu-central-1".to_owned(),
    };
    let (providers, _) = watched(vec![provider("bedrock", &base, Auth::Aws(vec![keys("NEW"), keys("OLD")]))]);
    for (name, other, why) in [
        ("AccessDeniedException:http://internal.amazon.com/coral/com.amazon.bedrock/", false, "it is about the model"),
        ("", false, "nobody says what it is about"),
        ("UnrecognizedClientException:http://internal.amazon.com/coral/", true, "it is about the key"),
    ] {
        cloud.say(403, json!({ "errortype": name }));
        assert_eq!(send(&providers, "bedrock", "m").await.1, other, "{why}");
    }
    assert_eq!(send(&providers, "bedrock", "m").await.0, 200);
    let shown = shown(&cloud, "authorization");
    let ids = ["NEW", "NEW", "NEW", "OLD"].map(|name| format!("AKID{name}/"));
    assert!(shown.len() == 4 && shown.iter().zip(&ids).all(|(shown, id)| shown.contains(id)), "{shown:?}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_refusals_reads_a_secret_once() {
    let (cloud, folder) = (Cloud::default(), folder("storm"));
    let base = cloud.serve().await;
    let count = folder.join("count");
    let script = format!("echo x >> {}; sleep 0.1; echo canary", count.display());
    let command = SecretSource::Command { words: vec!["sh".into(), "-c".into(), script], every: None };
    let (providers, log) = watched(vec![provider("compatible", &base, Auth::Key(vec![command]))]);
    (0..50).for_each(|_| cloud.say(401, json!({})));
    let providers = Arc::new(providers);
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let providers = providers.clone();
            tokio::spawn(async move { send(&providers, "compatible", "m").await.0 })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), 401);
    }
    let reads = std::fs::read_to_string(&count).unwrap().lines().count();
    assert!((2..=4).contains(&reads), "at the start, and once a second: {reads}");
    assert_eq!(log.lock().unwrap().len(), 1, "and it is told once");
    std::fs::remove_dir_all(folder).unwrap();
}

/// Whatever a provider answers or a caller names, a secret is shown to the host of its provider and to no other.
#[tokio::test]
async fn a_secret_never_goes_to_another_host() {
    let (own, other, folder) = (Cloud::default(), Cloud::default(), folder("bound"));
    let (base, elsewhere) = (own.serve().await, other.serve().await);
    let host = elsewhere.trim_start_matches("http://");
    let azure = provider("azure", &base, Auth::Key(vec![file(&folder, "key", "canary")]));
    let older = crate::Provider { name: "older".into(), api_version: Some("v".into()), ..azure.clone() };
    let gemini = provider("gemini", &base, Auth::Key(vec![file(&folder, "key", "canary")]));
    let bedrock = provider("bedrock", &base, Auth::Key(vec![file(&folder, "key", "canary")]));
    let (providers, _) = watched(vec![azure, older, gemini, bedrock]);
    for status in [301, 302, 303, 307, 308] {
        own.redirect(status, &format!("{elsewhere}/v1/chat/completions"));
        assert_eq!(send(&providers, "azure", "m").await.0, status, "it is not followed");
    }
    for model in ["@HOST/m", "//HOST/m", "..//HOST/m", "/\\HOST", "x@HOST:80", "?@HOST", "#@HOST", "%40HOST", ":m@HOST"]
    {
        let model = model.replace("HOST", host);
        for name in ["older", "gemini", "bedrock"] {
            // What is no address does not leave.
            let _ = attempt(&providers, name, &model).await;
        }
    }
    assert!(own.received().len() > 20, "they went where they belong");
    assert_eq!(other.received().len(), 0);
    assert!(
        own.received()
            .iter()
            .all(|got| got.headers.get(header::HOST).is_some_and(|h| base.ends_with(h.to_str().unwrap())))
    );
    std::fs::remove_dir_all(folder).unwrap();
}
