//! Whole requests to a provider on loopback, which checks what it is shown as the cloud would.

use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::{Value, json};
use tollgate_core::contract::Dialect;
use tollgate_core::dialects::paths::Address;
use tollgate_core::ports::{Fault, Outgoing, Upstream};
use tollgate_core::routing::catalog::unlisted;

use super::aws::Keys;
use super::google::ServiceAccount;
use super::{Auth, is_loopback};
use crate::http::{Provider, Providers};
use crate::secret::SecretSource;
use crate::secret::kept::Keeping;
use crate::sigv4::{Credentials, Unsigned, sign};

#[derive(Clone)]
pub struct Received {
    method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    body: Bytes,
}

/// Keeps what it gets; answers with what it was told to, in turn, and `{}` after that.
#[derive(Clone, Default)]
pub struct Cloud {
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<Vec<(u16, Value)>>>,
}

impl Cloud {
    pub async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        format!("http://{address}")
    }

    pub fn say(&self, status: u16, body: Value) {
        self.answers.lock().unwrap().push((status, body));
    }

    /// Answers so, with a place to go to.
    pub fn redirect(&self, status: u16, to: &str) {
        self.say(status, json!({ "location": to }));
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

async fn answer(State(cloud): State<Cloud>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    cloud.received.lock().unwrap().push(Received { method, uri, headers, body });
    let mut answers = cloud.answers.lock().unwrap();
    let (status, body) = if answers.is_empty() { (200, json!({})) } else { answers.remove(0) };
    let mut response = Response::new(body.to_string().into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    if let Some(to) = body["location"].as_str() {
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_str(to).unwrap());
    }
    if let Some(name) = body["errortype"].as_str() {
        response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_str(name).unwrap());
    }
    response
}

pub fn provider(kind: &str, base_url: &str, auth: Auth) -> Provider {
    Provider { api: crate::api::named(kind).unwrap(), auth, ..Provider::at(kind, base_url) }
}

async fn send(providers: &Providers, provider: &str, dialect: Dialect, query: Option<&str>) -> Result<u16, Fault> {
    let target = unlisted(provider, "m:0");
    let mut headers = HeaderMap::new();
    headers.insert("x-amzn-bedrock-guardrailidentifier", HeaderValue::from_static("g"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("test"));
    let outgoing = Outgoing {
        address: Address { model: Some("m:0".into()), stream: Some(false), ..Address::of(dialect) },
        query: query.map(str::to_owned),
        headers,
        body: Bytes::from_static(b"{\"messages\":[]}"),
        deadline_ms: 5_000,
    };
    providers.send(&target, outgoing, &mut None).await.map(|reply| reply.status.as_u16())
}

fn made(list: Vec<Provider>) -> Result<(Providers, Vec<String>), String> {
    Providers::new(list, &Keeping::default())
}

pub fn file(folder: &std::path::Path, name: &str, text: &str) -> SecretSource {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    SecretSource::File(path)
}

pub fn folder(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("tollgate-auth-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// The signature that Amazon would reckon over what came.
fn reckoned(received: &Received, secret: &str) -> String {
    let mut headers = received.headers.clone();
    let signed = headers.remove(header::AUTHORIZATION).unwrap().to_str().unwrap().to_owned();
    let names = signed.split_once("SignedHeaders=").unwrap().1.split(',').next().unwrap().to_owned();
    // Only what the sender says that it signed.
    let unsigned: Vec<_> =
        headers.keys().filter(|name| !names.split(';').any(|n| n == name.as_str())).cloned().collect();
    unsigned.into_iter().for_each(|name| drop(headers.remove(name)));
    let time = headers.get("x-amz-date").unwrap().to_str().unwrap().to_owned();
    let at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", &time).unwrap();
    let at_s = at.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second();
    let token = headers.get("x-amz-security-token").map(|v| v.to_str().unwrap().to_owned());
    let uri = received.uri.path_and_query().unwrap().as_str();
    let request = Unsigned { method: &received.method, uri, headers: &headers, body: &received.body };
    let credentials = Credentials { access_key_id: "AKID", secret_access_key: secret, session_token: token.as_deref() };
    let added = sign(&request, &credentials, "eu-central-1", "bedrock", at_s).unwrap();
    added.last().unwrap().1.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn bedrock_gets_a_signature_over_what_arrives() {
    let (cloud, folder) = (Cloud::default(), folder("aws"));
    let base = cloud.serve().await;
    let keys = Keys {
        access_key: file(&folder, "id", "AKID"),
        secret_key: file(&folder, "secret", "canary-1\n"),
        session_token: Some(file(&folder, "token", "TOKEN/+==")),
        region: "eu-central-1".to_owned(),
    };
    let (providers, warnings) = made(vec![provider("bedrock", &base, Auth::Aws(vec![keys]))]).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    cloud.say(403, json!({}));
    file(&folder, "secret", "canary-2");
    assert_eq!(send(&providers, "bedrock", Dialect::BedrockConverse, None).await, Ok(403));
    assert_eq!(send(&providers, "bedrock", Dialect::BedrockConverse, None).await, Ok(200));
    let received = cloud.received();
    for (at, secret, why) in [(0, "canary-1", "as it was read at the start"), (1, "canary-2", "read again after a 403")]
    {
        let shown = received[at].headers[header::AUTHORIZATION].to_str().unwrap();
        assert_eq!(shown, reckoned(&received[at], secret), "{why}");
        assert!(shown.contains("host;x-amz-date;x-amz-security-token;x-amzn-bedrock-guardrailidentifier"), "{shown}");
    }
    assert_eq!(received[0].uri.path(), "/model/m%3A0/converse");
    assert!(!format!("{:?}", received[0].headers).contains("canary"), "the key itself never leaves");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn azure_and_bedrock_take_keys_and_azure_two_kinds_of_paths() {
    let (cloud, folder) = (Cloud::default(), folder("keys"));
    let base = cloud.serve().await;
    let key = || Auth::Key(vec![file(&folder, "key", "canary\n")]);
    let older =
        Provider { name: "older".into(), api_version: Some("2024-10-21".into()), ..provider("azure", &base, key()) };
    let list = vec![provider("azure", &base, key()), older, provider("bedrock", &base, key())];
    let (providers, _) = made(list).unwrap();
    for (name, dialect, query, uri, header, value) in [
        ("azure", Dialect::OpenaiChat, None, "/openai/v1/chat/completions", "api-key", "canary"),
        (
            "azure",
            Dialect::OpenaiChat,
            Some("api-version=2023-05-15"),
            "/openai/deployments/m%3A0/chat/completions?api-version=2023-05-15",
            "api-key",
            "canary",
        ),
        (
            "older",
            Dialect::OpenaiEmbeddings,
            None,
            "/openai/deployments/m%3A0/embeddings?api-version=2024-10-21",
            "api-key",
            "canary",
        ),
        (
            "older",
            Dialect::OpenaiChat,
            Some("api-version=2025-01-01-preview"),
            "/openai/deployments/m%3A0/chat/completions?api-version=2025-01-01-preview",
            "api-key",
            "canary",
        ),
        ("bedrock", Dialect::BedrockConverse, None, "/model/m%3A0/converse", "authorization", "Bearer canary"),
    ] {
        assert_eq!(send(&providers, name, dialect, query).await, Ok(200));
        let received = cloud.received().pop().unwrap();
        assert_eq!(received.uri.to_string(), uri);
        assert_eq!(received.headers[header], value, "{uri}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// A new key, and the text of its file.
fn key_file(token_url: &str) -> (RsaKeyPair, String) {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let lines: Vec<String> =
        STANDARD.encode(der.as_ref()).as_bytes().chunks(64).map(|l| String::from_utf8(l.to_vec()).unwrap()).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    let text = json!({
        "type": "service_account", "client_email": "robot@p.example", "private_key_id": "k1",
        "private_key": pem, "token_uri": token_url,
    });
    (pair, text.to_string())
}

/// Checks the signed word as Google would, and gives its claims.
fn claims(form: &[u8], pair: &RsaKeyPair) -> Value {
    let form = std::str::from_utf8(form).unwrap();
    let word = form
        .strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
        .unwrap_or_else(|| panic!("{form}"));
    let (signed, signature) = word.rsplit_once('.').unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key());
    public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).expect("the signature is right");
    let (head, claims) = signed.split_once('.').unwrap();
    let read = |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    assert_eq!(read(head), json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }));
    read(claims)
}

#[tokio::test(flavor = "multi_thread")]
async fn vertex_gets_a_token_that_was_asked_for_once() {
    let (google, cloud, folder) = (Cloud::default(), Cloud::default(), folder("google"));
    let token_url = format!("{}/token", google.serve().await);
    let base = format!("{}/v1/projects/p/locations/l", cloud.serve().await);
    let (pair, text) = key_file(&token_url);
    let account = ServiceAccount { keys: vec![file(&folder, "key.json", &text)], token_url: token_url.clone() };
    let (providers, warnings) = made(vec![provider("vertex", &base, Auth::Google(account))]).unwrap();
    assert!(warnings.is_empty() && google.received().is_empty(), "{warnings:?}");
    google.say(200, json!({ "access_token": "ya29.one", "expires_in": 3599, "token_type": "Bearer" }));
    google.say(200, json!({ "access_token": "ya29.two", "expires_in": 60 }));
    google.say(200, json!({ "access_token": "ya29.three", "expires_in": 3599 }));

    let providers = Arc::new(providers);
    let calls = (0..8).map(|_| {
        let providers = providers.clone();
        tokio::spawn(async move { send(&providers, "vertex", Dialect::Gemini, None).await })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), Ok(200));
    }
    assert_eq!(google.received().len(), 1, "eight calls, one token");
    let claims = claims(&google.received()[0].body, &pair);
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!("robot@p.example"), &json!(token_url)));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3_600);
    let first = &cloud.received()[0];
    assert_eq!(first.headers[header::AUTHORIZATION], "Bearer ya29.one");
    assert_eq!(first.uri.path(), "/v1/projects/p/locations/l/publishers/google/models/m%3A0:generateContent");

    // A token that is refused is given up; one that ends soon serves those who waited for it and nobody after them.
    cloud.say(401, json!({}));
    for (status, token) in [(401, "one"), (200, "two"), (200, "three"), (200, "three")] {
        assert_eq!(send(&providers, "vertex", Dialect::Gemini, None).await, Ok(status));
        assert_eq!(cloud.received().pop().unwrap().headers[header::AUTHORIZATION], format!("Bearer ya29.{token}"));
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_token_that_cannot_be_had_is_told_and_nothing_is_sent() {
    let (google, cloud, folder) = (Cloud::default(), Cloud::default(), folder("refused"));
    let token_url = format!("{}/token", google.serve().await);
    let base = cloud.serve().await;
    let (_, right) = key_file(&token_url);
    let (_, elsewhere) = key_file("https://evil.example/token");
    google.say(400, json!({ "error": "invalid_grant", "error_description": "Invalid JWT Signature." }));
    for (text, told) in [
        (right.as_str(), "400 invalid_grant Invalid JWT Signature."),
        (elsewhere.as_str(), "wants tokens of `https://evil.example/token`"),
        ("{\"type\":\"authorized_user\"}", "its `type` is `authorized_user`"),
        ("not JSON", "no key file"),
        ("{\"type\":\"service_account\",\"client_email\":\"a\",\"private_key\":\"canary\"}", "no RSA key"),
    ] {
        let account = ServiceAccount { keys: vec![file(&folder, "key.json", text)], token_url: token_url.clone() };
        let (providers, _) = made(vec![provider("vertex", &base, Auth::Google(account))]).unwrap();
        for _ in 0..2 {
            let Err(Fault::NoSecret { why, .. }) = send(&providers, "vertex", Dialect::Gemini, None).await else {
                panic!("{told}")
            };
            assert!(why.contains(told) && !why.contains("canary"), "{why}");
        }
    }
    assert_eq!(google.received().len(), 1, "a failure is not asked about again at once, and the rest never leaves");
    assert!(cloud.received().is_empty());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn only_this_machine_is_loopback() {
    for (host, expected) in [("localhost", true), ("127.0.0.1", true), ("[::1]", true), ("127.evil.example", false)] {
        assert_eq!(is_loopback(host), expected, "{host}");
    }
}
