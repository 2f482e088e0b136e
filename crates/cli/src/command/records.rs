//! `hvs put`, `get`, `delete` and `count`.

use clap::Args;
use hvs_api::{
    ByFilterResponse, CountRequest, DEFAULT_KIND, DeleteByFilter, FetchRequest, PutRecord,
    RecordInfo, WriteResult, WriteStatus,
};
use hvs_client::DeleteOptions;
use serde_json::Value;

use super::values::{CoordinatesArg, DurabilityArg};
use crate::{
    args::Context,
    command::{coordinates_kind, durability_kind, filter, metadata, vector},
    error::CliError,
    output::{TextTable, coordinates, grouped},
};

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// The namespace or an alias.
    namespace: String,
    /// The record's id.
    id: String,
    /// The coordinates: `0.1,0.2`, `[0.1, 0.2]`, or `-` to read them from the standard input.
    #[arg(long, short, allow_hyphen_values = true)]
    vector: String,
    /// The named vector that they are, where it is not the default one.
    #[arg(long, value_name = "NAME")]
    vector_name: Option<String>,
    /// A JSON object.
    #[arg(long, short)]
    metadata: Option<String>,
    #[command(flatten)]
    labels: LabelArgs,
    /// What the record is for; `vector` when left out.
    #[arg(long)]
    kind: Option<String>,
    /// Keeps records of one key together on a shard.
    #[arg(long)]
    partition_key: Option<String>,
    /// Which coordinates are given.
    #[arg(long)]
    coordinates: Option<CoordinatesArg>,
    /// Project a point off the manifold onto it rather than being refused.
    #[arg(long)]
    project: bool,
    /// Only if there is no such record.
    #[arg(long, conflicts_with = "if_match")]
    if_absent: bool,
    /// Only over the record of this etag.
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    /// When to acknowledge.
    #[arg(long)]
    durability: Option<DurabilityArg>,
    /// Makes repeating this very command harmless.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// What puts and patches have in common.
#[derive(Debug, Args)]
pub(super) struct LabelArgs {
    /// The named part of the namespace that the record lives in.
    #[arg(long)]
    pub(super) region: Option<String>,
    /// After so many milliseconds the record ceases to exist; 0 means never.
    #[arg(long, value_name = "MILLISECONDS", conflicts_with = "expires_at_ms")]
    pub(super) ttl_ms: Option<u64>,
    /// When the record ceases to exist, in milliseconds since 1970.
    #[arg(long, value_name = "MILLISECONDS")]
    pub(super) expires_at_ms: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The namespace or an alias.
    namespace: String,
    /// The ids.
    #[arg(required = true)]
    ids: Vec<String>,
    /// As the records were stored with.
    #[arg(long)]
    partition_key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The namespace or an alias.
    namespace: String,
    /// The ids.
    #[arg(required_unless_present = "filter")]
    ids: Vec<String>,
    /// In place of ids: all records whose metadata field equals the value; may be repeated.
    #[arg(long, short, value_name = "FIELD=VALUE",
        conflicts_with_all = ["ids", "partition_key", "if_match"])]
    filter: Vec<String>,
    /// Only count what would be deleted.
    #[arg(long, requires = "filter")]
    dry_run: bool,
    /// As the records were stored with.
    #[arg(long)]
    partition_key: Option<String>,
    /// Only the record of this etag.
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    /// When to acknowledge.
    #[arg(long)]
    durability: Option<DurabilityArg>,
}

#[derive(Debug, Args)]
pub(crate) struct CountArgs {
    /// The namespace or an alias.
    namespace: String,
    /// Only records whose metadata field equals the value; may be repeated.
    #[arg(long, short, value_name = "FIELD=VALUE")]
    filter: Vec<String>,
}

pub(crate) async fn put(context: &Context, args: PutArgs) -> Result<(), CliError> {
    let point = vector(&args.vector)?;
    let mut record = PutRecord {
        id: Some(args.id),
        partition_key: args.partition_key,
        metadata: args.metadata.as_deref().map(metadata).transpose()?,
        region: args.labels.region,
        kind: args.kind,
        ttl_ms: args.labels.ttl_ms,
        expires_at_ms: args.labels.expires_at_ms,
        coordinates: coordinates_kind(args.coordinates),
        project: args.project.then_some(true),
        if_absent: args.if_absent.then_some(true),
        if_match: args.if_match,
        durability: durability_kind(args.durability),
        ..PutRecord::default()
    };
    match args.vector_name {
        None => record.vector = Some(point),
        Some(name) => record.vectors = Some([(name, point)].into()),
    }
    let client = context.client()?;
    let result = client.put(&args.namespace, &record, args.idempotency_key.as_deref()).await?;
    print_results(context, &[result])
}

pub(crate) async fn get(context: &Context, args: GetArgs) -> Result<(), CliError> {
    let client = context.client()?;
    let output = context.output;
    if let [id] = args.ids.as_slice() {
        let record = client.get(&args.namespace, id, args.partition_key.as_deref()).await?;
        return output.table_or_json(&one(&record), &record);
    }
    let request = FetchRequest {
        ids: args.ids,
        partition_key: args.partition_key,
        ..FetchRequest::default()
    };
    let found = client.fetch(&args.namespace, &request).await?;
    let mut table = TextTable::new(&["id", "vector", "metadata"]);
    for record in &found.records {
        table.row([
            record.id.clone(),
            record.vector.as_ref().map(|vector| coordinates(vector)).unwrap_or_default(),
            object(record.metadata.as_ref()),
        ]);
    }
    output.table_or_json(&table, &found)?;
    if found.missing.is_empty() {
        return Ok(());
    }
    Err(CliError::Wrong(format!("not found: {}", found.missing.join(", "))))
}

/// Goes on until no record is left that was not looked at.
async fn delete_by_filter(context: &Context, args: DeleteArgs) -> Result<(), CliError> {
    let client = context.client()?;
    let mut request = DeleteByFilter {
        filter: filter(&args.filter)?,
        dry_run: args.dry_run.then_some(true),
        durability: durability_kind(args.durability),
        ..DeleteByFilter::default()
    };
    let mut total = ByFilterResponse::default();
    while !total.complete {
        let answer = client.delete_by_filter(&args.namespace, &request).await?;
        total.matched += answer.matched;
        total.changed += answer.changed;
        total.skipped += answer.skipped;
        total.complete = answer.complete;
        request.token = answer.next;
    }
    let mut table = TextTable::new(&["#matched", "#deleted", "#skipped"]);
    table.row([total.matched, total.changed, total.skipped].map(grouped));
    context.output.table_or_json(&table, &total)
}

pub(crate) async fn delete(context: &Context, args: DeleteArgs) -> Result<(), CliError> {
    if !args.filter.is_empty() {
        return delete_by_filter(context, args).await;
    }
    let client = context.client()?;
    let options = DeleteOptions {
        partition_key: args.partition_key,
        if_match: args.if_match,
        durability: durability_kind(args.durability),
    };
    let mut results = Vec::with_capacity(args.ids.len());
    for id in &args.ids {
        results.push(client.delete(&args.namespace, id, &options, None).await?);
    }
    print_results(context, &results)
}

pub(crate) async fn count(context: &Context, args: CountArgs) -> Result<(), CliError> {
    let request = CountRequest { filter: filter(&args.filter)? };
    let answer = context.client()?.count(&args.namespace, &request).await?;
    if context.output.json {
        context.output.json(&answer)
    } else {
        context.output.line(&grouped(answer.count))
    }
}

pub(super) fn print_results(context: &Context, results: &[WriteResult]) -> Result<(), CliError> {
    let mut table = TextTable::new(&["id", "status", "#version", "etag"]);
    for result in results {
        table.row([
            result.id.clone(),
            status(result.status).to_owned(),
            result.version.map(|version| version.to_string()).unwrap_or_default(),
            result.etag.clone().unwrap_or_default(),
        ]);
    }
    if let ([result], true) = (results, context.output.json) {
        context.output.json(result)?;
    } else {
        context.output.table_or_json(&table, results)?;
    }
    // A put that is refused for its condition comes as an error of the node; one of several
    // deletions comes as a result, and is the same refusal.
    let refused = ids(results, |status| {
        matches!(status, WriteStatus::ConditionFailed | WriteStatus::NotApplied)
    });
    if !refused.is_empty() {
        return Err(CliError::Refused(format!("the condition does not hold: {refused}")));
    }
    let large = ids(results, |status| status == WriteStatus::TooLarge);
    if !large.is_empty() {
        return Err(CliError::Refused(format!("too large after the patch: {large}")));
    }
    let missing = ids(results, |status| status == WriteStatus::NotFound);
    if missing.is_empty() {
        return Ok(());
    }
    Err(CliError::Wrong(format!("not found: {missing}")))
}

/// The ids of the results with such a status.
fn ids(results: &[WriteResult], is_such: impl Fn(WriteStatus) -> bool) -> String {
    let such = results.iter().filter(|result| is_such(result.status));
    such.map(|result| result.id.as_str()).collect::<Vec<_>>().join(", ")
}

fn status(status: WriteStatus) -> &'static str {
    match status {
        WriteStatus::Created => "created",
        WriteStatus::Updated => "updated",
        WriteStatus::Deleted => "deleted",
        WriteStatus::NotFound => "not found",
        WriteStatus::ConditionFailed => "condition failed",
        WriteStatus::NotApplied => "not applied",
        WriteStatus::TooLarge => "too large",
    }
}

fn one(record: &RecordInfo) -> TextTable {
    let mut table = TextTable::new(&["", "value"]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("id", record.id.clone());
    if let Some(key) = &record.partition_key {
        row("partition key", key.clone());
    }
    if let Some(vector) = &record.vector {
        row("vector", coordinates(vector));
    }
    for (name, vector) in &record.vectors {
        row(&format!("vector {name:?}"), coordinates(vector));
    }
    if record.metadata.is_some() {
        row("metadata", object(record.metadata.as_ref()));
    }
    if let Some(region) = &record.region {
        row("region", region.clone());
    }
    if record.kind != DEFAULT_KIND {
        row("kind", record.kind.clone());
    }
    if let Some(at) = record.expires_at_ms {
        row("expires at (ms)", at.to_string());
    }
    row("version", record.version.to_string());
    row("etag", record.etag.clone());
    table
}

pub(super) fn object(metadata: Option<&serde_json::Map<String, Value>>) -> String {
    metadata.map(|map| Value::Object(map.clone()).to_string()).unwrap_or_default()
}
