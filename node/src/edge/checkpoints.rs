//! Checkpoints, and the tasks that make, verify and restore them.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::Response,
    routing::{delete, get, post},
};
use hvs_api::{Code, CreateCheckpoint, RestoreRequest, TaskInfo};

use super::{
    App,
    body::{Params, Payload},
    call::Call,
    failure::Failure,
};

pub(super) fn routes() -> Router<Arc<App>> {
    let all = "/v1/namespaces/{namespace}/checkpoints";
    Router::new()
        .route(all, get(list).post(create))
        .route(&format!("{all}/{{checkpoint}}"), delete(remove))
        .route(&format!("{all}/{{checkpoint}}/verify"), post(verify))
        .route("/v1/checkpoints", get(list_all))
        .route("/v1/restore", post(restore))
        .route("/v1/tasks", get(tasks))
        .route("/v1/tasks/{task}", get(task).delete(cancel))
}

async fn list(
    State(app): State<Arc<App>>,
    Params(name): Params<String>,
    call: Call,
) -> Result<Response, Failure> {
    call.reply(&app.checkpoints.list(&name).await?)
}

async fn list_all(State(app): State<Arc<App>>, call: Call) -> Result<Response, Failure> {
    call.reply(&app.checkpoints.list_all().await?)
}

async fn create(
    State(app): State<Arc<App>>,
    Params(name): Params<String>,
    call: Call,
    payload: Payload<CreateCheckpoint>,
) -> Result<Response, Failure> {
    begun(&call, &app.checkpoints.create(&name, payload.value.kind, call.deadline).await?)
}

async fn verify(
    State(app): State<Arc<App>>,
    Params((name, id)): Params<(String, String)>,
    call: Call,
) -> Result<Response, Failure> {
    begun(&call, &app.checkpoints.verify(&name, number(&id)?)?)
}

async fn remove(
    State(app): State<Arc<App>>,
    Params((name, id)): Params<(String, String)>,
    call: Call,
) -> Result<Response, Failure> {
    let id = number(&id)?;
    let checkpoints = Arc::clone(&app.checkpoints);
    // On a task of its own: a client that goes away does not leave it half done.
    let deletion = tokio::spawn(async move { checkpoints.delete(&name, id).await });
    let deleted = deletion.await.map_err(|error| Failure::internal(Code::Internal, error))??;
    call.reply(&deleted)
}

async fn restore(
    State(app): State<Arc<App>>,
    call: Call,
    payload: Payload<RestoreRequest>,
) -> Result<Response, Failure> {
    if payload.value.checkpoint.is_some() && payload.value.seqs.is_some() {
        let detail = "checkpoint and seqs exclude each other".to_owned();
        return Err(Failure::new(Code::InvalidArgument, detail));
    }
    app.scale.admit_records()?;
    app.catalogue.memory().admit_records(0)?;
    begun(&call, &app.checkpoints.restore(payload.value)?)
}

async fn tasks(State(app): State<Arc<App>>, call: Call) -> Result<Response, Failure> {
    call.reply(&app.checkpoints.tasks())
}

async fn task(
    State(app): State<Arc<App>>,
    Params(id): Params<String>,
    call: Call,
) -> Result<Response, Failure> {
    call.reply(&app.checkpoints.task(&id)?)
}

async fn cancel(
    State(app): State<Arc<App>>,
    Params(id): Params<String>,
    call: Call,
) -> Result<Response, Failure> {
    begun(&call, &app.checkpoints.cancel(&id)?)
}

fn begun(call: &Call, task: &TaskInfo) -> Result<Response, Failure> {
    let mut response = call.reply(task)?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

fn number(id: &str) -> Result<u64, Failure> {
    let refuse = || {
        let shown: String = id.chars().take(40).collect();
        Failure::new(Code::CheckpointNotFound, format!("{shown:?} is no id of a checkpoint"))
    };
    id.parse().map_err(|_| refuse())
}
