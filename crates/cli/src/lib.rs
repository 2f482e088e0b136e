//! The `hvs` command line: what its commands do.

mod args;
mod bench;
mod command;
mod error;
mod export;
mod geometry;
mod hierarchy;
mod import;
mod output;
pub mod read;

pub use args::Cli;
pub use error::{CliError, exit};
