//! Changes of namespaces that are in use.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use hvs_api::{AlterNamespace, AlteredNamespace};

use super::{
    App,
    body::{Params, Payload},
    call::Call,
    failure::Failure,
    namespaces::info,
};
use crate::catalogue::CatalogueError;

pub(super) async fn alter(
    State(app): State<Arc<App>>,
    Params(name): Params<String>,
    call: Call,
    payload: Payload<AlterNamespace>,
) -> Result<Response, Failure> {
    let catalogue = Arc::clone(&app.catalogue);
    // On a task of its own: a client that goes away does not leave it half done.
    let until = call.deadline;
    let alteration =
        tokio::spawn(async move { catalogue.alter(&name, &payload.value, until).await });
    let (namespace, rebuild) = alteration.await.map_err(|_| CatalogueError::Worker)??;
    let task = rebuild.map(|rebuild| app.checkpoints.reindex(rebuild)).transpose()?;
    let namespace = info(&namespace, &app.catalogue.aliases());
    let is_begun = task.is_some();
    let mut response = call.reply(&AlteredNamespace { namespace, task })?;
    if is_begun {
        *response.status_mut() = StatusCode::ACCEPTED;
    }
    Ok(response)
}
