//! What goes in and comes out at the operators' side, as JSON schemas.

use serde_json::{Map, Value, json};

/// All, by name.
pub(super) fn all() -> Map<String, Value> {
    let parts = [policies(), keys(), amendments(), balances()];
    let mut all: Map<String, Value> =
        parts.into_iter().flatten().map(|(name, schema)| (name.to_owned(), schema)).collect();
    let anything = |told: &str| json!({ "description": told });
    let doctor = [
        ("version", text("")),
        ("started_ms", ms()),
        ("now_ms", ms()),
        ("state", text("The state folder.")),
        (
            "secrets",
            list(anything(
                "A secret of a provider: where it is from, its id, when it was read and used. Never the secret.",
            )),
        ),
        ("alerts", anything("Where alerts go, and how many wait; null = nowhere.")),
        ("balances_wrong", anything("What is wrong with balances in memory; null = nothing.")),
        ("receipts_waiting", whole("Receipts that are not written yet.")),
        ("files", anything("File descriptors: `open`, and `max`.")),
    ];
    all.insert("doctor".to_owned(), open(&doctor, &["version", "started_ms", "now_ms", "secrets"]));
    all.insert(
        "failed".to_owned(),
        open(&[("error", text("What was wrong, and what to do.")), ("code", text("For programs."))], &["error"]),
    );
    all
}

pub(super) fn in_path(name: &str) -> &'static str {
    match name {
        "rule" => "A name of limits.yaml.",
        "scope" => {
            "`tenant=acme,app=desk`: what the rule counts by, in its order; `all` where it counts by nothing; or the `key` of a balance. Percent-encoded."
        }
        _ => "As it was told when it was made.",
    }
}

pub(super) fn in_query(name: &str) -> (&'static str, Value) {
    match name {
        "dry_run" => ("Check, tell what would be, and change nothing.", json!({ "type": "boolean" })),
        "limit" => ("So many at once.", json!({ "type": "integer", "minimum": 1, "maximum": 1000 })),
        "after" => ("The `next` of the page before.", json!({ "type": "string" })),
        "tenant" => ("Only those of this tenant.", json!({ "type": "string" })),
        "rule" => ("Only those of this rule.", json!({ "type": "string" })),
        "scope" => ("Only this scope, or those with this one `name=value`.", json!({ "type": "string" })),
        _ => ("A commit or a branch.", json!({ "type": "string" })),
    }
}

type Named = Vec<(&'static str, Value)>;

fn of(kind: &str, told: &str) -> Value {
    match told {
        "" => json!({ "type": kind }),
        _ => json!({ "type": kind, "description": told }),
    }
}

fn text(told: &str) -> Value {
    of("string", told)
}

fn whole(told: &str) -> Value {
    of("integer", told)
}

fn truth(told: &str) -> Value {
    of("boolean", told)
}

fn ms() -> Value {
    whole("Milliseconds since 1970.")
}

fn ms_or_null() -> Value {
    json!({ "type": ["integer", "null"], "description": "Milliseconds since 1970." })
}

fn list(of: Value) -> Value {
    json!({ "type": "array", "items": of })
}

fn to(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// An object that may have more members than these.
fn open(members: &[(&str, Value)], required: &[&str]) -> Value {
    let members: Map<String, Value> =
        members.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "properties": members, "required": required })
}

/// An object with these members and no other: bodies are read so.
fn exact(members: &[(&str, Value)], required: &[&str]) -> Value {
    let mut schema = open(members, required);
    schema["additionalProperties"] = false.into();
    schema
}

fn policies() -> Named {
    let revision = || text("A commit or a branch.");
    let canary = exact(
        &[
            ("percent", json!({ "type": "number", "minimum": 0, "maximum": 100 })),
            ("to_percent", json!({ "type": ["number", "null"], "minimum": 0, "maximum": 100 })),
            ("over_s", whole("Grow to `to_percent` within so many seconds.")),
            (
                "by",
                json!({ "type": ["string", "null"], "description": "What deals the callers: user, tenant, app, key, session, call, sticky." }),
            ),
            ("guard", text("For example `errors<2%, cost<+10%`.")),
        ],
        &["percent"],
    );
    let canary = json!({ "anyOf": [canary, { "type": "null" }] });
    let route = open(
        &[("method", text("")), ("path", text("")), ("needs", text("A scope, `nothing`, or `its own`."))],
        &["method", "path", "needs"],
    );
    vec![
        ("index", open(&[("routes", list(route))], &["routes"])),
        (
            "ready",
            open(
                &[("status", text("")), ("policies", to("status")), ("providers", list(json!({ "type": "string" })))],
                &["status"],
            ),
        ),
        (
            "status",
            open(
                &[("active", text("The revision that decides.")), ("source", text("")), ("since_ms", ms())],
                &["active"],
            ),
        ),
        ("report", open(&[("role", text("rehearsal or canary")), ("revision", text(""))], &[])),
        ("diff", open(&[("from", text("")), ("to", text(""))], &["from", "to"])),
        ("hint", open(&[("hint", text(""))], &["hint"])),
        ("revision", exact(&[("revision", revision())], &["revision"])),
        ("second", exact(&[("revision", revision()), ("canary", canary)], &["revision"])),
        (
            "lower",
            exact(
                &[
                    ("policy", text("As `policies` of the status names it.")),
                    ("to", json!({ "enum": ["observe", "warn", "off"] })),
                    ("for_s", whole("Seconds.")),
                    ("reason", text("It stands in every receipt until then.")),
                ],
                &["policy", "to", "for_s", "reason"],
            ),
        ),
        ("restore", exact(&[("policy", text(""))], &["policy"])),
    ]
}

fn keys() -> Named {
    let names = || list(json!({ "type": "string" }));
    let key = open(
        &[
            ("id", text("")),
            ("tenant", text("")),
            ("app", text("")),
            ("user", text("")),
            ("owner", text("")),
            ("groups", names()),
            ("scopes", names()),
            ("cidr", names()),
            ("may_assert", truth("")),
            ("state", json!({ "enum": ["good", "rotating", "expired", "revoked"] })),
            ("source", json!({ "enum": ["tenants.yaml", "run-time"] })),
            ("made_ms", ms_or_null()),
            ("expires_ms", ms_or_null()),
            ("revoked_ms", ms_or_null()),
            ("before_until_ms", ms_or_null()),
            ("etag", text("")),
        ],
        &["id", "tenant", "state", "source", "etag"],
    );
    let shown = json!({ "type": ["string", "null"], "description": "The key, shown once; null in a dry run." });
    let wanted = exact(
        &[
            ("tenant", text("Whose key it is.")),
            ("app", text("Absent = the caller may say it.")),
            ("user", text("Absent = the caller may say it.")),
            ("owner", text("Whom to ask about it.")),
            ("groups", names()),
            (
                "scopes",
                json!({ "type": ["array", "null"], "items": { "type": "string" }, "description": "Absent = calls of all operations." }),
            ),
            ("cidr", names()),
            ("expires", json!({ "type": ["string", "null"], "description": "A date (to its end, UTC) or a time." })),
            ("may_assert", truth("It may name a tenant and an app itself.")),
        ],
        &["tenant"],
    );
    let next = json!({ "type": ["string", "null"], "description": "`after` of the next page." });
    let revoked = open(&[("record", to("key")), ("dry_run", truth(""))], &["record"]);
    vec![
        ("key", key),
        ("keys", open(&[("keys", list(to("key"))), ("next", next)], &["keys", "next"])),
        ("new_key", wanted),
        ("made_key", open(&[("record", to("key")), ("key", shown), ("dry_run", truth(""))], &["record", "key"])),
        ("rotate", exact(&[("overlap_s", whole("So long the secret before is taken."))], &[])),
        ("revoked_key", revoked),
    ]
}

fn unit() -> Value {
    json!({ "enum": ["nanousd", "tokens", "requests", "in_flight"], "description": "A dollar is 1,000,000,000 nanousd." })
}

fn amendments() -> Named {
    let amendment = open(
        &[
            ("id", text("")),
            ("kind", json!({ "enum": ["grant", "override"] })),
            ("rule", text("")),
            ("scope", text("`*` = every scope.")),
            ("unit", unit()),
            ("amount", whole("Of a grant what is added, of an override the limit.")),
            ("state", json!({ "enum": ["in_force", "ended", "revoked"] })),
            ("made_ms", ms()),
            ("until_ms", ms()),
            ("revoked_ms", ms_or_null()),
            ("by", text("`operator-token`, or `key ID`.")),
            ("reason", text("")),
        ],
        &[
            "id",
            "kind",
            "rule",
            "scope",
            "unit",
            "amount",
            "state",
            "made_ms",
            "until_ms",
            "revoked_ms",
            "by",
            "reason",
        ],
    );
    let balance = json!({ "anyOf": [to("balance"), { "type": "null" }] });
    vec![
        ("amendment", amendment),
        ("new_amendment", new_amendment()),
        ("grants", open(&[("grants", list(to("amendment")))], &["grants"])),
        ("overrides", open(&[("overrides", list(to("amendment")))], &["overrides"])),
        (
            "amended",
            open(
                &[("record", to("amendment")), ("balance", balance), ("dry_run", truth(""))],
                &["record", "balance", "dry_run"],
            ),
        ),
    ]
}

fn new_amendment() -> Value {
    let maybe = |kind: &str, told: &str| json!({ "type": [kind, "null"], "description": told });
    exact(
        &[
            ("usd", maybe("string", "Dollars, exact: `50`, `-0.25`. Of the amounts one, in what the rule counts.")),
            ("tokens", maybe("integer", "May be below 0 in a grant that is `negative`.")),
            ("requests", maybe("integer", "Of an override.")),
            ("in_flight", maybe("integer", "Of an override.")),
            (
                "until",
                json!({ "type": "string", "description": "A date (to its end, UTC), a time, or `period`: the end of the present one." }),
            ),
            ("reason", json!({ "type": "string", "maxLength": 500, "description": "It stands in the trail." })),
            ("id", maybe("string", "The same id a second time does nothing. Absent = one is made.")),
            ("negative", truth("The grant takes away: its amount is below 0.")),
        ],
        &["until", "reason"],
    )
}

fn balances() -> Named {
    let balance = open(
        &[
            ("rule", text("")),
            ("scope", text("As people write it.")),
            ("key", text("As the ledger has it.")),
            ("kind", json!({ "enum": ["budget", "rate"] })),
            ("unit", unit()),
            ("limit", whole("Of now: with grants and overrides.")),
            ("limit_of_rule", whole("What limits.yaml says.")),
            ("used", whole("Settled.")),
            ("held", whole("By calls under way.")),
            ("remaining", whole("")),
            ("ratio", json!({ "type": "number", "description": "Used and held of the limit; to a thousandth." })),
            ("period_from_ms", ms_or_null()),
            ("period_to_ms", ms_or_null()),
            ("resets_at_ms", ms_or_null()),
            ("grants", list(to("amendment"))),
            ("overrides", list(to("amendment"))),
            ("etag", text("Of limit, grants and overrides; not of what is used.")),
        ],
        &[
            "rule",
            "scope",
            "key",
            "kind",
            "unit",
            "limit",
            "limit_of_rule",
            "used",
            "held",
            "remaining",
            "ratio",
            "period_from_ms",
            "period_to_ms",
            "resets_at_ms",
            "grants",
            "overrides",
            "etag",
        ],
    );
    let next = json!({ "type": ["string", "null"], "description": "`after` of the next page." });
    vec![
        ("balance", balance),
        ("budgets", open(&[("budgets", list(to("balance"))), ("next", next)], &["budgets", "next"])),
    ]
}
