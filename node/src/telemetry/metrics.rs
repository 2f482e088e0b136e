//! Metrics in the Prometheus format.
//!
//! What requests do is counted as it happens; what indexes and logs hold is read when a scrape
//! asks. Labels are bounded: routes are templates, and of namespaces only the first
//! [`LABELLED_NAMESPACES`] by name have a label of their own.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hvs_shard::{Lease, ShardStats, TextStats};
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
    core::{Collector, Desc},
    proto::{MetricFamily, MetricType},
};

use super::{
    cache::CacheCollector, checkpoints::CheckpointCollector, feed::FeedCollector,
    memory::MemoryCollector, prefetch::PrefetchCollector, process::Process, scale::ScaleCollector,
    session::SessionCollector,
};
use crate::{
    cache::QueryCache, catalogue::Catalogue, checkpoints::AllFigures, followers::Followers,
    prefetch::Figures, scale::Scale,
};

/// How many namespaces have a label of their own; the others are summed up as `_other`.
pub(super) const LABELLED_NAMESPACES: usize = 100;
pub(super) const OTHER: &str = "_other";

/// From 50 µs, below what the network adds, to 10 s, beyond what anyone waits for.
const LATENCY_BUCKETS: &[f64] = &[
    5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 7.5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up or write metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// Where the state of shards is read from when a scrape asks.
pub trait StateSource: Send + Sync {
    /// Each namespace with its shards.
    fn shards(&self) -> BTreeMap<String, Vec<ShardStats>>;
}

/// The metrics of a node.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    latency: HistogramVec,
    /// Requests that are being answered.
    pub in_flight: IntGauge,
    /// Bytes of bodies that are being read or worked on.
    pub bytes_in_flight: IntGauge,
    /// Open connections.
    pub connections: IntGauge,
    /// 1 while no build of an index may begin.
    pub maintenance_paused: IntGauge,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// [`MetricsError`] if two metrics have one name, which a test would show.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let requests = IntCounterVec::new(
            Opts::new("hvs_http_requests_total", "Requests answered."),
            &["route", "method", "status"],
        )?;
        let latency = HistogramVec::new(
            HistogramOpts::new(
                "hvs_http_request_duration_seconds",
                "From the head of a request to the head of its answer.",
            )
            .buckets(LATENCY_BUCKETS.to_vec()),
            &["route", "method"],
        )?;
        let in_flight =
            IntGauge::new("hvs_http_requests_in_flight", "Requests that are being answered.")?;
        let bytes_in_flight = IntGauge::new(
            "hvs_http_body_bytes_in_flight",
            "Bytes of bodies that are being read or worked on.",
        )?;
        let connections = IntGauge::new("hvs_http_connections", "Open connections.")?;
        let maintenance_paused = IntGauge::new(
            "hvs_maintenance_paused",
            "1 while no segment of an index begins to be built.",
        )?;
        let build = prometheus::IntGaugeVec::new(
            Opts::new("hvs_build_info", "Always 1; the version is a label."),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(latency.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        registry.register(Box::new(bytes_in_flight.clone()))?;
        registry.register(Box::new(connections.clone()))?;
        registry.register(Box::new(maintenance_paused.clone()))?;
        registry.register(Box::new(build))?;
        registry.register(Box::new(ProcessCollector::new()?))?;
        Ok(Self {
            registry,
            requests,
            latency,
            in_flight,
            bytes_in_flight,
            connections,
            maintenance_paused,
        })
    }

    /// Has every scrape read the state of shards from `source`.
    ///
    /// # Errors
    /// [`MetricsError`] if that was done before.
    pub fn watch(&self, source: Arc<dyn StateSource>) -> Result<(), MetricsError> {
        self.registry.register(Box::new(ShardCollector { source, gauges: ShardGauges::new()? }))?;
        Ok(())
    }

    /// Has every scrape read the figures of scale.
    ///
    /// # Errors
    /// [`MetricsError`] if that was done before.
    pub fn watch_scale(&self, scale: Arc<Scale>) -> Result<(), MetricsError> {
        self.registry.register(Box::new(ScaleCollector::new(scale)?))?;
        Ok(())
    }

    /// Has every scrape ask whether the session is valid, if there is one.
    ///
    /// # Errors
    /// [`MetricsError`] if that was done before.
    pub fn watch_session(&self, lease: Option<Lease>) -> Result<(), MetricsError> {
        self.registry.register(Box::new(SessionCollector::new(lease)?))?;
        Ok(())
    }

    /// Has every scrape read what is held in memory, and which namespaces are loaded.
    ///
    /// # Errors
    /// [`MetricsError`] if that was done before.
    pub fn watch_memory(&self, catalogue: Arc<Catalogue>) -> Result<(), MetricsError> {
        self.registry.register(Box::new(MemoryCollector::new(catalogue)?))?;
        Ok(())
    }

    /// Has every scrape read what is read ahead.
    ///
    /// # Errors
    /// [`MetricsError`] if that was done before.
    pub fn watch_prefetch(&self, figures: Arc<Figures>) -> Result<(), MetricsError> {
        self.registry.register(Box::new(PrefetchCollector::new(figures)?))?;
        Ok(())
    }

    /// Has every scrape read what is kept of answers.
    ///
    /// # Errors
    /// [`MetricsError`] if that was done before.
    pub fn watch_cache(&self, cache: Arc<QueryCache>) -> Result<(), MetricsError> {
        self.registry.register(Box::new(CacheCollector::new(cache)?))?;
        Ok(())
    }

    /// Has every scrape read who follows changes.
    ///
    /// # Errors
    /// [`MetricsError`] if that was done before.
    pub fn watch_followers(&self, followers: Arc<Followers>) -> Result<(), MetricsError> {
        self.registry.register(Box::new(FeedCollector::new(followers)?))?;
        Ok(())
    }

    /// Has every scrape read how checkpoints went.
    ///
    /// # Errors
    /// [`MetricsError`] if that was done before.
    pub(crate) fn watch_checkpoints(&self, figures: Arc<AllFigures>) -> Result<(), MetricsError> {
        self.registry.register(Box::new(CheckpointCollector::new(figures)?))?;
        Ok(())
    }

    /// Counts a request.
    pub fn answered(&self, route: &str, method: &str, status: &str, duration: Duration) {
        self.requests.with_label_values(&[route, method, status]).inc();
        self.latency.with_label_values(&[route, method]).observe(duration.as_secs_f64());
    }

    /// Everything in the text format.
    ///
    /// # Errors
    /// [`MetricsError`] if two collectors answer one name with different types.
    pub fn text(&self) -> Result<Vec<u8>, MetricsError> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// The gauges of shards, in the order in which they are described.
struct ShardGauges {
    log: Vec<Gauge<ShardStats>>,
    text: Vec<Gauge<TextStats>>,
    index: Vec<Gauge<hvs_index::IndexStats>>,
}

/// A gauge, how it is read from what it describes, and what it is to whoever scrapes it.
type Gauge<T> = (GaugeVec, fn(&T) -> f64, MetricType);

/// Name, help, and whether it only grows.
type Described<T> = (&'static str, &'static str, MetricType, fn(&T) -> f64);

const LOG: &[Described<ShardStats>] = &[
    ("hvs_records", "Live records.", MetricType::GAUGE, |stats| stats.records as f64),
    ("hvs_tombstones", "Deleted ids that are remembered.", MetricType::GAUGE, |stats| {
        stats.tombstones as f64
    }),
    ("hvs_idempotency_keys", "Idempotency keys that are remembered.", MetricType::GAUGE, |stats| {
        stats.idempotency_keys as f64
    }),
    ("hvs_store_bytes", "Bytes of local state, indexes aside.", MetricType::GAUGE, |stats| {
        stats.store_bytes as f64
    }),
    (
        "hvs_record_plain_bytes_total",
        "Bytes of records written since the start, before compression.",
        MetricType::COUNTER,
        |stats| stats.written_plain_bytes as f64,
    ),
    (
        "hvs_record_stored_bytes_total",
        "The same after compression.",
        MetricType::COUNTER,
        |stats| stats.written_stored_bytes as f64,
    ),
    (
        "hvs_shards_recompressing",
        "Shards whose records are being written anew, because they are compressed otherwise.",
        MetricType::GAUGE,
        |stats| f64::from(u8::from(stats.is_recompressing)),
    ),
    (
        "hvs_log_applied_seq",
        "Log entries applied, summed over shards.",
        MetricType::GAUGE,
        |stats| stats.applied_seq as f64,
    ),
    (
        "hvs_log_entries_total",
        "Log entries appended since the start.",
        MetricType::COUNTER,
        |stats| stats.log_entries as f64,
    ),
    ("hvs_log_bytes_total", "Bytes appended since the start.", MetricType::COUNTER, |stats| {
        stats.log_bytes as f64
    }),
    ("hvs_log_syncs_total", "Times the log was forced to disk.", MetricType::COUNTER, |stats| {
        stats.syncs as f64
    }),
    ("hvs_operations_total", "Operations applied since the start.", MetricType::COUNTER, |stats| {
        stats.operations as f64
    }),
    ("hvs_log_queued_requests", "Writes that wait for the log.", MetricType::GAUGE, |stats| {
        stats.queued_requests as f64
    }),
    ("hvs_log_queued_bytes", "Bytes that wait for the log.", MetricType::GAUGE, |stats| {
        stats.queued_bytes as f64
    }),
    (
        "hvs_overloaded_total",
        "Writes refused because too many waited.",
        MetricType::COUNTER,
        |stats| stats.overloaded as f64,
    ),
    (
        "hvs_maintenance_debt_rebuild_rows",
        "Rows that are not yet in an index that is being built anew.",
        MetricType::GAUGE,
        |stats| stats.rebuild_rows as f64,
    ),
    ("hvs_shards", "Shards.", MetricType::GAUGE, |_| 1.0),
    ("hvs_shards_stopped", "Shards that stopped after an error.", MetricType::GAUGE, |stats| {
        f64::from(u8::from(stats.stopped.is_some()))
    }),
];

const INDEX: &[Described<hvs_index::IndexStats>] = &[
    ("hvs_index_live", "Vectors that can be found.", MetricType::GAUGE, |stats| stats.live as f64),
    ("hvs_index_dead", "Vectors that a merge will drop.", MetricType::GAUGE, |stats| {
        stats.dead as f64
    }),
    ("hvs_index_tail", "Vectors in the flat tail.", MetricType::GAUGE, |stats| stats.tail as f64),
    (
        "hvs_maintenance_debt_tail_rows",
        "Vectors in the tail beyond its limit.",
        MetricType::GAUGE,
        |stats| stats.tail_excess as f64,
    ),
    (
        "hvs_maintenance_debt_dead_rows",
        "Deleted or replaced vectors that are still in the files.",
        MetricType::GAUGE,
        |stats| stats.dead as f64,
    ),
    ("hvs_index_segments", "Segments.", MetricType::GAUGE, |stats| stats.segments as f64),
    ("hvs_index_vector_bytes", "Bytes of stored vectors.", MetricType::GAUGE, |stats| {
        stats.bytes_vectors as f64
    }),
    ("hvs_index_graph_bytes", "Bytes of ranking rows and graphs.", MetricType::GAUGE, |stats| {
        stats.bytes_graph as f64
    }),
    ("hvs_index_id_bytes", "Bytes of ids.", MetricType::GAUGE, |stats| stats.bytes_ids as f64),
    ("hvs_index_anonymous_bytes", "Bytes in anonymous memory.", MetricType::GAUGE, |stats| {
        stats.bytes_anonymous as f64
    }),
    ("hvs_index_building", "Indexes that are building a segment.", MetricType::GAUGE, |stats| {
        f64::from(u8::from(stats.building))
    }),
    ("hvs_index_builds_total", "Segments built since the start.", MetricType::COUNTER, |stats| {
        stats.builds as f64
    }),
    ("hvs_index_failed_builds_total", "Builds that failed.", MetricType::COUNTER, |stats| {
        stats.failed_builds as f64
    }),
];

const TEXT: &[Described<TextStats>] = &[
    ("hvs_text_documents", "Records with text that can be found.", MetricType::GAUGE, |stats| {
        stats.documents as f64
    }),
    ("hvs_text_bytes", "Bytes of indexes of text on disk.", MetricType::GAUGE, |stats| {
        stats.disk_bytes as f64
    }),
    ("hvs_text_segments", "Segments of indexes of text.", MetricType::GAUGE, |stats| {
        stats.segments as f64
    }),
    (
        "hvs_text_uncommitted_bytes",
        "Bytes of text that wait for the disk; they are found all the same.",
        MetricType::GAUGE,
        |stats| stats.pending_bytes as f64,
    ),
    (
        "hvs_text_commits_total",
        "Times that text was written to the disk since the start.",
        MetricType::COUNTER,
        |stats| stats.commits as f64,
    ),
    (
        "hvs_text_rebuilds_total",
        "Indexes of text that were built anew since the start, because they could not be used.",
        MetricType::COUNTER,
        |stats| stats.rebuilds as f64,
    ),
    (
        "hvs_text_building",
        "Indexes of text for which searches wait, because they are being built.",
        MetricType::GAUGE,
        |stats| f64::from(u8::from(!stats.is_ready)),
    ),
];

fn described<T>(all: &[Described<T>], labels: &[&str]) -> Result<Vec<Gauge<T>>, MetricsError> {
    let gauges = all.iter().map(|(name, help, kind, read)| {
        Ok((GaugeVec::new(Opts::new(*name, *help), labels)?, *read, *kind))
    });
    gauges.collect()
}

impl ShardGauges {
    fn new() -> Result<Self, MetricsError> {
        Ok(Self {
            log: described(LOG, &["namespace"])?,
            text: described(TEXT, &["namespace"])?,
            index: described(INDEX, &["namespace", "vector"])?,
        })
    }

    fn add(&self, namespace: &str, shard: &ShardStats) {
        for (gauge, read, _) in &self.log {
            gauge.with_label_values(&[namespace]).add(read(shard));
        }
        if let Some(stats) = &shard.text {
            for (gauge, read, _) in &self.text {
                gauge.with_label_values(&[namespace]).add(read(stats));
            }
        }
        for (vector, stats) in &shard.indexes {
            for (gauge, read, _) in &self.index {
                gauge.with_label_values(&[namespace, vector]).add(read(stats));
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = (&GaugeVec, MetricType)> {
        let log = self.log.iter().map(|(gauge, _, kind)| (gauge, *kind));
        let text = self.text.iter().map(|(gauge, _, kind)| (gauge, *kind));
        let index = self.index.iter().map(|(gauge, _, kind)| (gauge, *kind));
        log.chain(text).chain(index)
    }

    fn families(&self) -> Vec<MetricFamily> {
        self.all()
            .flat_map(|(gauge, kind)| gauge.collect().into_iter().map(move |family| (family, kind)))
            .map(|(family, kind)| typed(family, kind))
            .collect()
    }
}

/// A figure that is read as a whole, but only grows, is a counter to whoever scrapes it.
pub(super) fn typed(mut family: MetricFamily, kind: MetricType) -> MetricFamily {
    if kind != MetricType::COUNTER {
        return family;
    }
    for metric in family.mut_metric() {
        let value = metric.get_gauge().get_value();
        let mut counter = prometheus::proto::Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    }
    family.set_field_type(kind);
    family
}

struct ShardCollector {
    source: Arc<dyn StateSource>,
    /// Only for their descriptions; each scrape fills gauges of its own, so that a deleted
    /// namespace leaves nothing behind.
    gauges: ShardGauges,
}

impl Collector for ShardCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.all().flat_map(|(gauge, _)| gauge.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(gauges) = ShardGauges::new() else { return Vec::new() };
        for (position, (namespace, shards)) in self.source.shards().iter().enumerate() {
            let label = if position < LABELLED_NAMESPACES { namespace } else { OTHER };
            for shard in shards {
                gauges.add(label, shard);
            }
        }
        gauges.families()
    }
}

struct ProcessCollector {
    resident: GaugeVec,
    anonymous: GaugeVec,
    cpu: GaugeVec,
    files: GaugeVec,
}

impl ProcessCollector {
    fn new() -> Result<Self, MetricsError> {
        let gauge = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &[]);
        Ok(Self {
            resident: gauge("process_resident_memory_bytes", "Resident memory.")?,
            anonymous: gauge(
                "process_resident_anonymous_memory_bytes",
                "Resident memory that is not mapped from files.",
            )?,
            cpu: gauge("process_cpu_seconds_total", "User and system time.")?,
            files: gauge("process_open_fds", "Open file descriptors.")?,
        })
    }

    fn all(&self) -> [&GaugeVec; 4] {
        [&self.resident, &self.anonymous, &self.cpu, &self.files]
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let process = Process::read();
        let none: &[&str] = &[];
        self.resident.with_label_values(none).set(process.resident_bytes as f64);
        self.anonymous.with_label_values(none).set(process.anonymous_bytes as f64);
        self.cpu.with_label_values(none).set(process.cpu_seconds);
        self.files.with_label_values(none).set(process.open_files as f64);
        let mut families = Vec::new();
        for gauge in self.all() {
            let kind = if std::ptr::eq(gauge, &raw const self.cpu) {
                MetricType::COUNTER
            } else {
                MetricType::GAUGE
            };
            families.extend(gauge.collect().into_iter().map(|family| typed(family, kind)));
        }
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Many(usize);

    impl StateSource for Many {
        fn shards(&self) -> BTreeMap<String, Vec<ShardStats>> {
            let one = || {
                let mut stats = ShardStats::default();
                stats.records = 3;
                stats.log_entries = 5;
                stats.indexes.insert(String::new(), hvs_index::IndexStats::default());
                stats
            };
            (0..self.0).map(|n| (format!("n{n:04}"), vec![one(), one()])).collect()
        }
    }

    fn text_of(metrics: &Metrics) -> String {
        String::from_utf8(metrics.text().unwrap()).unwrap()
    }

    #[test]
    fn requests_and_shards_are_in_the_text() {
        let metrics = Metrics::new().unwrap();
        metrics.watch(Arc::new(Many(1))).unwrap();
        metrics.answered("/v1/namespaces", "GET", "200", Duration::from_micros(80));
        let text = text_of(&metrics);
        let requests =
            r#"hvs_http_requests_total{method="GET",route="/v1/namespaces",status="200"} 1"#;
        for line in [
            requests,
            r#"hvs_http_request_duration_seconds_bucket{method="GET",route="/v1/namespaces",le="0.0001"} 1"#,
            r#"hvs_records{namespace="n0000"} 6"#,
            r#"hvs_shards{namespace="n0000"} 2"#,
            "# TYPE hvs_log_entries_total counter",
            r#"hvs_log_entries_total{namespace="n0000"} 10"#,
            r#"hvs_index_live{namespace="n0000",vector=""} 0"#,
            "# TYPE process_cpu_seconds_total counter",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn labels_are_bounded_and_what_is_gone_leaves_nothing() {
        let metrics = Metrics::new().unwrap();
        metrics.watch(Arc::new(Many(LABELLED_NAMESPACES + 5))).unwrap();
        let text = text_of(&metrics);
        let series = text.lines().filter(|line| line.starts_with("hvs_records{")).count();
        assert_eq!(series, LABELLED_NAMESPACES + 1);
        assert!(text.contains(r#"hvs_records{namespace="_other"} 30"#));
    }
}
