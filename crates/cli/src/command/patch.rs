//! `hvs patch`.

use clap::Args;
use hvs_api::PatchRecord;

use super::{
    records::{LabelArgs, print_results},
    values::{CoordinatesArg, DurabilityArg},
};
use crate::{
    args::Context,
    command::{coordinates_kind, durability_kind, metadata, vector},
    error::CliError,
};

#[derive(Debug, Args)]
pub(crate) struct PatchArgs {
    /// The namespace or an alias.
    namespace: String,
    /// The record's id.
    id: String,
    /// A JSON object that is merged into the metadata; `null` removes a member.
    #[arg(long, short)]
    metadata: Option<String>,
    /// New coordinates: `0.1,0.2`, `[0.1, 0.2]`, or `-` to read them from the standard input.
    #[arg(long, short, allow_hyphen_values = true)]
    vector: Option<String>,
    /// The named vector that they are, where it is not the default one.
    #[arg(long, value_name = "NAME", requires = "vector")]
    vector_name: Option<String>,
    #[command(flatten)]
    labels: LabelArgs,
    /// The record lives in no region any more.
    #[arg(long, conflicts_with = "region")]
    no_region: bool,
    /// As the record was stored with.
    #[arg(long)]
    partition_key: Option<String>,
    /// Which coordinates are given.
    #[arg(long)]
    coordinates: Option<CoordinatesArg>,
    /// Project a point off the manifold onto it rather than being refused.
    #[arg(long)]
    project: bool,
    /// Only the record of this etag.
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    /// When to acknowledge.
    #[arg(long)]
    durability: Option<DurabilityArg>,
    /// Makes repeating this very command harmless.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

pub(crate) async fn run(context: &Context, args: PatchArgs) -> Result<(), CliError> {
    let point = args.vector.as_deref().map(vector).transpose()?;
    let region = args.labels.region.map(Some);
    let mut patch = PatchRecord {
        id: Some(args.id),
        partition_key: args.partition_key,
        metadata: args.metadata.as_deref().map(metadata).transpose()?,
        region: if args.no_region { Some(None) } else { region },
        ttl_ms: args.labels.ttl_ms,
        expires_at_ms: args.labels.expires_at_ms,
        coordinates: coordinates_kind(args.coordinates),
        project: args.project.then_some(true),
        if_match: args.if_match,
        durability: durability_kind(args.durability),
        ..PatchRecord::default()
    };
    match args.vector_name {
        None => patch.vector = point,
        Some(name) => patch.vectors = point.map(|point| [(name, point)].into()),
    }
    let client = context.client()?;
    let result = client.patch(&args.namespace, &patch, args.idempotency_key.as_deref()).await?;
    print_results(context, &[result])
}
