//! The session of this node.

use std::{sync::Arc, time::Duration};

use hvs_kv::{Durability, Kv};
use hvs_log::{Renewal, Session, SessionTimes};
use hvs_shard::Lease;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{SessionEnded, clock, error::RenewError};

/// What a node says of itself in its session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    /// Where clients reach it.
    #[serde(default)]
    pub(super) address: String,
}

/// The session of this node, which [`NodeSession::keep`] renews.
pub(crate) struct NodeSession {
    kv: Arc<dyn Kv>,
    key: Vec<u8>,
    times: SessionTimes,
    about: Vec<u8>,
    session: Mutex<Session>,
    ended: watch::Sender<Option<SessionEnded>>,
}

impl NodeSession {
    /// Begins an incarnation in the place of what the store has, and returns when it is valid.
    pub(super) async fn begin(
        kv: Arc<dyn Kv>,
        key: Vec<u8>,
        times: SessionTimes,
        about: &About,
        (incarnation, stored): (u64, Option<Vec<u8>>),
    ) -> Result<Arc<Self>, RenewError> {
        let session = Self {
            kv,
            key,
            times,
            // A text: nothing in it has no JSON.
            about: serde_json::to_vec(about).unwrap_or_default(),
            session: Mutex::new(Session::new(times, incarnation, stored)),
            ended: watch::Sender::new(None),
        };
        while !session.is_valid() {
            session.renew().await?;
        }
        Ok(Arc::new(session))
    }

    /// Whether this node may serve what it leads, at this moment.
    pub(crate) fn is_valid(&self) -> bool {
        self.session.lock().is_valid(clock::now())
    }

    /// The same for shards.
    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        let session = Arc::clone(self);
        Lease::new(move || session.is_valid())
    }

    /// Renews it until it is over.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut was_valid = true;
        loop {
            tokio::time::sleep(self.times.heartbeat).await;
            match self.renew().await {
                Ok(()) => {}
                Err(RenewError::Ended(ended)) => {
                    self.ended.send_replace(Some(ended));
                    return;
                }
                Err(error) => tracing::warn!(%error, "the session was not renewed"),
            }
            let is_valid = self.is_valid();
            if was_valid && !is_valid {
                tracing::error!("the session is not valid: nothing is served until it is renewed");
            } else if !was_valid && is_valid {
                tracing::info!("the session is valid again");
            }
            was_valid = is_valid;
        }
    }

    /// Waits until it is over for good.
    pub(crate) async fn ended(&self) -> SessionEnded {
        let mut ended = self.ended.subscribe();
        loop {
            if let Some(ended) = ended.borrow_and_update().clone() {
                return ended;
            }
            // The sender lives as long as this.
            if ended.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Ends it for good, so that nobody has to wait until it counts as dead. Everything that this
    /// node leads must be closed.
    pub(crate) async fn end(&self) {
        let renewal = self.session.lock().end();
        if let Err(error) = self.send(&renewal).await {
            tracing::warn!(%error, "the session is not ended; others wait until it counts as dead");
        }
    }

    async fn renew(&self) -> Result<(), RenewError> {
        let renewal = self.session.lock().renew(clock::now(), self.about.clone());
        let outcome = self.send(&renewal).await?;
        let told = self.session.lock().renewed(&renewal, outcome);
        Ok(told.map_err(SessionEnded::from)?)
    }

    async fn send(&self, renewal: &Renewal) -> Result<hvs_kv::CompareAndSwap, hvs_kv::KvError> {
        let expected = renewal.expected.as_deref();
        self.kv.compare_and_swap(&self.key, expected, &renewal.bytes, Durability::Sync).await
    }

    /// How often it is renewed.
    pub(super) fn heartbeat(&self) -> Duration {
        self.times.heartbeat
    }
}
