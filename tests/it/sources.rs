//! Where policies come from and whose signatures count: real hosts on loopback, real keys, the real binary.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, eventually, tollgate};
use crate::support::hosts::{self, Person};
use crate::support::repository::Repository;

const POLICIES: (&str, &str) = ("tollgate-policies.yaml", "api: tollgate.policy/v1\npolicies: []\n");

async fn policies(gateway: &Gateway) -> Value {
    let told = reqwest::get(format!("{}/readyz", gateway.operators)).await.unwrap().text().await.unwrap();
    serde_json::from_str::<Value>(&told).unwrap()["policies"].clone()
}

/// Waits until this revision decides.
async fn decides(gateway: &Gateway, revision: &str) -> Value {
    let begun = Instant::now();
    loop {
        let told = policies(gateway).await;
        if told["active"] == revision {
            return told;
        }
        assert!(begun.elapsed().as_secs() < 20, "{revision} does not decide: {told}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Waits until the source's problem says this.
async fn troubled(gateway: &Gateway, words: &str) {
    let begun = Instant::now();
    loop {
        let told = policies(gateway).await;
        if told["source_error"].as_str().is_some_and(|error| error.contains(words)) {
            return;
        }
        assert!(begun.elapsed().as_secs() < 20, "nothing says {words}: {told}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn verify(people: &[&Person], more: &str) -> String {
    let lines: Vec<String> = people.iter().map(|p| format!("      - {}\n", p.line())).collect();
    format!("  verify:\n    signers:\n{}    {more}\n", lines.concat())
}

#[tokio::test]
async fn over_https_with_a_token_signed_commits_act_when_the_host_hints() {
    let folder = tempfile::tempdir().unwrap();
    let ann = Person::new(folder.path(), "ann");
    let repository = Repository::new(&[]);
    let first = ann.commit(&repository, &[POLICIES]);
    let host = hosts::https(folder.path(), repository.path.parent().unwrap(), "policy-token");
    let (ca, token) = (folder.path().join("ca.pem"), folder.path().join("token"));
    std::fs::write(&token, "policy-token\n").unwrap();
    let config = format!(
        "policies:\n  repository: https://127.0.0.1:{}/policies/.git\n  branch: main\n  poll_s: 3600\n  token: {{ file: {} }}\n  webhook: {{ file: {} }}\n{}",
        host.port,
        token.display(),
        token.display(),
        verify(&[&ann], "what: commit"),
    );
    let gateway = Gateway::in_environment(&[("GIT_SSL_CAINFO", ca.to_str().unwrap())], &config);
    assert_eq!(decides(&gateway, &first).await["signers"], json!(["ann"]));
    assert!(host.asked.lock().unwrap().iter().all(|line| line.ends_with("with the token")), "it is shown at once");

    let hint = |name: &'static str, value: String| {
        let url = format!("{}/admin/v1/policies/hint", gateway.operators);
        async move { reqwest::Client::new().post(url).header(name, value).body("{}").send().await.unwrap().status() }
    };
    let second = ann.commit(&repository, &[("note", "2")]);
    assert_eq!(hint("x-gitlab-token", "wrong".to_owned()).await, 401);
    assert_eq!(hint("x-hub-signature-256", format!("sha256={}", "0".repeat(64))).await, 401);
    assert_eq!(hint("x-gitlab-token", "policy-token".to_owned()).await, 200);
    decides(&gateway, &second).await;

    repository.commit(&[("note", "unsigned")]);
    let digest = "1f7f1e0a2ea9ea9abf9b6bf2ae0a7d7bd0a6d1f4b9a4b2f16a1a9b0e1d1c7a11";
    assert_eq!(hint("x-hub-signature-256", format!("sha256={digest}")).await, 401, "another body's signature");
    assert_eq!(hint("x-hub-signature-256", format!("sha256={}", signature(b"{}", b"policy-token"))).await, 200);
    troubled(&gateway, "TG0801").await;
    assert_eq!(policies(&gateway).await["active"], second.as_str(), "the signed one stays");
    let metrics = reqwest::get(format!("{}/metrics", gateway.operators)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("result=\"unverified\""), "{metrics}");

    // The host takes another token from now on.
    drop(host);
    assert_eq!(hint("x-gitlab-token", "policy-token".to_owned()).await, 200);
    troubled(&gateway, "cannot be reached").await;
    let told = policies(&gateway).await.to_string() + &gateway.log.lock().unwrap();
    assert!(!told.contains("policy-token"), "the token is told nowhere: {told}");
}

/// Settings of the machine and of the user could send git elsewhere, or have it run something.
#[tokio::test]
async fn settings_of_the_machine_have_no_say() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new(&[POLICIES]);
    let first = repository.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let other = Repository::new(&[("tollgate-policies.yaml", "nonsense")]);
    let host = hosts::https(folder.path(), repository.path.parent().unwrap(), "policy-token");
    let (ca, token, ran) = (folder.path().join("ca.pem"), folder.path().join("token"), folder.path().join("ran"));
    std::fs::write(&token, "policy-token").unwrap();
    let https = format!("https://127.0.0.1:{}/policies/.git", host.port);
    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    let settings = format!(
        "[url \"{}\"]\n  insteadOf = {}\n  insteadOf = {https}\n[core]\n  fsmonitor = \"touch {2}\"\n  sshCommand = \"touch {2}\"\n\
         [credential]\n  helper = \"!touch {2}\"\n[http]\n  proxy = http://127.0.0.1:1\n",
        other.address(),
        repository.address(),
        ran.display(),
    );
    std::fs::write(home.join(".gitconfig"), settings).unwrap();
    let environment = [("HOME", home.to_str().unwrap()), ("GIT_SSL_CAINFO", ca.to_str().unwrap())];
    for (address, more) in [
        (repository.address().to_owned(), String::new()),
        (format!("file://{}", repository.address()), String::new()),
        (https, format!("  token: {{ file: {} }}\n", token.display())),
    ] {
        let config = format!("policies:\n  repository: {address}\n  branch: main\n{more}");
        let gateway = Gateway::in_environment(&environment, &config);
        assert_eq!(policies(&gateway).await["active"], first.as_str(), "{address}");
    }
    assert!(!ran.exists(), "nothing was run");
}

/// HMAC-SHA-256 in hexadecimal, by another hand than the gateway's.
fn signature(body: &[u8], key: &[u8]) -> String {
    let script = "import hmac,sys;print(hmac.new(sys.argv[1].encode(),sys.argv[2].encode(),'sha256').hexdigest())";
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let out = std::process::Command::new("python3").args(["-c", script, &text(key), &text(body)]).output().unwrap();
    text(&out.stdout).trim().to_owned()
}

#[tokio::test]
async fn over_ssh_a_branch_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let Some((host, ssh)) = hosts::ssh(folder.path()) else { return };
    let repository = Repository::new(&[POLICIES]);
    let first = repository.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let user = std::process::Command::new("id").arg("-un").output().unwrap();
    let user = String::from_utf8(user.stdout).unwrap();
    let config = format!(
        "policies:\n  repository: ssh://{}@127.0.0.1:{}{}\n  poll_s: 1\n",
        user.trim(),
        host.port,
        repository.address()
    );
    let gateway = eventually("a gateway whose sshd listens", || {
        std::net::TcpStream::connect(("127.0.0.1", host.port)).ok()?;
        Some(Gateway::in_environment(&[("GIT_SSH_COMMAND", &ssh)], &config))
    });
    decides(&gateway, &first).await;
    let second = repository.commit(&[("note", "2")]);
    decides(&gateway, &second).await;
}

#[tokio::test]
async fn what_is_kept_acts_only_while_its_signer_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (ann, bob) = (Person::new(folder.path(), "ann"), Person::new(folder.path(), "bob"));
    let repository = Repository::new(&[]);
    let good = ann.commit(&repository, &[POLICIES]);
    let config =
        |more: &str| format!("policies:\n  repository: {}\n{}", repository.address(), verify(&[&ann, &bob], more));
    let gateway = Gateway::with(&[], Some(&config("what: commit")));
    let state = gateway.state.clone();
    decides(&gateway, &good).await;
    let (_, kept) = gateway.stop();
    repository.commit(&[("note", "unsigned")]);

    let gateway = Gateway::on(kept, state.clone(), &[], Some(&config("what: commit")));
    assert_eq!(policies(&gateway).await["active"], good.as_str(), "an unsigned tip: the last good one from disk");
    troubled(&gateway, "TG0801").await;
    let (_, kept) = gateway.stop();

    let revoked = format!("what: commit\n    revoked: [\"{}\"]", ann.public());
    let told = refused(kept.path(), &state, &config(&revoked));
    assert!(told.contains("not trusted any more") && told.contains("was revoked"), "{told}");
    drop(kept);
}

/// A gateway that must not start: what it says.
fn refused(folder: &Path, state: &Path, config: &str) -> String {
    let path = folder.join("refused.yaml");
    std::fs::write(&path, config).unwrap();
    let args = ["--config", path.to_str().unwrap(), "--listen", "127.0.0.1:0", "--operators", "127.0.0.1:0"];
    let out = tollgate(&args, state);
    assert_eq!(out.status.code(), Some(2), "{}", String::from_utf8_lossy(&out.stdout));
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn a_verification_that_is_not_whole_is_a_start_up_error() {
    let folder = tempfile::tempdir().unwrap();
    let ann = Person::new(folder.path(), "ann");
    let repository = Repository::new(&[POLICIES]);
    let plain = folder.path().join("plain");
    std::fs::create_dir(&plain).unwrap();
    let git = format!("policies:\n  repository: {}\n", repository.address());
    let signers = format!("signers: [\"{}\"]", ann.line());
    for (config, told, why) in [
        (format!("{git}  verify:\n"), "", "a table without anything in it"),
        (format!("{git}  verify: {{}}\n"), "missing field `what`", "the same"),
        (format!("{git}  verify: {{ what: commit }}\n"), "missing field `signers`", "nobody"),
        (format!("{git}  verify: {{ what: commit, signers: [] }}\n"), "names nobody", "an empty list"),
        (format!("{git}  verify: {{ what: commit, signers: /no/such }}\n"), "/no/such", "a file that is not there"),
        (format!("{git}  verify: {{ what: commit, {signers}, revoked: }}\n"), "", "an empty list of the revoked"),
        (format!("{git}  verify: {{ what: commit, {signers}, approvals: 2 }}\n"), "2 of 1", "more than there are"),
        (format!("{git}  verify: {{ what: tag, {signers} }}\n"), "set `tag`", "a tag, but a branch is followed"),
        (format!("policies:\n  verify: {{ what: commit, {signers} }}\n"), "the built-in policies", "nothing to verify"),
        (
            format!("policies:\n  repository: {}\n  verify: {{ what: commit, {signers} }}\n", plain.display()),
            "plain folder",
            "a folder has no signatures",
        ),
        (
            format!("{git}  tag: v1\n  commit: {}\n", "0".repeat(40)),
            "one of `branch`, `tag` and `commit`",
            "two wishes",
        ),
        (format!("{git}  commit: abc\n"), "all 40 digits", "half an id"),
        (format!("{git}  tag: v1\n"), "has no tag `v1`", "a tag that is not there"),
        (format!("{git}  verify: {{ what: commit, {signers} }}\n"), "TG0801", "an unsigned tip, and nothing kept"),
    ] {
        let said = refused(folder.path(), &folder.path().join("state"), &config);
        assert!(said.contains(told), "{why}: {said}");
    }
}

#[tokio::test]
async fn a_tag_a_commit_and_a_bundle_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let ann = Person::new(folder.path(), "ann");
    let repository = Repository::new(&[]);
    let first = ann.commit(&repository, &[POLICIES]);
    ann.tag(&repository, "live");
    let second = repository.commit(&[("note", "2")]);
    let config = |address: &str, more: &str, what: &str| {
        format!("policies:\n  repository: {address}\n  {more}\n{}", verify(&[&ann], what))
    };
    let by_tag = Gateway::with(&[], Some(&config(repository.address(), "tag: live", "what: tag")));
    decides(&by_tag, &first).await;
    ann.tag(&repository, "live");
    decides(&by_tag, &second).await;
    drop(by_tag);
    let pinned = Gateway::with(&[], Some(&config(repository.address(), &format!("commit: {first}"), "what: commit")));
    decides(&pinned, &first).await;
    drop(pinned);

    let third = ann.commit(&repository, &[("note", "3")]);
    let file = folder.path().join("policies.bundle");
    let path = folder.path().join("bundle.yaml");
    std::fs::write(&path, config(repository.address(), "branch: main", "what: commit")).unwrap();
    let args = ["policy", "bundle", "--config", path.to_str().unwrap(), "--out", file.to_str().unwrap()];
    let out = tollgate(&args, folder.path());
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("signed by ann"), "{said}");
    let offline = Gateway::with(&[], Some(&config(file.to_str().unwrap(), "branch: main", "what: commit")));
    decides(&offline, &third).await;
}
