//! Where the checkout is, and where downloads and tools are kept between runs.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Where Go's installer puts it, which is not on every search path.
pub const USUAL_GO: &str = "/usr/local/go/bin/go";

/// The root of the checkout that this run belongs to.
///
/// cargo names the package's folder when it runs a binary; a binary that is started by hand falls
/// back to the folder that it was built from.
pub fn workspace_root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file())
        .map_or(package.clone(), Path::to_path_buf)
}

/// The folder for downloads and tools, outside the tree: `$HVS_CACHE_DIR`, else
/// `$XDG_CACHE_HOME/hvs`, else `~/.cache/hvs`. It is created when it is missing.
///
/// # Errors
/// None of the three variables is set, or the folder cannot be created.
pub fn cache_dir() -> Result<PathBuf> {
    let folder = cache_dir_from(|name| env::var_os(name).filter(|value| !value.is_empty()))
        .context("no place for downloads: set HVS_CACHE_DIR to a folder")?;
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create the cache folder {}", folder.display()))?;
    Ok(folder)
}

fn cache_dir_from(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    variable("HVS_CACHE_DIR")
        .map(PathBuf::from)
        .or_else(|| variable("XDG_CACHE_HOME").map(|base| PathBuf::from(base).join("hvs")))
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache/hvs")))
}

/// The committed part of WordNet that makes the demo work without a network.
pub fn mammals_extract() -> PathBuf {
    workspace_root().join("tests/data/wordnet-mammals.tsv")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<'a>(set: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<std::ffi::OsString> + 'a {
        move |name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into())
    }

    #[test]
    fn the_most_specific_variable_chooses_the_cache() {
        let all = [("HVS_CACHE_DIR", "/a"), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")];
        assert_eq!(cache_dir_from(with(&all)), Some(PathBuf::from("/a")));
        assert_eq!(cache_dir_from(with(&all[1..])), Some(PathBuf::from("/b/hvs")));
        assert_eq!(cache_dir_from(with(&all[2..])), Some(PathBuf::from("/c/.cache/hvs")));
        assert_eq!(cache_dir_from(with(&[])), None);
    }

    #[test]
    fn the_root_is_the_folder_of_the_lock_file() {
        assert!(workspace_root().join("Cargo.lock").is_file());
        assert!(workspace_root().join("xtask/Cargo.toml").is_file());
    }
}
