//! Going on after the store of the logs was away.
//!
//! A store over the network comes back. An append whose outcome is not known is proposed again until
//! it is, and meanwhile everything else is refused, so that clients learn it at once. What the
//! requests of that entry were answered is that nobody knows.

use std::sync::Arc;

use hvs_log::{AppendError, Appended};

use super::{RESOLVE_PAUSE, Writer};
use crate::block_on::block_on;
use crate::error::WriteError;

/// What is left to do of an append of unknown outcome.
#[derive(Default)]
pub(super) struct Left {
    /// It came, when the session of this node was not valid any more: whether it stands is not
    /// known yet.
    unconfirmed: Option<Appended>,
    /// Records in memory that the entry moves to the log.
    moving: Vec<String>,
}

impl Writer {
    /// What an append has come to, where another node may lead by now. One of unknown outcome
    /// suspends the queue, and has to be [ridden out](Writer::ride_out).
    pub(super) fn settle(
        &mut self,
        result: Result<Appended, AppendError>,
    ) -> Result<Appended, WriteError> {
        match result {
            Ok(appended) => self.confirm(appended),
            Err(AppendError::SteppedDown { epoch, reason }) => {
                Err(WriteError::SteppedDown { epoch, reason })
            }
            Err(error @ AppendError::Unknown { .. }) => Err(self.suspend(error.to_string())),
            Err(error) => Err(WriteError::Wedged { reason: error.to_string() }),
        }
    }

    /// The records that the entry of unknown outcome moves to the log.
    pub(super) fn note_moving(&mut self, ids: Vec<String>) {
        self.left.moving = ids;
    }

    /// The rule of acknowledgement: an entry is committed if the session was valid when its append
    /// had returned, and else if no later leader has trimmed the log beyond it.
    fn confirm(&mut self, appended: Appended) -> Result<Appended, WriteError> {
        if self.config.lease.as_ref().is_none_or(crate::Lease::is_valid) {
            return Ok(appended);
        }
        let seq = appended.position.seq;
        match block_on(self.leader.stands(seq)) {
            Ok(true) => Ok(appended),
            Ok(false) => {
                let reason = format!("entry {seq} was trimmed by another leader");
                Err(WriteError::SteppedDown { epoch: self.leader.epoch(), reason })
            }
            Err(error) => {
                let unknown = self.suspend(error.to_string());
                self.left.unconfirmed = Some(appended);
                Err(unknown)
            }
        }
    }

    /// Before the turn of the memory is given back, so that nothing comes into it meanwhile.
    fn suspend(&self, reason: String) -> WriteError {
        self.queue.suspend(&WriteError::Unavailable { reason: reason.clone() });
        WriteError::Unknown { reason }
    }

    /// Finds out what came of the append of unknown outcome, however long that takes, applies it,
    /// and takes requests in again.
    pub(super) fn ride_out(&mut self) -> Result<(), WriteError> {
        let shard = self.config.shard;
        tracing::warn!(%shard, "the store of the logs does not answer; writes are refused until it does");
        loop {
            let settled = match self.left.unconfirmed.take() {
                Some(appended) => self.confirm(appended).map(Some),
                None => match block_on(self.leader.resolve()) {
                    Ok(Some(appended)) => self.confirm(appended).map(Some),
                    Ok(None) => Ok(None),
                    Err(error) => self.settle(Err(error)).map(Some),
                },
            };
            match settled {
                Ok(Some(appended)) => {
                    self.apply_late(&appended)?;
                    break;
                }
                Ok(None) => break,
                Err(WriteError::Unknown { reason }) if self.queue.is_closed() => {
                    // Whoever opens the shard next finds out.
                    return Err(WriteError::Wedged { reason });
                }
                Err(WriteError::Unknown { .. }) => std::thread::sleep(RESOLVE_PAUSE),
                Err(reason) => return Err(reason),
            }
        }
        self.queue.resume();
        tracing::info!(%shard, "the store of the logs answers again; writes are taken");
        Ok(())
    }

    fn apply_late(&mut self, appended: &Appended) -> Result<(), WriteError> {
        let moving = std::mem::take(&mut self.left.moving);
        if moving.is_empty() {
            return self.apply(appended).map(drop);
        }
        let memory = Arc::clone(&self.memory);
        let mut turn = memory.turn();
        memory.move_out(&mut turn, &moving, || self.apply(appended)).map(drop)
    }
}
