//! Nodes whose disk is watched, and made slow, full or faulty: see `shim/shim.c`.

use std::{
    env,
    fs::{self, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    disk::{Disk, Event, read_events, write_file},
    node::{Node, Settings},
};

const SOURCE: &str = include_str!("../shim/shim.c");

/// The data folder of a node whose disk is watched.
#[derive(Debug)]
pub struct Shim {
    library: PathBuf,
    /// Of the node.
    data: PathBuf,
    log: PathBuf,
    control: PathBuf,
    /// As the folder was when the node was started.
    before: Option<Disk>,
}

impl Shim {
    /// Watches the folder `data` in `folder`; what the shim needs lies beside it.
    ///
    /// # Errors
    /// There is no C compiler, or the folder cannot be written.
    pub fn new(folder: &Path) -> Result<Self> {
        let folder = folder.canonicalize()?;
        let data = folder.join("data");
        fs::create_dir_all(&data)?;
        let shim = Self {
            library: library()?,
            data,
            log: folder.join("events"),
            control: folder.join("control"),
            before: None,
        };
        write_file(&shim.control, &[0; 16])?;
        Ok(shim)
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Settings of a node on the folder.
    ///
    /// # Errors
    /// The node does not build.
    pub fn settings(&self) -> Result<Settings> {
        let text = |path: &Path| path.display().to_string();
        Ok(Settings::new(&self.data)?
            .with_variable("LD_PRELOAD", &text(&self.library))
            .with_variable("SHIM_ROOT", &text(&self.data))
            .with_variable("SHIM_LOG", &text(&self.log))
            .with_variable("SHIM_CONTROL", &text(&self.control)))
    }

    /// Starts a node with [`Shim::settings`], or what was made of them, and a new log.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(&mut self, settings: &Settings) -> Result<Node> {
        write_file(&self.control, &[0; 16])?;
        write_file(&self.log, b"")?;
        self.before = Some(Disk::of(&self.data)?);
        Node::start(settings)
    }

    /// By how long each fsync takes longer from now on.
    ///
    /// # Errors
    /// The control file cannot be written.
    pub fn delay_syncs(&self, delay: Duration) -> Result<()> {
        self.set(0, u32::try_from(delay.as_micros())?)
    }

    /// Whether the disk is full from now on.
    ///
    /// # Errors
    /// The control file cannot be written.
    pub fn fill(&self, is_full: bool) -> Result<()> {
        self.set(1, is_full.into())
    }

    /// Whether every fsync fails from now on.
    ///
    /// # Errors
    /// The control file cannot be written.
    pub fn fail_syncs(&self, fail: bool) -> Result<()> {
        self.set(2, fail.into())
    }

    /// Whether every write fails from now on.
    ///
    /// # Errors
    /// The control file cannot be written.
    pub fn fail_writes(&self, fail: bool) -> Result<()> {
        self.set(3, fail.into())
    }

    fn set(&self, place: u64, value: u32) -> Result<()> {
        let file = OpenOptions::new().write(true).open(&self.control)?;
        Ok(file.write_all_at(&value.to_le_bytes(), 4 * place)?)
    }

    /// What the node has done so far.
    ///
    /// # Errors
    /// There is no log.
    pub fn events(&self) -> Result<Vec<Event>> {
        read_events(&self.log)
    }

    /// The disk after what the node has done. The node must have ended.
    ///
    /// # Errors
    /// It has done what the model does not know.
    pub fn disk(&mut self) -> Result<Disk> {
        let mut disk = self.before.take().context("no node was started")?;
        disk.replay(&self.events()?)?;
        Ok(disk)
    }

    /// Puts what survived a loss of power in the place of the data folder. The node must have
    /// ended.
    ///
    /// # Errors
    /// As [`Shim::disk`].
    pub fn lose_power(&mut self) -> Result<()> {
        let disk = self.disk()?;
        let survived = self.data.with_file_name("survived");
        disk.save_survived(&survived)?;
        fs::remove_dir_all(&self.data)?;
        Ok(fs::rename(&survived, &self.data)?)
    }
}

/// The library, built once for each state of its source.
fn library() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}"))) {
        Ok(library) => Ok(library.clone()),
        Err(reason) => bail!("the shim does not build: {reason}"),
    }
}

fn build() -> Result<PathBuf> {
    let this = env::current_exe()?;
    let folder = this.parent().context("where is the build folder?")?;
    let mut hasher = DefaultHasher::new();
    SOURCE.hash(&mut hasher);
    let library = folder.join(format!("libhvs_shim-{:016x}.so", hasher.finish()));
    if library.exists() {
        return Ok(library);
    }
    // Of this process: others may build at the same time, and a rename is atomic.
    let source = library.with_extension(format!("{}.c", std::process::id()));
    let output = source.with_extension("so");
    write_file(&source, SOURCE.as_bytes())?;
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let result = Command::new(compiler)
        .args(["-std=gnu11", "-O2", "-shared", "-fPIC", "-o"])
        .args([&output, &source])
        .output()
        .context("cannot start the C compiler")?;
    ensure!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
    fs::rename(&output, &library)?;
    fs::remove_file(&source)?;
    Ok(library)
}
