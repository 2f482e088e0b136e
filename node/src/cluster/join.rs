//! From nothing to a session.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use hvs_kv::{
    Kv,
    tikv::{OnRuntime, Tikv, TikvConfig},
};
use hvs_log::{
    Fenced, Liveness, SessionRecord, SessionTimes, Watch, begin_incarnation, fence, session_key,
};
use hvs_shard::Writer;
use tokio::{runtime::Handle, task::spawn_blocking};
use uuid::Uuid;

use super::{JoinError, NodeSession, clock, local::LocalDirectory, session::About};
use crate::{config::Config, identity};

/// A node among others.
pub(crate) struct Joined {
    /// The store of logs.
    pub(crate) kv: Arc<dyn Kv>,
    /// Who this node is, in this start.
    pub(crate) writer: Writer,
    /// Its session.
    pub(crate) session: Arc<NodeSession>,
    /// Its data directory.
    pub(crate) directory: LocalDirectory,
}

/// Takes the data directory, connects to the store, and begins a session, which somebody has to
/// [keep](NodeSession::keep). Waits as long as another process with the id of this node may live.
pub(crate) async fn join(config: &Config, listening: SocketAddr) -> Result<Joined, JoinError> {
    let path = config.storage.data_dir.clone();
    let local = spawn_blocking(move || {
        let directory = LocalDirectory::take(&path)?;
        Ok::<_, JoinError>((directory, identity::look(&path)?))
    });
    let (directory, before) = local.await.map_err(|_| JoinError::Worker)??;
    let before =
        before.unwrap_or_else(|| Writer { node: Uuid::new_v4().to_string(), incarnation: 0 });

    let shared = &config.tikv;
    let connection = TikvConfig {
        attempt_timeout: Duration::from_millis(shared.attempt_timeout_ms),
        call_timeout: Duration::from_millis(shared.call_timeout_ms),
        // The logs name the prefix in their keys themselves.
        ..TikvConfig::new(shared.endpoints.clone(), Vec::new())
    };
    let tikv = Tikv::connect(connection).await?;
    let kv: Arc<dyn Kv> = Arc::new(OnRuntime::new(tikv, Handle::current()));

    let times = config.cluster.times();
    let key = session_key(config.log_prefix(), &before.node);
    let (incarnation, stored) = incarnation(&*kv, &key, times, before.incarnation).await?;
    let writer = Writer { node: before.node, incarnation };
    // On disk before it is used, so that no two starts have the same.
    keep_identity(&config.storage.data_dir, writer.clone()).await?;
    let address = match config.cluster.address.as_str() {
        "" => listening.to_string(),
        address => address.to_owned(),
    };
    let about = About { address };
    let begun = (incarnation, stored);
    let session = NodeSession::begin(Arc::clone(&kv), key, times, &about, begun).await?;
    tracing::info!(
        hvs.node = writer.node,
        hvs.incarnation = writer.incarnation,
        address = about.address,
        "joined the cluster"
    );
    Ok(Joined { kv, writer, session, directory })
}

/// The incarnation to begin with, and what the store has in its place.
async fn incarnation(
    kv: &dyn Kv,
    key: &[u8],
    times: SessionTimes,
    previous: u64,
) -> Result<(u64, Option<Vec<u8>>), JoinError> {
    let mut watch = Watch::new(times);
    loop {
        let sent = clock::now();
        let stored = kv.get(key).await?;
        let answered = clock::now();
        let found = stored.as_deref().map(SessionRecord::decode).transpose()?;
        if let Some(incarnation) = begin_incarnation(found.as_ref(), previous) {
            return Ok((incarnation, stored));
        }
        if let Liveness::Dead(observed) = watch.saw(sent, answered, stored.as_deref()) {
            if fence(kv, key, &observed).await? == Fenced::Yes {
                tracing::warn!("fenced an earlier process with the id of this node");
            }
            continue;
        }
        tracing::warn!(
            "another process with the id of this node may be alive; waiting for its end"
        );
        tokio::time::sleep(times.heartbeat).await;
    }
}

async fn keep_identity(directory: &Path, writer: Writer) -> Result<(), JoinError> {
    let directory = directory.to_owned();
    let kept = spawn_blocking(move || identity::keep(&directory, &writer));
    Ok(kept.await.map_err(|_| JoinError::Worker)??)
}
