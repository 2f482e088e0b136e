//! Checkpoints: reading all of them, and the rows of one for a shard that is to be built from it.

use std::collections::{BTreeMap, BTreeSet};

use hvs_checkpoint::{Chain, CheckpointStore, Hash, Link, Row, ShardPart};
use hvs_shard::checkpoint::StateRows;
use uuid::Uuid;

use super::{Item, Outcome, Repair};
use crate::{
    checkpoints::{CheckpointError, Places},
    config::Config,
};

/// Where those of a namespace are; none if the place cannot be used.
pub(super) fn place(config: &Config, name: &str, uid: Uuid) -> Option<CheckpointStore> {
    Some(Places::new(config).root().ok()?.child(name).child(&uid.to_string()))
}

impl Repair {
    /// The rows of a chain.
    pub(super) fn rows<'a>(
        &'a self,
        store: &'a CheckpointStore,
        links: &'a [Link],
    ) -> impl Iterator<Item = Result<Row, CheckpointError>> + 'a {
        Chain::new(links, move |object| Ok(self.runtime.block_on(store.get(object))?))
    }

    /// Reads every checkpoint in the place for them. `own`: the uids of the namespaces of this node,
    /// if they are known. A place may be shared, and of others this node can delete nothing.
    pub(super) fn checkpoints(&mut self, own: Option<&BTreeSet<String>>) {
        let root = match Places::new(&self.config).root() {
            Ok(root) => root,
            Err(error) => return self.unreadable("all checkpoints", "", &error.to_string()),
        };
        let stores = self.runtime.block_on(async {
            let mut stores = BTreeMap::new();
            for name in root.children().await? {
                let named = root.child(&name);
                for uid in named.children().await? {
                    stores.insert((name.clone(), uid.clone()), named.child(&uid));
                }
            }
            Ok::<_, hvs_checkpoint::StoreError>(stores)
        });
        let stores = match stores {
            Ok(stores) => stores,
            Err(error) => {
                return self.unreadable("all checkpoints", root.url(), &error.to_string());
            }
        };
        for ((name, uid), store) in stores {
            let is_other = own.is_some_and(|own| !own.contains(&uid));
            let manifest = match self.runtime.block_on(store.manifest()) {
                Ok(Some(loaded)) => loaded.manifest,
                Ok(None) => continue,
                Err(error) => {
                    self.unreadable(&name, store.url(), &error.to_string());
                    continue;
                }
            };
            for checkpoint in &manifest.checkpoints {
                let of = format!("{name}, checkpoint {}", checkpoint.id);
                let parts = checkpoint.shards.iter().enumerate();
                let verified = parts
                    .map(|(shard, part)| self.verify_part(&store, shard, part))
                    .collect::<Result<Vec<()>, _>>();
                match verified {
                    Ok(_) => {
                        let found = format!("{} records", checkpoint.records());
                        self.add(Item::clean("checkpoint", &of, store.url(), found));
                    }
                    Err(error) => {
                        let action = format!(
                            "restore a copy of its place if there is one; else start the node, \
                             `hvs checkpoint delete {name} {}` and make a new one with --full",
                            checkpoint.id
                        );
                        let item = Item::clean("checkpoint", &of, store.url(), error.to_string());
                        if is_other {
                            let action = "it is of no namespace of this node; restore a copy of its \
                                          place if there is one, and delete it where its namespace is"
                                .to_owned();
                            self.add(Item { outcome: Outcome::Note, action, ..item });
                        } else {
                            self.add(Item { outcome: Outcome::Decision, action, ..item });
                        }
                    }
                }
            }
        }
    }

    fn verify_part(
        &self,
        store: &CheckpointStore,
        shard: usize,
        part: &ShardPart,
    ) -> Result<(), CheckpointError> {
        let damaged = |source| CheckpointError::State { shard, source };
        let mut state = StateRows::default();
        for row in self.rows(store, &part.links) {
            let Row { key, value } = row?;
            state.push(&key, &value).map_err(damaged)?;
        }
        let summary = state.finish().map_err(damaged)?;
        if Hash(summary.digest) != part.digest {
            return Err(CheckpointError::Digest { shard });
        }
        Ok(())
    }

    fn unreadable(&mut self, of: &str, path: &str, reason: &str) {
        let action = "make the place readable, or restore a copy of it".to_owned();
        let item = Item::clean("checkpoint", of, path, reason.to_owned());
        self.add(Item { outcome: Outcome::Decision, action, ..item });
    }
}
