//! The catalogue for those who look at it without opening it.

use hvs_shard::{Record, ShardConfig, Writer};

use super::{
    CatalogueError, Entry,
    store::{self, Contents, State},
};

pub(crate) use store::DIRECTORY;

/// How the system shard is opened.
pub(crate) fn system_config(writer: Writer) -> Result<ShardConfig, CatalogueError> {
    store::config(writer)
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
