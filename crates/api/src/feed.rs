//! The feed of changes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::RecordInfo;

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ChangeKind {
    /// It was stored as a whole.
    Put,
    /// Parts of it were changed.
    Patch,
    /// It was deleted.
    Delete,
    /// Its time had come: it was deleted, or never stored.
    Expire,
}

/// One change of one record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChangeInfo {
    /// The shard, from 0. Changes are in order within one.
    pub shard: u32,
    /// The entry of the shard's log.
    pub seq: u64,
    /// The place in the entry.
    pub index: u32,
    /// What happened.
    pub kind: ChangeKind,
    /// Whose record.
    pub id: String,
    /// Of the record, or of what is remembered of it.
    pub version: u64,
    /// Of the record, or of what is remembered of it.
    pub etag: String,
    /// When, in milliseconds since 1970 by the shard's clock.
    pub at_ms: u64,
    /// What the record became by a put or a patch, if records were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordInfo>,
}

/// A part of the feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChangesResponse {
    /// Of each shard in the order in which they took effect.
    pub changes: Vec<ChangeInfo>,
    /// `since` of the next request.
    pub token: String,
    /// Whether there was nothing more when it was read.
    pub complete: bool,
}

/// What to read of the feed, as query parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangesQuery {
    /// After where: a token; `now`; with `shard` also the seq of an entry. From the first change
    /// on when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Of this shard alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<u32>,
    /// Most changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Milliseconds to wait for a change if there is none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// `record`: with what each record became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include: Option<String>,
}
