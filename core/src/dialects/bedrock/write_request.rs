//! A request for a model on Bedrock.

use super::additional::{Additional, Choice};
use super::media::Names;
use super::model::Family;
use super::write_blocks::{Block, ToModel, labels_fit, write_mark};
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{Kind, Message, Role};
use crate::contract::canonical::{CacheMark, Format, Function, Request, Tool, ToolChoice};
use crate::contract::read::Number;
use crate::contract::write::{Writer, quoted};
use crate::dialects::{To, Written};

/// The longest name of a tool.
const TOOL_NAME_CHARS_MAX: usize = 64;

pub fn write(request: &Request<'_>, to: &To<'_>) -> Written {
    let family = Family::of(to.model);
    let mut model = ToModel { family, quirks: to.quirks, names: Names::default(), lost: Vec::new() };
    let (system, rest) = match to.quirks.has.contains(&Element::SystemMidway) {
        true => {
            let (system, rest) = request.split_system();
            (system.iter().collect(), rest.iter().collect())
        }
        // Instructions have one place here; that later ones stand there too was told.
        false => request.gather_system(),
    };
    let system = blocks_of(&system, &mut model);
    let turns = turns(&rest, &mut model);
    let mut additional = Additional::of(request, &mut model);
    let tools = Tools::of(request, &mut model, &mut additional);
    let mut writer = Writer::with_capacity(1_024);
    writer.object(|w| {
        w.list_member("messages", |w| {
            for (role, blocks) in &turns {
                w.object(|w| {
                    w.member("role", *role);
                    w.list_member("content", |w| blocks.iter().for_each(|block| block.write(w)));
                });
            }
        });
        if !system.is_empty() {
            w.list_member("system", |w| system.iter().for_each(|block| block.write(w)));
        }
        inference(w, request, &mut model);
        if let Some(tools) = &tools {
            w.object_member("toolConfig", |w| tools.write(w));
        }
        if !additional.is_empty() {
            w.object_member("additionalModelRequestFields", |w| additional.write(w));
        }
        labels(w, request, &mut model);
    });
    Written { body: writer.into_bytes(), lost: model.lost }
}

fn blocks_of<'p>(messages: &[&'p Message<'_>], model: &mut ToModel<'_>) -> Vec<Block<'p>> {
    let mut blocks = Vec::new();
    for part in messages.iter().flat_map(|m| &m.parts) {
        model.say(part, &mut blocks);
    }
    blocks
}

/// The two sides take turns here: messages of one side that follow one another are one.
fn turns<'p>(messages: &[&'p Message<'_>], model: &mut ToModel<'_>) -> Vec<(&'static str, Vec<Block<'p>>)> {
    let mut turns: Vec<(&'static str, Vec<Block<'p>>)> = Vec::new();
    for message in messages {
        let role = match message.role {
            Role::Assistant => "assistant",
            Role::User | Role::Tool => "user",
            // Only for models that take instructions midway.
            Role::System | Role::Developer => "system",
        };
        if turns.last().is_none_or(|(last, _)| *last != role) {
            turns.push((role, Vec::new()));
        }
        if let Some((_, blocks)) = turns.last_mut() {
            message.parts.iter().for_each(|part| model.say(part, blocks));
        }
        // Who said nothing has no turn: a message without content is refused.
        turns.pop_if(|(_, blocks)| blocks.is_empty());
    }
    turns
}

fn inference(w: &mut Writer, request: &Request<'_>, model: &mut ToModel<'_>) {
    // The dialect's own bound, whatever the model's is elsewhere.
    let temperature = request.temperature.as_ref().filter(|_| model.says(Element::Temperature));
    if temperature.is_some_and(|t: &Number<'_>| t.float() > 1.0) {
        model.lose(Loss::value(Element::Temperature, "it is 1 at most here"));
    }
    let temperature = temperature.filter(|t| t.float() <= 1.0);
    let top_p = request.top_p.as_ref().filter(|_| model.says(Element::TopP));
    let stop = !request.stop.is_empty() && model.says(Element::Stop);
    if request.max_tokens.is_none() && temperature.is_none() && top_p.is_none() && !stop {
        return;
    }
    w.object_member("inferenceConfig", |w| {
        w.member_some("maxTokens", &request.max_tokens);
        w.member_some("temperature", &temperature);
        w.member_some("topP", &top_p);
        if stop {
            w.texts_member("stopSequences", &request.stop);
        }
    });
}

fn labels(w: &mut Writer, request: &Request<'_>, model: &mut ToModel<'_>) {
    if let Some(Format::Schema { name, description, schema, .. }) = &request.format
        && model.says(Element::JsonSchema)
    {
        w.object_member("outputConfig", |w| {
            w.object_member("textFormat", |w| {
                w.member("type", "json_schema");
                w.object_member("structure", |w| {
                    w.object_member("jsonSchema", |w| {
                        w.member_some("name", name);
                        w.member_some("description", description);
                        w.json_member("schema", &quoted(schema.get()));
                    });
                });
            });
        });
    }
    match request.service_tier.as_deref().filter(|_| model.says(Element::ServiceTier)) {
        None | Some("auto") => {}
        Some(tier @ ("default" | "flex" | "priority" | "reserved")) => {
            w.object_member("serviceTier", |w| w.member("type", tier));
        }
        Some("standard" | "standard_only") => w.object_member("serviceTier", |w| w.member("type", "default")),
        Some(tier) => model.lose(Loss::value(Element::ServiceTier, format!("`{tier}` is not known here"))),
    }
    if let Some(metadata) = request.metadata.filter(|m| m.get().contains(':') && model.says(Element::Metadata)) {
        match labels_fit(metadata) {
            true => w.member("requestMetadata", metadata),
            false => model.lose(Loss::value(
                Element::Metadata,
                "labels are at most 16 here, of 256 letters, digits and signs of `:_@$#=/+,-.`",
            )),
        }
    }
}

/// Tools, and which of them the model shall call.
struct Tools<'p> {
    functions: Vec<&'p Function<'p>>,
    /// Tools that only the conversation names: the dialect refuses calls and results without any definition.
    named_before: Vec<&'p str>,
    choice: Option<&'p ToolChoice<'p>>,
    marks: bool,
    strict: bool,
}

impl<'p> Tools<'p> {
    fn of(request: &'p Request<'_>, model: &mut ToModel<'_>, additional: &mut Additional<'p>) -> Option<Tools<'p>> {
        let functions: Vec<&Function<'_>> = request
            .tools
            .iter()
            .filter_map(|tool| match tool {
                Tool::Function(function) => among(request, &function.name).then_some(function),
                Tool::Native { .. } => None,
            })
            .collect();
        let before = called_before(request);
        let none = request.tool_choice == Some(ToolChoice::None);
        if functions.is_empty() || none {
            match before.is_empty() {
                // Without definitions nothing can be called: that is what `none` asks for.
                true => return None,
                false if functions.is_empty() => return Some(Tools::named(before, model)),
                false => {}
            }
        }
        for function in functions.iter().filter(|f| !legal_name(&f.name)) {
            let told =
                format!("`{}` is no name of a tool here: 64 letters, digits, `_` and `-` at most", function.name);
            model.lose(Loss::value(Element::Tools, told));
        }
        let choice = request.tool_choice.as_ref();
        let mut tools = Tools {
            functions,
            named_before: Vec::new(),
            choice,
            marks: model.family.caches() && model.says(Element::CacheMarks),
            strict: model.family.is_strict() && model.says(Element::ToolStrict),
        };
        if !tools.marks && tools.functions.iter().any(|f| f.cache.is_some()) {
            model.lose(Loss::value(Element::CacheMarks, "this model keeps no cache of prompts"));
        }
        if !tools.strict && tools.functions.iter().any(|f| f.strict == Some(true)) {
            model.lose(Loss::value(Element::ToolStrict, "this model is not held to the schemas of its tools"));
        }
        tools.choose(request.parallel_tools == Some(false), model, additional);
        Some(tools)
    }

    fn named(names: Vec<&'p str>, model: &mut ToModel<'_>) -> Tools<'p> {
        let why = "the conversation has calls of tools that are not defined: they are defined without a schema";
        model.lose(Loss { what: Element::Tools.name().into(), hint: true, why: Some(why.to_owned()) });
        Tools { functions: Vec::new(), named_before: names, choice: None, marks: false, strict: false }
    }

    /// What the dialect has no word for is said in Anthropic's, where the model takes them.
    fn choose(&mut self, single: bool, model: &mut ToModel<'_>, additional: &mut Additional<'p>) {
        let takes = model.family.takes_anthropic_choice();
        if self.choice == Some(&ToolChoice::None) {
            self.choice = None;
            match takes {
                true => additional.choice = Some(Choice::None),
                false => model.lose(Loss::value(
                    Element::ToolChoiceNone,
                    "the conversation has calls of tools, so that they must be defined, and then may be called",
                )),
            }
            return;
        }
        if single {
            match takes {
                // Said twice in two ways it is refused.
                true => additional.choice = Some(Choice::Single(self.choice.take())),
                false => model.lose(Loss::value(Element::OneToolAtATime, "this model is not told so")),
            }
        }
    }

    fn write(&self, w: &mut Writer) {
        w.list_member("tools", |w| {
            for function in &self.functions {
                w.object(|w| w.object_member("toolSpec", |w| self.spec(w, function)));
                if let Some(mark) = function.cache.filter(|_| self.marks) {
                    w.object(|w: &mut Writer| write_mark(w, mark as CacheMark));
                }
            }
            for name in &self.named_before {
                w.object(|w| {
                    w.object_member("toolSpec", |w| {
                        w.member("name", *name);
                        w.object_member("inputSchema", |w| w.json_member("json", r#"{"type":"object"}"#));
                    });
                });
            }
        });
        let any = |w: &mut Writer| w.object_member("any", |_| {});
        match self.choice {
            // The model's own way, if nothing is said.
            None | Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Among { required: false, .. }) => {}
            Some(ToolChoice::Required | ToolChoice::Among { required: true, .. }) => {
                w.object_member("toolChoice", any);
            }
            Some(ToolChoice::Named(name)) => w.object_member("toolChoice", |w| {
                w.object_member("tool", |w| w.member("name", name));
            }),
        }
    }

    fn spec(&self, w: &mut Writer, function: &Function<'_>) {
        w.member("name", &function.name);
        w.member_some("description", &function.description.as_deref().filter(|text| !text.is_empty()));
        w.object_member("inputSchema", |w| match function.parameters {
            Some(schema) => w.member("json", schema),
            None => w.json_member("json", r#"{"type":"object","properties":{}}"#),
        });
        if self.strict {
            w.member_some("strict", &function.strict);
        }
    }
}

/// May it be called? A choice among some leaves out the others.
fn among(request: &Request<'_>, name: &str) -> bool {
    match &request.tool_choice {
        Some(ToolChoice::Among { names, .. }) => names.iter().any(|allowed| allowed == name),
        None | Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Required | ToolChoice::Named(_)) => true,
    }
}

fn legal_name(name: &str) -> bool {
    (1..=TOOL_NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// The names of tools that were called before, each once.
fn called_before<'p>(request: &'p Request<'_>) -> Vec<&'p str> {
    let mut names: Vec<&str> = Vec::new();
    for part in request.messages.iter().flat_map(|m| &m.parts) {
        if let Kind::ToolCall(call) = &part.kind
            && !names.contains(&&*call.name)
        {
            names.push(&call.name);
        }
    }
    names
}
