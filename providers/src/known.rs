//! Providers that are known by name: addresses and the variables that their SDKs read. A provider is data, not code.

use crate::api;
use crate::auth::Auth;
use crate::clouds;
use crate::http::{Provider, Timers};
use crate::secret::SecretSource;

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub name: &'static str,
    pub base_url: &'static str,
    /// The variable that holds its key; empty = it takes none.
    pub key: &'static str,
    /// A variable that moves its address; empty = none.
    pub address: &'static str,
    /// What is added to that address.
    pub suffix: &'static str,
    /// What kind of API it has, by name.
    pub api: &'static str,
}

const fn row(
    name: &'static str,
    base_url: &'static str,
    key: &'static str,
    address: &'static str,
    api: &'static str,
) -> Known {
    Known { name, base_url, key, address, suffix: "", api }
}

static KNOWN: [Known; 14] = [
    row("openai", "https://api.openai.com/v1", "OPENAI_API_KEY", "OPENAI_BASE_URL", "openai"),
    row("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", "", "groq"),
    row("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", "", "mistral"),
    row("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", "", "deepseek"),
    row("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", "", "openrouter"),
    row("xai", "https://api.x.ai/v1", "XAI_API_KEY", "", "xai"),
    row("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", "", "compatible"),
    row("perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY", "", "compatible"),
    row("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", "", "compatible"),
    Known { suffix: "/v1", ..row("ollama", "http://127.0.0.1:11434/v1", "", "OLLAMA_HOST", "ollama") },
    row("anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "anthropic"),
    row("gemini", "https://generativelanguage.googleapis.com", "GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL", "gemini"),
    row("cohere", "https://api.cohere.com", "CO_API_KEY", "", "cohere"),
    row("vllm", "http://127.0.0.1:8000/v1", "VLLM_API_KEY", "VLLM_BASE_URL", "compatible"),
];

/// Serve models that no catalog lists: their own names are all there is.
const OPEN: [&str; 3] = ["openrouter", "ollama", "vllm"];

pub fn known() -> &'static [Known] {
    &KNOWN
}

impl Known {
    /// The provider as it stands in the table, moved where the environment says so.
    pub fn provider(&self, environment: &dyn Fn(&str) -> Option<String>) -> Provider {
        let moved = Some(self.address).filter(|name| !name.is_empty()).and_then(environment).map(|address| {
            let scheme = if address.contains("://") { "" } else { "http://" };
            format!("{scheme}{}{}", address.trim_end_matches('/'), self.suffix)
        });
        Provider {
            name: self.name.into(),
            base_url: moved.unwrap_or_else(|| self.base_url.to_owned()),
            api: api::named(self.api).unwrap_or_else(api::compatible),
            auth: match self.key {
                "" => Auth::None,
                key => Auth::Key(vec![SecretSource::Env(key.to_owned())]),
            },
            api_version: None,
            unlisted: OPEN.contains(&self.name),
            default: false,
            forwards: Vec::new(),
            timers: Timers::default(),
        }
    }
}

/// A provider that is known by name, as it stands in the tables. A cloud's has no address yet: `clouds::complete` gives it one.
pub fn named(name: &str, environment: &dyn Fn(&str) -> Option<String>) -> Option<Provider> {
    let row = KNOWN.iter().find(|row| row.name == name);
    row.map(|row| row.provider(environment)).or_else(|| clouds::named(name))
}

/// The names of all of them.
pub fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|row| row.name).chain(clouds::NAMES)
}

/// Those whose key, or address, the environment holds.
pub fn found(environment: &dyn Fn(&str) -> Option<String>) -> Vec<Provider> {
    let is_there = |name: &str| !name.is_empty() && environment(name).is_some();
    let serving = |k: &&Known| is_there(k.key) || (matches!(k.name, "ollama" | "vllm") && is_there(k.address));
    KNOWN
        .iter()
        .filter(serving)
        .map(|k| {
            let provider = k.provider(environment);
            // A server of one's own often takes no key.
            let keyless = k.name == "vllm" && !is_there(k.key);
            Provider { auth: if keyless { Auth::None } else { provider.auth }, ..provider }
        })
        .chain(clouds::found(environment))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_names_a_kind_that_there_is() {
        for row in known() {
            assert!(api::named(row.api).is_some(), "{}: `{}`", row.name, row.api);
        }
    }

    #[test]
    fn providers_are_found_by_the_variables_of_their_sdks() {
        let environment = |name: &str| match name {
            "GROQ_API_KEY" => Some("k".to_owned()),
            "OLLAMA_HOST" => Some("10.0.0.5:11434".to_owned()),
            "OPENAI_BASE_URL" => Some("http://127.0.0.1:9/v1/".to_owned()),
            _ => None,
        };
        let list: Vec<(String, String)> =
            found(&environment).into_iter().map(|p| (p.name.to_string(), p.base_url)).collect();
        assert_eq!(
            list,
            [
                ("groq".to_owned(), "https://api.groq.com/openai/v1".to_owned()),
                ("ollama".to_owned(), "http://10.0.0.5:11434/v1".to_owned()),
            ],
            "an address without a key does not bring OpenAI in"
        );
        let openai = known()[0].provider(&environment);
        assert_eq!(openai.base_url, "http://127.0.0.1:9/v1", "but it moves it where a config names it");
    }
}
