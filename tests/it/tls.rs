//! TLS and client certificates from outside: who is let in, whom a certificate speaks of, and what it may do beside a key.

mod files;
mod operators;

use std::path::{Path, PathBuf};

use rcgen::ExtendedKeyUsagePurpose as Purpose;
use reqwest::{Client, Method, StatusCode, Version};
use serde_json::{Value, json};

use crate::calls::chat;
use crate::keys::json_of;
use crate::support::certificates::{Authority, DAY_S, Held, Wanted, dns, email, uri};
use crate::support::gateway::Gateway;

const TENANTS: &str = "tenants: { acme: { apps: [desk, shop] }, umbrella: }\ngrants:\n  - { for: {} }\n";

/// Whom the certificates of these tests speak of. The unit of the subject says what for.
const READ: &str = r#"
identity:
  certificates:
    tenant: 'cert.spiffe_id.startsWith("spiffe://acme.example/") ? "acme" : cert.subject.organizational_units[0] == "umbrella" ? "umbrella" : null'
    app: 'cert.subject.common_name == "desk" ? "desk" : null'
    user: 'size(cert.emails) == 1 ? cert.emails[0] : null'
    groups: cert.dns
    scopes: '"admin" in cert.subject.organizational_units ? ["admin"] : "reader" in cert.subject.organizational_units ? ["admin:read"] : "chat" in cert.subject.organizational_units ? ["chat"] : ["calls", "mint"]'
"#;

/// A gateway behind TLS, and who signs for it and for its clients.
pub struct House {
    pub gateway: Gateway,
    pub root: Authority,
    pub path: PathBuf,
    _policies: tempfile::TempDir,
}

impl House {
    /// `client`: off, optional or required, at both ports. `read`: the section `identity`.
    pub fn new(client: &str, read: &str) -> House {
        House::until(client, read, 300 * DAY_S)
    }

    pub fn until(client: &str, read: &str, until_s: i64) -> House {
        let (folder, policies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = Authority::root("a root of tests");
        let path = folder.path().to_owned();
        put(&path, "server", &root.server(until_s));
        std::fs::write(path.join("clients.pem"), root.pem()).unwrap();
        std::fs::write(path.join("clients.crl"), root.revokes(&[])).unwrap();
        let asked = match client {
            "off" => String::new(),
            how => {
                format!(", client: {how}, client_ca: {0}/clients.pem, client_crl: [{0}/clients.crl]", path.display())
            }
        };
        let tls = format!("{{ cert: {0}/server.pem, key: {0}/server.key{asked} }}", path.display());
        let config = format!("listen:\n  tls: {tls}\n  operators_tls: {tls}\nproviders: {{ sim: {{}} }}\n{read}");
        let manifest = "api: tollgate.policy/v1\npolicies: []\n";
        std::fs::write(policies.path().join("tollgate-policies.yaml"), manifest).unwrap();
        std::fs::write(policies.path().join("tenants.yaml"), TENANTS).unwrap();
        let state = path.join("state");
        let args = ["--policies", policies.path().to_str().unwrap()];
        let gateway = Gateway::on(folder, state, &args, Some(&config));
        assert!(gateway.base.starts_with("https://") && gateway.operators.starts_with("https://"));
        House { gateway, root, path, _policies: policies }
    }

    pub fn client(&self, shows: Option<&Held>) -> Client {
        self.root.client(shows, |client| client)
    }

    pub fn revoke(&self, serials: &[u64]) {
        std::fs::write(self.path.join("clients.crl"), self.root.revokes(serials)).unwrap();
    }

    /// A key made at run time: its text.
    pub async fn key(&self, wanted: Value) -> String {
        let token = std::fs::read_to_string(self.gateway.state.join("operator-token")).unwrap();
        let url = format!("{}/admin/v1/keys", self.gateway.operators);
        let made = self.client(None).post(url).bearer_auth(token).body(wanted.to_string()).send().await.unwrap();
        json_of(made).await["key"].as_str().unwrap().to_owned()
    }

    /// The line of `/metrics` that begins so.
    pub async fn metric(&self, begins: &str) -> f64 {
        let url = format!("{}/metrics", self.gateway.operators);
        let text = self.client(None).get(url).send().await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(begins)).unwrap_or(" 0");
        line.trim().parse().unwrap()
    }
}

pub fn put(folder: &Path, name: &str, held: &Held) {
    std::fs::write(folder.join(format!("{name}.pem")), &held.cert).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), &held.key).unwrap();
}

/// What `acme`'s certificates are, but for what a test changes.
pub fn acme() -> Wanted<'static> {
    Wanted { alternative: vec![uri("spiffe://acme.example/desk")], ..Wanted::default() }
}

/// One chat: status and the refusal's code; or that the connection did not come about.
pub async fn call(house: &House, client: &Client, key: Option<&str>) -> (u16, String) {
    let mut request = client.post(house.gateway.url("/v1/chat/completions")).body(chat("sim/sim-1").to_string());
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    match request.send().await {
        Err(_) => (0, "no connection".to_owned()),
        Ok(answer) => {
            let status = answer.status().as_u16();
            let told = json_of(answer).await;
            (status, told["error"]["tollgate"]["code"].as_str().unwrap_or_default().to_owned())
        }
    }
}

pub fn told(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_says_who_calls_and_each_field_is_verified() {
    let house = House::new("optional", READ);
    let alternative = vec![uri("spiffe://acme.example/desk"), dns("a.example"), email("ann@acme.example")];
    let first = house.root.sign(&Wanted { serial: 7, alternative: alternative.clone(), ..acme() });
    let renewed = house.root.sign(&Wanted { serial: 8, alternative, ..acme() });
    let elsewhere = vec![uri("spiffe://acme.example/elsewhere")];
    let other = house.root.sign(&Wanted { serial: 9, alternative: elsewhere, ..acme() });
    let tls12 = |client: reqwest::ClientBuilder| client.tls_version_max(reqwest::tls::Version::TLS_1_2);
    let mut keys = Vec::new();
    for (client, version, why) in [
        (house.client(Some(&first)), Version::HTTP_2, "HTTP/2 where the client can speak it"),
        (house.root.client(Some(&first), |c| c.http1_only()), Version::HTTP_11, "HTTP/1.1"),
        (house.root.client(Some(&first), tls12), Version::HTTP_2, "TLS 1.2"),
        (house.client(Some(&renewed)), Version::HTTP_2, "the next certificate of the same holder"),
        (house.client(Some(&other)), Version::HTTP_2, "another holder"),
    ] {
        let body = chat("sim/sim-1").to_string();
        let answer = client.post(house.gateway.url("/v1/chat/completions")).body(body).send().await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, version), "{why}");
        let receipt = house.gateway.receipt(answer.headers()["tollgate-call-id"].to_str().unwrap());
        let caller = &receipt["caller"];
        assert_eq!((&caller["tenant"], &caller["app"]), (&json!("acme"), &json!("desk")), "{why}");
        assert_eq!(
            (&caller["tenant_source"], &caller["app_source"]),
            (&json!("verified"), &json!("verified")),
            "{why}"
        );
        if why != "another holder" {
            assert_eq!(
                (&caller["user_source"], &caller["groups"]),
                (&json!("verified"), &json!(["a.example"])),
                "{why}"
            );
        }
        assert!(!receipt.to_string().contains("ann@acme.example"), "users are digests: {receipt}");
        keys.push(caller["key"].as_str().unwrap().to_owned());
    }
    assert!(keys.iter().all(|key| key.starts_with("cert:~")), "{keys:?}");
    assert!(keys[..4].iter().all(|key| *key == keys[0]) && keys[4] != keys[0], "a holder has one key: {keys:?}");
}

/// The same certificates where one is asked for and where one is required: a wrong one is never let in.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_certificates_are_not_let_in() {
    let (optional, required) = (House::new("optional", READ), House::new("required", READ));
    let stranger = Authority::root("another root");
    let namesake = Authority::root("a root of tests");
    for (house, is_required) in [(&optional, false), (&required, true)] {
        let sign = |wanted: Wanted<'_>| Some(house.root.sign(&wanted));
        house.revoke(&[66]);
        let revoked = sign(Wanted { serial: 66, ..acme() });
        let client = house.client(revoked.as_ref());
        crate::support::gateway::eventually("the list of revoked certificates", || {
            house.gateway.log.lock().unwrap().contains("read anew").then_some(())
        });
        assert_eq!(call(house, &client, None).await, told(0, "no connection"), "revoked");
        let closed = told(0, "no connection");
        let rows = [
            (sign(acme()), told(200, ""), "good"),
            (Some(stranger.sign(&acme())), closed.clone(), "of another root"),
            (Some(namesake.sign(&acme())), closed.clone(), "of a root that only has the name"),
            (sign(Wanted { from_s: -2 * DAY_S, until_s: -DAY_S, ..acme() }), closed.clone(), "expired"),
            (sign(Wanted { from_s: DAY_S, until_s: 2 * DAY_S, ..acme() }), closed.clone(), "not yet valid"),
            (sign(Wanted { purposes: vec![Purpose::ServerAuth], ..acme() }), closed.clone(), "a server's"),
            (sign(Wanted { purposes: Vec::new(), ..acme() }), closed.clone(), "for no purpose"),
            (
                sign(Wanted { purposes: vec![Purpose::ServerAuth, Purpose::ClientAuth], ..acme() }),
                told(200, ""),
                "for both purposes",
            ),
            (Some(acme().alone()), closed.clone(), "signed by itself"),
            (
                sign(Wanted { alternative: Vec::new(), ..acme() }),
                told(401, "wrong_certificate"),
                "without a name: let in, and nobody's",
            ),
            (
                sign(Wanted {
                    alternative: vec![uri("spiffe://acme.example/a"), uri("spiffe://acme.example/b")],
                    ..acme()
                }),
                told(401, "wrong_certificate"),
                "with two ids: it is no document of SPIFFE, so it has none",
            ),
            (
                sign(Wanted { alternative: vec![uri("spiffe://acme.example.evil.example/desk")], ..acme() }),
                told(401, "wrong_certificate"),
                "of a domain that begins alike",
            ),
            (None, if is_required { closed.clone() } else { told(401, "missing_credential") }, "none"),
        ];
        for (held, expected, why) in rows {
            let client = house.client(held.as_ref());
            assert_eq!(call(house, &client, None).await, expected, "{why}; required: {is_required}");
        }
    }
    assert!(optional.metric("tollgate_tls_handshakes_total{side=\"callers\",result=\"refused\"}").await >= 7.0);
    let log = optional.gateway.log.lock().unwrap().clone();
    assert!(log.contains("a client certificate was refused") && log.contains("serial=\"42\""), "66 is 42 there: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_authority_of_a_chain_needs_its_list() {
    let house = House::new("optional", READ);
    let middle = house.root.below("a middle of tests");
    let mut held = middle.sign(&acme());
    held.cert += &middle.pem();
    let client = house.client(Some(&held));
    assert_eq!(call(&house, &client, None).await, told(0, "no connection"), "nobody knows whether it was revoked");
    let lists = |serials: &[u64]| format!("{}{}", house.root.revokes(&[]), middle.revokes(serials));
    std::fs::write(house.path.join("clients.crl"), lists(&[])).unwrap();
    let mut came = told(0, "");
    for _ in 0..100 {
        came = call(&house, &client, None).await;
        if came.0 == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(came, told(200, ""), "both lists are there");
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_key_a_certificate_fills_and_never_contradicts() {
    let house = House::new("optional", READ);
    let desk = house
        .root
        .sign(&Wanted { alternative: vec![uri("spiffe://acme.example/x"), email("ann@a.example")], ..acme() });
    let nobody = house.root.sign(&Wanted { alternative: Vec::new(), common_name: "else", ..acme() });
    let open = house.key(json!({ "tenant": "acme" })).await;
    let shop = house.key(json!({ "tenant": "acme", "app": "shop" })).await;
    let bob = house.key(json!({ "tenant": "acme", "user": "bob" })).await;
    let umbrella = house.key(json!({ "tenant": "umbrella" })).await;
    let embeds = house.key(json!({ "tenant": "acme", "scopes": ["embeddings"] })).await;
    for (held, key, expected, why) in [
        (&desk, &*open, told(200, ""), "the certificate fills what the key leaves open"),
        (&desk, &*shop, told(403, "identity_mismatch"), "another app"),
        (&desk, &*bob, told(403, "identity_mismatch"), "another user"),
        (&desk, &*umbrella, told(403, "identity_mismatch"), "another tenant"),
        (&desk, &*embeds, told(403, "out_of_scope"), "the key's rights count"),
        (&desk, "tg_nothing", told(401, "malformed_key"), "a wrong key is not passed over"),
        (&nobody, &*umbrella, told(200, ""), "a certificate that speaks of nobody contradicts nothing"),
    ] {
        assert_eq!(call(&house, &house.client(Some(held)), Some(key)).await, expected, "{why}");
    }
    let body = chat("sim/sim-1").to_string();
    let asked = house.client(Some(&desk)).post(house.gateway.url("/v1/chat/completions")).bearer_auth(&open).body(body);
    let id = asked.send().await.unwrap().headers()["tollgate-call-id"].to_str().unwrap().to_owned();
    let caller = house.gateway.receipt(&id)["caller"].clone();
    assert_eq!(caller["key"], open.split('_').nth(1).unwrap(), "the key's id");
    assert_eq!((&caller["app"], &caller["app_source"]), (&json!("desk"), &json!("verified")));
    // Without a mapping a certificate only lets the connection in.
    let unread = House::new("required", "");
    let held = unread.root.sign(&acme());
    assert_eq!(call(&unread, &unread.client(Some(&held)), None).await, told(401, "missing_credential"));
    let token = std::fs::read_to_string(unread.gateway.state.join("operator-token")).unwrap();
    let url = format!("{}/admin/v1/keys", unread.gateway.operators);
    let wanted = json!({ "tenant": "umbrella" }).to_string();
    let made = unread.client(Some(&held)).request(Method::POST, url).bearer_auth(token).body(wanted).send().await;
    let key = json_of(made.unwrap()).await["key"].as_str().unwrap().to_owned();
    assert_eq!(call(&unread, &unread.client(Some(&held)), Some(&key)).await, told(200, ""));
    assert_eq!(call(&unread, &unread.client(None), Some(&key)).await, told(0, "no connection"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_cannot_use_the_certificate_of_a_browser() {
    let house = House::new("optional", READ);
    let client = house.client(Some(&house.root.sign(&acme())));
    for (header, value, status) in [
        ("origin", "https://evil.example", 401),
        ("sec-fetch-site", "cross-site", 401),
        ("sec-fetch-site", "same-origin", 200),
    ] {
        for path in ["/v1/chat/completions", "/v1/models"] {
            let url = house.gateway.url(path);
            let request = if path.ends_with("models") { client.get(url) } else { client.post(url) };
            let answer = request.header(header, value).body(chat("sim/sim-1").to_string()).send().await.unwrap();
            assert_eq!(answer.status(), status, "{path} {header}: {value}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_makes_short_lived_keys_that_end_with_it() {
    let house = House::new("optional", READ);
    let held =
        house.root.sign(&Wanted { serial: 5, alternative: vec![uri("spiffe://acme.example/x"), dns("g")], ..acme() });
    let brief = house.root.sign(&Wanted { serial: 6, until_s: 600, ..acme() });
    let narrow = house.root.sign(&Wanted { unit: "chat", ..acme() });
    let mint = async |held: &Held, wanted: Value| {
        let url = house.gateway.url("/v1/keys");
        let answer = house.client(Some(held)).post(url).body(wanted.to_string()).send().await.unwrap();
        (answer.status().as_u16(), json_of(answer).await)
    };
    let (status, made) = mint(&held, json!({ "user": "ann", "scopes": ["chat"] })).await;
    assert_eq!((status, &made["tenant"], &made["app"]), (201, &json!("acme"), &json!("desk")), "{made}");
    let key = made["key"].as_str().unwrap();
    let plain = house.client(None);
    let body = chat("sim/sim-1").to_string();
    let answer =
        plain.post(house.gateway.url("/v1/chat/completions")).bearer_auth(key).body(body).send().await.unwrap();
    let caller = house.gateway.receipt(answer.headers()["tollgate-call-id"].to_str().unwrap())["caller"].clone();
    assert_eq!((&caller["groups"], &caller["tenant_source"]), (&json!(["g"]), &json!("verified")), "{caller}");
    let answer = plain.post(house.gateway.url("/v1/embeddings")).bearer_auth(key).body("{}").send().await.unwrap();
    assert_eq!(answer.status(), 403, "only what it was made for");
    let (_, made) = mint(&brief, json!({ "ttl_s": 3_600 })).await;
    let left_ms = made["expires_ms"].as_i64().unwrap() - now_ms();
    assert!((500_000..=600_000).contains(&left_ms), "no longer than its certificate: {left_ms} ms");
    assert_eq!(mint(&narrow, json!({})).await.0, 403, "its certificate has not the scope `mint`");
    house.revoke(&[5]);
    let mut came = told(0, "");
    for _ in 0..100 {
        came = call(&house, &plain, Some(key)).await;
        if came.0 != 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(came, told(401, "revoked_certificate"), "it ends where its certificate is revoked");
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}
