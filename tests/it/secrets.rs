//! Secrets of providers while calls go on: rotated by file, by command and by a signal, two at a time, named in receipts, and
//! never told; and what `tollgate doctor` says of all of it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::calls::{chat, client, post};
use crate::support::gateway::{Gateway, eventually, signal, tollgate};

const ANSWER: &str = r#"{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5}}"#;

/// A provider that takes some keys and keeps what it was shown.
#[derive(Clone, Default)]
pub struct Cloud {
    good: Arc<Mutex<Vec<String>>>,
    shown: Arc<Mutex<Vec<String>>>,
}

impl Cloud {
    pub async fn serve(&self, good: &[&str]) -> String {
        self.takes(good);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        format!("http://{address}/v1")
    }

    pub fn takes(&self, good: &[&str]) {
        *self.good.lock().unwrap() = good.iter().map(|key| format!("Bearer {key}")).collect();
    }

    fn shown(&self) -> Vec<String> {
        std::mem::take(&mut *self.shown.lock().unwrap())
    }
}

async fn answer(State(cloud): State<Cloud>, headers: HeaderMap) -> Response {
    let shown = headers.get("authorization").map_or("", |v| v.to_str().unwrap()).to_owned();
    let is_good = cloud.good.lock().unwrap().contains(&shown);
    cloud.shown.lock().unwrap().push(shown);
    match is_good {
        true => ([("content-type", "application/json")], ANSWER).into_response(),
        // Some providers repeat the key that they refuse.
        false => (StatusCode::UNAUTHORIZED, "{\"error\":{\"message\":\"Incorrect API key\"}}").into_response(),
    }
}

/// One call: its status, and its receipt's attempts as `STATUS SECRET`.
async fn call(gateway: &Gateway) -> (u16, Vec<String>) {
    let answer = post(gateway, chat("cloud/m").to_string(), &[]).await;
    let status = answer.status().as_u16();
    let id = answer.headers()["tollgate-call-id"].to_str().unwrap().to_owned();
    let receipt = gateway.receipt(&id);
    let told = |a: &Value| format!("{} {}", a["status"], a["secret"].as_str().unwrap_or("none"));
    (status, receipt["attempts"].as_array().into_iter().flatten().map(told).collect())
}

fn config(base: &str, secret: &str) -> String {
    format!("providers:\n  cloud: {{ base_url: \"{base}\", secret: {secret} }}\n  sim: {{}}\n")
}

fn doctor(gateway: &Gateway, config: &Path) -> (Option<i32>, Value, String) {
    let config = config.to_str().unwrap();
    let args = ["doctor", "--operators", &gateway.operators, "--config", config];
    let text = tollgate(&args, &gateway.state);
    let json = tollgate(&[&args[..], &["--json"]].concat(), &gateway.state);
    let told = String::from_utf8(text.stdout).unwrap() + &String::from_utf8(text.stderr).unwrap();
    (text.status.code(), serde_json::from_slice(&json.stdout).unwrap_or(Value::Null), told)
}

async fn metrics(gateway: &Gateway) -> String {
    client().get(format!("{}/metrics", gateway.operators)).send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_file_is_rotated_without_a_lost_call() {
    let (cloud, folder) = (Cloud::default(), tempfile::tempdir().unwrap());
    let base = cloud.serve(&["canary-1"]).await;
    let path = folder.path().join("key");
    std::fs::write(&path, "canary-1\n").unwrap();
    let gateway = Gateway::with(&[], Some(&config(&base, &format!("{{ file: {} }}", path.display()))));
    let (status, first) = call(&gateway).await;
    assert_eq!(status, 200);
    let name = format!("200 file:{}#", path.display());
    assert!(first.len() == 1 && first[0].starts_with(&name) && first[0].len() == name.len() + 8, "{first:?}");

    // Replaced, and the old one ended at the same moment: the call that finds it out goes again with the new one.
    cloud.takes(&["canary-2"]);
    std::fs::write(&path, "canary-2").unwrap();
    let (status, attempts) = call(&gateway).await;
    assert_eq!(status, 200, "{attempts:?}");
    assert_ne!(attempts.last(), first.last(), "two versions have two ids");

    // Where both live, the file's change alone is enough: it is seen within a second.
    cloud.takes(&["canary-2", "canary-3"]);
    cloud.shown();
    let next = folder.path().join("next");
    std::fs::write(&next, "canary-3").unwrap();
    std::fs::rename(&next, &path).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    assert_eq!(call(&gateway).await.1.len(), 1);
    assert_eq!(cloud.shown(), ["Bearer canary-3"]);

    // Taken away or half written, it goes on as it was.
    std::fs::write(&path, "").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    assert_eq!(call(&gateway).await.0, 200);
    let told = metrics(&gateway).await;
    assert!(told.contains("tollgate_secrets_total{provider=\"cloud\",event=\"unreadable\"} 1"), "{told}");

    // With a single attempt there is none for another secret: the refusal is the answer.
    let out = tollgate(&["explain"], &gateway.state);
    assert!(String::from_utf8(out.stdout).unwrap().contains(", with file:"), "explain names it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_call_goes_again_within_its_attempts_only() {
    let (cloud, folder) = (Cloud::default(), tempfile::tempdir().unwrap());
    let base = cloud.serve(&["canary-1"]).await;
    let path = folder.path().join("key");
    std::fs::write(&path, "canary-1").unwrap();
    let text = config(&base, &format!("{{ file: {} }}", path.display())) + "edge: { attempts_max: 1 }\n";
    let gateway = Gateway::with(&[], Some(&text));
    cloud.takes(&["canary-2"]);
    std::fs::write(&path, "canary-2").unwrap();
    let (status, attempts) = call(&gateway).await;
    assert!(status >= 400 && attempts.len() == 1 && attempts[0].starts_with("401 "), "{status} {attempts:?}");
    assert_eq!(call(&gateway).await.0, 200, "but it was read anew, and serves the next call");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_run_anew_when_it_is_due_and_on_a_hangup() {
    let (cloud, folder) = (Cloud::default(), tempfile::tempdir().unwrap());
    let base = cloud.serve(&["canary-1", "canary-2"]).await;
    for (more, hangup) in [("", true), (", every_s: 1", false)] {
        let path = folder.path().join("key");
        std::fs::write(&path, "canary-1").unwrap();
        let secret = format!("{{ command: [cat, {}]{more} }}", path.display());
        let gateway = Gateway::with(&[], Some(&config(&base, &secret)));
        let (status, first) = call(&gateway).await;
        assert!(status == 200 && first[0].starts_with("200 command:cat#"), "{first:?}");
        std::fs::write(&path, "canary-2").unwrap();
        if hangup {
            tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
            assert_eq!(call(&gateway).await.1, first, "nothing said that it changed");
            signal(gateway.pid(), "HUP");
        }
        eventually("the new secret", || gateway.log.lock().unwrap().contains("it is another one now").then_some(()));
        assert_ne!(call(&gateway).await.1, first);
        assert_eq!(cloud.shown().pop().unwrap(), "Bearer canary-2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_live_secrets_the_next_serves_and_the_doctor_says_so() {
    let (cloud, folder) = (Cloud::default(), tempfile::tempdir().unwrap());
    let base = cloud.serve(&["canary-old"]).await;
    let (new, old) = (folder.path().join("new"), folder.path().join("old"));
    std::fs::write(&new, "canary-new").unwrap();
    std::fs::write(&old, "canary-old").unwrap();
    let text = config(&base, &format!("[{{ file: {} }}, {{ file: {} }}]", new.display(), old.display()));
    let place = folder.path().join("tollgate.yaml");
    std::fs::write(&place, &text).unwrap();
    let gateway = Gateway::with(&[], Some(&text));
    let (status, attempts) = call(&gateway).await;
    assert_eq!(status, 200);
    let marks = [format!("401 file:{}#", new.display()), format!("200 file:{}#", old.display())];
    assert!(attempts.len() == 2 && attempts.iter().zip(&marks).all(|(a, m)| a.starts_with(m)), "{attempts:?}");
    assert_eq!(call(&gateway).await.1, attempts[1..], "the one that was refused rests");
    let told = metrics(&gateway).await;
    for event in ["refused", "next_used"] {
        assert!(told.contains(&format!("tollgate_secrets_total{{provider=\"cloud\",event=\"{event}\"}} 1")), "{told}");
    }
    let (code, json, text) = doctor(&gateway, &place);
    assert_eq!((code, json["fail"].as_u64()), (Some(1), Some(1)), "{text}");
    let of = |path: &Path| {
        let name = path.to_str().unwrap();
        text.lines().find(|line| line.contains(" secret ") && line.contains(name)).unwrap_or_default().to_owned()
    };
    let host = base.trim_start_matches("http://").trim_end_matches("/v1");
    assert!(of(&new).starts_with("FAIL") && of(&new).contains("(401); refused"), "{text}");
    let good = of(&old);
    assert!(good.starts_with("ok") && good.contains(&format!("goes to {host} only; read ")), "{text}");
    assert!(good.contains("(200)"), "{good}");

    // Mended: the doctor finds nothing more.
    std::fs::write(&new, "canary-old").unwrap();
    eventually("the new secret", || (doctor(&gateway, &place).0 == Some(0)).then_some(()));
}

/// Everything that a person or a program could read afterwards.
fn told_everywhere(gateway: &Gateway, more: &[String]) -> String {
    let mut all = gateway.log.lock().unwrap().clone();
    let mut folders = vec![gateway.state.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => folders.push(entry),
                false => all.push_str(&String::from_utf8_lossy(&std::fs::read(entry).unwrap())),
            }
        }
    }
    more.iter().for_each(|text| all.push_str(text));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn canaries_are_told_nowhere_at_the_most_talkative_level() {
    let (cloud, folder) = (Cloud::default(), tempfile::tempdir().unwrap());
    let base = cloud.serve(&["canary-file"]).await;
    let path = folder.path().join("key");
    std::fs::write(&path, "canary-file").unwrap();
    let text = format!(
        "providers:\n  cloud: {{ base_url: \"{base}\", secret: [{{ env: CANARY }}, {{ file: {file} }}] }}\n  \
         argument: {{ base_url: \"{base}\", secret: {{ command: [sh, -c, \"echo canary-said >&2; exit 3\", canary-word] }} }}\n  \
         lines: {{ base_url: \"{base}\", secret: {{ command: [printf, \"canary-a\\ncanary-b\"] }} }}\n  \
         bedrock: {{ region: eu-central-1, base_url: \"{base}\", access_key: {{ env: CANARY }}, secret_key: {{ env: CANARY }} }}\n  \
         vertex: {{ project: p, base_url: \"{base}\", service_account: {{ env: CANARY }} }}\n  sim: {{}}\n",
        file = path.display()
    );
    let place = folder.path().join("tollgate.yaml");
    std::fs::write(&place, &text).unwrap();
    let gateway = Gateway::in_environment(&[("CANARY", "canary-env"), ("TOLLGATE_LOG", "trace")], &text);
    let mut said = Vec::new();
    for model in ["cloud/m", "cloud/m", "argument/m", "lines/m", "bedrock/m", "vertex/m"] {
        let answer = post(&gateway, chat(model).to_string(), &[]).await;
        said.push(format!("{:?}", answer.headers()));
        said.push(answer.text().await.unwrap());
    }
    std::fs::write(&path, "canary-file canary-b").unwrap();
    signal(gateway.pid(), "HUP");
    eventually("a reading that fails", || gateway.log.lock().unwrap().contains("cannot be read").then_some(()));
    said.push(metrics(&gateway).await);
    let (_, json, words) = doctor(&gateway, &place);
    said.extend([json.to_string(), words]);
    // Without a gateway it reads the sources itself.
    let nowhere = folder.path().join("nowhere");
    for more in [&[][..], &["--json"]] {
        let out = tollgate(&[&["doctor", "--config", place.to_str().unwrap()][..], more].concat(), &nowhere);
        said.push(String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned());
    }
    for receipt in gateway.receipts() {
        said.push(
            String::from_utf8(tollgate(&["explain", receipt["call_id"].as_str().unwrap()], &gateway.state).stdout)
                .unwrap(),
        );
    }
    let all = told_everywhere(&gateway, &said);
    assert!(all.contains("env:CANARY#") && all.contains("command:sh"), "they are named");
    let shown: Vec<&str> =
        all.match_indices("canary-").map(|(at, _)| &all[at.saturating_sub(60)..(at + 40).min(all.len())]).collect();
    assert!(shown.is_empty(), "{shown:?}");
    assert!(cloud.shown().contains(&"Bearer canary-file".to_owned()), "and it was sent where it belongs");
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do_and_makes_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let place = folder.path().join("tollgate.yaml");
    let key = folder.path().join("key");
    let run = |text: &str, more: &[&str]| {
        std::fs::write(&place, text).unwrap();
        let out = tollgate(&[&["doctor", "--config", place.to_str().unwrap()][..], more].concat(), &state);
        (out.status.code().unwrap(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
    };
    let file = |path: &Path| {
        format!("providers: {{ a: {{ base_url: \"http://127.0.0.1:9\", secret: {{ file: {} }} }} }}\n", path.display())
    };
    let (code, told) = run(&file(&key), &[]);
    assert!(code == 1 && told.contains("FAIL  secret") && told.contains("cannot read"), "{told}");
    assert!(!state.exists(), "it only looks");
    std::fs::write(&key, "canary").unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let (code, told) = run(&file(&key), &[]);
    assert!(code == 0 && told.contains("warn  secret") && told.contains("chmod o-r"), "{told}");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    assert!(!run(&file(&key), &[]).1.contains("warn  secret"));

    let (code, told) = run("providers: { a: { base_url: \"http://127.0.0.1:9\" } }\n", &["--probe"]);
    assert!(code == 1 && told.contains("FAIL  reach     `a` cannot be reached: no connection"), "{told}");
    let command = "providers: { a: { base_url: \"http://127.0.0.1:9\", secret: { command: [touch, MARK] } } }\n";
    let mark = folder.path().join("mark");
    let command = command.replace("MARK", mark.to_str().unwrap());
    assert!(run(&command, &[]).1.contains("was not run") && !mark.exists());
    let (code, told) = run("policies: { repository: \"https://127.0.0.1:9/r.git\" }\nproviders: {}\n", &[]);
    assert!(code == 0 && told.contains("the repository is on another machine"), "{told}");
    let (code, told) = run("policies: { repository: /no/such/folder }\nproviders: {}\n", &[]);
    assert!(code == 1 && told.contains("FAIL  policies  there is no policy repository at"), "{told}");
    assert_eq!(run("providers: { a: { base_url: \"ftp://x\" } }\n", &[]).0, 2, "a wrong config ends every verb alike");
    assert_eq!(run("alert: {}\n", &[]).0, 2);

    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(state.join("pepper"), "x").unwrap();
    for (path, mode) in [(&state, 0o755), (&state.join("pepper"), 0o644)] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let (code, told) = run("providers: {}\n", &[]);
    assert!(code == 1 && told.contains("chmod 700 ") && told.contains("chmod 600 "), "{told}");
    for (path, mode) in [(&state, 0o700), (&state.join("pepper"), 0o600)] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let (code, told) = run("providers: {}\n", &[]);
    assert!(code == 0 && told.contains("no gateway runs") && told.ends_with("0 failures\n"), "{told}");
    let lock = std::fs::File::create(state.join("lock")).unwrap();
    lock.lock().unwrap();
    let (code, told) = run("providers: {}\nlisten: { operators: \"127.0.0.1:9\" }\n", &[]);
    assert!(code == 3 && told.contains("no gateway answers on 127.0.0.1:9"), "{told}");
}
