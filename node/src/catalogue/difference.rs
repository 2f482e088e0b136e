//! What keeps a repeated creation from being the same one.

use super::{Settings, VectorSettings};

/// The first setting in which two namespaces differ, for people.
pub(super) fn difference(before: &Settings, wanted: &Settings) -> Option<String> {
    if before.shards != wanted.shards {
        return Some(format!("shards is {}, not {}", before.shards, wanted.shards));
    }
    if before.profile != wanted.profile {
        let (before, wanted) = (json(&before.profile), json(&wanted.profile));
        return Some(format!("profile is {before}, not {wanted}"));
    }
    if before.durability != wanted.durability {
        let (before, wanted) = (json(&before.durability), json(&wanted.durability));
        return Some(format!("durability is {before}, not {wanted}"));
    }
    if before.ttl_ms != wanted.ttl_ms {
        let of = |ttl: Option<u64>| ttl.map_or_else(|| "none".to_owned(), |ttl| ttl.to_string());
        return Some(format!("ttl_ms is {}, not {}", of(before.ttl_ms), of(wanted.ttl_ms)));
    }
    if before.payload.indexing != wanted.payload.indexing {
        let (before, wanted) = (json(&before.payload.indexing), json(&wanted.payload.indexing));
        return Some(format!("payload_indexing is {before}, not {wanted}"));
    }
    if before.payload.indexes != wanted.payload.indexes {
        let (before, wanted) = (json(&before.payload.indexes), json(&wanted.payload.indexes));
        return Some(format!("payload_indexes is {before}, not {wanted}"));
    }
    if before.compression != wanted.compression {
        let (before, wanted) = (json(&before.compression), json(&wanted.compression));
        return Some(format!("compression is {before}, not {wanted}"));
    }
    if before.prefetch != wanted.prefetch {
        let (before, wanted) = (json(&before.prefetch), json(&wanted.prefetch));
        return Some(format!("prefetch is {before}, not {wanted}"));
    }
    let names = before.vectors.keys().chain(wanted.vectors.keys());
    for name in names {
        match (before.vectors.get(name), wanted.vectors.get(name)) {
            (Some(before), Some(wanted)) if before == wanted => {}
            (Some(before), Some(wanted)) => {
                return Some(vector_difference(name, before, wanted));
            }
            (None, _) => return Some(format!("it has no vector {name:?}")),
            (_, None) => return Some(format!("it has a vector {name:?}")),
        }
    }
    None
}

fn vector_difference(name: &str, before: &VectorSettings, wanted: &VectorSettings) -> String {
    let pairs = [
        ("space", json(&before.space), json(&wanted.space)),
        ("precision", json(&before.precision), json(&wanted.precision)),
        ("index", json(&before.index), json(&wanted.index)),
    ];
    let (what, before, wanted) =
        pairs.into_iter().find(|(_, before, wanted)| before != wanted).unwrap_or_default();
    format!("{what} of the vector {name:?} is {before}, not {wanted}")
}

fn json<T: serde::Serialize>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    if text == "null" { "not given".to_owned() } else { text }
}
