//! Which functions a script has: the language's, the host's, its own, and those of the modules that it imports.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use rhai::AST;

use super::host::engine;

/// The functions of a script, each with the names of its parameters.
pub fn functions(ast: &AST) -> Vec<(String, Vec<String>)> {
    let one = |f: rhai::ScriptFnMetadata<'_>| (f.name.to_owned(), f.params.iter().map(|p| (*p).to_owned()).collect());
    ast.iter_functions().map(one).collect()
}

/// Names of functions, each with its numbers of arguments.
pub type Counts = BTreeMap<String, BTreeSet<usize>>;

pub fn by_name(ast: &AST) -> Counts {
    let mut counts = Counts::new();
    for (name, params) in functions(ast) {
        counts.entry(name).or_default().insert(params.len());
    }
    counts
}

/// Functions of the language and of the host, the same in every engine: gathered once, there are a thousand and more.
static NATIVE: LazyLock<Counts> = LazyLock::new(|| {
    let all = |info: rhai::FuncInfo<'_>| Some((info.metadata.name.to_string(), info.metadata.num_params));
    let mut known = Counts::new();
    for (name, count) in engine().collect_fn_metadata(None, all, true) {
        known.entry(name).or_default().insert(count);
    }
    // Words of the language that are parsed as calls.
    for (word, counts) in [
        ("type_of", vec![1]),
        ("is_def_var", vec![1]),
        ("is_def_fn", vec![2]),
        ("is_shared", vec![1]),
        ("Fn", vec![1]),
        ("call", (1..9).collect()),
        ("curry", (1..9).collect()),
    ] {
        known.entry(word.to_owned()).or_default().extend(counts);
    }
    known
});

/// What may be called by its name alone, and with how many arguments.
pub struct Known(Counts);

impl Known {
    pub fn of(ast: &AST) -> Known {
        Known(by_name(ast))
    }

    pub fn counts(&self, name: &str) -> BTreeSet<usize> {
        [self.0.get(name), NATIVE.get(name)].into_iter().flatten().flatten().copied().collect()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().chain(NATIVE.keys()).map(String::as_str)
    }
}

/// One function of a script, alone.
pub fn only<'a>(ast: &'a AST, name: &str, count: usize) -> Cow<'a, AST> {
    if ast.iter_functions().count() == 1 && ast.statements().is_empty() {
        return Cow::Borrowed(ast);
    }
    let mut own = ast.clone_functions_only();
    own.retain_functions(|_, _, known, params| known == name && count == params);
    Cow::Owned(own)
}

/// A call with a wrong number of arguments, in words.
pub fn arity(name: &str, counts: &BTreeSet<usize>, receiver: usize, given: usize) -> String {
    let told: Vec<String> = counts.iter().map(|n| (n - receiver.min(*n)).to_string()).collect();
    format!("`{name}` takes {} arguments, not {given}", told.join(" or "))
}
