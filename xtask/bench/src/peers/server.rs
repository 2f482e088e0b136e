//! A server that is started for the measurement and ended after it.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use hvs_tests::http::{Answer, Connection};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_mins(2);

pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts a program and waits until `ready` answers with 200. What it prints goes to a file.
    pub(super) fn start(
        command: &mut Command,
        address: SocketAddr,
        ready: &str,
        folder: &Path,
    ) -> Result<Self> {
        let log = folder.join("output.log");
        let output = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let mut server = Self { child, address, log };
        let begun = Instant::now();
        loop {
            if let Some(status) = server.child.try_wait()? {
                bail!("it ended at once ({status}): {}", server.last_words());
            }
            let answer = Connection::open(address)
                .and_then(|mut connection| connection.json("GET", ready, ""));
            if answer.is_ok_and(|answer| answer.status == 200) {
                return Ok(server);
            }
            ensure!(begun.elapsed() < PATIENCE, "not ready: {}", server.last_words());
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join(" | ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address of this machine that is free now.
pub(super) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}

/// Sends JSON and refuses an answer that is no success.
pub(super) fn call(
    connection: &mut Connection,
    method: &str,
    path: &str,
    body: &serde_json::Value,
) -> Result<serde_json::Value> {
    let answer = connection.json(method, path, &body.to_string())?;
    read(&answer).with_context(|| format!("{method} {path}"))
}

/// The JSON of a successful answer.
pub(super) fn read(answer: &Answer) -> Result<serde_json::Value> {
    if answer.status >= 300 {
        let said = String::from_utf8_lossy(&answer.body);
        bail!("status {}: {}", answer.status, said.chars().take(300).collect::<String>());
    }
    if answer.body.is_empty() {
        return Ok(serde_json::Value::Null);
    }
    serde_json::from_slice(&answer.body).context("the answer is not JSON")
}
