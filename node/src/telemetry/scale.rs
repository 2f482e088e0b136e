//! The figures of scale as metrics.

use std::sync::Arc;

use prometheus::{
    GaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::scale::{Reading, Scale};

/// Reads the figures when a scrape asks.
pub(super) struct ScaleCollector {
    scale: Arc<Scale>,
    used: GaugeVec,
    limit: GaugeVec,
}

impl ScaleCollector {
    pub(super) fn new(scale: Arc<Scale>) -> Result<Self, prometheus::Error> {
        let used = Opts::new("hvs_scale_used", "How much there is of what has limits of scale.");
        let limit = Opts::new(
            "hvs_scale_limit",
            "From where the node warns, and the most that there may be.",
        );
        let used = GaugeVec::new(used, &["figure"])?;
        Ok(Self { scale, used, limit: GaugeVec::new(limit, &["figure", "bound"])? })
    }
}

impl Collector for ScaleCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.used.desc().into_iter().chain(self.limit.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for Reading { figure, used, warn, refuse } in self.scale.readings() {
            let name = figure.as_str();
            self.used.with_label_values(&[name]).set(used as f64);
            for (bound, value) in [("warn", warn), ("refuse", refuse)] {
                // A bound of 0 is none, and a graph would show it as one that is passed.
                if value > 0 {
                    self.limit.with_label_values(&[name, bound]).set(value as f64);
                }
            }
        }
        self.used.collect().into_iter().chain(self.limit.collect()).collect()
    }
}
