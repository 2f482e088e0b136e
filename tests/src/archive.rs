//! A folder in one file, for data directories that tests keep.
//!
//! zstd over: for each folder and file u16 length of its path, the path, u64 length (all ones for a
//! folder), content. Integers are little-endian.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

const FOLDER: u64 = u64::MAX;
const LEVEL: i32 = 19;

/// Packs what is in a folder. The zeros at the end of journals, which are made long before they are
/// filled, are left out.
///
/// # Errors
/// A file cannot be read.
pub fn pack(folder: &Path) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    add(folder, folder, &mut out)?;
    Ok(zstd::bulk::compress(&out, LEVEL)?)
}

fn add(root: &Path, folder: &Path, out: &mut Vec<u8>) -> Result<()> {
    let mut paths =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(root)?.to_str().context("the path is no text")?;
        out.extend_from_slice(&u16::try_from(name.len())?.to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        if path.is_dir() {
            out.extend_from_slice(&FOLDER.to_le_bytes());
            add(root, &path, out)?;
            continue;
        }
        let mut bytes = fs::read(&path)?;
        if path.extension().is_some_and(|extension| extension == "jnl") {
            bytes.truncate(bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1));
        }
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(&bytes);
    }
    Ok(())
}

/// Unpacks into a folder, which is made.
///
/// # Errors
/// It is no such archive, or cannot be written.
pub fn unpack(archive: &[u8], folder: &Path) -> Result<()> {
    let all = zstd::stream::decode_all(archive)?;
    fs::create_dir_all(folder)?;
    let mut rest = all.as_slice();
    while !rest.is_empty() {
        let name = take(&mut rest, 2)?;
        let name = take(&mut rest, usize::from(u16::from_le_bytes(name.try_into()?)))?;
        let name = Path::new(std::str::from_utf8(name)?);
        let is_below = name.components().all(|part| matches!(part, Component::Normal(_)));
        ensure!(is_below, "{} leads elsewhere", name.display());
        let length = u64::from_le_bytes(take(&mut rest, 8)?.try_into()?);
        let path = folder.join(name);
        if length == FOLDER {
            fs::create_dir_all(&path)?;
        } else {
            fs::write(&path, take(&mut rest, usize::try_from(length)?)?)?;
        }
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(count).context("the archive ends too early")?;
    *rest = after;
    Ok(taken)
}
