//! A node in a process of its own.

use std::{
    env,
    ffi::OsStr,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::http::Connection;

/// How long a node may take to become ready or to stop.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at a process or an endpoint.
const LOOK: Duration = Duration::from_millis(2);
/// How often a start is tried again when somebody else took the port that was chosen.
const ATTEMPTS: usize = 5;

/// How a node is started.
#[derive(Clone, Debug)]
pub struct Settings {
    program: PathBuf,
    environment: Vec<(String, String)>,
}

impl Settings {
    /// The node of the profile that the tests are built with, on a folder.
    ///
    /// # Errors
    /// The node does not build.
    pub fn new(folder: &Path) -> Result<Self> {
        Ok(Self::of(current_program("hvs-node")?, folder))
    }

    /// A node that was built for release, beside the program that runs.
    pub fn release(folder: &Path) -> Self {
        let program = env::current_exe().unwrap_or_default().with_file_name("hvs-node");
        Self::of(program, folder)
    }

    fn of(program: PathBuf, folder: &Path) -> Self {
        let settings = Self { program, environment: Vec::new() };
        settings.with("storage.data_dir", &folder.display().to_string()).with("log.format", "json")
    }

    /// Sets one setting of the node's configuration, by its path.
    #[must_use]
    pub fn with(mut self, setting: &str, value: &str) -> Self {
        let variable = format!("HVS_{}", setting.replace('.', "_").to_uppercase());
        self.environment.push((variable, value.to_owned()));
        self
    }

    /// Sets a variable of the node's environment.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in env::vars_os() {
            // What a developer has set for their own node must not change a test.
            if name.to_string_lossy().starts_with("HVS_") {
                command.env_remove(name);
            }
        }
        let variables = self.environment.iter().map(|(name, value)| (name, OsStr::new(value)));
        command.envs(variables).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }
}

/// A running node. Dropping it kills the process.
pub struct Node {
    child: Child,
    external: SocketAddr,
    internal: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Node {
    /// Starts a node on free ports of the loopback and waits until it is ready.
    ///
    /// # Errors
    /// It does not start, or is not ready in a minute; the message carries what it logged.
    pub fn start(settings: &Settings) -> Result<Self> {
        Self::start_until(settings, "/readyz")
    }

    /// The same, but waits only until the process answers: a standby is not ready.
    ///
    /// # Errors
    /// It does not start, or does not answer in a minute; the message carries what it logged.
    pub fn start_standby(settings: &Settings) -> Result<Self> {
        Self::start_until(settings, "/livez")
    }

    fn start_until(settings: &Settings, path: &str) -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::start_once(settings, path) {
                Err(error) if attempt < ATTEMPTS && format!("{error:#}").contains("in use") => {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn start_once(settings: &Settings, path: &str) -> Result<Self> {
        let (external, internal) = two_free_ports()?;
        let mut child = settings
            .command()
            .env("HVS_LISTEN_EXTERNAL", external.to_string())
            .env("HVS_LISTEN_INTERNAL", internal.to_string())
            .spawn()
            .with_context(|| format!("cannot start {}", settings.program.display()))?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let output = child.stderr.take().context("no output of the node")?;
        let shared = Arc::clone(&log);
        let reader = thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                shared.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let mut node = Self { child, external, internal, log, reader: Some(reader) };
        node.wait_until_ok(path)?;
        Ok(node)
    }

    /// Waits until the node serves requests.
    ///
    /// # Errors
    /// It ends, or is not ready in a minute.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        self.wait_until_ok("/readyz")
    }

    fn wait_until_ok(&mut self, path: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.finish_log();
                bail!("the node ended at once ({status}):\n{}", self.log_text());
            }
            let ready = Connection::open(self.external)
                .and_then(|mut connection| connection.json("GET", path, ""));
            if ready.is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            ensure!(
                begun.elapsed() < PATIENCE,
                "the node was not ready in {PATIENCE:?}:\n{}",
                self.log_text()
            );
            thread::sleep(LOOK);
        }
    }

    /// Where the API listens.
    pub fn external(&self) -> SocketAddr {
        self.external
    }

    /// Where health and metrics for operators listen.
    pub fn internal(&self) -> SocketAddr {
        self.internal
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection to the API.
    ///
    /// # Errors
    /// The node does not take it.
    pub fn connect(&self) -> Result<Connection> {
        Connection::open(self.external)
    }

    /// Asks the node to stop (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// It does not stop in a minute, or ends with a failure.
    pub fn stop(mut self) -> Result<()> {
        self.signal("TERM")?;
        let status = self.wait()?;
        self.finish_log();
        ensure!(status.success(), "the node ended with {status}:\n{}", self.log_text());
        Ok(())
    }

    /// Sends a signal, by its name without SIG.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status()?;
        ensure!(sent.success(), "cannot signal process {pid}");
        Ok(())
    }

    /// Waits until the node ends by itself: its status, and what it has logged.
    ///
    /// # Errors
    /// It does not end in a minute.
    pub fn wait_for_end(mut self) -> Result<(ExitStatus, String)> {
        let status = self.wait()?;
        self.finish_log();
        Ok((status, self.log_text()))
    }

    /// Kills the process (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("cannot kill the node")?;
        self.wait().map(|_| ())
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(begun.elapsed() < PATIENCE, "the node did not stop:\n{}", self.log_text());
            thread::sleep(LOOK);
        }
    }

    /// What the node has logged so far, one JSON object per line.
    pub fn log_text(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    fn finish_log(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the node until it ends by itself, for cases in which it must refuse to start.
///
/// # Errors
/// It does not end in a minute.
pub fn run_to_end(settings: &Settings) -> Result<(ExitStatus, String)> {
    let (external, internal) = two_free_ports()?;
    let mut child = settings
        .command()
        .env("HVS_LISTEN_EXTERNAL", external.to_string())
        .env("HVS_LISTEN_INTERNAL", internal.to_string())
        .spawn()
        .with_context(|| format!("cannot start {}", settings.program.display()))?;
    let begun = Instant::now();
    while child.try_wait()?.is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            bail!("the node runs, where it should have refused to");
        }
        thread::sleep(LOOK);
    }
    let output = child.wait_with_output()?;
    Ok((output.status, String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Two ports that are free now. Somebody else may take one before the node does; starting is then
/// tried again.
fn two_free_ports() -> Result<(SocketAddr, SocketAddr)> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port");
    let (first, second) = (bind()?, bind()?);
    Ok((first.local_addr()?, second.local_addr()?))
}

/// The path of one of the project's programs, up to date.
///
/// `cargo xtask test` has built them and says where, in `HVS_TEST_PROGRAMS`. A test that is run by
/// itself builds them, once, so that it never meets an old one.
///
/// # Errors
/// They do not build.
pub fn current_program(name: &str) -> Result<PathBuf> {
    static BUILD: OnceLock<Result<(), String>> = OnceLock::new();
    if let Some(folder) = env::var_os("HVS_TEST_PROGRAMS") {
        return Ok(PathBuf::from(folder).join(name));
    }
    if let Err(reason) = BUILD.get_or_init(build) {
        bail!("the programs do not build:\n{reason}");
    }
    // This program is in the folder `deps` of the profile's folder.
    let this = env::current_exe()?;
    let folder = this.parent().and_then(Path::parent).context("where is the build folder?")?;
    Ok(folder.join(name))
}

fn build() -> Result<(), String> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--workspace", "--bins"]).current_dir(workspace());
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    for (variable, _) in env::vars_os() {
        let text = variable.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&variable);
        }
    }
    let output = cargo.output().map_err(|error| format!("cannot start cargo: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The root of the checkout.
pub fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}
