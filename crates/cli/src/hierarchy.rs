//! `hvs embed-hierarchy`: an edge list becomes points.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use clap::{Args, ValueEnum};
use hvs_geometry::{
    Precision,
    hierarchy::{
        Construction, EmbedOptions, Embedding, Hierarchy, HierarchyBuilder, Reconstruction,
        ReconstructionOptions, embed, reconstruction,
    },
};
use serde_json::json;

use crate::{
    args::Context,
    error::CliError,
    geometry::precision,
    output::{TextTable, grouped},
};

#[derive(Debug, Args)]
pub(crate) struct EmbedArgs {
    /// The edges, one per line: child, tab (or comma in a .csv), parent. A line with one name is
    /// a node by itself; `-` reads the standard input.
    edges: PathBuf,
    /// Where the points go, as JSON Lines for `hvs import`; standard output when left out.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// The dimension of the hyperbolic space.
    #[arg(long, short, default_value_t = 10)]
    dimension: usize,
    /// What the namespace stores with: f32 or f64.
    #[arg(long, default_value = "f64", value_parser = precision)]
    precision: Precision,
    /// The farthest that a point may lie from the root; what the precision holds when left out.
    #[arg(long)]
    max_radius: Option<f64>,
    /// How nodes are arranged.
    #[arg(long, value_enum, default_value_t = ConstructionArg::Automatic)]
    construction: ConstructionArg,
    /// The first line names the columns.
    #[arg(long)]
    header: bool,
    /// Measure how well the distances give the hierarchy back (nodes squared times dimension
    /// steps: a minute for 80,000 nodes).
    #[arg(long)]
    report: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ConstructionArg {
    /// Whatever a sample shows to be better.
    Automatic,
    /// Nested balls: for trees.
    Packing,
    /// Along a curve: where nodes have several parents.
    Curve,
}

pub(crate) fn run(context: &Context, args: &EmbedArgs) -> Result<(), CliError> {
    let hierarchy = read(args)?;
    let mut options = EmbedOptions::new(args.dimension);
    options.precision = args.precision;
    options.max_radius = args.max_radius;
    options.construction = match args.construction {
        ConstructionArg::Automatic => Construction::Automatic,
        ConstructionArg::Packing => Construction::Packing,
        ConstructionArg::Curve => Construction::Curve,
    };
    let started = Instant::now();
    let embedding =
        embed(&hierarchy, &options).map_err(|error| CliError::Geometry(error.to_string()))?;
    let seconds = started.elapsed().as_secs_f64();
    let scores = if args.report {
        let scores = reconstruction(
            &hierarchy,
            &embedding.points,
            embedding.dimension,
            &ReconstructionOptions::default(),
        );
        Some(scores.map_err(|error| CliError::Geometry(error.to_string()))?)
    } else {
        None
    };
    write_points(args, &hierarchy, &embedding)?;
    tell(context, args, &hierarchy, &embedding, scores.as_ref(), seconds)
}

fn read(args: &EmbedArgs) -> Result<Hierarchy, CliError> {
    let path = &args.edges;
    let failed = |source: io::Error| CliError::File { path: path.clone(), source };
    let separator = if path.extension().is_some_and(|it| it.eq_ignore_ascii_case("csv")) {
        b','
    } else {
        b'\t'
    };
    let mut input: Box<dyn io::BufRead> = if path == Path::new("-") {
        Box::new(BufReader::new(io::stdin()))
    } else {
        Box::new(BufReader::new(File::open(path).map_err(failed)?))
    };
    // A byte-order mark is no part of a name.
    if input.fill_buf().map_err(failed)?.starts_with(b"\xef\xbb\xbf") {
        input.consume(3);
    }
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(args.header)
        .flexible(true)
        .quoting(separator == b',')
        .from_reader(input);
    let mut builder = HierarchyBuilder::new();
    let mut record = csv::StringRecord::new();
    loop {
        let bad = |line: Option<u64>, detail: String| CliError::Content {
            path: path.clone(),
            detail: match line {
                Some(line) => format!("line {line}: {detail}"),
                None => detail,
            },
        };
        let more = reader
            .read_record(&mut record)
            .map_err(|error| bad(error.position().map(csv::Position::line), error.to_string()))?;
        if !more {
            break;
        }
        let line = record.position().map(csv::Position::line);
        let mut names = record.iter().map(str::trim);
        match (names.next(), names.next(), names.next()) {
            (Some(""), ..) => return Err(bad(line, "the child has no name".to_owned())),
            (Some(node), None, _) | (Some(node), Some(""), None) => {
                builder.node(node);
            }
            (Some(child), Some(parent), None) => {
                builder.edge(child, parent);
            }
            (None, ..) => {}
            (Some(_), Some(_), Some(_)) => {
                let detail = format!("{} fields; a child and a parent are needed", record.len());
                return Err(bad(line, detail));
            }
        }
    }
    builder
        .build()
        .map_err(|error| CliError::Content { path: path.clone(), detail: error.to_string() })
}

fn write_points(
    args: &EmbedArgs,
    hierarchy: &Hierarchy,
    embedding: &Embedding,
) -> Result<(), CliError> {
    let failed = |source: io::Error| match &args.output {
        Some(path) => CliError::File { path: path.clone(), source },
        None => CliError::Output(source),
    };
    let mut out: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(BufWriter::new(File::create(path).map_err(failed)?)),
        None => Box::new(BufWriter::new(io::stdout())),
    };
    let points = embedding.points.chunks_exact(embedding.dimension.max(1));
    for ((node, name), point) in (0_u32..).zip(hierarchy.names()).zip(points) {
        let parents: Vec<&str> =
            hierarchy.parents(node).iter().filter_map(|&parent| hierarchy.name(parent)).collect();
        let line = json!({
            "id": name,
            "vector": point,
            "coordinates": "spatial",
            "metadata": { "parents": parents },
        });
        writeln!(out, "{line}").map_err(failed)?;
    }
    out.flush().map_err(failed)
}

/// What came out, on standard error where standard output has the points.
fn tell(
    context: &Context,
    args: &EmbedArgs,
    hierarchy: &Hierarchy,
    embedding: &Embedding,
    scores: Option<&Reconstruction>,
    seconds: f64,
) -> Result<(), CliError> {
    let report = &embedding.report;
    let construction = format!("{:?}", report.construction).to_lowercase();
    let text = if context.output.json {
        let score = |score: &hvs_geometry::hierarchy::RelationScore| {
            json!({
                "map": score.map, "mean_rank": score.mean_rank,
                "nodes": score.nodes, "pairs": score.pairs,
            })
        };
        let value = json!({
            "nodes": report.nodes,
            "edges": report.edges,
            "duplicate_edges": hierarchy.duplicates(),
            "several_parents": report.several_parents,
            "dimension": embedding.dimension,
            "construction": construction,
            "squeeze": report.squeeze,
            "max_radius": report.max_radius,
            "mean_radius": report.mean_radius,
            "smallest_sibling_distance": finite(report.smallest_sibling_distance),
            "rounding": report.rounding,
            "coincident": report.coincident,
            "seconds": seconds,
            "ancestors": scores.map(|scores| score(&scores.ancestors)),
            "neighbours": scores.map(|scores| score(&scores.neighbours)),
        });
        // On standard error each line is one value.
        let written = if args.output.is_some() {
            serde_json::to_string_pretty(&value)
        } else {
            serde_json::to_string(&value)
        };
        written.map_err(|error| CliError::System(format!("cannot write the result: {error}")))?
    } else {
        let mut table = TextTable::new(&["", "#value"]);
        let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
        row("nodes", grouped(report.nodes as u64));
        row("edges", grouped(report.edges as u64));
        row("nodes with several parents", grouped(report.several_parents as u64));
        row("construction", construction);
        row("farthest from the origin", format!("{:.2}", report.max_radius));
        row("squeezed to", format!("{:.0} %", 100.0 * report.squeeze));
        row("nearest siblings", format!("{:.2e}", report.smallest_sibling_distance));
        row("rounding moves points by up to", format!("{:.2e}", report.rounding));
        row("points that coincide", grouped(report.coincident as u64));
        row("seconds", format!("{seconds:.1}"));
        if let Some(scores) = scores {
            row("ancestors: MAP", format!("{:.3}", scores.ancestors.map));
            row("ancestors: mean rank", format!("{:.2}", scores.ancestors.mean_rank));
            row("neighbours: MAP", format!("{:.3}", scores.neighbours.map));
            row("neighbours: mean rank", format!("{:.2}", scores.neighbours.mean_rank));
        }
        table.render()
    };
    if args.output.is_some() {
        return context.output.line(&text);
    }
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(io::stderr(), "{text}");
    Ok(())
}

/// JSON has no infinity.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
