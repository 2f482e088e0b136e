//! The feed of changes: a page at once, a page that is waited for, or a stream.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{extract::State, http::HeaderMap, response::Response};
use futures_util::future::select_all;
use hvs_api::{ChangeInfo, ChangeKind, ChangesQuery, ChangesResponse, Code};
use hvs_shard::{Change, ChangesError, ChangesRequest, FeedPosition, Shard};
use tokio::sync::watch;

use super::{
    App,
    body::{Params, QueryParams},
    call::Call,
    failure::Failure,
    feed_place::{Cursor, Place},
    feed_stream,
    records::{Parts, record_info},
    scroll::page_limit,
};
use crate::{
    catalogue::{Namespace, Pin},
    followers::Follower,
};

/// Bytes of ids and records after which a page ends; a follower holds no more than one page.
const PAGE_BYTES: usize = 4 << 20;
const LAST_EVENT_ID: &str = "last-event-id";

/// What is read, and how far it was.
pub(super) struct Reader {
    pub(super) app: Arc<App>,
    /// Its own name, also if it was asked for by an alias. The namespace itself is not held: it
    /// could not be deleted.
    name: String,
    cursor: Cursor,
    limit: usize,
    with_records: bool,
    newest: Vec<watch::Receiver<u64>>,
    follower: Option<Follower>,
    /// What is followed has to stay loaded.
    _pin: Pin,
}

/// Why waiting ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    Changed,
    TimedOut,
    Stopping,
}

pub(super) async fn changes(
    State(app): State<Arc<App>>,
    Params(name): Params<String>,
    QueryParams(query): QueryParams<ChangesQuery>,
    call: Call,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let with_records = match query.include.as_deref() {
        None => false,
        Some("record") => true,
        Some(other) => {
            let other: String = other.chars().take(40).collect();
            let detail = format!("include is {other:?}, it can be record");
            return Err(Failure::new(Code::InvalidArgument, detail));
        }
    };
    let limit = page_limit(query.limit, app.config.limits.page)?;
    let wait_ms = query.wait_ms.unwrap_or(0);
    let most = app.config.feed.wait_ms;
    if wait_ms > most {
        let detail = format!("wait_ms is {wait_ms}, it may be at most {most} (feed.wait_ms)");
        return Err(Failure::new(Code::InvalidArgument, detail).with("limit", most));
    }
    // A stream that is opened again goes on after what was read of it last.
    let last_event = headers.get(LAST_EVENT_ID).filter(|id| call.events && !id.is_empty());
    let since = match last_event {
        None => query.since,
        Some(id) => Some(String::from_utf8_lossy(id.as_bytes()).into_owned()),
    };
    let namespace = app.catalogue.get(&name, call.deadline).await?;
    let cursor = Cursor::read(&namespace, query.shard, since.as_deref())?;
    let shards = cursor.shards(namespace.shards().len());
    let newest = shards.filter_map(|shard| namespace.shards().get(shard)).map(Shard::follow);
    let newest = newest.collect();
    let (name, pin) = (namespace.name.clone(), namespace.pin());
    drop(namespace);
    let mut reader =
        Reader { app, name, cursor, limit, with_records, newest, follower: None, _pin: pin };
    if call.events {
        reader.follow()?;
        return feed_stream::stream(reader, call.deadline).await;
    }
    if wait_ms > 0 {
        reader.follow()?;
    }
    let until = call.deadline.min(Instant::now() + Duration::from_millis(wait_ms));
    loop {
        let page = reader.page(call.deadline).await?;
        if !page.changes.is_empty() || reader.wait(until).await != Woken::Changed {
            return call.reply(&page);
        }
    }
}

impl Reader {
    /// Takes the place of one who waits.
    fn follow(&mut self) -> Result<(), Failure> {
        if self.app.is_stopping() {
            return Err(Failure::new(Code::ShuttingDown, "the node is stopping"));
        }
        let followers = &self.app.followers;
        let limit = followers.limit();
        let follower = followers.join(self.newest.clone()).ok_or_else(|| {
            let detail = format!("{limit} followers wait for changes, the most allowed");
            Failure::new(Code::Overloaded, detail).with("limit", limit)
        })?;
        self.follower = Some(follower);
        Ok(())
    }

    /// What has come since the last page. Empty if nothing has.
    pub(super) async fn page(&mut self, deadline: Instant) -> Result<ChangesResponse, Failure> {
        // Before reading, so that what comes meanwhile wakes.
        for newest in &mut self.newest {
            newest.borrow_and_update();
        }
        let namespace = self.app.catalogue.get(&self.name, deadline).await?;
        if !self.cursor.is_of(&namespace) {
            let detail = format!("the namespace {:?} was deleted and created again", self.name);
            return Err(Failure::new(Code::HistoryGone, detail));
        }
        let (limit, with_records) = (self.limit, self.with_records);
        let mut cursor = self.cursor.clone();
        let read = self.app.workers.run(deadline, move || {
            let (changes, complete) = read(&namespace, &mut cursor, limit, with_records)?;
            Ok::<_, Failure>((changes, complete, cursor))
        });
        let (changes, complete, cursor) = read.await??;
        self.cursor = cursor;
        if let Some(follower) = &self.follower {
            follower.has_read(self.cursor.places.iter().map(|place| place.after.seq));
        }
        Ok(ChangesResponse { changes, token: self.cursor.token(), complete })
    }

    /// Waits for a change, until a time.
    pub(super) async fn wait(&mut self, until: Instant) -> Woken {
        if self.follower.is_none() || self.newest.is_empty() {
            return Woken::TimedOut;
        }
        let changed = select_all(self.newest.iter_mut().map(|newest| Box::pin(newest.changed())));
        tokio::select! {
            // Also when the shard has ended: reading then says why.
            _ = changed => Woken::Changed,
            () = tokio::time::sleep_until(until.into()) => Woken::TimedOut,
            () = self.app.stopped() => Woken::Stopping,
        }
    }
}

/// Reads on in every shard, each its part of the page first, then what is left of it.
fn read(
    namespace: &Namespace,
    cursor: &mut Cursor,
    limit: usize,
    with_records: bool,
) -> Result<(Vec<ChangeInfo>, bool), Failure> {
    let numbers: Vec<usize> = cursor.shards(namespace.shards().len()).collect();
    let count = numbers.len();
    let turn = cursor.turn as usize;
    let mut changes = Vec::new();
    let mut bytes = 0;
    let mut behind = vec![true; count];
    let part = limit.div_ceil(count.max(1));
    for round in [part, limit] {
        for position in (0..count).map(|offset| (turn + offset) % count) {
            let room = limit.saturating_sub(changes.len()).min(round);
            let (Some(place), Some(behind)) =
                (cursor.places.get_mut(position), behind.get_mut(position))
            else {
                continue;
            };
            let number = numbers.get(position).copied().unwrap_or_default();
            let Some(shard) = namespace.shards().get(number) else { continue };
            if room == 0 || !*behind || bytes >= PAGE_BYTES {
                continue;
            }
            let request = ChangesRequest {
                after: place.after,
                epoch: (place.epoch > 0).then_some(place.epoch),
                limit: room,
                max_bytes: PAGE_BYTES - bytes,
                with_records,
            };
            let page = match shard.changes(&request) {
                Ok(page) => page,
                Err(error) => return Err(failure(namespace, cursor, number, error)),
            };
            *place = Place { after: page.next, epoch: page.epoch };
            *behind = page.next < FeedPosition::after(page.newest);
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            bytes += page.bytes;
            changes.extend(page.changes.into_iter().map(|change| change_info(number, change)));
        }
    }
    if !changes.is_empty() {
        cursor.turn = u32::try_from((turn + 1) % count.max(1)).unwrap_or_default();
    }
    Ok((changes, !behind.contains(&true)))
}

fn change_info(shard: u32, change: Change) -> ChangeInfo {
    ChangeInfo {
        shard,
        seq: change.etag.seq,
        index: change.etag.index,
        kind: match change.kind {
            hvs_shard::ChangeKind::Patch => ChangeKind::Patch,
            hvs_shard::ChangeKind::Delete => ChangeKind::Delete,
            hvs_shard::ChangeKind::Expire => ChangeKind::Expire,
            _ => ChangeKind::Put,
        },
        id: change.id,
        version: change.version,
        etag: change.etag.to_string(),
        at_ms: change.timestamp.millis(),
        record: change.record.map(|record| record_info(record, Parts::ALL)),
    }
}

/// Says from where on there are changes, and gives the token to read them.
fn failure(namespace: &Namespace, cursor: &Cursor, shard: usize, error: ChangesError) -> Failure {
    let detail = format!("shard {shard}: {error}");
    match error {
        ChangesError::Read(error) => error.into(),
        ChangesError::Gone { begins, .. } => {
            let mut oldest = cursor.clone();
            let shards = oldest.shards(namespace.shards().len());
            for (place, number) in oldest.places.iter_mut().zip(shards) {
                let begin = namespace.shards().get(number).map_or(0, Shard::changes_begin_after);
                if place.after.seq < begin {
                    *place = Place { after: FeedPosition::after(begin), epoch: 0 };
                }
            }
            Failure::new(Code::HistoryGone, detail)
                .with("shard", shard)
                .with("oldest", begins)
                .with("token", oldest.token())
        }
        ChangesError::Ahead { .. } | ChangesError::Diverged { .. } => {
            let detail = format!(
                "{detail}; what was read last was lost in a crash, or is not a position of this shard"
            );
            Failure::new(Code::HistoryGone, detail).with("shard", shard)
        }
        error => Failure::internal(Code::StorageFailed, error),
    }
}
