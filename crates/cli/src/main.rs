//! The `hvs` command line.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use hvs_cli::{Cli, CliError};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.json();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough, as with `| head`.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let mut text =
                if json { error.to_json().to_string() } else { format!("error: {error}") };
            if let (false, Some(help)) = (json, error.help()) {
                text.push_str("\nhelp: ");
                text.push_str(help);
            }
            // Nobody is left to tell when this fails too.
            let _ = writeln!(io::stderr(), "{text}");
            ExitCode::from(error.exit_code())
        }
    }
}
