//! Catalog, tenants and limits: what they become, and what is said of wrong ones.

use crate::{OWN, assert_told, builtin, listed, loaded, manifest, marked, repository};
use std::sync::Arc;
use tollgate_core::contract::Operation;
use tollgate_core::limits::rules::{Per, Unit, Window};
use tollgate_policy_runtime::load::{Given, Loaded, load};

fn with_file(path: &str, text: &str) -> Loaded {
    loaded(&manifest(OWN), &[(path, text)])
}

#[test]
fn the_catalog_of_the_repository_lies_over_the_built_in_one() {
    let text = "as_of: 2026-11-20\nsource: contract\naliases: { small: mini, tiny: small }\nmodels:\n\
        \x20 - { provider: openai, model: mini, family: gpt, tier: standard, operations: chat, price: { input: 0.1, cached_input: \"0.05\", output: 1 } }\n\
        \x20 - { provider: eu, model: big, family: gpt, tier: high, region: eu, operations: [chat], features: [tools], context_tokens: 128000 }\n\
        \x20 - { provider: eu, model: big, family: gpt, tier: high, region: us, operations: [chat] }\n\
        \x20 - { provider: x, model: emb, family: e, tier: cheap, region: eu, operations: [embeddings], price: { input: \"0.02\" } }\n";
    let loaded = with_file("catalog/own.yaml", text);
    let revision = loaded.revision.unwrap_or_else(|| panic!("{}", listed(&loaded.findings)));
    let catalog = &revision.catalog;
    let ids: Vec<&str> = catalog.targets().iter().map(|t| &*t.id).collect();
    assert_eq!(ids, ["openai/mini", "eu/big@eu", "eu/big@us", "x/emb"], "a region is told where there are several");
    let mini = catalog.target("openai/mini").unwrap();
    assert_eq!(&*mini.tier, "standard", "the repository's row replaced the built-in one");
    let price = mini.price.as_ref().unwrap();
    let rates = &price.price.rates;
    assert_eq!((rates.input, rates.cached_input), (100_000_000, Some(50_000_000)));
    assert_eq!((&*price.as_of, &*price.source), ("2026-11-20", "contract"));
    assert_eq!(catalog.of_model("tiny").count(), 1, "aliases of aliases are resolved at load");
}

#[test]
fn a_price_has_kinds_of_tokens_and_rows_for_long_prompts() {
    let text = "as_of: 2026-11-20\nsource: contract\nmodels:\n\
        \x20 - provider: x\n    model: m\n    family: f\n    tier: high\n    operations: [chat]\n    price:\n\
        \x20     { input: '1', cached_input: '0.1', cache_write: '1.25', cache_write_1h: '2', input_audio: '3', output: '5', reasoning: '6', output_audio: '7',\n\
        \x20       above: [{ tokens: 200000, input: '2', output: '10' }, { tokens: 400000, input: '3', cache_write: '4', output: '11' }] }\n";
    let loaded = with_file("catalog/own.yaml", text);
    let revision = loaded.revision.unwrap_or_else(|| panic!("{}", listed(&loaded.findings)));
    let price = &revision.catalog.target("x/m").unwrap().price.as_ref().unwrap().price;
    const USD: i64 = 1_000_000_000;
    let rates = &price.rates;
    assert_eq!((rates.input, rates.output, rates.cached_input), (USD, 5 * USD, Some(USD / 10)));
    assert_eq!((rates.cache_write, rates.cache_write_1h), (Some(USD * 5 / 4), Some(2 * USD)));
    assert_eq!((rates.input_audio, rates.reasoning, rates.output_audio), (Some(3 * USD), Some(6 * USD), Some(7 * USD)));
    let above: Vec<_> = price.above.iter().map(|a| (a.tokens, a.rates.input, a.rates.cache_write)).collect();
    assert_eq!(above, [(200_000, 2 * USD, None), (400_000, 3 * USD, Some(4 * USD))]);
}

/// Each row: a file, its text with a mark where the finding points, code, words, why.
#[test]
fn wrong_tables_are_told_with_their_places() {
    for (file, text, code, words, why) in [
        (
            "catalog/a.yaml",
            "models:\n- { MODEL, price: §{ input: '1', output: '1' } }",
            "TG0211",
            "as_of",
            "a price without a date",
        ),
        (
            "catalog/a.yaml",
            "as_of: x\nsource: y\nmodels:\n- { MODEL, price: { input: §'1e3', output: '1' } }",
            "TG0211",
            "no price",
            "a price that is no decimal",
        ),
        (
            "catalog/a.yaml",
            "as_of: x\nsource: y\nmodels:\n- { MODEL, price: §{ input: '1' } }",
            "TG0204",
            "needs `output`",
            "chat has output",
        ),
        (
            "catalog/a.yaml",
            "as_of: x\nsource: y\nmodels:\n- { MODEL, price: { input: '1', output: '1', cache_write: §'1e3' } }",
            "TG0211",
            "`price.cache_write`",
            "a kind whose price is no decimal",
        ),
        (
            "catalog/a.yaml",
            "as_of: x\nsource: y\nmodels:\n- { MODEL, price: { input: '1', output: '1', above: [{ tokens: 9, input: '1', output: '1' }, §{ tokens: 9, input: '1', output: '1' }] } }",
            "TG0211",
            "`price.above`",
            "rows for long prompts out of order",
        ),
        (
            "catalog/a.yaml",
            "as_of: x\nsource: y\nmodels:\n- { MODEL, price: { input: '1', output: '1', above: [§{ input: '1', output: '1' }] } }",
            "TG0204",
            "needs `tokens`",
            "a row for long prompts that does not say for which",
        ),
        ("catalog/a.yaml", "models:\n- { MODEL }\n- §{ MODEL }", "TG0212", "there twice", "one row twice"),
        (
            "catalog/a.yaml",
            "models:\n- §{ provider: a, model: b, family: f, operations: [chat] }",
            "TG0204",
            "needs `tier`",
            "no tier",
        ),
        (
            "catalog/a.yaml",
            "models:\n- { provider: §a/b, model: b, family: f, tier: t, operations: [chat] }",
            "TG0206",
            "no `/`",
            "a slash in a provider",
        ),
        (
            "catalog/a.yaml",
            "models:\n- { MODEL, features: [§tool] }",
            "TG0206",
            "did you mean `tools`?",
            "no such feature",
        ),
        ("catalog/a.yaml", "aliases: { small: §minni }", "TG0213", "did you mean `mini`?", "an alias of nothing"),
        ("catalog/a.yaml", "aliases: { a: §b, b: a }", "TG0213", "circle", "an alias of itself"),
        ("catalog/a.yaml", "aliases: a§: b", "TG0202", "mapping values", "no YAML"),
        (
            "tenants.yaml",
            "TENANTS\nkeys: [{ id: k, hash: 'HASH', tenant: §acmee }]",
            "TG0217",
            "did you mean `acme`?",
            "a key of no tenant",
        ),
        ("tenants.yaml", "TENANTS\nkeys: [{ KEY, app: §dekk }]", "TG0217", "did you mean `desk`?", "a key of no app"),
        (
            "tenants.yaml",
            "TENANTS\nkeys: [{ id: k, hash: §sk-12345, tenant: acme }]",
            "TG0215",
            "`hmac-sha256:PEPPERID:`",
            "a key where its hash should be",
        ),
        ("tenants.yaml", "TENANTS\nkeys:\n- { KEY }\n- §{ KEY }", "TG0212", "first in line 3", "one key twice"),
        ("tenants.yaml", "TENANTS\nkeys: [{ KEY, expires: §soon }]", "TG0218", "2027-03-31", "no date"),
        (
            "tenants.yaml",
            "TENANTS\nkeys: [{ KEY, scopes: §[embedings] }]",
            "TG0223",
            "did you mean `embeddings`?",
            "no scope",
        ),
        (
            "tenants.yaml",
            "TENANTS\nkeys: [{ KEY, cidr: [§10.0.0.1/8] }]",
            "TG0223",
            "write `10.0.0.0/8`",
            "bits behind",
        ),
        (
            "tenants.yaml",
            "TENANTS\nkeys: [{ KEY, cidr: §[] }]",
            "TG0207",
            "lists nothing",
            "from nowhere or from everywhere",
        ),
        (
            "tenants.yaml",
            "TENANTS\ngrants: [{ for: {}, modalities: §[] }]",
            "TG0207",
            "lists nothing",
            "nothing or everything",
        ),
        ("tenants.yaml", "TENANTS\ngrants: [{ for: {}, modalities: [§pictures] }]", "TG0206", "one of", "no modality"),
        (
            "tenants.yaml",
            "TENANTS\ngrants: [{ for: {}, data_classes: [§secret] }]",
            "TG0206",
            "unknown value",
            "no class",
        ),
        ("tenants.yaml", "TENANTS\ngrants: [{ for: {}, max_tokens: §0 }]", "TG0206", "from 1", "no tokens at all"),
        ("tenants.yaml", "TENANTS\ngrants: [{ for: {}, max_cost_usd: §x }]", "TG0206", "max_cost_usd", "no money"),
        ("tenants.yaml", "TENANTS\nkeys: [{ KEY, version: §2020-01-01 }]", "TG0206", "2026-12-01", "no such contract"),
        (
            "tenants.yaml",
            "TENANTS\ngrants: [§{ models: [mini] }]",
            "TG0204",
            "`for: {}` is everybody",
            "a grant to nobody",
        ),
        (
            "tenants.yaml",
            "TENANTS\ngrants: [{ for: {}, models: §[] }]",
            "TG0207",
            "grant nothing",
            "an empty list would grant all",
        ),
        (
            "tenants.yaml",
            "TENANTS\ngrants: [{ for: { tenant: §acne } }]",
            "TG0214",
            "did you mean `acme`?",
            "a grant to nobody known",
        ),
        (
            "tenants.yaml",
            "TENANTS\ngrants: [{ for: {}, tiers: [§cheep] }]",
            "TG0214",
            "did you mean `cheap`?",
            "a tier of no model",
        ),
        (
            "tenants.yaml",
            "TENANTS\ngrants: [{ for: {}, operations: [§chats] }]",
            "TG0206",
            "did you mean `chat`?",
            "no such operation",
        ),
        (
            "limits.yaml",
            "budgets: { m: { per: [tenant], limit_usd: '1', limit_tokens: §5, period: month } }",
            "TG0219",
            "exactly one of",
            "two units",
        ),
        (
            "limits.yaml",
            "budgets: { m: { per: [tenant], limit_usd: §0, period: month } }",
            "TG0219",
            "above 0",
            "nothing at all",
        ),
        (
            "limits.yaml",
            "budgets: { m: { per: [§tennant], limit_usd: 1, period: month } }",
            "TG0206",
            "did you mean `tenant`?",
            "nothing to count by",
        ),
        (
            "limits.yaml",
            "budgets: { m: { per: [], limit_usd: 1, period: §year } }",
            "TG0206",
            "one of hour, day, week, month",
            "no such period",
        ),
        (
            "limits.yaml",
            "budgets: { m: { per: [], limit_usd: 1, period: day, zone: §Berlin } }",
            "TG0220",
            "Europe/Berlin",
            "no such zone",
        ),
        ("limits.yaml", "rates: { r: §{ per: [], requests: 5 } }", "TG0204", "needs `every`", "no span"),
        (
            "limits.yaml",
            "rates: { r: { per: [], requests: 5, every: §60 } }",
            "TG0205",
            "put it in quotes",
            "a span without unit",
        ),
        (
            "limits.yaml",
            "rates: { r: { per: [], requests: 5, every: §1w } }",
            "TG0221",
            "ms, s, m, h or d",
            "no such unit",
        ),
        (
            "limits.yaml",
            "rates: { r: { per: [], in_flight: 5, every: §1s } }",
            "TG0221",
            "take `every` out",
            "calls in flight have no span",
        ),
        (
            "limits.yaml",
            "budgets: { a: { per: [], limit_usd: 1, period: day } }\nrates: { §a: { per: [], requests: 1, every: 1s } }",
            "TG0212",
            "share their names",
            "one name twice",
        ),
        (
            "limits.yaml",
            "rates: { §'a b': { per: [], requests: 1, every: 1s } }",
            "TG0219",
            "no name of a rule",
            "a name with a space",
        ),
    ] {
        let hash = format!("hmac-sha256:pep:{}", "0".repeat(64));
        let text = text.replace("MODEL", "provider: a, model: b, family: f, tier: t, operations: [chat]");
        let text = text.replace("TENANTS", "tenants: { acme: { region: eu, apps: [desk] } }");
        let text = text.replace("KEY", "id: k, hash: 'HASH', tenant: acme").replace("HASH", &hash);
        let (text, at) = marked(&text);
        let loaded = with_file(file, &text);
        let only_warned = code == "TG0214";
        assert_eq!(loaded.revision.is_some(), only_warned, "{why}");
        assert_told(&loaded.findings, code, at, words, why);
    }
}

#[test]
fn a_hash_under_another_pepper_is_refused_before_a_call_fails_by_it() {
    let text = format!(
        "tenants: {{ acme: }}\nkeys: [{{ id: k, hash: \"hmac-sha256:pep:{}\", tenant: acme, expires: 2027-03-31 }}]\n",
        "ab".repeat(32)
    );
    let tree = repository(&manifest(OWN), &[("tenants.yaml", &text)]);
    let given = |pepper: &str| Given { pepper: Some(Arc::from(pepper)), ..Given::default() };
    let refused = load(&tree, &builtin(), &given("other"));
    assert_told(&refused.findings, "TG0216", (2, 23), "pepper `pep`, but this gateway has `other`", "a foreign pepper");
    let loaded = load(&tree, &builtin(), &given("pep"));
    let revision = loaded.revision.unwrap_or_else(|| panic!("{}", listed(&loaded.findings)));
    let key = &revision.tenants.keys["k"];
    assert_eq!(key.hash, [0xab; 32]);
    assert_eq!(key.expires_ms, Some(1_806_537_600_000), "the end of the day: 2027-04-01T00:00:00Z");
}

#[test]
fn tenants_grants_and_limits_become_the_core_s_own() {
    let tenants = "tenants: { acme: { region: eu, apps: desk }, umbrella: }\ngrants:\n  - { for: { tenant: acme }, operations: chat, tiers: [cheap] }\n";
    let limits = "budgets:\n  tenant-month: { per: tenant, for: { app: 'd*' }, limit_usd: \"100\", period: month, zone: Europe/Berlin }\nrates:\n  busy: { per: [key, tenant], in_flight: 4 }\n  a-rate: { per: [], requests: 600, every: 1m }\n";
    let loaded = loaded(&manifest(OWN), &[("tenants.yaml", tenants), ("limits.yaml", limits)]);
    let revision = loaded.revision.unwrap_or_else(|| panic!("{}", listed(&loaded.findings)));
    let mini = revision.catalog.target("openai/mini").unwrap();
    assert!(revision.tenants.present);
    assert!(revision.tenants.grants("acme", "desk", "", Operation::Chat, mini));
    assert!(!revision.tenants.grants("umbrella", "", "", Operation::Chat, mini), "no row is nothing");
    let names: Vec<&str> = revision.limits.rules.iter().map(|r| &*r.name).collect();
    assert_eq!(names, ["a-rate", "busy", "tenant-month"]);
    let [rate, busy, month] = &revision.limits.rules[..] else { panic!() };
    assert_eq!((rate.unit, rate.limit, &rate.window), (Unit::Requests, 600, &Window::Rolling { per_ms: 60_000 }));
    assert_eq!((busy.unit, &busy.window, &busy.per[..]), (Unit::InFlight, &Window::None, &[Per::Tenant, Per::Key][..]));
    assert_eq!((month.unit, month.limit), (Unit::Nanousd, 100_000_000_000));
    assert!(loaded_without_tenants(), "without the file: zero-config");
}

fn loaded_without_tenants() -> bool {
    loaded(&manifest(OWN), &[]).revision.is_some_and(|r| !r.tenants.present)
}
