//! `hvs import`: the rows of a file become records.
//!
//! Batches are formed in the order of the file and a few are on their way at once; what was
//! acknowledged in order is remembered in a small file, from which a later run goes on.

mod batch;
mod progress;
mod rejects;
mod state;

use std::{collections::VecDeque, path::PathBuf, time::Instant};

use clap::Args;
use hvs_api::NamespaceInfo;
use hvs_client::Client;
use serde::Serialize;
use tokio::task::JoinHandle;

use self::{
    batch::{Batch, Former, Sender, Sent},
    progress::Progress,
    rejects::Rejects,
    state::{Identity, Journal, Tally},
};
use crate::{
    args::Context,
    command::{CoordinatesArg, DurabilityArg, coordinates_kind, durability_kind},
    error::CliError,
    output::{TextTable, grouped},
    read::{self, DEFAULT_MAX_ROW_BYTES, Format, Mapping, Source},
};

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct ImportArgs {
    /// The namespace or an alias.
    namespace: String,
    /// The file, or `-` for the standard input.
    file: PathBuf,
    /// The format, where the file's name does not say it.
    #[arg(long)]
    format: Option<Format>,
    /// The column or field of the id.
    #[arg(long, default_value = "id", value_name = "COLUMN")]
    id: String,
    /// The column or field of the vector; or several columns, `x,y,z` or `x*`, one per coordinate.
    #[arg(long, default_value = "vector", value_name = "COLUMNS")]
    vector: String,
    /// The named vector to fill, where it is not the default one.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    vector_name: String,
    /// A column whose cells are JSON rather than text; may be repeated.
    #[arg(long, value_name = "COLUMN")]
    json_column: Vec<String>,
    /// JSON Lines: take fields that are not a record's own as metadata.
    #[arg(long)]
    rest: bool,
    /// numpy: a file with one id per line. Without it rows are named by their numbers.
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
    /// No line or row may be longer.
    #[arg(long, default_value_t = DEFAULT_MAX_ROW_BYTES, value_name = "BYTES")]
    max_row_bytes: u64,
    /// Which coordinates the vectors hold.
    #[arg(long)]
    coordinates: Option<CoordinatesArg>,
    /// Project points off the manifold onto it rather than refusing them.
    #[arg(long)]
    project: bool,
    /// When a batch is acknowledged.
    #[arg(long)]
    durability: Option<DurabilityArg>,
    /// Records per request.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    batch: u64,
    /// Requests on their way at once.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    in_flight: u64,
    /// Write every bad row to this file, as JSON Lines with the reason.
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Bad rows that are shown; all are counted.
    #[arg(long, default_value_t = 20, value_name = "ROWS")]
    show_bad: u64,
    /// Stop at the first bad row; nothing behind it is stored.
    #[arg(long, conflicts_with = "skip_bad")]
    strict: bool,
    /// Succeed although rows are bad.
    #[arg(long)]
    skip_bad: bool,
    /// Where to remember how far the import got; beside the file when left out.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Begin at the first row, whatever an earlier run has done.
    #[arg(long)]
    restart: bool,
}

/// What an import did.
#[derive(Debug, Serialize)]
struct Summary {
    file: String,
    namespace: String,
    /// Rows looked at, over all runs.
    rows: u64,
    imported: u64,
    bad: u64,
    /// The row that this run began with, where an earlier one had stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed_at_row: Option<u64>,
    seconds: f64,
    rows_per_second: f64,
}

pub(crate) async fn run(context: &Context, args: ImportArgs) -> Result<(), CliError> {
    let source = Source::from_argument(&args.file);
    let format = args.format.or_else(|| Format::of(&args.file)).ok_or_else(|| {
        CliError::Usage(format!("{source}: which format is it? Say it with --format"))
    })?;
    let mapping = Mapping {
        id: args.id.clone(),
        vector: args.vector.clone(),
        vector_name: args.vector_name.clone(),
        json_columns: args.json_column.clone(),
        rest: args.rest,
        ids: args.ids.clone(),
        max_row_bytes: args.max_row_bytes,
    };
    let settings = format!("{format} {mapping:?} {:?} {}", args.coordinates, args.project);
    let fingerprint = match &source {
        Source::File(file) => state::fingerprint(file)?,
        Source::StandardInput => String::new(),
    };
    let ids = match &args.ids {
        Some(ids) if format == Format::Npy => Some(state::fingerprint(ids)?),
        _ => None,
    };
    let client = context.patient_client()?;
    // Rows go to the namespace that the name leads to now, wherever an alias leads meanwhile.
    let NamespaceInfo { name, uid, .. } = client.get_namespace(&args.namespace).await?;
    let namespace = args.namespace.clone();
    let identity = Identity { namespace, uid: uid.clone(), settings, fingerprint, ids };
    let mut journal = Journal::open(&source, args.state.clone(), identity, args.restart)?;
    let begun_at = journal.tally();
    let reader = read::open(&source, format, &mapping, begun_at.position)?;
    let mut progress = Progress::new(reader.extent(), begun_at.position, context.output.json);
    let mut rejects = Rejects::open(
        &source,
        args.rejects.as_deref(),
        args.show_bad,
        begun_at.position.row > 0,
        context.output.json,
    )?;
    journal.begin()?;
    let sender = Sender {
        client: client.clone(),
        namespace: name.clone(),
        import: journal.import().to_owned(),
        durability: durability_kind(args.durability),
        coordinates: coordinates_kind(args.coordinates),
        project: args.project.then_some(true),
    };
    let started = Instant::now();
    let in_flight = usize::try_from(args.in_flight).unwrap_or(1);
    let size = usize::try_from(args.batch).unwrap_or(1);
    let mut line = Line {
        former: Some(Former::new(reader, size, in_flight, args.strict)),
        sender,
        waiting: VecDeque::new(),
        most: in_flight,
        strict: args.strict,
    };
    let mut done = Done { journal: &mut journal, rejects: &mut rejects, progress: &mut progress };
    let mut result = line.run(&mut done).await;
    if result.is_ok() {
        result = is_the_same(&client, &name, &uid).await;
    }
    line.abandon();
    progress.finish();
    let tally = journal.tally();
    if let Err(cause) = result {
        let resume = journal.how_to_resume(&cause);
        return Err(CliError::Stopped { cause: Box::new(cause), rows: tally.position.row, resume });
    }
    journal.finish()?;
    rejects.finish()?;
    report(context, &args, &source, begun_at, tally, started)
}

/// A namespace that was deleted and created again while rows were sent has only the later ones.
async fn is_the_same(client: &Client, name: &str, uid: &str) -> Result<(), CliError> {
    if client.get_namespace(name).await?.uid == uid {
        return Ok(());
    }
    Err(CliError::Wrong(format!(
        "the namespace {name:?} was deleted and created again meanwhile, and lacks rows"
    )))
}

fn report(
    context: &Context,
    args: &ImportArgs,
    source: &Source,
    begun_at: Tally,
    tally: Tally,
    started: Instant,
) -> Result<(), CliError> {
    let seconds = started.elapsed().as_secs_f64();
    let rows = tally.position.row - begun_at.position.row;
    let summary = Summary {
        file: source.to_string(),
        namespace: args.namespace.clone(),
        rows: tally.position.row,
        imported: tally.imported,
        bad: tally.bad,
        resumed_at_row: (begun_at.position.row > 0).then_some(begun_at.position.row),
        seconds,
        rows_per_second: rows as f64 / seconds.max(1e-9),
    };
    let mut table = TextTable::new(&["#rows", "#imported", "#bad", "#seconds", "#rows/s"]);
    table.row([
        grouped(summary.rows),
        grouped(summary.imported),
        grouped(summary.bad),
        format!("{seconds:.1}"),
        format!("{:.0}", summary.rows_per_second),
    ]);
    context.output.table_or_json(&table, &summary)?;
    if tally.bad > 0 && !args.skip_bad {
        return Err(CliError::Wrong(format!(
            "{} of {} rows were bad and are not in the namespace",
            grouped(tally.bad),
            grouped(tally.position.row)
        )));
    }
    Ok(())
}

/// What is done with a batch once it is answered, in the order of the file.
struct Done<'a> {
    journal: &'a mut Journal,
    rejects: &'a mut Rejects,
    progress: &'a mut Progress,
}

impl Done<'_> {
    fn take(&mut self, sent: &Sent, strict: bool) -> Result<(), CliError> {
        if strict && let Some(first) = sent.rejected.first() {
            self.journal.advance(sent.end, sent.imported, 0)?;
            return Err(CliError::Wrong(self.rejects.describe(first)));
        }
        for reject in &sent.rejected {
            self.rejects.add(reject, self.progress)?;
        }
        self.journal.advance(sent.end, sent.imported, sent.rejected.len() as u64)?;
        self.progress.set(sent.end);
        Ok(())
    }
}

/// Batches on their way.
struct Line {
    /// Absent only while a batch is being formed.
    former: Option<Former>,
    sender: Sender,
    waiting: VecDeque<JoinHandle<Result<Sent, CliError>>>,
    most: usize,
    strict: bool,
}

impl Line {
    async fn run(&mut self, done: &mut Done<'_>) -> Result<(), CliError> {
        while let Some(batch) = self.form().await? {
            let room = if batch.after_all_before { 0 } else { self.most.saturating_sub(1) };
            self.drain(room, done).await?;
            // What is known to be bad must stop a strict import before anything behind it is
            // written.
            if self.strict && !batch.rejected.is_empty() {
                self.drain(0, done).await?;
            }
            let sender = self.sender.clone();
            let strict = self.strict;
            self.waiting.push_back(tokio::spawn(async move { sender.send(batch, strict).await }));
            if self.strict {
                self.drain(0, done).await?;
            }
        }
        self.drain(0, done).await
    }

    /// Reading may wait for a disk, so it is done aside.
    async fn form(&mut self) -> Result<Option<Batch>, CliError> {
        let Some(mut former) = self.former.take() else { return Ok(None) };
        let formed = tokio::task::spawn_blocking(move || {
            let batch = former.next_batch();
            (former, batch)
        });
        let (former, batch) =
            formed.await.map_err(|error| CliError::System(format!("reading failed: {error}")))?;
        self.former = Some(former);
        Ok(batch?)
    }

    /// Waits until at most `room` batches are unanswered.
    async fn drain(&mut self, room: usize, done: &mut Done<'_>) -> Result<(), CliError> {
        while self.waiting.len() > room {
            let Some(oldest) = self.waiting.pop_front() else { break };
            let sent = oldest
                .await
                .map_err(|error| CliError::System(format!("sending failed: {error}")))??;
            done.take(&sent, self.strict)?;
        }
        Ok(())
    }

    fn abandon(&mut self) {
        for task in self.waiting.drain(..) {
            task.abort();
        }
    }
}
