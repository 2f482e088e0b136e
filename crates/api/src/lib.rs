//! Wire types, problem errors and the OpenAPI description of the HVS HTTP API.
//!
//! Every type has one definition for JSON and MessagePack ([`Encoding`]). Requests refuse fields
//! that they do not know, so that a misspelt option is an error and not ignored; answers may gain
//! fields, so that an older client reads a newer node.

mod alter;
mod change;
mod checkpoint;
mod code;
mod codec;
mod facet;
mod feed;
mod fusion;
mod geometry;
mod health;
mod maintenance;
mod namespace;
mod object;
mod openapi;
mod payload;
mod problem;
mod recommend;
mod record;
mod search;
mod space;
mod vector;

pub use alter::{AlterIndex, AlterNamespace, AlterVector, AlteredNamespace};
pub use change::{ByFilterResponse, DeleteByFilter, PatchByFilter, PatchRecord};
pub use checkpoint::{
    CheckpointInfo, CheckpointKind, CheckpointList, CheckpointPlaces, CreateCheckpoint,
    DamagedCheckpoints, DeletedCheckpoint, RestoreRequest, TaskInfo, TaskKind, TaskList, TaskState,
};
pub use code::{Code, UnknownCode};
pub use codec::{DecodeError, EncodeError, Encoding, MAX_DEPTH, decode, encode};
pub use facet::{FacetValue, FacetsRequest, FacetsResponse};
pub use feed::{ChangeInfo, ChangeKind, ChangesQuery, ChangesResponse};
pub use fusion::{Fusion, FusionWeights, HitRanks};
pub use geometry::{
    ChooseRequest, ChooseResponse, CostIntervalRequest, CostOption, CostRequest, CostResponse,
    DistanceResponse, GeodesicRequest, InnerRequest, InnerResponse, IntervalResponse, MeanKind,
    MeanRequest, PairRequest, PointRequest, PointResponse, ScaleRequest, TangentRequest,
    TangentResponse, TransformRequest, TransportRequest, ValidateRequest, ValidateResponse,
};
pub use health::Health;
pub use maintenance::{MaintenanceDebt, MaintenanceInfo};
pub use namespace::{
    AliasInfo, AliasList, Compression, CreateNamespace, DeletedName, IndexSpec, IndexState,
    IndexType, NamespaceInfo, NamespaceList, Precision, Profile, Quantisation, SetAlias,
    StorageState, SwitchAliases, TextState, VectorInfo, VectorSpec,
};
pub use object::{StrictObject, StrictValue, UniqueMap};
pub use openapi::{Endpoint, endpoints, openapi, openapi_json};
pub use payload::{PayloadIndex, PayloadIndexing, PayloadState, PayloadType};
pub use problem::{ItemProblem, PROBLEM_JSON, PROBLEM_MESSAGE_PACK, Problem};
pub use recommend::{Example, RecommendRequest, RecommendResponse};
pub use record::{
    BatchOperation, BatchRequest, BatchResponse, Coordinates, CountRequest, CountResponse,
    DEFAULT_KIND, DeleteRecord, Durability, FetchRequest, FetchResponse, Filter, PutRecord,
    RecordInfo, ScrollRequest, ScrollResponse, WriteResult, WriteStatus,
};
pub use search::{
    BatchSearchRequest, BatchSearchResponse, Explain, Group, Hit, SearchRequest, SearchResponse,
    ShardExplain,
};
pub use space::{ComponentSpec, SpaceInfo, SpaceSpec};
pub use vector::Vector;

/// The header under which a write may be repeated without taking effect twice.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header of answers by a node that is near a limit of scale: each figure with how much is
/// used, and from where the node warns and refuses.
pub const NEAR_LIMIT: &str = "hvs-near-limit";
/// The header that carries the id of a request, given by the client or by the node.
pub const REQUEST_ID: &str = "x-request-id";
/// The header by which a client says how many milliseconds an answer is of use to it.
pub const DEADLINE_MS: &str = "x-deadline-ms";
