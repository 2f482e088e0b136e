//! Reading all records, page by page.
//!
//! A token says which query it belongs to, which shard the scroll has come to and after which id
//! it goes on there. It is opaque to clients, has a version, and carries a checksum, so that one
//! that was cut or edited is refused instead of leading elsewhere.

use std::{fmt::Write as _, sync::Arc};

use axum::{extract::State, response::Response};
use hvs_api::{Code, ScrollRequest, ScrollResponse};
use hvs_shard::{Filter, Record};

use super::{
    App,
    body::{Params, Payload},
    call::Call,
    failure::Failure,
    filter::read_filter,
    ordered::{self, Order},
    records::{Parts, record_info},
};
use crate::catalogue::Namespace;

const VERSION: u8 = 1;
const DEFAULT_LIMIT: usize = 100;
pub(super) const DIGEST_BYTES: usize = 8;
const SHARD_BYTES: usize = 4;
/// Hexadecimal digits of the largest token: an id of 512 bytes and the rest.
const LONGEST_TOKEN: usize = 2 * (1 + 2 * DIGEST_BYTES + SHARD_BYTES + hvs_shard::MAX_ID_BYTES);

pub(super) type Digest = [u8; DIGEST_BYTES];

/// Where a scroll goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) shard: u32,
    pub(super) after: Option<String>,
}

pub(super) async fn scroll(
    State(app): State<Arc<App>>,
    Params(namespace): Params<String>,
    call: Call,
    payload: Payload<ScrollRequest>,
) -> Result<Response, Failure> {
    let namespace = app.catalogue.get(&namespace, call.deadline).await?;
    let request = payload.value;
    let limits = &app.config.limits;
    let limit = page_limit(request.limit, limits.page)?;
    if let Some(field) = &request.order_by {
        let order = Order { field: field.clone(), descending: request.descending == Some(true) };
        return ordered::scroll(&app, namespace, request, order, limit, &call).await;
    }
    if request.descending.is_some() || request.explain.is_some() {
        let detail = "descending and explain are of no use without order_by";
        return Err(Failure::new(Code::InvalidArgument, detail));
    }
    let query = query_digest(&namespace, request.filter.as_ref(), "");
    let filter = read_filter(request.filter, limits)?;
    let place = match &request.token {
        Some(token) => read_token(token, query)?,
        None => Place::default(),
    };
    let parts = Parts::unless_left_out(request.include_vectors, request.include_metadata);
    let deadline = call.deadline;
    let work = move || page(&namespace, place, limit, filter, deadline);
    let (records, next) = app.workers.run(deadline, work).await??;
    let records = records.into_iter().map(|record| record_info(record, parts)).collect();
    let next = next.map(|place| write_token(&place, query));
    call.reply(&ScrollResponse { records, next, explain: None })
}

pub(super) fn page_limit(asked: Option<u64>, most: usize) -> Result<usize, Failure> {
    let Some(asked) = asked else { return Ok(DEFAULT_LIMIT.min(most)) };
    usize::try_from(asked).ok().filter(|limit| (1..=most).contains(limit)).ok_or_else(|| {
        let detail = format!("limit is {asked}, it must be from 1 to {most}");
        Failure::new(Code::InvalidLimit, detail).with("limit", most)
    })
}

fn page(
    namespace: &Namespace,
    mut place: Place,
    limit: usize,
    filter: Option<Filter>,
    deadline: std::time::Instant,
) -> Result<(Vec<Record>, Option<Place>), Failure> {
    let mut request = hvs_shard::ScrollRequest {
        filter,
        deadline: Some(deadline),
        ..hvs_shard::ScrollRequest::first(limit)
    };
    let mut records = Vec::new();
    while let Some(shard) = namespace.shards().get(place.shard as usize) {
        request.after = place.after.take();
        request.limit = limit - records.len();
        let page = shard.scroll(&request)?;
        records.extend(page.records);
        match page.next {
            // A page may end early for its size or its time; what there is, is answered.
            Some(after) => {
                place.after = Some(after);
                return Ok((records, Some(place)));
            }
            None => place.shard += 1,
        }
        if records.len() >= limit {
            let is_last = place.shard as usize >= namespace.shards().len();
            return Ok((records, (!is_last).then_some(place)));
        }
    }
    Ok((records, None))
}

/// What a token is bound to: this namespace, even among those of its name, and this filter.
/// `what` is what is done with it, if that is not a scroll.
pub(super) fn query_digest(
    namespace: &Namespace,
    filter: Option<&hvs_api::Filter>,
    what: &str,
) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(namespace.entry.uid.as_bytes());
    hasher.update(what.as_bytes());
    if let Some(filter) = filter.filter(|filter| !filter.is_empty()) {
        hasher.update(serde_json::to_string(filter).unwrap_or_default().as_bytes());
    }
    first_bytes(&hasher.finalize())
}

pub(super) fn first_bytes(hash: &blake3::Hash) -> Digest {
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

pub(super) fn write_token(place: &Place, query: Digest) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&query);
    bytes.extend_from_slice(&place.shard.to_be_bytes());
    // Ids are not empty, so an empty rest means the beginning.
    bytes.extend_from_slice(place.after.as_deref().unwrap_or_default().as_bytes());
    let checksum = first_bytes(&blake3::hash(&bytes));
    bytes.extend_from_slice(&checksum);
    to_hexadecimal(&bytes)
}

pub(super) fn to_hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn read_token(token: &str, query: Digest) -> Result<Place, Failure> {
    let refuse = |detail: &str| Failure::new(Code::InvalidToken, detail);
    let bytes = from_hexadecimal(token, LONGEST_TOKEN)
        .ok_or_else(|| refuse("the token is not one of this API"))?;
    let (payload, checksum) =
        bytes.split_last_chunk::<DIGEST_BYTES>().ok_or_else(|| refuse("the token is too short"))?;
    if first_bytes(&blake3::hash(payload)) != *checksum {
        return Err(refuse("the token was cut or changed"));
    }
    let Some((&version, rest)) = payload.split_first() else {
        return Err(refuse("the token is too short"));
    };
    if version != VERSION {
        return Err(refuse(
            "the token is of a request without the same order_by, or of another version",
        ));
    }
    let parts = rest
        .split_first_chunk::<DIGEST_BYTES>()
        .and_then(|(bound, rest)| Some((bound, rest.split_first_chunk::<SHARD_BYTES>()?)));
    let Some((bound, (shard, after))) = parts else {
        return Err(refuse("the token is too short"));
    };
    if *bound != query {
        return Err(refuse("the token belongs to another namespace or filter"));
    }
    let after = std::str::from_utf8(after).map_err(|_| refuse("the token is damaged"))?;
    Ok(Place {
        shard: u32::from_be_bytes(*shard),
        after: (!after.is_empty()).then(|| after.to_owned()),
    })
}

pub(super) fn from_hexadecimal(text: &str, longest: usize) -> Option<Vec<u8>> {
    if text.len() > longest {
        return None;
    }
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUERY: Digest = [7; DIGEST_BYTES];

    fn code(token: &str, query: Digest) -> String {
        read_token(token, query).unwrap_err().problem.code.clone()
    }

    #[test]
    fn a_token_leads_where_it_was_made_and_for_its_query_alone() {
        let longest = "x".repeat(hvs_shard::MAX_ID_BYTES);
        for after in [None, Some("a"), Some("犬/δ"), Some(longest.as_str())] {
            let place = Place { shard: 3, after: after.map(str::to_owned) };
            let token = write_token(&place, QUERY);
            assert_eq!(read_token(&token, QUERY).unwrap(), place);
            assert_eq!(code(&token, [8; DIGEST_BYTES]), "invalid_token");
            assert_eq!(code(&token[2..], QUERY), "invalid_token");
            assert_eq!(code(&token[..token.len() - 2], QUERY), "invalid_token");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_a_token_panic(text in ".{0,80}|[0-9a-f]{0,80}") {
            prop_assert_eq!(code(&text, QUERY), "invalid_token");
        }
    }

    #[test]
    fn page_sizes_hold_at_their_edges() {
        assert_eq!(page_limit(None, 10).unwrap(), 10);
        assert_eq!(page_limit(None, 1_000).unwrap(), DEFAULT_LIMIT);
        assert_eq!(page_limit(Some(10), 10).unwrap(), 10);
        for refused in [0, 11, u64::MAX] {
            assert_eq!(page_limit(Some(refused), 10).unwrap_err().problem.code, "invalid_limit");
        }
    }
}
