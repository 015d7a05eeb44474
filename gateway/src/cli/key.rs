//! `tollgate key new | import | list | rotate | revoke`: keys of a running gateway, and rows for `tenants.yaml`.

use std::fmt::Write as _;

use clap::Args;
use http::Method;
use serde_json::{Value, json};
use tollgate_core::identity::cidr::Cidr;
use tollgate_core::identity::key;
use tollgate_core::identity::record::hex;
use tollgate_core::identity::scopes::Scopes;

use super::operate::{in_url, text, time, told_by};
use super::{Ended, Key, Operate};
use crate::start;
use crate::state::{self, State};

#[derive(Args)]
pub struct KeyNew {
    #[arg(long)]
    pub tenant: String,
    #[arg(long)]
    pub app: Option<String>,
    #[arg(long)]
    pub user: Option<String>,
    /// Whom to ask about it
    #[arg(long)]
    pub owner: Option<String>,
    /// A group of the key; may be repeated
    #[arg(long = "group")]
    pub groups: Vec<String>,
    /// What it is for: `calls` (all operations), `chat`, `embeddings`, ..., `mint`, `keys`, `admin:read`, `admin`; may be repeated
    #[arg(long = "scope")]
    pub scopes: Vec<String>,
    /// A network from which it is taken, e.g. 10.0.0.0/8; may be repeated
    #[arg(long)]
    pub cidr: Vec<String>,
    /// The day after which it is not taken, e.g. 2027-03-31
    #[arg(long)]
    pub expires: Option<String>,
    /// Print a row for `tenants.yaml`, also where a gateway runs
    #[arg(long)]
    pub row: bool,
    /// Say what would be, and do nothing
    #[arg(long, conflicts_with = "row")]
    pub dry_run: bool,
    #[command(flatten)]
    pub to: Operate,
}

pub fn run(verb: &Key) -> Result<(), Ended> {
    match verb {
        Key::New(args) => new(args),
        Key::Import { file, places } => super::import::run(file, places),
        Key::List { tenant, to } => list(tenant.as_deref(), to),
        Key::Rotate { id, overlap, dry_run, to } => {
            let path = format!("/admin/v1/keys/{}/rotate?dry_run={dry_run}", in_url(id));
            changed(to, Method::POST, &path, json!({ "overlap_s": overlap }))
        }
        Key::Revoke { id, dry_run, to } => {
            let path = format!("/admin/v1/keys/{}?dry_run={dry_run}", in_url(id));
            changed(to, Method::DELETE, &path, Value::Null)
        }
    }
}

fn new(args: &KeyNew) -> Result<(), Ended> {
    let config = start::config(&args.to.places)?;
    let named = args.to.places.state.clone().or(config.store.path);
    let state = State::open(named.as_deref()).map_err(Ended::usage)?;
    if args.row || (!args.dry_run && !state.is_running().map_err(Ended::usage)?) {
        return row(args, &state);
    }
    let mut wanted = json!({
        "tenant": args.tenant, "app": args.app.as_deref().unwrap_or_default(),
        "user": args.user.as_deref().unwrap_or_default(), "owner": args.owner.as_deref().unwrap_or_default(),
        "groups": args.groups, "cidr": args.cidr, "expires": args.expires,
    });
    if !args.scopes.is_empty() {
        wanted["scopes"] = json!(args.scopes);
    }
    changed(&args.to, Method::POST, &format!("/admin/v1/keys?dry_run={}", args.dry_run), wanted)
}

/// The key itself goes to stdout and nothing else, so that it can be taken by a script.
fn changed(to: &Operate, method: Method, path: &str, body: Value) -> Result<(), Ended> {
    let told = told_by(to, method, path, body)?;
    if to.json {
        println!("{told}");
        return Ok(());
    }
    let would = if told["dry_run"] == true { "would be: " } else { "" };
    eprintln!("{would}{}", line(&told["record"]));
    if let Some(key) = told["key"].as_str() {
        eprintln!("The key is shown once, and works from now on:");
        println!("{key}");
    }
    Ok(())
}

fn list(tenant: Option<&str>, to: &Operate) -> Result<(), Ended> {
    let mut keys = Vec::new();
    let mut after = String::new();
    loop {
        let mut path = format!("/admin/v1/keys?after={}", in_url(&after));
        if let Some(tenant) = tenant {
            let _ = write!(path, "&tenant={}", in_url(tenant));
        }
        let mut page = told_by(to, Method::GET, &path, Value::Null)?;
        if let Value::Array(more) = page["keys"].take() {
            keys.extend(more);
        }
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    match to.json {
        true => println!("{}", json!({ "keys": keys })),
        false => keys.iter().for_each(|key| println!("{}", line(key))),
    }
    Ok(())
}

/// One key for people.
fn line(key: &Value) -> String {
    let list =
        |name: &str| -> String { key[name].as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(",") };
    let who: Vec<&str> = ["tenant", "app", "user"].iter().map(|name| text(&key[*name])).collect();
    let mut out =
        format!("{:<12} {:<8} {:<12} {}", text(&key["id"]), text(&key["state"]), text(&key["source"]), who.join("/"));
    for name in ["scopes", "groups", "cidr"] {
        let names = list(name);
        if !names.is_empty() {
            let _ = write!(out, " {name}={names}");
        }
    }
    if !text(&key["owner"]).is_empty() {
        let _ = write!(out, " owner={}", text(&key["owner"]));
    }
    for (name, what) in [("expires_ms", "until"), ("before_until_ms", "old secret until"), ("revoked_ms", "revoked")] {
        if key[name].is_i64() {
            let _ = write!(out, " {what} {}", time(&key[name]));
        }
    }
    out
}

/// A key that works as soon as its row stands in the repository.
fn row(args: &KeyNew, state: &State) -> Result<(), Ended> {
    let pepper = state.pepper().map_err(Ended::usage)?;
    if let Some(day) = &args.expires {
        day.parse::<jiff::civil::Date>()
            .map_err(|_| Ended::usage(format!("`--expires {day}` is no day: write it like 2027-03-31")))?;
    }
    if !args.scopes.is_empty() {
        Scopes::parse(args.scopes.iter().map(|name| &**name)).map_err(Ended::usage)?;
    }
    args.cidr.iter().try_for_each(|text| Cidr::parse(text).map(drop)).map_err(Ended::usage)?;
    let (id, text) = key::mint(&state::random().map_err(Ended::failed)?);
    let hash = format!("hmac-sha256:{}:{}", pepper.id(), hex::encode(&pepper.hash(&text)));
    if args.to.json {
        let row = json!({
            "key": text, "id": id, "hash": hash, "tenant": args.tenant, "app": args.app,
            "user": args.user, "groups": args.groups, "expires": args.expires, "owner": args.owner,
            "scopes": args.scopes, "cidr": args.cidr,
        });
        println!("{row}");
        return Ok(());
    }
    let mut row = format!("  - {{ id: {id}, hash: \"{hash}\", tenant: {}", quoted(&args.tenant));
    for (name, value) in [("app", &args.app), ("user", &args.user), ("expires", &args.expires), ("owner", &args.owner)]
    {
        if let Some(value) = value {
            let _ = write!(row, ", {name}: {}", quoted(value));
        }
    }
    for (name, values) in [("groups", &args.groups), ("scopes", &args.scopes), ("cidr", &args.cidr)] {
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
            let _ = write!(row, ", {name}: [{}]", values.join(", "));
        }
    }
    eprintln!(
        "The key is shown once. It works as soon as its row stands under `keys:` in tenants.yaml of the active revision:"
    );
    println!("{text}");
    println!("{row} }}");
    Ok(())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
