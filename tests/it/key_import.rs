//! `tollgate key import`: many keys at once, all of them or none.

use std::path::Path;

use serde_json::Value;

use crate::keys::call;
use crate::support::gateway::{Gateway, tollgate};

fn row(state: &Path, tenant: &str) -> Value {
    let made = tollgate(&["key", "new", "--row", "--json", "--tenant", tenant], state);
    serde_json::from_slice(&made.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_imported_work_from_the_next_start_on_and_a_wrong_line_keeps_none() {
    let folder = tempfile::tempdir().unwrap();
    let (state, file) = (folder.path().join("state"), folder.path().join("keys.jsonl"));
    let mut good = row(&state, "acme");
    let key = good["key"].as_str().unwrap().to_owned();
    let wrong = [
        (r#"{"id":"x"}"#.to_owned(), "no row as"),
        (good.to_string().replace("hmac-sha256:", "hmac-sha256:00000000"), "the pepper"),
        (good.to_string().replace("acme", ""), "must not be empty"),
        (good.to_string().replace("\"cidr\":[]", "\"cidr\":[\"everywhere\"]"), "everywhere"),
    ];
    for (line, why) in wrong {
        std::fs::write(&file, format!("{good}\n{line}\n")).unwrap();
        let told = tollgate(&["key", "import", file.to_str().unwrap()], &state);
        let text = String::from_utf8_lossy(&told.stderr).into_owned();
        assert_eq!(told.status.code(), Some(2), "{text}");
        assert!(text.contains("keys.jsonl:2:") && text.contains(why) && text.contains("no key was kept"), "{text}");
        assert!(!text.contains(&key), "{text}");
    }
    // Without the key itself, as it should be carried from one house to another.
    good.as_object_mut().unwrap().remove("key");
    std::fs::write(&file, format!("{good}\n\n")).unwrap();
    let told = tollgate(&["key", "import", file.to_str().unwrap()], &state);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let gateway = Gateway::on(folder, state.clone(), &[], None);
    assert_eq!(call(&gateway, &key).await.0, 200);
    let told = tollgate(&["key", "import", file.to_str().unwrap()], &state);
    assert_eq!(told.status.code(), Some(2), "a gateway runs there");
    assert!(String::from_utf8_lossy(&told.stderr).contains("another gateway runs"));
}
