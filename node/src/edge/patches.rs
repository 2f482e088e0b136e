//! Changing parts of records.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap, response::Response};
use hvs_api::{Code, PatchRecord};
use hvs_shard::{Condition, Operation, Patch};

use super::{
    App,
    body::{Params, Payload},
    call::Call,
    failure::Failure,
    labels::{checked_region, expiry},
    points::Reading,
    records::{check_id, check_partition_key},
    writes::{
        Conditions, check_metadata, idempotency_key, read_vectors, single, wanted_durability,
    },
};
use crate::{
    catalogue::{Namespace, Routed, WriteOptions},
    config::Limits,
};

pub(super) async fn patch_one(
    State(app): State<Arc<App>>,
    Params((namespace, id)): Params<(String, String)>,
    call: Call,
    headers: HeaderMap,
    payload: Payload<PatchRecord>,
) -> Result<Response, Failure> {
    let namespace = app.catalogue.get(&namespace, call.deadline).await?;
    // It may bring a vector and metadata, as a put does.
    app.scale.admit_records()?;
    app.catalogue.memory().admit_records(payload.bytes())?;
    let mut patch = payload.value;
    if patch.id.take().is_some_and(|given| given != id) {
        let detail = "the id in the body is another than that in the path";
        return Err(Failure::new(Code::InvalidOperation, detail));
    }
    let conditions = Conditions::of(patch.if_match.take(), None).or_headers(&headers)?;
    let condition = conditions.condition()?;
    if condition == Some(Condition::IfAbsent) {
        let detail = "a patch cannot ask for the record to be absent";
        return Err(Failure::new(Code::InvalidCondition, detail));
    }
    let options = WriteOptions {
        durability: wanted_durability(&namespace, patch.durability)?,
        atomic: false,
        idempotency_key: idempotency_key(&headers)?,
    };
    let limits = &app.config.limits;
    let reading = Reading::default();
    let routed = routed_patch(&namespace, limits, id.clone(), patch, condition, reading)?;
    call.check_deadline()?;
    let outcomes = namespace.write(vec![routed], options).await?;
    single(&call, id, outcomes)
}

pub(super) fn routed_patch(
    namespace: &Namespace,
    limits: &Limits,
    id: String,
    wire: PatchRecord,
    condition: Option<Condition>,
    defaults: Reading,
) -> Result<Routed, Failure> {
    check_id(&id, limits)?;
    check_partition_key(wire.partition_key.as_deref(), limits)?;
    let partition_key = wire.partition_key.clone();
    let patch = read_patch(namespace, limits, wire, defaults)?;
    Ok(Routed { partition_key, operation: Operation::Patch { id, patch, condition } })
}

/// What is to be changed; refused if that is nothing.
pub(super) fn read_patch(
    namespace: &Namespace,
    limits: &Limits,
    wire: PatchRecord,
    defaults: Reading,
) -> Result<Patch, Failure> {
    let reading = Reading {
        coordinates: wire.coordinates.unwrap_or(defaults.coordinates),
        project: wire.project.unwrap_or(defaults.project),
    };
    let metadata = wire.metadata.filter(|metadata| !metadata.is_empty());
    if let Some(metadata) = &metadata {
        check_metadata(metadata, limits.metadata_bytes)?;
    }
    let region = match wire.region {
        None => None,
        Some(region) => Some(checked_region(region, limits)?),
    };
    let patch = Patch {
        vectors: read_vectors(namespace, wire.vector, wire.vectors, reading)?,
        metadata,
        region,
        expiry: expiry(wire.ttl_ms, wire.expires_at_ms, limits)?,
    };
    if patch == Patch::default() {
        return Err(Failure::new(Code::InvalidOperation, "the patch changes nothing"));
    }
    Ok(patch)
}
