//! The `hvs` command line.

use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use hvs_cli::{Cli, CliError};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and the version are no errors.
        Err(error) if error.use_stderr() && asks_for_json() => {
            let message = error.render().to_string();
            let message = message.trim().trim_start_matches("error: ").to_owned();
            let error = CliError::Usage(message);
            let _ = writeln!(io::stderr(), "{}", error.to_json());
            return ExitCode::from(error.exit_code());
        }
        Err(error) => error.exit(),
    };
    let json = cli.json();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough, as with `| head`.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(CliError::Exit(code)) => ExitCode::from(code),
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

/// Whether a command line that could not be read asks for JSON.
fn asks_for_json() -> bool {
    env::args_os().take_while(|argument| argument != "--").any(|argument| argument == "--json")
}
