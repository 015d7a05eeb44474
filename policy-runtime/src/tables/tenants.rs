//! `tenants.yaml`: tenants and apps, keys (hashes only), and grants.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use tollgate_core::contract::glob::Glob;
use tollgate_core::contract::{Operation, VERSIONS, nearest};
use tollgate_core::identity::cidr::Cidr;
use tollgate_core::identity::record::{KeyRecord, hex};
use tollgate_core::identity::scopes::Scopes;
use tollgate_core::identity::tenants::{Grant, Modality, Tenant, Tenants};
use tollgate_core::limits::money::nanousd_from_usd;
use tollgate_core::policy::facts::DataClass;
use tollgate_core::routing::catalog::Catalog;

use crate::diagnostic::Diagnostic;
use crate::reading::{Reading, TABLES, Table};
use crate::yaml::{Node, Place};

/// The file's path in a repository.
pub const FILE: &str = "tenants.yaml";
/// The one way in which keys are hashed.
const HASH: &str = "hmac-sha256";
/// No repository has more keys or grants: others are kept by the gateway.
const ROWS_MAX: usize = 20_000;

/// Without the file, the zero-config table. `pepper` is the id of the gateway's pepper, where one is known.
pub fn read(bytes: Option<&[u8]>, catalog: &Catalog, pepper: Option<&str>, findings: &mut Vec<Diagnostic>) -> Tenants {
    let Some(bytes) = bytes else { return Tenants::default() };
    let reading = Reading::of(FILE, TABLES);
    let mut tenants = Tenants { present: true, ..Tenants::default() };
    if let Some(node) = reading.parse(bytes).filter(|n| !n.is_null())
        && let Some(table) = reading.table(&node, "the file", &["tenants", "keys", "grants"])
    {
        read_tenants(&reading, &table, &mut tenants);
        read_keys(&reading, &table, pepper, &mut tenants);
        read_grants(&reading, &table, catalog, &mut tenants);
    }
    findings.extend(reading.findings());
    tenants
}

fn read_tenants(reading: &Reading<'_>, table: &Table<'_, '_>, tenants: &mut Tenants) {
    let Some(rows) = table.get("tenants").and_then(|v| reading.open_table(v, "`tenants`")) else { return };
    for (key, node) in rows.members {
        let what = format!("tenant `{}`", key.text);
        let tenant = match node.is_null() {
            true => Tenant::default(),
            false => match reading.table(node, &what, &["region", "apps", "teams"]) {
                Some(row) => {
                    let apps = row.names("apps");
                    let teams = row.get("teams").map(|node| teams(reading, node, &apps)).unwrap_or_default();
                    Tenant { region: row.name("region").unwrap_or_default(), apps, teams }
                }
                None => continue,
            },
        };
        tenants.tenants.insert(key.text.as_str().into(), tenant);
    }
}

/// `teams: { search: { apps: [finder] } }`
fn teams(reading: &Reading<'_>, node: &Node, known: &[Arc<str>]) -> HashMap<Arc<str>, Vec<Arc<str>>> {
    let mut teams = HashMap::new();
    for (key, node) in reading.open_table(node, "`teams`").map(|t| t.members).unwrap_or_default() {
        let Some(row) = reading.table(node, &format!("team `{}`", key.text), &["apps"]) else { continue };
        let Some(listed) = row.need("apps", "the apps that are the team's") else { continue };
        let apps = row.names("apps");
        if apps.is_empty() {
            reading.tell("TG0217", listed.at, format!("team `{}` has no apps", key.text));
        }
        for app in apps.iter().filter(|app| !known.is_empty() && !known.contains(app)) {
            let hint = nearest::hint(app, known.iter().map(|a| &**a));
            reading.tell("TG0217", listed.at, format!("`apps` of the tenant lists no `{app}`{hint}"));
        }
        teams.insert(key.text.as_str().into(), apps);
    }
    teams
}

fn read_keys(reading: &Reading<'_>, table: &Table<'_, '_>, pepper: Option<&str>, tenants: &mut Tenants) {
    let rows = table.get("keys").map_or(&[][..], |v| reading.list(v, "`keys`"));
    let mut lines: HashMap<Arc<str>, u32> = HashMap::new();
    for node in rows.iter().take(ROWS_MAX) {
        let Some(key) = key(reading, node, pepper, tenants) else { continue };
        if let Some(line) = lines.insert(key.id.clone(), node.at.line) {
            reading.tell("TG0212", node.at, format!("the key `{}` is there twice, first in line {line}", key.id));
        }
        tenants.keys.insert(key.id.clone(), Arc::new(key));
    }
    if let Some(node) = rows.get(ROWS_MAX) {
        reading.tell("TG0206", node.at, format!("at most {ROWS_MAX} keys"));
    }
}

/// What a key's row may say.
const KEY: [&str; 12] =
    ["id", "hash", "tenant", "app", "user", "groups", "owner", "scopes", "cidr", "may_assert", "expires", "version"];

fn key(reading: &Reading<'_>, node: &Node, pepper: Option<&str>, tenants: &Tenants) -> Option<KeyRecord> {
    let table = reading.table(node, "a key", &KEY)?;
    let id = table.need("id", "the part of the key behind `tg_`").and_then(|_| table.name("id"));
    let hash = table.need("hash", "take the row that `tollgate key new` prints").and_then(|v| hash(reading, v, pepper));
    let tenant = table.need("tenant", "the tenant that calls with this key").and_then(|_| table.name("tenant"));
    let app = table.name("app").unwrap_or_default();
    if let Some(tenant) = &tenant {
        check_tenant(reading, &table, tenant, &app, tenants);
    }
    let expires_ms = match table.get("expires") {
        None => None,
        Some(node) => Some(expires_ms(reading, node)?),
    };
    let versions = VERSIONS.map(|v| (v, v));
    let version = table.pick("version", &versions).map(Arc::from);
    Some(KeyRecord {
        id: id?,
        hash: hash?,
        tenant: tenant?,
        app,
        user: table.name("user").unwrap_or_default(),
        groups: table.names("groups"),
        may_assert: table.flag("may_assert").unwrap_or(false),
        expires_ms,
        version,
        owner: table.name("owner").unwrap_or_default(),
        scopes: scopes(reading, &table)?,
        cidr: networks(reading, &table)?,
        ..KeyRecord::default()
    })
}

fn scopes(reading: &Reading<'_>, table: &Table<'_, '_>) -> Option<Scopes> {
    let Some(node) = table.get("scopes") else { return Some(Scopes::default()) };
    let names = table.texts("scopes");
    let scopes = Scopes::parse(names.iter().map(|(name, _)| *name));
    scopes.map_err(|why| reading.tell("TG0223", node.at, why)).ok()
}

/// A list that is empty would let the key in from everywhere, and whoever writes one means nowhere.
fn networks(reading: &Reading<'_>, table: &Table<'_, '_>) -> Option<Vec<Cidr>> {
    refuse_empty(reading, table, "cidr");
    let each = table.texts("cidr").into_iter();
    each.map(|(text, at)| Cidr::parse(text).map_err(|why| reading.tell("TG0223", at, why)).ok()).collect()
}

fn check_tenant(reading: &Reading<'_>, table: &Table<'_, '_>, tenant: &str, app: &str, tenants: &Tenants) {
    let at = |key: &str| table.get(key).map_or(table.at, |v| v.at);
    let Some(row) = tenants.tenants.get(tenant) else {
        let hint = nearest::hint(tenant, tenants.tenants.keys().map(|n| &**n));
        let message = format!("`tenants` lists no `{tenant}`{hint}");
        reading.tell("TG0217", at("tenant"), message);
        return;
    };
    if !app.is_empty() && !row.apps.is_empty() && !row.apps.iter().any(|a| **a == *app) {
        let hint = nearest::hint(app, row.apps.iter().map(|a| &**a));
        reading.tell("TG0217", at("app"), format!("tenant `{tenant}` has no app `{app}`{hint}"));
    }
}

fn hash(reading: &Reading<'_>, node: &Node, pepper: Option<&str>) -> Option<[u8; 32]> {
    let told = |code, (message, help): (String, &str)| reading.tell_help(code, node.at, message, help);
    match parts(reading.text(node, "`hash`")?) {
        Err(why) => {
            told("TG0215", why);
            None
        }
        Ok((id, bytes)) => match pepper.filter(|own| *own != id) {
            Some(own) => {
                told("TG0216", foreign(id, own));
                None
            }
            None => Some(bytes),
        },
    }
}

/// The bytes of `hmac-sha256:PEPPERID:HEX64`, where this pepper made them.
pub fn hash_of(text: &str, pepper: &str) -> Result<[u8; 32], String> {
    let one = |(message, help): (String, &str)| format!("{message}: {help}");
    match parts(text).map_err(one)? {
        (id, bytes) if id == pepper => Ok(bytes),
        (id, _) => Err(one(foreign(id, pepper))),
    }
}

/// The pepper's id and the bytes; or what is wrong and what helps. The text is not told: somebody may have put the key itself
/// here.
fn parts(text: &str) -> Result<(&str, [u8; 32]), (String, &'static str)> {
    let mut parts = text.split(':');
    let (kind, id, digits) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let bytes = hex::decode(digits).filter(|_| kind == HASH && !id.is_empty() && parts.next().is_none());
    let help = "take the row that `tollgate key new` prints; the key itself never stands in a repository";
    bytes
        .map(|bytes| (id, bytes))
        .ok_or_else(|| (format!("`hash` must read `{HASH}:PEPPERID:` and 64 hexadecimal digits"), help))
}

fn foreign(id: &str, own: &str) -> (String, &'static str) {
    (
        format!("hashed with the pepper `{id}`, but this gateway has `{own}`: the key can never match here"),
        "use the same pepper on all replicas, or make the key anew with `tollgate key new`",
    )
}

fn expires_ms(reading: &Reading<'_>, node: &Node) -> Option<i64> {
    let end = end_ms(reading.text(node, "`expires`")?);
    end.map_err(|why| reading.tell("TG0218", node.at, why)).ok()
}

/// A date holds to its end in UTC; a time is the time.
pub fn end_ms(text: &str) -> Result<i64, String> {
    let end = match text.len() {
        10 => text.parse::<Date>().ok().and_then(|date| {
            let next = date.checked_add(1.day()).ok()?;
            Some(next.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
        }),
        _ => text.parse::<Timestamp>().ok(),
    };
    let wrong = || format!("`{text}` is no date and no time: write 2027-03-31 or 2027-03-31T12:00:00Z");
    end.map(Timestamp::as_millisecond).ok_or_else(wrong)
}

fn read_grants(reading: &Reading<'_>, table: &Table<'_, '_>, catalog: &Catalog, tenants: &mut Tenants) {
    let rows = table.get("grants").map_or(&[][..], |v| reading.list(v, "`grants`"));
    for node in rows.iter().take(ROWS_MAX) {
        if let Some(grant) = grant(reading, node, catalog, tenants) {
            tenants.grants.push(grant);
        }
    }
    if let Some(node) = rows.get(ROWS_MAX) {
        reading.tell("TG0206", node.at, format!("at most {ROWS_MAX} grants"));
    }
}

/// What a grant's row may say.
const GRANT: [&str; 13] = [
    "for",
    "operations",
    "models",
    "families",
    "tiers",
    "providers",
    "regions",
    "tools",
    "modalities",
    "data_classes",
    "max_tokens",
    "max_cost_usd",
    "uninspected",
];

fn grant(reading: &Reading<'_>, node: &Node, catalog: &Catalog, tenants: &Tenants) -> Option<Grant> {
    let table = reading.table(node, "a grant", &GRANT)?;
    let whom = table.need("for", "whom the grant speaks of; `for: {}` is everybody")?;
    let whom = reading.table(whom, "`for`", &["tenant", "app", "use_case"])?;
    let globs = |table: &Table<'_, '_>, key: &str| {
        refuse_empty(reading, table, key);
        table.globs(key, "TG0207")
    };
    let grant = Grant {
        line: node.at.line,
        tenant: globs(&whom, "tenant"),
        app: globs(&whom, "app"),
        use_case: globs(&whom, "use_case"),
        operations: table.picks("operations", &Operation::ALL.map(|o| (o.name(), o))),
        models: globs(&table, "models"),
        families: globs(&table, "families"),
        tiers: globs(&table, "tiers"),
        providers: globs(&table, "providers"),
        regions: globs(&table, "regions"),
        uninspected: table.flag("uninspected").unwrap_or(false),
        tools: globs(&table, "tools"),
        modalities: table.picks("modalities", &Modality::ALL.map(|m| (m.name(), m))),
        data_classes: data_classes(&table),
        max_tokens: table
            .get("max_tokens")
            .and_then(|v| reading.whole(v, "`max_tokens`", 1, i64::MAX))
            .map(i64::cast_unsigned),
        max_cost_nanousd: max_cost(reading, &table),
    };
    ["operations", "modalities", "data_classes"].iter().for_each(|key| refuse_empty(reading, &table, key));
    warn_of_unknown(reading, &whom, "tenant", &grant.tenant, tenants.tenants.keys().map(|n| &**n));
    let targets = || catalog.targets().iter();
    warn_of_unknown(reading, &table, "families", &grant.families, targets().map(|t| &*t.family));
    warn_of_unknown(reading, &table, "tiers", &grant.tiers, targets().map(|t| &*t.tier));
    Some(grant)
}

/// `unstated` admits calls that say none.
fn data_classes(table: &Table<'_, '_>) -> Vec<Arc<str>> {
    let name = |class: DataClass| if class == DataClass::Unstated { "unstated" } else { class.name() };
    let all =
        [DataClass::Unstated, DataClass::Public, DataClass::Internal, DataClass::Confidential, DataClass::Restricted];
    table
        .picks("data_classes", &all.map(|class| (name(class), class)))
        .iter()
        .map(|class| class.name().into())
        .collect()
}

fn max_cost(reading: &Reading<'_>, table: &Table<'_, '_>) -> Option<i64> {
    let node = table.get("max_cost_usd")?;
    let text = reading.decimal(node, "`max_cost_usd`")?;
    nanousd_from_usd(&text).map_err(|why| reading.tell("TG0206", node.at, format!("`max_cost_usd`: {why}"))).ok()
}

/// An empty list would grant everything, and whoever writes one means nothing.
fn refuse_empty(reading: &Reading<'_>, table: &Table<'_, '_>, key: &str) {
    if let Some(node) = table.get(key)
        && matches!(&node.data, crate::yaml::Data::List(items) if items.is_empty())
    {
        let help = "take the key out to grant all; take the row out to grant nothing";
        reading.tell_help("TG0207", node.at, format!("`{key}` lists nothing"), help);
    }
}

/// A grant that names what nobody has is most often a typing mistake; it grants nothing.
fn warn_of_unknown<'a>(
    reading: &Reading<'_>,
    table: &Table<'_, '_>,
    key: &str,
    globs: &[Glob],
    known: impl Iterator<Item = &'a str> + Clone,
) {
    for exact in globs.iter().filter_map(Glob::exact) {
        if !known.clone().any(|name| name == exact) {
            let at: Place = table.texts(key).iter().find(|(text, _)| *text == exact).map_or(table.at, |(_, at)| *at);
            let hint = nearest::hint(exact, known.clone());
            reading.warn("TG0214", at, format!("`{key}`: nobody is called `{exact}`{hint}"));
        }
    }
}
