//! The front door of CEL: what the parser could choke on is refused before it sees it, and it runs on a stack of its own.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use cel::IdedExpr;
use cel::common::ast::SourceInfo;

use super::Origin;
use super::slots::ENV;
use crate::diagnostic::Diagnostic;

/// Bytes of one expression.
const TEXT_BYTES_MAX: usize = 4 * 1024;
const BRACKETS_DEEP_MAX: usize = 32;
const TOKENS_MAX: usize = 1_000;
/// `1+1+...` recurses once an operator: 2,000 of them end a process.
const OPERATORS_MAX: usize = 256;
/// The parser recurses deeply: even small expressions need more than a worker's stack in a debug build.
const STACK_BYTES: usize = 8 << 20;

/// A parsed expression and where its parts stand.
pub struct Parsed {
    pub root: IdedExpr,
    pub source: Arc<SourceInfo>,
}

/// Expressions that are kept parsed: a revision that changes one line parses one expression. Emptied when full.
const KEPT_MAX: usize = 4_096;

type Kept = HashMap<String, (IdedExpr, Arc<SourceInfo>)>;

static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(|broken| broken.into_inner())
}

/// Guards and parses.
pub fn parse(text: &str, origin: Origin<'_>) -> Result<Parsed, Vec<Diagnostic>> {
    let told =
        |message: String| vec![Diagnostic::error("TG0501", origin.shown, message).at(origin.line, origin.column)];
    if let Some((root, source)) = kept().get(text) {
        return Ok(Parsed { root: root.clone(), source: source.clone() });
    }
    weigh(text).map_err(told)?;
    let owned = text.to_owned();
    let parser = std::thread::Builder::new().name("cel-parser".to_owned()).stack_size(STACK_BYTES);
    let run = parser.spawn(move || ENV.parser().parse_with_source_info(&owned).map_err(|errors| errors.to_string()));
    let joined = run.map_err(|why| told(format!("the parser cannot be started: {why}")))?.join();
    match joined {
        Ok(Ok((root, source))) => {
            let source = Arc::new(source);
            let mut kept = kept();
            if kept.len() >= KEPT_MAX {
                kept.clear();
            }
            kept.insert(text.to_owned(), (root.clone(), source.clone()));
            Ok(Parsed { root, source })
        }
        Ok(Err(errors)) => Err(vec![syntax(&errors, origin)]),
        Err(_) => Err(told(format!("`{text}` is no expression that can be parsed"))),
    }
}

/// `ERROR: <input>:1:9: Syntax error: ...` with its place moved to the file.
fn syntax(errors: &str, origin: Origin<'_>) -> Diagnostic {
    let first = errors.lines().next().unwrap_or_default();
    let mut parts = first.trim_start_matches("ERROR:").trim().splitn(4, ':');
    let (_, line, column, rest) = (parts.next(), parts.next(), parts.next(), parts.next());
    let number = |part: Option<&str>| part.and_then(|p| p.trim().parse::<u32>().ok());
    let message = rest.unwrap_or(first).trim().trim_start_matches("Syntax error:").trim();
    let message = format!("this is no CEL expression: {message}");
    let (line, column) = match (number(line), number(column)) {
        (Some(line), Some(column)) => place(origin, line, column),
        _ => (origin.line, origin.column),
    };
    Diagnostic::error("TG0502", origin.shown, message).at(line, column)
}

/// A line and column within the expression (from 1), as a place of the file. Lines below the first are those of a block,
/// and stand as far in as it does.
pub fn place(origin: Origin<'_>, line: u32, column: u32) -> (u32, u32) {
    (origin.line + line.saturating_sub(1), origin.column + column.saturating_sub(1))
}

/// Counts on characters, before any parser.
fn weigh(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("the expression is empty".to_owned());
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("the expression has {} bytes, at most {TEXT_BYTES_MAX} are taken", text.len()));
    }
    let (mut deep, mut deepest, mut tokens, mut operators) = (0usize, 0usize, 0usize, 0usize);
    let mut quote: Option<u8> = None;
    let mut escaped = false;
    let mut in_word = false;
    for byte in text.bytes() {
        if let Some(end) = quote {
            if byte == end && !escaped {
                quote = None;
            }
            escaped = byte == b'\\' && !escaped;
            continue;
        }
        let word = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        let goes_on = word && in_word;
        tokens += usize::from(!byte.is_ascii_whitespace() && !goes_on);
        in_word = word;
        match byte {
            b'"' | b'\'' => quote = Some(byte),
            b'(' | b'[' | b'{' => {
                deep += 1;
                deepest = deepest.max(deep);
            }
            b')' | b']' | b'}' => deep = deep.saturating_sub(1),
            b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'!' | b'&' | b'|' | b'?' | b'.' => operators += 1,
            _ => {}
        }
    }
    for (what, count, max) in [
        ("brackets deep", deepest, BRACKETS_DEEP_MAX),
        ("tokens", tokens, TOKENS_MAX),
        ("operators", operators, OPERATORS_MAX),
    ] {
        if count > max {
            return Err(format!(
                "the expression is {count} {what}, at most {max} are taken: split it into rules, or write Rhai"
            ));
        }
    }
    Ok(())
}
