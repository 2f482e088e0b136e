//! Whether the node may serve, as a metric.

use hvs_shard::Lease;
use prometheus::{
    IntGauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// Asks the session when a scrape asks.
pub(super) struct SessionCollector {
    /// None: no other node has the store of logs, and there is no session.
    lease: Option<Lease>,
    valid: IntGauge,
}

impl SessionCollector {
    pub(super) fn new(lease: Option<Lease>) -> Result<Self, prometheus::Error> {
        let help = "1 while the session of the node is valid, or none is needed.";
        Ok(Self { lease, valid: IntGauge::new("hvs_session_valid", help)? })
    }
}

impl Collector for SessionCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.valid.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.valid.set(i64::from(self.lease.as_ref().is_none_or(Lease::is_valid)));
        self.valid.collect()
    }
}
