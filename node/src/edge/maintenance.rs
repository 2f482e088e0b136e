//! What is done in the background: shown, paused and taken up again.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use hvs_api::{MaintenanceDebt, MaintenanceInfo};

use super::{App, call::Call, failure::Failure};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/maintenance", get(show))
        .route("/v1/maintenance/pause", post(pause))
        .route("/v1/maintenance/resume", post(resume))
}

async fn show(State(app): State<Arc<App>>, call: Call) -> Result<Response, Failure> {
    call.reply(&info(&app))
}

async fn pause(State(app): State<Arc<App>>, call: Call) -> Result<Response, Failure> {
    app.catalogue.builders().pause();
    app.metrics.maintenance_paused.set(1);
    tracing::info!("maintenance is paused");
    call.reply(&info(&app))
}

async fn resume(State(app): State<Arc<App>>, call: Call) -> Result<Response, Failure> {
    app.catalogue.builders().resume();
    app.metrics.maintenance_paused.set(0);
    tracing::info!("maintenance goes on");
    call.reply(&info(&app))
}

fn info(app: &App) -> MaintenanceInfo {
    let builders = app.catalogue.builders();
    let mut debt = BTreeMap::new();
    for overview in app.catalogue.overviews() {
        let mut of_namespace = MaintenanceDebt::default();
        for shard in &overview.stats {
            of_namespace.rebuild_rows += shard.rebuild_rows;
            for index in shard.indexes.values() {
                of_namespace.tail_rows += index.tail_excess as u64;
                of_namespace.dead_rows += index.dead as u64;
            }
        }
        if of_namespace != MaintenanceDebt::default() {
            debt.insert(overview.description.name.clone(), of_namespace);
        }
    }
    MaintenanceInfo {
        paused: builders.is_paused(),
        running: builders.running() as u64,
        limit: builders.limit() as u64,
        debt,
    }
}
