//! The configuration of a node: one typed structure, filled from defaults, then a file, then the
//! environment, then flags.

mod check;
mod load;
mod shared;

use std::{net::SocketAddr, path::PathBuf};

use hvs_api::{Compression, Durability};
use serde::{Deserialize, Serialize};

pub use check::ConfigProblem;
pub use load::{ConfigError, Sources};
pub use shared::{Cluster, KvKind, Tikv};

/// Everything that can be set. Each field is described in `docs/configuration.md`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// Where and how to store.
    pub storage: Storage,
    /// The store of logs that several nodes share.
    pub tikv: Tikv,
    /// How nodes that share a store of logs know of each other.
    pub cluster: Cluster,
    /// What a request may ask for.
    pub limits: Limits,
    /// How large the node may become.
    pub scale: Scale,
    /// How writes are acknowledged, and what may wait to be written.
    pub writes: Writes,
    /// How searches are run.
    pub search: Search,
    /// What namespaces get that do not say otherwise.
    pub index: Index,
    /// How much memory the node holds.
    pub memory: Memory,
    /// What is kept to answer sooner.
    pub cache: Cache,
    /// What is done in the background.
    pub maintenance: Maintenance,
    /// The indexes of metadata.
    pub payload: Payload,
    /// Indexes of text.
    pub text: Text,
    /// The feed of changes.
    pub feed: Feed,
    /// Where checkpoints are kept, and how they are made.
    pub checkpoints: Checkpoints,
    /// What is logged and how.
    pub log: Log,
    /// Where spans go.
    pub otlp: Otlp,
    /// How the node stops.
    pub shutdown: Shutdown,
    /// For measurements only.
    pub bench: Bench,
}

/// Addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Of the API, for clients.
    pub external: SocketAddr,
    /// Of health and metrics, for operators.
    pub internal: SocketAddr,
    /// Most connections at once, on each listener.
    pub connections: usize,
    /// Threads that serve the clients' connections; 0 means one per processor.
    pub threads: usize,
    /// How long a client may take to send the head of a request, in milliseconds.
    pub header_timeout_ms: u64,
}

/// Storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// The directory that holds everything, or everything but the logs.
    pub data_dir: PathBuf,
    /// Which store has the logs.
    pub kv: KvKind,
    /// Bytes of blocks that each shard keeps in memory.
    pub shard_cache_bytes: u64,
    /// Bytes of writes that each shard gathers in memory before they become a sorted file.
    pub shard_memtable_bytes: u64,
    /// Bytes of blocks that the store of logs keeps in memory.
    pub log_cache_bytes: u64,
    /// Bytes of log that are gathered in memory before they become a sorted file.
    pub log_memtable_bytes: u64,
    /// After how long a buffered write is forced to the disk; 0 leaves it to the operating system.
    pub log_sync_ms: u64,
    /// Whether the rows that searches compare are kept in anonymous memory.
    pub resident_rows: bool,
    /// How records are compressed at rest whose namespace does not say it.
    pub compression: Compression,
    /// Whether all sorted files are read and checked at the start.
    pub verify_tables: bool,
}

/// What is done in the background.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Maintenance {
    /// Segments of indexes that are built at once, over all namespaces; 0 means half of the
    /// processors, at least 1.
    pub builds: usize,
    /// Threads that one build uses for looking whether searches find each row; 0 means as many as
    /// there are processors. The rest of a build has one.
    pub build_threads: usize,
    /// Whether no build begins before `POST /v1/maintenance/resume`.
    pub paused: bool,
}

/// What a request may ask for; beyond it there is a problem with a stable code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of one request's body.
    pub body_bytes: usize,
    /// Bytes of all bodies that are being read or worked on.
    pub bytes_in_flight: usize,
    /// Operations of one batch.
    pub batch_operations: usize,
    /// Ids of one fetch.
    pub fetch_ids: usize,
    /// Searches of one batch.
    pub searches: usize,
    /// Records of one page.
    pub page: usize,
    /// Hits of one search.
    pub k: usize,
    /// Candidates that one search examines in a graph.
    pub ef: usize,
    /// Inverted lists per segment, and lists that one search looks into.
    pub nprobe: usize,
    /// Operators of one filter, the implied `$eq` included.
    pub filter_terms: usize,
    /// Filters within filters.
    pub filter_depth: usize,
    /// Values in the lists of one filter.
    pub filter_values: usize,
    /// Bytes of the text of one search.
    pub text_bytes: usize,
    /// Different words of the text of one search.
    pub text_words: usize,
    /// Text fields of a namespace.
    pub text_fields: usize,
    /// Fields of metadata whose indexes a namespace declares.
    pub payload_indexes: usize,
    /// Bytes of the path of a field that a namespace names.
    pub path_bytes: usize,
    /// Bytes of one record's metadata, as JSON.
    pub metadata_bytes: usize,
    /// Bytes of an id or partition key; at most 512.
    pub id_bytes: usize,
    /// Records that one write by filter changes.
    pub filter_writes: u64,
    /// Distinct values that a facet holds in each shard.
    pub facet_values: usize,
    /// Examples of one recommendation.
    pub examples: usize,
    /// Groups of one search.
    pub groups: usize,
    /// Bytes of a region or kind; at most 255.
    pub label_bytes: usize,
    /// Milliseconds until a record ceases to exist, if it does.
    pub ttl_ms: u64,
    /// Vectors or records that one request may look at one by one, in each shard; 0 for no limit.
    pub exact_vectors: u64,
    /// Bytes of the name of a namespace, alias or vector; at most 128.
    pub name_bytes: usize,
    /// Intrinsic dimension of a space.
    pub dimension: usize,
    /// Factors of a product space.
    pub components: usize,
    /// Named vectors of a namespace, the default one included.
    pub named_vectors: usize,
    /// Shards of a namespace.
    pub shards: usize,
    /// Shards of the node, over all namespaces: each has threads and memory of its own.
    pub total_shards: usize,
    /// Namespaces of the node.
    pub namespaces: usize,
    /// Aliases of the node.
    pub aliases: usize,
    /// Points of one geometry operation.
    pub points: usize,
    /// Bytes of what the hits of one request hold, as they are stored.
    pub answer_bytes: usize,
    /// Milliseconds that a request may take, and does unless it asks for less.
    pub deadline_ms: u64,
}

/// How large the node may become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scale {
    /// Vectors that can be found, in all namespaces, from which the node warns; 0 for never.
    pub vectors_warn: u64,
    /// The most, beyond which it refuses more; 0 for no limit.
    pub vectors_refuse: u64,
    /// Bytes of everything below the data directory from which the node warns; 0 for never.
    pub storage_bytes_warn: u64,
    /// The most, beyond which it refuses more; 0 for no limit.
    pub storage_bytes_refuse: u64,
    /// Searches in a second from which the node warns; 0 for never.
    pub queries_warn: u64,
    /// And beyond which it refuses more; 0 for never.
    pub queries_refuse: u64,
    /// Intrinsic dimension of a namespace from which the node warns; 0 for never. More than
    /// `limits.dimension` is refused.
    pub dimension_warn: usize,
}

/// How writes are acknowledged, and what may wait to be written, for each shard. Beyond any of the
/// limits of the queue a write is refused with 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Writes {
    /// Requests.
    pub queue_requests: usize,
    /// Their bytes together. A single request larger than this is let through.
    pub queue_bytes: usize,
    /// For how long the oldest has waited, in milliseconds.
    pub queue_ms: u64,
    /// When writes are acknowledged of which neither the request nor the namespace says it.
    pub durability: Durability,
    /// Bytes of records that are in memory alone.
    pub memory_bytes: usize,
}

/// How searches are run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Search {
    /// Searches of at most this k and without a radius are answered on the thread that read the
    /// request, which saves two hand-overs.
    pub inline_k: usize,
    /// And of at most this ef.
    pub inline_ef: usize,
    /// And, if they look at every vector, of at most this many coordinates in all.
    pub inline_coordinates: usize,
    /// Other searches that run at once; 0 means two per processor.
    pub heavy: usize,
    /// Other searches that may wait for their turn.
    pub heavy_queue: usize,
}

/// What namespaces get that do not say otherwise, and how indexes are built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Index {
    /// Connections per node of the graph.
    pub m: u64,
    /// How widely a graph is searched when it is built.
    pub ef_construction: u64,
    /// How widely a graph is searched when a request names no `ef`.
    pub ef_search: u64,
    /// Inverted lists per segment; 0 means the square root of its vectors.
    pub nlist: u64,
    /// Lists that are looked into when a request names no `nprobe`; 0 means one in eight, but at
    /// least 16.
    pub nprobe: u64,
    /// Recent vectors that are scanned before a segment is built of them.
    pub tail: usize,
}

/// What is kept to answer sooner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Bytes of answers of searches, estimated; 0 keeps none.
    pub query_bytes: u64,
    /// Answers of shards whose records wait to be read ahead, where a namespace has `prefetch`; 0
    /// reads nothing ahead.
    pub prefetch_queue: usize,
}

/// How much memory the node holds for its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Bytes; 0 means three quarters of what the machine or the control group has.
    pub budget_bytes: u64,
    /// Percent of it from which the node warns.
    pub warn_percent: u64,
    /// Seconds without use after which a namespace is unloaded; 0 for never.
    pub idle_seconds: u64,
    /// Seconds without use after which it may be unloaded when the budget is spent.
    pub evict_idle_seconds: u64,
}

/// The index of metadata that each shard keeps in memory. What does not fit is looked up in the
/// records instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Payload {
    /// Fields that are not declared, each path by itself.
    pub fields: usize,
    /// Bytes, estimated.
    pub bytes: usize,
    /// Bytes of a text that is indexed.
    pub text_bytes: usize,
}

/// The index of text of each shard whose namespace has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Text {
    /// Bytes that the writer of an index gathers.
    pub writer_bytes: usize,
    /// Bytes that wait for the disk; beyond it writes wait. Twice as much may be held.
    pub pending_bytes: usize,
    /// For how long they wait, in milliseconds.
    pub commit_ms: u64,
}

/// The feed of changes, and how much of the log is kept for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Feed {
    /// Entries of each shard's log.
    pub entries: u64,
    /// Bytes of each shard's log, and as many again of the feed.
    pub bytes: u64,
    /// Requests that wait for changes, and streams, at once.
    pub followers: usize,
    /// Milliseconds that a request may wait for changes.
    pub wait_ms: u64,
    /// Milliseconds after which a stream without changes shows that it lives.
    pub heartbeat_ms: u64,
}

/// Where checkpoints are kept, and how they are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checkpoints {
    /// A folder, or a prefix of a bucket; empty for the folder `checkpoints` of the data
    /// directory.
    pub url: String,
    /// Whether a restore may name a URL that is not below that one.
    pub any_url: bool,
    /// Checkpoints of one namespace.
    pub kept: usize,
    /// Tasks that run at once.
    pub running: usize,
    /// Tasks that have ended and can still be asked about.
    pub remembered: usize,
    /// Effort of compression, 1 to 19.
    pub level: i32,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Text for people, or JSON lines.
    pub format: LogFormat,
    /// A level, or directives such as `info,hvs_node=debug`.
    pub level: String,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON lines otherwise.
    #[default]
    Auto,
    /// Text.
    Text,
    /// JSON lines with the field names of the Elastic Common Schema.
    Json,
}

/// Where spans go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Otlp {
    /// The base address of an OTLP collector over HTTP, such as `http://127.0.0.1:4318`; empty
    /// for none.
    pub endpoint: String,
    /// The service name of the spans.
    pub service: String,
    /// The part of requests without a `traceparent` that is traced, from 0 to 1. Requests with
    /// one follow its sampling flag.
    pub ratio: f64,
}

/// How the node stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// How long `/readyz` already fails while requests are still taken, so that a load balancer
    /// turns away first, in milliseconds.
    pub lead_ms: u64,
    /// How long requests in progress may take to end, in milliseconds.
    pub grace_ms: u64,
}

/// For measurements only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bench {
    /// Adds `POST /_echo?bytes=N`, which reads its body as any other route does and answers N
    /// bytes: the floor that the other routes are compared with.
    pub echo: bool,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            external: SocketAddr::from(([127, 0, 0, 1], 9001)),
            internal: SocketAddr::from(([127, 0, 0, 1], 9000)),
            connections: 4_096,
            threads: 0,
            header_timeout_ms: 30_000,
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("hvs-data"),
            kv: KvKind::Embedded,
            shard_cache_bytes: 32 << 20,
            shard_memtable_bytes: 16 << 20,
            log_cache_bytes: 8 << 20,
            log_memtable_bytes: 8 << 20,
            log_sync_ms: 1_000,
            resident_rows: true,
            compression: Compression::None,
            verify_tables: true,
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self { query_bytes: 64 << 20, prefetch_queue: 256 }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self { budget_bytes: 0, warn_percent: 90, idle_seconds: 3_600, evict_idle_seconds: 10 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 32 << 20,
            bytes_in_flight: 256 << 20,
            batch_operations: 1_000,
            fetch_ids: 1_000,
            searches: 1_000,
            page: 1_000,
            k: 10_000,
            ef: 16_384,
            nprobe: 16_384,
            filter_terms: 64,
            filter_depth: 16,
            filter_values: 10_000,
            text_bytes: 8 << 10,
            text_words: 256,
            text_fields: 16,
            payload_indexes: 64,
            path_bytes: 512,
            metadata_bytes: 64 << 10,
            id_bytes: 512,
            filter_writes: 10_000,
            facet_values: 100_000,
            examples: 1_000,
            groups: 1_000,
            label_bytes: 128,
            ttl_ms: 3_153_600_000_000,
            exact_vectors: 0,
            name_bytes: 128,
            dimension: 4_096,
            components: 16,
            named_vectors: 16,
            shards: 64,
            total_shards: 256,
            namespaces: 1_000,
            aliases: 1_000,
            points: 10_000,
            answer_bytes: 64 << 20,
            deadline_ms: 30_000,
        }
    }
}

impl Default for Scale {
    fn default() -> Self {
        Self {
            vectors_warn: 10_000_000,
            vectors_refuse: 100_000_000,
            storage_bytes_warn: 100_000_000_000,
            storage_bytes_refuse: 1_000_000_000_000,
            queries_warn: 10_000,
            queries_refuse: 100_000,
            dimension_warn: 1_024,
        }
    }
}

impl Default for Writes {
    fn default() -> Self {
        Self {
            queue_requests: 4_096,
            queue_bytes: 32 << 20,
            queue_ms: 50,
            durability: Durability::Buffered,
            memory_bytes: hvs_shard::DEFAULT_MEMORY_BYTES,
        }
    }
}

impl Default for Search {
    fn default() -> Self {
        Self {
            inline_k: 100,
            inline_ef: 1_024,
            inline_coordinates: 1_000_000,
            heavy: 0,
            heavy_queue: 256,
        }
    }
}

impl Default for Index {
    fn default() -> Self {
        Self { m: 16, ef_construction: 128, ef_search: 64, nlist: 0, nprobe: 0, tail: 16_384 }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self { fields: 256, bytes: 256 << 20, text_bytes: 256 }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self { writer_bytes: 16_000_000, pending_bytes: 16 << 20, commit_ms: 1_000 }
    }
}

impl Default for Feed {
    fn default() -> Self {
        let hvs_shard::LogRetention { entries, bytes } = hvs_shard::LogRetention::default();
        Self { entries, bytes, followers: 256, wait_ms: 60_000, heartbeat_ms: 15_000 }
    }
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self {
            url: String::new(),
            any_url: false,
            kept: 1_000,
            running: 2,
            remembered: 100,
            level: 1,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".to_owned() }
    }
}

impl Default for Otlp {
    fn default() -> Self {
        Self { endpoint: String::new(), service: "hvs-node".to_owned(), ratio: 1.0 }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { lead_ms: 0, grace_ms: 10_000 }
    }
}
