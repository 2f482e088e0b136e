//! Where an export goes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::error::CliError;

/// Links that lead to links are followed so often, as Linux does.
const LONGEST_CHAIN: usize = 40;

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The standard output.
    StandardOutput,
    /// A device, a pipe, or whatever else is there and is no file: written to as it stands.
    Direct(PathBuf),
    /// A file, which appears under its name, or is replaced, only when it is whole.
    File {
        /// The file itself, at the end of all links.
        path: PathBuf,
        /// Permissions of the file that is replaced.
        permissions: Option<fs::Permissions>,
    },
}

/// What is written to.
pub(super) type Output = BufWriter<Box<dyn Write + Send>>;

/// A file that is not whole yet. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Part {
    part: PathBuf,
    path: PathBuf,
}

impl Target {
    /// What `argument` names. Nothing is written yet.
    ///
    /// # Errors
    /// When it is a folder, or cannot be looked at.
    pub(super) fn of(argument: Option<&Path>) -> Result<Self, CliError> {
        let Some(path) = argument else { return Ok(Self::StandardOutput) };
        // Under this name too, so that what is said to people does not end up among the rows.
        if path == Path::new("-") || path == Path::new("/dev/stdout") {
            return Ok(Self::StandardOutput);
        }
        let failed = |source: io::Error| CliError::File { path: path.to_owned(), source };
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                Err(failed(io::Error::from(io::ErrorKind::IsADirectory)))
            }
            Ok(metadata) if metadata.is_file() => {
                let path = fs::canonicalize(path).map_err(failed)?;
                Ok(Self::File { path, permissions: Some(metadata.permissions()) })
            }
            Ok(_) => Ok(Self::Direct(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self::File { path: end_of_links(path).map_err(failed)?, permissions: None })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Opens it, which waits for a reader where it is a named pipe.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub(super) fn open(self) -> Result<(Output, Option<Part>), CliError> {
        let (out, part): (Box<dyn Write + Send>, _) = match self {
            Self::StandardOutput => (Box::new(io::stdout()), None),
            Self::Direct(path) => {
                let out = OpenOptions::new().write(true).open(&path);
                (Box::new(out.map_err(|source| CliError::File { path, source })?), None)
            }
            Self::File { path, permissions } => {
                let (out, part) = Part::create(path, permissions)?;
                (Box::new(out), Some(part))
            }
        };
        Ok((BufWriter::new(out), part))
    }
}

impl Part {
    fn create(
        path: PathBuf,
        permissions: Option<fs::Permissions>,
    ) -> Result<(File, Self), CliError> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let failed = |source: io::Error| CliError::File { path: part.clone(), source };
        // What a killed export has left; were it a link, it would not be followed.
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let out = OpenOptions::new().write(true).create_new(true).open(&part).map_err(failed)?;
        let this = Self { part: part.clone(), path };
        // Before the first row, which is not for everybody where the file was not.
        if let Some(permissions) = permissions {
            out.set_permissions(permissions).map_err(failed)?;
        }
        Ok((out, this))
    }

    /// Gives the file, which is whole, its name.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn finish(self) -> Result<(), CliError> {
        fs::rename(&self.part, &self.path)
            .map_err(|source| CliError::File { path: self.path.clone(), source })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After `finish` there is none; otherwise nobody is left to tell.
        let _ = fs::remove_file(&self.part);
    }
}

/// The path that a chain of links leads to, at the end of which nothing is.
fn end_of_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LONGEST_CHAIN {
        if !fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
            return Ok(path);
        }
        let target = fs::read_link(&path)?;
        path = path.parent().map_or_else(|| target.clone(), |folder| folder.join(&target));
    }
    Err(io::Error::other("too many symbolic links"))
}
