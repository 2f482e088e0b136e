//! The stable codes of the API's errors, each with its status, title and help.
//!
//! A code never changes its meaning and is never used again for another. New ones may appear, so
//! a client treats a code that it does not know by the status.

use std::{fmt, str::FromStr};

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    // The request itself.
    /// The body is not valid JSON.
    InvalidJson,
    /// The body is not valid MessagePack.
    InvalidMessagePack,
    /// The body does not have the expected shape.
    InvalidBody,
    /// The query string does not have the expected shape.
    InvalidQuery,
    /// A header has an unusable value.
    InvalidHeader,
    /// The body's media type is not supported.
    UnsupportedMediaType,
    /// No acceptable media type.
    NotAcceptable,
    /// The body is larger than this node takes.
    BodyTooLarge,
    /// The answer would be larger than this node gives.
    AnswerTooLarge,
    /// There is no such route.
    RouteNotFound,
    /// The route does not have this method.
    MethodNotAllowed,
    // Names and ids.
    /// The name cannot be used.
    InvalidName,
    /// The id cannot be used.
    InvalidId,
    /// The partition key cannot be used.
    InvalidPartitionKey,
    /// The region or kind cannot be used.
    InvalidLabel,
    /// An id occurs twice in one request.
    DuplicateId,
    /// There is no such namespace.
    NamespaceNotFound,
    /// A namespace of this name exists with other settings.
    NamespaceExists,
    /// There is no such alias.
    AliasNotFound,
    /// The name is taken.
    NameTaken,
    /// The namespace is being changed by another request.
    NamespaceBusy,
    /// There is no such vector.
    VectorNotFound,
    // The settings of a namespace.
    /// There is no such geometry.
    UnknownGeometry,
    /// The dimension cannot be used.
    InvalidDimension,
    /// The curvature has no meaning in this geometry.
    InvalidCurvature,
    /// The components cannot form a product.
    InvalidComponents,
    /// The precision cannot be used here.
    InvalidPrecision,
    /// The index settings cannot be used.
    InvalidIndex,
    /// Fields of metadata cannot be indexed.
    InvalidPayloadIndex,
    /// The number of shards cannot be used.
    InvalidShards,
    /// The namespace names too many vectors.
    TooManyNamedVectors,
    /// The node holds as many of these as it may.
    LimitReached,
    // Points.
    /// The namespace has no vector of this name.
    UnknownVectorName,
    /// No vector was given.
    MissingVector,
    /// The number of coordinates is wrong.
    DimensionMismatch,
    /// A coordinate is NaN or infinite.
    NotFinite,
    /// The point does not lie on the manifold.
    OffManifold,
    /// The point lies beyond what the precision can hold.
    PrecisionExceeded,
    /// The vector is not tangent at its base point.
    NotTangent,
    /// These coordinates do not exist in this geometry.
    InvalidCoordinates,
    // Records and conditions.
    /// The metadata cannot be stored.
    InvalidMetadata,
    /// The time to live cannot be used.
    InvalidExpiry,
    /// The request holds nothing to do.
    EmptyBatch,
    /// The request holds too many items.
    BatchTooLarge,
    /// The batch is too large to be atomic.
    AtomicTooLarge,
    /// The operation contradicts itself.
    InvalidOperation,
    /// The condition cannot be used.
    InvalidCondition,
    /// The condition does not hold.
    ConditionFailed,
    /// The idempotency key was used for another request.
    IdempotencyConflict,
    /// The idempotency key cannot be used.
    InvalidIdempotencyKey,
    /// This durability is not available here.
    DurabilityUnavailable,
    /// The records in memory take as much as they may.
    MemoryFull,
    // Reading and searching.
    /// k is out of range.
    InvalidK,
    /// The radius cannot be used.
    InvalidRadius,
    /// ef is out of range.
    InvalidEf,
    /// nprobe is out of range.
    InvalidNprobe,
    /// The search has no bound.
    MissingBound,
    /// The text cannot be searched for.
    InvalidText,
    /// The fusion cannot be used.
    InvalidFusion,
    /// The namespace has no index of text.
    NoTextIndex,
    /// The index of text is not complete.
    TextIndexBuilding,
    /// The filter cannot be used.
    InvalidFilter,
    /// The page size is out of range.
    InvalidLimit,
    /// The page token cannot be used.
    InvalidToken,
    /// What was asked for of the changes is not there any more.
    HistoryGone,
    /// The search cannot be answered as asked.
    SearchUnsupported,
    /// Too many records would have to be looked at one by one.
    ScanTooLarge,
    // Geometry operations.
    /// The geometry does not define this operation.
    UndefinedOperation,
    /// No unique geodesic joins these points.
    NoGeodesic,
    /// The value lies outside the operation's domain.
    OutOfDomain,
    /// The computation did not converge.
    NotConverged,
    /// The weights cannot be used.
    InvalidWeights,
    /// An argument cannot be used.
    InvalidArgument,
    // Checkpoints.
    /// There is no such checkpoint.
    CheckpointNotFound,
    /// The checkpoint does not follow the one before it.
    CheckpointConflict,
    /// The checkpoint is damaged.
    CheckpointDamaged,
    /// The place of the checkpoints cannot be read or written.
    CheckpointStoreFailed,
    /// The URL of the checkpoints cannot be used.
    InvalidCheckpointUrl,
    /// That state cannot be restored.
    SeqUnavailable,
    /// There is no such task.
    TaskNotFound,
    /// Nothing can be restored here.
    RestoreUnavailable,
    /// Somebody ended the task.
    TaskCancelled,
    /// The task is of a kind that cannot be cancelled.
    TaskNotCancellable,
    // The node.
    /// The node holds as much as it may.
    CapacityExceeded,
    /// The node is asked more often than it may be.
    RateExceeded,
    /// The node has as much in flight as it may.
    Overloaded,
    /// The node holds as much memory as it may.
    MemoryExhausted,
    /// The namespace is not loaded yet.
    NamespaceLoading,
    /// The node is shutting down.
    ShuttingDown,
    /// The node is not ready.
    NotReady,
    /// Another node leads.
    Standby,
    /// The node does not lead at the moment, or no longer.
    NotLeading,
    /// The store of the logs does not answer.
    StoreUnavailable,
    /// The deadline passed before the answer was ready.
    DeadlineExceeded,
    /// It is not known whether the write took place.
    OutcomeUnknown,
    /// The storage failed.
    StorageFailed,
    /// The node failed.
    Internal,
}

/// A code that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a code of this version")]
pub struct UnknownCode;

struct Entry {
    name: &'static str,
    status: u16,
    title: &'static str,
    help: &'static str,
}

const fn entry(name: &'static str, status: u16, title: &'static str, help: &'static str) -> Entry {
    Entry { name, status, title, help }
}

impl Code {
    /// Every code, in the order of the documentation.
    pub const ALL: &'static [Self] = &[
        Self::InvalidJson,
        Self::InvalidMessagePack,
        Self::InvalidBody,
        Self::InvalidQuery,
        Self::InvalidHeader,
        Self::UnsupportedMediaType,
        Self::NotAcceptable,
        Self::BodyTooLarge,
        Self::AnswerTooLarge,
        Self::RouteNotFound,
        Self::MethodNotAllowed,
        Self::InvalidName,
        Self::InvalidId,
        Self::InvalidPartitionKey,
        Self::InvalidLabel,
        Self::DuplicateId,
        Self::NamespaceNotFound,
        Self::NamespaceExists,
        Self::AliasNotFound,
        Self::NameTaken,
        Self::NamespaceBusy,
        Self::VectorNotFound,
        Self::UnknownGeometry,
        Self::InvalidDimension,
        Self::InvalidCurvature,
        Self::InvalidComponents,
        Self::InvalidPrecision,
        Self::InvalidIndex,
        Self::InvalidPayloadIndex,
        Self::InvalidShards,
        Self::TooManyNamedVectors,
        Self::LimitReached,
        Self::UnknownVectorName,
        Self::MissingVector,
        Self::DimensionMismatch,
        Self::NotFinite,
        Self::OffManifold,
        Self::PrecisionExceeded,
        Self::NotTangent,
        Self::InvalidCoordinates,
        Self::InvalidMetadata,
        Self::InvalidExpiry,
        Self::EmptyBatch,
        Self::BatchTooLarge,
        Self::AtomicTooLarge,
        Self::InvalidOperation,
        Self::InvalidCondition,
        Self::ConditionFailed,
        Self::IdempotencyConflict,
        Self::InvalidIdempotencyKey,
        Self::DurabilityUnavailable,
        Self::MemoryFull,
        Self::InvalidK,
        Self::InvalidRadius,
        Self::InvalidEf,
        Self::InvalidNprobe,
        Self::MissingBound,
        Self::InvalidText,
        Self::InvalidFusion,
        Self::NoTextIndex,
        Self::TextIndexBuilding,
        Self::InvalidFilter,
        Self::InvalidLimit,
        Self::InvalidToken,
        Self::HistoryGone,
        Self::SearchUnsupported,
        Self::ScanTooLarge,
        Self::UndefinedOperation,
        Self::NoGeodesic,
        Self::OutOfDomain,
        Self::NotConverged,
        Self::InvalidWeights,
        Self::InvalidArgument,
        Self::CheckpointNotFound,
        Self::CheckpointConflict,
        Self::CheckpointDamaged,
        Self::CheckpointStoreFailed,
        Self::InvalidCheckpointUrl,
        Self::SeqUnavailable,
        Self::TaskNotFound,
        Self::RestoreUnavailable,
        Self::TaskCancelled,
        Self::TaskNotCancellable,
        Self::CapacityExceeded,
        Self::RateExceeded,
        Self::Overloaded,
        Self::MemoryExhausted,
        Self::NamespaceLoading,
        Self::ShuttingDown,
        Self::NotReady,
        Self::Standby,
        Self::NotLeading,
        Self::StoreUnavailable,
        Self::DeadlineExceeded,
        Self::OutcomeUnknown,
        Self::StorageFailed,
        Self::Internal,
    ];

    /// The code as it stands in a problem, such as `dimension_mismatch`.
    pub const fn as_str(self) -> &'static str {
        self.entry().name
    }

    /// The HTTP status that carries it, always 4xx or 5xx.
    pub const fn status(self) -> u16 {
        self.entry().status
    }

    /// What went wrong in general; a problem's `detail` says it of the case at hand.
    pub const fn title(self) -> &'static str {
        self.entry().title
    }

    /// What to do about it.
    pub const fn help(self) -> &'static str {
        self.entry().help
    }

    #[expect(clippy::too_many_lines, reason = "a table")]
    const fn entry(self) -> Entry {
        match self {
            Self::InvalidJson => entry(
                "invalid_json",
                400,
                "The body is not valid JSON",
                "Send one complete JSON value; a number that is not finite has no form in JSON.",
            ),
            Self::InvalidMessagePack => entry(
                "invalid_msgpack",
                400,
                "The body is not valid MessagePack",
                "Send one complete MessagePack value and nothing after it.",
            ),
            Self::InvalidBody => entry(
                "invalid_body",
                400,
                "The body does not have the expected shape",
                "Compare the field names and types with /openapi.json.",
            ),
            Self::InvalidQuery => entry(
                "invalid_query",
                400,
                "The query string does not have the expected shape",
                "Compare the parameter names and types with /openapi.json.",
            ),
            Self::InvalidHeader => entry(
                "invalid_header",
                400,
                "A header has an unusable value",
                "See docs/api.md for the headers that are read and their form.",
            ),
            Self::UnsupportedMediaType => entry(
                "unsupported_media_type",
                415,
                "The body's media type is not supported",
                "Set Content-Type to application/json or application/msgpack, and send the body as it is, without a Content-Encoding.",
            ),
            Self::NotAcceptable => entry(
                "not_acceptable",
                406,
                "No acceptable media type",
                "Accept application/json or application/msgpack.",
            ),
            Self::BodyTooLarge => entry(
                "body_too_large",
                413,
                "The body is larger than this node takes",
                "Split the request, or raise limits.body_bytes in the node's configuration.",
            ),
            Self::AnswerTooLarge => entry(
                "answer_too_large",
                400,
                "The answer would be larger than this node gives",
                "Ask for fewer hits, leave out vectors and metadata, or split the request; or raise limits.answer_bytes in the node's configuration.",
            ),
            Self::RouteNotFound => entry(
                "route_not_found",
                404,
                "There is no such route",
                "Compare the path with /openapi.json; percent-encode slashes within names and ids.",
            ),
            Self::MethodNotAllowed => entry(
                "method_not_allowed",
                405,
                "The route does not have this method",
                "The Allow header lists the methods of the route.",
            ),
            Self::InvalidName => entry(
                "invalid_name",
                400,
                "The name cannot be used",
                "Use 1 to 128 of a-z, A-Z, 0-9, '_', '-' and '.', beginning with a letter or digit.",
            ),
            Self::InvalidId => entry(
                "invalid_id",
                400,
                "The id cannot be used",
                "An id is UTF-8 text of 1 to 512 bytes without control characters.",
            ),
            Self::InvalidPartitionKey => entry(
                "invalid_partition_key",
                400,
                "The partition key cannot be used",
                "A partition key is UTF-8 text of 1 to 512 bytes without control characters.",
            ),
            Self::InvalidLabel => entry(
                "invalid_label",
                400,
                "The region or kind cannot be used",
                "A region or kind is UTF-8 text of 1 to limits.label_bytes bytes without control characters; docs/records.md lists the reserved kinds.",
            ),
            Self::DuplicateId => entry(
                "duplicate_id",
                400,
                "An id occurs twice in one request",
                "Keep one operation per id, or send two requests.",
            ),
            Self::NamespaceNotFound => entry(
                "namespace_not_found",
                404,
                "There is no such namespace",
                "List them with GET /v1/namespaces, or create it with PUT /v1/namespaces/{namespace}.",
            ),
            Self::NamespaceExists => entry(
                "namespace_exists",
                409,
                "A namespace of this name exists with other settings",
                "Use another name, or delete the namespace first; the same settings again are accepted.",
            ),
            Self::AliasNotFound => entry(
                "alias_not_found",
                404,
                "There is no such alias",
                "List them with GET /v1/aliases.",
            ),
            Self::NameTaken => entry(
                "name_taken",
                409,
                "The name is taken",
                "Namespaces and aliases share one set of names; choose another.",
            ),
            Self::NamespaceBusy => entry(
                "namespace_busy",
                409,
                "The namespace is being changed by another request",
                "Repeat the request.",
            ),
            Self::VectorNotFound => entry(
                "vector_not_found",
                404,
                "There is no such vector",
                "If it was stored with a partition_key, name it in the request.",
            ),
            Self::UnknownGeometry => entry(
                "unknown_geometry",
                400,
                "There is no such geometry",
                "Use poincare, hyperboloid, klein, euclidean, spherical or lorentzian.",
            ),
            Self::InvalidDimension => entry(
                "invalid_dimension",
                400,
                "The dimension cannot be used",
                "dimension is the intrinsic dimension n; hyperboloid, spherical and lorentzian points have n + 1 coordinates.",
            ),
            Self::InvalidCurvature => entry(
                "invalid_curvature",
                400,
                "The curvature has no meaning in this geometry",
                "Use a negative curvature for poincare, hyperboloid and klein, zero for euclidean, a positive one for spherical and lorentzian.",
            ),
            Self::InvalidComponents => entry(
                "invalid_components",
                400,
                "The components cannot form a product",
                "Give one or more components, each with a positive finite weight, and no geometry beside them.",
            ),
            Self::InvalidPrecision => entry(
                "invalid_precision",
                400,
                "The precision cannot be used here",
                "Use f32 or f64.",
            ),
            Self::InvalidIndex => entry(
                "invalid_index",
                400,
                "The index settings cannot be used",
                "Use type HNSW with m, ef_construction and ef_search, IVF with nlist and nprobe, or GEOMETRIC or FLAT without parameters; quantisation f16, or i8 or pq where the space allows them. HYBRID has text_fields and a language beside one of these as dense.",
            ),
            Self::InvalidPayloadIndex => entry(
                "invalid_payload_index",
                400,
                "The fields of metadata cannot be indexed",
                "Declare each field once, by a path into the metadata no longer than limits.path_bytes, and no more of them than limits.payload_indexes. $kind and $region are always indexed.",
            ),
            Self::InvalidShards => entry(
                "invalid_shards",
                400,
                "The number of shards cannot be used",
                "Use at least one shard and no more than limits.shards.",
            ),
            Self::TooManyNamedVectors => entry(
                "too_many_named_vectors",
                400,
                "The namespace names too many vectors",
                "Use fewer named vectors, or raise limits.named_vectors.",
            ),
            Self::LimitReached => entry(
                "limit_reached",
                409,
                "The node holds as many of these as it may",
                "Delete some, or raise the limit named in detail.",
            ),
            Self::UnknownVectorName => entry(
                "unknown_vector_name",
                400,
                "The namespace has no vector of this name",
                "GET /v1/namespaces/{namespace} lists the names; the default one is the empty string.",
            ),
            Self::MissingVector => entry(
                "missing_vector",
                400,
                "No vector was given",
                "Give vector (the default one) or vectors (by name).",
            ),
            Self::DimensionMismatch => entry(
                "dimension_mismatch",
                400,
                "The number of coordinates is wrong",
                "Send the ambient coordinates, or the n spatial ones with coordinates: spatial where the geometry has a time coordinate.",
            ),
            Self::NotFinite => entry(
                "not_finite",
                400,
                "A coordinate is NaN or infinite",
                "Remove the value at its source; it has no place in any geometry.",
            ),
            Self::OffManifold => entry(
                "off_manifold",
                400,
                "The point does not lie on the manifold",
                "Send a point that does, or set project: true to have it projected.",
            ),
            Self::PrecisionExceeded => entry(
                "precision_exceeded",
                400,
                "The point lies beyond what the precision can hold",
                "Move the data towards the origin, or create the namespace with precision f64.",
            ),
            Self::NotTangent => entry(
                "not_tangent",
                400,
                "The vector is not tangent at its base point",
                "Project it onto the tangent space first.",
            ),
            Self::InvalidCoordinates => entry(
                "invalid_coordinates",
                400,
                "These coordinates do not exist in this geometry",
                "coordinates: spatial exists for hyperboloid alone; everything else takes ambient coordinates.",
            ),
            Self::InvalidMetadata => entry(
                "invalid_metadata",
                400,
                "The metadata cannot be stored",
                "Metadata is a JSON object of at most limits.metadata_bytes bytes.",
            ),
            Self::InvalidExpiry => entry(
                "invalid_expiry",
                400,
                "The time to live cannot be used",
                "Give ttl_ms from 0 (never) to limits.ttl_ms, or expires_at_ms in milliseconds since 1970, not both.",
            ),
            Self::EmptyBatch => entry(
                "empty_batch",
                400,
                "The request holds nothing to do",
                "Give at least one item.",
            ),
            Self::BatchTooLarge => entry(
                "batch_too_large",
                400,
                "The request holds too many items",
                "Split it; detail says the limit.",
            ),
            Self::AtomicTooLarge => entry(
                "atomic_too_large",
                400,
                "The batch is too large to be atomic",
                "Split it, or leave out atomic.",
            ),
            Self::InvalidOperation => {
                entry("invalid_operation", 400, "The operation contradicts itself", "See detail.")
            }
            Self::InvalidCondition => entry(
                "invalid_condition",
                400,
                "The condition cannot be used",
                "Give one of if_match (an etag of this API) and if_absent.",
            ),
            Self::ConditionFailed => entry(
                "condition_failed",
                412,
                "The condition does not hold",
                "Read the record again and repeat with its etag.",
            ),
            Self::IdempotencyConflict => entry(
                "idempotency_conflict",
                409,
                "The idempotency key was used for another request",
                "Use a new key for every new request, and the same one only to repeat it.",
            ),
            Self::InvalidIdempotencyKey => entry(
                "invalid_idempotency_key",
                400,
                "The idempotency key cannot be used",
                "Use 1 to 128 visible ASCII characters.",
            ),
            Self::DurabilityUnavailable => entry(
                "durability_unavailable",
                400,
                "This durability is not available here",
                "Use memory, buffered or sync; the others need mirrors, which this node does not have.",
            ),
            Self::MemoryFull => entry(
                "memory_full",
                507,
                "The records in memory take as much as they may",
                "Delete some of them, write with durability buffered, or raise writes.memory_bytes.",
            ),
            Self::InvalidK => entry(
                "invalid_k",
                400,
                "k is out of range",
                "Use at least 1 and at most limits.k; page through more with scroll.",
            ),
            Self::InvalidRadius => entry(
                "invalid_radius",
                400,
                "The radius cannot be used",
                "Use a finite radius of zero or more.",
            ),
            Self::InvalidEf => entry(
                "invalid_ef",
                400,
                "ef is out of range",
                "Use at least 1 and at most limits.ef.",
            ),
            Self::InvalidNprobe => entry(
                "invalid_nprobe",
                400,
                "nprobe is out of range",
                "Use at least 1 and at most limits.nprobe.",
            ),
            Self::MissingBound => {
                entry("missing_bound", 400, "The search has no bound", "Give k, radius, or both.")
            }
            Self::InvalidText => entry(
                "invalid_text",
                400,
                "The text cannot be searched for",
                "Give at least one word, and at most limits.text_bytes and limits.text_words.",
            ),
            Self::InvalidFusion => entry(
                "invalid_fusion",
                400,
                "The fusion cannot be used",
                "Give it beside vector and text, with weights above 0 and candidates from k to limits.k; see docs/hybrid.md.",
            ),
            Self::NoTextIndex => entry(
                "no_text_index",
                400,
                "The namespace has no index of text",
                "Change the type of its index to HYBRID, with its text_fields; see docs/hybrid.md.",
            ),
            Self::TextIndexBuilding => entry(
                "text_index_building",
                503,
                "The index of text is not complete",
                "Repeat later: it is being built from the records.",
            ),
            Self::InvalidFilter => entry(
                "invalid_filter",
                400,
                "The filter cannot be used",
                "A filter maps metadata fields (nested ones with dots) to a value, or to an object of operators such as {\"$gte\": 3}; see docs/filters.md.",
            ),
            Self::InvalidLimit => entry(
                "invalid_limit",
                400,
                "The page size is out of range",
                "Use at least 1 and at most limits.page.",
            ),
            Self::InvalidToken => entry(
                "invalid_token",
                400,
                "The page token cannot be used",
                "Pass on the token of the page before, with the same filter, or start again without one.",
            ),
            Self::HistoryGone => entry(
                "history_gone",
                410,
                "These changes are not there any more",
                "Ask for the position with since=now, read all records by a scroll or a checkpoint, then follow from that position. More history is kept by feed.entries and feed.bytes.",
            ),
            Self::SearchUnsupported => entry(
                "search_unsupported",
                400,
                "The search cannot be answered as asked",
                "See detail.",
            ),
            Self::ScanTooLarge => entry(
                "scan_too_large",
                400,
                "Too many records would have to be looked at one by one",
                "Leave out exact, filter by fields that are indexed (docs/filters.md), or raise limits.exact_vectors in the node's configuration; after a start, wait until metadata is indexed.",
            ),
            Self::UndefinedOperation => entry(
                "undefined_operation",
                400,
                "The geometry does not define this operation",
                "See docs/geometry.md for what exists in which geometry.",
            ),
            Self::NoGeodesic => entry(
                "no_geodesic",
                400,
                "No unique geodesic joins these points",
                "Antipodal points have many, and Lorentzian points beyond the antipode's light cone have none.",
            ),
            Self::OutOfDomain => entry(
                "out_of_domain",
                400,
                "The value lies outside the operation's domain",
                "See detail for the domain.",
            ),
            Self::NotConverged => entry(
                "not_converged",
                400,
                "The computation did not converge",
                "The points may have no unique mean; on a sphere they must lie within an open half.",
            ),
            Self::InvalidWeights => entry(
                "invalid_weights",
                400,
                "The weights cannot be used",
                "Give one finite weight of zero or more per item, not all zero.",
            ),
            Self::InvalidArgument => {
                entry("invalid_argument", 400, "An argument cannot be used", "See detail.")
            }
            Self::CheckpointNotFound => entry(
                "checkpoint_not_found",
                404,
                "There is no such checkpoint",
                "GET /v1/namespaces/{namespace}/checkpoints lists those of a namespace, GET /v1/checkpoints all of them.",
            ),
            Self::CheckpointConflict => entry(
                "checkpoint_conflict",
                409,
                "The checkpoint does not follow the one before it",
                "See detail; if another checkpoint was made at the same time, it has what this one would have.",
            ),
            Self::CheckpointDamaged => entry(
                "checkpoint_damaged",
                422,
                "The checkpoint is damaged",
                "Use another checkpoint; delete this one, and make a new one with kind: full. If the manifest is damaged, put its folder aside first.",
            ),
            Self::CheckpointStoreFailed => entry(
                "checkpoint_store_failed",
                502,
                "The place of the checkpoints cannot be read or written",
                "Check the URL, its credentials in the node's environment, and that it can be reached.",
            ),
            Self::InvalidCheckpointUrl => entry(
                "invalid_checkpoint_url",
                400,
                "The URL of the checkpoints cannot be used",
                "Use file://, s3://, gs:// or az:// below checkpoints.url, or set checkpoints.any_url to true.",
            ),
            Self::SeqUnavailable => entry(
                "seq_unavailable",
                409,
                "That state cannot be restored",
                "Choose one of the states that detail names.",
            ),
            Self::TaskNotFound => entry(
                "task_not_found",
                404,
                "There is no such task",
                "GET /v1/tasks lists them; tasks are forgotten when the node stops.",
            ),
            Self::RestoreUnavailable => entry(
                "restore_unavailable",
                409,
                "Nothing can be restored here",
                "Import the records instead: where nodes share the store of logs, each of them must be able to build its state from the log alone.",
            ),
            Self::TaskCancelled => entry(
                "task_cancelled",
                409,
                "The task was cancelled",
                "Nothing has changed; begin it again if it was not meant to end.",
            ),
            Self::TaskNotCancellable => entry(
                "task_not_cancellable",
                409,
                "The task cannot be cancelled",
                "Only running tasks of kind reindex can be; wait for its end.",
            ),
            Self::CapacityExceeded => entry(
                "capacity_exceeded",
                507,
                "The node holds as much as it may",
                "Delete records or namespaces, which is always possible, or raise the scale limit \
                 that is named; better, spread the namespaces over more nodes.",
            ),
            Self::RateExceeded => entry(
                "rate_exceeded",
                429,
                "The node is asked more often than it may be",
                "Repeat after the seconds in Retry-After; searches of a batch count one by one. Raise \
                 scale.queries_refuse or add nodes.",
            ),
            Self::Overloaded => entry(
                "overloaded",
                503,
                "The node has as much in flight as it may",
                "Repeat after the time in Retry-After.",
            ),
            Self::MemoryExhausted => entry(
                "memory_exhausted",
                503,
                "The node holds as much memory as it may",
                "Repeat after the time in Retry-After: namespaces that are idle make room. If it \
                 stays so, delete records or namespaces, raise memory.budget_bytes, or spread the \
                 namespaces over more nodes.",
            ),
            Self::NamespaceLoading => entry(
                "namespace_loading",
                503,
                "The namespace is being loaded",
                "Repeat after the time in Retry-After, or give the request a later deadline.",
            ),
            Self::ShuttingDown => entry(
                "shutting_down",
                503,
                "The node is shutting down",
                "Repeat at another node, or after the restart.",
            ),
            Self::NotReady => {
                entry("not_ready", 503, "The node is not ready", "Repeat when /readyz answers 200.")
            }
            Self::Standby => entry(
                "standby",
                503,
                "Another node leads",
                "Send it to the node that detail names, or repeat after the time in Retry-After: if that node fails, this one takes over.",
            ),
            Self::NotLeading => entry(
                "not_leading",
                503,
                "The node does not lead now",
                "Repeat after the time in Retry-After, here or at another node. Nothing was written.",
            ),
            Self::StoreUnavailable => entry(
                "store_unavailable",
                503,
                "The store of the logs does not answer",
                "Repeat after the time in Retry-After: writing goes on by itself when the store is back. Nothing was written.",
            ),
            Self::DeadlineExceeded => entry(
                "deadline_exceeded",
                504,
                "The deadline passed before the answer was ready",
                "Allow more time, or ask for less.",
            ),
            Self::OutcomeUnknown => entry(
                "outcome_unknown",
                503,
                "It is not known whether the write took place",
                "Repeat it with the same Idempotency-Key; it takes effect once.",
            ),
            Self::StorageFailed => entry(
                "storage_failed",
                500,
                "The storage failed",
                "The node's log tells more under the request id. Check its disk, then restart the node: a shard that has stopped writing stays so until then, and is read as before.",
            ),
            Self::Internal => entry(
                "internal",
                500,
                "The node failed",
                "The node's log tells more under the request id; please report it.",
            ),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text).ok_or(UnknownCode)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_distinct_parse_back_and_are_errors() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for &code in Code::ALL {
            assert_eq!(code.to_string().parse::<Code>().unwrap(), code);
            assert!((400..600).contains(&code.status()), "{code}");
            assert!(!code.title().ends_with('.') && code.help().ends_with('.'), "{code}");
        }
        assert!("no_such_code".parse::<Code>().is_err());
    }
}
