//! Amazon's signature of a request, version 4: pure, over exactly what will be sent.
//!
//! A dozen lines of HMAC rather than `aws-sigv4`, which brings 21 more packages, among them a second `hmac` and `sha2`; the
//! published test vectors and botocore's own signatures hold them. Paths are not tidied (`//`, `/../`): ours never need it.

use std::fmt::Write as _;

use hmac::{Hmac, Mac};
use http::header::{AUTHORIZATION, CONNECTION, EXPECT, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, Method};
use sha2::{Digest, Sha256};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Headers that are changed or added on the way: a signature over them would not hold.
const NOT_SIGNED: [HeaderName; 6] = [AUTHORIZATION, CONNECTION, EXPECT, TE, TRANSFER_ENCODING, USER_AGENT];
const TRACE: &str = "x-amzn-trace-id";

/// What signs. It is never printed.
pub struct Credentials<'a> {
    pub access_key_id: &'a str,
    pub secret_access_key: &'a str,
    /// Of temporary credentials.
    pub session_token: Option<&'a str>,
}

/// A request as it will be sent.
pub struct Unsigned<'a> {
    pub method: &'a Method,
    /// Path and query with their escapes (`/model/x%3A0/converse`).
    pub uri: &'a str,
    /// `host` must be among them, for it is signed. All are, but those that change on the way.
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// The headers that make a request signed, to be set in place of any of the same names. The time is in seconds since 1970.
pub fn sign(
    request: &Unsigned<'_>,
    credentials: &Credentials<'_>,
    region: &str,
    service: &str,
    at_s: i64,
) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let at = jiff::Timestamp::from_second(at_s).map_err(|_| format!("`{at_s}` is no time that can be signed"))?;
    let time = at.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = &time[..8];
    let mut added = vec![(HeaderName::from_static("x-amz-date"), value(&time, "the time")?)];
    if let Some(token) = credentials.session_token {
        let mut token = value(token, "the session token")?;
        token.set_sensitive(true);
        added.push((HeaderName::from_static("x-amz-security-token"), token));
    }
    let (canonical, signed_headers) = canonical(request, &added)?;
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let mut key = hmac(format!("AWS4{}", credentials.secret_access_key).as_bytes(), day);
    for step in [region, service, "aws4_request"] {
        key = hmac(&key, step);
    }
    let signature = hex(&hmac(&key, &to_sign));
    let id = credentials.access_key_id;
    let told = format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={signed_headers}, Signature={signature}");
    let mut authorization = value(&told, "the access key's id")?;
    authorization.set_sensitive(true);
    added.push((AUTHORIZATION, authorization));
    Ok(added)
}

fn value(text: &str, what: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| format!("{what} has characters that no header may carry"))
}

/// The request in the one form that both sides hash, and the names of the headers in it.
fn canonical(request: &Unsigned<'_>, added: &[(HeaderName, HeaderValue)]) -> Result<(String, String), String> {
    let (path, query) = request.uri.split_once('?').unwrap_or((request.uri, ""));
    let (headers, names) = canonical_headers(request.headers, added)?;
    let mut text = format!("{}\n", request.method);
    // What is escaped in the path already is escaped again: a colon is sent as `%3A` and signed as `%253A`.
    escape(path.as_bytes(), b"/", &mut text);
    let body = hex(&Sha256::digest(request.body));
    let query = canonical_query(query);
    write!(text, "\n{query}\n{headers}\n{names}\n{body}").expect("a String takes every text");
    Ok((text, names))
}

/// Names in small letters and in their order; values without blanks around them, and single blanks inside.
fn canonical_headers(headers: &HeaderMap, added: &[(HeaderName, HeaderValue)]) -> Result<(String, String), String> {
    let is_added = |name: &HeaderName| added.iter().any(|(ours, _)| ours == name);
    let is_signed = |name: &HeaderName| !NOT_SIGNED.contains(name) && name != TRACE;
    if !headers.contains_key("host") {
        return Err("no `host` among the headers to be signed".to_owned());
    }
    let mut all: Vec<(&HeaderName, &HeaderValue)> =
        headers.iter().filter(|(name, _)| is_signed(name) && !is_added(name)).collect();
    all.extend(added.iter().map(|(name, value)| (name, value)));
    // Values of one name keep their order.
    all.sort_by_key(|(name, _)| name.as_str());
    let (mut lines, mut names) = (String::new(), String::new());
    let mut last = "";
    for (name, value) in all {
        let value = value.to_str().map_err(|_| format!("the header `{name}` has a value that cannot be signed"))?;
        let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        if name.as_str() == last {
            lines.truncate(lines.len() - 1);
            writeln!(lines, ",{value}").expect("a String takes every text");
            continue;
        }
        last = name.as_str();
        writeln!(lines, "{name}:{value}").expect("a String takes every text");
        names.push_str(if names.is_empty() { "" } else { ";" });
        names.push_str(last);
    }
    Ok((lines, names))
}

/// Members in the order of their escaped names and values, all escaped the one way.
fn canonical_query(query: &str) -> String {
    let escaped = |text: &str| {
        let mut out = String::new();
        escape(&unescape(text), b"", &mut out);
        out
    };
    let mut members: Vec<(String, String)> = query
        .split('&')
        .filter(|member| !member.is_empty())
        .map(|member| member.split_once('=').unwrap_or((member, "")))
        .map(|(name, value)| (escaped(name), escaped(value)))
        .collect();
    members.sort();
    members.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn escape(bytes: &[u8], kept: &[u8], out: &mut String) {
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(*byte)),
            byte if kept.contains(byte) => out.push(char::from(*byte)),
            byte => write!(out, "%{byte:02X}").expect("a String takes every text"),
        }
    }
}

/// Takes escapes off; what only looks like one stays.
fn unescape(text: &str) -> Vec<u8> {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while at < bytes.len() {
        let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, _, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        write!(out, "{byte:02x}").expect("a String takes every text");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn authorization(request: &Unsigned<'_>, token: Option<&str>, scope: [&str; 2], at_s: i64) -> String {
        let credentials = Credentials { access_key_id: "AKIDEXAMPLE", secret_access_key: SECRET, session_token: token };
        let signed = sign(request, &credentials, scope[0], scope[1], at_s).unwrap();
        let (name, value) = signed.last().unwrap();
        assert_eq!(name, AUTHORIZATION);
        value.to_str().unwrap().to_owned()
    }

    /// From Amazon's published suite (aws-c-auth, `tests/aws-signing-test-suite/v4`), by the names that they have there.
    #[test]
    fn the_published_vectors_hold() {
        let token = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
        let form_hash = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e";
        let form = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("content-length", "13"),
            ("x-amz-content-sha256", form_hash),
        ];
        let double = [("my-header1", "value2"), ("my-header1", "value2"), ("my-header1", "value1")];
        let trim = [("my-header1", " value1"), ("my-header2", " \"a   b   c\"")];
        let unreserved = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        for (name, method, uri, more, body, token, signature) in [
            (
                "post-vanilla",
                "POST",
                "/",
                &[][..],
                "",
                None,
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "get-vanilla-with-session-token",
                "GET",
                "/",
                &[],
                "",
                Some(token),
                "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
            ),
            (
                "get-utf8",
                "GET",
                "/\u{1234}",
                &[],
                "",
                None,
                "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
            ),
            (
                "get-space-unnormalized",
                "GET",
                "/example space/",
                &[],
                "",
                None,
                "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
            ),
            (
                "get-slash-unnormalized",
                "GET",
                "//",
                &[],
                "",
                None,
                "c88bcd3d312d75078c0cd961d6deae3f4c754924b01669efcfcb439fd5e5b76e",
            ),
            (
                "get-unreserved",
                "GET",
                unreserved,
                &[],
                "",
                None,
                "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
            ),
            (
                "get-vanilla-query-order-key-case",
                "GET",
                "/?Param2=value2&Param1=value1",
                &[],
                "",
                None,
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "get-vanilla-utf8-query",
                "GET",
                "/?\u{1234}=bar",
                &[],
                "",
                None,
                "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
            ),
            (
                "get-header-value-trim",
                "GET",
                "/",
                &trim,
                "",
                None,
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
            (
                "get-header-key-duplicate",
                "GET",
                "/",
                &double,
                "",
                None,
                "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
            ),
            (
                "post-x-www-form-urlencoded",
                "POST",
                "/",
                &form,
                "Param1=value1",
                None,
                "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
            ),
        ] {
            let mut headers = headers(more);
            headers.insert("host", HeaderValue::from_static("example.amazonaws.com"));
            let method = method.parse().unwrap();
            let request = Unsigned { method: &method, uri, headers: &headers, body: body.as_bytes() };
            // 2015-08-30T12:36:00Z
            let told = authorization(&request, token, ["us-east-1", "service"], 1_440_938_160);
            assert_eq!(told.rsplit_once("Signature=").unwrap().1, signature, "{name}: {told}");
        }
    }

    /// botocore 1.44 signed the same at 2026-11-24T15:04:05Z.
    #[test]
    fn calls_of_bedrock_are_signed_as_the_official_sdk_signs_them() {
        let headers = headers(&[
            ("content-type", "application/json"),
            ("host", "bedrock-runtime.us-east-1.amazonaws.com"),
            ("user-agent", "changes on the way"),
        ]);
        let profile =
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.x-v1%3A0/converse-stream";
        for (uri, token, signed_headers, signature) in [
            (
                "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse",
                None,
                "content-type;host;x-amz-date",
                "636dac90805086f465143aa6b88fe2fe24618e1bc7aed20a9626eec34d7b214b",
            ),
            (
                profile,
                Some("TOKEN/with+signs=="),
                "content-type;host;x-amz-date;x-amz-security-token",
                "f435d548dd81a4671518b0a48dc17065121a2e00b32e5038bf44f31b0d71f1db",
            ),
        ] {
            let request = Unsigned { method: &Method::POST, uri, headers: &headers, body: b"{\"messages\":[]}" };
            let told = authorization(&request, token, ["us-east-1", "bedrock"], 1_795_532_645);
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261124/us-east-1/bedrock/aws4_request, \
                 SignedHeaders={signed_headers}, Signature={signature}"
            );
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn a_second_signature_replaces_the_first() {
        let first = headers(&[("host", "h"), ("x-amz-date", "20200101T000000Z"), ("authorization", "old")]);
        let second = headers(&[("host", "h")]);
        let told = [first, second].map(|headers| {
            let request = Unsigned { method: &Method::POST, uri: "/", headers: &headers, body: b"" };
            authorization(&request, None, ["r", "bedrock"], 1_700_000_000)
        });
        assert_eq!(told[0], told[1]);
    }

    #[test]
    fn what_cannot_be_signed_is_told_without_its_secrets() {
        let headers = headers(&[("host", "h")]);
        let request = Unsigned { method: &Method::POST, uri: "/", headers: &headers, body: b"" };
        let bad = Credentials { access_key_id: "a", secret_access_key: "canary", session_token: Some("canary\n") };
        let told = sign(&request, &bad, "r", "s", 0).unwrap_err();
        assert!(told.contains("session token") && !told.contains("canary"), "{told}");
        let good = Credentials { access_key_id: "a", secret_access_key: "canary", session_token: None };
        let hostless = Unsigned { headers: &HeaderMap::new(), ..request };
        assert!(sign(&hostless, &good, "r", "s", 0).unwrap_err().contains("`host`"));
    }
}
