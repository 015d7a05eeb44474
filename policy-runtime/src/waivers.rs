//! Waivers: a higher layer lets some calls pass a policy, until a day, for a reason. The policy observes them meanwhile.

use std::sync::Arc;

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tollgate_core::contract::nearest;
use tollgate_core::policy::effect::At;
use tollgate_core::policy::verdict::{Lowered, LoweredBy};

use crate::diagnostic::Diagnostic;
use crate::judge::Seat;
use crate::layers::Folder;
use crate::manifest;
use crate::reading::{Reading, Table};
use crate::selectors::Scope;
use crate::yaml::{Node, Place};

/// The keys of one waiver.
pub const KEYS: [&str; 5] = ["policy", "for", "until", "reason", "owner"];
/// No manifest has more.
pub const WAIVERS_MAX: usize = 1_000;

/// One waiver as a manifest declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiver {
    pub policy: String,
    pub at: Place,
    pub scope: Scope,
    /// The last day on which it holds, UTC.
    pub until: Date,
    pub reason: String,
}

/// The member `waivers` of the manifest, for editors.
pub fn schema() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "type": "array",
        "maxItems": WAIVERS_MAX,
        "description": "calls that a policy of this folder or of one below only observes, until a day",
        "items": {
            "type": "object",
            "additionalProperties": false,
            "required": ["policy", "for", "until", "reason"],
            "properties": {
                "policy": text,
                "for": { "type": "object" },
                "until": { "type": "string", "format": "date" },
                "reason": text,
                "owner": text,
            },
        },
    })
}

/// All waivers of a manifest that can be read.
pub fn read(reading: &Reading<'_>, manifest: &Table<'_, '_>, today: Option<Date>) -> Vec<Waiver> {
    let list = manifest.get("waivers").map_or(&[][..], |node| reading.list(node, "`waivers`"));
    if let Some(node) = list.get(WAIVERS_MAX) {
        reading.tell("TG0106", node.at, format!("`waivers` lists more than {WAIVERS_MAX}"));
    }
    list.iter().take(WAIVERS_MAX).filter_map(|node| waiver(reading, node, today)).collect()
}

fn waiver(reading: &Reading<'_>, node: &Node, today: Option<Date>) -> Option<Waiver> {
    let table = reading.table(node, "a waiver", &KEYS)?;
    let policy = table.need("policy", "the name of the policy that is waived");
    let until = table.need("until", "the last day on which it holds, like 2027-03-31");
    let reason = table.need("reason", "why: it stands in every receipt until then");
    table.need("for", "whose calls: a waiver for everybody is a change of the policy's mode");
    let scope = table.get("for").map(|node| Scope::read(reading, node))?;
    let (policy, until, reason) = (policy?, until?, reason?);
    let text = reading.text(until, "`until`")?;
    let day: Date = match text.parse() {
        Ok(day) if text.len() == 10 => day,
        _ => {
            reading.tell("TG0106", until.at, format!("`{text}` is no date: write it as 2027-03-31"));
            return None;
        }
    };
    if today.is_some_and(|today| today > day) {
        reading.warn("TG0127", until.at, format!("the waiver ended on {day} and lets nobody pass any more"));
    }
    let name = reading.text(policy, "`policy`")?.to_owned();
    let reason = reading.text(reason, "`reason`")?.to_owned();
    Some(Waiver { policy: name, at: policy.at, scope, until: day, reason })
}

/// Lays the waivers of a folder on its own policies and those of folders below it.
pub fn lay(folder: &Folder, waivers: Vec<Waiver>, seats: &mut [Arc<Seat>]) -> Vec<Diagnostic> {
    waivers.into_iter().filter_map(|waiver| lay_one(folder, waiver, seats).err()).collect()
}

fn lay_one(folder: &Folder, mut waiver: Waiver, seats: &mut [Arc<Seat>]) -> Result<(), Diagnostic> {
    let (file, place) = (folder.manifest(), waiver.at);
    let wrong = |code, message: String, help: &str| {
        Diagnostic::error(code, &file, message).at(place.line, place.column).over(place.length).help(help.to_owned())
    };
    folder.narrow(&mut waiver.scope).map_err(|(key, told)| {
        let message = format!("the waiver speaks of the {key} `{told}`, which is not the folder's");
        wrong("TG0122", message, "name those of the folder")
    })?;
    let own = format!("{}{}", folder.label(), waiver.policy);
    let names: Vec<Arc<str>> = seats.iter().map(|seat| seat.standing.name.clone()).collect();
    let find = |wanted: &str| names.iter().position(|name| **name == *wanted);
    let Some(at) = find(&own).or_else(|| find(&waiver.policy)) else {
        let hint = nearest::hint(&waiver.policy, names.iter().map(|name| &**name));
        return Err(wrong(
            "TG0126",
            format!("there is no policy `{}`{hint}", waiver.policy),
            "`tollgate check` lists all names",
        ));
    };
    let declared = &seats[at].standing.declared.file;
    if !declared.strip_suffix(manifest::FILE).is_some_and(|above| above.starts_with(&folder.prefix)) {
        let message = format!("`{}` stands above `{}`, which cannot waive it", waiver.policy, folder.prefix);
        return Err(wrong(
            "TG0126",
            message,
            "ask its owner: a waiver stands in the manifest of the policy or above it",
        ));
    }
    let end = waiver.until.checked_add(1.day()).and_then(|day| day.to_zoned(TimeZone::UTC));
    let lowered = Lowered {
        by: LoweredBy::Waiver,
        until_ms: end.map_or(i64::MAX, |end| end.timestamp().as_millisecond()),
        reason: waiver.reason,
        at: Some(At { file: file.as_str().into(), line: place.line, column: place.column }),
    };
    let seat = Arc::get_mut(&mut seats[at]).expect("seats are shared only when the revision is made");
    seat.waivers.push((waiver.scope, Arc::new(lowered)));
    Ok(())
}
