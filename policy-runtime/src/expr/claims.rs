//! CEL over the claims of a token or the names of a certificate: who it speaks of, as the config says it. It names
//! `claims`, or `cert`, and nothing else.
//!
//! The expression is the operator's own and the claims are signed; both are bounded all the same.

use std::sync::Arc;

use cel::{Context, IdedExpr, Value};
use serde_json::Value as Json;

use super::slots::ENV;
use super::{Origin, guard};

/// Loops over claims in one expression.
const LOOPS_MAX: usize = 1;
/// Names that one expression gives.
const NAMES_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 256;

/// A compiled expression over one table.
pub struct Claims {
    text: Arc<str>,
    root: IdedExpr,
    /// What it calls the table.
    over: &'static str,
}

impl Claims {
    /// Over `claims`.
    pub fn compile(text: &str) -> Result<Claims, String> {
        Claims::over("claims", text)
    }

    pub fn over(table: &'static str, text: &str) -> Result<Claims, String> {
        let origin = Origin { shown: "tollgate.yaml", line: 1, column: 1 };
        let parsed = guard::parse(text, origin).map_err(|found| {
            found.first().map_or_else(|| "it is no expression".to_owned(), |finding| finding.message.clone())
        })?;
        let loops = [".map(", ".filter(", ".all(", ".exists(", ".exists_one("];
        if loops.iter().map(|word| text.matches(word).count()).sum::<usize>() > LOOPS_MAX {
            return Err(format!("`{text}` has more than {LOOPS_MAX} loop"));
        }
        Ok(Claims { text: text.into(), root: parsed.root, over: table })
    }

    /// One name, or several; null is none. The error says what came instead, and no claim.
    pub fn names(&self, claims: &Json) -> Result<Vec<Arc<str>>, String> {
        let value = cel::to_value(claims).map_err(|_| "the claims cannot be read".to_owned())?;
        let mut context = Context::with_env(ENV.clone());
        context.add_variable_from_value(self.over, value);
        let came = Value::resolve(&self.root, &context)
            .map_err(|_| format!("`{}` does not apply to its `{}`", self.text, self.over))?;
        let wrong = || format!("`{}` gives neither a text nor a list of texts", self.text);
        let name = |value: &Value| match value {
            Value::String(text) => check(text),
            Value::Int(n) => check(&n.to_string()),
            Value::UInt(n) => check(&n.to_string()),
            _ => Err(wrong()),
        };
        match &came {
            Value::Null => Ok(Vec::new()),
            Value::List(list) if list.len() > NAMES_MAX => {
                Err(format!("`{}` gives more than {NAMES_MAX} names", self.text))
            }
            Value::List(list) => list.iter().map(name).collect(),
            one => Ok(vec![name(one)?]),
        }
    }
}

fn check(text: &str) -> Result<Arc<str>, String> {
    match text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        true => {
            Err(format!("a name that it gives is longer than {NAME_BYTES_MAX} bytes, or has what cannot be printed"))
        }
        false => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_become_names_or_a_reason_why_not() {
        let claims = serde_json::json!({
            "sub": "ann", "org": { "id": 7 }, "roles": ["dev", "ops"], "email": "ann@acme.example", "none": null
        });
        for (text, came) in [
            ("claims.sub", Ok(vec!["ann"])),
            ("claims.org.id", Ok(vec!["7"])),
            ("claims.roles", Ok(vec!["dev", "ops"])),
            ("claims.roles.filter(r, r != 'ops')", Ok(vec!["dev"])),
            ("claims.email.endsWith('@acme.example') ? 'acme' : 'strangers'", Ok(vec!["acme"])),
            ("claims.none", Ok(vec![])),
            ("has(claims.team) ? claims.team : null", Ok(vec![])),
            ("claims.org", Err("neither a text")),
            ("claims.tenant", Err("does not apply")),
            ("tenant", Err("does not apply")),
            ("cert.dns", Err("does not apply")),
        ] {
            let got = Claims::compile(text).unwrap().names(&claims);
            let got = got.as_ref().map(|names| names.iter().map(|name| &**name).collect::<Vec<_>>());
            match (got, came) {
                (Ok(got), Ok(came)) => assert_eq!(got, came, "{text}"),
                (Err(why), Err(told)) => assert!(why.contains(told) && !why.contains("ann@"), "{text}: {why}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
        assert_eq!(Claims::over("cert", "cert.sub").unwrap().names(&claims).unwrap(), ["ann".into()]);
        for text in ["claims.", "claims.a.map(x, claims.b.map(y, y))", ""] {
            assert!(Claims::compile(text).is_err(), "{text}");
        }
        let long = serde_json::json!({ "sub": "x".repeat(257) });
        assert!(Claims::compile("claims.sub").unwrap().names(&long).is_err());
    }
}
