//! `tollgate key import`: many keys at once into the run-time store, from lines as `tollgate key new --row --json` prints them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use tollgate_core::contract::VERSION;
use tollgate_core::identity::cidr::Cidr;
use tollgate_core::identity::record::KeyRecord;
use tollgate_core::identity::scopes::Scopes;
use tollgate_policy_runtime::tables::tenants::{end_ms, hash_of};
use tollgate_store::keys::KeyFile;

use super::{Ended, Places};
use crate::start;
use crate::state::State;

/// One transaction has so many.
const BATCH: usize = 10_000;
/// A line is one key.
const LINE_BYTES_MAX: usize = 64 << 10;

/// A line. The key itself may stand in it, and is not read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: Arc<str>,
    hash: String,
    tenant: Arc<str>,
    #[serde(default)]
    app: Option<Arc<str>>,
    #[serde(default)]
    user: Option<Arc<str>>,
    #[serde(default)]
    owner: Option<Arc<str>>,
    #[serde(default)]
    groups: Vec<Arc<str>>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    cidr: Vec<String>,
    #[serde(default)]
    expires: Option<String>,
    #[serde(default)]
    may_assert: bool,
    #[serde(default, rename = "key")]
    _key: Option<IgnoredAny>,
}

/// All lines are read before the first key is kept: a wrong one leaves everything as it was.
pub fn run(path: &Path, places: &Places) -> Result<(), Ended> {
    let config = start::config(places)?;
    let named = places.state.clone().or(config.store.path);
    let state = State::open(named.as_deref()).map_err(Ended::usage)?;
    let _lock = state.lock().map_err(Ended::usage)?;
    let pepper = state.pepper().map_err(Ended::usage)?;
    let mut rows = 0_usize;
    each(path, pepper.id(), &mut |_| {
        rows += 1;
        Ok(())
    })?;
    let file = KeyFile::open(&state.keys(), pepper.id(), drop).map_err(|why| Ended::usage(why.to_string()))?;
    let keep = |batch: &mut Vec<KeyRecord>| {
        let kept = file.put(batch, |_| false).map_err(|why| Ended::failed(why.to_string()));
        batch.clear();
        kept
    };
    let mut batch = Vec::with_capacity(BATCH.min(rows));
    each(path, pepper.id(), &mut |record| {
        batch.push(record);
        if batch.len() == BATCH { keep(&mut batch) } else { Ok(()) }
    })?;
    keep(&mut batch)?;
    println!("{rows} keys were kept in {}; the next start takes them", state.keys().display());
    Ok(())
}

fn each(path: &Path, pepper: &str, give: &mut dyn FnMut(KeyRecord) -> Result<(), Ended>) -> Result<(), Ended> {
    let told = |why: std::io::Error| Ended::usage(format!("cannot read `{}`: {why}", path.display()));
    let mut lines = BufReader::with_capacity(1 << 20, File::open(path).map_err(told)?);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let mut bounded = std::io::Read::take(&mut lines, LINE_BYTES_MAX as u64 + 1);
        if bounded.read_until(b'\n', &mut line).map_err(told)? == 0 {
            break;
        }
        let wrong = |why: String| Ended::usage(format!("{}:{number}: {why}; no key was kept", path.display()));
        if line.len() > LINE_BYTES_MAX {
            return Err(wrong(format!("a line has at most {LINE_BYTES_MAX} bytes")));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        // What serde says of a wrong value may have the value in it, and that may be a key.
        let row: Row = serde_json::from_slice(&line).map_err(|why| {
            wrong(format!("no row as `tollgate key new --row --json` prints it (column {})", why.column()))
        })?;
        give(record(row, pepper).map_err(wrong)?)?;
    }
    Ok(())
}

fn record(row: Row, pepper: &str) -> Result<KeyRecord, String> {
    if row.id.is_empty() || row.tenant.is_empty() {
        return Err("`id` and `tenant` must not be empty".to_owned());
    }
    let scopes = match row.scopes.is_empty() {
        true => Scopes::default(),
        false => Scopes::parse(row.scopes.iter().map(|name| &**name))?,
    };
    Ok(KeyRecord {
        hash: hash_of(&row.hash, pepper)?,
        id: row.id,
        tenant: row.tenant,
        app: row.app.unwrap_or_default(),
        user: row.user.unwrap_or_default(),
        owner: row.owner.unwrap_or_default(),
        groups: row.groups,
        scopes,
        cidr: row.cidr.iter().map(|text| Cidr::parse(text)).collect::<Result<_, _>>()?,
        expires_ms: row.expires.as_deref().map(end_ms).transpose()?,
        may_assert: row.may_assert,
        version: Some(VERSION.into()),
        ..KeyRecord::default()
    })
}
