//! Batches: formed from rows, sent to the node, and what the node refused of them.

use std::collections::{HashSet, VecDeque};

use hvs_api::{
    BatchOperation, BatchRequest, Code, Coordinates, Durability, PutRecord, WriteStatus,
};
use hvs_client::{Client, ClientError};

use crate::{
    error::CliError,
    read::{Place, Position, ReadError, RowReader},
};

/// A row that did not become a record.
#[derive(Debug)]
pub(super) struct Rejected {
    pub(super) place: Place,
    /// A stable code.
    pub(super) code: String,
    pub(super) detail: String,
    /// The row as it stands in a text file.
    pub(super) text: Option<String>,
    /// The record that the node refused.
    pub(super) record: Option<Box<PutRecord>>,
}

/// Rows that are sent together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) start: Position,
    pub(super) end: Position,
    pub(super) records: Vec<(Place, PutRecord)>,
    /// What could not be read.
    pub(super) rejected: Vec<Rejected>,
    /// It has an id of a batch that may still be on its way, and must not overtake it.
    pub(super) after_all_before: bool,
}

/// A batch that is answered.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) end: Position,
    pub(super) imported: u64,
    /// In the order of the file.
    pub(super) rejected: Vec<Rejected>,
}

/// Cuts the rows of a file into batches.
pub(super) struct Former {
    reader: Box<dyn RowReader>,
    size: usize,
    /// The ids of the batches that may be on their way, newest last.
    recent: VecDeque<HashSet<String>>,
    most_recent: usize,
    /// The first row of the next batch, already read, and where it begins.
    held: Option<(Position, Place, PutRecord)>,
    /// End at the first row that cannot be read.
    strict: bool,
    /// Where that one begins.
    bad: Position,
}

impl Former {
    pub(super) fn new(
        reader: Box<dyn RowReader>,
        size: usize,
        in_flight: usize,
        strict: bool,
    ) -> Self {
        let recent = VecDeque::new();
        Self {
            reader,
            size,
            recent,
            most_recent: in_flight,
            held: None,
            strict,
            bad: Position::default(),
        }
    }

    /// The next batch. It ends before a second row of the same id, so that the later row wins;
    /// in a strict import also before the first row that cannot be read, which it names.
    pub(super) fn next_batch(&mut self) -> Result<Option<Batch>, ReadError> {
        let start = self.held.as_ref().map_or_else(|| self.reader.position(), |held| held.0);
        let mut batch = Batch {
            start,
            end: start,
            records: Vec::with_capacity(self.size.min(10_000)),
            rejected: Vec::new(),
            after_all_before: false,
        };
        let mut ids = HashSet::new();
        let mut is_last = false;
        while batch.records.len() + batch.rejected.len() < self.size {
            let Some((begin, place, record)) = self.next_record(&mut batch)? else {
                is_last = true;
                break;
            };
            let id = record.id.clone().unwrap_or_default();
            if ids.contains(&id) {
                batch.end = begin;
                self.held = Some((begin, place, record));
                break;
            }
            batch.after_all_before |= self.recent.iter().any(|recent| recent.contains(&id));
            ids.insert(id);
            batch.records.push((place, record));
        }
        if self.strict && !batch.rejected.is_empty() {
            batch.end = self.bad;
            return Ok(Some(batch));
        }
        if self.held.is_none() {
            batch.end = self.reader.position();
        }
        if is_last && batch.end == start {
            return Ok(None);
        }
        self.recent.push_back(ids);
        while self.recent.len() > self.most_recent {
            self.recent.pop_front();
        }
        Ok(Some(batch))
    }

    /// The next row that is a record; the bad ones before it go into the batch. Nothing at the end
    /// of the file, and in a strict import at the first bad row.
    fn next_record(
        &mut self,
        batch: &mut Batch,
    ) -> Result<Option<(Position, Place, PutRecord)>, ReadError> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        loop {
            let begin = self.reader.position();
            let Some(row) = self.reader.next_row()? else { return Ok(None) };
            match row.record {
                Ok(record) => return Ok(Some((begin, row.place, record))),
                Err(error) => batch.rejected.push(Rejected {
                    place: row.place,
                    code: error.code().to_owned(),
                    detail: error.to_string(),
                    text: row.text,
                    record: None,
                }),
            }
            if self.strict {
                self.bad = begin;
                return Ok(None);
            }
        }
    }
}

/// Sends batches.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) client: Client,
    pub(super) namespace: String,
    /// Names this import in idempotency keys.
    pub(super) import: String,
    pub(super) durability: Option<Durability>,
    pub(super) coordinates: Option<Coordinates>,
    pub(super) project: Option<bool>,
}

impl Sender {
    /// Sends what the node takes of a batch. A batch with a bad row is refused as a whole, with
    /// every bad row named; those are left out and the rest is sent again.
    pub(super) async fn send(&self, batch: Batch, strict: bool) -> Result<Sent, CliError> {
        let mut sent = Sent { end: batch.end, imported: 0, rejected: batch.rejected };
        let start = batch.start.row;
        // In a strict import: what is refused stands before the row that could not be read.
        let stop = |refused| Sent { end: batch.start, imported: 0, rejected: refused };
        let mut parts = vec![batch.records];
        while let Some(mut records) = parts.pop() {
            if records.is_empty() {
                continue;
            }
            match self.send_part(start, &records).await {
                Ok(refused) if strict && !refused.is_empty() => return Ok(stop(refused)),
                Ok(refused) => {
                    let refused_count = refused.len() as u64;
                    sent.imported += records.len() as u64 - refused_count;
                    sent.rejected.extend(refused);
                }
                Err(error) => {
                    let bad = refusals(&error, records.len());
                    if bad.is_empty() && is_too_large(&error) && records.len() > 1 {
                        let rest = records.split_off(records.len() / 2);
                        parts.push(rest);
                        parts.push(records);
                        continue;
                    }
                    if bad.is_empty() && is_too_large(&error) {
                        let reason = (String::from("body_too_large"), error.to_string());
                        let refused = records.pop().map(|row| reject(row, reason));
                        if strict {
                            return Ok(stop(refused.into_iter().collect()));
                        }
                        sent.rejected.extend(refused);
                        continue;
                    }
                    if bad.is_empty() {
                        return Err(error.into());
                    }
                    let (refused, rest) = split(records, bad);
                    if strict {
                        return Ok(stop(refused));
                    }
                    sent.rejected.extend(refused);
                    parts.push(rest);
                }
            }
        }
        sent.rejected.sort_by_key(|rejected| match rejected.place {
            Place::Line(number) | Place::Row(number) => number,
        });
        Ok(sent)
    }

    /// One request; the rows whose conditions did not hold.
    async fn send_part(
        &self,
        start: u64,
        records: &[(Place, PutRecord)],
    ) -> Result<Vec<Rejected>, ClientError> {
        let operations =
            records.iter().map(|(_, record)| BatchOperation::Put(record.clone())).collect();
        let request = BatchRequest {
            operations,
            durability: self.durability,
            atomic: None,
            coordinates: self.coordinates,
            project: self.project,
        };
        let key = self.key(start, records);
        let answer = self.client.batch(&self.namespace, &request, Some(&key)).await?;
        let failed = answer.results.into_iter().zip(records).filter(|(result, _)| {
            matches!(result.status, WriteStatus::ConditionFailed | WriteStatus::NotApplied)
        });
        Ok(failed
            .map(|(result, row)| {
                let etag = result.etag.as_deref().unwrap_or("none");
                let detail = format!("the condition does not hold; the record's etag is {etag}");
                reject(row.clone(), ("condition_failed".to_owned(), detail))
            })
            .collect())
    }

    /// The same rows of the same import always have the same key, in a later run too.
    fn key(&self, start: u64, records: &[(Place, PutRecord)]) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.import.as_bytes());
        hasher.update(&start.to_le_bytes());
        for (place, _) in records {
            let (Place::Line(number) | Place::Row(number)) = place;
            hasher.update(&number.to_le_bytes());
        }
        hasher.finalize().to_hex().as_str().chars().take(32).collect()
    }
}

/// The rows that a problem names, by their place in the request, and why.
fn refusals(error: &ClientError, rows: usize) -> Vec<(usize, (String, String))> {
    let errors = error.problem().map(|problem| problem.errors.as_slice()).unwrap_or_default();
    let mut bad: Vec<(usize, (String, String))> = errors
        .iter()
        .filter(|item| item.index < rows)
        .map(|item| (item.index, (item.code.clone(), item.detail.clone())))
        .collect();
    bad.sort_by_key(|(index, _)| *index);
    bad.dedup_by_key(|(index, _)| *index);
    bad
}

fn is_too_large(error: &ClientError) -> bool {
    matches!(error.code(), Some(Code::BodyTooLarge | Code::BatchTooLarge))
}

fn split(
    records: Vec<(Place, PutRecord)>,
    bad: Vec<(usize, (String, String))>,
) -> (Vec<Rejected>, Vec<(Place, PutRecord)>) {
    let mut refused = Vec::with_capacity(bad.len());
    let mut rest = Vec::with_capacity(records.len());
    let mut bad = bad.into_iter().peekable();
    for (index, row) in records.into_iter().enumerate() {
        match bad.next_if(|(at, _)| *at == index) {
            Some((_, reason)) => refused.push(reject(row, reason)),
            None => rest.push(row),
        }
    }
    (refused, rest)
}

fn reject((place, record): (Place, PutRecord), (code, detail): (String, String)) -> Rejected {
    Rejected { place, code, detail, text: None, record: Some(Box::new(record)) }
}
