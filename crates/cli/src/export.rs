//! `hvs export`: all records of a namespace as JSON Lines.

mod target;

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use clap::Args;
use hvs_api::{DEFAULT_KIND, PutRecord, RecordInfo, ScrollRequest};
use serde_json::json;

use self::target::Target;
use crate::{args::Context, command::filter, error::CliError, output::grouped};

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The namespace or an alias.
    namespace: String,
    /// The file; standard output when left out, or for `-`.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Only records whose metadata field equals the value; may be repeated.
    #[arg(long, short, value_name = "FIELD=VALUE")]
    filter: Vec<String>,
    /// Records per request.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    page: u64,
}

pub(crate) async fn run(context: &Context, args: ExportArgs) -> Result<(), CliError> {
    let client = context.patient_client()?;
    let filter = filter(&args.filter)?;
    let target = Target::of(args.output.as_deref())?;
    let output: Option<Arc<Path>> =
        args.output.filter(|_| target != Target::StandardOutput).map(Into::into);
    let started = Instant::now();
    // Opening and writing may wait for whoever reads a pipe, and is done aside, so that the
    // keyboard can still interrupt it.
    let (mut out, part) = aside(move || target.open()).await?;
    let mut records = 0_u64;
    let mut token = None;
    loop {
        let request = ScrollRequest {
            token,
            limit: Some(args.page),
            filter: filter.clone(),
            ..ScrollRequest::default()
        };
        let page = client.scroll(&args.namespace, &request).await?;
        records += page.records.len() as u64;
        token = page.next;
        let name = output.clone();
        out = aside(move || {
            for record in page.records {
                let line = serde_json::to_string(&as_put(record))
                    .map_err(|error| CliError::System(format!("cannot write a record: {error}")))?;
                writeln!(out, "{line}").map_err(|source| failed(name.as_deref(), source))?;
            }
            // So that dropping it writes nothing, which might wait.
            out.flush().map_err(|source| failed(name.as_deref(), source))?;
            Ok(out)
        })
        .await?;
        if token.is_none() {
            break;
        }
    }
    drop(out);
    if let Some(part) = part {
        part.finish()?;
    }
    match output {
        Some(file) => tell(context, &file, records, started.elapsed().as_secs_f64()),
        None => Ok(()),
    }
}

async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CliError> + Send + 'static,
) -> Result<T, CliError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| CliError::System(format!("writing failed: {error}")))?
}

fn failed(output: Option<&Path>, source: io::Error) -> CliError {
    match output {
        Some(path) => CliError::File { path: path.to_owned(), source },
        None => CliError::Output(source),
    }
}

fn tell(context: &Context, file: &Path, records: u64, seconds: f64) -> Result<(), CliError> {
    if context.output.json {
        return context
            .output
            .json(&json!({ "file": file, "records": records, "seconds": seconds }));
    }
    let rate = records as f64 / seconds.max(1e-9);
    context.output.line(&format!(
        "{} records in {} ({seconds:.1} s, {rate:.0} records/s)",
        grouped(records),
        file.display()
    ))
}

/// What `import` and the API take. Version, etag and time belong to the namespace that a record
/// is in, and are left out.
fn as_put(record: RecordInfo) -> PutRecord {
    PutRecord {
        id: Some(record.id),
        partition_key: record.partition_key,
        vector: record.vector,
        vectors: (!record.vectors.is_empty()).then_some(record.vectors),
        metadata: record.metadata.filter(|metadata| !metadata.is_empty()),
        region: record.region,
        kind: Some(record.kind).filter(|kind| kind != DEFAULT_KIND),
        expires_at_ms: record.expires_at_ms,
        ..PutRecord::default()
    }
}
