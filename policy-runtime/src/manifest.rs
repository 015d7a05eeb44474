//! `tollgate-policies.yaml`: which policy, at which hook, for whom, in which mode, with what.
//!
//! This file reads and checks one entry by itself; programs, parameters and selectors are compiled by `load`.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::Date;
use tollgate_core::policy::effect::StickyBy;
use tollgate_core::policy::schema::{Group, GroupSet};
use tollgate_core::policy::{Hook, Mode, OnError};

use crate::diagnostic::Diagnostic;
use crate::engine::Bounds;
use crate::reading::{MANIFEST, Reading, Table, bytes_of};
use crate::selectors::Scope;
use crate::waivers::{self, Waiver};
use crate::yaml::{self, Data, Node, Place};

/// The manifest's path in a repository.
pub const FILE: &str = "tollgate-policies.yaml";
/// The version of the hook interface that this gateway serves.
pub const API: &str = "tollgate.policy/v1";
/// So many days before, `expires` warns.
const EXPIRES_SOON_DAYS: i32 = 30;
/// No manifest lists more policies.
pub const POLICIES_MAX: usize = 2_000;

/// No policy may be given more than these.
const OPS_MAX: i64 = 10_000_000;
const BYTES_MAX: u64 = 256 << 20;
const CPU_MS_MAX: i64 = 1_000;
const MEMORY_MAX: u64 = 1 << 30;

const KEYS: [&str; 15] = [
    "name", "use", "path", "hook", "for", "when", "with", "reads", "mode", "share", "on_error", "priority", "limits",
    "owner", "expires",
];
const HOOKS: [(&str, Hook); 3] =
    [("pre-auth", Hook::PreAuth), ("pre-route", Hook::PreRoute), ("post-response", Hook::PostResponse)];
const MODES: [(&str, Mode); 4] =
    [("off", Mode::Off), ("observe", Mode::Observe), ("warn", Mode::Warn), ("enforce", Mode::Enforce)];
const ON_ERROR: [(&str, OnError); 3] =
    [("deny", OnError::Deny), ("skip", OnError::Skip), ("degrade", OnError::Degrade)];
const STICKY: [(&str, StickyBy); 7] = [
    ("sticky", StickyBy::Sticky),
    ("tenant", StickyBy::Tenant),
    ("app", StickyBy::App),
    ("user", StickyBy::User),
    ("key", StickyBy::Key),
    ("session", StickyBy::Session),
    ("call", StickyBy::Call),
];

/// One policy as the manifest declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub name: Arc<str>,
    /// The manifest that declares it.
    pub file: Arc<str>,
    /// Where the name stands: the place that messages and receipts give for the policy.
    pub at: Place,
    pub program: Program,
    pub program_at: Place,
    pub hooks: Vec<Hook>,
    pub scope: Scope,
    pub when: Option<When>,
    pub with: Option<Node>,
    /// `None` = all but `text`.
    pub reads: Option<GroupSet>,
    pub mode: Mode,
    pub share: Option<Share>,
    pub on_error: OnError,
    pub priority: i32,
    pub bounds: Bounds,
    pub owner: Option<String>,
    pub expires: Option<Date>,
}

/// Where the program of a policy lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// `use: std/NAME`
    Std(String),
    /// `path: policies/NAME`
    Path(String),
}

/// A selector in CEL, with the place of its first character.
#[derive(Debug, Clone, PartialEq)]
pub struct When {
    pub text: String,
    pub at: Place,
}

/// Acts for a part of the callers, is observed for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// In hundredths of a percent: buckets (0..9999) below it act.
    pub below: u16,
    pub by: StickyBy,
}

/// What a manifest declares, as far as it can be read.
#[derive(Debug, Default)]
pub struct Manifest {
    pub entries: Vec<Entry>,
    pub waivers: Vec<Waiver>,
}

/// The day on which it is read. `strict`: what has expired is an error.
#[derive(Debug, Clone, Copy, Default)]
pub struct Day {
    pub today: Option<Date>,
    pub strict: bool,
}

/// All that can be read, and everything found wrong.
pub fn parse(file: &str, bytes: &[u8], day: Day) -> (Manifest, Vec<Diagnostic>) {
    let reading = Reading::of(file, MANIFEST);
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    let manifest = reading.parse(bytes).map(|node| manifest(&reading, &node, &lines, day)).unwrap_or_default();
    (manifest, reading.findings())
}

fn manifest(reading: &Reading<'_>, node: &Node, lines: &[&str], day: Day) -> Manifest {
    let Some(table) = reading.table(node, "the manifest", &["api", "owner", "policies", "waivers"]) else {
        return Manifest::default();
    };
    let help = format!("begin the file with `api: {API}`");
    if let Some(api) = table.need("api", &help).and_then(|v| Some((reading.text(v, "`api`")?, v.at)))
        && api.0 != API
    {
        reading.tell_help(
            "TG0107",
            api.1,
            format!("`{}` is not served by this gateway", api.0),
            format!("write `{API}`"),
        );
    }
    let Some(list) = table.need("policies", "an empty list is `policies: []`") else { return Manifest::default() };
    let list = reading.list(list, "`policies`");
    if list.len() > POLICIES_MAX {
        reading.tell("TG0106", table.at, format!("`policies` lists more than {POLICIES_MAX} policies"));
        return Manifest::default();
    }
    let owner = table.text("owner").map(str::to_owned);
    let mut taken: HashMap<Arc<str>, u32> = HashMap::new();
    let mut entries = Vec::with_capacity(list.len());
    for node in list {
        let Some(mut entry) = entry(reading, node, lines, day) else { continue };
        entry.owner = entry.owner.or_else(|| owner.clone());
        match taken.get(&entry.name) {
            Some(line) => {
                let message = format!("the name `{}` is used twice, first in line {line}", entry.name);
                reading.tell("TG0108", entry.at, message);
            }
            None => {
                taken.insert(entry.name.clone(), entry.at.line);
                entries.push(entry);
            }
        }
    }
    Manifest { entries, waivers: waivers::read(reading, &table, day.today) }
}

fn entry(reading: &Reading<'_>, node: &Node, lines: &[&str], day: Day) -> Option<Entry> {
    let said = match &node.data {
        Data::Map(members) => members.iter().find(|(k, _)| k.text == "name").map(|(_, v)| v.json()),
        _ => None,
    };
    let what = said.and_then(|v| v.as_str().map(|name| format!("policy `{name}`")));
    let table = reading.table(node, what.as_deref().unwrap_or("a policy"), &KEYS)?;
    let name = name(reading, &table);
    let program = program(reading, &table);
    let hooks = hooks(reading, &table);
    let scope = table.get("for").map(|v| Scope::read(reading, v)).unwrap_or_default();
    let when = table.get("when").and_then(|v| {
        let text = reading.text(v, "`when`")?;
        Some(When { text: text.to_owned(), at: yaml::first_character(lines, v.at) })
    });
    let reads = table.get("reads").map(|_| reads(reading, &table, &hooks));
    let mode = table.pick("mode", &MODES).unwrap_or(Mode::Enforce);
    let share = table.get("share").and_then(|v| share(reading, v, mode));
    let help = "`deny` refuses the call, `skip` goes on without the policy, `degrade` goes on and tells the caller";
    let on_error = table.need("on_error", help).and_then(|_| table.pick("on_error", &ON_ERROR));
    let priority = table.whole("priority", i64::from(i32::MIN), i64::from(i32::MAX)).unwrap_or(0);
    let bounds = table.get("limits").map(|v| bounds(reading, v)).unwrap_or_default();
    let owner = table.text("owner").map(str::to_owned);
    let expires = expires(reading, &table, day);
    let (name, at) = name?;
    let (program, program_at) = program?;
    Some(Entry {
        name,
        file: reading.file.into(),
        at,
        program,
        program_at,
        hooks,
        scope,
        when,
        with: table.get("with").cloned(),
        reads,
        mode,
        share,
        on_error: on_error?,
        priority: i32::try_from(priority).unwrap_or(0),
        bounds,
        owner,
        expires,
    })
}

fn name(reading: &Reading<'_>, table: &Table<'_, '_>) -> Option<(Arc<str>, Place)> {
    let node = table.need("name", "a short name that messages and receipts can tell")?;
    let text = reading.text(node, "`name`")?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if text.len() > 64 || !text.bytes().all(plain) {
        let message = format!("`{text}` is no name of a policy");
        reading.tell_help("TG0109", node.at, message, "up to 64 letters, digits, `-`, `_` and `.`");
        return None;
    }
    Some((text.into(), node.at))
}

fn program(reading: &Reading<'_>, table: &Table<'_, '_>) -> Option<(Program, Place)> {
    let (node, key) = match (table.get("use"), table.get("path")) {
        (Some(node), None) => (node, "use"),
        (None, Some(node)) => (node, "path"),
        (Some(_), Some(node)) => {
            reading.tell("TG0110", node.at, format!("{} has both `use` and `path`: take one out", table.what));
            return None;
        }
        (None, None) => {
            let help = "write `use: std/NAME` for a built-in policy, or `path: policies/NAME` for your own";
            reading.tell_help("TG0104", table.at, format!("{} needs `use` or `path`", table.what), help);
            return None;
        }
    };
    let text = reading.text(node, &format!("`{key}`"))?;
    if key == "use" {
        let Some(name) = text.strip_prefix("std/").filter(|n| !n.is_empty() && !n.contains('/')) else {
            let message = format!("`use: {text}` names no built-in policy");
            reading.tell_help("TG0110", node.at, message, "write `use: std/NAME`; your own folders go under `path`");
            return None;
        };
        return Some((Program::Std(name.to_owned()), node.at));
    }
    let folder = text.strip_prefix("./").unwrap_or(text).trim_end_matches('/');
    if folder.is_empty() || folder.split('/').any(|part| matches!(part, "" | "." | "..")) {
        let message = format!("`path: {text}` leaves the repository or is not relative to it");
        reading.tell_help("TG0110", node.at, message, "write it from the root of the repository: `policies/NAME`");
        return None;
    }
    Some((Program::Path(folder.to_owned()), node.at))
}

fn hooks(reading: &Reading<'_>, table: &Table<'_, '_>) -> Vec<Hook> {
    table.need("hook", "one of pre-auth, pre-route, post-response, or a list of them");
    let mut hooks = table.picks("hook", &HOOKS);
    let listed = hooks.len();
    hooks.sort_unstable();
    hooks.dedup();
    if let Some(node) = table.get("hook")
        && (hooks.len() < listed || matches!(&node.data, Data::List(items) if items.is_empty()))
    {
        reading.tell("TG0106", node.at, "`hook` must name at least one hook, and each once");
    }
    hooks
}

fn reads(reading: &Reading<'_>, table: &Table<'_, '_>, hooks: &[Hook]) -> GroupSet {
    let known = Group::ALL.map(|g| (g.name(), g));
    let mut set = GroupSet::default();
    for (name, at) in table.texts("reads") {
        let Some(group) = reading.pick(name, at, "`reads`", &known) else { continue };
        if !hooks.is_empty() && !hooks.iter().any(|h| group.known_at(*h)) {
            let hooks: Vec<&str> = hooks.iter().map(|h| h.name()).collect();
            let message = format!("`{name}` is not known at {}", hooks.join(", "));
            let at_hooks: Vec<&str> = Hook::ALL.iter().filter(|h| group.known_at(**h)).map(|h| h.name()).collect();
            reading.tell_help("TG0115", at, message, format!("it is known at {}", at_hooks.join(", ")));
        }
        set.insert(group);
    }
    set
}

fn share(reading: &Reading<'_>, node: &Node, mode: Mode) -> Option<Share> {
    let table = reading.table(node, "`share`", &["percent", "by"])?;
    let percent = table.need("percent", "the part of the callers for whom the policy acts, 0 to 100")?;
    let hundredths = match percent.data {
        Data::Int(n) => n as f64 * 100.0,
        Data::Float(x) => x * 100.0,
        Data::Null | Data::Bool(_) | Data::Text(_) | Data::List(_) | Data::Map(_) => f64::NAN,
    };
    if !(0.0..=10_000.0).contains(&hundredths) || (hundredths - hundredths.round()).abs() > 1e-6 {
        let message = "`percent` must be a number from 0 to 100 with at most two decimals";
        reading.tell("TG0106", percent.at, message);
        return None;
    }
    if matches!(mode, Mode::Off | Mode::Observe) {
        reading.warn("TG0118", node.at, "`share` has no effect in the modes `off` and `observe`");
    }
    let by = table.pick("by", &STICKY).unwrap_or_default();
    Some(Share { below: hundredths.round() as u16, by })
}

fn bounds(reading: &Reading<'_>, node: &Node) -> Bounds {
    let default = Bounds::default();
    let Some(table) = reading.table(node, "`limits`", &["ops", "bytes", "cpu_ms", "memory"]) else { return default };
    let size = |key: &str, max: u64| {
        let node = table.get(key)?;
        let size = match &node.data {
            Data::Int(n) => u64::try_from(*n).map_err(|_| format!("`{n}` is no size")),
            Data::Text(text) => bytes_of(text),
            other => Err(format!(
                "`{key}` must be a size like 1MiB, not {}",
                Node { at: node.at, data: other.clone() }.kind()
            )),
        };
        match size {
            Ok(size) if (1..=max).contains(&size) => Some(size),
            Ok(size) => {
                reading.tell("TG0121", node.at, format!("`{key}` must be from 1 to {max} bytes, not `{size}`"));
                None
            }
            Err(why) => {
                reading.tell("TG0121", node.at, why);
                None
            }
        }
    };
    let whole = |key: &str, max: i64| table.whole(key, 1, max).and_then(|n| u64::try_from(n).ok());
    Bounds {
        ops: whole("ops", OPS_MAX).unwrap_or(default.ops),
        bytes: size("bytes", BYTES_MAX).unwrap_or(default.bytes),
        cpu_ms: whole("cpu_ms", CPU_MS_MAX).unwrap_or(default.cpu_ms),
        memory: size("memory", MEMORY_MAX).unwrap_or(default.memory),
    }
}

fn expires(reading: &Reading<'_>, table: &Table<'_, '_>, day: Day) -> Option<Date> {
    let node = table.get("expires")?;
    let text = reading.text(node, "`expires`")?;
    let date: Date = match text.parse() {
        Ok(date) if text.len() == 10 => date,
        _ => {
            reading.tell("TG0106", node.at, format!("`{text}` is no date: write it as 2027-03-31"));
            return None;
        }
    };
    let Some(today) = day.today else { return Some(date) };
    let message = format!("{} expired on {date} and still acts", table.what);
    match today.until(date).map_or(0, |span| span.get_days()) {
        ..0 if day.strict => reading.tell_help("TG0117", node.at, message, "renew it, or take the policy out"),
        ..0 => reading.warn("TG0117", node.at, message),
        left @ 0..=EXPIRES_SOON_DAYS => {
            reading.warn("TG0117", node.at, format!("{} expires on {date}, in {left} day(s)", table.what));
        }
        _ => {}
    }
    Some(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_pointed_at_where_its_text_begins() {
        for (when, line, column, why) in [
            ("when: a == b", 8, 11, "a plain text"),
            ("when: 'a == b'", 8, 12, "behind the quote"),
            ("when: |\n      a == b", 9, 7, "in the line below"),
        ] {
            let text = format!(
                "api: {API}\npolicies:\n  - name: a\n    path: p\n    hook: pre-route\n    on_error: deny\n    mode: observe\n    {when}\n"
            );
            let (Manifest { entries, .. }, findings) = parse(FILE, text.as_bytes(), Day::default());
            assert!(findings.is_empty(), "{findings:?}");
            let at = entries[0].when.as_ref().unwrap().at;
            assert_eq!((at.line, at.column), (line, column), "{why}");
        }
    }
}
