//! Why something of the catalogue cannot be done.

use hvs_kv::{KvError, tikv::TikvError};
use hvs_log::{LogError, SessionError};
use hvs_shard::{CloseError, OpenError, ReadError, WriteError};
use uuid::Uuid;

use super::{LoadError, SettingsError};

/// Why a name cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name {name:?} cannot be used: {reason}")]
pub struct NameError {
    /// Its beginning.
    pub name: String,
    /// What is wrong.
    pub reason: String,
}

/// Why something of the catalogue cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// A name of another form.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is no such namespace.
    #[error("there is no namespace {name:?}")]
    NamespaceNotFound {
        /// The name.
        name: String,
    },
    /// There is one with other settings.
    #[error("the namespace {name:?} exists with other settings: {difference}")]
    NamespaceExists {
        /// The name.
        name: String,
        /// The first setting that differs.
        difference: String,
    },
    /// There is no such alias.
    #[error("there is no alias {name:?}")]
    AliasNotFound {
        /// The name.
        name: String,
    },
    /// What changes or deletes a namespace takes its own name.
    #[error(
        "{name:?} is an alias of {target:?}; changes and deletions take the namespace's own name"
    )]
    IsAlias {
        /// The name.
        name: String,
        /// The namespace.
        target: String,
    },
    /// The other kind of name has it.
    #[error("{name:?} is the name of {kind} already")]
    NameTaken {
        /// The name.
        name: String,
        /// Of what.
        kind: &'static str,
    },
    /// Another request creates or deletes it.
    #[error("the namespace {name:?} is being created or deleted")]
    Busy {
        /// The name.
        name: String,
    },
    /// Its indexes are being built anew.
    #[error("the indexes of the namespace {name:?} are being built anew, see GET /v1/tasks")]
    Altering {
        /// The name.
        name: String,
    },
    /// An index of a shard cannot be changed.
    #[error("an index cannot be changed: {source}")]
    Reindex {
        /// Why.
        source: Box<hvs_shard::ReindexError>,
    },
    /// The node holds as many as it may.
    #[error("there are {count} {what} already, which is the limit ({setting})")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit's setting.
        setting: &'static str,
    },
    /// Others could not build the state from the log, which would begin after the checkpoint.
    #[error(
        "a namespace cannot be restored where nodes share the store of logs: its log would begin after \
         the checkpoint, so that no other node could build its state; import the records instead"
    )]
    RestoreUnavailable,
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The catalogue cannot be read.
    #[error("cannot read the catalogue: {0}")]
    Read(#[source] Box<ReadError>),
    /// The catalogue cannot be written.
    #[error("cannot write the catalogue: {0}")]
    Write(#[from] WriteError),
    /// A record of the catalogue does not decode.
    #[error("the record {id:?} of the catalogue is damaged: {reason}")]
    Damaged {
        /// The record.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// A newer version wrote a record of the catalogue.
    #[error(
        "the record {id:?} of the catalogue was made by a newer version of HVS: it has format {found}, \
         this version reads {known}; upgrade to that version"
    )]
    Newer {
        /// The record.
        id: String,
        /// Its format.
        found: u64,
        /// The format that this version reads.
        known: u64,
    },
    /// The system shard does not open.
    #[error("cannot open the catalogue: {0}")]
    Open(#[source] Box<OpenError>),
    /// A shard does not open, or cannot be removed.
    #[error("shard {shard} of the namespace {namespace:?}: {source}")]
    Shard {
        /// The namespace.
        namespace: String,
        /// The shard.
        shard: Uuid,
        /// Why.
        source: Box<OpenError>,
    },
    /// It is not loaded yet, and the deadline has passed.
    #[error("the namespace {name:?} is being loaded")]
    Loading {
        /// The name.
        name: String,
    },
    /// It was not loaded.
    #[error("cannot load the namespace {name:?}: {source}")]
    Load {
        /// The name.
        name: String,
        /// Why.
        source: LoadError,
    },
    /// The node stops, and has closed what it had open.
    #[error("the node is stopping")]
    Closed,
    /// A shard does not close.
    #[error("cannot close a shard of {namespace:?}: {source}")]
    Close {
        /// The namespace.
        namespace: String,
        /// Why.
        source: Box<CloseError>,
    },
    /// The logs cannot be made durable.
    #[error("cannot make the logs durable: {source}")]
    Sync {
        /// Why.
        source: Box<hvs_kv::KvError>,
    },
    /// The work was given to a thread that ended without an answer.
    #[error("a worker thread ended early")]
    Worker,
}

/// What makes it so that a shard does not open now, and may open later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passing {
    /// The store of the logs does not answer.
    Store,
    /// This node may not lead it now.
    Leading,
}

impl CatalogueError {
    /// Says whether a shard did not open for a reason that has nothing to do with the shard.
    pub(crate) fn passing(&self) -> Option<Passing> {
        let source = match self {
            Self::Load { source: LoadError::Open(error), .. } => return error.passing(),
            Self::Open(source) | Self::Shard { source, .. } => source,
            _ => return None,
        };
        match **source {
            OpenError::Led { .. }
            | OpenError::NoLease
            | OpenError::Log(LogError::SteppedDown { .. } | LogError::Overtaken { .. }) => {
                Some(Passing::Leading)
            }
            // The one of a node for itself does not come back by itself.
            OpenError::Session(SessionError::Kv(_)) => Some(Passing::Store),
            OpenError::Log(LogError::Kv(KvError::Backend { ref source, .. }))
                if source.downcast_ref::<TikvError>().is_some_and(TikvError::may_pass) =>
            {
                Some(Passing::Store)
            }
            _ => None,
        }
    }
}

impl From<ReadError> for CatalogueError {
    fn from(error: ReadError) -> Self {
        Self::Read(Box::new(error))
    }
}
