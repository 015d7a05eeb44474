//! The built-in policies and catalog: the folder `stdlib-policies` of our own repository, inside the program.

use std::collections::BTreeMap;
use std::sync::Arc;

use include_dir::{Dir, include_dir};
use tollgate_core::policy::tree::{RevisionId, Tree};

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../stdlib-policies");

/// The built-in tree, named `builtin-<version>`.
pub fn tree() -> Tree {
    let mut files = BTreeMap::new();
    add(&FILES, &mut files);
    Tree { signers: Vec::new(), id: RevisionId::new(concat!("builtin-", env!("CARGO_PKG_VERSION"))), files }
}

fn add(folder: &Dir<'_>, files: &mut BTreeMap<String, Arc<[u8]>>) {
    for file in folder.files() {
        if let Some(path) = file.path().to_str() {
            // On Windows the parts are joined with the other slash.
            files.insert(path.replace('\\', "/"), file.contents().into());
        }
    }
    folder.dirs().for_each(|inner| add(inner, files));
}
