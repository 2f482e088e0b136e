//! When to try again, and for how long.

use std::time::Duration;

use rand::RngExt;
use tikv_client::Error;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use super::TikvError;

/// First pause between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest one.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The attempts of one call.
#[derive(Debug)]
pub(super) struct Attempts {
    deadline: Instant,
    each: Duration,
    pause: Duration,
}

impl Attempts {
    pub(super) fn new(all: Duration, each: Duration) -> Self {
        Self { deadline: Instant::now() + all, each, pause: FIRST_PAUSE }
    }

    /// Waits for an attempt as long as it may take, and the call.
    pub(super) async fn limit<T>(
        &self,
        attempt: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, TikvError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let after = self.each.min(left);
        match timeout(after, attempt).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(TikvError::TimedOut { after }),
        }
    }

    /// Waits before the next attempt, each time about twice as long, and half of it by chance, so
    /// that those who failed together do not return together. False: there is no time left.
    pub(super) async fn pause(&mut self) -> bool {
        let pause = self.pause.mul_f64(rand::rng().random_range(0.5..1.0));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        if Instant::now() + pause >= self.deadline {
            return false;
        }
        sleep(pause).await;
        true
    }
}

/// What a failure says about a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was refused, and would be again.
    Final,
    /// It was refused, and may be tried again.
    NotApplied,
    /// It may have been applied, or may be later.
    Unknown,
}

/// Whether trying again is of no use.
pub(super) fn is_final(error: &TikvError) -> bool {
    outcome(error) == Outcome::Final
}

/// Reads it off the error. What is not known to be harmless is [`Outcome::Unknown`].
pub(super) fn outcome(error: &TikvError) -> Outcome {
    let TikvError::Client(error) = error else {
        return match error {
            TikvError::Foreign { .. } | TikvError::Disordered { .. } => Outcome::Final,
            _ => Outcome::Unknown,
        };
    };
    match &**error {
        Error::RegionError(region) => {
            if region.raft_entry_too_large.is_some() {
                Outcome::Final
            } else if region.stale_command.is_some() {
                // The leader changed while the write was under way.
                Outcome::Unknown
            } else {
                Outcome::NotApplied
            }
        }
        Error::LeaderNotFound { .. }
        | Error::RegionForKeyNotFound { .. }
        | Error::RegionForRangeNotFound { .. }
        | Error::RegionNotFoundInResponse { .. }
        | Error::NoCurrentRegions
        | Error::EntryNotFoundInRegionCache => Outcome::NotApplied,
        Error::GrpcAPI(status) => match status.code() {
            Code::InvalidArgument
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented => Outcome::Final,
            _ => Outcome::Unknown,
        },
        Error::Unimplemented
        | Error::UnsupportedMode
        | Error::ColumnFamilyError(_)
        | Error::MaxScanLimitExceeded { .. } => Outcome::Final,
        _ => Outcome::Unknown,
    }
}

/// Whether an answer was larger than a message may be.
pub(super) fn is_too_large(error: &TikvError) -> bool {
    let TikvError::Client(error) = error else { return false };
    matches!(&**error, Error::GrpcAPI(status)
        if matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted))
}
