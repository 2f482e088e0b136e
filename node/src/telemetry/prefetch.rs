//! What is read ahead, as metrics.

use std::sync::Arc;

use prometheus::{
    GaugeVec, Opts,
    core::{Collector, Desc},
    proto::{MetricFamily, MetricType},
};

use super::metrics::typed;
use crate::prefetch::Figures;

/// Reads it when a scrape asks.
pub(super) struct PrefetchCollector {
    figures: Arc<Figures>,
    read: GaugeVec,
    dropped: GaugeVec,
}

impl PrefetchCollector {
    pub(super) fn new(figures: Arc<Figures>) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &[]);
        Ok(Self {
            figures,
            read: gauge(
                "hvs_prefetch_records_total",
                "Records of hits that were read before someone asked for them.",
            )?,
            dropped: gauge(
                "hvs_prefetch_dropped_total",
                "Records of hits that were not, because the queue was full.",
            )?,
        })
    }
}

impl Collector for PrefetchCollector {
    fn desc(&self) -> Vec<&Desc> {
        [&self.read, &self.dropped].into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        let figures = &self.figures;
        for (gauge, value) in [(&self.read, figures.read()), (&self.dropped, figures.dropped())] {
            let none: &[&str] = &[];
            gauge.with_label_values(none).set(value as f64);
            families.extend(gauge.collect().into_iter().map(|f| typed(f, MetricType::COUNTER)));
        }
        families
    }
}
