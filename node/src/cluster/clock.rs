//! The clock of sessions.

use std::time::Duration;

use hvs_log::ClockTime;
use rustix::time::{ClockId, clock_gettime};

/// The time of a clock that goes on while the machine sleeps, unlike that of [`std::time::Instant`]: a
/// node that was suspended must not take its session for valid.
pub(super) fn now() -> ClockTime {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
