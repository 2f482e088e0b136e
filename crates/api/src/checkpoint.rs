//! Checkpoints, and the tasks that make, verify and restore them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Problem;

/// How a checkpoint is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointKind {
    /// Everything is written.
    Full,
    /// What changed since the checkpoint before is written; everything where that is not known,
    /// or where the changes have outgrown half of what they build on.
    #[default]
    Incremental,
}

/// A new checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCheckpoint {
    /// How it is made.
    #[serde(default)]
    pub kind: CheckpointKind,
}

/// A state of a namespace that can be restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointInfo {
    /// Counts the checkpoints of the namespace.
    pub id: u64,
    /// How it was made.
    pub kind: CheckpointKind,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
    /// Records in it.
    pub records: u64,
    /// For each shard the last entry of its log that is in it.
    pub seqs: Vec<u64>,
    /// Objects that it is made of.
    pub objects: u64,
    /// Their size.
    pub bytes: u64,
    /// Size of those of them that it shares with no earlier checkpoint.
    pub new_bytes: u64,
}

/// The checkpoints of one namespace, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointList {
    /// Name of the namespace.
    pub namespace: String,
    /// Uid of the namespace.
    pub uid: String,
    /// Where they are; a restore takes it.
    pub url: String,
    /// The checkpoints.
    pub checkpoints: Vec<CheckpointInfo>,
}

/// The checkpoints at the node's place for them, also of namespaces that the node does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointPlaces {
    /// The place.
    pub url: String,
    /// What is there.
    pub namespaces: Vec<CheckpointList>,
    /// Where there is something that cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<DamagedCheckpoints>,
}

/// The checkpoints of a namespace that cannot be read, because what lists them is damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DamagedCheckpoints {
    /// Where they are.
    pub url: String,
    /// What is damaged, and how.
    pub reason: String,
}

/// A checkpoint that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedCheckpoint {
    /// Its id, which is not used again.
    pub id: u64,
    /// Objects that no other checkpoint needs and that were removed, with those that attempts
    /// that did not end had left behind.
    pub removed_objects: u64,
}

/// A namespace that is to be made from a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// Name of the new namespace.
    pub namespace: String,
    /// Name of the namespace that the checkpoint is of; instead of `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Where its checkpoints are; instead of `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Id of the checkpoint; the newest one, if neither this nor `seqs` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<u64>,
    /// For each shard the last entry of its log that is wanted. What comes after the newest
    /// checkpoint before it is taken from the log of the namespace, if this node has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seqs: Option<Vec<u64>>,
}

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// Makes a checkpoint.
    Create,
    /// Reads all of a checkpoint and checks it.
    Verify,
    /// Makes a namespace from a checkpoint.
    Restore,
    /// Builds indexes anew. It can be cancelled.
    Reindex,
}

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// At work.
    Running,
    /// It did what it was to do.
    Done,
    /// It did not; `problem` says why.
    Failed,
}

/// Work that goes on after the request that began it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskInfo {
    /// Its id, as long as this node runs.
    pub id: String,
    /// What it does.
    pub kind: TaskKind,
    /// The namespace that it works on, or makes.
    pub namespace: String,
    /// How far it is.
    pub state: TaskState,
    /// Milliseconds since 1970.
    pub started_at_ms: u64,
    /// Milliseconds since 1970; once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<u64>,
    /// Rows read so far: records, deleted ids and idempotency keys; when indexes are built, rows
    /// that are in segments of the new ones.
    pub rows: u64,
    /// About how many there are.
    pub total_rows: u64,
    /// Bytes written to, or read from, the place of the checkpoints so far.
    pub bytes: u64,
    /// The checkpoint that was made, verified or restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointInfo>,
    /// After a restore: for each shard the last entry that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_seqs: Option<Vec<u64>>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// The tasks of a node, those that have ended for a while as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskList {
    /// Oldest first.
    pub tasks: Vec<TaskInfo>,
}
