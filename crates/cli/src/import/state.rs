//! The small file that remembers how far an import got.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    error::CliError,
    read::{Position, Source},
};

/// Version of the file.
const VERSION: u32 = 1;
/// Bytes at either end of the file that must be the same for an import to go on.
const FINGERPRINT_BYTES: u64 = 1 << 20;

/// How far an import got.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Where the first row begins that is not done.
    pub(super) position: Position,
    pub(super) imported: u64,
    pub(super) bad: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    version: u32,
    /// Names the import in idempotency keys.
    import: String,
    namespace: String,
    /// Format and columns.
    settings: String,
    fingerprint: String,
    tally: Tally,
}

/// Keeps the state of one import.
#[derive(Debug)]
pub(super) struct Journal {
    /// None for the standard input, which cannot be read again.
    path: Option<PathBuf>,
    state: State,
}

impl Journal {
    /// Opens the state of an earlier run of the same import, or begins a new one.
    pub(super) fn open(
        source: &Source,
        path: Option<PathBuf>,
        namespace: &str,
        settings: &str,
        restart: bool,
    ) -> Result<Self, CliError> {
        let fresh = |fingerprint: String| State {
            version: VERSION,
            import: hvs_client::idempotency_key(),
            namespace: namespace.to_owned(),
            settings: settings.to_owned(),
            fingerprint,
            tally: Tally::default(),
        };
        let Source::File(file) = source else {
            if path.is_some() {
                let reason = "--state needs a file: the standard input cannot be read again";
                return Err(CliError::Usage(reason.to_owned()));
            }
            return Ok(Self { path: None, state: fresh(String::new()) });
        };
        let path = path.unwrap_or_else(|| beside(file));
        let fingerprint = fingerprint(file)?;
        if restart {
            return Ok(Self { path: Some(path), state: fresh(fingerprint) });
        }
        let Some(state) = read(&path)? else {
            return Ok(Self { path: Some(path), state: fresh(fingerprint) });
        };
        let same = [
            ("file", &state.fingerprint, &fingerprint),
            ("namespace", &state.namespace, &namespace.to_owned()),
            ("format or columns", &state.settings, &settings.to_owned()),
        ];
        for (what, before, now) in same {
            if before != now {
                return Err(CliError::Content {
                    path,
                    detail: format!(
                        "an import was begun here with another {what}; --restart begins anew, \
                         --state FILE keeps both"
                    ),
                });
            }
        }
        Ok(Self { path: Some(path), state })
    }

    pub(super) fn import(&self) -> &str {
        &self.state.import
    }

    pub(super) fn tally(&self) -> Tally {
        self.state.tally
    }

    /// Everything before `position` is done, durably noted before the call returns (as durably as
    /// a file is without waiting for the disk: a lost note repeats rows, which is harmless).
    pub(super) fn advance(
        &mut self,
        position: Position,
        imported: u64,
        bad: u64,
    ) -> Result<(), CliError> {
        self.state.tally.position = position;
        self.state.tally.imported += imported;
        self.state.tally.bad += bad;
        let Some(path) = &self.path else { return Ok(()) };
        write(path, &self.state).map_err(|source| CliError::File { path: path.clone(), source })
    }

    /// The import is complete: there is nothing to go on with.
    pub(super) fn finish(&self) -> Result<(), CliError> {
        let Some(path) = &self.path else { return Ok(()) };
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(CliError::File { path: path.clone(), source })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn how_to_resume(&self) -> String {
        match &self.path {
            Some(_) => "The same command goes on from there.".to_owned(),
            None => "The standard input cannot be read again; what was acknowledged is stored."
                .to_owned(),
        }
    }
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".hvs-import");
    PathBuf::from(name)
}

fn read(path: &Path) -> Result<Option<State>, CliError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CliError::File { path: path.to_owned(), source }),
    };
    let unusable = |reason: String| CliError::Content {
        path: path.to_owned(),
        detail: format!("this is no state of an import ({reason}); --restart begins anew"),
    };
    let state: State =
        serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
    if state.version != VERSION {
        return Err(unusable(format!("its version is {}, not {VERSION}", state.version)));
    }
    Ok(Some(state))
}

/// Replaces the file as a whole, so that an interruption leaves the old or the new one.
fn write(path: &Path, state: &State) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(state)?)?;
    drop(file);
    fs::rename(&temporary, path)
}

/// The length and both ends of a file: enough to notice that it is another one.
fn fingerprint(file: &Path) -> Result<String, CliError> {
    let failed = |source: io::Error| CliError::File { path: file.to_owned(), source };
    let mut opened = File::open(file).map_err(failed)?;
    let length = opened.metadata().map_err(failed)?.len();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&length.to_le_bytes());
    let mut hash_from = |start: u64| -> io::Result<()> {
        let mut part = Vec::new();
        opened.seek(SeekFrom::Start(start))?;
        (&mut opened).take(FINGERPRINT_BYTES).read_to_end(&mut part)?;
        hasher.update(&part);
        Ok(())
    };
    hash_from(0).map_err(failed)?;
    hash_from(length.saturating_sub(FINGERPRINT_BYTES)).map_err(failed)?;
    Ok(hasher.finalize().to_hex().to_string())
}
