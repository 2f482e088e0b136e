//! Values that fit their types, but not the node.

use std::fmt;

use super::Config;
use crate::durability;

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Its path.
    pub setting: &'static str,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.setting, self.reason)
    }
}

/// What storage can hold, whatever the configuration says.
const ID_BYTES: usize = 512;
const NAME_BYTES: usize = 128;
const EF: usize = 65_536;
const M: u64 = 256;
const K: usize = 100_000;
/// What the writer of an index of text needs at least.
const WRITER_BYTES: usize = hvs_shard::MIN_WRITER_BYTES;
/// A put must fit into one log entry of at most 2 MiB together with its vectors.
const METADATA_BYTES: usize = 1 << 20;

impl Config {
    /// Everything that is wrong with it.
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let mut found = Problems(Vec::new());
        let limits = &self.limits;
        found.range("limits.body_bytes", limits.body_bytes, 1_024, 1 << 30);
        found.range(
            "limits.bytes_in_flight",
            limits.bytes_in_flight,
            limits.body_bytes,
            usize::MAX,
        );
        found.range("limits.batch_operations", limits.batch_operations, 1, 100_000);
        found.range("limits.fetch_ids", limits.fetch_ids, 1, 100_000);
        found.range("limits.searches", limits.searches, 1, 100_000);
        found.range("limits.page", limits.page, 1, 10_000);
        found.range("limits.k", limits.k, 1, K);
        found.range("limits.ef", limits.ef, 1, EF);
        found.range("limits.nprobe", limits.nprobe, 1, hvs_index::MAX_LISTS);
        found.range("limits.filter_terms", limits.filter_terms, 1, 1_024);
        found.range("limits.filter_depth", limits.filter_depth, 1, 64);
        found.range("limits.filter_values", limits.filter_values, 0, 1_000_000);
        found.range("limits.text_bytes", limits.text_bytes, 1, 1 << 20);
        found.range("limits.text_words", limits.text_words, 1, 4_096);
        found.range("limits.text_fields", limits.text_fields, 1, 256);
        found.range("limits.payload_indexes", limits.payload_indexes, 0, 4_096);
        found.range("limits.path_bytes", limits.path_bytes, 1, 4_096);
        found.range("limits.metadata_bytes", limits.metadata_bytes, 2, METADATA_BYTES);
        found.range("limits.id_bytes", limits.id_bytes, 1, ID_BYTES);
        found.range("limits.filter_writes", limits.filter_writes, 1, 1 << 40);
        found.range("limits.facet_values", limits.facet_values, 1, 10_000_000);
        found.range("limits.examples", limits.examples, 1, 100_000);
        found.range("limits.groups", limits.groups, 1, K);
        found.range("limits.label_bytes", limits.label_bytes, 1, hvs_shard::MAX_NAME_BYTES);
        found.range("limits.ttl_ms", limits.ttl_ms, 1, 1 << 46);
        found.range("limits.name_bytes", limits.name_bytes, 1, NAME_BYTES);
        found.range("limits.dimension", limits.dimension, 1, 65_536);
        found.range("limits.components", limits.components, 1, 1_024);
        found.range("limits.named_vectors", limits.named_vectors, 1, 1_024);
        found.range("limits.shards", limits.shards, 1, 1_024);
        found.range("limits.total_shards", limits.total_shards, 1, 100_000);
        let scale = &self.scale;
        for (setting, warn, refuse) in [
            ("scale.vectors_refuse", scale.vectors_warn, scale.vectors_refuse),
            ("scale.storage_bytes_refuse", scale.storage_bytes_warn, scale.storage_bytes_refuse),
            ("scale.queries_refuse", scale.queries_warn, scale.queries_refuse),
        ] {
            if refuse > 0 && refuse < warn {
                found.add(setting, format!("{refuse} is below the {warn} from which it warns"));
            }
        }
        let storage = &self.storage;
        found.range("storage.shard_cache_bytes", storage.shard_cache_bytes, 0, 1 << 40);
        found.range("storage.shard_memtable_bytes", storage.shard_memtable_bytes, 1 << 16, 1 << 36);
        found.range("storage.log_cache_bytes", storage.log_cache_bytes, 0, 1 << 40);
        found.range("storage.log_memtable_bytes", storage.log_memtable_bytes, 1 << 16, 1 << 36);
        found.range("storage.log_sync_ms", storage.log_sync_ms, 0, 86_400_000);
        found.range("cache.query_bytes", self.cache.query_bytes, 0, 1 << 40);
        found.range("cache.prefetch_queue", self.cache.prefetch_queue, 0, 1 << 20);
        found.range("memory.warn_percent", self.memory.warn_percent, 1, 100);
        found.range("memory.idle_seconds", self.memory.idle_seconds, 0, 1 << 32);
        found.range("memory.evict_idle_seconds", self.memory.evict_idle_seconds, 0, 1 << 32);
        found.range("limits.namespaces", limits.namespaces, 1, 100_000);
        found.range("limits.aliases", limits.aliases, 1, 100_000);
        found.range("limits.points", limits.points, 1, 1_000_000);
        found.range("limits.answer_bytes", limits.answer_bytes, 1 << 10, 1 << 40);
        found.range("limits.deadline_ms", limits.deadline_ms, 1, 3_600_000);
        found.range("writes.queue_requests", self.writes.queue_requests, 1, 10_000_000);
        found.range("writes.queue_bytes", self.writes.queue_bytes, 1, 1 << 40);
        found.range("writes.queue_ms", self.writes.queue_ms, 1, 3_600_000);
        found.range("writes.memory_bytes", self.writes.memory_bytes, 0, 1 << 40);
        if durability::of_shard(self.writes.durability).is_none() {
            found.add("writes.durability", "it is not memory, buffered or sync".to_owned());
        }
        self.check_indexes(&mut found);
        self.check_shared(&mut found);
        found.range("listen.connections", self.listen.connections, 1, 1_000_000);
        found.range("listen.threads", self.listen.threads, 0, 1_024);
        found.range("listen.header_timeout_ms", self.listen.header_timeout_ms, 1, 3_600_000);
        self.check_feed_and_checkpoints(&mut found);
        found.range("search.heavy_queue", self.search.heavy_queue, 0, 1_000_000);
        found.range("search.heavy", self.search.heavy, 0, 1_024);
        if !(0.0..=1.0).contains(&self.otlp.ratio) {
            found.add("otlp.ratio", format!("{} is not from 0 to 1", self.otlp.ratio));
        }
        if let Err(reason) = crate::telemetry::check_level(&self.log.level) {
            found.add("log.level", format!("{:?}: {reason}", self.log.level));
        }
        let endpoint = &self.otlp.endpoint;
        if !(endpoint.is_empty() || endpoint.starts_with("http://")) {
            found.add("otlp.endpoint", format!("{endpoint:?} does not begin with http://"));
        }
        if self.listen.external == self.listen.internal && self.listen.external.port() != 0 {
            found.add("listen.internal", "is the same address as listen.external".to_owned());
        }
        if self.storage.data_dir.as_os_str().is_empty() {
            found.add("storage.data_dir", "is empty".to_owned());
        }
        found.0
    }

    fn check_indexes(&self, found: &mut Problems) {
        found.range("maintenance.builds", self.maintenance.builds, 0, 1_024);
        found.range("maintenance.build_threads", self.maintenance.build_threads, 0, 1_024);
        found.range("payload.fields", self.payload.fields, 0, 100_000);
        found.range("payload.bytes", self.payload.bytes, 0, 1 << 40);
        found.range("payload.text_bytes", self.payload.text_bytes, 0, 1 << 20);
        found.range("text.writer_bytes", self.text.writer_bytes, WRITER_BYTES, 1 << 31);
        found.range("text.pending_bytes", self.text.pending_bytes, 1 << 10, 1 << 36);
        found.range("text.commit_ms", self.text.commit_ms, 1, 3_600_000);
        found.range("index.m", self.index.m, 2, M);
        found.range("index.ef_construction", self.index.ef_construction, 1, EF as u64);
        found.range("index.ef_search", self.index.ef_search, 1, EF as u64);
        found.range("index.nlist", self.index.nlist, 0, hvs_index::MAX_LISTS as u64);
        found.range("index.nprobe", self.index.nprobe, 0, hvs_index::MAX_LISTS as u64);
        found.range("index.tail", self.index.tail, 1, 10_000_000);
    }

    fn check_feed_and_checkpoints(&self, found: &mut Problems) {
        let feed = &self.feed;
        found.range("feed.entries", feed.entries, 1, 1 << 40);
        found.range("feed.bytes", feed.bytes, 1 << 10, 1 << 40);
        found.range("feed.followers", feed.followers, 1, 1_000_000);
        found.range("feed.wait_ms", feed.wait_ms, 0, 3_600_000);
        found.range("feed.heartbeat_ms", feed.heartbeat_ms, 10, 3_600_000);
        let checkpoints = &self.checkpoints;
        found.range("checkpoints.kept", checkpoints.kept, 1, 10_000);
        found.range("checkpoints.running", checkpoints.running, 1, 64);
        found.range("checkpoints.remembered", checkpoints.remembered, 1, 10_000);
        found.range("checkpoints.level", checkpoints.level, 1, 19);
        if let Err(error) = hvs_checkpoint::CheckpointStore::check_url(&checkpoints.url)
            && !checkpoints.url.is_empty()
        {
            found.add("checkpoints.url", error.to_string());
        }
    }
}

/// Whether it is a host and a port.
pub(super) fn is_address(text: &str) -> bool {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ',');
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(is_odd) && port.parse().is_ok_and(|port: u16| port > 0)
    })
}

/// What was found.
pub(super) struct Problems(Vec<ConfigProblem>);

impl Problems {
    pub(super) fn add(&mut self, setting: &'static str, reason: String) {
        self.0.push(ConfigProblem { setting, reason });
    }

    pub(super) fn range<T: PartialOrd + Copy + fmt::Display>(
        &mut self,
        setting: &'static str,
        value: T,
        least: T,
        most: T,
    ) {
        if value < least || value > most {
            self.add(setting, format!("{value} is not from {least} to {most}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_usable() {
        assert_eq!(Config::default().problems(), []);
    }

    #[test]
    fn every_unusable_setting_is_named_at_once() {
        let mut config = Config::default();
        config.limits.k = 0;
        config.limits.id_bytes = 513;
        config.otlp.ratio = f64::NAN;
        config.listen.internal = config.listen.external;
        let named: Vec<_> = config.problems().iter().map(|problem| problem.setting).collect();
        assert_eq!(named, ["limits.k", "limits.id_bytes", "otlp.ratio", "listen.internal"]);
    }
}
