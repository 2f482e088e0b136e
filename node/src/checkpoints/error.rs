//! Why something of a checkpoint cannot be done.

use hvs_checkpoint::{AddError, ChainError, StoreError, SwapError, WriteError};
use hvs_shard::{
    ReadError,
    checkpoint::{DamagedState, RestoreError},
};

use crate::catalogue::{CatalogueError, RebuildError, SettingsError};

/// Why something of a checkpoint cannot be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("{url} is not below checkpoints.url, which is {root}")]
    ElsewhereUrl { url: String, root: String },
    #[error("give one of source and url")]
    Source,
    #[error(
        "there are checkpoints of several namespaces that had the name {name:?}; give the url of one: {urls}"
    )]
    Ambiguous { name: String, urls: String },
    #[error("there is no checkpoint {id}")]
    NotFound { id: u64 },
    #[error("there are no checkpoints at {url}")]
    NoCheckpoints { url: String },
    #[error("the checkpoints at {url} are of another namespace, {found}")]
    OtherNamespace { url: String, found: uuid::Uuid },
    #[error("the namespace has {count} checkpoints, which is the limit (checkpoints.kept)")]
    Full { count: usize },
    #[error(transparent)]
    Add(#[from] AddError),
    #[error("nothing was written since checkpoint {id}; to make it anew, delete it first")]
    SameState { id: u64 },
    #[error("another checkpoint was made or deleted at the same time")]
    Conflict,
    #[error("shard {shard}: {source}")]
    State { shard: usize, source: DamagedState },
    #[error("shard {shard}: the state has another digest than the manifest says")]
    Digest { shard: usize },
    #[error("the manifest says that shard {shard} is at {expected}, its state at {found}")]
    OtherSeq { shard: usize, expected: u64, found: u64 },
    #[error("the settings of the namespace do not decode: {0}")]
    Settings(String),
    #[error("{0}")]
    Seqs(String),
    #[error("the local state cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("the checkpoint cannot be written: {0}")]
    Write(#[from] WriteError),
    #[error("shard {shard} cannot be restored: {reason}")]
    Restore { shard: usize, reason: String },
    #[error("the log of shard {shard} cannot be read: {reason}")]
    Log { shard: usize, reason: String },
    #[error("{running} tasks run already, which is the limit (checkpoints.running)")]
    Busy { running: usize },
    #[error("there is no task {id:?}")]
    TaskNotFound { id: String },
    #[error("the task {id} is not a running one of kind reindex")]
    NotCancellable { id: String },
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    #[error("the node is stopping")]
    Stopping,
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("a thread ended early")]
    Lost,
}

impl From<SwapError> for CheckpointError {
    fn from(error: SwapError) -> Self {
        match error {
            SwapError::Store(error) => Self::Store(error),
            _ => Self::Conflict,
        }
    }
}

impl From<SettingsError> for CheckpointError {
    fn from(error: SettingsError) -> Self {
        Self::Catalogue(error.into())
    }
}

impl CheckpointError {
    /// Why a shard was not restored.
    pub(super) fn restoring(shard: usize, error: RestoreError<CheckpointError>) -> Self {
        match error {
            RestoreError::Rows(error) => error,
            RestoreError::Damaged(source) => Self::State { shard, source },
            RestoreError::Digest => Self::Digest { shard },
            RestoreError::EndsBefore { .. } => Self::Seqs(format!("shard {shard}: {error}")),
            RestoreError::Log(error) => Self::Log { shard, reason: error.to_string() },
            other => Self::Restore { shard, reason: other.to_string() },
        }
    }
}
