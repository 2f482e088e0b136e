//! The catalogue at rest: records of the system shard.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use hvs_geometry::{Geometry, Space};
use hvs_kv::Kv;
use hvs_shard::{
    Durability, IndexConfig, IndexKind, Metadata, NewRecord, Operation, Record, ScrollRequest,
    Shard, ShardConfig, ShardMemory, ShardStats, Vectors, WriteOutcome, WriteRequest, Writer,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{CatalogueError, Entry, SettingsError};

/// Reserved: no namespace or shard that is made gets it, because those are random and of
/// another version.
const SYSTEM: Uuid = Uuid::nil();
pub(crate) const DIRECTORY: &str = "system";
const NAMESPACE: &str = "namespace";
const ALIAS: &str = "alias";
const FORMAT: u64 = 1;
const PAGE: usize = 1_000;

/// How far a namespace has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Its shards are being made.
    Creating,
    /// Usable.
    Ready,
    /// Its shards are being removed.
    Deleting,
}

#[derive(Serialize, Deserialize)]
struct StoredNamespace {
    format: u64,
    state: State,
    #[serde(flatten)]
    entry: Entry,
}

#[derive(Serialize, Deserialize)]
struct StoredAlias {
    format: u64,
    namespace: String,
}

/// Everything in the catalogue.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) namespaces: BTreeMap<String, (State, Entry)>,
    pub(super) aliases: BTreeMap<String, String>,
}

/// How the system shard is opened.
pub(super) fn config(writer: Writer) -> Result<ShardConfig, CatalogueError> {
    // Its records have no vectors, but a shard has at least one index.
    let space = Space::new(Geometry::Euclidean, 1, 0.0).map_err(SettingsError::from)?;
    let index = IndexConfig { kind: IndexKind::Flat, ..IndexConfig::new(space) };
    let vectors = BTreeMap::from([(String::new(), index)]);
    Ok(ShardConfig::new(SYSTEM, SYSTEM, writer, vectors))
}

/// The system shard.
pub(super) struct Store {
    shard: Shard,
}

impl Store {
    pub(super) fn open(
        config: ShardConfig,
        data_dir: &Path,
        kv: Arc<dyn Kv>,
    ) -> Result<Self, CatalogueError> {
        let directory = data_dir.join("shards").join(DIRECTORY);
        let shard = Shard::open(config, kv, &directory)
            .map_err(|error| CatalogueError::Open(Box::new(error)))?;
        Ok(Self { shard })
    }

    pub(super) fn read(&self) -> Result<Contents, CatalogueError> {
        let mut contents = Contents::default();
        let mut after = None;
        loop {
            let request = ScrollRequest { after, ..ScrollRequest::first(PAGE) };
            let page = self.shard.scroll(&request)?;
            for record in page.records {
                add(&mut contents, record)?;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(contents),
            }
        }
    }

    pub(super) fn stats(&self) -> ShardStats {
        self.shard.stats()
    }

    pub(super) fn memory(&self) -> ShardMemory {
        self.shard.memory()
    }

    pub(super) async fn put(
        &self,
        name: &str,
        state: State,
        entry: &Entry,
    ) -> Result<(), CatalogueError> {
        self.write(vec![put_namespace(name, state, entry)?]).await
    }

    /// Marks the namespace and removes its aliases in one entry of the log.
    pub(super) async fn start_deletion(
        &self,
        name: &str,
        entry: &Entry,
        aliases: &[String],
    ) -> Result<(), CatalogueError> {
        let mut operations = vec![put_namespace(name, State::Deleting, entry)?];
        operations.extend(aliases.iter().map(|alias| delete(ALIAS, alias)));
        self.write(operations).await
    }

    pub(super) async fn forget(&self, name: &str) -> Result<(), CatalogueError> {
        self.write(vec![delete(NAMESPACE, name)]).await
    }

    pub(super) async fn switch_aliases(
        &self,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<(), CatalogueError> {
        let mut operations = Vec::with_capacity(changes.len());
        for (alias, target) in changes {
            operations.push(match target {
                Some(namespace) => {
                    let stored = StoredAlias { format: FORMAT, namespace: namespace.clone() };
                    put(ALIAS, alias, &stored)?
                }
                None => delete(ALIAS, alias),
            });
        }
        self.write(operations).await
    }

    pub(super) async fn close(&self) -> Result<(), CatalogueError> {
        let shard = self.shard.clone();
        tokio::task::spawn_blocking(move || shard.close())
            .await
            .map_err(|_| CatalogueError::Worker)?
            .map_err(|source| CatalogueError::Close {
                namespace: "_system".to_owned(),
                source: Box::new(source),
            })
    }

    async fn write(&self, operations: Vec<Operation>) -> Result<(), CatalogueError> {
        let request = WriteRequest {
            operations,
            durability: Durability::Sync,
            atomic: true,
            idempotency_key: None,
        };
        let answer = self.shard.write(request).await?;
        debug_assert!(
            answer.outcomes.iter().all(|outcome| !matches!(
                outcome,
                WriteOutcome::ConditionFailed { .. } | WriteOutcome::NotApplied
            )),
            "the catalogue sets no conditions, because it is the only writer of its shard"
        );
        // Without it nobody knows which shards belong together, so that it does not depend on the
        // store of logs alone. Changes are rare.
        let shard = self.shard.clone();
        let persisted = tokio::task::spawn_blocking(move || shard.persist()).await;
        if let Err(error) = persisted.map_err(|_| CatalogueError::Worker)? {
            tracing::warn!(%error, "a change of the catalogue is in its log only");
        }
        Ok(())
    }
}

fn record_id(kind: &str, name: &str) -> String {
    format!("{kind}/{name}")
}

fn delete(kind: &str, name: &str) -> Operation {
    Operation::Delete { id: record_id(kind, name), condition: None }
}

fn put_namespace(name: &str, state: State, entry: &Entry) -> Result<Operation, CatalogueError> {
    put(NAMESPACE, name, &StoredNamespace { format: FORMAT, state, entry: entry.clone() })
}

fn put<T: Serialize>(kind: &str, name: &str, value: &T) -> Result<Operation, CatalogueError> {
    let id = record_id(kind, name);
    let metadata = match serde_json::to_value(value) {
        Ok(Value::Object(metadata)) => metadata,
        Ok(_) => Metadata::new(),
        Err(error) => return Err(CatalogueError::Damaged { id, reason: error.to_string() }),
    };
    let record = NewRecord {
        id,
        partition_key: None,
        vectors: Vectors::new(),
        metadata,
        region: None,
        kind: kind.to_owned(),
        expiry: None,
    };
    Ok(Operation::Put { record, condition: None })
}

pub(super) fn add(contents: &mut Contents, record: Record) -> Result<(), CatalogueError> {
    let id = record.id;
    let damaged = |reason: String| CatalogueError::Damaged { id: id.clone(), reason };
    let format = record.metadata.get("format").and_then(Value::as_u64);
    match format {
        Some(FORMAT) => {}
        Some(found) if found > FORMAT => {
            return Err(CatalogueError::Newer { id, found, known: FORMAT });
        }
        _ => return Err(damaged("it has no format".to_owned())),
    }
    let value = Value::Object(record.metadata);
    match id.split_once('/') {
        Some((NAMESPACE, name)) => {
            let stored: StoredNamespace =
                serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
            contents.namespaces.insert(name.to_owned(), (stored.state, stored.entry));
        }
        Some((ALIAS, name)) => {
            let stored: StoredAlias =
                serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
            contents.aliases.insert(name.to_owned(), stored.namespace);
        }
        _ => return Err(damaged("it is neither a namespace nor an alias".to_owned())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hvs_shard::{Etag, Timestamp};
    use serde_json::json;

    use super::*;

    fn record(id: &str, metadata: &Value) -> Record {
        Record {
            id: id.to_owned(),
            partition_key: None,
            vectors: Vectors::new(),
            metadata: metadata.as_object().cloned().unwrap(),
            region: None,
            kind: ALIAS.to_owned(),
            version: 1,
            etag: Etag { epoch: 1, seq: 1, index: 0 },
            timestamp: Timestamp::default(),
            content_hash: [0; 32],
            expires_at: None,
        }
    }

    #[test]
    fn what_a_newer_version_wrote_is_said_to_be_so_and_nothing_else_is() {
        let mut contents = Contents::default();
        let mut add = |format: Value| {
            let metadata = json!({"format": format, "namespace": "n", "added_later": true});
            add(&mut contents, record("alias/a", &metadata))
        };
        let newer = add(json!(FORMAT + 1)).unwrap_err();
        let said = newer.to_string();
        assert!(matches!(newer, CatalogueError::Newer { found: 2, known: 1, .. }), "{said}");
        assert!(said.contains("alias/a") && said.contains("upgrade"), "{said}");
        for damaged in [json!(null), json!("1"), json!(0), json!(-1)] {
            assert!(matches!(add(damaged), Err(CatalogueError::Damaged { .. })));
        }
        add(json!(FORMAT)).unwrap();
        assert_eq!(contents.aliases["a"], "n");
    }
}
