//! `tollgate.yaml`, key for key. Unknown keys are refused; types do the checking.

pub mod alerts;
pub mod identity;
pub mod secret;
pub mod shared;
pub mod text;
pub mod tls;
mod veil;
pub mod verify;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tollgate_providers::clouds::Settings;
use tollgate_store::calls::Durability;

use alerts::Alerts;
use secret::{Secret, Secrets};
use text::Text;
use verify::Verify;

/// The whole file. Every section may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub listen: Listen,
    pub policies: Policies,
    pub store: shared::Store,
    pub identity: identity::Identity,
    /// Absent = found by the environment (`OPENAI_API_KEY` and its like), and always `sim`.
    pub providers: Option<BTreeMap<String, Provider>>,
    pub alerts: Alerts,
    pub trail: Trail,
    pub edge: Edge,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    pub callers: SocketAddr,
    pub operators: SocketAddr,
    /// TLS for callers; absent = plain HTTP.
    pub tls: Option<tls::Tls>,
    /// The same for operators.
    pub operators_tls: Option<tls::Tls>,
}

/// Where policies come from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policies {
    /// A folder, a bare repository, `file://`, `https://` or `ssh://`. Absent = the built-in policies.
    pub repository: Option<Text>,
    /// Absent = the branch that a local repository has checked out, else `main`.
    pub branch: Option<Text>,
    /// A tag instead: taken anew when it moves.
    pub tag: Option<Text>,
    /// One commit instead, all 40 digits.
    pub commit: Option<Text>,
    /// Whose signatures count; absent = nobody's are asked for.
    #[serde(deserialize_with = "verify::given")]
    pub verify: Option<Verify>,
    /// For `https://`; read anew before each use.
    pub token: Option<Secret>,
    /// What a git host shows when it hints at a push; absent = only the operators' token may.
    pub webhook: Option<Secret>,
    /// The folder of the repository that holds the policies; empty = its root.
    pub folder: Text,
    /// How often a remote repository is asked for a new revision, in seconds. Local ones are watched.
    pub poll_s: NonZeroU64,
    /// Take a history that does not descend from the active revision (after a force-push).
    pub allow_rewind: bool,
}

/// One provider. A known name (`openai`, `groq`, ...) needs no address.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    pub base_url: Option<Text>,
    /// What kind of API is there, where the name does not say it: `openai`, `anthropic`, `gemini`, `bedrock`, ...
    pub api: Option<Text>,
    /// During a rotation several: the first that the provider does not refuse is shown.
    pub secret: Option<Secrets>,
    /// Of Bedrock and Vertex: where it is; their addresses follow from it.
    pub region: Option<Text>,
    /// Of Vertex: the project that pays.
    pub project: Option<Text>,
    /// Of Vertex: the key file of a service account, instead of `secret`.
    pub service_account: Option<Secrets>,
    /// Of Vertex: the only address where its tokens are asked for. Absent = Google's.
    pub token_url: Option<Text>,
    /// Of Bedrock: access keys that requests are signed with, instead of `secret`.
    pub access_key: Option<Secrets>,
    pub secret_key: Option<Secrets>,
    pub session_token: Option<Secrets>,
    /// Of Azure: calls go to the older paths with deployments, in this version.
    pub api_version: Option<Text>,
    /// Models that no catalog lists are sent on too, as `PROVIDER/MODEL`.
    pub unlisted: Option<bool>,
    /// Models that nobody knows go here.
    pub default: bool,
    pub timers: Timers,
}

impl Provider {
    /// What only clouds have.
    pub fn settings(&self) -> Settings {
        let text = |text: &Option<Text>| text.as_ref().map(|text| text.to_string());
        let source = |secrets: &Option<Secrets>| secrets.as_ref().map(Secrets::sources);
        Settings {
            region: text(&self.region),
            project: text(&self.project),
            api_version: text(&self.api_version),
            access_key: source(&self.access_key),
            secret_key: source(&self.secret_key),
            session_token: source(&self.session_token),
            service_account: source(&self.service_account),
            token_url: text(&self.token_url),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timers {
    pub connect_ms: Option<NonZeroU64>,
    pub first_byte_ms: Option<NonZeroU64>,
    pub idle_ms: Option<NonZeroU64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trail {
    /// A file of the trail ends at this size and the next begins.
    pub file_bytes_max: NonZeroU64,
    /// When a call may leave for a provider: when the kernel has its record (`relaxed`), or the disk (`strict`).
    pub durability: Durability,
}

/// Bounds that no policy can widen.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Edge {
    /// Of one request body.
    pub body_bytes_max: NonZeroUsize,
    /// Of all request bodies under way.
    pub bodies_bytes_max: NonZeroUsize,
    /// A body of which no byte comes for this long is given up.
    pub body_idle_ms: NonZeroU64,
    /// For all attempts of a call together.
    pub deadline_ms: NonZeroU64,
    pub attempts_max: u32,
    /// Connections of callers at a time.
    pub connections_max: NonZeroUsize,
    /// Threads that carry calls; absent = one per core.
    pub threads: Option<NonZeroUsize>,
}

impl Default for Listen {
    fn default() -> Self {
        Listen {
            callers: ([127, 0, 0, 1], 4000).into(),
            operators: ([127, 0, 0, 1], 4001).into(),
            tls: None,
            operators_tls: None,
        }
    }
}

impl Default for Policies {
    fn default() -> Self {
        Policies {
            repository: None,
            branch: None,
            tag: None,
            commit: None,
            verify: None,
            token: None,
            webhook: None,
            folder: Text::default(),
            poll_s: NonZeroU64::new(30).expect("30 is not 0"),
            allow_rewind: false,
        }
    }
}

impl Default for Trail {
    fn default() -> Self {
        Trail {
            file_bytes_max: NonZeroU64::new(64 << 20).expect("64 MiB are not 0"),
            durability: Durability::default(),
        }
    }
}

impl Default for Edge {
    fn default() -> Self {
        let size = |n: usize| NonZeroUsize::new(n).expect("the defaults are not 0");
        let ms = |n: u64| NonZeroU64::new(n).expect("the defaults are not 0");
        Edge {
            body_bytes_max: size(32 << 20),
            bodies_bytes_max: size(512 << 20),
            body_idle_ms: ms(30_000),
            deadline_ms: ms(600_000),
            attempts_max: 4,
            connections_max: size(10_000),
            threads: None,
        }
    }
}

/// A file that could not be read as a config: the sentence, and the place where there is one.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read `{path}`: {why}")]
    Unreadable { path: PathBuf, why: std::io::Error },
    #[error("{path}: {why}")]
    Wrong { path: PathBuf, source_text: String, line: u32, column: u32, why: String },
}

/// Reads a config file. Relative paths in it are below its folder.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let source_text =
        std::fs::read_to_string(path).map_err(|why| ConfigError::Unreadable { path: path.to_owned(), why })?;
    serde_saphyr::from_str::<Option<Config>>(&source_text).map(Option::unwrap_or_default).map_err(|error| {
        let (line, column) = error.location().map_or((0, 0), |at| (at.line() as u32, at.column() as u32));
        let (source_text, why) = veil::veiled(&source_text, &told(&error.to_string()));
        ConfigError::Wrong { path: path.to_owned(), source_text, line, column, why }
    })
}

/// The first sentence of a parser's error, without its place, with the nearest key where it lists the known ones.
fn told(error: &str) -> String {
    let first = error.lines().find(|l| !l.trim().is_empty()).unwrap_or(error).trim();
    let first = first.trim_start_matches("error: ");
    let first = match first.split_once(": ") {
        Some((place, rest)) if place.starts_with("line ") => rest,
        Some(_) | None => first,
    };
    let wrong = first.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    match (wrong, first.split_once("expected one of ")) {
        (Some(wrong), Some((_, known))) => {
            let known: Vec<&str> = known.split(", ").map(|k| k.trim_matches('`')).collect();
            let hint = tollgate_core::contract::nearest::hint(wrong, known.iter().copied());
            format!("unknown key `{wrong}`{hint} (known are `{}`)", known.join("`, `"))
        }
        _ => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let file = std::env::temp_dir().join(format!(
            "tollgate-config-{}-{:?}.yaml",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&file, text).unwrap();
        load(&file)
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        let config = read("").unwrap();
        assert_eq!(config.listen.callers.port(), 4000);
        assert!(config.providers.is_none());
    }

    #[test]
    fn certificates_are_mapped_by_a_list_or_an_expression() {
        use identity::CertificateScopes as Of;
        let text =
            "listen:\n  tls: { cert: a, key: b, client: off }\nidentity:\n  certificates: { tenant: t, scopes: X }\n";
        let of = |scopes: &str| {
            let config = read(&text.replace('X', scopes)).unwrap();
            assert_eq!(config.listen.tls.unwrap().client, tls::Client::Off);
            config.identity.certificates.unwrap().scopes
        };
        assert_eq!(of("cert.dns"), Of::Expression("cert.dns".to_owned()));
        assert!(matches!(of("[chat, mint]"), Of::All(scopes) if scopes.names() == ["chat", "mint"]));
    }

    #[test]
    fn a_secret_in_clear_is_refused_and_not_told() {
        for (text, part) in [
            ("providers:\n  openai: { secret: sk-canary1 }\n", "named here, not written"),
            ("providers:\n  openai: { secret: [sk-canary1] }\n", "named here, not written"),
            ("providers:\n  openai: { api_key: sk-canary1 }\n", "unknown key `api_key`"),
            ("providers:\n  openai: { secret: { sk-canary1 } }\n", "unknown key"),
            ("policies: { token: sk-canary1 }\n", "named here, not written"),
        ] {
            let Err(ConfigError::Wrong { source_text, why, .. }) = read(text) else { panic!("{text} was taken") };
            assert!(why.contains(part), "{text}: {why}");
            assert!(!why.contains("canary") && !source_text.contains("canary"), "{text}: {why} {source_text}");
        }
    }

    #[test]
    fn wrong_settings_are_told_with_their_place() {
        for (text, line, part) in [
            ("listen:\n  caller: 127.0.0.1:1\n", 2, "did you mean `callers`?"),
            ("edge:\n  body_bytes_max: 0\n", 2, "nonzero"),
            ("listen:\n  callers: here\n", 2, "socket address"),
            ("trail: { durability: safe }\n", 1, "unknown variant `safe`"),
            ("listen:\n  tls: { cert: a, key: b, client: maybe }\n", 2, "unknown variant `maybe`"),
            ("listen:\n  tls: { cert: a }\n", 2, "missing field `key`"),
            ("identity:\n  certificates: { tenant: a, scopes: [call] }\n", 2, "`call` is no scope"),
            ("identity:\n  certificates: { app: a }\n", 2, "missing field `tenant`"),
            ("policies: [", 1, ""),
            ("policies:\n  verify:\n", 2, ""),
            ("policies:\n  verify: {}\n", 2, "missing field `what`"),
            ("policies:\n  verify: { what: commit }\n", 2, "missing field `signers`"),
            ("policies:\n  verify: { what: head, signers: a }\n", 2, "unknown variant `head`"),
            ("policies:\n  verify: { what: commit, signers: a, revoked: }\n", 2, "path of a file"),
            ("policies:\n  verify: { what: commit, signer: a }\n", 2, "did you mean `signers`?"),
        ] {
            let Err(ConfigError::Wrong { line: at, why, .. }) = read(text) else { panic!("{text} was taken") };
            assert!(why.contains(part), "{text}: {why}");
            assert!(at >= line, "{text}: line {at}");
        }
    }
}
