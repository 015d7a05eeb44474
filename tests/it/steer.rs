//! What operators do while calls go on: rehearse a revision, let it act for a share, hold one, go back.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::calls::{chat, post};
use crate::support::gateway::{Gateway, eventually, tollgate};
use crate::support::repository::Repository;

const GOOD: &str = r#"api: tollgate.policy/v1
policies:
  - name: gate
    path: policies/gate
    hook: pre-route
    mode: enforce
    on_error: deny
"#;

/// A table of one rule, with a case that holds it to what it says.
pub fn rules(when: &str, effect: &str) -> Vec<(&'static str, String)> {
    let rules = format!("rules:\n  - when: '{when}'\n    {effect}\n");
    let cases = "- name: other calls pass\n  facts: { meta: { use_case: unheard-of } }\n  expect: {}\n";
    vec![
        ("tollgate-policies.yaml", GOOD.to_owned()),
        ("policies/gate/rules.yaml", rules),
        ("policies/gate/cases.yaml", cases.to_owned()),
    ]
}

pub fn commit(repository: &Repository, files: &[(&'static str, String)]) -> String {
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    repository.commit(&files)
}

/// A repository whose `main` denies blocked calls, and a branch `next` with another table.
pub fn begun(next: &[(&'static str, String)]) -> (Repository, String, String) {
    let repository = Repository::new(&[]);
    let main = commit(&repository, &rules("meta.use_case == \"blocked\"", "deny: { code: blocked, reason: no }"));
    repository.git(&["checkout", "-q", "-b", "next"]);
    let second = commit(&repository, next);
    repository.git(&["checkout", "-q", "main"]);
    (repository, main, second)
}

pub fn operate(gateway: &Gateway, words: &[&str]) -> Result<Value, String> {
    let mut args = vec!["policy"];
    args.extend(words);
    args.extend(["--json", "--operators", &gateway.operators]);
    let out = tollgate(&args, &gateway.state);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match out.status.success() {
        true => Ok(serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", text(&out.stdout)))),
        false => Err(text(&out.stderr)),
    }
}

/// One call: status, call id and the short name of the revision that decided it.
pub async fn call(gateway: &Gateway, user: &str, use_case: &str) -> (u16, String, String) {
    let mut body = chat("sim-1");
    body["user"] = user.into();
    let answer = post(gateway, body.to_string(), &[("tollgate-use-case", use_case)]).await;
    let text = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    (answer.status().as_u16(), text("tollgate-call-id"), text("tollgate-revision"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_decides_everything_and_acts_on_nothing() {
    let (repository, main, next) =
        begun(&rules("meta.use_case == \"batch\"", "deny: { code: no_batch, reason: not today }"));
    let gateway = Gateway::with(&["--policies", &format!("{}#main", repository.address())], None);
    let diff = operate(&gateway, &["diff", "next"]).unwrap();
    assert_eq!(diff["changed"], json!([{ "policy": "gate", "what": ["program"] }]), "{diff}");
    let begun = operate(&gateway, &["rehearse", &next[..10]]).unwrap();
    assert_eq!((begun["role"].as_str(), begun["revision"].as_str()), (Some("rehearsal"), Some(next.as_str())));
    for (use_case, status, differs) in
        [("chat", 200, None), ("batch", 200, Some("refused")), ("blocked", 400, Some("admitted"))]
    {
        let (got, id, revision) = call(&gateway, "ann", use_case).await;
        assert_eq!(got, status, "{use_case}: only the active revision acts");
        assert!(main.starts_with(&revision), "{use_case}: and decides");
        let rehearsed = &gateway.receipt(&id)["rehearsed"];
        assert_eq!(rehearsed["revision"], next.as_str(), "{use_case}");
        assert_eq!(rehearsed["differences"][0]["kind"].as_str(), differs, "{use_case}: {rehearsed}");
    }
    let ended = operate(&gateway, &["stop"]).unwrap();
    assert_eq!((ended["compared"].as_u64(), ended["differing"].as_u64()), (Some(3), Some(2)), "{ended}");
    let rows = ended["differences"].as_array().unwrap();
    assert!(rows.iter().all(|r| r["policy"] == "gate" && !r["samples"][0].as_str().unwrap().is_empty()), "{ended}");
    let (_, id, _) = call(&gateway, "ann", "batch").await;
    assert!(gateway.receipt(&id)["rehearsed"].is_null(), "it has ended");
    assert!(operate(&gateway, &["stop"]).unwrap_err().contains("no second revision"), "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_acts_for_a_stable_share_and_a_bad_one_ends_itself() {
    let (repository, main, next) =
        begun(&rules("meta.use_case != \"unheard-of\"", "deny: { code: too_much, reason: a mistake }"));
    let gateway = Gateway::with(&["--policies", &format!("{}#main", repository.address())], None);
    let words = ["canary", "next", "--percent", "30", "--by", "user", "--guard", "denied<+20%"];
    let begun = operate(&gateway, &words).unwrap();
    assert_eq!(begun["percent"].as_f64(), Some(30.0));
    let (mut touched, mut denied) = (0, 0);
    let mut of_user: std::collections::BTreeMap<String, String> = Default::default();
    for n in 0..200 {
        let user = format!("user-{}", n % 40);
        let (status, id, revision) = call(&gateway, &user, "chat").await;
        let is_second = next.starts_with(&revision);
        assert!(is_second || main.starts_with(&revision), "one of the two");
        let stands = operate_report(&gateway);
        if stands["rolled_back"].is_null() {
            let first = of_user.entry(user).or_insert_with(|| revision.clone());
            assert_eq!(*first, revision, "a caller stays on its side while the canary lives");
        }
        if is_second {
            let receipt = gateway.receipt(&id);
            assert_eq!(receipt["revision"], next.as_str(), "one revision for the whole call");
            touched += 1;
            denied += u32::from(status == 400);
        }
    }
    let report = operate_report(&gateway);
    assert!(report["rolled_back"].as_str().is_some_and(|why| why.contains("denied")), "{report}");
    assert_eq!(touched, denied, "every call it decided was denied");
    assert!((20..=22).contains(&touched), "it ended with the first calls that could tell: {touched}");
    assert!(gateway.log.lock().unwrap().contains("the canary was rolled back"));
    let (status, _, revision) = call(&gateway, "user-1", "chat").await;
    assert!(status == 200 && main.starts_with(&revision));
}

/// Each kind of harm ends the canary with the first calls that can tell: 20, and those under way.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_costs_more_or_errs_ends_itself() {
    let dear = rules("meta.use_case != \"unheard-of\"", "pin: { target: sim/sim-large, may_replace_pinned: true }");
    let failing = vec![
        ("tollgate-policies.yaml", GOOD.replace("on_error: deny", "on_error: skip")),
        (
            "policies/gate/policy.rhai",
            "fn pre_route(facts) { if facts.meta.use_case == \"chat\" { throw \"no\"; } none() }".to_owned(),
        ),
        (
            "policies/gate/cases.yaml",
            "- name: other calls pass\n  facts: { meta: { use_case: unheard-of } }\n  expect: {}\n".to_owned(),
        ),
    ];
    for (next, guard, word) in [(dear, "cost<+10%", "cost"), (failing, "errors<2%", "errors")] {
        let repository = Repository::new(&[]);
        let main = commit(&repository, &rules("meta.use_case == \"blocked\"", "deny: { code: blocked, reason: no }"));
        repository.git(&["checkout", "-q", "-b", "next"]);
        if word == "errors" {
            repository.git(&["rm", "-q", "policies/gate/rules.yaml"]);
        }
        let next = commit(&repository, &next);
        repository.git(&["checkout", "-q", "main"]);
        let gateway = Gateway::with(&["--policies", &format!("{}#main", repository.address())], None);
        operate(&gateway, &["canary", "next", "--percent", "30", "--by", "user", "--guard", guard]).unwrap();
        let mut touched = 0;
        for n in 0..200 {
            let (_, _, revision) = call(&gateway, &format!("user-{}", n % 40), "chat").await;
            touched += u32::from(next.starts_with(&revision));
        }
        let report = operate_report(&gateway);
        assert!(report["rolled_back"].as_str().is_some_and(|why| why.contains(word)), "{guard}: {report}");
        assert!((20..=22).contains(&touched), "{guard}: {touched} calls were touched");
        let (_, _, revision) = call(&gateway, "user-1", "chat").await;
        assert!(main.starts_with(&revision), "{guard}");
    }
}

/// The share grows while calls go on, the mode and age of what acts are told, and the branch that takes it over ends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_ramps_and_ends_when_it_has_become_the_active_one() {
    let (repository, main, next) = begun(&rules("meta.use_case == \"chat\"", "tag: { new: \"1\" }"));
    let gateway = Gateway::with(&["--policies", &format!("{}#main", repository.address())], None);
    let ramp = ["canary", "next", "--percent", "1", "--to-percent", "100", "--over-s", "2", "--by", "user"];
    operate(&gateway, &ramp).unwrap();
    let mut joined: std::collections::BTreeSet<String> = Default::default();
    let begun = Instant::now();
    while begun.elapsed().as_millis() < 2_200 {
        for n in 0..10 {
            let user = format!("user-{n}");
            let (_, _, revision) = call(&gateway, &user, "chat").await;
            match next.starts_with(&revision) {
                true => _ = joined.insert(user),
                false => assert!(!joined.contains(&user), "{user} joined and fell out"),
            }
        }
    }
    assert_eq!(joined.len(), 10, "everybody has joined");
    let report = operate_report(&gateway);
    let (active, second) = (report["active"]["calls"].as_u64(), report["second"]["calls"].as_u64());
    assert!(report["percent"] == 100.0 && active > Some(0) && second > Some(0), "{report}");
    repository.git(&["merge", "-q", "--ff-only", "next"]);
    eventually("the merged branch", || {
        (operate(&gateway, &["status"]).unwrap()["active"] == next.as_str()).then_some(())
    });
    assert!(operate_report(&gateway).is_null(), "what acts for all is no second revision");
    assert_eq!(operate(&gateway, &["rollback"]).unwrap()["active"], main.as_str(), "and the way back is there");
}

/// A revision lives as long as the calls that began with it; operators see it, and its end.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_revision_is_told_until_its_last_stream_ends() {
    let (repository, main, next) = begun(&rules("meta.use_case == \"x\"", "note: hi"));
    let gateway = Gateway::with(&["--policies", &format!("{}#main", repository.address())], None);
    let mut body = chat("sim/sim-1?tps=20&tokens=40");
    body["stream"] = true.into();
    let stream = post(&gateway, body.to_string(), &[]).await;
    repository.git(&["merge", "-q", "--ff-only", "next"]);
    let status = eventually("the merged branch", || {
        let status = operate(&gateway, &["status"]).unwrap();
        (status["active"] == next.as_str()).then_some(status)
    });
    assert_eq!(status["old"][0]["revision"], main.as_str(), "{status}");
    let out = tollgate(&["policy", "status", "--operators", &gateway.operators], &gateway.state);
    let told = String::from_utf8(out.stdout).unwrap();
    assert!(told.contains(&format!("ending    {main}")) && told.contains("Z, for "), "{told}");
    assert!(told.contains("gate ") && told.contains(" enforce "), "{told}");
    stream.bytes().await.unwrap();
    eventually("its end", || (operate(&gateway, &["status"]).unwrap()["old"] == json!([])).then_some(()));
}

fn operate_report(gateway: &Gateway) -> Value {
    operate(gateway, &["status"]).unwrap()["second"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_takes_a_moment_needs_no_host_and_outlives_a_restart() {
    let repository = Repository::new(&[]);
    let deny = |code: &str| rules("meta.use_case == \"blocked\"", &format!("deny: {{ code: {code}, reason: no }}"));
    let first = commit(&repository, &deny("first"));
    let gateway = Gateway::with(&["--policies", repository.address()], None);
    assert!(operate(&gateway, &["rollback"]).unwrap_err().contains("no revision before"), "nothing to go back to yet");
    let second = commit(&repository, &deny("second"));
    let acts = |gateway: &Gateway, commit: &str| {
        let status = operate(gateway, &["status"]).unwrap();
        (status["active"] == commit).then_some(status)
    };
    eventually("the second commit", || acts(&gateway, &second));
    // The host is gone.
    let away = repository.path.with_extension("away");
    std::fs::rename(&repository.path, &away).unwrap();
    let begun = Instant::now();
    let status = operate(&gateway, &["rollback"]).unwrap();
    let took = begun.elapsed();
    println!("rolled back in {took:?}");
    assert!(status["active"] == first.as_str() && status["pinned"] == true, "{status}");
    assert!(took.as_secs_f64() < 1.0, "a rollback takes {took:?}");
    assert!(first.starts_with(&call(&gateway, "ann", "chat").await.2), "the next call is decided by it");
    // It is back, with a newer commit, which waits.
    std::fs::rename(&away, &repository.path).unwrap();
    let third = commit(&repository, &deny("third"));
    eventually("the third commit to wait", || {
        let status = operate(&gateway, &["status"]).unwrap();
        (status["waiting"] == third.as_str() && status["active"] == first.as_str()).then_some(())
    });
    let (address, state) = (repository.address().to_owned(), gateway.state.clone());
    let (_, folder) = gateway.stop();
    let gateway = Gateway::on(folder, state, &["--policies", &address], None);
    assert!(acts(&gateway, &first).is_some_and(|status| status["pinned"] == true), "held over a restart");
    operate(&gateway, &["unpin"]).unwrap();
    eventually("the third commit to act", || acts(&gateway, &third));
    let held = operate(&gateway, &["pin", &second]).unwrap();
    assert!(held["active"] == second.as_str() && held["pinned"] == true, "any commit can be held: {held}");
    assert_eq!(operate(&gateway, &["rollback"]).unwrap()["active"], third.as_str(), "back from what was held");
    operate(&gateway, &["pin", &first]).unwrap();
    let free = operate(&gateway, &["unpin"]).unwrap();
    assert!(
        free["active"] == third.as_str() && free["pinned"] == false,
        "the branch's newest, whatever was held: {free}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_can_read_the_state_folder_operates_the_gateway() {
    let (repository, _, _) = begun(&rules("meta.use_case == \"x\"", "note: hi"));
    let gateway = Gateway::with(&["--policies", &format!("{}#main", repository.address())], None);
    let url = format!("{}/admin/v1/policies", gateway.operators);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for token in [None, Some("wrong")] {
        let mut request = client.get(&url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 401);
        assert!(answer.text().await.unwrap().contains("operator-token"), "it says where the token is");
    }
    for (words, told) in [
        (vec!["rehearse", "0123456789"], "cannot be had"),
        (vec!["rehearse", "nosuch"], "cannot be had"),
        (vec!["rehearse", "main"], "active one already"),
        (vec!["canary", "next", "--percent", "101"], "0 to 100"),
        (vec!["canary", "next", "--percent", "5", "--guard", "eror<2%"], "did you mean `errors`?"),
        (vec!["canary", "next", "--percent", "5", "--by", "usr"], "did you mean `user`?"),
        (vec!["canary", "next", "--percent", "100", "--guard", "cost<+10%"], "no calls to compare with"),
    ] {
        let why = operate(&gateway, &words).unwrap_err();
        assert!(why.contains(told), "{words:?}: {why}");
    }
    let bad = [("tollgate-policies.yaml", GOOD.replace("enforce", "enforced"))];
    repository.git(&["checkout", "-q", "next"]);
    commit(&repository, &bad);
    let why = operate(&gateway, &["rehearse", "next"]).unwrap_err();
    assert!(why.contains("TG0106") && why.contains("tollgate-policies.yaml:6:"), "findings are told: {why}");
    let nobody = tollgate(&["policy", "status", "--operators", "127.0.0.1:1"], Path::new(&gateway.state));
    assert_eq!(nobody.status.code(), Some(3), "unreachable");
}
