//! Alerts over a restart: which were told, and which still wait for the webhook, in the state file of this gateway.
//!
//! Written by a task of its own, some at a time: neither a call nor an attempt waits for the disk. So a crash may lose what
//! was raised in its last moments, and tell once more what was just told; the receipts have all of them.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tollgate_store::keyed::{Keyed, KeyedError, Table};

use super::{Kind, SEEN_MAX};

/// By the digest of what makes them the same.
const ALERTS: Table<Row> = Table::named("alerts");
/// Changes that wait for the disk.
const QUEUE_MAX: usize = 1_024;
/// Changes of one transaction.
const BATCH_MAX: usize = 256;
/// A longer message is not kept.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// So long changes are gathered: each transaction syncs a file that calls with an idempotency key wait for too.
const GATHER: Duration = Duration::from_millis(50);

/// One alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What is the same alert.
    pub same: Arc<str>,
    pub raised_ms: i64,
    /// When the same is told again.
    pub until_ms: i64,
    /// What the webhook has not got yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
}

/// A message as it was made: all attempts have one id and one body, those after a restart too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waits {
    pub kind: Kind,
    pub id: String,
    pub body: String,
}

enum Told {
    Raised(Row),
    /// The webhook has the message, or it was given up.
    Ended {
        same: Arc<str>,
        id: String,
    },
    Close(oneshot::Sender<()>),
}

/// Where the alerts of this gateway are kept.
#[derive(Clone)]
pub struct Kept {
    told: mpsc::Sender<Told>,
}

impl Kept {
    /// What was kept, the oldest first, without what has ended since. Blocks.
    pub fn open(keyed: Arc<Keyed>, now_ms: i64) -> Result<(Kept, Vec<Row>), KeyedError> {
        let rows = cleared(&keyed, now_ms)?;
        let (told, queue) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(keyed, queue));
        Ok((Kept { told }, rows))
    }

    pub fn raised(&self, row: Row) {
        if row.waits.as_ref().is_none_or(|waits| waits.body.len() <= BODY_BYTES_MAX) {
            self.tell(Told::Raised(row));
        }
    }

    pub fn ended(&self, same: Arc<str>, id: String) {
        self.tell(Told::Ended { same, id });
    }

    /// Waits until all is on disk, and no longer than this.
    pub async fn close(&self, at_most: Duration) {
        let (done, is_done) = oneshot::channel();
        let closing = async {
            if self.told.send(Told::Close(done)).await.is_ok() {
                let _ = is_done.await;
            }
        };
        let _ = tokio::time::timeout(at_most, closing).await;
    }

    fn tell(&self, told: Told) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.told.try_send(told) {
            tracing::warn!("an alert is not kept: the state file does not take them as fast as they come");
        }
    }
}

async fn run(keyed: Arc<Keyed>, mut queue: mpsc::Receiver<Told>) {
    let mut raised = 0;
    while let Some(first) = queue.recv().await {
        let mut batch = vec![first];
        if !matches!(batch[..], [Told::Close(_)]) {
            tokio::time::sleep(GATHER).await;
        }
        while let Some(more) = (batch.len() < BATCH_MAX).then(|| queue.try_recv().ok()).flatten() {
            batch.push(more);
        }
        raised += batch.iter().filter(|told| matches!(told, Told::Raised(_))).count();
        // Not before as many came as there may be is it worth to look for what has ended.
        let is_full = raised >= SEEN_MAX;
        raised = if is_full { 0 } else { raised };
        let file = keyed.clone();
        let write = move || {
            let last_ms = batch.iter().filter_map(Told::raised_ms).max();
            let written = write(&file, &batch);
            let cleared = last_ms.filter(|_| is_full).map_or(Ok(()), |now_ms| cleared(&file, now_ms).map(drop));
            if let Err(why) = written.and(cleared) {
                tracing::warn!(%why, "alerts are not kept: after a restart they may be told again, or be lost");
            }
            batch.into_iter().find_map(|told| if let Told::Close(done) = told { Some(done) } else { None })
        };
        if let Ok(Some(done)) = tokio::task::spawn_blocking(write).await {
            // Who waits may open the file anew.
            drop(keyed);
            let _ = done.send(());
            return;
        }
    }
}

impl Told {
    fn raised_ms(&self) -> Option<i64> {
        match self {
            Told::Raised(row) => Some(row.raised_ms),
            Told::Ended { .. } | Told::Close(_) => None,
        }
    }
}

fn write(keyed: &Keyed, batch: &[Told]) -> Result<(), KeyedError> {
    keyed.change(|change| {
        for told in batch {
            match told {
                Told::Raised(row) => change.put(&ALERTS, &key(&row.same), row)?,
                Told::Ended { same, id } => {
                    let key = key(same);
                    // The same alert may have been raised again since: that message waits.
                    let is_of = |row: &Row| row.waits.as_ref().is_some_and(|waits| waits.id == *id);
                    if let Some(row) = change.get(&ALERTS, &key)?.filter(is_of) {
                        change.put(&ALERTS, &key, &Row { waits: None, ..row })?;
                    }
                }
                Told::Close(_) => {}
            }
        }
        Ok(())
    })
}

/// What is left of the rows, the oldest first, when those are removed that say nothing any more and, for want of room, those
/// that end first.
fn cleared(keyed: &Keyed, now_ms: i64) -> Result<Vec<Row>, KeyedError> {
    let mut rows: Vec<Row> = Vec::new();
    keyed.each(&ALERTS, |_, row| rows.push(row))?;
    let waits_longest = |row: &Row| (row.waits.is_none(), std::cmp::Reverse(row.until_ms));
    rows.sort_by_key(waits_longest);
    let says_nothing = |row: &Row| row.waits.is_none() && row.until_ms <= now_ms;
    let count = rows.iter().take(SEEN_MAX).filter(|row| !says_nothing(row)).count();
    let over = rows.split_off(count);
    if !over.is_empty() {
        keyed.change(|change| over.iter().try_for_each(|row| change.remove(&ALERTS, &key(&row.same))))?;
    }
    rows.sort_by_key(|row| row.raised_ms);
    Ok(rows)
}

fn key(same: &str) -> String {
    blake3::hash(same.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(same: &str, raised_ms: i64, until_ms: i64, waits: bool) -> Row {
        let waits = waits.then(|| Waits { kind: Kind::Policy, id: format!("msg_{same}"), body: "{}".to_owned() });
        Row { same: same.into(), raised_ms, until_ms, waits }
    }

    fn names(rows: &[Row]) -> Vec<(&str, bool)> {
        rows.iter().map(|row| (&*row.same, row.waits.is_some())).collect()
    }

    #[tokio::test]
    async fn what_was_told_and_what_waits_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let open = |now_ms| Kept::open(Arc::new(Keyed::open(&path).unwrap()), now_ms).unwrap();
        let (kept, rows) = open(0);
        assert!(rows.is_empty());
        kept.raised(row("waits", 2, 10, true));
        kept.raised(row("told", 1, 1_000, true));
        kept.raised(row("logged", 3, 10, false));
        kept.raised(Row {
            waits: Some(Waits { body: "x".repeat(BODY_BYTES_MAX + 1), ..row("", 0, 0, true).waits.unwrap() }),
            ..row("long", 4, 1_000, true)
        });
        kept.ended("told".into(), "msg_told".to_owned());
        kept.ended("waits".into(), "msg_before".to_owned());
        kept.ended("nobody knows it".into(), "msg_told".to_owned());
        kept.close(Duration::from_secs(10)).await;
        drop(kept);
        let (kept, rows) = open(9);
        assert_eq!(names(&rows), [("told", false), ("waits", true), ("logged", false)], "the oldest first");
        assert_eq!(rows[1], row("waits", 2, 10, true), "its message is the same");
        kept.close(Duration::from_secs(10)).await;
        drop(kept);
        let (_, rows) = open(10);
        assert_eq!(names(&rows), [("told", false), ("waits", true)], "what waits is tried, however old it is");
    }

    #[test]
    fn rows_have_a_bound_and_what_waits_goes_last() {
        let dir = tempfile::tempdir().unwrap();
        let keyed = Keyed::open(&dir.path().join("state.redb")).unwrap();
        let mut told: Vec<Told> = (0..SEEN_MAX).map(|n| Told::Raised(row(&n.to_string(), 5, 1_000, false))).collect();
        told.push(Told::Raised(row("waits", 6, 1, true)));
        told.push(Told::Raised(row("ends first", 7, 999, false)));
        write(&keyed, &told).unwrap();
        for now_ms in [8, 9] {
            let rows = cleared(&keyed, now_ms).unwrap();
            assert_eq!(rows.len(), SEEN_MAX);
            assert!(rows.iter().any(|row| &*row.same == "waits") && rows.iter().all(|row| &*row.same != "ends first"));
        }
        assert_eq!(names(&cleared(&keyed, 1_000).unwrap()), [("waits", true)]);
    }
}
