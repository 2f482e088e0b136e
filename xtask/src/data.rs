//! `cargo xtask data`: real data for the demo and the benchmarks, checked and cached.
//!
//! A data set is a folder in the cache that appears only once all its files carry the checksums
//! that are written here, so that a later run is a look at the folder.

pub mod glove;
pub mod wordnet;

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// A file of a data set and what it must contain.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Name of the file inside the data set's folder.
    pub name: &'static str,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: &'static str,
}

/// One way to get a data set.
struct Source<'a> {
    /// For people: what is asked for it.
    name: &'a str,
    /// Programs that the way needs.
    needs: &'a [&'a str],
    /// Puts files somewhere below the given empty folder and returns the folder that holds them.
    fetch: &'a dyn Fn(&Path) -> Result<PathBuf>,
}

/// Copies the expected files from the first source that delivers them to `folder`.
///
/// # Errors
/// No source works; the message says for each one why.
fn obtain(folder: &Path, expected: &[Expected], sources: &[Source<'_>]) -> Result<()> {
    let parent = folder.parent().context("the cache folder has no parent")?;
    let mut reasons = Vec::new();
    for source in sources {
        if let Some(missing) = source.needs.iter().find(|name| crate::shell::find(name).is_none()) {
            reasons.push(format!("{}: the program {missing} is missing", source.name));
            continue;
        }
        let work = parent.join(format!("fetching-{}", std::process::id()));
        let attempt = std::fs::create_dir_all(&work)
            .context("cannot create a working folder")
            .and_then(|()| (source.fetch)(&work))
            .and_then(|found| install(&found, folder, expected));
        let _ = std::fs::remove_dir_all(&work);
        match attempt {
            Ok(()) => {
                eprintln!("got {} from {}", folder.display(), source.name);
                return Ok(());
            }
            Err(reason) => reasons.push(format!("{}: {reason:#}", source.name)),
        }
    }
    bail!("{}", reasons.join("\n"))
}

/// Checks the expected files in `found` and copies them to `folder`, which appears whole or not
/// at all.
fn install(found: &Path, folder: &Path, expected: &[Expected]) -> Result<()> {
    for file in expected {
        verify(&found.join(file.name), file.sha256)?;
    }
    let mut partial = folder.as_os_str().to_owned();
    partial.push(format!(".partial-{}", std::process::id()));
    let partial = PathBuf::from(partial);
    std::fs::create_dir_all(&partial)
        .with_context(|| format!("cannot create {}", partial.display()))?;
    for file in expected {
        let name = Path::new(file.name).file_name().context("a data file without a name")?;
        std::fs::copy(found.join(file.name), partial.join(name))
            .with_context(|| format!("cannot copy {} into the cache", file.name))?;
    }
    match std::fs::rename(&partial, folder) {
        // Another run of the same command may have been first.
        Err(_) if folder.is_dir() => std::fs::remove_dir_all(&partial).map_err(Into::into),
        result => result.with_context(|| format!("cannot create {}", folder.display())),
    }
}

/// # Errors
/// The file cannot be read, or its SHA-256 is another one.
fn verify(file: &Path, sha256: &str) -> Result<()> {
    let actual = sha256_of(file)?;
    if actual != sha256 {
        bail!("{} has the checksum {actual} instead of {sha256}", file.display());
    }
    Ok(())
}

/// The SHA-256 of a file in lower-case hexadecimal.
///
/// # Errors
/// The file cannot be read.
pub fn sha256_of(file: &Path) -> Result<String> {
    let mut reader = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read =
            reader.read(&mut buffer).with_context(|| format!("cannot read {}", file.display()))?;
        if read == 0 {
            break;
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
    let digest = hasher.finalize();
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    Ok(digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    // `printf hello | sha256sum`
    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    const FILES: &[Expected] = &[Expected { name: "greeting", sha256: HELLO }];

    fn source<'a>(needs: &'a [&'a str], fetch: &'a dyn Fn(&Path) -> Result<PathBuf>) -> Source<'a> {
        Source { name: "a test", needs, fetch }
    }

    #[test]
    fn the_first_source_with_the_right_bytes_wins() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("set");
        let wrong = |work: &Path| {
            std::fs::write(work.join("greeting"), "hallo")?;
            Ok(work.to_path_buf())
        };
        let right = |work: &Path| {
            std::fs::write(work.join("greeting"), "hello")?;
            Ok(work.to_path_buf())
        };
        let sources = [
            source(&["no-such-program-anywhere"], &right),
            source(&[], &wrong),
            source(&[], &right),
        ];
        obtain(&folder, FILES, &sources).unwrap();
        assert_eq!(std::fs::read_to_string(folder.join("greeting")).unwrap(), "hello");
        let left: Vec<_> = std::fs::read_dir(cache.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "working folders are removed");
    }

    #[test]
    fn when_nothing_works_every_reason_is_given() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("set");
        let wrong = |work: &Path| {
            std::fs::write(work.join("greeting"), "hallo")?;
            Ok(work.to_path_buf())
        };
        let sources = [source(&["no-such-program-anywhere"], &wrong), source(&[], &wrong)];
        let said = obtain(&folder, FILES, &sources).unwrap_err().to_string();
        assert!(said.contains("no-such-program-anywhere is missing"), "{said}");
        assert!(said.contains("checksum"), "{said}");
        assert!(!folder.exists());
    }
}
