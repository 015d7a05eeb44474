//! The one form between dialects: what a request, an answer and a stream say, whoever's words they are said in.
//!
//! It is read from one dialect and written in another, never kept. Within one dialect it is not used at all: bytes pass.
//! What stands in it is borrowed from the text that was read, JSON that nobody interprets stays the text it was.

pub mod answer;
pub mod element;
pub mod embed;
pub mod event;
pub mod part;
pub mod told;

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::read::{Number, Raw};
use part::{Message, Role};

/// What is asked for.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// As the caller named it; what is written to a provider is the target's own name for it.
    pub model: Cow<'a, str>,
    pub stream: bool,
    /// In their order, those of the system included: dialects that keep them apart take the leading ones.
    pub messages: Vec<Message<'a>>,
    pub tools: Vec<Tool<'a>>,
    pub tool_choice: Option<ToolChoice<'a>>,
    pub parallel_tools: Option<bool>,
    /// Of the answer, reasoning included.
    pub max_tokens: Option<u64>,
    pub temperature: Option<Number<'a>>,
    pub top_p: Option<Number<'a>>,
    pub top_k: Option<u64>,
    pub frequency_penalty: Option<Number<'a>>,
    pub presence_penalty: Option<Number<'a>>,
    pub seed: Option<Number<'a>>,
    pub stop: Vec<Cow<'a, str>>,
    /// How many answers.
    pub n: Option<u64>,
    pub logprobs: Option<Logprobs>,
    pub logit_bias: Option<Raw<'a>>,
    pub format: Option<Format<'a>>,
    pub reasoning: Option<ReasoningAsk<'a>>,
    pub verbosity: Option<Cow<'a, str>>,
    pub service_tier: Option<Cow<'a, str>>,
    /// The caller's own user, as an id.
    pub user: Option<Cow<'a, str>>,
    /// Labels of the caller, an object of texts.
    pub metadata: Option<Raw<'a>>,
    /// May, or shall, the provider keep the answer for later reference?
    pub store: Option<bool>,
    /// Groups calls that share a beginning, for the provider's prompt cache.
    pub cache_key: Option<Cow<'a, str>>,
    /// What has no place here, under its path in the caller's words: nothing is passed over in silence.
    pub extra: Vec<(String, Raw<'a>)>,
}

/// Something that the model may call.
#[derive(Debug, Clone)]
pub enum Tool<'a> {
    Function(Function<'a>),
    /// A tool that the provider runs itself (`web_search`, `code_execution`): known to its own dialect only.
    Native {
        kind: Cow<'a, str>,
        json: Raw<'a>,
    },
}

#[derive(Debug, Clone, Default)]
pub struct Function<'a> {
    pub name: Cow<'a, str>,
    pub description: Option<Cow<'a, str>>,
    /// A JSON schema of its arguments; its members keep their order.
    pub parameters: Option<Raw<'a>>,
    /// Arguments must keep to the schema.
    pub strict: Option<bool>,
    /// Behind this tool the provider may cache what stands before.
    pub cache: Option<CacheMark>,
    /// Its declaration, where the caller's dialect declares it otherwise than as a function: free text, a shell of the
    /// caller's. Elsewhere it is the function that stands here, and `Given::own_tools` brings its calls back into that form.
    pub own: Option<Raw<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice<'a> {
    Auto,
    None,
    /// Some tool, whichever.
    Required,
    /// This one.
    Named(Cow<'a, str>),
    /// One of these (or, where it is not required, none).
    Among {
        names: Vec<Cow<'a, str>>,
        required: bool,
    },
}

/// Log probabilities of the tokens of an answer, and of how many alternatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logprobs {
    pub top: Option<u64>,
}

/// What the answer must look like.
#[derive(Debug, Clone)]
pub enum Format<'a> {
    /// Some JSON object.
    Json,
    Schema {
        name: Option<Cow<'a, str>>,
        description: Option<Cow<'a, str>>,
        /// Borrowed, but where the dialect has it inside a text.
        schema: Cow<'a, RawValue>,
        strict: Option<bool>,
    },
}

/// How much the model shall think before it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReasoningAsk<'a> {
    /// `none`, `minimal`, `low`, `medium`, `high`, `xhigh`, ...: as the caller said it.
    pub effort: Option<Cow<'a, str>>,
    /// Tokens that it may think for. 0 = not at all.
    pub budget_tokens: Option<u64>,
    /// The model decides how long (`adaptive`, `dynamic`).
    pub adaptive: bool,
    /// Thoughts, or a summary of them, shall be shown: `auto`, `concise`, `detailed`; `Some("")` = not at all.
    pub show: Option<Cow<'a, str>>,
    /// Thoughts shall come back encrypted, for the next turn of a caller that lets nothing be stored.
    pub encrypted: bool,
}

/// How long the provider may cache what stands before a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheMark {
    Minutes5,
    Hour,
}

impl ReasoningAsk<'_> {
    /// Does it ask for no thinking at all, or for nothing?
    pub fn is_off(&self) -> bool {
        let none = self.effort.as_deref() == Some("none") || self.effort.is_none() && self.budget_tokens == Some(0);
        let nothing = self.effort.is_none() && self.budget_tokens.is_none() && !self.adaptive && !self.encrypted;
        none || nothing && self.show.as_deref().is_none_or(str::is_empty)
    }
}

impl<'a> Request<'a> {
    /// Messages of the system that stand before all others, and the rest.
    pub fn split_system(&self) -> (&[Message<'a>], &[Message<'a>]) {
        let begin = self.messages.iter().position(|m| !m.role.instructs()).unwrap_or(self.messages.len());
        self.messages.split_at(begin)
    }

    /// Messages of the system wherever they stand, and all others: for dialects in which instructions have one place, in front.
    pub fn gather_system(&self) -> (Vec<&Message<'a>>, Vec<&Message<'a>>) {
        self.messages.iter().partition(|m| m.role.instructs())
    }

    /// Names of the tools that the caller's dialect declares otherwise than as functions.
    pub fn own_tools(&self) -> Vec<&str> {
        let own = |tool| match tool {
            &Tool::Function(Function { ref name, own: Some(_), .. }) => Some(&**name),
            Tool::Function(_) | Tool::Native { .. } => None,
        };
        self.tools.iter().filter_map(own).collect()
    }

    /// Is there a message of the system behind one of somebody else?
    pub fn instructs_midway(&self) -> bool {
        self.split_system().1.iter().any(|m| matches!(m.role, Role::System | Role::Developer))
    }
}
