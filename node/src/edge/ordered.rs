//! Reading records page by page in the order of a field.
//!
//! Records are in the order of their values, equal ones in that of their ids, and equal ids (which
//! partition keys make possible) in that of their shards. The token holds the value, id and shard
//! of the last record; everything after it, in this order, belongs to the pages that follow.

use std::{sync::Arc, time::Instant};

use axum::response::Response;
use hvs_api::{Code, Explain, ScrollRequest, ScrollResponse, ShardExplain};
use hvs_shard::{OrderedPage, OrderedRequest, Record, Scalar, Shard};
use serde_json::Value;

use super::{
    App,
    asking::{microseconds_since, properties},
    call::Call,
    failure::Failure,
    filter::{read_filter, read_subject},
    records::{Parts, record_info},
    scroll::{DIGEST_BYTES, Digest, first_bytes, from_hexadecimal, query_digest, to_hexadecimal},
};
use crate::catalogue::Namespace;

const VERSION: u8 = 2;

/// By which field, and in which direction.
pub(super) struct Order {
    pub(super) field: String,
    pub(super) descending: bool,
}

/// The last record of a page.
#[derive(Clone, Debug, PartialEq)]
struct Last {
    shard: usize,
    id: String,
    value: Scalar,
}

pub(super) async fn scroll(
    app: &App,
    namespace: Arc<Namespace>,
    request: ScrollRequest,
    order: Order,
    limit: usize,
    call: &Call,
) -> Result<Response, Failure> {
    let started = Instant::now();
    let limits = &app.config.limits;
    let subject = read_subject(&order.field)?;
    let what = format!("order\0{}\0{}", order.field, order.descending);
    let query = query_digest(&namespace, request.filter.as_ref(), &what);
    let after = match &request.token {
        Some(token) => Some(read_token(token, query, limits.metadata_bytes)?),
        None => None,
    };
    let shard_request = OrderedRequest {
        subject,
        descending: order.descending,
        after: None,
        limit,
        filter: read_filter(request.filter, limits)?,
        deadline: Some(call.deadline),
    };
    let explain = request.explain == Some(true);
    let work = move || page(&namespace, shard_request, after.as_ref());
    let Page { records, last, shards } = app.workers.run(call.deadline, work).await??;
    let parts = Parts::unless_left_out(request.include_vectors, request.include_metadata);
    let records = records.into_iter().map(|record| record_info(record, parts)).collect();
    let explain = explain.then(|| Explain {
        index_us: shards.iter().map(|shard| shard.index_us).sum(),
        shards,
        total_us: microseconds_since(started),
    });
    let next = last.map(|last| write_token(&last, query));
    call.reply(&ScrollResponse { records, next, explain })
}

struct Page {
    records: Vec<Record>,
    /// None on the last one.
    last: Option<Last>,
    /// How each shard answered.
    shards: Vec<ShardExplain>,
}

fn page(
    namespace: &Namespace,
    mut request: OrderedRequest,
    after: Option<&Last>,
) -> Result<Page, Failure> {
    let limit = request.limit;
    let descending = request.descending;
    let mut found: Vec<(Scalar, Record, usize)> = Vec::new();
    let mut shards = Vec::new();
    let mut is_full = false;
    for (number, shard) in namespace.shards().iter().enumerate() {
        let started = Instant::now();
        request.after = after.map(|last| {
            // Shards behind that of the last record still have what equals it.
            (last.value.clone(), last.id.clone(), number > last.shard)
        });
        let page = shard.scroll_ordered(&request)?;
        is_full |= page.records.len() >= limit;
        shards.push(explain(number, shard, &request, &page, started));
        let records = page.records.into_iter();
        found.extend(records.map(|found| (found.value, found.record, number)));
    }
    is_full |= found.len() > limit;
    found.sort_by(|left, right| {
        let values = left.0.cmp(&right.0);
        let values = if descending { values.reverse() } else { values };
        values.then_with(|| left.1.id.cmp(&right.1.id)).then(left.2.cmp(&right.2))
    });
    found.truncate(limit);
    let last = found.last().filter(|_| is_full).map(|(value, record, shard)| Last {
        shard: *shard,
        id: record.id.clone(),
        value: value.clone(),
    });
    let records = found.into_iter().map(|(_, record, _)| record).collect();
    Ok(Page { records, last, shards })
}

fn explain(
    number: usize,
    shard: &Shard,
    request: &OrderedRequest,
    page: &OrderedPage,
    started: Instant,
) -> ShardExplain {
    let index_us = microseconds_since(started);
    let (indexed, unindexed) = properties(shard, request.filter.as_ref());
    ShardExplain {
        shard: number as u64,
        strategy: if page.by_index { "ordered_index" } else { "ordered_scan" }.to_owned(),
        scanned: page.looked_at,
        exact: true,
        matching: None,
        indexed,
        unindexed,
        cached: false,
        index_us,
    }
}

fn write_token(last: &Last, query: Digest) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&query);
    bytes.extend_from_slice(&u32::try_from(last.shard).unwrap_or(u32::MAX).to_be_bytes());
    let id = last.id.as_bytes();
    bytes.extend_from_slice(&u16::try_from(id.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend_from_slice(id);
    bytes.extend_from_slice(last.value.to_value().to_string().as_bytes());
    let checksum = first_bytes(&blake3::hash(&bytes));
    bytes.extend_from_slice(&checksum);
    to_hexadecimal(&bytes)
}

fn read_token(token: &str, query: Digest, value_bytes: usize) -> Result<Last, Failure> {
    let refuse = |detail: &str| Failure::new(Code::InvalidToken, detail);
    let foreign = || refuse("the token is not one of this order");
    // Beside the value an id and a few numbers.
    let longest = 2 * (value_bytes + hvs_shard::MAX_ID_BYTES + 64);
    let bytes = from_hexadecimal(token, longest).ok_or_else(foreign)?;
    let (payload, checksum) = bytes.split_last_chunk::<DIGEST_BYTES>().ok_or_else(foreign)?;
    if first_bytes(&blake3::hash(payload)) != *checksum {
        return Err(refuse("the token was cut or changed"));
    }
    let rest = payload.strip_prefix(&[VERSION]).ok_or_else(foreign)?;
    let (digest, rest) = rest.split_first_chunk::<DIGEST_BYTES>().ok_or_else(foreign)?;
    if *digest != query {
        return Err(refuse("the token belongs to another namespace, filter or order"));
    }
    let (shard, rest) = rest.split_first_chunk::<4>().ok_or_else(foreign)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(foreign)?;
    let (id, value) =
        rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or_else(foreign)?;
    let id = std::str::from_utf8(id).map_err(|_| foreign())?.to_owned();
    let value: Value = serde_json::from_slice(value).map_err(|_| foreign())?;
    let value = Scalar::of(&value).ok_or_else(foreign)?;
    Ok(Last { shard: u32::from_be_bytes(*shard) as usize, id, value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const QUERY: Digest = [7; DIGEST_BYTES];

    #[test]
    fn tokens_come_back_and_are_bound_to_their_query() {
        for value in [json!(null), json!(true), json!(1), json!(0.1), json!("犬"), json!(u64::MAX)]
        {
            let value = Scalar::of(&value).unwrap();
            let last = Last { shard: 3, id: "ä".to_owned(), value };
            let token = write_token(&last, QUERY);
            assert_eq!(read_token(&token, QUERY, 64).unwrap(), last);
            assert!(read_token(&token, [8; DIGEST_BYTES], 64).is_err());
            assert!(read_token(&token[2..], QUERY, 64).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_a_token_panic(text in ".{0,80}|[0-9a-f]{0,80}") {
            prop_assert!(read_token(&text, QUERY, 64).is_err());
        }
    }
}
