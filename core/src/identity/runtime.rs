//! Keys that are not in the repository: the one-time key, and those that operators make while the gateway runs.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use super::record::KeyRecord;

/// By id. What stands here comes before the repository's row of the same id: so a key of the repository can be revoked at
/// once, without a commit.
#[derive(Debug, Default)]
pub struct RuntimeKeys {
    keys: RwLock<HashMap<Arc<str>, Arc<KeyRecord>>>,
}

impl RuntimeKeys {
    pub fn put(&self, record: KeyRecord) {
        let mut keys = self.keys.write().expect("no code panics while it holds the keys");
        keys.insert(record.id.clone(), Arc::new(record));
    }

    pub fn find(&self, id: &str) -> Option<Arc<KeyRecord>> {
        self.keys.read().expect("no code panics while it holds the keys").get(id).cloned()
    }

    /// All, in no order.
    pub fn each(&self, tell: impl FnMut(&Arc<KeyRecord>)) {
        self.keys.read().expect("no code panics while it holds the keys").values().for_each(tell);
    }
}
