//! Changing a namespace that is in use: its indexes, and how its records are compressed.
//!
//! What only searches look at changes at once; so does the compression of what is written. Everything else is built beside what is there; the
//! catalogue is written when it is complete, and names the generation of each index, so that after
//! a crash either the old index or the new one is opened, and what is not named is removed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use hvs_api::{AlterIndex, AlterNamespace, Compression, IndexSpec, IndexType};
use hvs_shard::{IndexChange, ReindexError};
use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    Catalogue, CatalogueError, Entry, Namespace, Overview, Settings, SettingsError, Slot,
    VectorSettings, check_name,
    settings::{resolve_index, shard_compression},
    store::State,
};
use crate::config::Config;

/// What a request changes.
struct Altered {
    /// How records are compressed at rest, if that changes.
    compression: Option<Compression>,
    /// The settings of vectors whose searches change.
    tuned: BTreeMap<String, VectorSettings>,
    /// Those of vectors whose indexes have to be built anew.
    rebuilt: BTreeMap<String, VectorSettings>,
}

fn refuse(reason: impl Into<String>) -> SettingsError {
    SettingsError::Index { reason: reason.into() }
}

impl Settings {
    fn alter(&self, request: &AlterNamespace, config: &Config) -> Result<Altered, SettingsError> {
        let compression =
            request.compression.filter(|wanted| self.compression.as_ref() != Some(wanted));
        let mut altered = Altered { compression, tuned: BTreeMap::new(), rebuilt: BTreeMap::new() };
        let named = request.vectors.iter().map(|(name, vector)| (name.as_str(), &vector.index));
        let default = request.index.iter().map(|index| ("", index));
        for (name, change) in default.chain(named.filter(|(name, _)| !name.is_empty())) {
            let Some(before) = self.vectors.get(name) else {
                let reason = "the namespace has no such vector".to_owned();
                return Err(SettingsError::VectorName { name: name.to_owned(), reason });
            };
            let index = alter_index(&before.index, change, config)?;
            let mut after = VectorSettings { index, ..before.clone() };
            after.check(config)?;
            if after == *before {
                continue;
            }
            let in_searches = IndexSpec {
                ef_search: before.index.ef_search,
                nprobe: before.index.nprobe,
                ..after.index.clone()
            };
            if in_searches == before.index {
                altered.tuned.insert(name.to_owned(), after);
            } else {
                after.generation += 1;
                altered.rebuilt.insert(name.to_owned(), after);
            }
        }
        if request.vectors.contains_key("") {
            return Err(refuse(
                "the index of the default vector is given beside vectors, as index",
            ));
        }
        Ok(altered)
    }
}

fn alter_index(
    before: &IndexSpec,
    change: &AlterIndex,
    config: &Config,
) -> Result<IndexSpec, SettingsError> {
    let kind = change.kind.unwrap_or(before.kind);
    match (before.kind == IndexType::Hybrid, kind == IndexType::Hybrid) {
        (true, false) => {
            return Err(refuse(
                "type HYBRID has an index of text, which cannot be taken from a namespace; change \
                 the index of the vector with dense",
            ));
        }
        (false, true) => {
            return Err(refuse(
                "an index of text cannot be added to a namespace; create one of type HYBRID, and \
                 lead an alias to it",
            ));
        }
        _ => {}
    }
    let spec = IndexSpec {
        kind,
        m: change.m,
        ef_construction: change.ef_construction,
        ef_search: change.ef_search,
        nlist: change.nlist,
        nprobe: change.nprobe,
        quantisation: change.quantisation,
        resident: change.resident,
        dense: change.dense,
        ..IndexSpec::default()
    };
    resolve_index(&spec, Some(before), config)
}

/// The namespaces whose indexes are being built anew, by uid, and whether that is to end.
pub(super) type Alterations = Mutex<HashMap<Uuid, Arc<AtomicBool>>>;

/// Indexes that are to be built anew, of a namespace that nobody else changes meanwhile.
pub struct Rebuild {
    catalogue: Arc<Catalogue>,
    namespace: Arc<Namespace>,
    vectors: BTreeMap<String, VectorSettings>,
    claim: Claim,
}

/// The right to change the indexes of a namespace.
struct Claim {
    catalogue: Arc<Catalogue>,
    uid: Uuid,
    ends: Arc<AtomicBool>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.catalogue.alterations.lock().remove(&self.uid);
    }
}

/// Why indexes were not built anew. Those before them are in use.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The catalogue, or the namespace was deleted.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A shard.
    #[error("shard {shard}: {source}")]
    Shard {
        /// Its number.
        shard: usize,
        /// Why.
        source: ReindexError,
    },
    /// It was not to go on.
    #[error("the task was cancelled; the indexes are as they were")]
    Cancelled,
}

impl Catalogue {
    /// Changes what can be changed at once, and says what has to be built for the rest. By the
    /// name of the namespace only, as with deletions.
    ///
    /// # Errors
    /// [`CatalogueError`]; nothing has changed then.
    pub async fn alter(
        self: &Arc<Self>,
        name: &str,
        request: &AlterNamespace,
        until: Instant,
    ) -> Result<(Overview, Option<Rebuild>), CatalogueError> {
        check_name(name, self.name_limit())?;
        let slot = self.by_own_name(name)?;
        let claim = self.claim(&slot)?;
        // As it is now that nobody else changes it.
        let namespace = self.lease(&slot, until).await?;
        let altered = namespace.entry.settings.alter(request, &self.surroundings.config)?;
        if let Some(compression) = altered.compression {
            let change = |settings: &mut Settings| settings.compression = Some(compression);
            self.put_settings(&namespace, change, || {}).await?;
            for shard in namespace.shards() {
                shard.set_compression(shard_compression(compression));
            }
        }
        if !altered.tuned.is_empty() {
            let config = &self.surroundings.config;
            let kinds = altered.tuned.iter().map(|(vector, settings)| {
                Ok((vector.as_str(), settings.index_config(config)?.kind))
            });
            let kinds: Vec<_> = kinds.collect::<Result<_, CatalogueError>>()?;
            // Before the settings are published: what is kept of answers belongs to them.
            let tune = || {
                for shard in namespace.shards() {
                    for (vector, kind) in &kinds {
                        shard.tune_index(vector, *kind);
                    }
                }
            };
            self.put_vectors(&namespace, &altered.tuned, tune).await?;
        }
        if altered.rebuilt.is_empty() {
            return Ok((slot.overview(), None));
        }
        let rebuild =
            Rebuild { catalogue: Arc::clone(self), namespace, vectors: altered.rebuilt, claim };
        Ok((slot.overview(), Some(rebuild)))
    }

    fn by_own_name(&self, name: &str) -> Result<Arc<Slot>, CatalogueError> {
        let view = self.view.load();
        match view.namespaces.get(name) {
            Some(slot) => Ok(Arc::clone(slot)),
            None if view.aliases.contains_key(name) => {
                Err(CatalogueError::NameTaken { name: name.to_owned(), kind: "an alias" })
            }
            None => Err(CatalogueError::NamespaceNotFound { name: name.to_owned() }),
        }
    }

    fn claim(self: &Arc<Self>, slot: &Slot) -> Result<Claim, CatalogueError> {
        let uid = slot.uid();
        let ends = Arc::<AtomicBool>::default();
        let mut claimed = self.alterations.lock();
        if claimed.contains_key(&uid) {
            return Err(CatalogueError::Altering { name: slot.description().name.clone() });
        }
        claimed.insert(uid, Arc::clone(&ends));
        Ok(Claim { catalogue: Arc::clone(self), uid, ends })
    }

    /// Ends the building of indexes of a namespace.
    pub(super) fn end_alteration(&self, uid: Uuid) {
        if let Some(ends) = self.alterations.lock().get(&uid) {
            ends.store(true, Ordering::Release);
        }
    }

    /// Writes down new settings of vectors, and publishes them after `then`.
    async fn put_vectors(
        &self,
        namespace: &Namespace,
        vectors: &BTreeMap<String, VectorSettings>,
        then: impl FnOnce() + Send,
    ) -> Result<(), CatalogueError> {
        let change = |settings: &mut Settings| settings.vectors.extend(vectors.clone());
        self.put_settings(namespace, change, then).await
    }

    /// Writes down new settings, and publishes them after `then`.
    async fn put_settings(
        &self,
        namespace: &Namespace,
        change: impl FnOnce(&mut Settings) + Send,
        then: impl FnOnce() + Send,
    ) -> Result<(), CatalogueError> {
        let name = &namespace.name;
        let _changing = self.changing.lock().await;
        let slot = self.by_own_name(name)?;
        if slot.uid() != namespace.entry.uid {
            return Err(CatalogueError::NamespaceNotFound { name: name.clone() });
        }
        let mut entry: Entry = slot.description().entry.clone();
        change(&mut entry.settings);
        let next = self.surroundings.describe(name, entry)?;
        self.store.put(name, State::Ready, &next.entry).await?;
        then();
        slot.describe_as(next);
        Ok(())
    }
}

impl Rebuild {
    /// The name of the namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace.name
    }

    /// About how many rows are to be built.
    pub fn rows(&self) -> u64 {
        let records: u64 = self.namespace.shards().iter().map(|shard| shard.stats().records).sum();
        records.saturating_mul(self.vectors.len() as u64)
    }

    /// Builds the indexes and lets them answer. `go_on` is told how many rows are built, and says
    /// whether to go on. Blocks the thread, `wait` with what it is given.
    ///
    /// # Errors
    /// [`RebuildError`].
    pub fn run(
        self,
        go_on: &dyn Fn(u64) -> bool,
        wait: impl FnOnce(
            std::pin::Pin<Box<dyn Future<Output = Result<(), CatalogueError>> + Send + '_>>,
        ) -> Result<(), CatalogueError>,
    ) -> Result<(), RebuildError> {
        let ends = Arc::clone(&self.claim.ends);
        let mut done = 0;
        let mut changes = Vec::new();
        for (vector, settings) in &self.vectors {
            let config = settings.index_config(&self.catalogue.surroundings.config);
            let mut config = config.map_err(CatalogueError::from)?;
            config.builders = self.catalogue.surroundings.builders.clone();
            for (number, shard) in self.namespace.shards().iter().enumerate() {
                let failed = |source| match source {
                    ReindexError::Cancelled => RebuildError::Cancelled,
                    source => RebuildError::Shard { shard: number, source },
                };
                let change = shard.change_index(vector, config.clone(), settings.generation);
                let change = change.map_err(failed)?;
                let last = std::cell::Cell::new(0);
                let fill = change.fill(&|built| {
                    last.set(built);
                    !ends.load(Ordering::Acquire) && go_on(done + built)
                });
                fill.map_err(failed)?;
                done += last.get();
                changes.push((number, change));
            }
        }
        let mut replaced = Vec::new();
        let mut failure = None;
        let switch = || {
            for (shard, change) in changes {
                match IndexChange::switch(change) {
                    Ok(index) => replaced.push(index),
                    Err(source) => failure = Some(RebuildError::Shard { shard, source }),
                }
            }
        };
        let put = self.catalogue.put_vectors(&self.namespace, &self.vectors, switch);
        wait(Box::pin(put))?;
        for index in replaced {
            if let Err(error) = index.remove() {
                // It is removed at the next start.
                tracing::warn!(hvs.namespace = self.namespace.name, %error, "an old index is left");
            }
        }
        failure.map_or(Ok(()), Err)
    }
}
