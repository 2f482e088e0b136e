//! Standing by while another node leads.

use std::{sync::Arc, time::Instant};

use hvs_kv::Kv;
use hvs_log::{
    Fenced, LeaderRecord, Liveness, Log, LogError, SessionError, SessionRecord, SessionTimes,
    Watch, fence, session_key,
};
use hvs_shard::Writer;

use super::{NodeSession, clock, session::About};

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leading {
    /// Its id.
    pub(crate) node: String,
    /// Where clients reach it, as far as it says so.
    pub(crate) address: Option<String>,
}

/// A look-out for the moment at which the log of the catalogue may be taken over.
pub(crate) struct Standby {
    kv: Arc<dyn Kv>,
    log: Log,
    prefix: String,
    own: Writer,
    times: SessionTimes,
    session: Arc<NodeSession>,
    /// The node that is watched.
    watched: Option<(String, Watch)>,
}

/// What one look has shown.
enum Seen {
    /// It may be taken over, from the node of that id.
    Free(Option<String>),
    /// Somebody leads.
    Led(Leading),
    /// Somebody leads who has no session.
    Absent(Leading),
}

/// Why a look has failed.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl Standby {
    /// For the log of the catalogue.
    pub(crate) fn new(
        kv: Arc<dyn Kv>,
        log: Log,
        prefix: &str,
        own: Writer,
        times: SessionTimes,
        session: Arc<NodeSession>,
    ) -> Self {
        Self { kv, log, prefix: prefix.to_owned(), own, times, session, watched: None }
    }

    /// Waits until nobody leads who could go on, and fences who is dead. `led` is told who leads.
    pub(crate) async fn wait(&mut self, led: impl Fn(&Leading)) {
        let begun = Instant::now();
        let mut said = None;
        loop {
            match self.look().await {
                Ok(Seen::Free(from)) => {
                    if let Some(node) = from {
                        let stood_by = begun.elapsed().as_secs();
                        tracing::warn!(
                            hvs.leader = node,
                            stood_by,
                            "taking over from a node whose session is over"
                        );
                    }
                    return;
                }
                Ok(Seen::Led(leading)) => {
                    led(&leading);
                    if said.as_ref() != Some(&leading) {
                        tracing::info!(
                            hvs.leader = leading.node,
                            hvs.leader_address = leading.address,
                            "standing by: another node leads"
                        );
                        said = Some(leading);
                    }
                }
                Ok(Seen::Absent(leading)) => {
                    led(&leading);
                    tracing::error!(
                        hvs.leader = leading.node,
                        "the node that leads has no session, so that nobody can tell whether it lives; \
                         start it again, which gives it one"
                    );
                }
                Err(error) => tracing::warn!(%error, "cannot see who leads"),
            }
            tokio::time::sleep(self.session.heartbeat()).await;
        }
    }

    async fn look(&mut self) -> Result<Seen, LookError> {
        let Some(LeaderRecord { writer, .. }) = self.log.leader().await? else {
            return Ok(Seen::Free(None));
        };
        // Its earlier starts are over since it has a session in this one.
        if writer.node == self.own.node {
            return Ok(Seen::Free(None));
        }
        let key = session_key(&self.prefix, &writer.node);
        let sent = clock::now();
        let found = self.kv.get(&key).await.map_err(SessionError::from)?;
        let answered = clock::now();
        let record = found.as_deref().map(SessionRecord::decode).transpose();
        let record = record.map_err(SessionError::from)?;
        let mut leading = Leading { node: writer.node.clone(), address: None };
        let Some(record) = record else {
            self.watched = None;
            return Ok(Seen::Absent(leading));
        };
        if record.is_past(writer.incarnation) {
            return Ok(Seen::Free(Some(writer.node)));
        }
        let about: About = serde_json::from_slice(&record.about).unwrap_or_default();
        leading.address = Some(about.address).filter(|address| !address.is_empty());
        let watch = match &mut self.watched {
            Some((node, watch)) if *node == writer.node => watch,
            other => &mut other.insert((writer.node.clone(), Watch::new(self.times))).1,
        };
        if let Liveness::Dead(observed) = watch.saw(sent, answered, found.as_deref())
            && fence(&*self.kv, &key, &observed).await? == Fenced::Yes
        {
            return Ok(Seen::Free(Some(writer.node)));
        }
        Ok(Seen::Led(leading))
    }
}
