//! The world of guests as WIT text. Its part about facts is made from the one list of facts; a test tells when it drifts.

use std::fmt::Write;

use tollgate_core::policy::schema::{FIELDS, Group, Kind, LIMIT_FIELDS};

/// The WIT of the package `tollgate:policy`, as guests are built with it.
pub const WORLD: &str = include_str!("../wit/policy.wit");

/// The instances that guests import.
pub const FACTS: &str = "tollgate:policy/facts@1.0.0";
pub const EFFECTS: &str = "tollgate:policy/effects@1.0.0";

/// The name of a fact's accessor: `caller-tenant-source`.
pub fn accessor(group: Group, name: &str) -> String {
    format!("{}-{}", group.name(), name.replace('_', "-"))
}

/// The accessors of the resource `facts`, one for each fact: a new fact is a new function, so older guests still fit.
pub fn accessors() -> String {
    let mut out = String::new();
    for field in FIELDS {
        let name = accessor(field.group, field.name);
        write!(out, "    /// {}\n    {name}: func() -> {};\n", field.about, type_of(field.kind))
            .expect("writing to a text cannot fail");
    }
    for group in [Group::Budget, Group::Rate] {
        for field in LIMIT_FIELDS {
            let name = accessor(group, field.name);
            let (told, kind) = (field.about, type_of(field.kind));
            write!(out, "    /// {told}\n    {name}: func(rule: string) -> {kind};\n")
                .expect("writing to a text cannot fail");
        }
    }
    out
}

fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "string",
        Kind::Int => "s64",
        Kind::Float => "f64",
        Kind::Bool => "bool",
        Kind::TextList => "list<string>",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `TOLLGATE_WRITE_WIT=1 cargo test -p tollgate-policy-wasm the_world` writes the file anew.
    #[test]
    fn the_world_says_what_the_schema_says() {
        let (begin, end) =
            ("// made from core/src/policy/schema.rs: begin\n", "// made from core/src/policy/schema.rs: end\n");
        let (before, rest) = WORLD.split_once(begin).unwrap();
        let (_, after) = rest.split_once(end).unwrap();
        let right = format!("{before}{begin}{}{end}{after}", accessors());
        if std::env::var_os("TOLLGATE_WRITE_WIT").is_some() {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("wit/policy.wit");
            std::fs::write(path, &right).unwrap();
        }
        assert_eq!(WORLD, right, "wit/policy.wit is not what the schema says: write it anew (see above)");
    }
}
