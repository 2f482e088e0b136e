//! Put, delete and batch.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    sync::Arc,
};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use hvs_api::{
    BatchOperation, BatchRequest, BatchResponse, Code, Coordinates, DeleteRecord, Durability,
    IDEMPOTENCY_KEY, Problem, PutRecord, Vector, WriteResult, WriteStatus,
};
use hvs_shard::{Condition, Etag, NewRecord, Operation, Vectors, WriteOutcome};
use serde::Deserialize;

use super::{
    App,
    body::{Params, Payload, QueryParams},
    call::Call,
    failure::Failure,
    labels::{checked_kind, checked_region, expiry},
    patches::routed_patch,
    points::{Reading, read_point},
    records::{check_id, check_partition_key},
};
use crate::{
    catalogue::{Namespace, Routed, WriteOptions, Written},
    config::Limits,
    durability,
};

/// How many bad items of a batch are told at once.
pub(super) const TOLD_ITEMS: usize = 100;
const IDEMPOTENCY_KEY_BYTES: usize = 128;

pub(super) async fn put_one(
    State(app): State<Arc<App>>,
    Params((namespace, id)): Params<(String, String)>,
    call: Call,
    headers: HeaderMap,
    payload: Payload<PutRecord>,
) -> Result<Response, Failure> {
    let namespace = app.catalogue.get(&namespace, call.deadline).await?;
    app.scale.admit_records()?;
    app.catalogue.memory().admit_records(payload.bytes())?;
    let mut put = payload.value;
    match put.id.take() {
        Some(given) if given != id => {
            let detail = "the id in the body is another than that in the path";
            return Err(Failure::new(Code::InvalidOperation, detail));
        }
        _ => {}
    }
    let conditions = Conditions::of(put.if_match.take(), put.if_absent.take());
    let condition = conditions.or_headers(&headers)?.condition()?;
    let options = WriteOptions {
        durability: wanted_durability(&namespace, put.durability)?,
        atomic: false,
        idempotency_key: idempotency_key(&headers)?,
    };
    let limits = &app.config.limits;
    let routed = routed_put(&namespace, limits, id.clone(), put, condition, Reading::default())?;
    call.check_deadline()?;
    let outcomes = namespace.write(vec![routed], options).await?;
    single(&call, id, outcomes)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteQuery {
    partition_key: Option<String>,
    durability: Option<Durability>,
}

pub(super) async fn delete_one(
    State(app): State<Arc<App>>,
    Params((namespace, id)): Params<(String, String)>,
    QueryParams(query): QueryParams<DeleteQuery>,
    call: Call,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let namespace = app.catalogue.get(&namespace, call.deadline).await?;
    let conditions = Conditions::default().or_headers(&headers)?;
    if conditions.if_absent {
        let detail = "a delete cannot ask for the record to be absent";
        return Err(Failure::new(Code::InvalidCondition, detail));
    }
    let options = WriteOptions {
        durability: wanted_durability(&namespace, query.durability)?,
        atomic: false,
        idempotency_key: idempotency_key(&headers)?,
    };
    let delete =
        DeleteRecord { id: id.clone(), partition_key: query.partition_key, if_match: None };
    let routed = routed_delete(&app.config.limits, delete, conditions.condition()?)?;
    call.check_deadline()?;
    let outcomes = namespace.write(vec![routed], options).await?;
    single(&call, id, outcomes)
}

pub(super) async fn empty_id() -> Failure {
    Failure::new(Code::InvalidId, "the id is empty")
}

pub(super) async fn batch(
    State(app): State<Arc<App>>,
    Params(namespace): Params<String>,
    call: Call,
    headers: HeaderMap,
    payload: Payload<BatchRequest>,
) -> Result<Response, Failure> {
    let namespace = app.catalogue.get(&namespace, call.deadline).await?;
    let bytes = payload.bytes();
    let request = payload.value;
    let limits = &app.config.limits;
    check_count(request.operations.len(), limits.batch_operations)?;
    if request.operations.iter().any(|operation| !matches!(operation, BatchOperation::Delete(_))) {
        app.scale.admit_records()?;
        app.catalogue.memory().admit_records(bytes)?;
    }
    let options = WriteOptions {
        durability: wanted_durability(&namespace, request.durability)?,
        atomic: request.atomic.unwrap_or_default(),
        idempotency_key: idempotency_key(&headers)?,
    };
    let reading = Reading {
        coordinates: request.coordinates.unwrap_or_default(),
        project: request.project.unwrap_or_default(),
    };
    let (ids, operations) = read_operations(&namespace, limits, request.operations, reading)?;
    let atomic = options.atomic;
    call.check_deadline()?;
    let outcomes = namespace.write(operations, options).await?;
    let results: Vec<_> =
        ids.into_iter().zip(&outcomes).map(|(id, written)| result(id, written)).collect();
    let failed = results.iter().filter(|result| has_failed(result)).count();
    let undone = results.iter().any(|result| result.status == WriteStatus::NotApplied);
    if atomic && (failed > 0 || undone) {
        return Err(atomic_failure(&results, &outcomes).into());
    }
    call.reply(&BatchResponse { results, failed: failed as u64 })
}

/// Refuses counts of 0 and beyond `limit`.
pub(super) fn check_count(count: usize, limit: usize) -> Result<(), Failure> {
    if count == 0 {
        return Err(Failure::new(Code::EmptyBatch, "the request has no items"));
    }
    if count > limit {
        let detail = format!("the request has {count} items, at most {limit} are allowed");
        return Err(Failure::new(Code::BatchTooLarge, detail).with("limit", limit));
    }
    Ok(())
}

/// The operations with their ids, each given and none twice.
fn read_operations(
    namespace: &Namespace,
    limits: &Limits,
    operations: Vec<BatchOperation>,
    reading: Reading,
) -> Result<(Vec<String>, Vec<Routed>), Failure> {
    let mut ids = Vec::with_capacity(operations.len());
    let mut seen = HashSet::with_capacity(operations.len());
    let mut routed = Vec::with_capacity(operations.len());
    let mut errors = Vec::new();
    for (index, operation) in operations.into_iter().enumerate() {
        if errors.len() >= TOLD_ITEMS {
            break;
        }
        let id = match &operation {
            BatchOperation::Put(put) => put.id.clone(),
            BatchOperation::Delete(delete) => Some(delete.id.clone()),
            BatchOperation::Patch(patch) => patch.id.clone(),
        };
        let Some(id) = id else {
            errors.push(Problem::new(Code::InvalidId, "the operation has no id").at(index, None));
            continue;
        };
        if !seen.insert(id.clone()) {
            let detail = "an operation before this one has the same id";
            errors.push(Problem::new(Code::DuplicateId, detail).at(index, Some(&id)));
            continue;
        }
        match read_operation(namespace, limits, operation, &id, reading) {
            Ok(operation) => routed.push(operation),
            Err(failure) => errors.push(failure.problem.at(index, Some(&id))),
        }
        ids.push(id);
    }
    refuse_if_any(errors, "nothing was changed")?;
    Ok((ids, routed))
}

fn read_operation(
    namespace: &Namespace,
    limits: &Limits,
    operation: BatchOperation,
    id: &str,
    reading: Reading,
) -> Result<Routed, Failure> {
    match operation {
        BatchOperation::Put(mut put) => {
            if put.durability.is_some() {
                let detail = "durability belongs to the batch, not to its operations";
                return Err(Failure::new(Code::InvalidOperation, detail));
            }
            let conditions = Conditions::of(put.if_match.take(), put.if_absent.take());
            routed_put(namespace, limits, id.to_owned(), put, conditions.condition()?, reading)
        }
        BatchOperation::Delete(mut delete) => {
            let conditions = Conditions::of(delete.if_match.take(), None);
            routed_delete(limits, delete, conditions.condition()?)
        }
        BatchOperation::Patch(mut patch) => {
            if patch.durability.is_some() {
                let detail = "durability belongs to the batch, not to its operations";
                return Err(Failure::new(Code::InvalidOperation, detail));
            }
            let conditions = Conditions::of(patch.if_match.take(), None);
            let condition = conditions.condition()?;
            routed_patch(namespace, limits, id.to_owned(), patch, condition, reading)
        }
    }
}

/// The first bad item gives the problem its code; all are listed.
pub(super) fn refuse_if_any(
    errors: Vec<hvs_api::ItemProblem>,
    outcome: &str,
) -> Result<(), Failure> {
    let Some(first) = errors.first() else { return Ok(()) };
    let code = first.code.parse().unwrap_or(Code::InvalidOperation);
    let detail = format!(
        "{outcome}, because {} of the items cannot be used; the first is item {}: {}",
        errors.len(),
        first.index,
        first.detail
    );
    let mut problem = Problem::new(code, detail).with("index", first.index);
    problem.errors = errors;
    Err(problem.into())
}

fn routed_put(
    namespace: &Namespace,
    limits: &Limits,
    id: String,
    put: PutRecord,
    condition: Option<Condition>,
    defaults: Reading,
) -> Result<Routed, Failure> {
    check_id(&id, limits)?;
    check_partition_key(put.partition_key.as_deref(), limits)?;
    let reading = Reading {
        coordinates: put.coordinates.unwrap_or(defaults.coordinates),
        project: put.project.unwrap_or(defaults.project),
    };
    let vectors = read_vectors(namespace, put.vector, put.vectors, reading)?;
    if vectors.is_empty() {
        return Err(Failure::new(Code::MissingVector, "the record has no vector"));
    }
    let metadata = put.metadata.unwrap_or_default();
    check_metadata(&metadata, limits.metadata_bytes)?;
    let record = NewRecord {
        id,
        partition_key: put.partition_key.clone(),
        vectors,
        metadata,
        region: checked_region(put.region, limits)?,
        kind: checked_kind(put.kind, limits)?,
        expiry: expiry(put.ttl_ms, put.expires_at_ms, limits)?
            .unwrap_or_else(|| namespace.default_expiry()),
    };
    Ok(Routed { partition_key: put.partition_key, operation: Operation::Put { record, condition } })
}

/// The vectors of a request, by name.
pub(super) fn read_vectors(
    namespace: &Namespace,
    default: Option<Vector>,
    named: Option<BTreeMap<String, Vector>>,
    reading: Reading,
) -> Result<Vectors, Failure> {
    let mut given = named.unwrap_or_default();
    if let Some(vector) = default
        && given.insert(String::new(), vector).is_some()
    {
        let detail = "vector and vectors both hold the default vector";
        return Err(Failure::new(Code::InvalidOperation, detail));
    }
    let read = |(name, vector): (String, Vector)| {
        let point = read_named(namespace, &name, vector.0, reading)?;
        Ok((name, point))
    };
    given.into_iter().map(read).collect()
}

fn read_named(
    namespace: &Namespace,
    name: &str,
    coordinates: Vec<f64>,
    reading: Reading,
) -> Result<Vec<f64>, Failure> {
    let vector = named_vector(namespace, name)?;
    read_point(&vector.space, vector.precision, coordinates, reading).map_err(|mut failure| {
        if !name.is_empty() {
            failure.problem.detail = format!("vector {name:?}: {}", failure.problem.detail);
        }
        failure
    })
}

/// A vector of the namespace by its name.
pub(super) fn named_vector<'a>(
    namespace: &'a Namespace,
    name: &str,
) -> Result<&'a crate::catalogue::VectorSpace, Failure> {
    namespace.vectors.get(name).ok_or_else(|| {
        let shown: String = name.chars().take(128).collect();
        let known: Vec<_> = namespace.vectors.keys().collect();
        let detail = format!("there is no vector {shown:?} here; there are {known:?}");
        Failure::new(Code::UnknownVectorName, detail)
    })
}

fn routed_delete(
    limits: &Limits,
    delete: DeleteRecord,
    condition: Option<Condition>,
) -> Result<Routed, Failure> {
    check_id(&delete.id, limits)?;
    check_partition_key(delete.partition_key.as_deref(), limits)?;
    Ok(Routed {
        partition_key: delete.partition_key,
        operation: Operation::Delete { id: delete.id, condition },
    })
}

/// Counts what is written to it.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn check_metadata(metadata: &hvs_shard::Metadata, limit: usize) -> Result<(), Failure> {
    if metadata.is_empty() {
        return Ok(());
    }
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, metadata)
        .map_err(|error| Failure::new(Code::InvalidMetadata, error.to_string()))?;
    if counter.0 > limit {
        let detail = format!("the metadata has {} bytes, at most {limit} are allowed", counter.0);
        return Err(Failure::new(Code::InvalidMetadata, detail).with("limit", limit));
    }
    Ok(())
}

/// What the request asks for, or else the namespace.
pub(super) fn wanted_durability(
    namespace: &Namespace,
    asked: Option<Durability>,
) -> Result<hvs_shard::Durability, Failure> {
    let wanted = asked.unwrap_or(namespace.durability);
    durability::of_shard(wanted)
        .ok_or_else(|| Failure::new(Code::DurabilityUnavailable, durability::unavailable(wanted)))
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| {
        (1..=IDEMPOTENCY_KEY_BYTES).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_graphic())
    });
    match key {
        Some(key) => Ok(Some(key.to_owned())),
        None => Err(Failure::new(
            Code::InvalidIdempotencyKey,
            format!(
                "the idempotency key is not 1 to {IDEMPOTENCY_KEY_BYTES} visible ASCII characters"
            ),
        )),
    }
}

/// The conditions of an operation, from its fields and from headers.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    if_match: Option<String>,
    if_absent: bool,
}

impl Conditions {
    pub(super) fn of(if_match: Option<String>, if_absent: Option<bool>) -> Self {
        Self { if_match, if_absent: if_absent.unwrap_or_default() }
    }

    pub(super) fn or_headers(mut self, headers: &HeaderMap) -> Result<Self, Failure> {
        let refuse = |detail: &str| Failure::new(Code::InvalidCondition, detail);
        if let Some(value) = headers.get(header::IF_MATCH) {
            let text = value.to_str().map_err(|_| refuse("If-Match is not ASCII text"))?;
            let etag = unquoted(text).to_owned();
            if self.if_match.as_ref().is_some_and(|before| *before != etag) {
                return Err(refuse("If-Match and if_match name different etags"));
            }
            self.if_match = Some(etag);
        }
        if let Some(value) = headers.get(header::IF_NONE_MATCH) {
            if value.as_bytes().trim_ascii() != b"*" {
                return Err(refuse("If-None-Match takes only *"));
            }
            self.if_absent = true;
        }
        Ok(self)
    }

    pub(super) fn condition(self) -> Result<Option<Condition>, Failure> {
        match (self.if_match, self.if_absent) {
            (Some(_), true) => Err(Failure::new(
                Code::InvalidCondition,
                "if_match and if_absent exclude each other",
            )),
            (Some(text), false) => {
                let etag: Etag = text.parse()?;
                Ok(Some(Condition::IfMatch(etag)))
            }
            (None, true) => Ok(Some(Condition::IfAbsent)),
            (None, false) => Ok(None),
        }
    }
}

/// In headers an etag stands in quotes; without them it is understood as well.
fn unquoted(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

fn result(id: String, written: &Written) -> WriteResult {
    let (status, version, etag) = match written.outcome {
        WriteOutcome::Put { etag, version, created, .. } => {
            let status = if created { WriteStatus::Created } else { WriteStatus::Updated };
            (status, Some(version), Some(etag))
        }
        WriteOutcome::Deleted { etag, version, .. } => {
            (WriteStatus::Deleted, Some(version), Some(etag))
        }
        WriteOutcome::NotFound => (WriteStatus::NotFound, None, None),
        WriteOutcome::ConditionFailed { current } => (WriteStatus::ConditionFailed, None, current),
        WriteOutcome::NotApplied => (WriteStatus::NotApplied, None, None),
        WriteOutcome::TooLarge { .. } => (WriteStatus::TooLarge, None, None),
    };
    let durability = version.map(|_| durability::of_api(written.durability));
    WriteResult { id, status, version, etag: etag.map(|etag| etag.to_string()), durability }
}

fn has_failed(result: &WriteResult) -> bool {
    matches!(result.status, WriteStatus::ConditionFailed | WriteStatus::TooLarge)
}

pub(super) fn single(call: &Call, id: String, outcomes: Vec<Written>) -> Result<Response, Failure> {
    let Some(outcome) = outcomes.into_iter().next() else {
        return Err(Failure::internal(Code::Internal, "a write without an outcome"));
    };
    let result = result(id, &outcome);
    if let Some(problem) = problem(&result, &outcome.outcome) {
        return Err(problem.into());
    }
    let mut response = call.reply(&result)?;
    if result.status == WriteStatus::Created {
        *response.status_mut() = StatusCode::CREATED;
    }
    add_etag(&mut response, result.etag.as_deref());
    Ok(response)
}

/// Repeats an etag as a header, in quotes as the header has it.
pub(super) fn add_etag(response: &mut Response, etag: Option<&str>) {
    let value = etag.and_then(|etag| HeaderValue::from_str(&format!("\"{etag}\"")).ok());
    if let Some(value) = value {
        response.headers_mut().insert(header::ETAG, value);
    }
}

/// Why an operation changed nothing, unless that is another's fault.
fn problem(result: &WriteResult, outcome: &WriteOutcome) -> Option<Problem> {
    let id = &result.id;
    match (outcome, &result.etag) {
        (WriteOutcome::ConditionFailed { .. }, Some(etag)) => {
            let detail = format!("the record {id:?} has the etag {etag}");
            Some(Problem::new(Code::ConditionFailed, detail).with("etag", etag.clone()))
        }
        (WriteOutcome::ConditionFailed { .. }, None) => {
            Some(Problem::new(Code::ConditionFailed, format!("there is no record {id:?}")))
        }
        (WriteOutcome::NotFound, _) => {
            Some(Problem::new(Code::VectorNotFound, format!("there is no record {id:?}")))
        }
        (WriteOutcome::TooLarge { bytes, limit }, _) => {
            let detail = format!(
                "the record {id:?} would have {bytes} bytes after the patch, at most {limit} are allowed"
            );
            Some(Problem::new(Code::InvalidMetadata, detail).with("limit", *limit))
        }
        _ => None,
    }
}

fn atomic_failure(results: &[WriteResult], outcomes: &[Written]) -> Problem {
    let problems =
        results.iter().zip(outcomes).enumerate().filter_map(|(index, (result, outcome))| {
            problem(result, &outcome.outcome).map(|problem| problem.at(index, Some(&result.id)))
        });
    let errors: Vec<_> = problems.collect();
    let detail = format!(
        "nothing was changed, because {} operations cannot be carried out, or their conditions do not hold",
        errors.len()
    );
    let code = errors.first().and_then(|first| first.code.parse().ok());
    let mut problem = Problem::new(code.unwrap_or(Code::ConditionFailed), detail);
    problem.errors = errors;
    problem
}

/// The coordinates that a request says, for searches as for puts.
pub(super) fn reading(coordinates: Option<Coordinates>, project: Option<bool>) -> Reading {
    Reading { coordinates: coordinates.unwrap_or_default(), project: project.unwrap_or_default() }
}
