//! Keys at run time: made, rotated and revoked while calls go on. What each change may be is decided here; HTTP is not known.
//!
//! A change is on the disk before it acts, and acts before it is told as done. Keys of the repository can be revoked here,
//! at once; everything else about them stands in `tenants.yaml`.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_core::contract::{VERSION, nearest};
use tollgate_core::identity::cidr::Cidr;
use tollgate_core::identity::key;
use tollgate_core::identity::record::{Before, KeyRecord};
use tollgate_core::identity::scopes::{Scope, Scopes};
use tollgate_core::pipeline::Core;
use tollgate_core::pipeline::prove;
use tollgate_policy_runtime::tables::tenants::end_ms;
use tollgate_store::keys::{KeyFile, KeyFileError};

use crate::state;

/// Names in a record are not longer.
const NAME_BYTES_MAX: usize = 256;
/// Groups and networks of one key.
const LIST_MAX: usize = 64;
/// Two secrets of one key are taken for no longer: 30 days.
const OVERLAP_S_MAX: u32 = 30 * 86_400;

/// Keys of a running gateway.
pub struct Keys {
    core: Arc<Core>,
    file: KeyFile,
    /// One change after another: what a change read is still so when it is made.
    changing: Mutex<()>,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum Unchanged {
    #[error("{0}")]
    Wrong(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("no key `{0}` is known here")]
    Unknown(String),
    #[error("{0}")]
    Conflict(String),
    #[error("the key `{0}` is not as it was when you read it: read it again (its ETag is `{1}`)")]
    Stale(String, String),
    #[error(transparent)]
    NotKept(#[from] KeyFileError),
    #[error("{0}")]
    Failed(String),
}

/// Whose keys somebody may manage, and what rights those may have at most.
#[derive(Debug, Clone)]
pub struct Reach {
    /// `None` = of all tenants.
    pub tenant: Option<Arc<str>>,
    pub scopes: Scopes,
    /// What the manager is itself: nobody gives what he does not have.
    pub own: Own,
}

/// What a manager's own credential is bound to; what is empty binds nothing, and no groups are no groups.
#[derive(Debug, Clone, Default)]
pub struct Own {
    pub app: Arc<str>,
    pub user: Arc<str>,
    pub groups: Vec<Arc<str>>,
    /// The id of its key, if it is one: its networks and its end bind, too.
    pub key: Option<Arc<str>>,
}

/// What a new key is to be.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wanted {
    pub tenant: String,
    pub app: String,
    pub user: String,
    pub owner: String,
    pub groups: Vec<String>,
    pub scopes: Option<Vec<String>>,
    pub cidr: Vec<String>,
    /// `2027-03-31` or a time.
    pub expires: Option<String>,
    pub may_assert: bool,
}

/// A change as it was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub reach: &'a Reach,
    /// The ETag that the key must have.
    pub only_if: Option<&'a str>,
    pub is_dry: bool,
}

impl Keys {
    /// Those on the disk count from now on.
    pub fn open(core: Arc<Core>, path: &Path) -> Result<Keys, KeyFileError> {
        // Many keys have few tenants, apps and owners: each name is in memory once.
        let mut names = HashSet::new();
        let file = KeyFile::open(path, core.pepper.id(), |mut record| {
            record.share(&mut names);
            core.keys.put(record);
        })?;
        Ok(Keys { core, file, changing: Mutex::new(()) })
    }

    /// By id, from behind `after` on, so many that this reach may see: the repository's too. And whether there are more.
    pub fn page(&self, reach: &Reach, tenant: Option<&str>, after: Option<&str>, limit: usize) -> (Vec<Value>, bool) {
        let revision = self.core.policies.pin();
        let mut page: BTreeMap<Arc<str>, Arc<KeyRecord>> = BTreeMap::new();
        let mut take = |record: &Arc<KeyRecord>| {
            let is_wanted = reach.sees(record)
                && tenant.is_none_or(|tenant| tenant == &*record.tenant)
                && after.is_none_or(|after| after < &*record.id);
            // One more than asked for says that there are more.
            let is_near = page.len() <= limit || page.last_key_value().is_some_and(|(last, _)| record.id <= *last);
            if is_wanted && is_near {
                page.insert(record.id.clone(), record.clone());
                if page.len() > limit + 1 {
                    page.pop_last();
                }
            }
        };
        revision.tenants.keys.values().for_each(&mut take);
        self.core.keys.each(take);
        let more = page.len() > limit;
        (page.values().take(limit).map(|record| self.told(record)).collect(), more)
    }

    pub fn one(&self, id: &str, reach: &Reach) -> Result<(Value, String), Unchanged> {
        let record = self.find(id, reach)?;
        Ok((self.told(&record), etag(&record)))
    }

    /// The record, and the key's text: shown once. A dry run makes none.
    pub fn make(&self, wanted: &Wanted, asked: Asked<'_>) -> Result<(Value, Option<String>), Unchanged> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = self.record_of(wanted, asked.reach)?;
        if asked.is_dry {
            return Ok((self.told(&record), None));
        }
        let (id, text) = key::mint(&state::random().map_err(Unchanged::Failed)?);
        (record.id, record.hash) = (id.into(), self.core.pepper.hash(&text));
        self.keep(record.clone())?;
        Ok((self.told(&record), Some(text)))
    }

    /// Another secret for the same key; the one before is taken for `overlap_s` more.
    pub fn rotate(&self, id: &str, overlap_s: u32, asked: Asked<'_>) -> Result<(Value, Option<String>), Unchanged> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = KeyRecord::clone(&*self.current(id, &asked)?);
        if overlap_s > OVERLAP_S_MAX {
            return Err(Unchanged::Wrong(format!("`overlap_s` {overlap_s} is too long: at most {OVERLAP_S_MAX}")));
        }
        if self.core.keys.find(id).is_none() {
            let told =
                "stands in `tenants.yaml`: put a second row there, and take the first out when it is used no more";
            return Err(Unchanged::Conflict(format!("the key `{id}` {told}")));
        }
        record.fit_anywhere(self.now_ms()).map_err(|unfit| Unchanged::Conflict(unfit.to_string()))?;
        let until_ms = self.now_ms().saturating_add(i64::from(overlap_s) * 1_000);
        record.before = Some(Before { hash: record.hash, until_ms });
        if asked.is_dry {
            return Ok((self.told(&record), None));
        }
        let text = key::mint_for(id, &state::random().map_err(Unchanged::Failed)?);
        record.hash = self.core.pepper.hash(&text);
        self.keep(record.clone())?;
        Ok((self.told(&record), Some(text)))
    }

    /// The next call with it is refused. A second time changes nothing.
    pub fn revoke(&self, id: &str, asked: Asked<'_>) -> Result<Value, Unchanged> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = KeyRecord::clone(&*self.current(id, &asked)?);
        if record.revoked_ms.is_none() {
            record.revoked_ms = Some(self.now_ms());
            record.before = None;
            if !asked.is_dry {
                self.keep(record.clone())?;
            }
        }
        Ok(self.told(&record))
    }

    /// The disk first: what acts and is not kept would be undone by a restart.
    fn keep(&self, record: KeyRecord) -> Result<(), Unchanged> {
        let (now_ms, revision) = (self.now_ms(), self.core.policies.pin());
        // A revoked key of the repository stays: without its record it would be good again.
        let spent =
            |kept: &KeyRecord| kept.fit_anywhere(now_ms).is_err() && !revision.tenants.keys.contains_key(&kept.id);
        self.file.put(std::slice::from_ref(&record), spent)?;
        self.core.keys.put(record);
        Ok(())
    }

    fn find(&self, id: &str, reach: &Reach) -> Result<Arc<KeyRecord>, Unchanged> {
        let known = prove::known(&self.core, &self.core.policies.pin(), id);
        // One of another tenant is told like one that is not there.
        let unknown = || Unchanged::Unknown(nearest::shown(id).into_owned());
        known.filter(|record| reach.sees(record)).ok_or_else(unknown)
    }

    fn current(&self, id: &str, asked: &Asked<'_>) -> Result<Arc<KeyRecord>, Unchanged> {
        let record = self.find(id, asked.reach)?;
        let etag = etag(&record);
        if asked.only_if.is_some_and(|expected| expected != "*" && expected != etag) {
            return Err(Unchanged::Stale(id.to_owned(), etag));
        }
        match self.beyond(asked.reach, &record) {
            None => Ok(record),
            Some(why) => Err(Unchanged::Forbidden(format!("the key `{id}` may do what yours may not: {why}"))),
        }
    }

    /// Why somebody of this reach may not make such a key, nor take it over by rotating it.
    fn beyond(&self, reach: &Reach, record: &KeyRecord) -> Option<String> {
        let own = reach.own.key.as_ref().and_then(|id| prove::known(&self.core, &self.core.policies.pin(), id));
        reach.beyond(record, own.as_deref())
    }

    fn record_of(&self, wanted: &Wanted, reach: &Reach) -> Result<KeyRecord, Unchanged> {
        let name = |what: &str, text: &str| match text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
            true => Err(Unchanged::Wrong(format!(
                "`{what}` is no name: at most {NAME_BYTES_MAX} bytes, nothing unprintable"
            ))),
            false => Ok(Arc::<str>::from(text)),
        };
        if wanted.groups.len() > LIST_MAX || wanted.cidr.len() > LIST_MAX {
            return Err(Unchanged::Wrong(format!("`groups` and `cidr` list at most {LIST_MAX} each")));
        }
        if wanted.tenant.is_empty() {
            return Err(Unchanged::Wrong("`tenant` is missing: whose key is it to be?".to_owned()));
        }
        let scopes = wanted.scopes.as_ref().map(|names| Scopes::parse(names.iter().map(|name| &**name)));
        let expires_ms = wanted.expires.as_deref().map(end_ms).transpose().map_err(Unchanged::Wrong)?;
        if expires_ms.is_some_and(|end| end <= self.now_ms()) {
            return Err(Unchanged::Wrong("`expires` is over already: the key would never be taken".to_owned()));
        }
        let record = KeyRecord {
            tenant: name("tenant", &wanted.tenant)?,
            app: name("app", &wanted.app)?,
            user: name("user", &wanted.user)?,
            owner: name("owner", &wanted.owner)?,
            groups: wanted.groups.iter().map(|group| name("groups", group)).collect::<Result<_, _>>()?,
            scopes: scopes.transpose().map_err(Unchanged::Wrong)?.unwrap_or_default(),
            cidr: wanted
                .cidr
                .iter()
                .map(|text| Cidr::parse(text))
                .collect::<Result<_, _>>()
                .map_err(Unchanged::Wrong)?,
            may_assert: wanted.may_assert,
            expires_ms,
            version: Some(VERSION.into()),
            made_ms: Some(self.now_ms()),
            ..KeyRecord::default()
        };
        self.check_tenant(&record)?;
        match self.beyond(reach, &record) {
            None => Ok(record),
            Some(why) => Err(Unchanged::Forbidden(format!(
                "your key manages keys of its own tenant, with no more rights than it has and without `may_assert`: {why}"
            ))),
        }
    }

    /// Where there is a table of tenants, a key of no tenant would never be good.
    fn check_tenant(&self, record: &KeyRecord) -> Result<(), Unchanged> {
        let revision = self.core.policies.pin();
        if !revision.tenants.present {
            return Ok(());
        }
        let known = &revision.tenants.tenants;
        let Some(tenant) = known.get(&record.tenant) else {
            let hint = nearest::hint(&record.tenant, known.keys().map(|name| &**name));
            return Err(Unchanged::Wrong(format!("`tenants.yaml` lists no tenant `{}`{hint}", record.tenant)));
        };
        if !record.app.is_empty() && !tenant.apps.is_empty() && !tenant.apps.contains(&record.app) {
            let hint = nearest::hint(&record.app, tenant.apps.iter().map(|name| &**name));
            return Err(Unchanged::Wrong(format!("tenant `{}` has no app `{}`{hint}", record.tenant, record.app)));
        }
        Ok(())
    }

    /// As operators read it: without hashes, with what they would ask next.
    fn told(&self, record: &KeyRecord) -> Value {
        let now_ms = self.now_ms();
        let overlaps = record.before.filter(|before| before.until_ms > now_ms);
        let state = match (record.revoked_ms, record.fit_anywhere(now_ms)) {
            (Some(_), _) => "revoked",
            (None, Err(_)) => "expired",
            (None, Ok(())) if overlaps.is_some() => "rotating",
            (None, Ok(())) => "good",
        };
        let is_row = self.core.policies.pin().tenants.keys.contains_key(&record.id);
        json!({
            "id": record.id,
            "tenant": record.tenant,
            "app": record.app,
            "user": record.user,
            "owner": record.owner,
            "groups": record.groups,
            "scopes": record.scopes,
            "cidr": record.cidr,
            "may_assert": record.may_assert,
            "state": state,
            "source": if is_row { "tenants.yaml" } else { "run-time" },
            "made_ms": record.made_ms,
            "expires_ms": record.expires_ms,
            "revoked_ms": record.revoked_ms,
            "before_until_ms": overlaps.map(|before| before.until_ms),
            "etag": etag(record),
        })
    }

    fn now_ms(&self) -> i64 {
        (self.core.clock.now_ms)()
    }
}

impl Reach {
    /// Everything, for whoever holds the operators' token or a key with the scope `admin`.
    pub fn all() -> Reach {
        Reach { tenant: None, scopes: Scopes::NONE, own: Own::default() }
    }

    fn sees(&self, record: &KeyRecord) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| *tenant == record.tenant)
    }

    /// Why such a key is more than may be given by one that is kept as `own`.
    fn beyond(&self, record: &KeyRecord, own: Option<&KeyRecord>) -> Option<String> {
        let tenant = self.tenant.as_ref()?;
        let is = |mine: &Arc<str>, theirs: &Arc<str>| mine.is_empty() || mine == theirs;
        let (networks, end) = own.map_or((&[][..], None), |own| (&own.cidr[..], own.expires_ms));
        let is_within = |network: &Cidr| networks.iter().any(|mine| mine.covers(network));
        let other = record.groups.iter().find(|group| !self.own.groups.contains(group));
        let administers = [Scope::AdminRead, Scope::Admin].iter().any(|scope| record.scopes.has(*scope));
        Some(match () {
            () if !self.sees(record) => format!("its tenant is `{}`, yours `{tenant}`", record.tenant),
            () if record.may_assert => "it has `may_assert`".to_owned(),
            () if administers || !self.scopes.contains(record.scopes) => {
                format!(
                    "its scopes are `{}`, yours `{}`",
                    record.scopes.names().join(", "),
                    self.scopes.names().join(", ")
                )
            }
            () if !is(&self.own.app, &record.app) => format!("its app is `{}`, yours `{}`", record.app, self.own.app),
            () if !is(&self.own.user, &record.user) => "it is not of your user".to_owned(),
            () if let Some(group) = other => format!("it is in the group `{group}`, and you are not"),
            () if !networks.is_empty() && (record.cidr.is_empty() || !record.cidr.iter().all(is_within)) => {
                "it is taken from networks (`cidr`) from which yours is not".to_owned()
            }
            () if end.is_some_and(|end| record.expires_ms.is_none_or(|theirs| theirs > end)) => {
                "it ends (`expires`) later than yours, or never".to_owned()
            }
            () => return None,
        })
    }
}

/// Changes whenever the record does.
fn etag(record: &KeyRecord) -> String {
    let kept = serde_json::to_vec(record).expect("texts and numbers are JSON");
    format!("\"{}\"", &blake3::hash(&kept).to_hex()[..16])
}
