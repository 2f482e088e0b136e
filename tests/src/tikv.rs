//! A TiKV on this machine that fails on demand: a real PD, and a store that speaks TiKV's gRPC.
//! `kit/tikv/README.md` says which part is real.

pub mod build;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::http::Connection;

/// How long a process may take to be ready.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a start is tried again when somebody else took a port that was chosen.
const ATTEMPTS: usize = 5;

/// A way to go wrong. The kit's `faults.go` says what each kind does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the kit says what they do")]
pub enum FaultKind {
    NotLeader,
    EpochNotMatch,
    StaleCommand,
    RegionNotFound,
    ServerIsBusy,
    Unavailable,
    Delay,
    Hang,
    LostReply,
    Late,
}

/// A fault that requests meet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// Only to these calls of gRPC; none: to all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<String>,
    /// Only to requests with a key that starts so.
    #[serde(default)]
    pub prefix: String,
    /// So many times; 0: until the faults are cleared.
    #[serde(default)]
    pub count: u32,
    /// With this chance, of 100; 0: always.
    #[serde(default)]
    pub percent: u32,
    /// How long it takes, of those kinds that take a while.
    #[serde(default)]
    pub milliseconds: u32,
    /// How many requests met it.
    #[serde(default, skip_serializing)]
    pub met: u32,
}

impl Fault {
    /// One that all requests meet.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            calls: Vec::new(),
            prefix: String::new(),
            count: 0,
            percent: 0,
            milliseconds: 0,
            met: 0,
        }
    }

    /// Only so many requests.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self { count, ..self }
    }

    /// With a chance, of 100.
    #[must_use]
    pub fn percent(self, percent: u32) -> Self {
        Self { percent, ..self }
    }

    /// That takes so long.
    #[must_use]
    pub fn milliseconds(self, milliseconds: u32) -> Self {
        Self { milliseconds, ..self }
    }

    /// Only of keys that start so.
    #[must_use]
    pub fn with_prefix(self, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..self }
    }

    /// Only of one more call, such as `RawGet`.
    #[must_use]
    pub fn of(mut self, call: &str) -> Self {
        self.calls.push(call.to_owned());
        self
    }
}

/// PD and the store. Dropping it ends both.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    ports: Ports,
    pd: Option<Process>,
    store: Option<Process>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    pd: SocketAddr,
    peer: SocketAddr,
    store: SocketAddr,
    control: SocketAddr,
}

impl Cluster {
    /// Starts both on free ports of the loopback, with their data in the folder.
    ///
    /// # Errors
    /// The kit does not build or start.
    pub fn start(folder: &Path) -> Result<Self> {
        let mut attempt = 1;
        loop {
            let data = folder.join(format!("tikv-{attempt}"));
            fs::create_dir_all(&data)?;
            match Self::start_in(data) {
                Err(error) if attempt < ATTEMPTS && format!("{error:#}").contains("in use") => {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn start_in(folder: PathBuf) -> Result<Self> {
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port");
        let free = [bind()?, bind()?, bind()?, bind()?];
        let [pd, peer, store, control] = [
            free[0].local_addr()?,
            free[1].local_addr()?,
            free[2].local_addr()?,
            free[3].local_addr()?,
        ];
        drop(free);
        let ports = Ports { pd, peer, store, control };
        let mut cluster = Self { folder, ports, pd: None, store: None };
        cluster.start_pd()?;
        cluster.start_store()?;
        Ok(cluster)
    }

    /// PD's addresses, for a client.
    pub fn endpoints(&self) -> Vec<String> {
        vec![self.ports.pd.to_string()]
    }

    /// The store's address for clients, which is no PD.
    pub fn store_address(&self) -> SocketAddr {
        self.ports.store
    }

    /// Starts PD, on the data that it has.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_pd(&mut self) -> Result<()> {
        let mut command = Command::new(build::program()?);
        command
            .args(["pd", "--name", "pd", "-L", "warn"])
            .arg(format!("--data-dir={}", self.folder.join("pd").display()))
            .arg(format!("--client-urls=http://{}", self.ports.pd))
            .arg(format!("--peer-urls=http://{}", self.ports.peer))
            .arg(format!("--log-file={}", self.folder.join("pd.log").display()));
        let mut pd = Process::start(command, &self.folder.join("pd.err"))?;
        let begun = Instant::now();
        while Connection::open(self.ports.pd).is_err() {
            pd.ensure_runs()?;
            ensure!(begun.elapsed() < PATIENCE, "PD does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        self.pd = Some(pd);
        Ok(())
    }

    /// Starts the store, on the data that it has, and waits until PD tells clients of it.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_store(&mut self) -> Result<()> {
        let mut command = Command::new(build::program()?);
        command
            .arg("store")
            .args(["-pd", &self.ports.pd.to_string()])
            .args(["-listen", &self.ports.store.to_string()])
            .args(["-control", &self.ports.control.to_string()])
            .arg("-data")
            .arg(self.folder.join("store"))
            .stdout(Stdio::piped());
        let mut store = Process::start(command, &self.folder.join("store.err"))?;
        let output = store.child.stdout.take().context("no output of the store")?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let begun = Instant::now();
        loop {
            match receiver.recv_timeout(Duration::from_millis(20)) {
                Ok(line) if line == "ready" => break,
                _ => store.ensure_runs()?,
            }
            ensure!(begun.elapsed() < PATIENCE, "the store is not ready: {}", store.said());
        }
        self.store = Some(store);
        Ok(())
    }

    /// Kills PD (SIGKILL).
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn kill_pd(&mut self) -> Result<()> {
        self.pd.take().map_or(Ok(()), Process::kill)
    }

    /// Kills the store (SIGKILL).
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn kill_store(&mut self) -> Result<()> {
        self.store.take().map_or(Ok(()), Process::kill)
    }

    /// Lets requests meet a fault, after those that are in force.
    ///
    /// # Errors
    /// The store refuses it or is not there.
    pub fn inject(&self, fault: &Fault) -> Result<()> {
        self.control("POST", "/faults", &serde_json::to_vec(fault)?).map(|_| ())
    }

    /// Ends all faults and gives them back, with how many requests met each.
    ///
    /// # Errors
    /// The store is not there.
    pub fn clear(&self) -> Result<Vec<Fault>> {
        #[derive(Deserialize)]
        struct Ended {
            faults: Vec<Fault>,
        }
        let ended: Ended = serde_json::from_slice(&self.control("DELETE", "/faults", b"")?)?;
        Ok(ended.faults)
    }

    /// Parts the region of a key at the key.
    ///
    /// # Errors
    /// PD does not want it.
    pub fn split(&self, key: &[u8]) -> Result<()> {
        self.control("POST", "/split", key).map(|_| ())
    }

    /// Whether what is written from now on is lost when the store is killed.
    ///
    /// # Errors
    /// The store is not there.
    pub fn set_volatile(&self, volatile: bool) -> Result<()> {
        let body = serde_json::json!({ "volatile": volatile }).to_string();
        self.control("POST", "/volatile", body.as_bytes()).map(|_| ())
    }

    fn control(&self, method: &str, path: &str, body: &[u8]) -> Result<Vec<u8>> {
        let mut connection = Connection::open(self.ports.control)?;
        let request = connection.prepare(method, path, "", body);
        let answer = connection.send(&request)?;
        let text = String::from_utf8_lossy(&answer.body);
        ensure!(answer.status == 200, "{method} {path} of the store: {} {text}", answer.status);
        Ok(answer.body)
    }
}

/// One of the two.
#[derive(Debug)]
struct Process {
    child: Child,
    errors: PathBuf,
}

impl Process {
    fn start(mut command: Command, errors: &Path) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stderr(File::create(errors)?)
            .spawn()
            .context("cannot start the kit")?;
        Ok(Self { child, errors: errors.to_path_buf() })
    }

    fn ensure_runs(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the kit ended at once ({status}): {}", self.said());
        }
        Ok(())
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }

    fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
