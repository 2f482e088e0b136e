//! Where checkpoints are kept.

use std::{env, path::PathBuf};

use hvs_checkpoint::{CheckpointStore, StoreError};

use super::CheckpointError;
use crate::{catalogue::Description, config::Config};

/// Environment variables with these beginnings are handed to object stores.
const CREDENTIALS: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];
/// Below the data directory, unless there is a URL.
const FOLDER: &str = "checkpoints";

/// The node's place for checkpoints.
pub(crate) struct Places {
    url: String,
    any_url: bool,
}

impl Places {
    pub(crate) fn new(config: &Config) -> Self {
        let url = if config.checkpoints.url.is_empty() {
            let folder = config.storage.data_dir.join(FOLDER);
            let folder = std::path::absolute(&folder).unwrap_or_else(|_| PathBuf::from(FOLDER));
            folder.to_string_lossy().into_owned()
        } else {
            config.checkpoints.url.clone()
        };
        Self { url, any_url: config.checkpoints.any_url }
    }

    pub(crate) fn root(&self) -> Result<CheckpointStore, StoreError> {
        open(&self.url)
    }

    /// Where those of a namespace are.
    pub(super) fn of(&self, namespace: &Description) -> Result<CheckpointStore, StoreError> {
        let uid = namespace.entry.uid.to_string();
        Ok(self.root()?.child(&namespace.name).child(&uid))
    }

    /// The place that a client names, if it may.
    pub(super) fn at(&self, url: &str) -> Result<CheckpointStore, CheckpointError> {
        let (store, root) = (open(url)?, self.root()?);
        let below = store.url().strip_prefix(root.url());
        let is_below = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if !is_below && !self.any_url {
            let (url, root) = (store.url().to_owned(), root.url().to_owned());
            return Err(CheckpointError::ElsewhereUrl { url, root });
        }
        Ok(store)
    }
}

fn open(url: &str) -> Result<CheckpointStore, StoreError> {
    let credentials = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| CREDENTIALS.iter().any(|prefix| name.starts_with(prefix)));
    CheckpointStore::open(url, credentials)
}
