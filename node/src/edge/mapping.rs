//! Which code each error of the layers below becomes.

use hvs_api::{Code, Problem};
use hvs_checkpoint::{ChainError, StoreError};
use hvs_geometry::{
    DistanceError, IntervalError, MapError, MeanError, PointError, SpaceError, TangentError,
    TransformError,
};
use hvs_shard::{EtagError, InvalidRecord, ReadError, WriteError};

use super::failure::Failure;
use crate::catalogue::{
    CatalogueError, Limited, LoadError, NameError, Passing, RebuildError, RoutedWriteError,
    SettingsError,
};
use crate::checkpoints::CheckpointError;
use crate::memory::Exhausted;
use crate::scale::{Exceeded, Figure};
use crate::workers::WorkError;

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self::new(Code::InvalidName, error.to_string())
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        let code = match &error {
            SettingsError::UnknownGeometry(_) | SettingsError::NoGeometry => Code::UnknownGeometry,
            SettingsError::Space(space) => space_code(space),
            SettingsError::Unordered
            | SettingsError::Both { .. }
            | SettingsError::Limit { what: Limited::Components, .. } => Code::InvalidComponents,
            SettingsError::NoDimension { .. }
            | SettingsError::Limit { what: Limited::Dimension, .. } => Code::InvalidDimension,
            SettingsError::Limit { what: Limited::NamedVectors, .. } => Code::TooManyNamedVectors,
            SettingsError::Limit { what: Limited::Shards, .. } | SettingsError::NoShards => {
                Code::InvalidShards
            }
            SettingsError::Durability(_) => Code::DurabilityUnavailable,
            SettingsError::Index { .. } => Code::InvalidIndex,
            SettingsError::Payload { .. } => Code::InvalidPayloadIndex,
            SettingsError::Ttl { .. } => Code::InvalidExpiry,
            SettingsError::VectorName { .. } => Code::InvalidName,
            SettingsError::UnknownVector { .. } => Code::UnknownVectorName,
        };
        Self::new(code, error.to_string())
    }
}

fn space_code(error: &SpaceError) -> Code {
    match error {
        SpaceError::Dimension { .. } => Code::InvalidDimension,
        SpaceError::Curvature { .. } => Code::InvalidCurvature,
        _ => Code::InvalidComponents,
    }
}

impl From<Exhausted> for Failure {
    fn from(error: Exhausted) -> Self {
        Self::new(Code::MemoryExhausted, error.to_string())
            .with("limit", error.budget)
            .with("used", error.held)
    }
}

impl From<CatalogueError> for Failure {
    fn from(error: CatalogueError) -> Self {
        if let Some(passing) = error.passing() {
            let (code, detail) = match passing {
                Passing::Store => (Code::StoreUnavailable, "the store of the logs does not answer"),
                Passing::Leading => (Code::NotLeading, "this node does not lead the shard now"),
            };
            return Self { cause: Some(error.to_string()), ..Self::new(code, detail) };
        }
        let code = match error {
            CatalogueError::Name(error) => return error.into(),
            CatalogueError::Settings(error) => return error.into(),
            CatalogueError::Write(error) => return error.into(),
            CatalogueError::Read(error) => return (*error).into(),
            CatalogueError::NamespaceNotFound { .. } => Code::NamespaceNotFound,
            CatalogueError::NamespaceExists { .. } => Code::NamespaceExists,
            CatalogueError::AliasNotFound { .. } => Code::AliasNotFound,
            CatalogueError::NameTaken { .. } | CatalogueError::IsAlias { .. } => Code::NameTaken,
            CatalogueError::Busy { .. } | CatalogueError::Altering { .. } => Code::NamespaceBusy,
            CatalogueError::Full { .. } => Code::LimitReached,
            CatalogueError::Loading { .. } => Code::NamespaceLoading,
            CatalogueError::Load { source: LoadError::Memory(error), .. } => return error.into(),
            CatalogueError::RestoreUnavailable => Code::RestoreUnavailable,
            CatalogueError::Closed => Code::ShuttingDown,
            other => return Self::internal(Code::StorageFailed, other),
        };
        Self::new(code, error.to_string())
    }
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        let code = match &error {
            CheckpointError::Store(source) | CheckpointError::Chain(ChainError::Store(source)) => {
                return store_failure(source);
            }
            CheckpointError::ElsewhereUrl { .. } => Code::InvalidCheckpointUrl,
            CheckpointError::Source | CheckpointError::Ambiguous { .. } => Code::InvalidArgument,
            CheckpointError::NotFound { .. } | CheckpointError::NoCheckpoints { .. } => {
                Code::CheckpointNotFound
            }
            CheckpointError::Full { .. } => Code::LimitReached,
            CheckpointError::Add(_)
            | CheckpointError::SameState { .. }
            | CheckpointError::Conflict
            | CheckpointError::OtherNamespace { .. } => Code::CheckpointConflict,
            CheckpointError::Chain(_)
            | CheckpointError::State { .. }
            | CheckpointError::Digest { .. }
            | CheckpointError::OtherSeq { .. }
            | CheckpointError::Settings(_) => Code::CheckpointDamaged,
            CheckpointError::Seqs(_) => Code::SeqUnavailable,
            CheckpointError::Busy { .. } => Code::Overloaded,
            CheckpointError::TaskNotFound { .. } => Code::TaskNotFound,
            CheckpointError::NotCancellable { .. } => Code::TaskNotCancellable,
            CheckpointError::Rebuild(RebuildError::Cancelled) => Code::TaskCancelled,
            CheckpointError::Rebuild(RebuildError::Catalogue(_)) => match error {
                CheckpointError::Rebuild(RebuildError::Catalogue(error)) => return error.into(),
                other => return Self::internal(Code::Internal, other),
            },
            CheckpointError::Stopping => Code::ShuttingDown,
            CheckpointError::Rebuild(_)
            | CheckpointError::Write(_)
            | CheckpointError::Read(_)
            | CheckpointError::Restore { .. }
            | CheckpointError::Log { .. } => return Self::internal(Code::StorageFailed, error),
            CheckpointError::Thread(_) | CheckpointError::Lost => {
                return Self::internal(Code::Internal, error);
            }
            CheckpointError::Catalogue(_) => match error {
                CheckpointError::Catalogue(error) => return error.into(),
                other => return Self::internal(Code::Internal, other),
            },
        };
        Self::new(code, error.to_string())
    }
}

/// Whether something failed, in the end, because a disk is full.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::StorageFull)
}

fn store_failure(error: &StoreError) -> Failure {
    let code = match error {
        StoreError::Url { .. } => Code::InvalidCheckpointUrl,
        StoreError::Io { .. } => {
            // What an object store says may hold more than a client should know.
            let mut failure = Failure::internal(Code::CheckpointStoreFailed, error);
            failure.problem.detail = match error {
                StoreError::Io { what, name, source } if is_full(source.as_ref()) => {
                    format!("cannot {what} {name}: no space is left there")
                }
                StoreError::Io { what, name, .. } => format!("cannot {what} {name}"),
                other => other.to_string(),
            };
            return failure;
        }
        _ => Code::CheckpointDamaged,
    };
    Failure::new(code, error.to_string())
}

impl From<RoutedWriteError> for Failure {
    fn from(error: RoutedWriteError) -> Self {
        match error {
            RoutedWriteError::Shard(error) => error.into(),
            RoutedWriteError::Partial { applied, source } => {
                let mut failure = Self::from(source);
                let detail = &failure.problem.detail;
                failure.problem.detail = format!(
                    "{detail}; {} operations of the request, which belong to other shards, took effect",
                    applied.len()
                );
                failure.with("applied", applied)
            }
            RoutedWriteError::AtomicAcrossShards { .. } => {
                Self::new(Code::AtomicTooLarge, error.to_string())
            }
            other => Self::internal(Code::Internal, other),
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        let code = match &error {
            WriteError::Overloaded { .. } => Code::Overloaded,
            WriteError::Invalid { index, source } => {
                let mut problem = Problem::new(record_code(source), error.to_string());
                problem
                    .errors
                    .push(Problem::new(record_code(source), source.to_string()).at(*index, None));
                return problem.into();
            }
            WriteError::MemoryFull { bytes, needed, limit } => {
                return Self::new(Code::MemoryFull, error.to_string())
                    .with("bytes", *bytes)
                    .with("needed", *needed)
                    .with("limit", *limit);
            }
            WriteError::Empty => Code::EmptyBatch,
            WriteError::TooMany { .. } => Code::BatchTooLarge,
            WriteError::TooLarge { .. } => Code::BodyTooLarge,
            WriteError::AtomicTooLarge { .. } => Code::AtomicTooLarge,
            WriteError::InvalidIdempotencyKey { .. } => Code::InvalidIdempotencyKey,
            WriteError::IdempotencyMismatch { .. } => Code::IdempotencyConflict,
            WriteError::Closed => Code::ShuttingDown,
            WriteError::SteppedDown { .. } => {
                let detail = "another node leads by now; nothing was written";
                let cause = Some(error.to_string());
                return Self { cause, ..Self::new(Code::NotLeading, detail) };
            }
            WriteError::Unavailable { .. } => {
                let detail = "the store of the logs does not answer; nothing was written";
                let cause = Some(error.to_string());
                return Self { cause, ..Self::new(Code::StoreUnavailable, detail) };
            }
            WriteError::Unknown { .. } => {
                let detail = "the store of the logs did not answer while the write was in progress";
                let cause = Some(error.to_string());
                return Self { cause, ..Self::new(Code::OutcomeUnknown, detail) };
            }
            WriteError::Stopped { .. } | WriteError::Unreadable { .. } => {
                return Self::internal(Code::StorageFailed, error);
            }
            WriteError::Wedged { .. } => return Self::internal(Code::OutcomeUnknown, error),
            _ => return Self::internal(Code::Internal, error),
        };
        Self::new(code, error.to_string())
    }
}

fn record_code(error: &InvalidRecord) -> Code {
    match error {
        InvalidRecord::UnknownVector { .. } => Code::UnknownVectorName,
        InvalidRecord::Point { source, .. } => point_code(source),
        InvalidRecord::Metadata { .. } => Code::InvalidMetadata,
        InvalidRecord::TooLong { what: "partition key", .. }
        | InvalidRecord::ControlCharacter { what: "partition key", .. }
        | InvalidRecord::Empty { what: "partition key" } => Code::InvalidPartitionKey,
        InvalidRecord::TooLong { what: "region" | "kind", .. }
        | InvalidRecord::ControlCharacter { what: "region" | "kind", .. }
        | InvalidRecord::Empty { what: "region" | "kind" } => Code::InvalidLabel,
        _ => Code::InvalidId,
    }
}

impl From<InvalidRecord> for Failure {
    fn from(error: InvalidRecord) -> Self {
        Self::new(record_code(&error), error.to_string())
    }
}

impl From<EtagError> for Failure {
    fn from(error: EtagError) -> Self {
        Self::new(Code::InvalidCondition, error.to_string())
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let code = match &error {
            ReadError::UnknownVector { .. } => Code::UnknownVectorName,
            ReadError::InvalidK { .. } => Code::InvalidK,
            ReadError::InvalidLimit { .. } => Code::InvalidLimit,
            ReadError::InvalidQuery { source } => point_code(source),
            ReadError::DeadlineExceeded { .. } => Code::DeadlineExceeded,
            ReadError::AnswerTooLarge { .. } => Code::AnswerTooLarge,
            ReadError::NoText => Code::NoTextIndex,
            ReadError::TextBuilding => Code::TextIndexBuilding,
            ReadError::TooManyToScan { limit, .. } => {
                let limit = *limit;
                return Self::new(Code::ScanTooLarge, error.to_string()).with("limit", limit);
            }
            _ => return Self::internal(Code::StorageFailed, error),
        };
        Self::new(code, error.to_string())
    }
}

impl From<PointError> for Failure {
    fn from(error: PointError) -> Self {
        let problem = Problem::new(point_code(&error), error.to_string());
        point_context(problem, &error).into()
    }
}

fn point_code(error: &PointError) -> Code {
    match error {
        PointError::WrongLength { .. } => Code::DimensionMismatch,
        PointError::NonFinite { .. } => Code::NotFinite,
        PointError::BeyondPrecision { .. } => Code::PrecisionExceeded,
        PointError::InComponent { source, .. } => point_code(source),
        _ => Code::OffManifold,
    }
}

/// The numbers of the message, for programs.
fn point_context(problem: Problem, error: &PointError) -> Problem {
    match error {
        PointError::WrongLength { found, dimension, ambient, .. } => problem
            .with("coordinates", *found)
            .with("intrinsic", *dimension)
            .with("ambient", *ambient),
        PointError::NonFinite { index, .. } => problem.with("index", *index),
        PointError::OffManifold { found, expected, off, tolerance, .. } => problem
            .with("found", *found)
            .with("expected", *expected)
            .with("off", *off)
            .with("tolerance", *tolerance),
        PointError::OutsideBall { norm, bound, .. } => {
            problem.with("norm", *norm).with("bound", *bound)
        }
        PointError::BeyondPrecision { radius, limit, .. } => {
            problem.with("radius", *radius).with("limit", *limit)
        }
        PointError::InComponent { component, source, .. } => {
            point_context(problem.with("component", *component), source)
        }
        _ => problem,
    }
}

/// The problem of a point that is one argument among several: its own code, and which it is.
fn argument(source: PointError, message: String) -> Failure {
    let mut failure = Failure::from(source);
    failure.problem.detail = message;
    failure
}

impl From<DistanceError> for Failure {
    fn from(error: DistanceError) -> Self {
        let message = error.to_string();
        match error {
            DistanceError::First(source) | DistanceError::Second(source) => {
                argument(source, message)
            }
            _ => Self::new(Code::UndefinedOperation, message),
        }
    }
}

impl From<IntervalError> for Failure {
    fn from(error: IntervalError) -> Self {
        let message = error.to_string();
        match error {
            IntervalError::First(source) | IntervalError::Second(source) => {
                argument(source, message)
            }
            _ => Self::new(Code::UndefinedOperation, message),
        }
    }
}

impl From<MapError> for Failure {
    fn from(error: MapError) -> Self {
        let message = error.to_string();
        let code = match error {
            MapError::First(source) | MapError::Second(source) => {
                return argument(source, message);
            }
            MapError::Tangent(source) => tangent_code(&source),
            MapError::Antipodal { .. } | MapError::NoGeodesic { .. } => Code::NoGeodesic,
            MapError::Share { .. } => Code::InvalidArgument,
            MapError::Result(_) => Code::OutOfDomain,
            _ => Code::UndefinedOperation,
        };
        Self::new(code, message)
    }
}

fn tangent_code(error: &TangentError) -> Code {
    match error {
        TangentError::WrongLength { .. } => Code::DimensionMismatch,
        TangentError::NonFinite { .. } => Code::NotFinite,
        _ => Code::NotTangent,
    }
}

impl From<MeanError> for Failure {
    fn from(error: MeanError) -> Self {
        let message = error.to_string();
        let code = match error {
            MeanError::Point { source, .. } => return argument(source, message),
            MeanError::NoPoints => Code::EmptyBatch,
            MeanError::WeightCount { .. }
            | MeanError::Weight { .. }
            | MeanError::WeightSum { .. } => Code::InvalidWeights,
            MeanError::NotMetric { .. } | MeanError::NotHyperbolic { .. } => {
                Code::UndefinedOperation
            }
            _ => Code::NotConverged,
        };
        Self::new(code, message)
    }
}

impl From<TransformError> for Failure {
    fn from(error: TransformError) -> Self {
        let message = error.to_string();
        let code = match error {
            TransformError::Source(source) => return argument(source, message),
            TransformError::Dimension { .. } => Code::InvalidDimension,
            TransformError::Unreachable(_) => Code::NoGeodesic,
            _ => Code::OutOfDomain,
        };
        Self::new(code, message)
    }
}

impl From<Exceeded> for Failure {
    fn from(error: Exceeded) -> Self {
        let code = match error.figure {
            Figure::Vectors | Figure::StorageBytes => Code::CapacityExceeded,
            Figure::Queries => Code::RateExceeded,
            Figure::Memory => Code::MemoryExhausted,
            Figure::Dimension => Code::InvalidDimension,
        };
        let failure = Self::new(code, error.to_string());
        failure.with("used", error.used).with("limit", error.limit)
    }
}

impl From<WorkError> for Failure {
    fn from(error: WorkError) -> Self {
        let code = match error {
            WorkError::QueueFull { .. } => Code::Overloaded,
            WorkError::Deadline => Code::DeadlineExceeded,
            WorkError::Lost => return Self::internal(Code::Internal, error),
        };
        Self::new(code, error.to_string())
    }
}
