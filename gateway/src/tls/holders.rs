//! Whom client certificates speak of: `identity.certificates` of the config, over their names.

use serde_json::Value;
use tollgate_core::identity::certificate::Certified;
use tollgate_core::identity::key::Pepper;
use tollgate_core::identity::scopes::Scopes;
use tollgate_policy_runtime::expr::Claims;

use super::names::Names;
use crate::config::identity::{CertificateScopes, Certificates};
use crate::says::{Said, Says, Texts};

pub struct Holders {
    says: Says,
    scopes: ScopesOf,
}

enum ScopesOf {
    All(Scopes),
    Expression(Claims),
}

impl Holders {
    pub fn compile(config: &Certificates) -> Result<Holders, String> {
        let says = Says::compile(&Texts {
            over: "cert",
            tenant: &config.tenant,
            app: config.app.as_deref(),
            user: config.user.as_deref(),
            groups: config.groups.as_deref(),
        });
        let scopes = match &config.scopes {
            CertificateScopes::All(scopes) => Ok(ScopesOf::All(*scopes)),
            CertificateScopes::Expression(text) => {
                Claims::over("cert", text).map(ScopesOf::Expression).map_err(|why| format!("scopes: {why}"))
            }
        };
        let of = |why: String| format!("identity.certificates.{why}");
        Ok(Holders { says: says.map_err(of)?, scopes: scopes.map_err(of)? })
    }

    /// The error says why not, without a name of the certificate.
    pub(super) fn read(&self, names: Names, pepper: &Pepper) -> Result<Certified, String> {
        let Said { tenant, app, user, groups } = self.says.read(&names.table)?;
        Ok(Certified {
            // Names of people do not stand in receipts, and the same holder has the same key with the next certificate.
            key: format!("cert:{}", pepper.pseudonym("certificate", &names.holder)).into(),
            id: names.id.into(),
            scopes: self.scopes(&names.table)?,
            tenant,
            app,
            user,
            groups,
            until_ms: names.until_ms,
        })
    }

    fn scopes(&self, table: &Value) -> Result<Scopes, String> {
        match &self.scopes {
            ScopesOf::All(scopes) => Ok(*scopes),
            ScopesOf::Expression(expression) => {
                let names = expression.names(table)?;
                match names.is_empty() {
                    true => Ok(Scopes::NONE),
                    false => Scopes::parse(names.iter().map(|name| &**name)),
                }
            }
        }
    }
}
