//! What makers of models add to a text: numbers that were measured on recorded calls, and rules that the makers publish.

use super::{Counts, PARTS};

/// How one family of models counts. Where a model's name fits no row, the last one is for it.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// It is of this family if its name holds one of these.
    names: &'static [&'static str],
    /// Every call.
    base: u64,
    /// Every message.
    message: u64,
    /// Tokens of a hundred pieces of text.
    text: u64,
    /// Calls with tools, once.
    tools: u64,
    /// Every tool.
    tool: u64,
    /// Tokens of a hundred pieces of declared tools and schemas: some makers shorten them, some wrap them.
    declared: u64,
    /// A picture, usually.
    picture: u64,
    /// A picture of the largest size that is not made smaller.
    picture_most: u64,
    /// What its providers put before a prompt at most, and again where there are tools: nobody tells that beforehand.
    preface_most: u64,
}

const OTHER: Family = Family {
    names: &[],
    base: 3,
    message: 4,
    text: 100,
    tools: 60,
    tool: 10,
    declared: 100,
    picture: 800,
    picture_most: 6_000,
    preface_most: 1_024,
};

/// The first row that fits counts.
static FAMILIES: [Family; 14] = [
    Family { names: &["embed"], base: 0, message: 0, preface_most: 16, ..OTHER },
    Family { names: &["gpt-oss"], base: 68, message: 3, text: 95, tools: 15, tool: 0, ..OTHER },
    // Its small sibling counts pictures thirty times dearer: 2,833 and 5,667 for each of at most 8 tiles.
    Family { names: &["gpt-4o-mini"], picture: 25_000, picture_most: 48_500, ..GPT },
    Family { names: &["gpt", "o1", "o3", "o4", "davinci", "codex", "chat-latest"], ..GPT },
    Family {
        names: &["claude"],
        base: 7,
        message: 2,
        text: 105,
        tools: 480,
        tool: 0,
        declared: 150,
        picture: 800,
        picture_most: 5_000,
        preface_most: 768,
    },
    Family {
        names: &["gemini", "gemma"],
        base: 0,
        message: 1,
        tools: 15,
        tool: 0,
        declared: 50,
        picture: 300,
        ..OTHER
    },
    Family { names: &["nova"], base: 0, message: 1, tools: 800, tool: 0, declared: 150, ..OTHER },
    Family { names: &["command", "aya"], base: 400, tools: 780, picture: 400, preface_most: 2_048, ..OTHER },
    Family { names: &["deepseek"], base: 2, tools: 240, tool: 15, declared: 130, ..OTHER },
    Family { names: &["llama"], base: 10, tools: 400, tool: 100, declared: 50, picture: 1_300, ..OTHER },
    Family { names: &["stral"], base: 5, message: 1, tools: 0, tool: 40, declared: 50, picture: 600, ..OTHER },
    Family { names: &["grok"], base: 0, tools: 140, tool: 0, declared: 150, picture: 300, ..OTHER },
    Family { names: &["qwen", "qwq"], base: 5, message: 5, text: 95, tools: 180, tool: 0, declared: 30, ..OTHER },
    OTHER,
];

const GPT: Family = Family {
    names: &[],
    base: 3,
    message: 4,
    text: 95,
    tools: 15,
    tool: 2,
    declared: 60,
    picture: 800,
    picture_most: 10_500,
    preface_most: 256,
};

/// Marks around a message.
const MESSAGE_MOST: u64 = 32;
/// A tool that its provider describes.
const PROMPTED: u64 = 700;
const PROMPTED_MOST: u64 = 4_096;
/// What a provider fetches or remembers has no bound but the model's context. This is an allowance: twice the largest
/// that was recorded.
const OUTSIDE: u64 = 500;
const OUTSIDE_MOST: u64 = 65_536;
/// A document's pages, and base64 characters a token: at most one, for pages that are text; usually many.
const DOCUMENT: u64 = 300;
const DOCUMENT_MOST: u64 = 8_192;
const DOCUMENT_CHARS: u64 = 20;
/// Sound and films: usual rates are 10 to 32 and 300 tokens a second.
const SOUND: u64 = 100;
const SOUND_MOST: u64 = 8_192;
const SOUND_CHARS: u64 = 200;
const SOUND_CHARS_LEAST: u64 = 16;

impl Family {
    /// Of a model, as its provider names it.
    pub fn of(model: &str) -> &'static Family {
        let fits = |row: &&Family| row.names.iter().any(|name| holds(model, name));
        FAMILIES.iter().find(fits).unwrap_or(&FAMILIES[FAMILIES.len() - 1])
    }

    /// The first of its names; `other` for all that have none.
    pub fn name(&self) -> &'static str {
        self.names.first().copied().unwrap_or("other")
    }

    /// Is there a row for this name?
    pub fn knows(model: &str) -> bool {
        !Family::of(model).names.is_empty()
    }

    /// Input tokens, as they likely are.
    pub fn estimate(&self, counts: &Counts) -> u64 {
        let share = |tenths: u64, percent: u64| tenths.saturating_mul(percent) / (100 * PARTS);
        [
            self.base,
            self.message.saturating_mul(counts.messages),
            share(counts.text.likely, self.text),
            share(counts.declared.likely, self.declared),
            if counts.tools > 0 { self.tools } else { 0 },
            self.tool.saturating_mul(counts.tools),
            self.picture.saturating_mul(counts.pictures),
            PROMPTED.saturating_mul(counts.prompted),
            OUTSIDE.saturating_mul(counts.outside),
            DOCUMENT.saturating_mul(counts.document_count) + counts.documents / DOCUMENT_CHARS,
            if counts.sound > 0 { SOUND + counts.sound / SOUND_CHARS } else { 0 },
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
        .max(1)
    }

    /// Input tokens at most, for a hold. What comes from outside is bounded by the model's context, where that is known.
    pub fn bound(&self, counts: &Counts, context_tokens: Option<u64>) -> u64 {
        let told = [
            self.preface_most,
            MESSAGE_MOST.saturating_mul(counts.messages),
            counts.body.most.div_ceil(PARTS),
            if counts.tools > 0 { self.preface_most } else { 0 },
            self.picture_most.saturating_mul(counts.pictures),
            PROMPTED_MOST.saturating_mul(counts.prompted),
            DOCUMENT_MOST.saturating_mul(counts.document_count).saturating_add(counts.documents),
            if counts.sound > 0 { SOUND_MOST + counts.sound / SOUND_CHARS_LEAST } else { 0 },
        ];
        let told = told.into_iter().fold(0, u64::saturating_add);
        let all = told.saturating_add(OUTSIDE_MOST.saturating_mul(counts.outside));
        context_tokens.map_or(all, |context| all.min(context.max(told)))
    }
}

/// Does the name hold this, whatever the case of its letters?
fn holds(name: &str, part: &str) -> bool {
    name.as_bytes().windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::{Counts, size};
    use super::*;

    #[test]
    fn a_model_has_the_family_of_its_name() {
        for (model, name) in [
            ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
            ("openai/GPT-5", "gpt"),
            ("openai.gpt-oss-120b-1:0", "gpt-oss"),
            ("eu.anthropic.claude-sonnet-4-6", "claude"),
            ("text-embedding-3-small", "embed"),
            ("ministral-8b", "stral"),
        ] {
            assert_eq!(Family::of(model).names[0], name, "{model}");
        }
        assert!(!Family::knows("sim-1") && !Family::knows("@high"));
    }

    #[test]
    fn an_allowance_for_what_is_fetched_ends_at_the_context_and_the_prompt_itself_does_not() {
        let text = "words ".repeat(1_000);
        let counts = Counts { body: size(text.as_bytes()), outside: 3, messages: 1, ..Counts::default() };
        let family = Family::of("gpt-5");
        assert_eq!(family.bound(&counts, None) - family.bound(&Counts { outside: 0, ..counts }, None), 3 * 65_536);
        assert_eq!(family.bound(&counts, Some(128_000)), 128_000);
        assert!(family.bound(&counts, Some(100)) > 2_000, "a context that is too small hides nothing");
    }

    #[test]
    fn an_estimate_is_never_above_its_bound() {
        let sizes =
            ["", "a", "Hello, world!", "0123456789", "{\"a\":[1,2,3]}", "你好，世界", "Größe", "🙂🙂", "  \n\n x"];
        for text in sizes {
            let text = size(text.as_bytes());
            let counts = Counts {
                text,
                body: text,
                messages: 2,
                pictures: 1,
                sound: 99,
                documents: 9,
                document_count: 1,
                ..Counts::default()
            };
            for family in &FAMILIES {
                assert!(family.estimate(&counts) <= family.bound(&counts, None), "{:?}", family.names);
            }
        }
    }
}
