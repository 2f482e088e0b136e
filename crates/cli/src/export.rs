//! `hvs export`: all records of a namespace as JSON Lines.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::PathBuf,
    time::Instant,
};

use clap::Args;
use hvs_api::{PutRecord, RecordInfo, ScrollRequest};
use serde_json::json;

use crate::{args::Context, command::filter, error::CliError, output::grouped};

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The namespace or an alias.
    namespace: String,
    /// The file; standard output when left out.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Only records whose metadata field equals the value; may be repeated.
    #[arg(long, short, value_name = "FIELD=VALUE")]
    filter: Vec<String>,
    /// Records per request.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    page: u64,
}

/// Where the lines go. A file appears under its name only when it is whole.
struct Target {
    out: Box<dyn Write>,
    /// The file as it is being written, and its name in the end.
    file: Option<(PathBuf, PathBuf)>,
}

pub(crate) async fn run(context: &Context, args: ExportArgs) -> Result<(), CliError> {
    let client = context.patient_client()?;
    let filter = filter(&args.filter)?;
    let mut target = Target::open(args.output)?;
    let started = Instant::now();
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
        for record in page.records {
            target.write(record)?;
            records += 1;
        }
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    let file = target.finish()?;
    let Some(file) = file else { return Ok(()) };
    let seconds = started.elapsed().as_secs_f64();
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

impl Target {
    fn open(path: Option<PathBuf>) -> Result<Self, CliError> {
        let Some(path) = path else {
            return Ok(Self { out: Box::new(BufWriter::new(io::stdout())), file: None });
        };
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let out =
            File::create(&part).map_err(|source| CliError::File { path: part.clone(), source })?;
        Ok(Self { out: Box::new(BufWriter::new(out)), file: Some((part, path)) })
    }

    fn write(&mut self, record: RecordInfo) -> Result<(), CliError> {
        let line = serde_json::to_string(&as_put(record))
            .map_err(|error| CliError::System(format!("cannot write a record: {error}")))?;
        writeln!(self.out, "{line}").map_err(|source| self.failed(source))
    }

    /// The file, if it is one.
    fn finish(mut self) -> Result<Option<PathBuf>, CliError> {
        let flushed = self.out.flush();
        flushed.map_err(|source| self.failed(source))?;
        drop(self.out);
        let Some((part, path)) = self.file else { return Ok(None) };
        fs::rename(&part, &path).map_err(|source| CliError::File { path: path.clone(), source })?;
        Ok(Some(path))
    }

    fn failed(&self, source: io::Error) -> CliError {
        match &self.file {
            Some((part, _)) => CliError::File { path: part.clone(), source },
            None => CliError::Output(source),
        }
    }
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
        ..PutRecord::default()
    }
}
