//! Health, metrics, the API's description, and the echo for measurements.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use hvs_api::{Code, Health};
use serde::Deserialize;

use super::{
    App,
    body::{QueryParams, RawPayload},
    call::{Call, respond},
    failure::Failure,
    leading,
};
use crate::gate::METRICS;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi))
}

/// Answering at all is the proof. Shards that stopped are for `/readyz`: killing the process
/// would not mend them.
async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    if app.is_stopping() {
        return Err(Failure::new(Code::ShuttingDown, "the node is shutting down"));
    }
    if !app.may_serve() {
        return Err(leading::refusal());
    }
    let stopped = stopped_shards(&app);
    if !stopped.is_empty() {
        let names: Vec<_> = stopped.into_keys().collect();
        let detail = format!("shards of {} have stopped", names.join(", "));
        return Err(Failure::new(Code::NotReady, detail));
    }
    Ok("ok\n".into_response())
}

async fn health(State(app): State<Arc<App>>, call: Call) -> Result<Response, Failure> {
    let stopped = stopped_shards(&app);
    let status = match (app.is_stopping(), stopped.is_empty() && app.may_serve()) {
        (true, _) => "stopping",
        (false, true) => "ready",
        (false, false) => "degraded",
    };
    let namespaces = app.catalogue.overviews();
    let shards: usize = namespaces.iter().map(|each| each.description.entry.shards.len()).sum();
    let loaded = namespaces.iter().filter(|each| each.is_loaded).count();
    let mut parts = BTreeMap::from([
        ("namespaces".to_owned(), namespaces.len().to_string()),
        ("namespaces loaded".to_owned(), loaded.to_string()),
        ("shards".to_owned(), shards.to_string()),
    ]);
    if !app.may_serve() {
        parts.insert("session".to_owned(), "not valid".to_owned());
    }
    parts.extend(stopped.into_iter().map(|(name, why)| (format!("namespace {name}"), why)));
    let health = Health {
        status: status.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: app.started.elapsed().as_secs(),
        parts,
    };
    let mut response = call.reply(&health)?;
    if status != "ready" {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

/// Namespaces with a shard that stopped after an error, and why.
fn stopped_shards(app: &App) -> BTreeMap<String, String> {
    let namespaces = app.catalogue.overviews().into_iter();
    namespaces.filter_map(|each| Some((each.description.name.clone(), each.stopped()?))).collect()
}

async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    let text = app.metrics.text().map_err(|error| Failure::internal(Code::Internal, error))?;
    Ok(respond(StatusCode::OK, METRICS, text))
}

async fn openapi() -> Result<Response, Failure> {
    let text = hvs_api::openapi_json().map_err(|error| Failure::internal(Code::Internal, error))?;
    Ok(respond(StatusCode::OK, "application/json", text.into_bytes()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EchoQuery {
    #[serde(default)]
    bytes: usize,
}

/// Reads a body and answers `bytes` bytes, and does nothing else: what any route costs at least.
pub(super) async fn echo(
    State(app): State<Arc<App>>,
    QueryParams(query): QueryParams<EchoQuery>,
    call: Call,
    RawPayload(body): RawPayload,
) -> Result<Response, Failure> {
    if query.bytes > app.config.limits.body_bytes {
        return Err(Failure::new(Code::InvalidQuery, "bytes is above limits.body_bytes"));
    }
    let mut answer = body.to_vec();
    answer.resize(query.bytes, 0);
    Ok(respond(StatusCode::OK, call.answer.content_type(), answer))
}
