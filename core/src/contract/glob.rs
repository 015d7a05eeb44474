//! The one kind of glob: over names of tenants, models, regions.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};

/// Globs that a thread remembers.
const REMEMBERED_MAX: usize = 1_024;

/// A glob over names: `*` any run, `?` one, `[ab]`, `{a,b}`.
#[derive(Debug, Clone)]
pub struct Glob {
    text: Arc<str>,
    matcher: Option<GlobMatcher>,
}

impl Glob {
    pub fn new(text: &str) -> Result<Self, String> {
        let plain = !text.bytes().any(|b| matches!(b, b'*' | b'?' | b'[' | b'{' | b'\\'));
        let matcher = match plain {
            true => None,
            false => Some(
                GlobBuilder::new(text)
                    .build()
                    .map_err(|e| format!("`{text}` is no glob: {}", e.kind()))?
                    .compile_matcher(),
            ),
        };
        Ok(Glob { text: text.into(), matcher })
    }

    /// The same for texts that come with calls: a pattern takes longer to compile than a call takes to route, and the
    /// same few come again and again. Each thread keeps those it met.
    pub fn remembered(text: &str) -> Result<Self, String> {
        thread_local! {
            static MET: RefCell<HashMap<Arc<str>, Glob>> = RefCell::new(HashMap::new());
        }
        MET.with_borrow_mut(|met| {
            if let Some(glob) = met.get(text) {
                return Ok(glob.clone());
            }
            let glob = Glob::new(text)?;
            if met.len() == REMEMBERED_MAX {
                met.clear();
            }
            met.insert(glob.text.clone(), glob.clone());
            Ok(glob)
        })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name itself, where the glob is one name: such globs are looked up, not tried.
    pub fn exact(&self) -> Option<&str> {
        self.matcher.is_none().then_some(&*self.text)
    }

    pub fn matches(&self, name: &str) -> bool {
        match &self.matcher {
            None => *self.text == *name,
            Some(matcher) => matcher.is_match(name),
        }
    }

    /// Does one of them match? An empty list admits all.
    pub fn any(globs: &[Glob], name: &str) -> bool {
        globs.is_empty() || globs.iter().any(|g| g.matches(name))
    }
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
