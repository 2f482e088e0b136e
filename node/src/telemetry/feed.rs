//! Followers of changes as metrics.

use std::sync::Arc;

use prometheus::{
    IntGauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::followers::Followers;

/// Reads the figures when a scrape asks.
pub(super) struct FeedCollector {
    source: Arc<Followers>,
    followers: IntGauge,
    lag: IntGauge,
}

impl FeedCollector {
    pub(super) fn new(source: Arc<Followers>) -> Result<Self, prometheus::Error> {
        let followers = IntGauge::new("hvs_feed_followers", "Who waits for changes.")?;
        let help = "Log entries by which the last follower is behind.";
        Ok(Self { source, followers, lag: IntGauge::new("hvs_feed_lag_entries", help)? })
    }
}

impl Collector for FeedCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.followers.desc().into_iter().chain(self.lag.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.followers.set(i64::try_from(self.source.count()).unwrap_or(i64::MAX));
        self.lag.set(i64::try_from(self.source.lag()).unwrap_or(i64::MAX));
        self.followers.collect().into_iter().chain(self.lag.collect()).collect()
    }
}
