//! How checkpoints went, as metrics.

use std::sync::Arc;

use prometheus::{
    GaugeVec, Opts,
    core::{Collector, Desc},
    proto::{MetricFamily, MetricType},
};

use super::metrics::{LABELLED_NAMESPACES, OTHER, typed};
use crate::checkpoints::{AllFigures, Figures};

/// Name, help, type, and how it is read.
type Described = (&'static str, &'static str, MetricType, fn(&Figures) -> f64);

const SUMS: &[Described] = &[
    (
        "hvs_checkpoints_total",
        "Checkpoints made since the start.",
        MetricType::COUNTER,
        |figures| figures.made as f64,
    ),
    (
        "hvs_checkpoints_failed_total",
        "Checkpoints that failed since the start.",
        MetricType::COUNTER,
        |figures| figures.failed as f64,
    ),
    (
        "hvs_checkpoint_bytes_total",
        "Bytes written for checkpoints since the start.",
        MetricType::COUNTER,
        |figures| figures.bytes as f64,
    ),
    (
        "hvs_checkpoint_seconds_total",
        "What the checkpoints took that were made since the start.",
        MetricType::COUNTER,
        |figures| figures.duration.as_secs_f64(),
    ),
];
const LAST_DURATION: (&str, &str) =
    ("hvs_checkpoint_last_duration_seconds", "What the last checkpoint took.");
const LAST_SUCCESS: (&str, &str) = (
    "hvs_checkpoint_last_success_timestamp_seconds",
    "When the state was last known to be in a checkpoint; of several namespaces the oldest.",
);

/// Reads the figures when a scrape asks.
pub(super) struct CheckpointCollector {
    source: Arc<AllFigures>,
    gauges: Gauges,
}

/// Filled anew by each scrape, so that a deleted namespace leaves nothing behind.
struct Gauges {
    sums: Vec<GaugeVec>,
    last_duration: GaugeVec,
    last_success: GaugeVec,
}

impl Gauges {
    fn new() -> Result<Self, prometheus::Error> {
        let gauge =
            |(name, help): (&str, &str)| GaugeVec::new(Opts::new(name, help), &["namespace"]);
        let sums = SUMS.iter().map(|(name, help, ..)| gauge((name, help)));
        Ok(Self {
            sums: sums.collect::<Result<_, _>>()?,
            last_duration: gauge(LAST_DURATION)?,
            last_success: gauge(LAST_SUCCESS)?,
        })
    }

    fn all(&self) -> impl Iterator<Item = &GaugeVec> {
        self.sums.iter().chain([&self.last_duration, &self.last_success])
    }

    fn add(&self, namespace: &str, figures: &Figures) {
        for (gauge, (_, _, _, read)) in self.sums.iter().zip(SUMS) {
            gauge.with_label_values(&[namespace]).add(read(figures));
        }
        if figures.made > 0 {
            let last = self.last_duration.with_label_values(&[namespace]);
            last.set(last.get().max(figures.last_duration.as_secs_f64()));
        }
        if figures.last_success_ms > 0 {
            let last = self.last_success.with_label_values(&[namespace]);
            let (before, seconds) = (last.get(), figures.last_success_ms as f64 / 1e3);
            last.set(if before > 0.0 { before.min(seconds) } else { seconds });
        }
    }
}

impl CheckpointCollector {
    pub(super) fn new(source: Arc<AllFigures>) -> Result<Self, prometheus::Error> {
        Ok(Self { source, gauges: Gauges::new()? })
    }
}

impl Collector for CheckpointCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.all().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(gauges) = Gauges::new() else { return Vec::new() };
        for (position, (namespace, figures)) in self.source.read().iter().enumerate() {
            let label = if position < LABELLED_NAMESPACES { namespace } else { OTHER };
            gauges.add(label, figures);
        }
        let kinds = SUMS.iter().map(|(_, _, kind, _)| *kind);
        let kinds = kinds.chain([MetricType::GAUGE; 2]);
        gauges
            .all()
            .zip(kinds)
            .flat_map(|(gauge, kind)| gauge.collect().into_iter().map(move |family| (family, kind)))
            .map(|(family, kind)| typed(family, kind))
            .collect()
    }
}
