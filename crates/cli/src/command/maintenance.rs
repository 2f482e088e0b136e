//! `hvs maintenance`.

use clap::Subcommand;
use hvs_api::MaintenanceInfo;

use crate::{
    args::Context,
    error::CliError,
    output::{TextTable, grouped},
};

#[derive(Debug, Subcommand)]
pub(crate) enum MaintenanceCommand {
    /// Whether indexes are built in the background, and what waits for it.
    Status,
    /// Let no further build begin; those that run go on to their end.
    Pause,
    /// Let builds begin again.
    Resume,
}

pub(crate) async fn run(context: &Context, command: MaintenanceCommand) -> Result<(), CliError> {
    let client = context.client()?;
    let info = match command {
        MaintenanceCommand::Status => client.maintenance().await?,
        MaintenanceCommand::Pause => client.pause_maintenance(true).await?,
        MaintenanceCommand::Resume => client.pause_maintenance(false).await?,
    };
    context.output.table_or_json(&table(&info), &info)
}

fn table(info: &MaintenanceInfo) -> TextTable {
    let mut table = TextTable::new(&["namespace", "#tail rows", "#dead rows", "#rows to rebuild"]);
    let state = if info.paused { "paused" } else { "running" };
    let builds = format!("({state}, {} of {} builds)", info.running, info.limit);
    table.row([builds, String::new(), String::new(), String::new()]);
    for (namespace, debt) in &info.debt {
        table.row([
            namespace.clone(),
            grouped(debt.tail_rows),
            grouped(debt.dead_rows),
            grouped(debt.rebuild_rows),
        ]);
    }
    table
}
