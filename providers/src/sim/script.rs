//! What a request may script. An unknown directive is an error that names the nearest one.

use std::time::Duration;

use tollgate_core::contract::nearest;

/// Directives, as they were given: in the model's name first, then in the header, which wins.
///
/// | directive | what happens |
/// |---|---|
/// | `latency=MS` | waits before the head of the answer |
/// | `first=MS` | waits between head and first event |
/// | `tps=N` | tokens per second |
/// | `tokens=N` | the answer has N tokens |
/// | `bytes=N` | the answer has about N bytes |
/// | `status=N` | answers this error; `error=quota\|context\|filter\|html\|empty` says which kind, with its usual status |
/// | `retry_after=S` | the header beside it |
/// | `flaky=N` | every N-th request fails with 500 |
/// | `stall=N` | after N events nothing more comes, and the connection stays open |
/// | `cut=N` | after N events (JSON: N bytes) the connection breaks |
/// | `malformed=N` | event N is no JSON |
/// | `error_at=N` | event N is an error event, and the stream ends |
/// | `usage=wrong\|none\|null\|zero` | what is told of the usage |
/// | `crlf` `comments` `nodone` `split` | line ends, comments between events, no last event, events cut within letters |
/// | `finish=REASON` | the finish reason |
/// | `tool` | answers with a tool call where tools are offered |
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Script {
    pub latency: Duration,
    pub first: Duration,
    pub tps: Option<u64>,
    pub tokens: Option<u64>,
    pub bytes: Option<u64>,
    pub status: Option<u16>,
    pub failure: Option<Failure>,
    pub retry_after: Option<u64>,
    pub flaky: Option<u64>,
    pub stall: Option<u64>,
    pub cut: Option<u64>,
    pub malformed: Option<u64>,
    pub error_at: Option<u64>,
    pub usage: Told,
    pub crlf: bool,
    pub comments: bool,
    pub nodone: bool,
    pub split: bool,
    pub finish: Option<String>,
    pub tool: bool,
}

/// Kinds of error bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    Quota,
    Context,
    Filter,
    Html,
    Empty,
}

/// What is told of the usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Told {
    #[default]
    Truth,
    /// A hundred tokens more than there were.
    Wrong,
    Absent,
    Null,
    Zero,
}

const NAMES: [&str; 21] = [
    "latency",
    "first",
    "tps",
    "tokens",
    "bytes",
    "status",
    "error",
    "retry_after",
    "flaky",
    "stall",
    "cut",
    "malformed",
    "error_at",
    "usage",
    "crlf",
    "comments",
    "nodone",
    "split",
    "finish",
    "tool",
    "none",
];

impl Script {
    /// Reads `name=value` pairs, divided by `&`, `,` or `;`.
    pub fn read(&mut self, text: &str) -> Result<(), String> {
        for pair in text.split(['&', ',', ';']).map(str::trim).filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.set(name, value)?;
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number =
            || value.parse::<u64>().map_err(|_| format!("directive `{name}` needs a whole number, not `{value}`"));
        let ms = || number().map(|n| Duration::from_millis(n.min(600_000)));
        match name {
            "latency" => self.latency = ms()?,
            "first" => self.first = ms()?,
            "tps" => self.tps = Some(number()?.max(1)),
            "tokens" => self.tokens = Some(number()?.min(1_000_000)),
            "bytes" => self.bytes = Some(number()?.min(256 << 20)),
            "status" => self.status = Some(number()?.clamp(400, 599) as u16),
            "retry_after" => self.retry_after = Some(number()?),
            "flaky" => self.flaky = Some(number()?.max(1)),
            "stall" => self.stall = Some(number()?),
            "cut" => self.cut = Some(number()?),
            "malformed" => self.malformed = Some(number()?),
            "error_at" => self.error_at = Some(number()?),
            "crlf" => self.crlf = true,
            "comments" => self.comments = true,
            "nodone" => self.nodone = true,
            "split" => self.split = true,
            "tool" => self.tool = true,
            "finish" => self.finish = Some(value.to_owned()),
            "error" => {
                self.failure = Some(match value {
                    "quota" => Failure::Quota,
                    "context" => Failure::Context,
                    "filter" => Failure::Filter,
                    "html" => Failure::Html,
                    "empty" => Failure::Empty,
                    _ => return Err(format!("`error={value}`: use quota, context, filter, html or empty")),
                });
            }
            "usage" => {
                self.usage = match value {
                    "wrong" => Told::Wrong,
                    "none" => Told::Absent,
                    "null" => Told::Null,
                    "zero" => Told::Zero,
                    _ => return Err(format!("`usage={value}`: use wrong, none, null or zero")),
                }
            }
            _ => return Err(format!("unknown directive `{name}`{}", nearest::hint(name, NAMES))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_read_and_unknown_ones_named() {
        let mut script = Script::default();
        script.read("latency=200&cut=5;crlf, usage=none").unwrap();
        assert_eq!(
            (script.latency.as_millis(), script.cut, script.crlf, script.usage),
            (200, Some(5), true, Told::Absent)
        );
        for (text, told) in
            [("latncy=5", "did you mean `latency`?"), ("cut=x", "whole number"), ("error=x", "use quota")]
        {
            assert!(Script::default().read(text).unwrap_err().contains(told), "{text}");
        }
    }
}
