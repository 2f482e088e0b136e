//! `hvs bench`: a few seconds of load on a running node.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use clap::Args;
use hvs_api::{
    BatchOperation, BatchRequest, Code, CreateNamespace, PutRecord, ScrollRequest, SearchRequest,
    Vector,
};
use hvs_client::{Client, ClientError};
use hvs_geometry::{Geometry, Space};
use rand::{SeedableRng, rngs::StdRng};
use serde::Serialize;

use crate::{
    args::Context,
    error::CliError,
    output::{TextTable, grouped},
};

/// How far from the origin the points reach: within it f32 holds distances to six digits.
const RADIUS: f64 = 4.0;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Only read, from this namespace; otherwise one is made, filled, measured and deleted.
    #[arg(long)]
    namespace: Option<String>,
    /// Records of the namespace that is made.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(10..=10_000_000))]
    records: u64,
    /// The dimension of its hyperbolic space.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(2..=4_096))]
    dimension: u64,
    /// Hits per search.
    #[arg(short, default_value_t = 10)]
    k: u64,
    /// How widely the graph is searched; the namespace's own when left out.
    #[arg(long)]
    ef: Option<u64>,
    /// Seconds per kind of request.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

impl BenchArgs {
    pub(crate) fn makes_a_namespace(&self) -> bool {
        self.namespace.is_none()
    }
}

/// The latencies of one kind of request.
#[derive(Debug, Serialize)]
struct Row {
    request: &'static str,
    count: u64,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

pub(crate) async fn run(context: &Context, args: BenchArgs) -> Result<(), CliError> {
    if !(args.seconds.is_finite() && args.seconds > 0.0 && args.seconds <= 3_600.0) {
        return Err(CliError::Usage("--seconds must be above 0 and at most 3600".to_owned()));
    }
    let client = context.client()?;
    let rows = if let Some(name) = &args.namespace {
        reads(&client, name, &args).await?
    } else {
        in_own_namespace(&client, &args).await?
    };
    let mut table =
        TextTable::new(&["request", "#count", "#per second", "#p50 ms", "#p99 ms", "#max ms"]);
    for row in &rows {
        table.row([
            row.request.to_owned(),
            grouped(row.count),
            format!("{:.0}", row.per_second),
            format!("{:.3}", row.p50_ms),
            format!("{:.3}", row.p99_ms),
            format!("{:.3}", row.max_ms),
        ]);
    }
    context.output.table_or_json(&table, &rows)
}

/// Makes a namespace, measures with it, and deletes it, whatever the measurement came to and also
/// when the keyboard interrupts it; a second interruption gives that up.
async fn in_own_namespace(client: &Client, args: &BenchArgs) -> Result<Vec<Row>, CliError> {
    let name = format!("hvs-bench-{}", hvs_client::idempotency_key());
    let request = CreateNamespace {
        geometry: Some("hyperboloid".to_owned()),
        dimension: Some(args.dimension),
        ..CreateNamespace::default()
    };
    let mut interrupted = pin!(interruption());
    let mut creation = pin!(client.create_namespace(&name, &request));
    let created = tokio::select! {
        biased;
        () = &mut interrupted => {
            // Were it left alone, it might be carried out after the deletion.
            let _ = creation.await;
            Err(CliError::Interrupted)
        }
        created = &mut creation => created.map(|_| ()).map_err(CliError::from),
    };
    let measured = async {
        created?;
        measure(client, &name, args).await
    };
    let result = tokio::select! {
        // First, for after an interruption it ends at once, and nothing else may be asked.
        biased;
        result = measured => result,
        () = &mut interrupted => Err(CliError::Interrupted),
    };
    let deleted = tokio::select! {
        deleted = client.delete_namespace(&name) => deleted.map_err(CliError::from),
        () = interruption() => Err(CliError::Interrupted),
    };
    match (result, deleted) {
        (result, Ok(_)) => result,
        // It was never made.
        (Err(error), Err(CliError::Client(gone)))
            if gone.code() == Some(Code::NamespaceNotFound) =>
        {
            Err(error)
        }
        (result, Err(reason)) => Err(CliError::LeftBehind {
            cause: result.err().map(Box::new),
            namespace: name.clone(),
            reason: Box::new(reason),
        }),
    }
}

/// Ends at the next Ctrl-C.
async fn interruption() {
    if tokio::signal::ctrl_c().await.is_err() {
        // There is no such thing here.
        std::future::pending::<()>().await;
    }
}

async fn measure(client: &Client, name: &str, args: &BenchArgs) -> Result<Vec<Row>, CliError> {
    let dimension = usize::try_from(args.dimension).unwrap_or(usize::MAX);
    let space = Space::new(Geometry::Hyperboloid, dimension, -1.0)
        .map_err(|error| CliError::Geometry(error.to_string()))?;
    let mut rng = StdRng::seed_from_u64(0);
    let mut point = || {
        space.random_point(&mut rng, RADIUS).map_err(|error| CliError::Geometry(error.to_string()))
    };
    let mut record = |number: u64| -> Result<PutRecord, CliError> {
        let (id, vector) = (Some(format!("r{number}")), Some(Vector(point()?)));
        Ok(PutRecord { id, vector, ..PutRecord::default() })
    };
    let mut batches = Vec::new();
    let mut number = 0;
    while number < args.records {
        let count = (args.records - number).min(1_000);
        let mut operations = Vec::new();
        for _ in 0..count {
            operations.push(BatchOperation::Put(record(number)?));
            number += 1;
        }
        let batch = BatchRequest { operations, ..BatchRequest::default() };
        let started = Instant::now();
        client.batch(name, &batch, None).await?;
        batches.push(started.elapsed());
    }
    let mut puts = Vec::new();
    let until = Instant::now() + Duration::from_secs_f64(args.seconds);
    while Instant::now() < until {
        let next = record(number)?;
        number += 1;
        let started = Instant::now();
        client.put(name, &next, None).await?;
        puts.push(started.elapsed());
    }
    let mut rows = vec![row("batch of 1,000 puts", batches), row("put", puts)];
    rows.extend(reads(client, name, args).await?);
    Ok(rows)
}

/// Gets and searches with what the namespace holds.
async fn reads(client: &Client, name: &str, args: &BenchArgs) -> Result<Vec<Row>, CliError> {
    let request = ScrollRequest {
        limit: Some(1_000),
        include_metadata: Some(false),
        ..ScrollRequest::default()
    };
    let page = client.scroll(name, &request).await?;
    let known: Vec<_> = page
        .records
        .into_iter()
        .filter_map(|record| Some((record.id, record.partition_key, record.vector?)))
        .collect();
    if known.is_empty() {
        return Err(CliError::Wrong(format!("{name} has no record with a default vector")));
    }
    let until = Instant::now() + Duration::from_secs_f64(args.seconds);
    let mut gets = Vec::new();
    for (id, key, _) in known.iter().cycle() {
        if Instant::now() >= until {
            break;
        }
        let started = Instant::now();
        match client.get(name, id, key.as_deref()).await {
            // Others may delete what was there.
            Ok(_) => gets.push(started.elapsed()),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let until = Instant::now() + Duration::from_secs_f64(args.seconds);
    let mut searches = Vec::new();
    for (_, _, vector) in known.iter().cycle() {
        if Instant::now() >= until {
            break;
        }
        let request = SearchRequest {
            vector: Some(vector.clone()),
            k: Some(args.k),
            ef: args.ef,
            // What is measured is a search, not the memory of one.
            cache: Some(false),
            ..SearchRequest::default()
        };
        let started = Instant::now();
        client.search(name, &request).await?;
        searches.push(started.elapsed());
    }
    Ok(vec![row("get", gets), row("search", searches)])
}

fn is_gone(error: &ClientError) -> bool {
    error.code() == Some(Code::VectorNotFound)
}

fn row(request: &'static str, mut latencies: Vec<Duration>) -> Row {
    latencies.sort_unstable();
    let total: Duration = latencies.iter().sum();
    let at = |percent: usize| {
        let index = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    };
    Row {
        request,
        count: latencies.len() as u64,
        per_second: latencies.len() as f64 / total.as_secs_f64().max(1e-9),
        p50_ms: at(50),
        p99_ms: at(99),
        max_ms: at(100),
    }
}
