//! `tollgate trail verify` and `export`: the journal, and the receipts that it vouches for, read without a gateway or beside
//! one.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tollgate_core::identity::record::hex;
use tollgate_store::journal::{self, Folder, Head, Reader};
use tollgate_store::trail::{self, Unsound};

use super::{Ended, Places};
use crate::state::State;

/// A running gateway vouches for what it writes well within this time.
const VOUCHED_WITHIN: Duration = Duration::from_secs(1);

/// Fails where anything was changed, dropped, added or moved, and names the first bad record or receipt.
pub fn verify(places: &Places, head: Option<&str>, trail_from: Option<&str>, json: bool) -> Result<(), Ended> {
    let known = head.map(parse).transpose()?;
    let state = super::trail::open(places)?;
    let storage = Arc::new(Folder::at(state.journal()));
    let found = journal::verify(storage, known).map_err(|why| Ended::failed(why.to_string()))?;
    let receipts = receipts(&state, trail_from).map_err(|why| Ended::failed(why.to_string()))?;
    let head = text(&found.head);
    // What a crash left at the end was confirmed to nobody: it is told, and no fault.
    let cut = found.cut.as_ref().map(ToString::to_string);
    if json {
        let told = serde_json::json!({
            "segments": found.segments,
            "records": found.records,
            "first": found.first,
            "head": head,
            "torn": cut,
            "bytes_left_behind": found.behind,
            "files_outside": found.strays,
            "receipts": receipts.receipts,
            "receipts_unknown": receipts.unknown,
            "receipts_since_ms": receipts.since_ms,
            "receipts_pending": receipts.pending.len(),
            "receipts_left_out": receipts.left_out,
            "trail_files_before": receipts.files_before,
        });
        println!("{told}");
        return Ok(());
    }
    println!("sound: {} records from {} on, in {} segments", found.records, found.first, found.segments);
    if let Some(cut) = cut {
        println!("torn: {cut}; nothing of it had been confirmed");
    }
    if found.behind > 0 {
        println!("left behind: {} bytes at the ends of segments that a crash or a failed sync ended", found.behind);
    }
    for stray in &found.strays {
        println!("outside: `{stray}` belongs to no chain; a crash left it, or retention could not remove it");
    }
    tell(&receipts);
    println!("head: {head}");
    Ok(())
}

/// Holds the trail against the journal. Beside a running gateway the last receipts are looked at twice.
fn receipts(state: &State, from: Option<&str>) -> Result<trail::Verified, Unsound> {
    let look = || trail::verify(Arc::new(Folder::at(state.journal())), &state.trail(), from);
    let found = look()?;
    if found.pending.is_empty() || !state.is_running().unwrap_or(false) {
        return Ok(found);
    }
    std::thread::sleep(VOUCHED_WITHIN);
    look()?.still_pending(&found)
}

fn tell(found: &trail::Verified) {
    let Some(since_ms) = found.since_ms else {
        println!("receipts: the journal vouches for none yet");
        return;
    };
    let since = jiff::Timestamp::from_millisecond(since_ms).unwrap_or_default();
    let unknown = if found.unknown > 0 { format!(", {} of them `unknown`", found.unknown) } else { String::new() };
    println!("receipts: {} are as they were written{unknown}; vouched for since {since:.0}", found.receipts);
    if found.files_before > 0 {
        println!("before that: {} files, for which nobody vouches", found.files_before);
    }
    if found.left_out > 0 {
        println!("left out: {} receipts, in files before the one that `--trail-from` names", found.left_out);
    }
    if !found.pending.is_empty() {
        let pending = found.pending.len();
        println!(
            "pending: the last {pending} receipts, written a moment ago or by a gateway that was killed; the next start takes them over"
        );
    }
}

/// A line each: sequence, and what the record says.
pub fn export(places: &Places, from: u64) -> Result<(), Ended> {
    let folder = super::trail::open(places)?.journal();
    let told = |why: journal::ReadError| Ended::failed(why.to_string());
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for record in Reader::from(Arc::new(Folder::at(&folder)), from).map_err(told)? {
        let record = record.map_err(told)?;
        let said: &serde_json::value::RawValue = serde_json::from_slice(&record.payload)
            .map_err(|why| Ended::failed(format!("record {} is no JSON: {why}", record.sequence)))?;
        // A reader that has enough is no error.
        if writeln!(out, "{{\"sequence\":{},\"event\":{said}}}", record.sequence).is_err() {
            return Ok(());
        }
    }
    let _ = out.flush();
    Ok(())
}

fn text(head: &Head) -> String {
    format!("{}:{}", head.next, hex::encode(&head.chain))
}

fn parse(text: &str) -> Result<Head, Ended> {
    let head = text
        .split_once(':')
        .and_then(|(next, chain)| Some(Head { next: next.parse().ok()?, chain: hex::decode(chain)? }));
    head.ok_or_else(|| {
        Ended::usage(format!("`{text}` is no head: give `--head` what `tollgate trail verify` printed behind `head:`"))
    })
}
