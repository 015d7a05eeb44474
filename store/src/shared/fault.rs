//! What can be wrong between a node and the store, and what is to be done about it.

use redis::{ErrorKind, RedisError};

use super::line::WAIT_MAX;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the store did not answer within {} ms", WAIT_MAX.as_millis())]
    Slow,
    #[error("the store cannot be used: {0}")]
    Broken(String),
    /// Waiting does not help: who is named in the settings is not let in, or is not trusted.
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    Unsafe(String),
    #[error(
        "another gateway has this one's name: their state folders are copies of one another; stop one of them, and \
         remove the file `node` from its folder"
    )]
    Twin,
}

/// What TLS says where it comes to nothing, and what helps. The client gives it as text alone.
const TLS: [(&str, &str); 2] = [
    (
        "invalid peer certificate",
        "the certificate that the store shows is not accepted: name the CA that signed it with `store.ca: FILE`, and in \
         `store.redis` the host that it is for",
    ),
    (
        "CertificateRequired",
        "the store wants certificates of its clients, and a gateway has none for it: set `tls-auth-clients no` there",
    ),
];

pub(super) fn broken(why: RedisError) -> Fault {
    let text = why.to_string();
    if let Some((_, help)) = TLS.iter().find(|(part, _)| text.contains(part)) {
        return Fault::Denied(format!("{help} ({text})"));
    }
    match (why.kind(), why.code()) {
        (ErrorKind::IoError, _) if why.is_timeout() => Fault::Slow,
        (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS")) => Fault::Denied(format!(
            "the store does not take the password, or the user does not exist there: see to `store.password`, and to the \
             user in `store.redis` (`redis://USER@HOST:PORT`; without one it is `default`) ({text})"
        )),
        (_, Some("NOAUTH")) => Fault::Denied(format!(
            "the store wants a password: give it with `store.password: {{ env: NAME }}` ({text})"
        )),
        (_, Some("NOPERM")) => Fault::Broken(format!(
            "{text}: the user needs the commands and keys that `docs/replicas.md` lists, grant them with `ACL SETUSER`"
        )),
        (_, Some("WRONGTYPE")) => {
            Fault::Broken(format!("{text}: a key that begins with `{{tollgate}}:` holds something else, remove it"))
        }
        (_, Some("READONLY")) => {
            Fault::Broken(format!("{text}: this server is a replica, name its primary in `store.redis`"))
        }
        (_, Some("OOM")) => Fault::Broken(format!("{text}: give it more memory, nothing was forgotten")),
        (_, Some(_) | None) => Fault::Broken(text),
    }
}
