//! Why a request failed.

use std::time::Duration;

use hvs_api::{Code, DecodeError, EncodeError, Problem};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address is none.
    #[error("{url:?} is no address of a node ({reason}); one looks like http://127.0.0.1:9001")]
    InvalidUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that cannot be part of an address.
    #[error("{0:?} cannot be the name of a namespace or alias")]
    InvalidName(String),
    /// The HTTP client itself could not be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Setup(String),
    /// Nobody answers there.
    #[error("cannot connect to {url}: {reason}")]
    Connect {
        /// The node's address.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// The connection broke.
    #[error("the connection to {url} failed: {reason}")]
    Transport {
        /// The node's address.
        url: String,
        /// What happened.
        reason: String,
    },
    /// No answer in time.
    #[error("{url} did not answer within {:.1} s", after.as_secs_f64())]
    TimedOut {
        /// The node's address.
        url: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The node refused, and says why.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// An error that does not come from an HVS node, but perhaps from something before it.
    #[error("{url} answered {status} without saying why: {text}")]
    UnexpectedStatus {
        /// The node's address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        text: String,
    },
    /// The answer is longer than the client takes.
    #[error("the answer is longer than {limit} bytes; ask for less at once")]
    AnswerTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The answer is not what was expected, which means that the versions do not match or that
    /// something else listens there.
    #[error("cannot read the answer of {url}: {source}")]
    Decode {
        /// The node's address.
        url: String,
        /// What is wrong.
        source: DecodeError,
    },
    /// The request has no form on the wire.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl ClientError {
    /// The problem's code, where the node named one that this version knows.
    pub fn code(&self) -> Option<Code> {
        self.problem().and_then(Problem::known_code)
    }

    /// The node's own words.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether the same request may succeed later without being changed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Transport { .. } | Self::TimedOut { .. } => true,
            Self::Problem(problem) => matches!(problem.status, 503 | 504),
            Self::UnexpectedStatus { status, .. } => matches!(status, 502..=504),
            _ => false,
        }
    }
}
