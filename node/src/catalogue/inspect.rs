//! The catalogue for those who look at it without opening it.

use std::sync::Arc;

use hvs_kv::Kv;
use hvs_shard::{
    Record, ShardConfig, Writer,
    repair::{LogError, log_of},
};

use super::{
    CatalogueError, Entry,
    store::{self, Contents, State},
};

pub(crate) use store::DIRECTORY;

/// How the system shard is opened.
pub(crate) fn system_config(writer: Writer) -> Result<ShardConfig, CatalogueError> {
    store::config(writer)
}

/// The writer that led the system shard last, by the logs: whose logs they are.
pub(crate) async fn last_writer(kv: Arc<dyn Kv>) -> Result<Option<Writer>, InspectError> {
    let config = system_config(Writer { node: "-".to_owned(), incarnation: 0 })?;
    Ok(log_of(&config, kv).leader().await?.map(|leader| leader.writer))
}

/// Why it cannot be told whose logs they are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The system shard has no settings.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The logs cannot be read.
    #[error("cannot read whose logs these are: {0}; `hvs repair` says what can be done")]
    Log(#[from] LogError),
}

/// The namespaces that are ready, in a state of the system shard.
pub(crate) fn ready(records: Vec<Record>) -> Result<Vec<(String, Entry)>, CatalogueError> {
    let mut contents = Contents::default();
    for record in records {
        store::add(&mut contents, record)?;
    }
    let ready = contents.namespaces.into_iter().filter(|(_, (state, _))| *state == State::Ready);
    Ok(ready.map(|(name, (_, entry))| (name, entry)).collect())
}
