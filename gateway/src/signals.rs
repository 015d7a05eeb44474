//! SIGHUP: whoever keeps what it read from files is told to read it anew.
//!
//! It is listened to once; each who wants to know takes a clone of the receiver and waits for `changed`.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How often SIGHUP came. From the first call on it no longer ends the process.
pub fn hangups() -> Result<watch::Receiver<u64>, String> {
    let mut signal = signal(SignalKind::hangup()).map_err(|why| format!("SIGHUP cannot be listened to: {why}"))?;
    let (told, hangups) = watch::channel(0);
    tokio::spawn(async move {
        while signal.recv().await.is_some() {
            tracing::info!("SIGHUP: what is kept of files is read anew");
            told.send_modify(|count| *count += 1);
        }
    });
    Ok(hangups)
}
