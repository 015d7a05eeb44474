//! `for`: whom a policy speaks of, by globs over names. The cheap first filter; `when` and the program come after.

use tollgate_core::contract::glob::Glob;
use tollgate_core::policy::facts::Facts;

use crate::reading::{Reading, Table};
use crate::yaml::Node;

/// The keys of `for`.
pub const KEYS: [&str; 6] = ["tenant", "app", "use_case", "user", "operation", "dialect"];

/// The same as `explain` tells them.
pub const PATHS: [&str; 6] = ["for.tenant", "for.app", "for.use_case", "for.user", "for.operation", "for.dialect"];

/// Globs by name of the caller or the call. An empty list admits all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scope {
    pub tenant: Vec<Glob>,
    pub app: Vec<Glob>,
    pub use_case: Vec<Glob>,
    pub user: Vec<Glob>,
    pub operation: Vec<Glob>,
    pub dialect: Vec<Glob>,
}

impl Scope {
    pub fn read(reading: &Reading<'_>, node: &Node) -> Scope {
        let Some(table) = reading.table(node, "`for`", &KEYS) else { return Scope::default() };
        let globs = |key: &str| globs_unless_empty(reading, &table, key);
        Scope {
            tenant: globs("tenant"),
            app: globs("app"),
            use_case: globs("use_case"),
            user: globs("user"),
            operation: globs("operation"),
            dialect: globs("dialect"),
        }
    }

    /// The key that does not match this call, if any: what `explain` tells as the reason.
    pub fn mismatch(&self, facts: &Facts) -> Option<&'static str> {
        let caller = &facts.caller;
        match () {
            () if !Glob::any(&self.tenant, &caller.tenant) => Some("for.tenant"),
            () if !Glob::any(&self.app, &caller.app) => Some("for.app"),
            () if !Glob::any(&self.use_case, &facts.meta.use_case) => Some("for.use_case"),
            () if !Glob::any(&self.user, &caller.user) => Some("for.user"),
            () if !Glob::any(&self.operation, facts.call.operation.name()) => Some("for.operation"),
            () if !Glob::any(&self.dialect, facts.call.dialect.name()) => Some("for.dialect"),
            () => None,
        }
    }

    /// The tenants by name, where every glob of `for.tenant` is a plain name; `None` = it must be tried.
    pub fn exact_tenants(&self) -> Option<Vec<&str>> {
        if self.tenant.is_empty() {
            return None;
        }
        self.tenant.iter().map(Glob::exact).collect()
    }
}

/// An empty list would admit all, and whoever writes one means none.
fn globs_unless_empty(reading: &Reading<'_>, table: &Table<'_, '_>, key: &str) -> Vec<Glob> {
    let globs = table.globs(key, "TG0111");
    if let Some(node) = table.get(key)
        && matches!(&node.data, crate::yaml::Data::List(items) if items.is_empty())
    {
        reading.tell_help(
            "TG0111",
            node.at,
            format!("`for.{key}` lists nobody"),
            "take the key out to speak of all; set `mode: off` to speak of none",
        );
    }
    globs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::MANIFEST;

    #[test]
    fn the_first_key_that_does_not_match_is_told() {
        let reading = Reading::of("x", MANIFEST);
        let node = reading.parse(b"{tenant: [acme, 'umb*'], use_case: sales-*, operation: chat}").unwrap();
        let scope = Scope::read(&reading, &node);
        assert!(reading.findings().is_empty());
        for (tenant, use_case, told, why) in [
            ("acme", "sales-eu", None, "all match"),
            ("umbrella", "sales-", None, "a glob"),
            ("other", "x", Some("for.tenant"), "the tenant is asked first"),
            ("acme", "support", Some("for.use_case"), "another use case"),
            ("acme", "", Some("for.use_case"), "a name that is not said matches no glob but `*`"),
        ] {
            let mut facts = Facts::default();
            facts.caller.tenant = tenant.into();
            facts.meta.use_case = use_case.to_owned();
            assert_eq!(scope.mismatch(&facts), told, "{why}");
        }
        assert_eq!(scope.exact_tenants(), None, "one glob is no plain name");
    }
}
