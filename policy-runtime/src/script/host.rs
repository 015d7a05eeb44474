//! The engine: what of the language is on, its bounds, and everything that scripts may call.

use std::sync::{Arc, LazyLock};

use rhai::{AST, Dynamic, Engine, EvalAltResult, ImmutableString, NativeCallContext, OptimizationLevel};
use tollgate_core::policy::Hook;

use super::modules::{self, Modules};
use super::{handles, message, meter, says};
use crate::diagnostic::Diagnostic;
use crate::engine::Unit;

/// A script, or a module of one, may be this long: the parser's time grows with the square of a text in it.
pub const SCRIPT_BYTES_MAX: usize = 128 * 1024;
const SCRIPT_STRING_MAX: usize = 64 * 1024;
/// Arrays and maps: every checked operation walks them, so they are kept small.
const CONTAINER_MAX: usize = 1_000;
/// Functions that call functions: each takes of the stack of the thread that carries calls.
pub const CALLS_DEEP_MAX: usize = 16;
/// Expressions within expressions, outside of functions and within them.
const EXPRESSIONS_DEEP_MAX: (usize, usize) = (48, 24);
/// Of one call and of all calls in it together (`alive`): what a script holds is at most so many texts.
pub const VARIABLES_MAX: usize = 128;
const FUNCTIONS_MAX: usize = 128;
pub const MODULES_MAX: usize = 16;

/// What a call is asked with; travels in the engine's tag.
#[derive(Debug, Clone)]
pub struct Asked {
    pub shown: Arc<str>,
    pub params: Arc<rhai::Map>,
    pub hook: Hook,
}

/// A result of a host function.
pub type Told<T> = Result<T, Box<EvalAltResult>>;

static SHARED: LazyLock<Engine> = LazyLock::new(|| {
    // Pinned before the first engine is made: maps and calls hash the same in every process.
    let _ = rhai::config::hashing::set_hashing_seed(Some([1, 2, 3, 4]));
    engine()
});

/// The engine that a script runs on.
pub enum Host {
    /// One for all.
    Shared(&'static Engine),
    /// For a script that imports modules, which are made on it.
    Own(Box<Engine>, Modules),
}

impl Host {
    pub fn of(text: &str) -> Host {
        if text.contains("import") { Host::Own(Box::new(engine()), Modules::default()) } else { Host::Shared(&SHARED) }
    }

    pub fn engine(&self) -> &Engine {
        match self {
            Host::Shared(engine) => engine,
            Host::Own(engine, _) => engine,
        }
    }

    /// Parses a script and makes ready what it imports.
    pub fn compile(&mut self, text: &str, unit: &Unit<'_>) -> Result<AST, Vec<Diagnostic>> {
        let parsed = self.engine().compile(text);
        let ast =
            parsed.map_err(|error| modules::told(unit.shown, message(&error.clone().into()), error.position()))?;
        if let Host::Own(engine, made) = self {
            *made = Modules::of(&ast, unit, engine)?;
        }
        Ok(ast)
    }

    /// The modules of a script, if it imports any.
    pub fn modules(&self) -> Option<&Modules> {
        match self {
            Host::Shared(_) => None,
            Host::Own(_, modules) => Some(modules),
        }
    }
}

pub fn engine() -> Engine {
    let mut engine = Engine::new();
    engine
        .set_strict_variables(true)
        .set_fail_on_invalid_map_property(true)
        .set_optimization_level(OptimizationLevel::Simple)
        .set_max_call_levels(CALLS_DEEP_MAX)
        .set_max_expr_depths(EXPRESSIONS_DEEP_MAX.0, EXPRESSIONS_DEEP_MAX.1)
        .set_max_string_size(SCRIPT_STRING_MAX)
        .set_max_array_size(CONTAINER_MAX)
        .set_max_map_size(CONTAINER_MAX)
        .set_max_variables(VARIABLES_MAX)
        .set_max_functions(FUNCTIONS_MAX)
        .set_max_modules(MODULES_MAX)
        // Interning takes a lock that all threads share, at every statement that yields a text.
        .set_max_strings_interned(0)
        .set_max_operations(0)
        .disable_symbol("eval")
        .on_progress(|ops| meter::tick(ops).then(|| Dynamic::from("a bound was reached")))
        .on_print(|_| {})
        .on_debug(|_, _, _| {})
        .set_module_resolver(rhai::module_resolvers::DummyModuleResolver::new());
    // It sleeps on the thread that carries calls, and cannot be switched off as a word.
    engine.register_fn("sleep", |_: i64| -> Told<()> { Err("`sleep` is not there: policies have no clock".into()) });
    engine.register_fn("sleep", |_: f64| -> Told<()> { Err("`sleep` is not there: policies have no clock".into()) });
    engine.register_fn("param", param);
    handles::register(&mut engine);
    says::register(&mut engine);
    engine
}

/// The value that the manifest's `with` gives, over the default of the schema.
fn param(context: NativeCallContext<'_>, name: ImmutableString) -> Told<Dynamic> {
    seen(&context);
    let known = with_asked(&context, |asked| asked.params.get(name.as_str()).cloned())?;
    known.ok_or_else(|| format!("there is no parameter `{name}`").into())
}

/// What the call was asked with. It is read where it lies: policies say many effects.
pub fn with_asked<T>(context: &NativeCallContext<'_>, read: impl FnOnce(&Asked) -> T) -> Told<T> {
    let asked = context.tag().and_then(|tag| tag.read_lock::<Arc<Asked>>());
    asked.map(|asked| read(&asked)).ok_or_else(|| "host functions answer only within a policy".into())
}

/// Notes where the script is, for errors that have no place of their own.
pub fn seen(context: &NativeCallContext<'_>) -> (u32, u32) {
    let at = context.call_position();
    let place = (at.line().unwrap_or(0) as u32, at.position().unwrap_or(0) as u32);
    meter::seen(place.0, place.1);
    place
}

/// What is told of a script of so many bytes.
pub fn too_long(bytes: usize) -> String {
    format!(
        "{bytes} bytes, and a script may have {SCRIPT_BYTES_MAX}: put its data into `with`, or split it into modules"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use tollgate_core::policy::effect::Effect;

    const PAGE: &str = include_str!("../../../docs/reference/rhai.md");

    /// Names with numbers of arguments.
    fn registered(engine: &Engine) -> BTreeSet<(String, usize)> {
        let all =
            engine.collect_fn_metadata(None, |f| Some((f.metadata.name.to_string(), f.metadata.num_params)), true);
        all.into_iter().collect()
    }

    /// `fn get tenant(group: FactGroup) -> String;` and `fn pin(target: String) -> Decision;`
    fn defined(text: &str) -> BTreeSet<(String, usize)> {
        let one = |line: &str| {
            let (name, rest) = line.strip_prefix("fn ")?.split_once('(')?;
            let (arguments, _) = rest.split_once(')')?;
            let count = arguments.split(',').filter(|argument| !argument.trim().is_empty()).count();
            Some((name.replace("get ", "get$"), count))
        };
        text.lines().filter_map(one).collect()
    }

    /// What editors are told is what scripts may call.
    #[test]
    fn the_definition_file_names_what_is_registered_and_nothing_else() {
        let defined = defined(&crate::reference::part("rhai").unwrap());
        let (ours, standard) = (registered(&engine()), registered(&Engine::new()));
        assert!(defined.len() > 60, "{defined:?}");
        let unknown: Vec<_> = defined.difference(&ours).collect();
        assert!(unknown.is_empty(), "defined, and not registered: {unknown:?}");
        let added: BTreeSet<_> = ours.difference(&standard).cloned().collect();
        let untold: Vec<_> = added.difference(&defined).collect();
        assert!(untold.is_empty(), "registered, and not defined: {untold:?}");
    }

    #[test]
    fn the_page_tells_bounds_functions_and_what_is_off() {
        let row = |what: &str, n: usize| format!("| {what} | {n} |");
        let (outside, within) = EXPRESSIONS_DEEP_MAX;
        let mut wanted = vec![
            row("bytes of a script, and of each of its modules", SCRIPT_BYTES_MAX),
            row("bytes of a text", SCRIPT_STRING_MAX),
            row("elements of an array, a blob or a map", CONTAINER_MAX),
            row("calls in calls", CALLS_DEEP_MAX),
            row("expressions in expressions, within a function", within),
            row("the same outside of functions", outside),
            row("variables at the same time, those of calls in calls included", VARIABLES_MAX),
            row("functions", FUNCTIONS_MAX),
            row("modules", MODULES_MAX),
            row("operations", crate::engine::Bounds::default().ops as usize),
        ];
        wanted.extend(super::super::lint::FORBIDDEN.iter().map(|(word, _)| format!("`{word}`")));
        wanted.extend(Effect::NAMES.iter().map(|name| format!("`{name}(")));
        for text in wanted {
            assert!(PAGE.contains(&text), "docs/reference/rhai.md does not say `{text}`");
        }
    }
}
