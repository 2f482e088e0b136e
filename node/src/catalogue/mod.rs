//! The catalogue: which namespaces and aliases there are.
//!
//! It is kept as records of one reserved shard, the system shard, and held in memory for reading.
//! A record is written, durably, before what it describes is used, and removed only after what it
//! describes is gone; so whatever a crash interrupts is finished or undone at the next start.

mod alter;
mod difference;
mod error;
pub(crate) mod inspect;
mod namespace;
mod payload;
mod profile;
mod rebuild;
mod residence;
mod restore;
mod settings;
mod slot;
mod store;
#[cfg(test)]
mod tests;
mod text;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use hvs_api::CreateNamespace;
use hvs_index::Builders;
use hvs_kv::Kv;
use hvs_shard::{Lease, ShardConfig, ShardStats, Writer};
use parking_lot::Mutex;
use uuid::Uuid;

pub(crate) use error::Passing;
pub use error::{CatalogueError, NameError};
pub use inspect::InspectError;
pub use namespace::{
    Description, Entry, Loaded, Namespace, Released, Routed, RoutedWriteError, Surroundings,
    VectorSpace, WriteOptions, Written,
};
pub use rebuild::{Rebuild, RebuildError};
pub use settings::{
    Limited, Settings, SettingsError, VectorSettings, build_space, geometry_precision, space_info,
};
pub use slot::{LoadError, Overview, Pin, Slot};

use self::{
    difference::difference,
    slot::Ended,
    store::{State, Store},
};
use crate::{config::Config, memory::Memory, telemetry::StateSource};

/// Checks the name of a namespace, alias or vector: 1 to `limit` ASCII letters, digits, `_`, `-`
/// and `.`, the first a letter or digit. Such a name needs no quoting in paths, shells or logs.
///
/// # Errors
/// [`NameError`].
pub fn check_name(name: &str, limit: usize) -> Result<(), NameError> {
    let refuse = |reason: String| NameError { name: name.chars().take(128).collect(), reason };
    if name.is_empty() {
        return Err(refuse("it is empty".to_owned()));
    }
    if name.len() > limit {
        return Err(refuse(format!("it has {} bytes, at most {limit} are allowed", name.len())));
    }
    let odd = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')));
    if let Some(odd) = odd {
        return Err(refuse(format!("it contains {odd:?}")));
    }
    if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Err(refuse("it does not begin with a letter or digit".to_owned()));
    }
    Ok(())
}

/// What requests see: one consistent state, replaced as a whole.
#[derive(Clone, Default)]
struct View {
    namespaces: BTreeMap<String, Arc<Slot>>,
    /// Alias to namespace.
    aliases: BTreeMap<String, String>,
}

/// All namespaces and aliases of a node.
pub struct Catalogue {
    surroundings: Surroundings,
    memory: Arc<Memory>,
    store: Store,
    view: ArcSwap<View>,
    /// Held while the view is replaced; writers read, write the store, and publish one by one.
    changing: tokio::sync::Mutex<()>,
    /// Namespaces that are being created or deleted, which takes longer than the lock is held.
    busy: Mutex<HashSet<String>>,
    /// Shards of the namespaces that are being created.
    coming: Mutex<BTreeMap<String, usize>>,
    alterations: alter::Alterations,
}

/// Takes a name out of `busy` when dropped.
struct Busy<'a> {
    names: &'a Mutex<HashSet<String>>,
    name: String,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.names.lock().remove(&self.name);
    }
}

/// Takes a name out of `coming` when dropped.
struct Coming<'a> {
    names: &'a Mutex<BTreeMap<String, usize>>,
    name: String,
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.names.lock().remove(&self.name);
    }
}

impl Catalogue {
    /// Opens the system shard and every namespace in it, and finishes what was interrupted. `lease`
    /// says whether this node may lead, where others have the same store of logs.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn open(
        config: Arc<Config>,
        kv: Arc<dyn Kv>,
        writer: Writer,
        memory: Arc<Memory>,
        lease: Option<Lease>,
    ) -> Result<Self, CatalogueError> {
        let maintenance = &config.maintenance;
        let builders = Builders::new(maintenance.builds, maintenance.build_threads);
        if config.maintenance.paused {
            builders.pause();
        }
        let surroundings = Surroundings { config, kv, writer, lease, builders };
        let opening = tokio::task::spawn_blocking(move || Self::open_all(surroundings, memory));
        let (catalogue, unfinished) = opening.await.map_err(|_| CatalogueError::Worker)??;
        for (name, entry) in unfinished {
            tracing::info!(hvs.namespace = name, "removing what was half created or deleted");
            catalogue.destroy_blocking(&name, &entry).await?;
            catalogue.store.forget(&name).await?;
        }
        Ok(catalogue)
    }

    fn open_all(
        surroundings: Surroundings,
        memory: Arc<Memory>,
    ) -> Result<(Self, Vec<(String, Entry)>), CatalogueError> {
        let data_dir = &surroundings.config.storage.data_dir;
        let kv = Arc::clone(&surroundings.kv);
        let config = ShardConfig {
            log_prefix: surroundings.config.log_prefix().to_owned(),
            lease: surroundings.lease.clone(),
            ..store::config(surroundings.writer.clone())?
        };
        let store = Store::open(config, data_dir, kv)?;
        let contents = store.read()?;
        let view = View { aliases: contents.aliases, ..View::default() };
        let catalogue = Self {
            surroundings,
            memory,
            store,
            view: ArcSwap::from_pointee(view),
            changing: tokio::sync::Mutex::new(()),
            busy: Mutex::new(HashSet::new()),
            coming: Mutex::default(),
            alterations: Mutex::default(),
        };
        let mut unfinished = Vec::new();
        for (name, (state, entry)) in contents.namespaces {
            if state != State::Ready {
                unfinished.push((name, entry));
                continue;
            }
            // All of them, so that what is damaged refuses the start and is not found in use.
            let description = catalogue.surroundings.describe(&name, entry)?;
            let (loaded, released) = catalogue.surroundings.open(&description)?;
            let slot = Slot::new(description, loaded, released);
            catalogue.publish(|view| {
                view.namespaces.insert(name.clone(), Arc::clone(&slot));
            });
            catalogue.make_room();
        }
        Ok((catalogue, unfinished))
    }

    fn slot(&self, name: &str) -> Result<Arc<Slot>, CatalogueError> {
        let view = self.view.load();
        let found =
            view.namespaces.get(name).or_else(|| view.namespaces.get(view.aliases.get(name)?));
        if let Some(slot) = found {
            return Ok(Arc::clone(slot));
        }
        check_name(name, self.name_limit())?;
        Err(CatalogueError::NamespaceNotFound { name: name.to_owned() })
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        self.view.load().namespaces.values().cloned().collect()
    }

    /// What is known of the namespace of a name or alias without loading it.
    ///
    /// # Errors
    /// [`CatalogueError::Name`] or [`CatalogueError::NamespaceNotFound`].
    pub fn describe(&self, name: &str) -> Result<Arc<Description>, CatalogueError> {
        Ok(self.slot(name)?.description())
    }

    /// The same with the counters of its shards.
    ///
    /// # Errors
    /// [`CatalogueError::Name`] or [`CatalogueError::NamespaceNotFound`].
    pub fn overview(&self, name: &str) -> Result<Overview, CatalogueError> {
        Ok(self.slot(name)?.overview())
    }

    /// With whom the builds of all indexes take turns.
    pub fn builders(&self) -> &Builders {
        &self.surroundings.builders
    }

    /// How many namespaces are loaded, and how many are not.
    pub fn residents(&self) -> (usize, usize) {
        let slots = self.slots();
        let loaded = slots.iter().filter(|slot| slot.use_order().is_some()).count();
        (loaded, slots.len() - loaded)
    }

    /// Every namespace, by name. Loads none.
    pub fn overviews(&self) -> Vec<Overview> {
        self.view.load().namespaces.values().map(|slot| slot.overview()).collect()
    }

    /// The largest dimension of all vectors of all namespaces, loaded or not; 0 without any.
    pub fn largest_dimension(&self) -> usize {
        let view = self.view.load();
        view.namespaces.values().map(|slot| slot.description().dimension()).max().unwrap_or(0)
    }

    /// Every alias with its namespace, by name.
    pub fn aliases(&self) -> BTreeMap<String, String> {
        self.view.load().aliases.clone()
    }

    /// Creates a namespace, or finds it there with the same settings. Answers whether it is new.
    ///
    /// # Errors
    /// [`CatalogueError`]; nothing was created then.
    pub async fn create(
        self: &Arc<Self>,
        name: &str,
        request: &CreateNamespace,
    ) -> Result<(Overview, bool), CatalogueError> {
        check_name(name, self.name_limit())?;
        let _busy = self.occupy(name)?;
        let config = &self.surroundings.config;
        let view = self.view.load_full();
        if let Some(existing) = view.namespaces.get(name) {
            let before = &existing.description().entry.settings.clone();
            let wanted = Settings::resolve(request, Some(before), config)?;
            return match difference(before, &wanted) {
                None => Ok((existing.overview(), false)),
                Some(difference) => {
                    Err(CatalogueError::NamespaceExists { name: name.to_owned(), difference })
                }
            };
        }
        if view.aliases.contains_key(name) {
            return Err(CatalogueError::NameTaken { name: name.to_owned(), kind: "an alias" });
        }
        let settings = Settings::resolve(request, None, config)?;
        let _coming = self.take_room(name, &settings)?;
        let entry = Entry {
            uid: Uuid::new_v4(),
            created_at_ms: now_ms(),
            shards: (0..settings.shards).map(|_| Uuid::new_v4()).collect(),
            settings,
        };
        self.store.put(name, State::Creating, &entry).await?;
        Ok((self.open_new(name, entry).await?.overview(), true))
    }

    /// Opens what is being created, by whoever holds its name, and publishes it; or removes it.
    async fn open_new(&self, name: &str, entry: Entry) -> Result<Arc<Slot>, CatalogueError> {
        let slot = match self.open_blocking(name, entry.clone()).await {
            Ok(slot) => slot,
            Err(error) => {
                self.undo(name, &entry).await;
                return Err(error);
            }
        };
        // From here to the publication no alias can take the name: aliases look at busy names.
        let _changing = self.changing.lock().await;
        self.store.put(name, State::Ready, &entry).await?;
        slot.expect_use();
        self.publish(|view| {
            view.namespaces.insert(name.to_owned(), Arc::clone(&slot));
        });
        Ok(slot)
    }

    /// Deletes a namespace, its records and the aliases that lead to it. By its own name only: an
    /// alias may lead elsewhere by the time that the request arrives.
    ///
    /// # Errors
    /// [`CatalogueError`]. After a failure to remove files it is gone for clients all the same,
    /// and the rest is removed at the next start.
    pub async fn delete(self: &Arc<Self>, name: &str) -> Result<(), CatalogueError> {
        check_name(name, self.name_limit())?;
        let _busy = self.occupy(name)?;
        let slot = self.view.load().namespaces.get(name).cloned();
        let Some(slot) = slot else {
            if self.view.load().aliases.contains_key(name) {
                return Err(CatalogueError::NameTaken { name: name.to_owned(), kind: "an alias" });
            }
            return Err(CatalogueError::NamespaceNotFound { name: name.to_owned() });
        };
        let mut entry = slot.description().entry.clone();
        {
            let _changing = self.changing.lock().await;
            // As the last change of its indexes left it.
            entry.clone_from(&slot.description().entry);
            let aliases: Vec<String> = self
                .view
                .load()
                .aliases
                .iter()
                .filter(|(_, target)| *target == name)
                .map(|(alias, _)| alias.clone())
                .collect();
            self.store.start_deletion(name, &entry, &aliases).await?;
            self.publish(|view| {
                view.namespaces.remove(name);
                view.aliases.retain(|_, target| target != name);
            });
        }
        self.end_alteration(entry.uid);
        if let Some((loaded, release)) = slot.end(Ended::Deleted).await {
            close(name, loaded).await?;
            release.wait().await;
        }
        self.destroy_blocking(name, &entry).await?;
        self.store.forget(name).await
    }

    /// Sets (`Some`) and removes (`None`) aliases, all at once.
    ///
    /// # Errors
    /// [`CatalogueError`]; no alias has changed then.
    pub async fn switch_aliases(
        &self,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<(), CatalogueError> {
        let _changing = self.changing.lock().await;
        let view = self.view.load_full();
        let mut aliases = view.aliases.clone();
        for (alias, target) in changes {
            check_name(alias, self.name_limit())?;
            if view.namespaces.contains_key(alias) || self.busy.lock().contains(alias) {
                return Err(CatalogueError::NameTaken { name: alias.clone(), kind: "a namespace" });
            }
            match target {
                Some(target) => {
                    check_name(target, self.name_limit())?;
                    if !view.namespaces.contains_key(target) {
                        return Err(CatalogueError::NamespaceNotFound { name: target.clone() });
                    }
                    aliases.insert(alias.clone(), target.clone());
                }
                None if aliases.remove(alias).is_none() => {
                    return Err(CatalogueError::AliasNotFound { name: alias.clone() });
                }
                None => {}
            }
        }
        let limit = self.surroundings.config.limits.aliases;
        // Those that are there already, from before the limit was lowered, are no reason to refuse.
        if aliases.len() > limit.max(view.aliases.len()) {
            let setting = "limits.aliases";
            return Err(CatalogueError::Full { what: "aliases", count: limit, setting });
        }
        self.store.switch_aliases(changes).await?;
        self.publish(|view| view.aliases = aliases.clone());
        Ok(())
    }

    /// Makes everything durable and closes it. Requests that still hold a namespace can read on.
    ///
    /// # Errors
    /// The first failure; everything else is closed all the same.
    pub async fn close(&self) -> Result<(), CatalogueError> {
        let mut outcome = Ok(());
        for slot in self.slots() {
            let Some((loaded, _)) = slot.end(Ended::NodeStops).await else { continue };
            let closed = close(&slot.description().name, loaded).await;
            outcome = outcome.and(closed);
        }
        outcome.and(self.store.close().await)
    }

    fn name_limit(&self) -> usize {
        self.surroundings.config.limits.name_bytes
    }

    fn occupy(&self, name: &str) -> Result<Busy<'_>, CatalogueError> {
        let is_first = self.busy.lock().insert(name.to_owned());
        if !is_first {
            return Err(CatalogueError::Busy { name: name.to_owned() });
        }
        Ok(Busy { names: &self.busy, name: name.to_owned() })
    }

    fn publish(&self, change: impl Fn(&mut View)) {
        let mut next = View::clone(&self.view.load());
        change(&mut next);
        self.view.store(Arc::new(next));
    }

    /// Room for a namespace, by whoever holds its name. It is taken until it is published, so that
    /// those that are created at the same time count each other.
    fn take_room(&self, name: &str, settings: &Settings) -> Result<Coming<'_>, CatalogueError> {
        let limits = &self.surroundings.config.limits;
        let mut coming = self.coming.lock();
        // Read under the lock: one that is no longer coming is in it.
        let view = self.view.load();
        let others = coming.iter().filter(|(name, _)| !view.namespaces.contains_key(*name));
        let (others, other_shards) =
            others.fold((0, 0), |(count, all), (_, shards)| (count + 1, all + shards));
        let count = view.namespaces.len() + others;
        if count >= limits.namespaces {
            let setting = "limits.namespaces";
            return Err(CatalogueError::Full { what: "namespaces", count, setting });
        }
        let shards = view.namespaces.values().map(|slot| slot.description().entry.shards.len());
        let count = shards.sum::<usize>() + other_shards;
        let wanted = usize::try_from(settings.shards).unwrap_or(usize::MAX);
        if count.saturating_add(wanted) > limits.total_shards {
            let setting = "limits.total_shards";
            return Err(CatalogueError::Full { what: "shards", count, setting });
        }
        coming.insert(name.to_owned(), wanted);
        Ok(Coming { names: &self.coming, name: name.to_owned() })
    }

    async fn open_blocking(&self, name: &str, entry: Entry) -> Result<Arc<Slot>, CatalogueError> {
        let surroundings = self.surroundings.clone();
        let name = name.to_owned();
        tokio::task::spawn_blocking(move || {
            let description = surroundings.describe(&name, entry)?;
            let (loaded, released) = surroundings.open(&description)?;
            Ok(Slot::new(description, loaded, released))
        })
        .await
        .map_err(|_| CatalogueError::Worker)?
    }

    async fn destroy_blocking(&self, name: &str, entry: &Entry) -> Result<(), CatalogueError> {
        let surroundings = self.surroundings.clone();
        let (name, entry) = (name.to_owned(), entry.clone());
        tokio::task::spawn_blocking(move || surroundings.destroy(&name, &entry))
            .await
            .map_err(|_| CatalogueError::Worker)?
    }

    /// Removes what a failed creation left. What cannot be removed now is at the next start.
    async fn undo(&self, name: &str, entry: &Entry) {
        let undone = match self.destroy_blocking(name, entry).await {
            Ok(()) => self.store.forget(name).await,
            Err(error) => Err(error),
        };
        if let Err(error) = undone {
            tracing::warn!(hvs.namespace = name, %error, "a failed creation is not yet removed");
        }
    }
}

impl StateSource for Catalogue {
    fn shards(&self) -> BTreeMap<String, Vec<ShardStats>> {
        let overviews = self.overviews().into_iter();
        let mut all: BTreeMap<_, _> =
            overviews.map(|overview| (overview.description.name.clone(), overview.stats)).collect();
        all.insert("_system".to_owned(), vec![self.store.stats()]);
        all
    }
}

/// Makes everything durable, and lets go of it unless somebody still reads.
async fn close(name: &str, loaded: Arc<namespace::Loaded>) -> Result<(), CatalogueError> {
    let name = name.to_owned();
    let closing = tokio::task::spawn_blocking(move || loaded.close(&name));
    closing.await.map_err(|_| CatalogueError::Worker)?
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
