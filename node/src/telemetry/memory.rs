//! What is held in memory, and which namespaces are loaded, as metrics.

use std::sync::Arc;

use prometheus::{
    GaugeVec, Opts,
    core::{Collector, Desc},
    proto::{MetricFamily, MetricType},
};

use super::metrics::typed;
use crate::catalogue::Catalogue;

/// Reads it when a scrape asks.
pub(super) struct MemoryCollector {
    catalogue: Arc<Catalogue>,
    held: GaugeVec,
    budget: GaugeVec,
    loaded: GaugeVec,
    unloaded: GaugeVec,
    loads: GaugeVec,
    unloads: GaugeVec,
    refused: GaugeVec,
}

impl MemoryCollector {
    pub(super) fn new(catalogue: Arc<Catalogue>) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &[]);
        let held = Opts::new("hvs_memory_held_bytes", "Memory that is held for data, as counted.");
        Ok(Self {
            catalogue,
            held: GaugeVec::new(held, &["part"])?,
            budget: gauge("hvs_memory_budget_bytes", "How much memory may be held.")?,
            loaded: gauge("hvs_namespaces_loaded", "Namespaces whose shards are open.")?,
            unloaded: gauge("hvs_namespaces_unloaded", "Namespaces whose shards are closed.")?,
            loads: gauge("hvs_namespace_loads_total", "Namespaces loaded because of a request.")?,
            unloads: gauge("hvs_namespace_unloads_total", "Namespaces unloaded.")?,
            refused: gauge(
                "hvs_memory_refused_total",
                "Writes and loads refused because the budget of memory was spent.",
            )?,
        })
    }

    fn single(&self) -> [&GaugeVec; 6] {
        [&self.budget, &self.loaded, &self.unloaded, &self.loads, &self.unloads, &self.refused]
    }
}

impl Collector for MemoryCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.held
            .desc()
            .into_iter()
            .chain(self.single().into_iter().flat_map(|g| g.desc()))
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let memory = self.catalogue.memory();
        for (part, bytes) in memory.parts().named() {
            self.held.with_label_values(&[part]).set(bytes as f64);
        }
        let (loaded, unloaded) = self.catalogue.residents();
        let budget = memory.budget() as f64;
        let values = [
            budget,
            loaded as f64,
            unloaded as f64,
            memory.loads() as f64,
            memory.unloads() as f64,
            memory.refused() as f64,
        ];
        let mut families = self.held.collect();
        for (position, (gauge, value)) in self.single().into_iter().zip(values).enumerate() {
            let none: &[&str] = &[];
            gauge.with_label_values(none).set(value);
            let kind = if position < 3 { MetricType::GAUGE } else { MetricType::COUNTER };
            families.extend(gauge.collect().into_iter().map(|family| typed(family, kind)));
        }
        families
    }
}
