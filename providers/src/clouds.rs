//! Providers that are parts of a cloud: Azure, Bedrock and Vertex. Their addresses hold a region or a resource, and their
//! credentials are more than one key.
//!
//! What the environment holds for a cloud's own SDK goes to that cloud's own hosts, or to the provider that has the cloud's
//! name; an address of somebody else's that speaks the same API gets what its own section names, or nothing.

use crate::auth::Auth;
use crate::auth::aws::Keys;
use crate::auth::google::{ServiceAccount, TOKEN_URL};
use crate::http::Provider;
use crate::secret::SecretSource;

/// What the config says of a provider besides address and secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    pub region: Option<String>,
    /// Of Google's.
    pub project: Option<String>,
    /// Of Azure's older paths.
    pub api_version: Option<String>,
    /// Of Amazon's: both, or neither.
    pub access_key: Option<Vec<SecretSource>>,
    pub secret_key: Option<Vec<SecretSource>>,
    pub session_token: Option<Vec<SecretSource>>,
    /// Of Google's: a key file, and where its tokens come from.
    pub service_account: Option<Vec<SecretSource>>,
    pub token_url: Option<String>,
}

/// A variable of the environment, where it is set and not empty.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Fills in what address and credentials of a cloud's provider are still missing.
pub fn complete(provider: &mut Provider, settings: &Settings, environment: Environment<'_>) -> Result<(), String> {
    let kind = provider.api.name;
    check(provider, settings)?;
    match kind {
        "azure" => azure(provider, settings, environment),
        "bedrock" => bedrock(provider, settings, environment),
        "vertex" => vertex(provider, settings, environment),
        _ => Ok(()),
    }
}

/// A setting of one cloud means nothing to another: saying so is kinder than passing over it.
fn check(provider: &Provider, settings: &Settings) -> Result<(), String> {
    let kind = provider.api.name;
    for (name, is_set, kinds) in [
        ("region", settings.region.is_some(), &["bedrock", "vertex"][..]),
        ("project", settings.project.is_some(), &["vertex"]),
        ("service_account", settings.service_account.is_some(), &["vertex"]),
        ("token_url", settings.token_url.is_some(), &["vertex"]),
        ("api_version", settings.api_version.is_some(), &["azure"]),
        ("access_key", settings.access_key.is_some(), &["bedrock"]),
        ("secret_key", settings.secret_key.is_some(), &["bedrock"]),
        ("session_token", settings.session_token.is_some(), &["bedrock"]),
    ] {
        if is_set && !kinds.contains(&kind) {
            let kinds = kinds.join("` or `");
            return Err(format!("`{name}` is for providers whose `api` is `{kinds}`: this one's is `{kind}`"));
        }
    }
    let has_secret = matches!(provider.auth, Auth::Key(_));
    let other =
        [("access_key", settings.access_key.is_some()), ("service_account", settings.service_account.is_some())];
    match other.iter().find(|(_, is_set)| *is_set && has_secret) {
        Some((name, _)) => Err(format!("`secret` and `{name}` are two credentials: name one")),
        None => Ok(()),
    }
}

/// What the environment holds goes to the cloud's own hosts and to the provider of its name.
fn may_use_environment(provider: &Provider, own_host: bool) -> bool {
    matches!(provider.auth, Auth::None) && (own_host || *provider.name == *provider.api.name)
}

fn azure(provider: &mut Provider, settings: &Settings, environment: Environment<'_>) -> Result<(), String> {
    if provider.base_url.is_empty() {
        let named = environment("AZURE_OPENAI_ENDPOINT");
        provider.base_url = named.ok_or("give it `base_url`: `https://RESOURCE.openai.azure.com`")?;
    }
    // Their pages show it with the paths that belong to us.
    let root = provider.base_url.trim_end_matches('/');
    let root = root.strip_suffix("/openai/v1").or_else(|| root.strip_suffix("/openai")).unwrap_or(root);
    provider.base_url = root.to_owned();
    if may_use_environment(provider, false) {
        provider.auth = Auth::Key(vec![SecretSource::Env("AZURE_OPENAI_API_KEY".to_owned())]);
    }
    let named = Some("OPENAI_API_VERSION").filter(|_| *provider.name == *provider.api.name).and_then(environment);
    provider.api_version = settings.api_version.clone().or(named);
    match &provider.api_version {
        Some(version) if !plain(version) => Err(format!("`api_version`: `{version}` is none, such as `2024-10-21`")),
        Some(_) | None => Ok(()),
    }
}

fn bedrock(provider: &mut Provider, settings: &Settings, environment: Environment<'_>) -> Result<(), String> {
    let region = settings.region.clone().or_else(|| environment("AWS_REGION"));
    let region = region.or_else(|| environment("AWS_DEFAULT_REGION")).or_else(|| region_of(&provider.base_url));
    if let Some(region) = region.as_ref().filter(|region| !plain(region)) {
        return Err(format!("`region`: `{region}` is none, such as `eu-central-1`"));
    }
    let mut own_host = false;
    if provider.base_url.is_empty() {
        let moved = Some("AWS_ENDPOINT_URL_BEDROCK_RUNTIME").filter(|_| *provider.name == *provider.api.name);
        provider.base_url = match (moved.and_then(environment), &region) {
            (Some(address), _) => address.trim_end_matches('/').to_owned(),
            (None, Some(region)) => {
                own_host = true;
                let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
                format!("https://bedrock-runtime.{region}.{domain}")
            }
            (None, None) => return Err("give it `region`, such as `eu-central-1`".to_owned()),
        };
    }
    let env = |name: &str| vec![SecretSource::Env(name.to_owned())];
    let keys = match (&settings.access_key, &settings.secret_key) {
        (Some(access_key), Some(secret_key)) => {
            Some((access_key.clone(), secret_key.clone(), settings.session_token.clone()))
        }
        (None, None) if settings.session_token.is_none() => {
            let may = may_use_environment(provider, own_host);
            if may && environment("AWS_BEARER_TOKEN_BEDROCK").is_some() {
                provider.auth = Auth::Key(env("AWS_BEARER_TOKEN_BEDROCK"));
                return Ok(());
            }
            let token = environment("AWS_SESSION_TOKEN").map(|_| env("AWS_SESSION_TOKEN"));
            may.then(|| (env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"), token))
        }
        (_, _) => return Err("`access_key` and `secret_key` belong together".to_owned()),
    };
    if let Some((access_key, secret_key, session_token)) = keys {
        let region = region.ok_or("give it `region`: signatures name it")?;
        provider.auth = Auth::Aws(pairs(access_key, secret_key, session_token, &region)?);
    }
    Ok(())
}

/// The first of each belongs together, and so do the next.
fn pairs(
    access_keys: Vec<SecretSource>,
    secret_keys: Vec<SecretSource>,
    tokens: Option<Vec<SecretSource>>,
    region: &str,
) -> Result<Vec<Keys>, String> {
    let count = access_keys.len();
    if secret_keys.len() != count || tokens.as_ref().is_some_and(|tokens| tokens.len() != count) {
        return Err("`access_key`, `secret_key` and `session_token` belong together: name as many of each".to_owned());
    }
    let mut tokens = tokens.into_iter().flatten();
    let pairs = access_keys.into_iter().zip(secret_keys);
    Ok(pairs
        .map(|(access_key, secret_key)| Keys {
            access_key,
            secret_key,
            session_token: tokens.next(),
            region: region.to_owned(),
        })
        .collect())
}

/// Of an address of Amazon's own.
fn region_of(address: &str) -> Option<String> {
    let host = address.strip_prefix("https://bedrock-runtime.")?;
    let (region, rest) = host.split_once('.')?;
    rest.starts_with("amazonaws.com").then(|| region.to_owned())
}

fn vertex(provider: &mut Provider, settings: &Settings, environment: Environment<'_>) -> Result<(), String> {
    let region = settings.region.clone().or_else(|| environment("GOOGLE_CLOUD_LOCATION"));
    let region = region.unwrap_or_else(|| "global".to_owned());
    let project = settings.project.clone().or_else(|| environment("GOOGLE_CLOUD_PROJECT"));
    for (name, value) in [("region", Some(&region)), ("project", project.as_ref())] {
        // Old projects have a domain before their name.
        if let Some(value) = value.filter(|value| !plain(&value.replace(':', ""))) {
            return Err(format!("`{name}`: `{value}` is none"));
        }
    }
    let own_host = provider.base_url.is_empty();
    if own_host {
        provider.base_url = match &*region {
            "global" => "https://aiplatform.googleapis.com".to_owned(),
            "us" | "eu" => format!("https://aiplatform.{region}.rep.googleapis.com"),
            _ => format!("https://{region}-aiplatform.googleapis.com"),
        };
    }
    if !provider.base_url.contains("/projects/") {
        let project = project.ok_or("give it `project`: the id of the project that pays")?;
        let root = provider.base_url.trim_end_matches('/').trim_end_matches("/v1");
        provider.base_url = format!("{root}/v1/projects/{project}/locations/{region}");
    }
    let key = match &settings.service_account {
        Some(source) => Some(source.clone()),
        None if may_use_environment(provider, own_host) => {
            let file = environment("GOOGLE_APPLICATION_CREDENTIALS");
            let why = "give it `service_account`: `{ file: KEY.json }`, or set `GOOGLE_APPLICATION_CREDENTIALS`";
            Some(vec![SecretSource::File(file.ok_or(why)?.into())])
        }
        None => None,
    };
    if let Some(keys) = key {
        let token_url = settings.token_url.clone().unwrap_or_else(|| TOKEN_URL.to_owned());
        let account = ServiceAccount { keys, token_url };
        account.check().map_err(|why| format!("`token_url`: {why}"))?;
        provider.auth = Auth::Google(account);
    }
    Ok(())
}

/// May it stand in a host or a path as it is?
fn plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Those whose credentials the environment holds, with all that their address needs.
pub fn found(environment: Environment<'_>) -> Vec<Provider> {
    let has = |name: &str| environment(name).is_some();
    let signs = has("AWS_ACCESS_KEY_ID") && has("AWS_SECRET_ACCESS_KEY");
    let is_there = |name: &&str| match *name {
        "azure" => has("AZURE_OPENAI_API_KEY") && has("AZURE_OPENAI_ENDPOINT"),
        "bedrock" => has("AWS_BEARER_TOKEN_BEDROCK") || signs,
        "vertex" => has("GOOGLE_APPLICATION_CREDENTIALS") && has("GOOGLE_CLOUD_PROJECT"),
        _ => false,
    };
    // One that cannot be completed (no region) is one that nobody set up.
    let made = |name: &str| {
        named(name)
            .filter(|p| is_there(&&*p.name))
            .and_then(|mut provider| complete(&mut provider, &Settings::default(), environment).ok().map(|()| provider))
    };
    NAMES.iter().filter_map(|name| made(name)).collect()
}

pub const NAMES: [&str; 3] = ["azure", "bedrock", "vertex"];

/// A cloud's provider by its name, without an address yet.
pub fn named(name: &str) -> Option<Provider> {
    let name = NAMES.iter().find(|known| **known == name)?;
    let api = crate::api::named(name)?;
    Some(Provider { api, unlisted: true, ..Provider::at(name, "") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(list: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        let list: Vec<(String, String)> = list.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        move |name| list.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    fn auth_of(provider: &Provider) -> &'static str {
        match provider.auth {
            Auth::None => "none",
            Auth::Key(_) => "key",
            Auth::Aws(_) => "aws",
            Auth::Google(_) => "google",
        }
    }

    #[test]
    fn the_variables_of_their_sdks_find_them() {
        for (list, expected, why) in [
            (
                &[("AZURE_OPENAI_API_KEY", "k"), ("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com/")][..],
                Some(("https://r.openai.azure.com", "key")),
                "Azure",
            ),
            (&[("AZURE_OPENAI_API_KEY", "k")], None, "Azure without its resource"),
            (
                &[("AWS_BEARER_TOKEN_BEDROCK", "k"), ("AWS_REGION", "us-east-1")],
                Some(("https://bedrock-runtime.us-east-1.amazonaws.com", "key")),
                "a Bedrock API key",
            ),
            (
                &[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_DEFAULT_REGION", "cn-north-1")],
                Some(("https://bedrock-runtime.cn-north-1.amazonaws.com.cn", "aws")),
                "access keys",
            ),
            (&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")], None, "no region"),
            (&[("AWS_BEARER_TOKEN_BEDROCK", "k"), ("AWS_REGION", "x.evil/")], None, "no region either"),
            (
                &[("GOOGLE_APPLICATION_CREDENTIALS", "/k.json"), ("GOOGLE_CLOUD_PROJECT", "p")],
                Some(("https://aiplatform.googleapis.com/v1/projects/p/locations/global", "google")),
                "Vertex",
            ),
            (
                &[
                    ("GOOGLE_APPLICATION_CREDENTIALS", "/k.json"),
                    ("GOOGLE_CLOUD_PROJECT", "p"),
                    ("GOOGLE_CLOUD_LOCATION", "europe-west4"),
                ],
                Some(("https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4", "google")),
                "Vertex in a region",
            ),
        ] {
            let found = found(&env(list));
            let told = found.first().map(|p| (p.base_url.as_str(), auth_of(p)));
            assert_eq!(told, expected, "{why}");
        }
    }

    /// The environment of somebody's SDK must not reach an address that only speaks the same API.
    #[test]
    fn credentials_of_the_environment_stay_with_their_cloud() {
        let all = env(&[
            ("AWS_BEARER_TOKEN_BEDROCK", "k"),
            ("AWS_REGION", "us-east-1"),
            ("AZURE_OPENAI_API_KEY", "k"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "/k.json"),
            ("GOOGLE_CLOUD_PROJECT", "p"),
        ]);
        for (name, kind, base_url, expected, why) in [
            ("mine", "bedrock", "http://127.0.0.1:9", "none", "somebody else's address"),
            ("mine", "azure", "http://127.0.0.1:9", "none", "somebody else's address"),
            ("mine", "vertex", "http://127.0.0.1:9", "none", "somebody else's address"),
            ("mine", "bedrock", "", "key", "Amazon's own"),
            ("mine", "vertex", "", "google", "Google's own"),
            ("bedrock", "bedrock", "http://127.0.0.1:9", "key", "it was moved under its own name"),
        ] {
            let mut provider = Provider { api: crate::api::named(kind).unwrap(), ..Provider::at(name, base_url) };
            complete(&mut provider, &Settings::default(), &all).unwrap();
            assert_eq!(auth_of(&provider), expected, "{kind} at `{base_url}`: {why}");
        }
    }

    #[test]
    fn settings_that_mean_nothing_or_two_things_are_told() {
        let nothing = env(&[]);
        let source = || Some(vec![SecretSource::Env("X".to_owned())]);
        for (kind, base_url, settings, secret, told) in [
            ("openai", "http://h", Settings { region: Some("r".into()), ..Settings::default() }, false, "`bedrock`"),
            ("bedrock", "", Settings::default(), false, "give it `region`"),
            (
                "bedrock",
                "",
                Settings { region: Some("us-east-1".into()), access_key: source(), ..Settings::default() },
                false,
                "belong together",
            ),
            (
                "bedrock",
                "",
                Settings { access_key: source(), secret_key: source(), ..Settings::default() },
                true,
                "two credentials",
            ),
            ("vertex", "", Settings::default(), false, "give it `project`"),
            (
                "vertex",
                "",
                Settings {
                    project: Some("p".into()),
                    service_account: source(),
                    token_url: Some("http://h/token".into()),
                    ..Settings::default()
                },
                false,
                "must begin with `https://`",
            ),
            ("azure", "", Settings::default(), false, "give it `base_url`"),
            (
                "azure",
                "http://h",
                Settings { api_version: Some("a&b".into()), ..Settings::default() },
                false,
                "is none",
            ),
        ] {
            let mut provider = Provider { api: crate::api::named(kind).unwrap(), ..Provider::at(kind, base_url) };
            provider.auth = if secret { Auth::Key(vec![SecretSource::Env("S".into())]) } else { Auth::None };
            let wrong = complete(&mut provider, &settings, &nothing).unwrap_err();
            assert!(wrong.contains(told), "{kind}: {wrong}");
        }
    }
}
