//! What is kept of answers, as metrics.

use std::sync::Arc;

use prometheus::{
    GaugeVec, Opts,
    core::{Collector, Desc},
    proto::{MetricFamily, MetricType},
};

use super::metrics::typed;
use crate::{cache::QueryCache, memory::Cache as _};

/// Reads it when a scrape asks.
pub(super) struct CacheCollector {
    cache: Arc<QueryCache>,
    hits: GaugeVec,
    misses: GaugeVec,
    bytes: GaugeVec,
    entries: GaugeVec,
}

impl CacheCollector {
    pub(super) fn new(cache: Arc<QueryCache>) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &[]);
        Ok(Self {
            cache,
            hits: gauge(
                "hvs_query_cache_hits_total",
                "Answers of shards that were those of equal searches before.",
            )?,
            misses: gauge(
                "hvs_query_cache_misses_total",
                "Answers of shards that had to be found, although they could have been kept.",
            )?,
            bytes: gauge("hvs_query_cache_bytes", "Bytes of answers that are kept, estimated.")?,
            entries: gauge("hvs_query_cache_entries", "Answers that are kept.")?,
        })
    }

    fn all(&self) -> [(&GaugeVec, MetricType, f64); 4] {
        let cache = &self.cache;
        [
            (&self.hits, MetricType::COUNTER, cache.hits() as f64),
            (&self.misses, MetricType::COUNTER, cache.misses() as f64),
            (&self.bytes, MetricType::GAUGE, cache.bytes() as f64),
            (&self.entries, MetricType::GAUGE, cache.len() as f64),
        ]
    }
}

impl Collector for CacheCollector {
    fn desc(&self) -> Vec<&Desc> {
        [&self.hits, &self.misses, &self.bytes, &self.entries]
            .into_iter()
            .flat_map(Collector::desc)
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        for (gauge, kind, value) in self.all() {
            let none: &[&str] = &[];
            gauge.with_label_values(none).set(value);
            families.extend(gauge.collect().into_iter().map(|family| typed(family, kind)));
        }
        families
    }
}
