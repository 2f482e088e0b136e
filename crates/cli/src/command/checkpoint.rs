//! `hvs checkpoint`.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use hvs_api::{
    CheckpointInfo, CheckpointKind, CheckpointList, CreateCheckpoint, DamagedCheckpoints,
    RestoreRequest, TaskInfo, TaskKind, TaskState,
};
use hvs_client::{Client, ClientError};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::{
    args::Context,
    error::CliError,
    output::{TextTable, grouped},
};

/// How often a task is asked for: soon at first, since most are short.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How often where it is shown as lines: they stay in the log of a job.
const LINE_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Subcommand)]
pub(crate) enum CheckpointCommand {
    /// Make a checkpoint of a namespace.
    Create {
        /// The namespace or an alias.
        namespace: String,
        /// Write everything, not only what changed since the checkpoint before.
        #[arg(long)]
        full: bool,
    },
    /// List the checkpoints of a namespace, or of all at the node's place for them.
    List {
        /// The namespace or an alias.
        namespace: Option<String>,
    },
    /// Read all of a checkpoint and check it.
    Verify {
        /// The namespace or an alias.
        namespace: String,
        /// Its id; the newest one if left out.
        #[arg(long)]
        id: Option<u64>,
    },
    /// Make a new namespace from a checkpoint.
    Restore(RestoreArgs),
    /// Delete a checkpoint; what other ones need of it stays.
    Delete {
        /// The namespace or an alias.
        namespace: String,
        /// Its id.
        id: u64,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The new namespace.
    namespace: String,
    /// The namespace that the checkpoint is of.
    #[arg(long, value_name = "NAMESPACE", required_unless_present = "from_url")]
    from: Option<String>,
    /// Where its checkpoints are, as `checkpoint list` shows it, in place of --from.
    #[arg(long, value_name = "URL", conflicts_with = "from")]
    from_url: Option<String>,
    /// The checkpoint; the newest one if left out.
    #[arg(long)]
    id: Option<u64>,
    /// The last log entry that is wanted of each shard, in place of --id.
    #[arg(long, value_delimiter = ',', conflicts_with = "id")]
    seq: Option<Vec<u64>>,
}

pub(crate) async fn run(context: &Context, command: CheckpointCommand) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        CheckpointCommand::Create { namespace, full } => {
            let kind = if full { CheckpointKind::Full } else { CheckpointKind::Incremental };
            let begun = client.create_checkpoint(&namespace, &CreateCheckpoint { kind }).await?;
            let task = ended(context, &client, begun).await?;
            show(context, &task, task.checkpoint.as_slice())
        }
        CheckpointCommand::List { namespace: Some(namespace) } => {
            let list = client.list_checkpoints(&namespace).await?;
            context.output.table_or_json(&table(&list.checkpoints), &list)
        }
        CheckpointCommand::List { namespace: None } => {
            let all = client.list_all_checkpoints().await?;
            for DamagedCheckpoints { url, reason } in &all.damaged {
                // A message; the list has it as well.
                let _ = writeln!(io::stderr(), "{url}: {reason}");
            }
            context.output.table_or_json(&places(&all.namespaces), &all)
        }
        CheckpointCommand::Verify { namespace, id } => {
            let id = match id {
                Some(id) => id,
                None => newest(&client, &namespace).await?,
            };
            let begun = client.verify_checkpoint(&namespace, id).await?;
            let task = ended(context, &client, begun).await?;
            if context.output.json {
                return context.output.json(&task);
            }
            let (rows, bytes) = (grouped(task.rows), grouped(task.bytes));
            context.output.line(&format!("checkpoint {id} is whole: {rows} rows, {bytes} bytes"))
        }
        CheckpointCommand::Restore(args) => {
            let request = RestoreRequest {
                namespace: args.namespace,
                source: args.from,
                url: args.from_url,
                checkpoint: args.id,
                seqs: args.seq,
            };
            let task = ended(context, &client, client.restore(&request).await?).await?;
            let info = client.get_namespace(&request.namespace).await?;
            if context.output.json {
                return context.output.json(&task);
            }
            let from = task.checkpoint.map_or_else(
                || "the beginning of its log".to_owned(),
                |checkpoint| format!("checkpoint {}", checkpoint.id),
            );
            let seqs = list(task.restored_seqs.as_deref().unwrap_or_default());
            let text = format!(
                "{} has {} records, from {from}, up to seq {seqs}",
                info.name,
                grouped(info.records)
            );
            context.output.line(&text)
        }
        CheckpointCommand::Delete { namespace, id, yes } => {
            if !yes && !confirmed(&namespace, id)? {
                return Err(CliError::Usage("nothing was deleted".to_owned()));
            }
            let deleted = client.delete_checkpoint(&namespace, id).await?;
            if context.output.json {
                return context.output.json(&deleted);
            }
            let objects = deleted.removed_objects;
            context.output.line(&format!("deleted checkpoint {id}, with {objects} objects"))
        }
    }
}

async fn newest(client: &Client, namespace: &str) -> Result<u64, CliError> {
    let list = client.list_checkpoints(namespace).await?;
    match list.checkpoints.last() {
        Some(newest) => Ok(newest.id),
        None => Err(CliError::Wrong(format!("{namespace} has no checkpoints"))),
    }
}

fn confirmed(namespace: &str, id: u64) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        let text = "standard input is no terminal to ask on; give --yes".to_owned();
        return Err(CliError::Usage(text));
    }
    let mut stderr = io::stderr();
    write!(stderr, "Delete checkpoint {id} of {namespace}? [y/N] ")
        .and_then(|()| stderr.flush())
        .map_err(CliError::Output)?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|error| CliError::System(format!("cannot read the answer: {error}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Follows a task to its end, and shows how far it is on standard error. What it failed with is
/// what the command fails with.
pub(super) async fn ended(
    context: &Context,
    client: &Client,
    mut task: TaskInfo,
) -> Result<TaskInfo, CliError> {
    let mut shown = Shown::new(context.output.json, io::stderr().is_terminal());
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    while task.state == TaskState::Running {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        task = client.task(&task.id).await?;
        shown.see(&task, begun.elapsed());
    }
    shown.end(&task, begun.elapsed());
    match task.problem {
        Some(problem) => Err(ClientError::Problem(Box::new(problem)).into()),
        None => Ok(task),
    }
}

/// How the progress of a task is shown.
enum Shown {
    /// On a terminal.
    Bar(ProgressBar),
    /// Elsewhere: lines now and then, and one at the end.
    Lines(Lines),
    /// On a terminal where scripts read the result.
    Nothing,
}

impl Shown {
    fn new(json: bool, is_terminal: bool) -> Self {
        match (json, is_terminal) {
            (_, false) => Self::Lines(Lines { json, last: Duration::ZERO }),
            (false, true) => Self::Bar(bar()),
            (true, true) => Self::Nothing,
        }
    }

    fn see(&mut self, task: &TaskInfo, elapsed: Duration) {
        match self {
            Self::Bar(bar) => {
                bar.set_length(task.total_rows.max(task.rows));
                bar.set_position(task.rows);
            }
            Self::Lines(lines) => say(lines.line(task, elapsed)),
            Self::Nothing => {}
        }
    }

    fn end(&self, task: &TaskInfo, elapsed: Duration) {
        match self {
            Self::Bar(bar) => bar.finish_and_clear(),
            Self::Lines(lines) => say(lines.last(task, elapsed)),
            Self::Nothing => {}
        }
    }
}

/// Beside the result, which is on standard output. That nobody reads it is no failure.
fn say(line: Option<String>) {
    if let Some(line) = line {
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// Progress as lines.
struct Lines {
    /// Whether each is an object of JSON.
    json: bool,
    /// When the last one was, since the beginning.
    last: Duration,
}

impl Lines {
    /// The line that is due, if one is.
    fn line(&mut self, task: &TaskInfo, elapsed: Duration) -> Option<String> {
        if task.state != TaskState::Running || elapsed < self.last + LINE_EVERY {
            return None;
        }
        self.last = elapsed;
        if self.json {
            return Some(progress_json(task));
        }
        let percent = match task.total_rows {
            0 => String::new(),
            total => format!(", {} %", task.rows.min(total).saturating_mul(100) / total),
        };
        let (rows, total) = (grouped(task.rows), grouped(task.total_rows));
        let what = doing(task.kind);
        Some(format!("{what} {}: {rows} of {total} rows{percent}", task.namespace))
    }

    /// The last one, unless it failed: that is said by the failure.
    fn last(&self, task: &TaskInfo, elapsed: Duration) -> Option<String> {
        if task.state != TaskState::Done {
            return None;
        }
        if self.json {
            return Some(progress_json(task));
        }
        let (what, rows, seconds) = (doing(task.kind), grouped(task.rows), elapsed.as_secs_f64());
        Some(format!("{what} {}: done, {rows} rows in {seconds:.1} s", task.namespace))
    }
}

fn progress_json(task: &TaskInfo) -> String {
    let TaskInfo { id, kind, namespace, state, rows, total_rows, .. } = task;
    json!({"progress": {"task": id, "kind": kind, "namespace": namespace, "state": state,
        "rows": rows, "total_rows": total_rows}})
    .to_string()
}

fn doing(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Create => "making a checkpoint of",
        TaskKind::Verify => "verifying a checkpoint of",
        TaskKind::Restore => "restoring",
        TaskKind::Reindex => "building indexes of",
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    bar.set_draw_target(ProgressDrawTarget::stderr());
    let template = "{bar:30} {percent:>3}%  {human_pos}/{human_len} rows  {per_sec}  {eta} to go";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn show(
    context: &Context,
    task: &TaskInfo,
    checkpoints: &[CheckpointInfo],
) -> Result<(), CliError> {
    context.output.table_or_json(&table(checkpoints), task)
}

const COLUMNS: [&str; 7] = ["#id", "kind", "created", "#records", "seq", "#bytes", "#new bytes"];

fn table(checkpoints: &[CheckpointInfo]) -> TextTable {
    let mut table = TextTable::new(&COLUMNS);
    for checkpoint in checkpoints {
        table.row(cells(checkpoint));
    }
    table
}

fn places(namespaces: &[CheckpointList]) -> TextTable {
    let mut columns = vec!["namespace"];
    columns.extend(COLUMNS);
    columns.push("url");
    let mut table = TextTable::new(&columns);
    for place in namespaces {
        for checkpoint in &place.checkpoints {
            let mut row = vec![place.namespace.clone()];
            row.extend(cells(checkpoint));
            row.push(place.url.clone());
            table.row(row);
        }
    }
    table
}

fn cells(checkpoint: &CheckpointInfo) -> [String; 7] {
    let kind = match checkpoint.kind {
        CheckpointKind::Full => "full",
        CheckpointKind::Incremental => "incremental",
    };
    [
        checkpoint.id.to_string(),
        kind.to_owned(),
        time(checkpoint.created_at_ms),
        grouped(checkpoint.records),
        list(&checkpoint.seqs),
        grouped(checkpoint.bytes),
        grouped(checkpoint.new_bytes),
    ]
}

/// In the form that --seq takes.
fn list(seqs: &[u64]) -> String {
    seqs.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// `2026-02-03 04:05:06Z`: the civil date of days since 1970, after Howard Hinnant's
/// `civil_from_days`.
fn time(millis: u64) -> String {
    let seconds = millis / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(rows: u64, state: TaskState) -> TaskInfo {
        TaskInfo {
            id: "t".to_owned(),
            kind: TaskKind::Create,
            namespace: "docs".to_owned(),
            state,
            started_at_ms: 0,
            ended_at_ms: None,
            rows,
            total_rows: 4_000,
            bytes: 0,
            checkpoint: None,
            restored_seqs: None,
            problem: None,
        }
    }

    #[test]
    fn progress_is_said_now_and_then_and_at_the_end() {
        let mut lines = Lines { json: false, last: Duration::ZERO };
        let mut said = Vec::new();
        for tenth in 0..=120 {
            let elapsed = Duration::from_millis(100 * tenth);
            said.extend(lines.line(&task(10 * tenth, TaskState::Running), elapsed));
        }
        // The last look finds it done, however long ago the line before was.
        let elapsed = Duration::from_mins(1);
        assert_eq!(lines.line(&task(4_000, TaskState::Done), elapsed), None);
        said.extend(lines.last(&task(4_000, TaskState::Done), elapsed));
        assert_eq!(
            said,
            [
                "making a checkpoint of docs: 500 of 4,000 rows, 12 %",
                "making a checkpoint of docs: 1,000 of 4,000 rows, 25 %",
                "making a checkpoint of docs: done, 4,000 rows in 60.0 s",
            ]
        );
        assert_eq!(lines.last(&task(7, TaskState::Failed), elapsed), None);
        let nothing = TaskInfo { total_rows: 0, ..task(0, TaskState::Running) };
        let line = lines.line(&nothing, elapsed).unwrap();
        assert_eq!(line, "making a checkpoint of docs: 0 of 0 rows");
        // Where scripts read, each is an object.
        let mut lines = Lines { json: true, last: Duration::ZERO };
        let said = [
            lines.line(&task(7, TaskState::Running), LINE_EVERY),
            lines.line(&task(8, TaskState::Running), LINE_EVERY),
            lines.last(&task(9, TaskState::Done), LINE_EVERY),
        ];
        let of = |rows: u64, state: &str| {
            json!({"progress": {"task": "t", "kind": "create", "namespace": "docs",
                "state": state, "rows": rows, "total_rows": 4_000}})
            .to_string()
        };
        assert_eq!(said, [Some(of(7, "running")), None, Some(of(9, "done"))]);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(0), "1970-01-01 00:00:00Z");
        assert_eq!(time(951_782_399_999), "2000-02-28 23:59:59Z");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00Z");
        assert_eq!(time(1_767_225_599_000), "2025-12-31 23:59:59Z");
        assert_eq!(time(4_107_542_400_000), "2100-03-01 00:00:00Z");
    }
}
