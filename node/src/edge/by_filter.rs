//! Deleting and changing the records that match a filter.
//!
//! They are looked up a few at a time, and each is written under the condition that it still has
//! the version that was seen to match. What others write in between is left alone.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{FromRequest as _, Request, State},
    http::HeaderMap,
    response::Response,
};
use hvs_api::{ByFilterResponse, Code, DeleteByFilter, IDEMPOTENCY_KEY, PatchByFilter};
use hvs_shard::{
    Condition, Durability, Filter, MatchingRequest, Operation, Patch, Shard, WriteError,
    WriteOutcome, WriteRequest,
};

use super::{
    App,
    body::{Params, Payload},
    call::Call,
    failure::Failure,
    filter::read_filter,
    patches::read_patch,
    points::Reading,
    scroll::{Digest, Place, query_digest, read_token, write_token},
    writes::wanted_durability,
};
use crate::{catalogue::Namespace, config::Limits, workers::WorkError};

/// Records that are looked up and written at once, and the bytes that they may take together.
const AT_ONCE: usize = 500;
const BYTES_AT_ONCE: usize = 1 << 20;

pub(super) enum Body {
    Delete(DeleteByFilter),
    Patch(Box<PatchByFilter>),
}

/// What is done to each record.
enum Change {
    Delete,
    Patch(Patch),
}

struct Job {
    namespace: Arc<Namespace>,
    filter: Filter,
    change: Change,
    limit: u64,
    dry_run: bool,
    durability: Durability,
    query: Digest,
    deadline: Instant,
    at_once: usize,
    /// What a patch brings to each record, about.
    bytes: usize,
}

/// `POST .../vectors/delete` and `.../vectors/patch`. They share their paths with records of these
/// ids, which no other method does.
pub(super) async fn by_filter(
    State(app): State<Arc<App>>,
    Params((namespace, action)): Params<(String, String)>,
    call: Call,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Failure> {
    if !matches!(action.as_str(), "delete" | "patch") {
        let detail = "a record is written with PUT, PATCH or DELETE; POST is of delete and patch";
        return Err(Failure::new(Code::MethodNotAllowed, detail));
    }
    if headers.contains_key(IDEMPOTENCY_KEY) {
        let detail = "a write by filter takes no idempotency key; repeat it as it is";
        return Err(Failure::new(Code::InvalidIdempotencyKey, detail));
    }
    // The bytes of the body count as in flight until the end.
    let (body, _share) = if action == "delete" {
        let Payload { value, share } = Payload::from_request(request, &app).await?;
        (Body::Delete(value), share)
    } else {
        let Payload { value, share } = Payload::from_request(request, &app).await?;
        (Body::Patch(Box::new(value)), share)
    };
    let namespace = app.catalogue.get(&namespace, call.deadline).await?;
    let (job, place) = Job::new(namespace, body, &app.config.limits, call.deadline)?;
    let answer = job.run(&app, place).await?;
    call.reply(&answer)
}

impl Job {
    fn new(
        namespace: Arc<Namespace>,
        body: Body,
        limits: &Limits,
        deadline: Instant,
    ) -> Result<(Self, Place), Failure> {
        let (filter, limit, dry_run, token, asked, change, bytes) = match body {
            Body::Delete(DeleteByFilter { filter, limit, dry_run, token, durability }) => {
                (filter, limit, dry_run, token, durability, Change::Delete, 0)
            }
            Body::Patch(request) => {
                let PatchByFilter { filter, patch, limit, dry_run, token, durability } = *request;
                let is_of_one = patch.id.is_some()
                    || patch.partition_key.is_some()
                    || patch.if_match.is_some()
                    || patch.durability.is_some();
                if is_of_one {
                    let detail = "a patch by filter names no id, partition key, condition or durability of its own";
                    return Err(Failure::new(Code::InvalidOperation, detail));
                }
                let patch = read_patch(&namespace, limits, patch, Reading::default())?;
                let coordinates: usize = patch.vectors.values().map(Vec::len).sum();
                let metadata = patch.metadata.as_ref().map_or(0, |metadata| {
                    serde_json::to_vec(metadata).map_or(0, |bytes| bytes.len())
                });
                (
                    filter,
                    limit,
                    dry_run,
                    token,
                    durability,
                    Change::Patch(patch),
                    coordinates * 8 + metadata,
                )
            }
        };
        let most = limits.filter_writes;
        let limit = limit.unwrap_or(most);
        if !(1..=most).contains(&limit) {
            let detail = format!("limit is {limit}, it must be from 1 to {most}");
            return Err(Failure::new(Code::InvalidLimit, detail).with("limit", most));
        }
        let what = match change {
            Change::Delete => "delete",
            Change::Patch(_) => "patch",
        };
        let query = query_digest(&namespace, filter.as_ref(), what);
        let Some(filter) = read_filter(filter, limits)?.filter(|filter| !filter.is_empty()) else {
            let detail = "there is no filter; without one every record would be meant";
            return Err(Failure::new(Code::InvalidFilter, detail));
        };
        let place = match token {
            Some(token) => read_token(&token, query)?,
            None => Place::default(),
        };
        let at_once = (BYTES_AT_ONCE / (bytes + 1_024)).clamp(1, AT_ONCE);
        let job = Self {
            durability: wanted_durability(&namespace, asked)?,
            namespace,
            filter,
            change,
            limit,
            dry_run: dry_run.unwrap_or_default(),
            query,
            deadline,
            at_once: at_once.min(limits.batch_operations),
            bytes,
        };
        Ok((job, place))
    }

    async fn run(&self, app: &App, mut place: Place) -> Result<ByFilterResponse, Failure> {
        let mut answer = ByFilterResponse::default();
        while let Some(shard) = self.namespace.shards().get(place.shard as usize) {
            let left = self.limit.saturating_sub(answer.matched);
            if left == 0 || Instant::now() >= self.deadline {
                return Ok(self.ended(answer, &place));
            }
            let request = MatchingRequest {
                filter: self.filter.clone(),
                after: place.after.clone(),
                limit: usize::try_from(left).unwrap_or(usize::MAX).min(self.at_once),
                deadline: Some(self.deadline),
            };
            let work = {
                let shard = shard.clone();
                move || shard.matching(&request)
            };
            let page = match app.workers.run(self.deadline, work).await {
                Ok(page) => page?,
                Err(WorkError::Deadline) => return Ok(self.ended(answer, &place)),
                Err(error) => return Err(error.into()),
            };
            let found = page.records.len() as u64;
            if !self.dry_run && found > 0 {
                match self.admit(app, page.records.len()) {
                    Ok(()) => {}
                    Err(refusal) if answer.matched == 0 => return Err(refusal),
                    // What is changed already stays so; the token goes on after it.
                    Err(_) => return Ok(self.ended(answer, &place)),
                }
                let operations: Vec<_> = page
                    .records
                    .into_iter()
                    .map(|record| self.operation(record.id, Condition::IfMatch(record.etag)))
                    .collect();
                let Some(outcomes) = self.write(shard, operations).await? else {
                    return Ok(self.ended(answer, &place));
                };
                let changed = |outcome: &&WriteOutcome| {
                    matches!(outcome, WriteOutcome::Put { .. } | WriteOutcome::Deleted { .. })
                };
                let changed = outcomes.iter().filter(changed).count() as u64;
                let is_large =
                    |outcome: &&WriteOutcome| matches!(outcome, WriteOutcome::TooLarge { .. });
                let too_large = outcomes.iter().filter(is_large).count() as u64;
                answer.changed += changed;
                answer.too_large += too_large;
                answer.skipped += found.saturating_sub(changed + too_large);
            }
            answer.matched += found;
            match page.next {
                Some(after) => place.after = Some(after),
                None => place = Place { shard: place.shard + 1, after: None },
            }
        }
        answer.complete = true;
        Ok(answer)
    }

    /// Whether there is room for what a patch brings to so many records.
    fn admit(&self, app: &App, records: usize) -> Result<(), Failure> {
        if matches!(self.change, Change::Patch(_)) {
            app.scale.admit_records()?;
            app.catalogue.memory().admit_records(self.bytes.saturating_mul(records))?;
        }
        Ok(())
    }

    fn operation(&self, id: String, condition: Condition) -> Operation {
        let condition = Some(condition);
        match &self.change {
            Change::Delete => Operation::Delete { id, condition },
            Change::Patch(patch) => Operation::Patch { id, patch: patch.clone(), condition },
        }
    }

    /// What became of the operations; none if the shard had no room for them until the deadline.
    async fn write(
        &self,
        shard: &Shard,
        operations: Vec<Operation>,
    ) -> Result<Option<Vec<WriteOutcome>>, Failure> {
        let request = WriteRequest {
            operations,
            durability: self.durability,
            atomic: false,
            idempotency_key: None,
        };
        loop {
            match shard.write(request.clone()).await {
                Ok(answer) => return Ok(Some(answer.outcomes)),
                // Nothing was written: others wait, and so does this.
                Err(WriteError::Overloaded { retry_after, .. }) => {
                    if Instant::now() + retry_after >= self.deadline {
                        return Ok(None);
                    }
                    tokio::time::sleep(retry_after).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn ended(&self, mut answer: ByFilterResponse, place: &Place) -> ByFilterResponse {
        answer.next = Some(write_token(place, self.query));
        answer
    }
}
