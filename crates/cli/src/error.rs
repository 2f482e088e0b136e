//! Why a command failed, and the exit code that says so.

use std::{io, path::PathBuf};

use hvs_api::Code;
use hvs_client::ClientError;
use serde_json::{Value, json};

use crate::read::ReadError;

/// The exit codes; `docs/cli.md` lists them for users.
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// The command did its work, and its result is that something is wrong: bad rows, a failed
    /// check, a record that is not there.
    pub const WRONG: u8 = 1;
    /// The command line or one of its values cannot be used. The parser of arguments uses the
    /// same.
    pub const USAGE: u8 = 2;
    /// The node refused.
    pub const REFUSED: u8 = 3;
    /// The node could not be reached, did not answer in time or is overloaded; later it may work.
    pub const UNREACHABLE: u8 = 4;
    /// A file cannot be read or written.
    pub const FILE: u8 = 5;
    /// Interrupted from the keyboard.
    pub const INTERRUPTED: u8 = 130;
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// A value of the command line cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The node, or the way to it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file of records.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Another file.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file with content that cannot be used.
    #[error("{path}: {detail}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A geometry operation that has no result.
    #[error("{0}")]
    Geometry(String),
    /// Standard output is gone.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
    /// The process itself could not be set up.
    #[error("{0}")]
    System(String),
    /// An import that ended before the file did.
    #[error("{cause}\nThe import stopped after {rows} rows. {resume}")]
    Stopped {
        /// Why.
        cause: Box<CliError>,
        /// Rows acknowledged in order.
        rows: u64,
        /// How to go on.
        resume: String,
    },
    /// A namespace that was made for a measurement and could not be deleted after it.
    #[error(
        "{}the namespace {namespace} is left behind ({reason}); \
         `hvs ns delete {namespace} --yes` deletes it",
        cause.as_ref().map(|cause| format!("{cause}; ")).unwrap_or_default()
    )]
    LeftBehind {
        /// Why the measurement failed, where it did.
        cause: Option<Box<CliError>>,
        /// The namespace.
        namespace: String,
        /// Why it is still there.
        reason: Box<CliError>,
    },
    /// Interrupted from the keyboard.
    #[error("interrupted")]
    Interrupted,
    /// The node refused, and its answer has been shown.
    #[error("{0}")]
    Refused(String),
    /// Another program has said what there is to say.
    #[error("it exited with {0}")]
    Exit(u8),
    /// Something was found wrong, and has been said.
    #[error("{0}")]
    Wrong(String),
}

impl CliError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Client(ClientError::InvalidUrl { .. } | ClientError::InvalidName(_)) => {
                exit::USAGE
            }
            Self::Client(error)
                if matches!(error.code(), Some(Code::VectorNotFound | Code::CheckpointDamaged)) =>
            {
                exit::WRONG
            }
            Self::Client(error) if error.is_transient() => exit::UNREACHABLE,
            Self::Client(_) | Self::Geometry(_) | Self::Refused(_) => exit::REFUSED,
            Self::Usage(_)
            | Self::Read(ReadError::Mapping { .. } | ReadError::NeedsFile { .. }) => exit::USAGE,
            Self::Read(_)
            | Self::File { .. }
            | Self::Content { .. }
            | Self::Output(_)
            | Self::System(_) => exit::FILE,
            Self::Stopped { cause, .. } => cause.exit_code(),
            Self::LeftBehind { cause, reason, .. } => cause.as_ref().unwrap_or(reason).exit_code(),
            Self::Interrupted => exit::INTERRUPTED,
            Self::Wrong(_) => exit::WRONG,
            Self::Exit(code) => *code,
        }
    }

    /// What to do about it, where that is known.
    pub fn help(&self) -> Option<&str> {
        match self.cause() {
            Self::Client(ClientError::Connect { .. }) => {
                Some("Is the node running, and is this its address? --url or HVS_URL says another.")
            }
            Self::Client(error) => error.problem().map(|problem| problem.help.as_str()),
            _ => None,
        }
    }

    /// What happened, without what followed from it.
    fn cause(&self) -> &Self {
        match self {
            Self::Stopped { cause, .. } => cause.cause(),
            Self::LeftBehind { cause, reason, .. } => cause.as_ref().unwrap_or(reason).cause(),
            other => other,
        }
    }

    /// For scripts: the node's problem as it came, or the message alone.
    pub fn to_json(&self) -> Value {
        let client = match self.cause() {
            Self::Client(error) => Some(error),
            _ => None,
        };
        let problem = client
            .and_then(ClientError::problem)
            .and_then(|problem| serde_json::to_value(problem).ok());
        let mut error = json!({ "message": self.to_string(), "exit_code": self.exit_code() });
        if let (Some(fields), Some(problem)) = (error.as_object_mut(), problem) {
            fields.insert("problem".to_owned(), problem);
        }
        json!({ "error": error })
    }
}
