//! Collecting durations and reading percentiles from them.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Durations of one kind of request.
#[derive(Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    /// Runs `work` and keeps how long it took.
    ///
    /// # Errors
    /// Those of `work`; the duration is then not kept.
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let result = work()?;
        self.0.push(begun.elapsed());
        Ok(result)
    }

    /// The smallest duration that at least `percent` of all do not exceed, in milliseconds; not a
    /// number when there is none.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a length"
        )]
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).map_or(f64::NAN, |found| found.as_secs_f64() * 1e3)
    }

    pub(crate) fn p50(&self) -> f64 {
        self.percentile(50.0)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.percentile(99.0)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let latencies = Latencies((1..=200).rev().map(Duration::from_millis).collect());
        assert!((latencies.p50() - 100.0).abs() < 1e-9);
        assert!((latencies.p99() - 198.0).abs() < 1e-9);
        assert!((latencies.percentile(100.0) - 200.0).abs() < 1e-9);
        assert!(Latencies::default().p50().is_nan());
    }
}
