//! A store that gateways share, on loopback: a real `redis-server`, and a port before it that can be moved to another one.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::net as lines;

use super::gateway::{eventually, signal};

/// A server that ends with its test.
pub struct Redis {
    child: Child,
    pub port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Redis {
    /// As budgets need it; `None` where there is no redis-server, which is said loudly.
    pub fn start(what: &str) -> Option<Redis> {
        Redis::with(what, &["--appendonly", "yes"])
    }

    pub fn with(what: &str, args: &[&str]) -> Option<Redis> {
        // A port that was free may be somebody's by the time that the server takes it.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut redis = Redis::on(port, what, args)?;
            if redis.child.try_wait().unwrap().is_none() {
                return Some(redis);
            }
        }
        panic!("redis-server does not start");
    }

    pub fn on(port: u16, what: &str, args: &[&str]) -> Option<Redis> {
        let folder = tempfile::tempdir().unwrap();
        let spawned = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0", "--port"])
            .arg(port.to_string())
            .arg("--dir")
            .arg(folder.path())
            .args(args)
            .stdout(Stdio::null())
            .spawn();
        let Ok(mut child) = spawned else {
            eprintln!("SKIPPED: {what}: there is no redis-server here (package redis-server)");
            return None;
        };
        eventually("the store", || {
            let has_ended = child.try_wait().unwrap().is_some();
            (has_ended || pongs(port)).then_some(())
        });
        Some(Redis { child, port, _folder: folder })
    }

    /// One command; the answer as text, the parts of a list one to a line.
    pub fn ask(&self, words: &[&str]) -> String {
        ask(self.port, words)
    }

    /// It stands still: connections are taken and nothing is answered.
    pub fn stand_still(&self) {
        signal(self.child.id(), "STOP");
    }

    pub fn go_on(&self) {
        signal(self.child.id(), "CONT");
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn replicates(&self, from: &Redis) {
        self.ask(&["REPLICAOF", "127.0.0.1", &from.port.to_string()]);
        eventually("a copy", || self.ask(&["INFO", "replication"]).contains("master_link_status:up").then_some(()));
    }
}

/// Was the server here built with TLS? Else it is said loudly that `what` is not tried.
pub fn speaks_tls(what: &str) -> bool {
    // With files that hold nothing it ends at once, whatever it was built with.
    let args = ["--port", "0", "--tls-port", "1", "--tls-cert-file", "/dev/null", "--tls-key-file", "/dev/null"];
    let told = Command::new("redis-server").args(args).output();
    let told = told.map(|out| [out.stdout, out.stderr].concat()).unwrap_or_else(|why| why.to_string().into_bytes());
    let speaks = String::from_utf8_lossy(&told).contains("configure TLS");
    if !speaks {
        eprintln!("SKIPPED: {what}: there is no redis-server with TLS here (package redis-server)");
    }
    speaks
}

/// It is a store that answers, and no echo of our own.
fn pongs(port: u16) -> bool {
    let Ok(mut to) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = to.set_read_timeout(Some(std::time::Duration::from_secs(1)));
    let mut line = String::new();
    let asked = to.write_all(b"PING\r\n").and_then(|()| BufReader::new(to).read_line(&mut line));
    asked.is_ok() && (line.starts_with("+PONG") || line.starts_with("-LOADING"))
}

pub fn ask(port: u16, words: &[&str]) -> String {
    let mut to = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut text = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| text.push_str(&format!("${}\r\n{word}\r\n", word.len())));
    to.write_all(text.as_bytes()).unwrap();
    answer(&mut BufReader::new(to))
}

fn answer(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    let (kind, rest) = line.trim_end().split_at(1);
    match kind {
        "$" if rest == "-1" => String::new(),
        "$" => {
            let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
            from.read_exact(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes[..bytes.len() - 2]).into_owned()
        }
        "*" => (0..rest.parse::<usize>().unwrap_or(0)).map(|_| answer(from)).collect::<Vec<_>>().join("\n"),
        _ => rest.to_owned(),
    }
}

/// One address before several servers, as a load balancer or a name gives it. Moved, it cuts what it carries.
pub struct Address {
    pub port: u16,
    to: Arc<AtomicU16>,
    moved: Arc<tokio::sync::Notify>,
}

impl Address {
    pub async fn of(redis: &Redis) -> Address {
        let listener = lines::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let to = Arc::new(AtomicU16::new(redis.port));
        let moved = Arc::new(tokio::sync::Notify::new());
        let (at, cut) = (to.clone(), moved.clone());
        tokio::spawn(async move {
            while let Ok((mut caller, _)) = listener.accept().await {
                let (at, cut) = (at.clone(), cut.clone());
                tokio::spawn(async move {
                    let cut = cut.notified();
                    let Ok(mut server) = lines::TcpStream::connect(("127.0.0.1", at.load(Ordering::Acquire))).await
                    else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut caller, &mut server) => {}
                        () = cut => {}
                    }
                });
            }
        });
        Address { port, to, moved }
    }

    pub fn move_to(&self, redis: &Redis) {
        self.to.store(redis.port, Ordering::Release);
        self.moved.notify_waiters();
    }
}
