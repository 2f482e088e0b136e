//! Why a node cannot join the others, or has to leave them.

use std::{io, path::PathBuf};

use hvs_kv::{KvError, tikv::ConnectError};
use hvs_log::{DamagedRecord, SessionError, SessionLost};

use crate::identity::IdentityError;

/// Why a node could not join.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// TiKV is not reached.
    #[error("storage.kv is tikv: {0}")]
    Connect(#[from] ConnectError),
    /// The store failed.
    #[error("cannot begin a session: {0}")]
    Kv(#[from] KvError),
    /// The session did not begin.
    #[error("cannot begin a session: {0}")]
    Renew(#[from] RenewError),
    /// A session cannot be read or fenced.
    #[error("cannot begin a session: {0}")]
    Session(#[from] SessionError),
    /// A session is damaged.
    #[error("cannot begin a session: {0}")]
    Damaged(#[from] DamagedRecord),
    /// The data directory cannot be made or locked.
    #[error("{}: {source}", .path.display())]
    DataDirectory {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Another process has the data directory.
    #[error("{} is in use by another node", .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory is that of a node with its logs in it.
    #[error(
        "{} holds the logs of a node with storage.kv embedded; a node does not move to another store: \
         give this one a directory of its own",
        .path.display()
    )]
    Embedded {
        /// The directory.
        path: PathBuf,
    },
    /// The identity cannot be read or kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A thread ended early, which would be a defect.
    #[error("a worker thread ended early")]
    Worker,
}

/// Why a session was not renewed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenewError {
    /// The store failed; the next renewal learns what came of this one.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// It is over.
    #[error(transparent)]
    Ended(#[from] SessionEnded),
}

/// The session of this node is over, and with it all that it leads: the process must end, and begins
/// anew as a standby.
#[derive(Clone, Debug, thiserror::Error)]
#[error("this node must not lead any more, and ends: {0}")]
pub struct SessionEnded(#[from] SessionLost);
