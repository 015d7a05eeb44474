//! Who a token or a certificate speaks of: the config's expressions, over what it says.

use std::sync::Arc;

use serde_json::Value;
use tollgate_policy_runtime::expr::Claims;

/// The expressions of one issuer of tokens, or of certificates.
pub struct Says {
    tenant: Claims,
    app: Option<Claims>,
    user: Option<Claims>,
    groups: Option<Claims>,
}

/// The same as the config has them.
pub struct Texts<'a> {
    /// What the expressions call what they read.
    pub over: &'static str,
    pub tenant: &'a str,
    pub app: Option<&'a str>,
    pub user: Option<&'a str>,
    pub groups: Option<&'a str>,
}

/// Whom it speaks of. Empty = it does not say.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    pub tenant: Arc<str>,
    pub app: Arc<str>,
    pub user: Arc<str>,
    pub groups: Vec<Arc<str>>,
}

impl Says {
    pub fn compile(texts: &Texts<'_>) -> Result<Says, String> {
        let of = |what: &str, text: &str| Claims::over(texts.over, text).map_err(|why| format!("{what}: {why}"));
        let maybe = |what: &str, text: Option<&str>| text.map(|text| of(what, text)).transpose();
        Ok(Says {
            tenant: of("tenant", texts.tenant)?,
            app: maybe("app", texts.app)?,
            user: maybe("user", texts.user)?,
            groups: maybe("groups", texts.groups)?,
        })
    }

    pub fn read(&self, table: &Value) -> Result<Said, String> {
        let one = |expression: &Option<Claims>| expression.as_ref().map_or(Ok("".into()), |e| single(e, table));
        Ok(Said {
            tenant: single(&self.tenant, table)?,
            app: one(&self.app)?,
            user: one(&self.user)?,
            groups: self.groups.as_ref().map(|groups| groups.names(table)).transpose()?.unwrap_or_default(),
        })
    }
}

fn single(expression: &Claims, table: &Value) -> Result<Arc<str>, String> {
    let mut names = expression.names(table)?;
    match names.len() {
        0 => Ok("".into()),
        1 => Ok(names.remove(0)),
        several => Err(format!("its expression gives {several} names where one is wanted")),
    }
}
