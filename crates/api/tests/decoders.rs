//! The decoders of requests on bytes of any kind: they never panic, and what they take survives
//! being written and read again in either encoding.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fmt::Debug;

use hvs_api::{
    BatchRequest, BatchSearchRequest, ChooseRequest, CostRequest, CountRequest, CreateNamespace,
    Encoding, FetchRequest, GeodesicRequest, MeanRequest, PairRequest, PutRecord, ScrollRequest,
    SearchRequest, SetAlias, SwitchAliases, TransformRequest, ValidateRequest, decode, encode,
};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::MessagePack];

/// Reads bytes as one type of request.
type Reader = fn(Encoding, &[u8]);

fn read<T: DeserializeOwned + Serialize + PartialEq + Debug>(encoding: Encoding, bytes: &[u8]) {
    let Ok(value) = decode::<T>(encoding, bytes) else { return };
    for other in BOTH {
        let written = encode(other, &value).unwrap();
        // A number that is not finite has no form in JSON and is equal to nothing.
        match decode::<T>(other, &written) {
            Ok(again) => assert!(again == value || format!("{value:?}").contains("NaN")),
            Err(error) => {
                let shown = format!("{value:?}");
                let finite = !shown.contains("NaN") && !shown.contains("inf");
                assert!(!finite || other == Encoding::MessagePack, "{error} {shown}");
                assert!(other == Encoding::Json, "{error} {shown}");
            }
        }
    }
}

const READERS: [Reader; 17] = [
    read::<BatchRequest>,
    read::<BatchSearchRequest>,
    read::<ChooseRequest>,
    read::<CostRequest>,
    read::<CountRequest>,
    read::<CreateNamespace>,
    read::<FetchRequest>,
    read::<GeodesicRequest>,
    read::<MeanRequest>,
    read::<PairRequest>,
    read::<PutRecord>,
    read::<ScrollRequest>,
    read::<SearchRequest>,
    read::<SetAlias>,
    read::<SwitchAliases>,
    read::<TransformRequest>,
    read::<ValidateRequest>,
];

fn read_as_everything(encoding: Encoding, bytes: &[u8]) {
    for reader in READERS {
        reader(encoding, bytes);
    }
}

/// A valid body of most types, with every kind of value somewhere.
fn bodies() -> Vec<Value> {
    let space = json!({"geometry": "hyperboloid", "dimension": 2, "curvature": -0.5});
    let product = json!({"components": [{"geometry": "euclidean", "dimension": 1, "weight": 2}]});
    let put = json!({"id": "犬", "vector": [1, 0.5, -3e-7], "metadata": {"a": [null, true, "x"]}});
    let search = json!({"vector": [1, 2], "k": 3, "radius": 0.5, "filter": {"a.b": 1}});
    vec![
        json!({"operations": [{"put": put}, {"delete": {"id": "a"}}], "durability": "sync"}),
        json!({"searches": [search, search]}),
        json!({"traits": {"flat": 0.5}, "points": [[1, 2]], "edges": [[0, 1]], "times": [1]}),
        json!({"options": [{"name": "a", "cost": [1, 2, 3, 4]}], "budget": [1, 1, 1, 1]}),
        json!({"geometry": "poincare", "dimension": 3, "index": {"type": "HNSW", "M": 8}}),
        product,
        json!({"ids": ["a", "b"], "include_vectors": false}),
        json!({"space": space, "x": [1, 2], "y": [3, 4], "t": 0.25}),
        json!({"space": space, "points": [[1], [2]], "kind": "gyro_midpoint"}),
        put,
        json!({"token": "00", "limit": 5}),
        search,
        json!({"aliases": {"a": "b", "c": null}}),
        json!({"from": space, "to": space, "x": []}),
    ]
}

#[test]
fn valid_bodies_are_read() {
    let taken = |value: &Value| {
        BOTH.iter().all(|&encoding| {
            let bytes = encode(encoding, value).unwrap();
            decode::<PutRecord>(encoding, &bytes).is_ok()
                || decode::<SearchRequest>(encoding, &bytes).is_ok()
                || decode::<BatchRequest>(encoding, &bytes).is_ok()
                || decode::<CreateNamespace>(encoding, &bytes).is_ok()
                || decode::<GeodesicRequest>(encoding, &bytes).is_ok()
        })
    };
    assert!(bodies().iter().filter(|body| taken(body)).count() >= 6);
    for body in bodies() {
        for encoding in BOTH {
            read_as_everything(encoding, &encode(encoding, &body).unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for encoding in BOTH {
            read_as_everything(encoding, &bytes);
        }
    }

    #[test]
    fn mutated_bodies(
        kind in any::<prop::sample::Index>(),
        packed in any::<bool>(),
        changes in prop::collection::vec((0_u8..4, any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let encoding = if packed { Encoding::MessagePack } else { Encoding::Json };
        let bodies = bodies();
        let mut bytes = encode(encoding, &bodies[kind.index(bodies.len())]).unwrap();
        for (change, place, byte) in changes {
            if bytes.is_empty() {
                break;
            }
            let place = place.index(bytes.len());
            match change {
                0 => bytes[place] = byte,
                1 => bytes[place] ^= 1 << (byte % 8),
                2 => bytes.insert(place, byte),
                _ => bytes.truncate(place),
            }
        }
        read_as_everything(encoding, &bytes);
    }
}
