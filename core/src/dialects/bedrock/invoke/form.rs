//! In whose form a body for `InvokeModel` is: told by members that only one form has.

use crate::contract::Dialect;
use crate::contract::skim::Skim;
use crate::dialects::spots::Spot;

/// The dialect in which its words can be read; `None` = it is no conversation in a form that is known here.
pub fn of(body: &[u8], skim: &Skim) -> Option<Dialect> {
    let has = |member: &str| skim.find(body, member).is_some();
    if has(super::VERSION) {
        return Some(Dialect::AnthropicMessages);
    }
    has("messages").then(|| match has("schemaVersion") || has("inferenceConfig") || has("toolConfig") {
        // Amazon's own models take what Converse takes.
        true => Dialect::BedrockConverse,
        false => Dialect::OpenaiChat,
    })
}

/// Where each form says how many answers are made.
pub const ANSWERS: &[Spot<'static>] =
    &[Spot::top("n"), Spot::top("num_generations"), Spot::top("numResults"), Spot::top("num_results")];

/// Where each form bounds the tokens of an answer. A model reads the member of its own form, whatever else stands there.
pub const BOUNDS: &[Spot<'static>] = &[
    Spot::top("max_tokens"),
    Spot::top("max_tokens_to_sample"),
    Spot::top("max_gen_len"),
    Spot::top("max_completion_tokens"),
    Spot::top("maxTokens"),
    Spot::inside("inferenceConfig", "maxTokens"),
    Spot::inside("inferenceConfig", "max_new_tokens"),
    Spot::inside("textGenerationConfig", "maxTokenCount"),
];

/// Where an answer is bounded that nobody has bounded yet.
pub fn bound(body: &[u8], skim: &Skim, model: &str) -> Spot<'static> {
    let has = |member: &str| skim.find(body, member).is_some();
    let text_only = !has(super::VERSION) && !has("messages");
    match () {
        () if model.contains("ai21.j2") => Spot::top("maxTokens"),
        () if has("inputText") => Spot::inside("textGenerationConfig", "maxTokenCount"),
        () if of(body, skim) == Some(Dialect::BedrockConverse) => Spot::inside("inferenceConfig", "maxTokens"),
        () if text_only && model.contains("meta.") => Spot::top("max_gen_len"),
        () if text_only && model.contains("anthropic.") => Spot::top("max_tokens_to_sample"),
        () => Spot::top("max_tokens"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::skim::skim;

    #[test]
    fn a_form_is_told_by_its_members() {
        for (body, model, form, bound_at) in [
            (
                r#"{"anthropic_version":"bedrock-2023-05-31","messages":[]}"#,
                "us.anthropic.claude",
                Some(Dialect::AnthropicMessages),
                "max_tokens",
            ),
            (
                r#"{"schemaVersion":"messages-v1","messages":[]}"#,
                "amazon.nova-lite-v1:0",
                Some(Dialect::BedrockConverse),
                "maxTokens",
            ),
            (r#"{"messages":[]}"#, "openai.gpt-oss-20b-1:0", Some(Dialect::OpenaiChat), "max_tokens"),
            (r#"{"prompt":"a"}"#, "meta.llama3-8b-instruct-v1:0", None, "max_gen_len"),
            (r#"{"prompt":"a"}"#, "anthropic.claude-v2", None, "max_tokens_to_sample"),
            (r#"{"prompt":"a"}"#, "mistral.mistral-7b", None, "max_tokens"),
            (r#"{"prompt":"a"}"#, "ai21.j2-ultra-v1", None, "maxTokens"),
            (r#"{"inputText":"a"}"#, "amazon.titan-text-lite-v1", None, "maxTokenCount"),
        ] {
            let skimmed = skim(body.as_bytes()).unwrap();
            assert_eq!(of(body.as_bytes(), &skimmed), form, "{body}");
            assert_eq!(bound(body.as_bytes(), &skimmed, model).member, bound_at, "{body}");
            assert!(BOUNDS.contains(&bound(body.as_bytes(), &skimmed, model)), "what is set is read again");
        }
    }
}
