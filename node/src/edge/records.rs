//! Reading records: get, fetch and count.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use axum::{extract::State, response::Response};
use hvs_api::{Code, CountRequest, CountResponse, FetchRequest, FetchResponse, RecordInfo, Vector};
use hvs_shard::{ReadError, Record, Shard};
use serde::Deserialize;

use super::{
    App,
    body::{Params, Payload, QueryParams},
    call::Call,
    failure::Failure,
    filter::read_filter,
    writes::{add_etag, check_count},
};
use crate::{catalogue::Namespace, config::Limits};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GetQuery {
    partition_key: Option<String>,
}

/// Which parts of a record an answer carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub(super) vectors: bool,
    pub(super) metadata: bool,
}

impl Parts {
    pub(super) const ALL: Self = Self { vectors: true, metadata: true };

    /// Everything, except what a request leaves out.
    pub(super) fn unless_left_out(vectors: Option<bool>, metadata: Option<bool>) -> Self {
        Self { vectors: vectors.unwrap_or(true), metadata: metadata.unwrap_or(true) }
    }
}

pub(super) async fn get_one(
    State(app): State<Arc<App>>,
    Params((namespace, id)): Params<(String, String)>,
    QueryParams(query): QueryParams<GetQuery>,
    call: Call,
) -> Result<Response, Failure> {
    let namespace = app.catalogue.get(&namespace, call.deadline).await?;
    check_id(&id, &app.config.limits)?;
    check_partition_key(query.partition_key.as_deref(), &app.config.limits)?;
    let shard = shard_of(&namespace, query.partition_key.as_deref().unwrap_or(&id))?;
    let record = shard.get(&id)?.filter(|record| has_key(record, query.partition_key.as_deref()));
    let Some(record) = record else {
        let detail = format!("there is no record {id:?}");
        return Err(Failure::new(Code::VectorNotFound, detail));
    };
    let info = record_info(record, Parts::ALL);
    let mut response = call.reply(&info)?;
    add_etag(&mut response, Some(&info.etag));
    Ok(response)
}

pub(super) async fn fetch(
    State(app): State<Arc<App>>,
    Params(namespace): Params<String>,
    call: Call,
    payload: Payload<FetchRequest>,
) -> Result<Response, Failure> {
    let namespace = app.catalogue.get(&namespace, call.deadline).await?;
    let limits = &app.config.limits;
    let FetchRequest { ids, partition_key, include_vectors, include_metadata } = payload.value;
    check_count(ids.len(), limits.fetch_ids)?;
    check_partition_key(partition_key.as_deref(), limits)?;
    let mut seen = HashSet::with_capacity(ids.len());
    for (index, id) in ids.iter().enumerate() {
        check_id(id, limits)?;
        if !seen.insert(id.as_str()) {
            let detail = format!("id {index} is {id:?}, which occurs before");
            return Err(Failure::new(Code::DuplicateId, detail).with("index", index));
        }
    }
    let parts = Parts::unless_left_out(include_vectors, include_metadata);
    let work = move || -> Result<FetchResponse, Failure> {
        let mut found = fetch_all(&namespace, &ids, partition_key.as_deref())?;
        let mut answer = FetchResponse { records: Vec::new(), missing: Vec::new() };
        for id in ids {
            match found.remove(&id) {
                Some(record) => answer.records.push(record_info(record, parts)),
                None => answer.missing.push(id),
            }
        }
        Ok(answer)
    };
    let answer = app.workers.run(call.deadline, work).await??;
    call.reply(&answer)
}

fn fetch_all(
    namespace: &Namespace,
    ids: &[String],
    partition_key: Option<&str>,
) -> Result<HashMap<String, Record>, Failure> {
    let mut found = HashMap::with_capacity(ids.len());
    let mut add = |records: Vec<Option<Record>>| {
        let asked = records.into_iter().flatten().filter(|record| has_key(record, partition_key));
        found.extend(asked.map(|record| (record.id.clone(), record)));
    };
    match (partition_key, namespace.shards()) {
        (Some(key), _) => add(shard_of(namespace, key)?.get_many(ids)?),
        (None, [shard]) => add(shard.get_many(ids)?),
        (None, shards) => {
            let mut by_shard: Vec<Vec<&str>> = vec![Vec::new(); shards.len()];
            for id in ids {
                if let Some(part) = by_shard.get_mut(namespace.shard_number(id)) {
                    part.push(id);
                }
            }
            for (shard, ids) in shards.iter().zip(by_shard) {
                add(shard.get_many(&ids)?);
            }
        }
    }
    Ok(found)
}

pub(super) async fn count(
    State(app): State<Arc<App>>,
    Params(namespace): Params<String>,
    call: Call,
    payload: Payload<CountRequest>,
) -> Result<Response, Failure> {
    let namespace = app.catalogue.get(&namespace, call.deadline).await?;
    let filter = read_filter(payload.value.filter, &app.config.limits)?;
    let deadline = call.deadline;
    let work = move || -> Result<u64, ReadError> {
        let counts =
            namespace.shards().iter().map(|shard| shard.count(filter.as_ref(), Some(deadline)));
        counts.sum()
    };
    let count = app.workers.run(call.deadline, work).await??;
    call.reply(&CountResponse { count })
}

/// Whether a record has the partition key that was asked for: shards hold those of several.
fn has_key(record: &Record, asked: Option<&str>) -> bool {
    asked.is_none_or(|asked| record.partition_key.as_deref().unwrap_or(&record.id) == asked)
}

pub(super) fn shard_of<'a>(namespace: &'a Namespace, key: &str) -> Result<&'a Shard, Failure> {
    namespace
        .shard_of(key)
        .ok_or_else(|| Failure::internal(Code::Internal, "a namespace without shards"))
}

/// A record as clients see it.
pub(super) fn record_info(record: Record, parts: Parts) -> RecordInfo {
    let mut vectors = record.vectors;
    let default = vectors.remove("");
    let (vector, vectors) = if parts.vectors {
        let named = vectors.into_iter().map(|(name, vector)| (name, Vector(vector)));
        (default.map(Vector), named.collect())
    } else {
        (None, std::collections::BTreeMap::new())
    };
    RecordInfo {
        id: record.id,
        partition_key: record.partition_key,
        vector,
        vectors,
        metadata: parts.metadata.then_some(record.metadata),
        region: record.region,
        kind: record.kind,
        expires_at_ms: record.expires_at,
        version: record.version,
        etag: record.etag.to_string(),
        updated_at_ms: record.timestamp.millis(),
    }
}

/// An id that this node takes.
pub(super) fn check_id(id: &str, limits: &Limits) -> Result<(), Failure> {
    hvs_shard::check_id(id)?;
    check_length(Code::InvalidId, "id", id, limits)
}

/// A partition key that this node takes; the rules are those of ids.
pub(super) fn check_partition_key(key: Option<&str>, limits: &Limits) -> Result<(), Failure> {
    let Some(key) = key else { return Ok(()) };
    hvs_shard::check_id(key).map_err(|error| {
        let detail = error.to_string().replacen("the id", "the partition key", 1);
        Failure::new(Code::InvalidPartitionKey, detail)
    })?;
    check_length(Code::InvalidPartitionKey, "partition key", key, limits)
}

fn check_length(code: Code, what: &str, text: &str, limits: &Limits) -> Result<(), Failure> {
    let limit = limits.id_bytes;
    if text.len() <= limit {
        return Ok(());
    }
    let detail = format!("the {what} has {} bytes, at most {limit} are allowed", text.len());
    Err(Failure::new(code, detail).with("limit", limit))
}
