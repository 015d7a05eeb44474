//! A program that prints a secret: held to a time and a size, its complaints unread.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::BYTES_MAX;

/// A program has so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What it prints. Waits, so it belongs on a thread that carries no calls; the runtime on a thread of its own is what makes it
/// possible to give up on a program whose children keep its output open.
pub fn run(words: &[String]) -> Result<String, String> {
    let program = words.first().ok_or("its command is empty")?;
    let own = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|why| format!("cannot run `{program}`: {why}"))?;
        runtime.block_on(output(program, &words[1..], PATIENCE))
    };
    std::thread::scope(|scope| scope.spawn(own).join())
        .unwrap_or_else(|_| Err(format!("cannot run `{program}`: the log says why")))
}

async fn output(program: &str, args: &[String], patience: Duration) -> Result<String, String> {
    let mut command = Command::new(program);
    // What it says to stderr may hold what it should not: nobody reads it.
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|why| format!("cannot run `{program}`: {why}"))?;
    let stdout = child.stdout.take().ok_or_else(|| format!("`{program}` has no output"))?;
    let mut printed = Vec::new();
    let done = async {
        let mut bounded = stdout.take(BYTES_MAX as u64 + 1);
        bounded.read_to_end(&mut printed).await.map_err(|why| format!("`{program}` cannot be read: {why}"))?;
        if printed.len() > BYTES_MAX {
            return Err(format!("`{program}` printed more than {BYTES_MAX} bytes"));
        }
        child.wait().await.map_err(|why| format!("`{program}` is lost: {why}"))
    };
    let done = tokio::time::timeout(patience, done).await;
    let status = done.unwrap_or_else(|_| Err(format!("`{program}` did not end within {} s", patience.as_secs())));
    let status = match status {
        Ok(status) => status,
        Err(why) => {
            // Where it cannot be killed it has ended.
            let _ = child.kill().await;
            return Err(why);
        }
    };
    if !status.success() {
        return Err(format!("`{program}` ended with {status}"));
    }
    String::from_utf8(printed).map_err(|_| format!("`{program}` printed no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_does_not_end_is_given_up_with_its_children() {
        for script in ["sleep 4", "sleep 4 & wait", "sleep 4 & exit 0"] {
            let begun = std::time::Instant::now();
            let args = ["-c".to_owned(), script.to_owned()];
            let why = output("sh", &args, Duration::from_millis(200)).await.unwrap_err();
            assert!(why.contains("did not end") && begun.elapsed() < Duration::from_secs(5), "{script}: {why}");
        }
    }
}
