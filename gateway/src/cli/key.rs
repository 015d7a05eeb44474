//! `tollgate key new`: a key, shown once, and the row that lets it in.

use clap::Args;
use tollgate_core::identity::key;

use super::{Ended, Places};
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
    /// A group of the key; may be repeated
    #[arg(long = "group")]
    pub groups: Vec<String>,
    /// The day after which it is not taken, e.g. 2027-03-31
    #[arg(long)]
    pub expires: Option<String>,
    #[command(flatten)]
    pub places: Places,
    #[arg(long)]
    pub json: bool,
}

pub fn new(args: &KeyNew) -> Result<(), Ended> {
    let config = start::config(&args.places)?;
    let named = args.places.state.clone().or(config.store.path);
    let state = State::open(named.as_deref()).map_err(Ended::usage)?;
    let pepper = state.pepper().map_err(Ended::usage)?;
    if let Some(day) = &args.expires {
        day.parse::<jiff::civil::Date>()
            .map_err(|_| Ended::usage(format!("`--expires {day}` is no day: write it like 2027-03-31")))?;
    }
    let (id, text) = key::mint(&state::random().map_err(Ended::failed)?);
    let hash = format!("hmac-sha256:{}:{}", pepper.id(), state::hex(&pepper.hash(&text)));
    if args.json {
        let row = serde_json::json!({
            "key": text, "id": id, "hash": hash, "tenant": args.tenant, "app": args.app,
            "user": args.user, "groups": args.groups, "expires": args.expires,
        });
        println!("{row}");
        return Ok(());
    }
    let mut row = format!("  - {{ id: {id}, hash: \"{hash}\", tenant: {}", quoted(&args.tenant));
    for (name, value) in [("app", &args.app), ("user", &args.user), ("expires", &args.expires)] {
        if let Some(value) = value {
            row.push_str(&format!(", {name}: {}", quoted(value)));
        }
    }
    if !args.groups.is_empty() {
        let groups: Vec<String> = args.groups.iter().map(|g| quoted(g)).collect();
        row.push_str(&format!(", groups: [{}]", groups.join(", ")));
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
