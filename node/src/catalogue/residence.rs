//! Loading namespaces when they are asked for, and unloading those that nobody uses.
//!
//! Both run on threads of their own: they take as long as there is log to replay or to write.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use hvs_shard::ShardMemory;
use tokio::{sync::watch, time::timeout_at};

use super::{
    Catalogue, CatalogueError, Namespace,
    slot::{Change, Ended, Found, LoadError, Slot, Unused},
};
use crate::memory::{Memory, Parts};

/// How often it is looked which namespaces are idle, and how much memory is held.
const EVERY: Duration = Duration::from_secs(1);
/// The same while the budget of memory is nearly spent.
const EVERY_WHEN_NEAR: Duration = Duration::from_millis(100);

impl Catalogue {
    /// The namespace of a name or alias, loaded. Waits for that until a time.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn get(
        self: &Arc<Self>,
        name: &str,
        until: Instant,
    ) -> Result<Arc<Namespace>, CatalogueError> {
        let slot = self.slot(name)?;
        self.lease(&slot, until).await
    }

    /// The namespace of a slot, loaded.
    pub(super) async fn lease(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        until: Instant,
    ) -> Result<Arc<Namespace>, CatalogueError> {
        loop {
            let mut changed = match slot.find() {
                Found::Loaded(namespace) => return Ok(Arc::new(namespace)),
                Found::Changing(changed) => changed,
                Found::Unloaded(change, changed) => {
                    self.load(change);
                    changed
                }
                Found::Ended(Ended::NodeStops) => return Err(CatalogueError::Closed),
                Found::Ended(Ended::Deleted) => {
                    let name = slot.description().name.clone();
                    return Err(CatalogueError::NamespaceNotFound { name });
                }
            };
            let outcome = match timeout_at(until.into(), changed.wait_for(Option::is_some)).await {
                Ok(Ok(outcome)) => outcome.clone(),
                // Whoever changed it is gone, and has left the slot as it is now.
                Ok(Err(_)) => None,
                Err(_) => {
                    let name = slot.description().name.clone();
                    return Err(CatalogueError::Loading { name });
                }
            };
            if let Some(Err(source)) = outcome {
                let name = slot.description().name.clone();
                return Err(CatalogueError::Load { name, source });
            }
        }
    }

    /// Begins to load, on a thread that goes on if whoever asked for it goes away.
    fn load(self: &Arc<Self>, change: Change) {
        let catalogue = Arc::clone(self);
        let spawned = thread::Builder::new().name("hvs-load".to_owned()).spawn(move || {
            let begun = Instant::now();
            let description = change.description();
            let name = &description.name;
            let outcome = catalogue.load_now(&change);
            // Before anyone learns of it: a node that stops waits for the change and no longer.
            drop(catalogue);
            match &outcome {
                Ok(_) => tracing::info!(
                    hvs.namespace = name,
                    event.duration = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX),
                    "loaded"
                ),
                Err(error) => tracing::warn!(hvs.namespace = name, %error, "not loaded"),
            }
            change.loaded(outcome);
        });
        if let Err(error) = spawned {
            // The change was dropped, and whoever waits for it tries anew, until the deadline.
            tracing::warn!(%error, "a thread that loads a namespace cannot be started");
        }
    }

    fn load_now(
        &self,
        change: &Change,
    ) -> Result<(super::namespace::Loaded, super::Released), LoadError> {
        let needs = change.needs();
        // Until it is loaded and counted itself.
        let _reserved = self.memory().reserve(needs);
        self.make_room();
        self.memory().admit_load(needs)?;
        let description = change.description();
        let opened = self.surroundings.reopen(&description);
        let opened = opened.map_err(|error| LoadError::Open(Arc::new(error)))?;
        self.memory().count_load();
        Ok(opened)
    }

    /// The budget of memory.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Unloads what is idle, and makes room where more is held than may be; again and again, until
    /// the node stops.
    pub async fn watch(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        loop {
            let pause = if self.memory().is_near() { EVERY_WHEN_NEAR } else { EVERY };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            let this = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || this.look_after_memory()).await;
        }
    }

    /// One round of that. Blocks for as long as shards take to close.
    pub fn look_after_memory(&self) {
        let idle = self.surroundings.config.memory.idle_seconds;
        if idle > 0 {
            for slot in self.slots() {
                self.unload(&slot, Unused::For(Duration::from_secs(idle)), "it was idle");
            }
        }
        self.make_room();
    }

    /// Counts what is held, and gives up what can be done without while that is too much: first
    /// what caches hold, then namespaces that nobody has used lately, the longest unused first.
    pub(super) fn make_room(&self) {
        let memory = self.memory();
        memory.see(self.held());
        if memory.excess() == 0 {
            if !memory.is_near() {
                memory.recover_caches();
            }
            return;
        }
        memory.shrink_caches();
        memory.see(self.held());
        let least = Duration::from_secs(self.surroundings.config.memory.evict_idle_seconds);
        let unused = Unused::SinceOpenedOrFor(least);
        let mut by_use: Vec<_> =
            self.slots().into_iter().filter_map(|slot| Some((slot.use_order()?, slot))).collect();
        by_use.sort_by_key(|(order, _)| *order);
        // Unless another one is to be loaded, the last one used would only have to come back.
        if memory.reserved() == 0 {
            by_use.pop();
        }
        for (_, slot) in by_use {
            if memory.excess() == 0 {
                break;
            }
            if self.unload(&slot, unused, "the node holds more memory than it may") {
                memory.see(self.held());
            }
        }
    }

    /// Unloads a namespace unless somebody uses it or has used it lately.
    pub(super) fn unload(&self, slot: &Arc<Slot>, when: Unused, why: &str) -> bool {
        let Some(unloading) = slot.begin_unloading(when) else { return false };
        let description = slot.description();
        match unloading.run() {
            Ok(()) => tracing::info!(hvs.namespace = description.name, why, "unloaded"),
            // What was acknowledged is in the log, from which the next load goes on.
            Err(error) => tracing::error!(
                hvs.namespace = description.name, %error, "unloaded, but not closed cleanly"
            ),
        }
        self.memory().count_unload();
        true
    }

    /// What everything that is loaded holds.
    fn held(&self) -> Parts {
        let loaded = self.slots().into_iter().filter_map(|slot| slot.loaded());
        let shards: ShardMemory = loaded.map(|loaded| loaded.memory()).sum();
        let logs = self.surroundings.kv.memory_bytes();
        Parts::of(shards + self.store.memory(), logs)
    }
}
