//! `hvs ns alter`.

use clap::Args;
use std::collections::BTreeMap;

use hvs_api::{AlterIndex, AlterNamespace, AlterVector, IndexType, PayloadIndex};

use super::{
    checkpoint::ended,
    ns::{IndexArg, QuantisationArg, one},
    values::{CompressionArg, PayloadIndexingArg, compression_kind, payload_index},
};
use crate::{args::Context, error::CliError};

/// What is left out stays as it is; where the type changes, it takes the node's defaults.
#[derive(Debug, Args)]
pub(crate) struct AlterArgs {
    /// Its name.
    name: String,
    /// The named vector whose index changes; left out, the default one.
    #[arg(long)]
    vector: Option<String>,
    /// The type.
    #[arg(long)]
    index: Option<IndexArg>,
    /// HNSW: connections per node of the graph.
    #[arg(long)]
    m: Option<u64>,
    /// HNSW: how widely the graph is searched when it is built.
    #[arg(long)]
    ef_construction: Option<u64>,
    /// HNSW: how widely the graph is searched when a search does not say. At once.
    #[arg(long)]
    ef_search: Option<u64>,
    /// IVF: lists per segment.
    #[arg(long)]
    nlist: Option<u64>,
    /// IVF: lists looked into when a search does not say. At once.
    #[arg(long)]
    nprobe: Option<u64>,
    /// Bits of what is compared first.
    #[arg(long)]
    quantisation: Option<QuantisationArg>,
    /// Hold what is compared first in memory, or map it from its file.
    #[arg(long)]
    resident: Option<bool>,
    /// HYBRID: the index of the vector.
    #[arg(long)]
    dense: Option<IndexArg>,
    /// HYBRID: where in the metadata the text is; may be repeated, and takes the place of all paths
    /// before. It chooses the type HYBRID.
    #[arg(long, value_name = "PATH")]
    text_field: Vec<String>,
    /// HYBRID: the language whose stems are searched by, such as english.
    #[arg(long)]
    language: Option<String>,
    /// Which metadata is indexed.
    #[arg(long)]
    payload_indexing: Option<PayloadIndexingArg>,
    /// A field of metadata that is indexed in any case; may be repeated, and takes the place of all
    /// before.
    #[arg(long, value_name = "PATH:TYPE", value_parser = payload_index)]
    payload_index: Vec<PayloadIndex>,
    /// No field of metadata is indexed in any case.
    #[arg(long, conflicts_with = "payload_index")]
    no_payload_indexes: bool,
    /// How labels and metadata of records are compressed at rest. At once for what is written;
    /// what is there is written anew in the background.
    #[arg(long)]
    compression: Option<CompressionArg>,
    /// Whether records of hits are read before someone asks for them.
    #[arg(long)]
    prefetch: Option<bool>,
    /// Do not wait until the new index answers.
    #[arg(long)]
    no_wait: bool,
}

pub(crate) async fn run(context: &Context, args: &AlterArgs) -> Result<(), CliError> {
    let has_text = !args.text_field.is_empty() || args.language.is_some();
    let kind = args.index.map(IndexArg::kind);
    let index = AlterIndex {
        kind: kind.or(has_text.then_some(IndexType::Hybrid)),
        m: args.m,
        ef_construction: args.ef_construction,
        ef_search: args.ef_search,
        nlist: args.nlist,
        nprobe: args.nprobe,
        quantisation: args.quantisation.map(QuantisationArg::quantisation),
        resident: args.resident,
        dense: args.dense.map(IndexArg::kind),
        text_fields: (!args.text_field.is_empty()).then(|| args.text_field.clone()),
        language: args.language.clone(),
    };
    let declares = !args.payload_index.is_empty() || args.no_payload_indexes;
    let mut request = AlterNamespace {
        payload_indexing: args.payload_indexing.map(PayloadIndexingArg::indexing),
        payload_indexes: declares.then(|| args.payload_index.clone()),
        compression: compression_kind(args.compression),
        prefetch: args.prefetch,
        ..AlterNamespace::default()
    };
    let index = Some(index).filter(|index| *index != AlterIndex::default());
    if index.is_none() && request == AlterNamespace::default() {
        let hint = "nothing to change is given; try --index, --m or --compression";
        return Err(CliError::Usage(hint.to_owned()));
    }
    match (&args.vector, index) {
        (None, index) => request.index = index,
        (Some(name), Some(index)) => {
            request.vectors = BTreeMap::from([(name.clone(), AlterVector { index })]);
        }
        (Some(_), None) => {
            return Err(CliError::Usage("--vector is given without what changes of it".to_owned()));
        }
    }
    let client = context.client()?;
    let altered = client.alter_namespace(&args.name, &request).await?;
    match &altered.task {
        Some(task) if args.no_wait => {
            if context.output.json {
                return context.output.json(&altered);
            }
            context.output.line(&format!("task {} builds the index", task.id))
        }
        task => {
            if let Some(task) = task {
                ended(context, &client, task.clone()).await?;
            }
            let info = client.get_namespace(&args.name).await?;
            context.output.table_or_json(&one(&info), &info)
        }
    }
}
