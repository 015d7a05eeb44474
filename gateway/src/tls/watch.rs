//! Looks at the files of the listeners, and has them read anew when they change or when SIGHUP says so.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::files::{self, Stamps};
use super::{Door, Side};

/// Between two looks. Files that change are read at the second look that finds them alike, so that a certificate and its key
/// that are written one after the other are taken together: a change acts within a second.
const LOOK: Duration = Duration::from_millis(400);
const DAY_MS: i64 = 86_400_000;
/// Before its end a certificate is spoken of in the log, once a day.
pub const DAYS_WARNED: i64 = 14;

/// One listener, and what was seen of its files.
struct Watched {
    door: Arc<Door>,
    /// When they were read.
    read: Stamps,
    /// At the last look.
    seen: Stamps,
    /// The day of the last warning, counted from the end.
    warned: Option<i64>,
}

/// Watches for as long as the gateway runs.
pub async fn watch(doors: Vec<Arc<Door>>, mut hangups: watch::Receiver<u64>) {
    let mut watched: Vec<Watched> = doors.into_iter().map(Watched::new).collect();
    loop {
        let told = tokio::select! {
            () = tokio::time::sleep(LOOK) => false,
            told = hangups.changed() => {
                if told.is_err() {
                    // Nobody listens to signals any more: the program ends.
                    return;
                }
                true
            }
        };
        // Lists of revoked certificates may be long: on a thread that carries no calls.
        let looked = tokio::task::spawn_blocking(move || {
            watched.iter_mut().for_each(|one| one.look(told));
            watched
        });
        match looked.await {
            Ok(back) => watched = back,
            Err(why) => {
                tracing::error!(%why, "certificates are no longer watched: restart the gateway");
                return;
            }
        }
    }
}

impl Watched {
    fn new(door: Arc<Door>) -> Watched {
        // Read at the start. What has changed since is found at the first look, for that is an older state.
        let stamps = door.stamps.clone();
        let mut watched = Watched { door, read: stamps.clone(), seen: stamps, warned: None };
        watched.tell_end();
        watched
    }

    fn look(&mut self, told: bool) {
        let stamps = files::stamps(&self.door.files);
        if told || (stamps != self.read && stamps == self.seen) {
            self.door.load();
            self.read = stamps.clone();
        }
        self.seen = stamps;
        self.tell_end();
    }

    fn tell_end(&mut self) {
        let (side, until_ms) = (self.door.side, self.door.now.load().until_ms);
        let left_ms = until_ms - (self.door.core.clock.now_ms)();
        self.door.meters.days_left(side, left_ms as f64 / DAY_MS as f64);
        let days = left_ms.div_euclid(DAY_MS);
        if days < DAYS_WARNED && self.warned != Some(days) {
            self.warned = Some(days);
            self.warn(side, days);
        } else if days >= DAYS_WARNED {
            self.warned = None;
        }
    }

    fn warn(&self, side: Side, days: i64) {
        let (side, file) = (side.name(), self.door.files.cert.display());
        match days {
            ..0 => tracing::error!(side, "the certificate `{file}` has ended: clients refuse it"),
            days => tracing::warn!(side, days, "the certificate `{file}` ends soon: put a newer one in its place"),
        }
    }
}
