//! May budgets rest on this store? One that forgets by itself is refused.

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, cmd};

use super::fault::{Fault, broken};

/// What a store must be set to, and why.
const REQUIRED: [(&str, &str, &str); 2] = [
    ("maxmemory-policy", "noeviction", "it would forget budgets when memory is short"),
    ("appendonly", "yes", "it would forget budgets when it restarts"),
];

/// Asks the store for its settings. Where it does not tell them, somebody must have said that it is to be trusted.
pub(super) async fn check(connection: &mut MultiplexedConnection, is_trusted: bool) -> Result<(), Fault> {
    if is_trusted {
        // Is this node let in? Whoever may not ask this was let in.
        let pong: Result<String, RedisError> = cmd("PING").query_async(connection).await;
        return match pong.map_err(broken) {
            Err(why @ Fault::Denied(_)) => Err(why),
            Ok(_) | Err(_) => Ok(()),
        };
    }
    for (name, wanted, why) in REQUIRED {
        let mut asked = cmd("CONFIG");
        let answer: Result<Vec<String>, RedisError> = asked.arg("GET").arg(name).query_async(connection).await;
        match answer {
            Ok(pairs) => {
                let value = pairs.get(1).map_or("", String::as_str);
                if value != wanted {
                    return Err(Fault::Unsafe(format!(
                        "the store has `{name} {value}`: {why}; set `{name} {wanted}` there (`CONFIG SET {name} {wanted}`), \
                         or `store.trust_store: true` here if you bear that"
                    )));
                }
            }
            Err(error) if is_forbidden(&error) => {
                return Err(Fault::Unsafe(format!(
                    "the store does not tell its setting `{name}` ({error}): see yourself that it is `{wanted}`, \
                     and set `store.trust_store: true`"
                )));
            }
            Err(error) => return Err(broken(error)),
        }
    }
    Ok(())
}

/// A right that is missing, or a command that was renamed.
fn is_forbidden(error: &RedisError) -> bool {
    let is_unknown = error.kind() == ErrorKind::ResponseError || error.code() == Some("ERR");
    error.code() == Some("NOPERM") || (is_unknown && error.to_string().contains("unknown command"))
}
