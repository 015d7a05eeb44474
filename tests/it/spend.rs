//! What was spent and why a limit said no, from the command line: the report beside the ledger's own balances, CSV as others read
//! it, the line of limits.yaml behind a refusal.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::budgets::{repository, spent};
use crate::calls::{chat, post};
use crate::keys::made;
use crate::support::gateway::{Gateway, eventually, tollgate};

const TENANTS: &str = "tenants: { acme: , \"=umbrella, Inc\": }\ngrants:\n  - { for: {} }\n";
const LIMITS: &str = "budgets:
  money: { per: [tenant], limit_usd: \"50\", period: month }
  tokens: { per: [tenant], limit_tokens: 1000000, period: month }
";

fn ran(gateway: &Gateway, args: &[&str]) -> (Option<i32>, String, String) {
    let out = tollgate(args, &gateway.state);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

fn json_of(gateway: &Gateway, args: &[&str]) -> Value {
    let (code, told, wrong) = ran(gateway, args);
    assert_eq!(code, Some(0), "{args:?}: {wrong}");
    serde_json::from_str(&told).unwrap_or_else(|why| panic!("{args:?}: {why}: {told}"))
}

fn operated(gateway: &Gateway, args: &[&str]) -> (Option<i32>, String, String) {
    ran(gateway, &[args, &["--operators", &gateway.operators]].concat())
}

/// Rows of a CSV as Python reads them.
fn by_python(csv: &str) -> Vec<Vec<String>> {
    let mut python = Command::new("python3")
        .args([
            "-c",
            "import csv, io, json, sys; print(json.dumps(list(csv.reader(io.StringIO(sys.stdin.read(), newline='')))))",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(csv.as_bytes()).unwrap();
    serde_json::from_slice(&python.wait_with_output().unwrap().stdout).unwrap()
}

/// Nano-dollars of nine exact decimals.
fn nanousd(text: &str) -> u64 {
    let (whole, part) = text.split_once('.').unwrap();
    assert_eq!(part.len(), 9, "{text}");
    format!("{whole}{part}").parse().unwrap()
}

async fn calls(gateway: &Gateway) -> usize {
    let mut count = 0;
    for (at, tenant) in ["acme", "=umbrella, Inc"].iter().enumerate() {
        let key = made(gateway, json!({ "tenant": tenant })).await.1;
        for n in 0..20 {
            let mut body = chat("sim/sim-1");
            body["stream"] = (n % 3 == 0).into();
            body["max_tokens"] = 400.into();
            let authorization = format!("Bearer {key}");
            let script = format!("tokens={}", n * 17 + at * 5 + 1);
            let use_case = if n % 2 == 0 { "support" } else { "\"quoted\"" };
            let headers = [
                ("authorization", &*authorization),
                ("x-sim", &script),
                ("tollgate-use-case", use_case),
                ("tollgate-user", "ann"),
            ];
            let answer = post(gateway, body.to_string(), &headers).await;
            assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
            answer.bytes().await.unwrap();
            count += 1;
        }
        // One that no budget has room for.
        let mut body = chat("sim/sim-1");
        body["max_tokens"] = 5_000_000.into();
        let answer = post(gateway, body.to_string(), &[("authorization", &format!("Bearer {key}"))]).await;
        assert_eq!(answer.status(), 429);
        count += 1;
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_is_what_the_ledger_booked_and_others_read_its_csv() {
    let repository = repository(LIMITS, Some(TENANTS));
    let gateway = Gateway::with(&["--policies", repository.address()], None);
    let count = calls(&gateway).await;
    eventually("all receipts", || (gateway.receipts().len() == count).then_some(()));
    let balances = json_of(&gateway, &["budget", "show", "--json", "--operators", &gateway.operators]);
    let mut booked: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for of in balances["budgets"].as_array().unwrap() {
        let tenant = of["scope"].as_str().unwrap().strip_prefix("tenant=").unwrap().to_owned();
        let row = booked.entry(tenant).or_default();
        let used = of["used"].as_u64().unwrap();
        if of["rule"] == "money" {
            row.0 = used
        } else {
            row.1 = used
        }
        assert_eq!(of["held"], 0);
    }
    assert_eq!(booked.len(), 2, "{booked:?}");

    let report = json_of(&gateway, &["trail", "report", "spend", "--by", "tenant", "--json"]);
    let tokens = |of: &Value| of["tokens"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>();
    for row in report["rows"].as_array().unwrap() {
        let (money, counted) = booked[row["tenant"].as_str().unwrap()];
        assert_eq!((nanousd(row["cost_usd"].as_str().unwrap()), tokens(row)), (money, counted), "{row}");
        assert_eq!((&row["calls"], &row["refused"]), (&json!(21), &json!(1)), "{row}");
    }
    let all: (u64, u64) = booked.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert_eq!((nanousd(report["total"]["cost_usd"].as_str().unwrap()), tokens(&report["total"])), all);
    assert!(all.0 > 0 && report["unread"] == 0, "{report}");

    let by = "tenant,app,use_case,user,model,day";
    let (_, csv, _) = ran(&gateway, &["trail", "report", "spend", "--by", by, "--csv"]);
    let rows = by_python(&csv);
    let head: Vec<&str> = rows[0].iter().map(|cell| &**cell).collect();
    assert_eq!(head[..8], ["tenant", "app", "use_case", "user", "model", "day", "cost_usd", "calls"]);
    let (total, rows) = rows[1..].split_last().unwrap();
    assert_eq!(total[0], "(total)");
    assert_eq!(rows.iter().map(|row| nanousd(&row[6])).sum::<u64>(), nanousd(&total[6]), "rows add up, exactly");
    assert_eq!((nanousd(&total[6]), &*total[7]), (all.0, "42"));
    assert!(rows.iter().all(|row| row.len() == head.len()), "{csv}");
    assert!(rows.iter().any(|row| row[0] == "'=umbrella, Inc" && row[2] == "\"quoted\""), "{csv}");
    assert!(!csv.contains("ann"), "users are digests: {csv}");

    // Nothing of a time in which nothing was, and a wrong column is told.
    let none = json_of(&gateway, &["trail", "report", "spend", "--to", "2020-01-01", "--json"]);
    assert_eq!((&none["rows"], &none["total"]["cost_usd"]), (&json!([]), &json!("0.000000000")));
    let (code, _, wrong) = ran(&gateway, &["trail", "report", "spend", "--by", "tenants"]);
    assert!(code == Some(2) && wrong.contains("tenant"), "{wrong}");
    let (_, table, _) = ran(&gateway, &["trail", "report", "spend", "--by", "tenant"]);
    assert!(table.starts_with("TENANT") && table.lines().last().unwrap().starts_with("(total)"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_limit_said_no_names_the_rule_its_line_and_what_would_help() {
    let limits = "budgets:\n  # by day\n  day: { per: [tenant], limit_tokens: 3000, period: day }\nrates:\n  calls: { per: [tenant], requests: 1, every: 1m }\n";
    let repository = repository(limits, None);
    let gateway = Gateway::with(&["--policies", repository.address()], None);
    let id = spent(&gateway, 5_000).await.unwrap_err();
    gateway.receipt(&id);
    let (code, told, wrong) = ran(&gateway, &["limits", "why", &id]);
    assert_eq!(code, Some(0), "{wrong}");
    for part in [
        "budget `day` refused",
        "never: the call alone is above the limit",
        "limits.yaml:3:3 @ ",
        "limit       3000 tokens",
    ] {
        assert!(told.contains(part), "`{part}` is not in:\n{told}");
    }
    // Before it is made: against the balances of now.
    let input = repository.path.join("../request.json");
    let mut body = chat("sim/sim-1");
    body["max_tokens"] = 800.into();
    std::fs::write(&input, body.to_string()).unwrap();
    let would = [
        "limits",
        "why",
        "-i",
        input.to_str().unwrap(),
        "--policies",
        repository.address(),
        "--operators",
        &gateway.operators,
    ];
    let (code, told, wrong) = ran(&gateway, &would);
    assert!(code == Some(0) && told.starts_with("no limit refused this call"), "{told}{wrong}");
    assert!(told.contains("held for it\n  - calls: "), "{told}");
    let first = spent(&gateway, 1_500).await.unwrap();
    gateway.receipt(&first);
    let told = json_of(&gateway, &[&would[..], &["--json"]].concat());
    assert_eq!((&told["refused"]["rule"], &told["refused"]["unit"]), (&json!("calls"), &json!("requests")), "{told}");
    let until = "2h";
    let more = ["budget", "override", "calls", "tenant=default", "100requests", "--until", until, "--reason", "a test"];
    let (code, _, wrong) = operated(&gateway, &more);
    assert_eq!(code, Some(0), "{wrong}");
    let told = json_of(&gateway, &[&would[..], &["--json"]].concat());
    let refused = &told["refused"];
    assert_eq!(
        (&refused["rule"], &refused["limit"], &refused["is_budget"]),
        (&json!("day"), &json!(3000), &json!(true))
    );
    let n = |name: &str| refused[name].as_u64().unwrap();
    assert_eq!(n("lacks"), n("used") + n("held") + n("wanted") - 3_000, "{refused}");
    assert!(refused["at"].as_str().unwrap().starts_with("limits.yaml:3:3 @ "), "{refused}");
    assert_eq!(refused["fits_at_ms"].as_i64().unwrap() % 86_400_000, 0, "at midnight: {refused}");
    // The same call, made: the same is told of it.
    let id = spent(&gateway, 800).await.unwrap_err();
    gateway.receipt(&id);
    let made = json_of(&gateway, &["limits", "why", &id, "--json"]);
    for name in ["rule", "scope", "unit", "wanted", "limit", "used", "held", "lacks"] {
        assert_eq!(made["refused"][name], refused[name], "{name}: {made}");
    }
    // What was answered, lowered: a call that bounds nothing gets a bound from what is left.
    operated(
        &gateway,
        &["budget", "grant", "day", "tenant=default", "1500tokens", "--until", "period", "--reason", "x"],
    );
    let answer = post(&gateway, chat("sim/sim-1").to_string(), &[]).await;
    let id = answer.headers()["tollgate-call-id"].to_str().unwrap().to_owned();
    gateway.receipt(&id);
    let (_, told, _) = ran(&gateway, &["limits", "why", &id]);
    assert!(told.contains("`day` lowered it: max_tokens="), "{told}");
    let (code, _, wrong) = ran(&gateway, &["limits", "why", "none"]);
    assert!(code == Some(1) && wrong.contains("no call `none`"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_grants_and_takes_back_on_the_command_line() {
    let repository = repository(LIMITS, None);
    let gateway = Gateway::with(&["--policies", repository.address()], None);
    spent(&gateway, 200).await.unwrap();
    let (_, told, _) = operated(&gateway, &["budget", "show"]);
    assert!(told.starts_with("RULE") && told.contains("tenant=default"), "{told}");
    let grant = [
        "budget",
        "grant",
        "money",
        "tenant=default",
        "12.5usd",
        "--until",
        "1d",
        "--reason",
        "a launch",
        "--id",
        "l1",
    ];
    let (_, dry, _) = operated(&gateway, &[&grant[..], &["--dry-run"]].concat());
    assert!(dry.starts_with("would be: grant l1 of money tenant=default: +12.500000 USD until"), "{dry}");
    let (code, told, wrong) = operated(&gateway, &grant);
    assert!(code == Some(0) && told.contains("limit 62.500000 USD, "), "{told}{wrong}");
    let (code, _, wrong) =
        operated(&gateway, &["budget", "grant", "money", "tenant=default", "-5usd", "--until", "1d", "--reason", "x"]);
    assert!(code == Some(1) && wrong.contains("negative"), "{wrong}");
    let (code, _, wrong) =
        operated(&gateway, &["budget", "grant", "money", "tenant=default", "5", "--until", "1d", "--reason", "x"]);
    assert!(code == Some(2) && wrong.contains("50usd"), "{wrong}");
    let (_, told, _) = operated(&gateway, &["budget", "show", "--rule", "money", "--tenant", "default"]);
    assert!(told.contains("grant l1 of money tenant=default: +12.500000 USD until "), "{told}");
    assert!(told.contains("by operator-token: a launch"), "{told}");
    let forecast = json_of(&gateway, &["budget", "forecast", "--json", "--operators", &gateway.operators]);
    let of: Vec<&Value> = forecast["forecasts"].as_array().unwrap().iter().collect();
    assert_eq!(of.len(), 2, "{forecast}");
    assert!(of.iter().all(|one| one["remaining"].as_u64().unwrap() > 0 && one["ends"].is_string()), "{forecast}");
    let (code, told, wrong) = operated(&gateway, &["budget", "revoke", "money", "tenant=default", "l1"]);
    assert!(code == Some(0) && told.contains("limit 50.000000 USD, ") && told.contains("revoked"), "{told}{wrong}");
    let (code, _, wrong) = operated(&gateway, &["budget", "revoke", "money", "tenant=default", "l2"]);
    assert!(code == Some(1) && wrong.contains("`l2`"), "{wrong}");
}
