//! The manifest: which checkpoints there are, and of which objects.
//!
//! ```text
//! 4 bytes   magic "HVSM"
//! 1 byte    format version, 1
//!           JSON of [`Manifest`]
//! 32 bytes  BLAKE3 of everything before
//! ```

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::hash::Hash;

const MAGIC: [u8; 4] = *b"HVSM";
const FORMAT_VERSION: u8 = 1;
const HEAD_BYTES: usize = 5;

/// Most links of a chain: each is read at the same time as the others.
pub const MAX_LINKS: usize = 32;

/// All checkpoints of one namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Counts the manifests of the namespace, from 1.
    pub generation: u64,
    /// Random for each proposal: a swap whose reply was lost must not look like a lost race.
    pub attempt: Uuid,
    /// Name of the namespace.
    pub namespace: String,
    /// Uid of the namespace.
    pub uid: Uuid,
    /// Id of the next checkpoint. No id is used again.
    pub next_id: u64,
    /// Oldest first.
    pub checkpoints: Vec<Checkpoint>,
}

/// How a checkpoint was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Every row was written.
    Full,
    /// Some shard has only what changed since the checkpoint before.
    Incremental,
}

/// A state of all shards of a namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// From 1, increasing.
    pub id: u64,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
    /// How it was made.
    pub kind: Kind,
    /// What the namespace was created with, for whoever restores it.
    pub settings: serde_json::Value,
    /// In the order of their numbers.
    pub shards: Vec<ShardPart>,
}

/// The state of one shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardPart {
    /// Uid of the shard.
    pub uid: Uuid,
    /// The last log entry in it.
    pub seq: u64,
    /// Hash of that entry.
    pub entry: Hash,
    /// Its epoch.
    pub epoch: u64,
    /// Hash of the whole state, however many links it is spread over.
    pub digest: Hash,
    /// Live records.
    pub records: u64,
    /// A base, then deltas.
    pub links: Vec<Link>,
}

/// A base or a delta.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The last log entry in it.
    pub seq: u64,
    /// For a delta the seq of the link before, whose later changes it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// In order of their rows.
    pub objects: Vec<ObjectRef>,
}

/// An object as the manifest knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Below the URL.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// Its hash.
    pub hash: Hash,
}

/// Why bytes are not a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DamagedManifest {
    /// It begins with something else.
    #[error("it does not begin as a manifest does")]
    Magic,
    /// A later version wrote it.
    #[error(
        "it was made by a newer version of HVS: it has format {found}, this version reads {FORMAT_VERSION}; \
         upgrade to that version"
    )]
    Version {
        /// As stored.
        found: u8,
    },
    /// Its hash is wrong, or it ends too early.
    #[error("its hash is not that of its bytes")]
    Hash,
    /// It does not decode, or contradicts itself.
    #[error("it does not decode: {reason}")]
    Content {
        /// What is wrong.
        reason: String,
    },
}

/// Why a checkpoint does not follow those that are there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// It has other shards.
    #[error("the checkpoint has other shards than the newest one, {newest}")]
    OtherShards {
        /// Id of the newest checkpoint.
        newest: u64,
    },
    /// It does not raise the seq.
    #[error(
        "the checkpoint does not raise the seq: shard {shard} is at {seq} (epoch {epoch}), the \
         newest checkpoint, {newest}, has {newest_seq} (epoch {newest_epoch})"
    )]
    NotRaised {
        /// Number of the shard.
        shard: usize,
        /// Its seq.
        seq: u64,
        /// Its epoch.
        epoch: u64,
        /// Id of the newest checkpoint.
        newest: u64,
        /// Its seq.
        newest_seq: u64,
        /// Its epoch.
        newest_epoch: u64,
    },
    /// A chain is not a base with deltas in order.
    #[error("the chain of shard {shard} cannot be read: {reason}")]
    Chain {
        /// Number of the shard.
        shard: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

impl Manifest {
    /// That of a namespace without checkpoints.
    pub fn new(namespace: &str, uid: Uuid) -> Self {
        Self {
            generation: 0,
            attempt: Uuid::nil(),
            namespace: namespace.to_owned(),
            uid,
            next_id: 1,
            checkpoints: Vec::new(),
        }
    }

    /// The checkpoint of an id.
    pub fn get(&self, id: u64) -> Option<&Checkpoint> {
        self.checkpoints.iter().find(|checkpoint| checkpoint.id == id)
    }

    /// The newest checkpoint.
    pub fn newest(&self) -> Option<&Checkpoint> {
        self.checkpoints.last()
    }

    /// The manifest with one more checkpoint, which gets the next id.
    pub fn with(&self, checkpoint: Checkpoint) -> Result<Self, AddError> {
        for (shard, part) in checkpoint.shards.iter().enumerate() {
            part.check().map_err(|reason| AddError::Chain { shard, reason })?;
        }
        if let Some(newest) = self.newest() {
            check_raised(newest, &checkpoint)?;
        }
        let mut next = self.next_generation();
        next.checkpoints.push(Checkpoint { id: self.next_id, ..checkpoint });
        next.next_id = self.next_id.saturating_add(1);
        Ok(next)
    }

    /// The manifest without a checkpoint, and the names of objects that nothing needs then.
    pub fn without(&self, id: u64) -> Option<(Self, Vec<String>)> {
        let removed = self.get(id)?;
        let mut next = self.next_generation();
        next.checkpoints.retain(|checkpoint| checkpoint.id != id);
        let kept = next.object_names();
        let gone = removed.objects().map(|object| object.name.as_str());
        let gone: BTreeSet<&str> = gone.filter(|name| !kept.contains(name)).collect();
        let gone = gone.into_iter().map(str::to_owned).collect();
        Some((next, gone))
    }

    /// Names of all objects that some checkpoint needs.
    pub fn object_names(&self) -> BTreeSet<&str> {
        let objects = self.checkpoints.iter().flat_map(Checkpoint::objects);
        objects.map(|object| object.name.as_str()).collect()
    }

    fn next_generation(&self) -> Self {
        Self {
            generation: self.generation.saturating_add(1),
            attempt: Uuid::new_v4(),
            ..self.clone()
        }
    }

    /// The bytes that are stored.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = [&MAGIC[..], &[FORMAT_VERSION]].concat();
        // Maps with string keys, lists, strings and integers: nothing in it has no JSON.
        out.extend(serde_json::to_vec(self).unwrap_or_default());
        let hash = Hash::of(&out);
        out.extend_from_slice(&hash.0);
        out
    }

    /// Reads what [`Manifest::encode`] wrote, and checks it.
    pub fn decode(bytes: &[u8]) -> Result<Self, DamagedManifest> {
        let Some((head, _)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Err(DamagedManifest::Magic);
        };
        let [magic @ .., version] = head;
        if *magic != MAGIC {
            return Err(DamagedManifest::Magic);
        }
        if *version != FORMAT_VERSION {
            return Err(DamagedManifest::Version { found: *version });
        }
        let Some((content, hash)) = bytes.split_last_chunk::<32>() else {
            return Err(DamagedManifest::Hash);
        };
        if Hash::of(content) != Hash(*hash) {
            return Err(DamagedManifest::Hash);
        }
        let json = content.get(HEAD_BYTES..).unwrap_or_default();
        let refuse = |reason: String| DamagedManifest::Content { reason };
        let manifest: Self =
            serde_json::from_slice(json).map_err(|error| refuse(error.to_string()))?;
        for checkpoint in &manifest.checkpoints {
            for part in &checkpoint.shards {
                part.check().map_err(|reason| refuse(reason.to_owned()))?;
            }
        }
        Ok(manifest)
    }
}

impl Checkpoint {
    /// Everything that it is made of; what several checkpoints share is in each of them.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectRef> {
        self.shards.iter().flat_map(|part| &part.links).flat_map(|link| &link.objects)
    }

    /// Size of all its objects.
    pub fn bytes(&self) -> u64 {
        self.objects().map(|object| object.bytes).sum()
    }

    /// Live records of all shards.
    pub fn records(&self) -> u64 {
        self.shards.iter().map(|part| part.records).sum()
    }
}

impl ShardPart {
    /// Size that deltas may have before a new base is due: half of the base, less what they have.
    /// None if a new base is due now.
    pub fn room_for_delta(&self) -> Option<u64> {
        let (base, deltas) = self.links.split_first()?;
        if self.links.len() >= MAX_LINKS {
            return None;
        }
        let used: u64 = deltas.iter().map(Link::bytes).sum();
        (base.bytes() / 2).checked_sub(used).filter(|&room| room > 0)
    }

    fn check(&self) -> Result<(), &'static str> {
        let Some(base) = self.links.first() else { return Err("it has no base") };
        if base.since.is_some() {
            return Err("it begins with a delta");
        }
        if self.links.len() > MAX_LINKS {
            return Err("it has too many links");
        }
        let follows = |pair: &[Link]| match pair {
            [before, after] => after.since == Some(before.seq) && after.seq >= before.seq,
            _ => true,
        };
        if !self.links.windows(2).all(follows) {
            return Err("a delta does not follow the link before it");
        }
        if self.links.last().is_none_or(|last| last.seq != self.seq) {
            return Err("it ends at another seq");
        }
        let names = self.links.iter().flat_map(|link| &link.objects).map(|object| &object.name);
        if names.clone().any(|name| !is_object_name(name)) {
            return Err("the name of an object leads elsewhere");
        }
        Ok(())
    }
}

impl Link {
    /// Size of its objects.
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.bytes).sum()
    }
}

/// A manifest comes from outside: no name in it may lead out of its folder.
fn is_object_name(name: &str) -> bool {
    let mut parts = name.split('/');
    parts.next() == Some("objects")
        && parts.clone().count() > 0
        && parts.all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

fn check_raised(newest: &Checkpoint, next: &Checkpoint) -> Result<(), AddError> {
    let uids = |checkpoint: &Checkpoint| -> Vec<Uuid> {
        checkpoint.shards.iter().map(|part| part.uid).collect()
    };
    if uids(newest) != uids(next) {
        return Err(AddError::OtherShards { newest: newest.id });
    }
    let pairs = || newest.shards.iter().zip(&next.shards).enumerate();
    let fallen =
        pairs().find(|(_, (before, after))| after.seq < before.seq || after.epoch < before.epoch);
    let is_raised = pairs().any(|(_, (before, after))| after.seq > before.seq);
    let refused = fallen.or_else(|| if is_raised { None } else { pairs().next() });
    match refused {
        None => Ok(()),
        Some((shard, (before, after))) => Err(AddError::NotRaised {
            shard,
            seq: after.seq,
            epoch: after.epoch,
            newest: newest.id,
            newest_seq: before.seq,
            newest_epoch: before.epoch,
        }),
    }
}
