//! Tokens of an issuer (JWT) from outside: what is taken, the corpus of what is not, and keys that change or cannot be had.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::keys::call;
use crate::support::gateway::{Gateway, eventually};

const ISSUER: &str = "https://issuer.example";

enum Signer {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    fn rsa() -> Signer {
        Signer::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn p256() -> Signer {
        Signer::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn ed25519() -> Signer {
        Signer::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    fn alg(&self) -> &'static str {
        match self {
            Signer::Rsa(_) => "RS256",
            Signer::P256(_) => "ES256",
            Signer::Ed25519(_) => "EdDSA",
        }
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).unwrap();
                signature
            }
            Signer::P256(pair) => pair.sign(&random, text.as_bytes()).unwrap().as_ref().to_vec(),
            Signer::Ed25519(pair) => pair.sign(text.as_bytes()).as_ref().to_vec(),
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Signer::Rsa(pair) => {
                // PKCS #1 in DER: of 2,048 bits all lengths are known.
                let der = pair.public_key().as_ref();
                assert_eq!((der.len(), &der[..9]), (270, &[0x30, 0x82, 1, 0x0a, 2, 0x82, 1, 1, 0][..]));
                let (n, e) = (&der[9..265], &der[267..]);
                json!({ "kty": "RSA", "kid": kid, "use": "sig", "n": text(n), "e": text(e) })
            }
            Signer::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": text(&point[1..33]), "y": text(&point[33..]) })
            }
            Signer::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": text(pair.public_key().as_ref()) })
            }
        }
    }

    /// A token of these texts: so a member can be there twice.
    fn token(&self, head: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.sign(&signed)))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims of a good token, with some replaced; null takes one out.
fn claims(change: Value) -> String {
    let mut claims = json!({
        "iss": ISSUER, "aud": "tollgate", "sub": "ann", "org": "acme", "azp": "desk",
        "roles": ["dev"], "iat": now(), "exp": now() + 600,
    });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims.to_string()
}

/// An issuer's set of keys on loopback.
struct Issuer {
    url: String,
    keys: Arc<Mutex<Value>>,
    asked: Arc<AtomicUsize>,
    is_down: Arc<AtomicBool>,
}

async fn issuer(keys: &[Value]) -> Issuer {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let issuer = Issuer {
        url,
        keys: Arc::new(Mutex::new(json!({ "keys": keys }))),
        asked: Arc::default(),
        is_down: Arc::default(),
    };
    let (keys, asked, is_down) = (issuer.keys.clone(), issuer.asked.clone(), issuer.is_down.clone());
    let answer = move || {
        asked.fetch_add(1, Ordering::SeqCst);
        let status = if is_down.load(Ordering::SeqCst) { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
        let told = keys.lock().unwrap().to_string();
        async move { (status, told) }
    };
    let router = axum::Router::new().route("/jwks", axum::routing::get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    issuer
}

fn gateway(jwks: &str, refresh_s: u64) -> (Gateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tollgate-policies.yaml"), "api: tollgate.policy/v1\npolicies: []\n").unwrap();
    let tenants = "tenants: { acme: { apps: [desk] } }\ngrants:\n  - { for: {} }\n";
    std::fs::write(folder.path().join("tenants.yaml"), tenants).unwrap();
    let config = format!(
        r#"
identity:
  issuers:
    corp:
      issuer: {ISSUER}
      audience: [tollgate]
      algorithms: [RS256, ES256, EdDSA]
      jwks: {jwks}
      leeway_s: 5
      refresh_s: {refresh_s}
      tenant: claims.org
      app: 'has(claims.azp) ? claims.azp : null'
      user: claims.sub
      groups: 'has(claims.roles) ? claims.roles : []'
"#
    );
    (Gateway::with(&["--policies", folder.path().to_str().unwrap()], Some(&config)), folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_says_who_calls_and_each_field_is_verified() {
    let signers = [("r", Signer::rsa()), ("e", Signer::p256()), ("d", Signer::ed25519())];
    let keys: Vec<Value> = signers.iter().map(|(kid, signer)| signer.jwk(kid)).collect();
    let issuer = issuer(&keys).await;
    let (gateway, _folder) = gateway(&format!("{{ url: '{}' }}", issuer.url), 3_600);
    for (kid, signer) in &signers {
        let head = json!({ "alg": signer.alg(), "typ": "JWT", "kid": kid }).to_string();
        let token = signer.token(&head, &claims(json!({})));
        let body = crate::calls::chat("sim/sim-1").to_string();
        let answer = crate::calls::post(&gateway, body, &[("authorization", &format!("Bearer {token}"))]).await;
        assert_eq!(answer.status(), 200, "{kid}");
        let receipt = gateway.receipt(answer.headers()["tollgate-call-id"].to_str().unwrap());
        let caller = &receipt["caller"];
        assert_eq!(
            (&caller["tenant"], &caller["app"], &caller["key"]),
            (&json!("acme"), &json!("desk"), &json!("jwt:corp"))
        );
        for field in ["tenant_source", "app_source", "user_source"] {
            assert_eq!(caller[field], "verified", "{field}");
        }
        assert_eq!(caller["groups"], json!(["dev"]));
        assert!(!receipt.to_string().contains(&token) && !receipt.to_string().contains("\"ann\""), "{receipt}");
        // Without a `kid` it must be clear which key is meant: one of each kind.
        let head = json!({ "alg": signer.alg() }).to_string();
        assert_eq!(call(&gateway, &signer.token(&head, &claims(json!({ "azp": null })))).await.0, 200, "{kid}");
    }
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1, "the keys are kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_of_the_issuer_for_this_gateway_is_refused() {
    let (good, other) = (Signer::p256(), Signer::p256());
    let rsa = Signer::rsa();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let pinned = {
        let mut jwk = good.jwk("pinned");
        jwk["alg"] = "ES384".into();
        jwk
    };
    let encrypts = {
        let mut jwk = good.jwk("encrypts");
        jwk["use"] = "enc".into();
        jwk
    };
    let keys = json!({ "keys": [good.jwk("k"), rsa.jwk("r"), other.jwk("o"), pinned, encrypts] });
    std::fs::write(&file, keys.to_string()).unwrap();
    let (gateway, _folder) = gateway(&format!("{{ file: '{}' }}", file.display()), 3_600);
    let head = |change: Value| {
        let mut head = json!({ "alg": "ES256", "typ": "JWT", "kid": "k" });
        for (name, value) in change.as_object().unwrap() {
            head[name] = value.clone();
        }
        head.to_string()
    };
    let none = json!({});
    let unsigned = |alg: &str| {
        let head = json!({ "alg": alg, "kid": "k" }).to_string();
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims(json!({}))))
    };
    // The public key as the secret of a MAC: who takes the algorithm from the token believes it.
    let confused = {
        let head = json!({ "alg": "HS256", "kid": "r" }).to_string();
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims(json!({}))));
        let secret = rsa.jwk("r")["n"].as_str().unwrap().to_owned();
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &URL_SAFE_NO_PAD.decode(secret).unwrap());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes())))
    };
    let whole = good.token(&head(none.clone()), &claims(none.clone()));
    assert_eq!(call(&gateway, &whole).await.0, 200, "the good one");
    let parts: Vec<&str> = whole.split('.').collect();
    let signed = |change: Value, said: Value| good.token(&head(change), &claims(said));
    let twice = claims(none.clone()).replacen('{', "{\"org\":\"umbrella\",", 1);
    let corpus = [
        (unsigned("none"), "malformed_token", "alg none"),
        (unsigned("NONE"), "malformed_token", "in capitals"),
        (unsigned("ES256"), "wrong_signature", "no signature"),
        (confused, "malformed_token", "HS256 with the public key"),
        (signed(json!({ "alg": "RS256" }), none.clone()), "unknown_kid", "the algorithm of another key"),
        (signed(json!({ "alg": "ES384" }), none.clone()), "wrong_algorithm", "an algorithm that is not the issuer's"),
        (signed(json!({ "kid": "pinned" }), none.clone()), "unknown_kid", "a key for another algorithm"),
        (signed(json!({ "kid": "encrypts" }), none.clone()), "unknown_kid", "a key for another use"),
        (signed(json!({ "kid": "o" }), none.clone()), "wrong_signature", "another key's id"),
        (signed(json!({ "kid": "../../etc/passwd" }), none.clone()), "unknown_kid", "a path"),
        (signed(json!({ "kid": "' OR 1=1 --" }), none.clone()), "unknown_kid", "SQL"),
        (signed(json!({ "kid": "" }), none.clone()), "unknown_kid", "an empty id"),
        (signed(json!({ "kid": 7 }), none.clone()), "malformed_token", "an id that is no text"),
        (signed(json!({ "kid": "k".repeat(300) }), none.clone()), "malformed_token", "a long id"),
        (signed(json!({ "jku": "https://evil.example/jwks" }), none.clone()), "malformed_token", "keys elsewhere"),
        (signed(json!({ "x5u": "https://evil.example/x" }), none.clone()), "malformed_token", "certificates elsewhere"),
        (signed(json!({ "jwk": other.jwk("k") }), none.clone()), "malformed_token", "its own key"),
        (signed(json!({ "crit": ["exp"] }), none.clone()), "malformed_token", "demands"),
        (signed(json!({ "b64": false }), none.clone()), "malformed_token", "another form"),
        (signed(json!({ "typ": "dpop+jwt" }), none.clone()), "malformed_token", "something else than access"),
        (
            good.token("{\"alg\":\"ES256\",\"kid\":\"k\",\"kid\":\"o\"}", &claims(none.clone())),
            "malformed_token",
            "two ids",
        ),
        (good.token(&head(none.clone()), &twice), "malformed_token", "a claim twice"),
        (good.token(&head(none.clone()), "[]"), "malformed_token", "no table"),
        (other.token(&head(none.clone()), &claims(none.clone())), "wrong_signature", "signed by another"),
        (
            format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims(json!({ "sub": "eve" }))), parts[2]),
            "wrong_signature",
            "changed",
        ),
        (format!("{whole}.x"), "malformed_token", "four parts"),
        (signed(none.clone(), json!({ "iss": "https://evil.example" })), "unknown_issuer", "of another issuer"),
        (signed(none.clone(), json!({ "iss": null })), "unknown_issuer", "of none"),
        (signed(none.clone(), json!({ "aud": "others" })), "wrong_audience", "for others"),
        (signed(none.clone(), json!({ "aud": ["others", 7] })), "wrong_audience", "for several others"),
        (signed(none.clone(), json!({ "aud": null })), "wrong_audience", "for nobody"),
        (signed(none.clone(), json!({ "exp": now() - 60 })), "expired_token", "over"),
        (signed(none.clone(), json!({ "exp": null })), "malformed_token", "without an end"),
        (signed(none.clone(), json!({ "exp": "tomorrow" })), "malformed_token", "an end that is no number"),
        (signed(none.clone(), json!({ "exp": 1e300 })), "malformed_token", "an end beyond all times"),
        (signed(none.clone(), json!({ "nbf": now() + 600 })), "early_token", "not yet"),
        (signed(none.clone(), json!({ "iat": now() + 600 })), "early_token", "made in the future"),
        (signed(none.clone(), json!({ "org": null })), "wrong_claims", "no tenant"),
        (signed(none.clone(), json!({ "org": ["acme", "umbrella"] })), "wrong_claims", "two tenants"),
        (signed(none.clone(), json!({ "org": "a\u{7}b" })), "wrong_claims", "what cannot be printed"),
        (signed(none.clone(), json!({ "pad": "x".repeat(20_000) })), "malformed_token", "too long"),
    ];
    for (token, code, why) in &corpus {
        assert_eq!(call(&gateway, token).await, (401, (*code).to_owned()), "{why}");
    }
    let told = call(&gateway, &signed(none.clone(), json!({ "org": "umbrella" }))).await;
    assert_eq!(told, (403, "unknown_tenant".to_owned()), "a tenant that the table does not have");
    assert_eq!(call(&gateway, &signed(none, json!({ "aud": ["others", "tollgate"] }))).await.0, 200, "one of several");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_asked_for_seldom_and_kept_where_the_issuer_is_down() {
    let (first, second) = (Signer::ed25519(), Signer::ed25519());
    let issuer = issuer(&[first.jwk("1")]).await;
    let url = format!("{{ url: '{}' }}", issuer.url);
    let token = |signer: &Signer, kid: &str| {
        signer.token(&json!({ "alg": "EdDSA", "kid": kid }).to_string(), &claims(json!({ "azp": null })))
    };
    let (seldom, _one) = gateway(&url, 3_600);
    assert_eq!(call(&seldom, &token(&first, "1")).await.0, 200);
    for n in 0..20 {
        assert_eq!(call(&seldom, &token(&second, &format!("x{n}"))).await.1, "unknown_kid");
    }
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1, "whatever tokens name, one request in an interval");

    let (often, _two) = gateway(&url, 1);
    assert_eq!(call(&often, &token(&first, "1")).await.0, 200);
    *issuer.keys.lock().unwrap() = json!({ "keys": [first.jwk("1"), second.jwk("2")] });
    // The interval of a second must pass first.
    let mut taken = false;
    for _ in 0..200 {
        taken = call(&often, &token(&second, "2")).await.0 == 200;
        if taken {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(taken, "a new key is found by the first token that names it");
    issuer.is_down.store(true, Ordering::SeqCst);
    let before = issuer.asked.load(Ordering::SeqCst);
    let mut refused = (0, String::new());
    for _ in 0..200 {
        refused = call(&often, &token(&second, "3")).await;
        if issuer.asked.load(Ordering::SeqCst) > before {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(refused, (401, "unknown_kid".to_owned()), "the issuer is down: what is kept counts");
    assert_eq!(call(&often, &token(&first, "1")).await.0, 200, "and serves");
    let (cold, _three) = gateway(&url, 3_600);
    assert_eq!(call(&cold, &token(&first, "1")).await, (503, "no_keys".to_owned()), "not the caller's fault");
    eventually("the log of it", || cold.log.lock().unwrap().contains("keys of an issuer").then_some(()));
}
