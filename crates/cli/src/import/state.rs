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

/// Version of the file. The first one named no uid, and so cannot tell whether the rows that it
/// counts are still where they were put.
const VERSION: u32 = 2;
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

/// What must be the same for an import to go on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Identity {
    /// As it was asked for; a name or an alias can lead elsewhere later.
    pub(super) namespace: String,
    /// Which namespace that was.
    pub(super) uid: String,
    /// Format and columns.
    pub(super) settings: String,
    /// Of the file; empty for the standard input.
    pub(super) fingerprint: String,
    /// Of the file of ids, where there is one.
    pub(super) ids: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    version: u32,
    /// Names the import in idempotency keys.
    import: String,
    #[serde(flatten)]
    identity: Identity,
    tally: Tally,
}

impl State {
    fn new(identity: Identity) -> Self {
        let import = hvs_client::idempotency_key();
        Self { version: VERSION, import, identity, tally: Tally::default() }
    }
}

/// What every version of the file begins with.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
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
        import: Identity,
        restart: bool,
    ) -> Result<Self, CliError> {
        let Source::File(file) = source else {
            if path.is_some() {
                let reason = "--state needs a file: the standard input cannot be read again";
                return Err(CliError::Usage(reason.to_owned()));
            }
            return Ok(Self { path: None, state: State::new(import) });
        };
        let path = path.unwrap_or_else(|| beside(file));
        let earlier = if restart { None } else { read(&path)? };
        let state = match earlier {
            None => State::new(import),
            Some(state) => match difference(&state, &import) {
                None => state,
                // Of rows that nobody acknowledged none can be left out.
                Some(_) if state.tally.position.row == 0 => State::new(import),
                Some(detail) => return Err(CliError::Content { path, detail }),
            },
        };
        Ok(Self { path: Some(path), state })
    }

    /// Writes the state before the first row is sent: where that fails, nothing has been stored
    /// that a later run would not know of.
    pub(super) fn begin(&self) -> Result<(), CliError> {
        let Some(path) = &self.path else { return Ok(()) };
        write(path, &self.state).map_err(|source| CliError::Content {
            path: path.clone(),
            detail: format!(
                "cannot note here how far the import got ({source}); nothing was imported. \
                 --state FILE notes it elsewhere"
            ),
        })
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

    /// How to import what is missing after `cause` ended the import.
    pub(super) fn how_to_resume(&self, cause: &CliError) -> String {
        let Some(path) = &self.path else {
            return "The standard input cannot be read again; what was acknowledged is stored."
                .to_owned();
        };
        let advice = match cause {
            CliError::Client(error) if error.is_transient() => {
                "The same command goes on from there."
            }
            CliError::File { path: failed, .. } if failed == path => {
                "Once this file can be written, the same command goes on; rows that it does not \
                 know of are written again, with the same content."
            }
            CliError::Wrong(_) | CliError::Read(_) => {
                "A corrected file begins anew, with --restart."
            }
            _ => "Once the reason is removed, the same command goes on from there.",
        };
        advice.to_owned()
    }
}

/// Why an import does not go on where an earlier one stopped.
fn difference(state: &State, now: &Identity) -> Option<String> {
    let before = &state.identity;
    let same = [
        ("file", before.fingerprint == now.fingerprint),
        ("file of ids", before.ids == now.ids),
        // Under another name, such as an alias, it may be the same namespace all the same.
        ("namespace", before.uid == now.uid || before.namespace == now.namespace),
        ("format or columns", before.settings == now.settings),
    ];
    if let Some((what, _)) = same.iter().find(|(_, is_same)| !is_same) {
        return Some(format!(
            "an import was begun here with another {what}; --restart begins anew, --state FILE \
             keeps both"
        ));
    }
    (before.uid != now.uid).then(|| {
        format!(
            "the namespace {:?} is not the one that {} rows of this import went into: it was \
             deleted and created again, the alias leads elsewhere, or this is another node. Going \
             on would leave those rows out; --restart imports all rows into the namespace that is \
             there now",
            now.namespace, state.tally.imported
        )
    })
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
    let Versioned { version } =
        serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
    if version != VERSION {
        return Err(unusable(format!("its version is {version}, not {VERSION}")));
    }
    let state = serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
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
pub(super) fn fingerprint(file: &Path) -> Result<String, CliError> {
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
