//! Tools that this dialect declares otherwise than as functions: tools of free text (`custom`), and the shell of the caller
//! (`local_shell`). Elsewhere each is a function; free text is its one argument `input`.

use std::borrow::Cow;

use crate::contract::canonical::Function;
use crate::contract::read::{Members, Raw, Reading, Wrong, as_text, find, is_object, loose};
use crate::contract::write::{Writer, quoted};

/// The name of the shell: its declaration has none.
pub const SHELL: &str = "local_shell";

const FREE_TEXT: &str =
    r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}"#;

const COMMAND: &str = r#"{"type":"object","properties":{"command":{"type":"array","items":{"type":"string"},"description":"The program and its arguments"},"working_directory":{"type":"string"},"timeout_ms":{"type":"integer"},"env":{"type":"object","additionalProperties":{"type":"string"}}},"required":["command"]}"#;

/// Which form a call has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Function,
    Custom,
    Shell,
}

impl Form {
    /// Of a call of this tool, by the names of those that the caller declared otherwise.
    pub fn of<S: AsRef<str>>(name: &str, own_tools: &[S]) -> Form {
        match own_tools.iter().any(|own| own.as_ref() == name) {
            false => Form::Function,
            true if name == SHELL => Form::Shell,
            true => Form::Custom,
        }
    }

    /// The kind of its item, and what the item's id begins with.
    pub fn item(self) -> (&'static str, &'static str) {
        match self {
            Form::Function => ("function_call", "fc_"),
            Form::Custom => ("custom_tool_call", "ctc_"),
            Form::Shell => ("local_shell_call", "lsh_"),
        }
    }
}

fn schema(text: &'static str) -> Raw<'static> {
    serde_json::from_str(text).expect("it is valid JSON")
}

/// `{type: custom, name, description, format: {type: grammar, syntax, definition}}`.
pub fn custom<'a>(r: &mut Reading<'a>, raw: Raw<'a>, members: &Members<'a>) -> Result<Function<'a>, Wrong> {
    let mut tool = Function { parameters: Some(schema(FREE_TEXT)), own: Some(raw), ..Function::default() };
    let mut grammar = None;
    for (name, raw) in members {
        match &**name {
            "type" => {}
            "name" => tool.name = r.within("name", |r| r.text(raw))?,
            "description" => tool.description = Some(r.within("description", |r| r.text(raw))?),
            "format" if is_object(raw) => {
                let format = loose(raw);
                // Chat has it a level deeper.
                let format = find(&format, "grammar").map(loose).unwrap_or(format);
                let text = |name: &str| find(&format, name).and_then(as_text);
                grammar = text("definition").map(|definition| {
                    let syntax = text("syntax").unwrap_or_default();
                    format!("The text of `input` must keep to this {syntax} grammar:\n{definition}")
                });
            }
            "defer_loading" if raw.get() == "false" => {}
            other => r.extra(other, raw),
        }
    }
    if let Some(grammar) = grammar {
        let told = tool.description.filter(|d| !d.is_empty()).map_or(grammar.clone(), |d| format!("{d}\n\n{grammar}"));
        tool.description = Some(told.into());
    }
    Ok(tool)
}

pub fn shell(raw: Raw<'_>) -> Function<'_> {
    Function {
        name: SHELL.into(),
        description: Some("Runs a command on the user's machine.".into()),
        parameters: Some(schema(COMMAND)),
        own: Some(raw),
        ..Function::default()
    }
}

/// Free text as the arguments of a function.
pub fn wrap(input: &str) -> String {
    format!("{{\"input\":{}}}", quoted(input))
}

/// The free text of a call. A model that did not keep to the function's form has said the text itself.
pub fn unwrap(arguments: &str) -> Cow<'_, str> {
    let inner = serde_json::from_str::<Raw<'_>>(arguments).ok().and_then(|raw| find(&loose(raw), "input"));
    inner.and_then(as_text).unwrap_or(Cow::Borrowed(arguments))
}

/// `action` of a call of the shell: `{type: exec, command, env, ...}`.
pub fn action(w: &mut Writer, arguments: &str) {
    let members = serde_json::from_str::<Raw<'_>>(arguments).map(loose).unwrap_or_default();
    w.object_member("action", |w| {
        w.member("type", "exec");
        if find(&members, "command").is_none() {
            w.list_member("command", |w| w.value(arguments));
        }
        if find(&members, "env").is_none() {
            w.object_member("env", |_| {});
        }
        for (name, raw) in members.iter().filter(|(name, raw)| name != "type" && raw.get() != "null") {
            w.member(name, raw);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_text_is_wrapped_and_found_again() {
        for text in ["", "*** Begin Patch\n+\"x\"\\n\u{e4}", "{\"input\":1}"] {
            assert_eq!(unwrap(&wrap(text)), text);
        }
        assert_eq!(unwrap("just text"), "just text", "a model that forgot the form");
    }

    #[test]
    fn a_command_is_an_action() {
        let text = |arguments: &str| String::from_utf8(Writer::object_text(|w| action(w, arguments))).unwrap();
        assert_eq!(
            text(r#"{"command":["ls"],"timeout_ms":5}"#),
            r#"{"action":{"type":"exec","env":{},"command":["ls"],"timeout_ms":5}}"#
        );
        assert_eq!(text("ls"), r#"{"action":{"type":"exec","command":["ls"],"env":{}}}"#);
    }
}
