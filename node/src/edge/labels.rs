//! Regions, kinds and expiry of records on the wire.

use std::time::{SystemTime, UNIX_EPOCH};

use hvs_api::{Code, DEFAULT_KIND};
use hvs_shard::Expiry;

use super::failure::Failure;
use crate::config::Limits;

/// Kinds that a later version gives a meaning. `_` begins those that HVS makes for itself.
const RESERVED_KINDS: [&str; 4] = ["contribution", "message", "spine", "state"];
/// How far in the past an expiry may lie. A write is remembered under its idempotency key for a
/// day, and must not be refused when it is repeated.
const PAST_MILLIS: u64 = 24 * 60 * 60 * 1_000;

/// A region that this node takes.
pub(super) fn checked_region(
    region: Option<String>,
    limits: &Limits,
) -> Result<Option<String>, Failure> {
    region.map(|region| checked("region", region, limits)).transpose()
}

/// A kind that this node takes; the default one where none is given.
pub(super) fn checked_kind(kind: Option<String>, limits: &Limits) -> Result<String, Failure> {
    let Some(kind) = kind else { return Ok(DEFAULT_KIND.to_owned()) };
    let kind = checked("kind", kind, limits)?;
    if RESERVED_KINDS.contains(&kind.as_str()) || kind.starts_with('_') {
        let detail = format!(
            "the kind {kind:?} is reserved; reserved are {RESERVED_KINDS:?} and what begins with _"
        );
        return Err(Failure::new(Code::InvalidLabel, detail));
    }
    Ok(kind)
}

fn checked(what: &str, label: String, limits: &Limits) -> Result<String, Failure> {
    let refuse = |detail: String| Failure::new(Code::InvalidLabel, detail);
    if label.is_empty() {
        return Err(refuse(format!("the {what} is empty; leave it out instead")));
    }
    let (bytes, limit) = (label.len(), limits.label_bytes);
    if bytes > limit {
        let detail = format!("the {what} has {bytes} bytes, at most {limit} are allowed");
        return Err(refuse(detail).with("limit", limit));
    }
    if let Some((at, control)) = label.char_indices().find(|(_, letter)| letter.is_control()) {
        let code = u32::from(control);
        let detail = format!("the {what} contains the control character U+{code:04X} at byte {at}");
        return Err(refuse(detail));
    }
    Ok(label)
}

/// What a request says of the expiry: nothing, that there is none, or when.
#[expect(clippy::option_option, reason = "these three")]
pub(super) fn expiry(
    ttl_ms: Option<u64>,
    expires_at_ms: Option<u64>,
    limits: &Limits,
) -> Result<Option<Option<Expiry>>, Failure> {
    let refuse = |detail: String| Failure::new(Code::InvalidExpiry, detail);
    let limit = limits.ttl_ms;
    match (ttl_ms, expires_at_ms) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(refuse("ttl_ms and expires_at_ms exclude each other".to_owned())),
        (Some(0), None) => Ok(Some(None)),
        (Some(ttl), None) if ttl > limit => {
            let detail = format!("ttl_ms is {ttl}, it must be from 0 to {limit}");
            Err(refuse(detail).with("limit", limit))
        }
        (Some(ttl), None) => Ok(Some(Some(Expiry::After(ttl)))),
        (None, Some(at)) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            let (first, last) = (now.saturating_sub(PAST_MILLIS), now.saturating_add(limit));
            if (first..=last).contains(&at) {
                return Ok(Some(Some(Expiry::At(at))));
            }
            let detail = format!(
                "expires_at_ms is {at}, it must be from {first}, a day ago, to {last}; it is in milliseconds since 1970"
            );
            Err(refuse(detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
        result.unwrap_err().problem.code
    }

    #[test]
    fn labels_hold_at_their_edges() {
        let limits = Limits { label_bytes: 4, ..Limits::default() };
        assert_eq!(checked_region(None, &limits).unwrap(), None);
        assert_eq!(checked_region(Some("ää".into()), &limits).unwrap().as_deref(), Some("ää"));
        assert_eq!(checked_kind(None, &limits).unwrap(), "vector");
        assert_eq!(checked_kind(Some("note".into()), &limits).unwrap(), "note");
        for bad in ["", "ääx", "a\nb", "\u{85}"] {
            assert_eq!(code(checked_region(Some(bad.into()), &limits)), "invalid_label");
            assert_eq!(code(checked_kind(Some(bad.into()), &limits)), "invalid_label");
        }
        for reserved in ["message", "state", "contribution", "spine", "_mine"] {
            let refused = checked_kind(Some(reserved.into()), &Limits::default());
            assert_eq!(code(refused), "invalid_label");
        }
    }

    #[test]
    fn lives_hold_at_their_edges() {
        let limits = Limits { ttl_ms: 1_000, ..Limits::default() };
        assert_eq!(expiry(None, None, &limits).unwrap(), None);
        assert_eq!(expiry(Some(0), None, &limits).unwrap(), Some(None));
        let after = |ttl| Some(Some(Expiry::After(ttl)));
        assert_eq!(expiry(Some(1_000), None, &limits).unwrap(), after(1_000));
        assert_eq!(code(expiry(Some(1_001), None, &limits)), "invalid_expiry");
        assert_eq!(code(expiry(Some(u64::MAX), None, &limits)), "invalid_expiry");
        assert_eq!(code(expiry(Some(1), Some(1), &limits)), "invalid_expiry");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let now = u64::try_from(now).unwrap();
        for at in [now - PAST_MILLIS + 60_000, now + 500] {
            assert_eq!(expiry(None, Some(at), &limits).unwrap(), Some(Some(Expiry::At(at))));
        }
        // Seconds, and what is too far away.
        for at in [0, now / 1_000, now - PAST_MILLIS - 1, now + 60_000, u64::MAX] {
            assert_eq!(code(expiry(None, Some(at), &limits)), "invalid_expiry");
        }
    }
}
