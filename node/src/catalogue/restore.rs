//! Namespaces that are made with records in them.

use std::sync::Arc;

use hvs_shard::checkpoint::History;
use uuid::Uuid;

use super::{
    Catalogue, CatalogueError, Entry, NameError, Settings, Surroundings, check_name, now_ms,
    store::State,
};

impl Catalogue {
    /// Refuses a name that no restored namespace can have, and every one where none can be restored.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn check_new(&self, name: &str) -> Result<(), CatalogueError> {
        if self.surroundings.lease.is_some() {
            return Err(CatalogueError::RestoreUnavailable);
        }
        check_name(name, self.name_limit())?;
        let view = self.view.load();
        let taken = |kind| CatalogueError::NameTaken { name: name.to_owned(), kind };
        if view.namespaces.contains_key(name) {
            return Err(taken("a namespace"));
        }
        if view.aliases.contains_key(name) {
            return Err(taken("an alias"));
        }
        Ok(())
    }

    /// Refuses what no namespace can be called.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn check_name(&self, name: &str) -> Result<(), CatalogueError> {
        Ok(check_name(name, self.name_limit()).map_err(|error: NameError| error)?)
    }

    /// Makes a namespace whose shards `fill` has built before they are opened. Blocks the thread,
    /// which must not serve connections.
    ///
    /// # Errors
    /// Those of `fill`, or a [`CatalogueError`]; nothing was created then.
    pub async fn restore<E: From<CatalogueError>>(
        &self,
        name: &str,
        settings: Settings,
        fill: impl FnOnce(&Surroundings, &Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        let _busy = self.occupy(name)?;
        self.check_new(name)?;
        // Settings from elsewhere: they must mean something here before anything is made of them.
        settings.index_configs(&self.surroundings.config).map_err(CatalogueError::from)?;
        let _coming = self.take_room(name, &settings)?;
        let entry = Entry {
            uid: Uuid::new_v4(),
            created_at_ms: now_ms(),
            shards: (0..settings.shards).map(|_| Uuid::new_v4()).collect(),
            settings,
        };
        self.store.put(name, State::Creating, &entry).await?;
        // Not on another thread: what fills the shards borrows from its caller.
        let filled = tokio::task::block_in_place(|| fill(&self.surroundings, &entry));
        if let Err(error) = filled {
            self.undo(name, &entry).await;
            return Err(error);
        }
        self.open_new(name, entry).await?;
        Ok(())
    }

    /// What the log of a shard says about an entry.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn history(
        &self,
        entry: &Entry,
        shard: Uuid,
        seq: u64,
        hash: [u8; 32],
    ) -> Result<History, Box<dyn std::error::Error + Send + Sync>> {
        let config = self.surroundings.shard_config(entry, shard)?;
        let kv = Arc::clone(&self.surroundings.kv);
        Ok(hvs_shard::checkpoint::history(&config, kv, seq, hash)?)
    }

    /// Makes everything that is in any log durable.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn sync(&self) -> Result<(), CatalogueError> {
        let synced = self.surroundings.kv.sync().await;
        synced.map_err(|source| CatalogueError::Sync { source: Box::new(source) })
    }
}
