//! `hvs search`.

use clap::Args;
use hvs_api::{Explain, Hit, SearchRequest};

use super::{
    records::object,
    values::{self, CoordinatesArg},
};
use crate::{
    args::Context,
    command::{coordinates_kind, filter},
    error::CliError,
    output::{TextTable, coordinates},
};

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct SearchArgs {
    /// The namespace or an alias.
    namespace: String,
    /// The query: `0.1,0.2`, `[0.1, 0.2]`, or `-` to read it from the standard input.
    #[arg(long, short, allow_hyphen_values = true,
          required_unless_present_any = ["id", "text"])]
    vector: Option<String>,
    /// The record whose vector is the query, in place of --vector; it is its own nearest.
    #[arg(long, conflicts_with = "vector")]
    id: Option<String>,
    /// Words that records are to have in their text fields: alone, or fused with the vector.
    #[arg(long, short, conflicts_with = "radius")]
    text: Option<String>,
    /// At most this many hits; 10 unless there is a radius.
    #[arg(short)]
    k: Option<u64>,
    /// Only hits at most this far away.
    #[arg(long, short, allow_negative_numbers = true)]
    radius: Option<f64>,
    /// How widely the graph is searched: more finds more and takes longer.
    #[arg(long)]
    ef: Option<u64>,
    /// How many lists of an IVF index are looked into: more finds more and takes longer.
    #[arg(long)]
    nprobe: Option<u64>,
    /// Look at every vector.
    #[arg(long)]
    exact: bool,
    /// Only records whose metadata field equals the value; may be repeated.
    #[arg(long, short, value_name = "FIELD=VALUE")]
    filter: Vec<String>,
    /// Only records of this partition key.
    #[arg(long)]
    partition_key: Option<String>,
    /// The named vector to search.
    #[arg(long, value_name = "NAME")]
    using: Option<String>,
    /// The geometry that the query is given in, where it is not the namespace's.
    #[arg(long)]
    geometry: Option<String>,
    /// The curvature that the query is given in.
    #[arg(long, allow_hyphen_values = true)]
    curvature: Option<f64>,
    /// Which coordinates are given.
    #[arg(long)]
    coordinates: Option<CoordinatesArg>,
    /// Project a query off the manifold onto it rather than being refused.
    #[arg(long)]
    project: bool,
    /// Show the vectors of the hits.
    #[arg(long)]
    with_vectors: bool,
    /// Leave out the metadata of the hits.
    #[arg(long)]
    no_metadata: bool,
    /// Say how it was found.
    #[arg(long)]
    explain: bool,
    /// Find the answer anew, also if an equal search was answered before.
    #[arg(long)]
    no_cache: bool,
    /// Gather the hits by the values of a field, in place of -k.
    #[arg(long, value_name = "FIELD", conflicts_with = "k")]
    group_by: Option<String>,
    /// Most groups.
    #[arg(long, requires = "group_by")]
    groups: Option<u64>,
    /// Most hits of a group.
    #[arg(long, requires = "group_by")]
    group_size: Option<u64>,
}

const DEFAULT_K: u64 = 10;

pub(crate) async fn run(context: &Context, args: SearchArgs) -> Result<(), CliError> {
    let client = context.client()?;
    let vector = match (&args.vector, &args.id) {
        (Some(text), _) => Some(values::vector(text)?),
        (None, Some(id)) => {
            let record = client.get(&args.namespace, id, args.partition_key.as_deref()).await?;
            let using = args.using.as_deref().unwrap_or_default();
            let vector = if using.is_empty() {
                record.vector
            } else {
                record.vectors.into_iter().find(|(name, _)| name == using).map(|(_, it)| it)
            };
            let missing = || CliError::Wrong(format!("{id:?} has no such vector"));
            Some(vector.ok_or_else(missing)?)
        }
        (None, None) => None,
    };
    let request = SearchRequest {
        vector,
        text: args.text,
        fusion: None,
        using: args.using,
        k: args.k.or((args.radius.is_none() && args.group_by.is_none()).then_some(DEFAULT_K)),
        radius: args.radius,
        ef: args.ef,
        nprobe: args.nprobe,
        exact: args.exact.then_some(true),
        filter: filter(&args.filter)?,
        partition_key: args.partition_key,
        coordinates: coordinates_kind(args.coordinates),
        geometry: args.geometry,
        curvature: args.curvature,
        project: args.project.then_some(true),
        include_vectors: args.with_vectors.then_some(true),
        include_metadata: (!args.no_metadata).then_some(true),
        explain: args.explain.then_some(true),
        cache: args.no_cache.then_some(false),
        group_by: args.group_by,
        groups: args.groups,
        group_size: args.group_size,
    };
    let answer = client.search(&args.namespace, &request).await?;
    let output = context.output;
    if request.group_by.is_some() && !output.json {
        for group in answer.groups.iter().flatten() {
            output.line(&group.value.to_string())?;
            output.line(&hits_table(&group.hits, args.with_vectors).render())?;
        }
        return Ok(());
    }
    output.table_or_json(&hits_table(&answer.hits, args.with_vectors), &answer)?;
    if output.json {
        return Ok(());
    }
    if answer.truncated {
        output.line("More records lie within the radius than the node answers at once.")?;
    }
    match &answer.explain {
        Some(explain) => output.line(&explanation(explain).render()),
        None => Ok(()),
    }
}

pub(super) fn hits_table(hits: &[Hit], with_vectors: bool) -> TextTable {
    let mut columns = vec!["#rank", "id", "#distance", "#score", "metadata"];
    if with_vectors {
        columns.push("vector");
    }
    let mut table = TextTable::new(&columns);
    for hit in hits {
        let mut cells = vec![
            hit.rank.to_string(),
            hit.id.clone(),
            hit.distance.map(|distance| format!("{distance:.6}")).unwrap_or_default(),
            format!("{:.4}", hit.score),
            object(hit.metadata.as_ref()),
        ];
        if with_vectors {
            cells.push(hit.vector.as_ref().map(|it| coordinates(it)).unwrap_or_default());
        }
        table.row(cells);
    }
    table
}

fn explanation(explain: &Explain) -> TextTable {
    let mut table =
        TextTable::new(&["#shard", "strategy", "#scanned", "exact", "#index time (us)"]);
    for shard in &explain.shards {
        table.row([
            shard.shard.to_string(),
            format!("{}{}", shard.strategy, if shard.cached { " (cached)" } else { "" }),
            shard.scanned.to_string(),
            if shard.exact { "yes" } else { "no" }.to_owned(),
            format!("{:.0}", shard.index_us),
        ]);
    }
    table
}
