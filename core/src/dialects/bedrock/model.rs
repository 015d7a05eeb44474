//! What the id of a model tells: whose it is, and what it takes beyond the dialect.
//!
//! Bedrock serves many makers' models behind one dialect, and refuses what a model does not know. An id that tells nothing
//! (an alias, the address of an inference profile) is taken for a model that knows the dialect alone.

use crate::contract::canonical::part::Maker;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Its version: 3.7 is (3, 7).
    Claude(u32, u32),
    /// Amazon's own, from its second generation on.
    Nova2,
    Nova,
    /// OpenAI's open models.
    GptOss,
    /// Somebody else's.
    Other,
    Unknown,
}

/// Makers whose models neither seal thoughts as Anthropic does nor take its marks.
const OTHERS: [&str; 16] = [
    "ai21.",
    "amazon.",
    "cohere.",
    "deepseek.",
    "google.",
    "luma.",
    "meta.",
    "minimax.",
    "mistral.",
    "moonshot.",
    "moonshotai.",
    "nvidia.",
    "qwen.",
    "stability.",
    "writer.",
    "zai.",
];

impl Family {
    pub fn of(model: &str) -> Family {
        let has = |part: &str| model.contains(part);
        if let Some(at) = model.find("anthropic.") {
            let (major, minor) = version(&model[at..]);
            return Family::Claude(major, minor);
        }
        if has("amazon.nova-2") {
            return Family::Nova2;
        }
        if has("amazon.nova") {
            return Family::Nova;
        }
        if has("openai.") {
            return Family::GptOss;
        }
        if OTHERS.iter().any(|maker| has(maker)) { Family::Other } else { Family::Unknown }
    }

    pub fn is_claude(self) -> bool {
        matches!(self, Family::Claude(..))
    }

    pub fn is_nova(self) -> bool {
        matches!(self, Family::Nova | Family::Nova2)
    }

    /// Whose seals its thoughts bear. Where the id tells nothing they are Anthropic's: nobody else's must come back.
    pub fn maker(self) -> Maker {
        match self {
            Family::Claude(..) | Family::Unknown => Maker::Anthropic,
            Family::Nova | Family::Nova2 | Family::GptOss | Family::Other => Maker::Other,
        }
    }

    /// It decides itself how long to think, and is told an effort; older ones are told a budget.
    pub fn thinks_by_effort(self) -> bool {
        self >= (4, 6)
    }

    /// It takes Anthropic's own `tool_choice` beside the dialect's: the only way to say `none`, or one tool at a time.
    pub fn takes_anthropic_choice(self) -> bool {
        self >= (4, 5)
    }

    /// It can be held to the schemas of its tools.
    pub fn is_strict(self) -> bool {
        self >= (4, 5)
    }

    pub fn caches(self) -> bool {
        self.is_claude() || self.is_nova()
    }
}

/// Of Claude, at least this version.
impl PartialEq<(u32, u32)> for Family {
    fn eq(&self, other: &(u32, u32)) -> bool {
        matches!(self, Family::Claude(major, minor) if (*major, *minor) == *other)
    }
}

impl PartialOrd<(u32, u32)> for Family {
    fn partial_cmp(&self, other: &(u32, u32)) -> Option<std::cmp::Ordering> {
        match self {
            Family::Claude(major, minor) => Some((*major, *minor).cmp(other)),
            Family::Nova | Family::Nova2 | Family::GptOss | Family::Other | Family::Unknown => None,
        }
    }
}

/// `anthropic.claude-3-7-sonnet-20250219-v1:0` is 3.7, `anthropic.claude-sonnet-4-20250514-v1:0` is 4.0.
fn version(id: &str) -> (u32, u32) {
    let mut words = id.split(|c: char| !c.is_ascii_alphanumeric());
    // A date has eight digits, a version at most two.
    let small = |word: &str| word.parse::<u32>().ok().filter(|_| word.len() <= 2);
    let major = words.find_map(|word| small(word.strip_prefix('v').unwrap_or(word))).unwrap_or(0);
    (major, words.next().and_then(small).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_families_and_versions() {
        for (id, family) in [
            ("anthropic.claude-v2", Family::Claude(2, 0)),
            ("anthropic.claude-3-sonnet-20240229-v1:0", Family::Claude(3, 0)),
            ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", Family::Claude(3, 7)),
            ("us.anthropic.claude-sonnet-4-20250514-v1:0", Family::Claude(4, 0)),
            ("global.anthropic.claude-haiku-4-5-20251001-v1:0", Family::Claude(4, 5)),
            ("us.anthropic.claude-sonnet-4-6", Family::Claude(4, 6)),
            ("us.anthropic.claude-opus-5", Family::Claude(5, 0)),
            ("us.amazon.nova-2-lite-v1:0", Family::Nova2),
            ("amazon.nova-lite-v1:0", Family::Nova),
            ("amazon.titan-text-lite-v1", Family::Other),
            ("openai.gpt-oss-120b-1:0", Family::GptOss),
            ("meta.llama3-8b-instruct-v1:0", Family::Other),
            ("arn:aws:bedrock:us-east-1:1:application-inference-profile/x", Family::Unknown),
            ("gpt-4o", Family::Unknown),
        ] {
            assert_eq!(Family::of(id), family, "{id}");
        }
        assert!(Family::of("anthropic.claude-opus-5").thinks_by_effort());
        assert!(!Family::of("anthropic.claude-haiku-4-5").thinks_by_effort());
        assert!(!Family::Nova2.thinks_by_effort());
    }
}
