//! `hvs changes`.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use clap::Args;
use hvs_api::{ChangeInfo, ChangeKind, ChangesQuery, Code};
use hvs_client::ClientError;
use serde_json::json;

use crate::{args::Context, error::CliError};

/// For how long the node waits before it answers that there is nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub(crate) struct ChangesArgs {
    /// The namespace or an alias.
    namespace: String,
    /// After where: a token that was shown before, or `now`; with --shard also the seq of an
    /// entry. From the first change on that is kept when left out.
    #[arg(long, value_name = "TOKEN")]
    since: Option<String>,
    /// Of this shard alone.
    #[arg(long)]
    shard: Option<u32>,
    /// Changes of one request.
    #[arg(long)]
    limit: Option<u64>,
    /// With what each record became; of use with --json.
    #[arg(long)]
    records: bool,
    /// Go on with what changes, until interrupted.
    #[arg(long)]
    follow: bool,
}

pub(crate) async fn run(context: &Context, args: ChangesArgs) -> Result<(), CliError> {
    let client = if args.follow { context.patient_client()? } else { context.client()? };
    // Half of the time, so that the answer has time to arrive.
    let wait = LONGEST_WAIT.min(context.timeout() / 2);
    let mut query = ChangesQuery {
        since: args.since,
        shard: args.shard,
        limit: args.limit,
        wait_ms: None,
        include: args.records.then(|| "record".to_owned()),
    };
    loop {
        let page = match client.changes(&args.namespace, &query).await {
            Err(error) if query.since.is_none() => {
                let Some(oldest) = oldest(&error) else { return Err(error.into()) };
                // A message; that nobody reads it stops nothing.
                let _ = writeln!(
                    io::stderr(),
                    "The first changes are no longer kept; these are those that are."
                );
                query.since = Some(oldest);
                continue;
            }
            page => page?,
        };
        for change in &page.changes {
            context.output.line(&line(context, change)?)?;
        }
        if context.output.json && (page.complete || !page.changes.is_empty()) {
            context.output.line(&json!({ "token": page.token }).to_string())?;
        }
        if page.complete && !args.follow {
            if !context.output.json {
                context.output.line(&format!("Go on with --since {}", page.token))?;
            }
            return Ok(());
        }
        if page.complete {
            query.wait_ms = u64::try_from(wait.as_millis()).ok();
        }
        query.since = Some(page.token);
    }
}

/// The oldest position that can be read, if what is before it is gone.
fn oldest(error: &ClientError) -> Option<String> {
    let problem =
        error.problem().filter(|problem| problem.known_code() == Some(Code::HistoryGone))?;
    problem.context.get("token")?.as_str().map(str::to_owned)
}

/// A change on one line.
fn line(context: &Context, change: &ChangeInfo) -> Result<String, CliError> {
    if context.output.json {
        return serde_json::to_string(change)
            .map_err(|error| CliError::System(format!("cannot write the result: {error}")));
    }
    let kind = match change.kind {
        ChangeKind::Put => "put",
        ChangeKind::Patch => "patch",
        ChangeKind::Delete => "delete",
        ChangeKind::Expire => "expire",
        _ => "change",
    };
    let id: String = change.id.escape_default().to_string();
    Ok(format!("{kind}\t{id}\tversion {}\t{}", change.version, change.etag))
}
