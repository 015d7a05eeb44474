//! `tollgate trail verify` and `export`: the journal of budgets, read without a gateway or beside one.

use std::io::Write;
use std::sync::Arc;

use tollgate_store::journal::{self, Folder, Head, Reader};

use super::{Ended, Places};
use tollgate_core::identity::record::hex;

/// Fails where anything was changed, dropped or moved, and names the first bad record.
pub fn verify(places: &Places, head: Option<&str>, json: bool) -> Result<(), Ended> {
    let known = head.map(parse).transpose()?;
    let folder = super::trail::open(places)?.journal();
    let found = journal::verify(Arc::new(Folder::at(&folder)), known).map_err(|why| Ended::failed(why.to_string()))?;
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
    println!("head: {head}");
    Ok(())
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
