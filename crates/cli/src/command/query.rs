//! `hvs facets` and `hvs recommend`.

use clap::Args;
use hvs_api::{Example, FacetsRequest, RecommendRequest};
use serde_json::Value;

use super::{search::hits_table, values::filter};
use crate::{args::Context, error::CliError, output::TextTable};

#[derive(Debug, Args)]
pub(crate) struct FacetsArgs {
    /// The namespace or an alias.
    namespace: String,
    /// The field: a path into the metadata, or $kind or $region.
    field: String,
    /// Most values, the most frequent ones.
    #[arg(long)]
    limit: Option<u64>,
    /// Only records whose metadata field equals the value; may be repeated.
    #[arg(long, short, value_name = "FIELD=VALUE")]
    filter: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RecommendArgs {
    /// The namespace or an alias.
    namespace: String,
    /// The id of a record that hits are to be like; may be repeated.
    #[arg(long, value_name = "ID", required = true)]
    like: Vec<String>,
    /// The id of a record that they are to be unlike; may be repeated.
    #[arg(long, value_name = "ID")]
    unlike: Vec<String>,
    /// How far to move away from those, in units of their mean distance; 1 when left out.
    #[arg(long)]
    strength: Option<f64>,
    /// At most this many hits.
    #[arg(short)]
    k: Option<u64>,
    /// The named vector.
    #[arg(long, value_name = "NAME")]
    using: Option<String>,
    /// Look at every vector.
    #[arg(long)]
    exact: bool,
    /// Only records whose metadata field equals the value; may be repeated.
    #[arg(long, short, value_name = "FIELD=VALUE")]
    filter: Vec<String>,
}

pub(crate) async fn facets(context: &Context, args: FacetsArgs) -> Result<(), CliError> {
    let request =
        FacetsRequest { field: args.field, filter: filter(&args.filter)?, limit: args.limit };
    let answer = context.client()?.facets(&args.namespace, &request).await?;
    let mut table = TextTable::new(&["value", "#records"]);
    for facet in &answer.values {
        let value = match &facet.value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        table.row([value, facet.count.to_string()]);
    }
    context.output.table_or_json(&table, &answer)?;
    if context.output.json || answer.exact {
        return Ok(());
    }
    context.output.line("There are more values than the node holds at once; counts may be missing.")
}

pub(crate) async fn recommend(context: &Context, args: RecommendArgs) -> Result<(), CliError> {
    let examples = |ids: Vec<String>| {
        ids.into_iter().map(|id| Example { id: Some(id), ..Example::default() }).collect()
    };
    let request = RecommendRequest {
        positive: examples(args.like),
        negative: examples(args.unlike),
        strength: args.strength,
        k: args.k,
        using: args.using,
        exact: args.exact.then_some(true),
        filter: filter(&args.filter)?,
        include_metadata: Some(true),
        ..RecommendRequest::default()
    };
    let answer = context.client()?.recommend(&args.namespace, &request).await?;
    context.output.table_or_json(&hits_table(&answer.hits, false), &answer)
}
