//! Changing a namespace that is in use: its indexes, and how its records are compressed.
//!
//! What only searches look at changes at once, and so does the compression of what is written, and
//! what metadata is indexed: the index of it is built beside the one that answers, and answers are
//! the same with either. A first index of text is written down before it is built: until it is
//! complete searches by text are told so, also after a crash. Everything else is built beside what
//! is there ([`Rebuild`]); the catalogue is written when it is complete, and names the generation of
//! each index, so that after a crash either the old index or the new one is opened, and what is not
//! named is removed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use hvs_api::{AlterIndex, AlterNamespace, Compression, IndexSpec, IndexType};
use hvs_shard::{PayloadSchema, ReindexError, Shard, TextChange};
use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    Catalogue, CatalogueError, Entry, Namespace, Overview, Settings, SettingsError, Slot,
    VectorSettings, check_name,
    payload::PayloadSettings,
    rebuild::{Rebuild, TextWork},
    settings::{resolve_index, shard_compression},
    store::State,
    text,
};
use crate::config::Config;

/// What a request changes.
struct Altered {
    /// The settings of vectors whose searches change.
    tuned: BTreeMap<String, VectorSettings>,
    /// Those of vectors whose indexes have to be built anew.
    rebuilt: BTreeMap<String, VectorSettings>,
    /// Those of the default vector, with another index of text.
    text: Option<(TextAlteration, VectorSettings)>,
    payload: Option<PayloadSettings>,
    compression: Option<Compression>,
    prefetch: Option<bool>,
}

/// What is to become of the index of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TextAlteration {
    Add,
    Change,
    Remove,
}

fn refuse(reason: impl Into<String>) -> SettingsError {
    SettingsError::Index { reason: reason.into() }
}

impl Settings {
    fn alter(&self, request: &AlterNamespace, config: &Config) -> Result<Altered, SettingsError> {
        if request.vectors.contains_key("") {
            return Err(refuse(
                "the index of the default vector is given beside vectors, as index",
            ));
        }
        let payload = PayloadSettings::resolve(
            request.payload_indexing,
            request.payload_indexes.as_deref(),
            Some(&self.payload),
            &config.limits,
        )?;
        let mut altered = Altered {
            tuned: BTreeMap::new(),
            rebuilt: BTreeMap::new(),
            text: None,
            payload: (payload != self.payload).then_some(payload),
            compression: request.compression.filter(|wanted| self.compression != Some(*wanted)),
            prefetch: request.prefetch.filter(|wanted| self.prefetch != Some(*wanted)),
        };
        let named = request.vectors.iter().map(|(name, vector)| (name.as_str(), &vector.index));
        let default = request.index.iter().map(|index| ("", index));
        for (name, change) in default.chain(named) {
            let Some(before) = self.vectors.get(name) else {
                return Err(SettingsError::UnknownVector { name: name.to_owned() });
            };
            if !name.is_empty() && change.kind == Some(IndexType::Hybrid) {
                return Err(text::not_of_a_vector());
            }
            let index = alter_index(&before.index, change, config)?;
            let after = VectorSettings { index, ..before.clone() };
            after.check(config)?;
            altered.add(name, before, after)?;
        }
        Ok(altered)
    }
}

impl Altered {
    /// Adds what becomes of a vector.
    fn add(
        &mut self,
        name: &str,
        before: &VectorSettings,
        mut after: VectorSettings,
    ) -> Result<(), SettingsError> {
        let (old, new) = (text::dense(&before.index), text::dense(&after.index));
        let of_text = match (text::of_text(&before.index), text::of_text(&after.index)) {
            (before, after) if before == after => None,
            (None, _) => Some(TextAlteration::Add),
            (_, None) => Some(TextAlteration::Remove),
            _ => Some(TextAlteration::Change),
        };
        match of_text {
            None if after == *before => {}
            Some(_) if old != new => {
                return Err(refuse(
                    "the index of the vector and that of text cannot be changed at once; change \
                     the one and then the other",
                ));
            }
            Some(alteration) => self.text = Some((alteration, after)),
            None => {
                let in_searches = IndexSpec { ef_search: old.ef_search, nprobe: old.nprobe, ..new };
                if in_searches == old {
                    self.tuned.insert(name.to_owned(), after);
                } else {
                    after.generation += 1;
                    self.rebuilt.insert(name.to_owned(), after);
                }
            }
        }
        Ok(())
    }
}

fn alter_index(
    before: &IndexSpec,
    change: &AlterIndex,
    config: &Config,
) -> Result<IndexSpec, SettingsError> {
    let kind = change.kind.unwrap_or(before.kind);
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
        text_fields: change.text_fields.clone(),
        language: change.language.clone(),
    };
    resolve_index(&spec, Some(&text::base(before, kind)), config)
}

/// The namespaces whose indexes are being built anew, by uid, and whether that is to end.
pub(super) type Alterations = Mutex<HashMap<Uuid, Arc<AtomicBool>>>;

/// The right to change the indexes of a namespace.
pub(super) struct Claim {
    catalogue: Arc<Catalogue>,
    uid: Uuid,
    pub(super) ends: Arc<AtomicBool>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.catalogue.alterations.lock().remove(&self.uid);
    }
}

impl Catalogue {
    /// Changes what can be changed at once, and says what has to be built for the rest. By the
    /// name of the namespace only, as with deletions.
    ///
    /// # Errors
    /// [`CatalogueError`]. Nothing has changed then, unless the store failed half-way.
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
        if let Some(prefetch) = altered.prefetch {
            let change = |settings: &mut Settings| settings.prefetch = Some(prefetch);
            self.put_settings(&namespace, change, || {}).await?;
        }
        if !altered.tuned.is_empty() {
            self.tune(&namespace, &altered.tuned).await?;
        }
        if let Some(payload) = altered.payload {
            let schema = payload.schema();
            let change = |settings: &mut Settings| settings.payload = payload;
            self.put_settings(&namespace, change, || {}).await?;
            let shards = namespace.shards().to_vec();
            on_a_thread(move || index_metadata(&shards, &schema)).await?;
        }
        let text = match altered.text {
            None => None,
            Some((TextAlteration::Remove, settings)) => {
                self.remove_text(&namespace, settings).await?;
                None
            }
            Some((TextAlteration::Add, settings)) => {
                let before = namespace.entry.settings.vectors.get("").cloned();
                self.add_text(&namespace, settings).await?;
                before.map(TextWork::Await)
            }
            Some((TextAlteration::Change, settings)) => Some(TextWork::Change(settings)),
        };
        if altered.rebuilt.is_empty() && text.is_none() {
            return Ok((slot.overview(), None));
        }
        // With the settings that what is built is added to.
        let namespace = self.lease(&slot, until).await?;
        let vectors = altered.rebuilt;
        let rebuild = Rebuild { catalogue: Arc::clone(self), namespace, vectors, text, claim };
        Ok((slot.overview(), Some(rebuild)))
    }

    async fn tune(
        &self,
        namespace: &Namespace,
        tuned: &BTreeMap<String, VectorSettings>,
    ) -> Result<(), CatalogueError> {
        let config = &self.surroundings.config;
        let kinds = tuned
            .iter()
            .map(|(vector, settings)| Ok((vector.as_str(), settings.index_config(config)?.kind)));
        let kinds: Vec<_> = kinds.collect::<Result<_, CatalogueError>>()?;
        // Before the settings are published: what is kept of answers belongs to them.
        let tune = || {
            for shard in namespace.shards() {
                for (vector, kind) in &kinds {
                    shard.tune_index(vector, *kind);
                }
            }
        };
        let change = |settings: &mut Settings| settings.vectors.extend(tuned.clone());
        self.put_settings(namespace, change, tune).await
    }

    /// Begins to index text, and writes it down. Searches by text wait until it is complete.
    async fn add_text(
        &self,
        namespace: &Namespace,
        settings: VectorSettings,
    ) -> Result<(), CatalogueError> {
        let mut after = self.by_own_name(&namespace.name)?.description().entry.settings.clone();
        set_text(&mut after, settings);
        let Some(config) = after.text_config(&self.surroundings.config)? else {
            return Ok(());
        };
        let generation = after.text_generation;
        let begun: Result<Vec<TextChange>, _> = namespace
            .shards()
            .iter()
            .map(|shard| shard.change_text(config.clone(), generation))
            .collect();
        let begun = begun.map_err(reindex)?;
        self.put_settings(namespace, |settings| *settings = after, || {}).await?;
        on_a_thread(move || {
            for change in begun {
                // There is none that it replaces.
                change.switch().remove()?;
            }
            Ok(())
        })
        .await
    }

    async fn remove_text(
        &self,
        namespace: &Namespace,
        settings: VectorSettings,
    ) -> Result<(), CatalogueError> {
        let change = |all: &mut Settings| {
            all.vectors.insert(String::new(), settings);
        };
        self.put_settings(namespace, change, || {}).await?;
        let shards = namespace.shards().to_vec();
        on_a_thread(move || {
            for shard in shards {
                if let Err(error) = shard.drop_text()?.remove() {
                    // It is removed at the next start.
                    tracing::warn!(%error, "an index of text is left");
                }
            }
            Ok(())
        })
        .await
    }

    fn by_own_name(&self, name: &str) -> Result<Arc<Slot>, CatalogueError> {
        let view = self.view.load();
        match view.namespaces.get(name) {
            Some(slot) => Ok(Arc::clone(slot)),
            None => Err(match view.aliases.get(name) {
                Some(target) => {
                    CatalogueError::IsAlias { name: name.to_owned(), target: target.clone() }
                }
                None => CatalogueError::NamespaceNotFound { name: name.to_owned() },
            }),
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

    /// Writes down other settings, and publishes them after `then`.
    pub(super) async fn put_settings(
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

/// Gives the default vector an index with other text, of another generation.
pub(super) fn set_text(settings: &mut Settings, vector: VectorSettings) {
    settings.vectors.insert(String::new(), vector);
    settings.text_generation += 1;
}

fn index_metadata(shards: &[Shard], schema: &PayloadSchema) -> Result<(), ReindexError> {
    shards.iter().try_for_each(|shard| shard.index_metadata(schema))
}

fn reindex(source: ReindexError) -> CatalogueError {
    CatalogueError::Reindex { source: Box::new(source) }
}

/// What may wait, for a shard's writer or for files, and must not on a thread that serves.
async fn on_a_thread(
    work: impl FnOnce() -> Result<(), ReindexError> + Send + 'static,
) -> Result<(), CatalogueError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| CatalogueError::Worker)?.map_err(reindex)
}
