//! Bad input: each gets a problem with a stable code, and nothing changes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use hvs_api::{Encoding, encode};
use reqwest::Method;
use serde_json::{Value, json};
use support::{BOTH, TestNode};

/// A node with a hyperboloid namespace `h` in f32 and a Euclidean one `e` with a record each.
async fn prepared() -> TestNode {
    let node = TestNode::with(|config| {
        config.limits.body_bytes = 64 << 10;
        config.limits.bytes_in_flight = 64 << 10;
        config.limits.batch_operations = 5;
        config.limits.fetch_ids = 5;
        config.limits.searches = 5;
        config.limits.k = 50;
        config.limits.ef = 100;
        config.limits.dimension = 64;
        config.limits.metadata_bytes = 100;
        config.limits.filter_terms = 2;
        config.limits.filter_depth = 2;
        config.limits.filter_values = 2;
        config.limits.namespaces = 3;
        config.limits.shards = 4;
        config.limits.points = 5;
        config.index.ef_construction = 100;
        config.limits.nprobe = 100;
    })
    .await;
    node.namespace("h", json!({"geometry": "hyperboloid", "dimension": 2})).await;
    node.namespace("e", json!({"geometry": "euclidean", "dimension": 2})).await;
    node.put("/v1/namespaces/h/vectors/kept", json!({"vector": [1.25, 0, 0.75]})).await.ok();
    node.put("/v1/namespaces/e/vectors/kept", json!({"vector": [1, 2]})).await.ok();
    node
}

struct Case {
    method: Method,
    path: &'static str,
    body: Value,
    code: &'static str,
}

fn case(method: Method, path: &'static str, body: Value, code: &'static str) -> Case {
    Case { method, path, body, code }
}

/// Sends every case in both encodings and looks at everything before and after.
async fn refused(node: &TestNode, cases: Vec<Case>) {
    let before = node.contents().await;
    for Case { method, path, body, code } in cases {
        for encoding in BOTH {
            let answer = node.call_in(encoding, method.clone(), path, &body).await;
            assert_eq!(answer.body["code"], code, "{method} {path} {body} {answer:?}");
            answer.problem(code);
        }
    }
    assert_eq!(node.contents().await, before);
}

const RECORD: &str = "/v1/namespaces/h/vectors/new";
const SEARCH: &str = "/v1/namespaces/h/search";

#[tokio::test]
async fn points() {
    let node = prepared().await;
    let put = |body, code| case(Method::PUT, RECORD, body, code);
    let search = |body, code| case(Method::POST, SEARCH, body, code);
    let on = [1.25, 0.0, 0.75];
    refused(
        &node,
        vec![
            put(json!({"vector": [1.0, 0.0]}), "dimension_mismatch"),
            put(json!({"vector": []}), "dimension_mismatch"),
            put(json!({"vector": [1, 0, 0, 0]}), "dimension_mismatch"),
            put(json!({"vector": on, "coordinates": "spatial"}), "dimension_mismatch"),
            put(json!({"vector": [2.0, 0.0, 0.75]}), "off_manifold"),
            put(json!({"vector": [-1.25, 0.0, 0.75]}), "off_manifold"),
            put(json!({"vector": [1e9, 1e9, 0], "project": true}), "precision_exceeded"),
            put(json!({"vector": [1e9, 0], "coordinates": "spatial"}), "precision_exceeded"),
            put(json!({}), "missing_vector"),
            put(json!({"vectors": {}}), "missing_vector"),
            put(json!({"vectors": {"other": on}}), "unknown_vector_name"),
            put(json!({"vector": on, "vectors": {"": on}}), "invalid_operation"),
            put(json!({"vector": on, "coordinates": "polar"}), "invalid_body"),
            put(json!({"vector": [null, 0, 0]}), "invalid_body"),
            put(json!({"vector": "1.25"}), "invalid_body"),
            case(
                Method::PUT,
                "/v1/namespaces/e/vectors/new",
                json!({"vector": [1, 2], "coordinates": "spatial"}),
                "invalid_coordinates",
            ),
            search(json!({"vector": [1.0, 0.0], "k": 1}), "dimension_mismatch"),
            search(json!({"vector": [2.0, 0.0, 0.75], "k": 1}), "off_manifold"),
            search(json!({"vector": [0.5, 1.5], "geometry": "poincare", "k": 1}), "off_manifold"),
            search(json!({"vector": on, "using": "other", "k": 1}), "unknown_vector_name"),
            search(json!({"vector": on, "geometry": "flat", "k": 1}), "unknown_geometry"),
            search(json!({"vector": on, "curvature": 1.0, "k": 1}), "invalid_curvature"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_wrong_dimension_is_told_as_intrinsic_and_ambient() {
    let node = prepared().await;
    let problem = node.put(RECORD, json!({"vector": [1.0, 0.0]})).await;
    let problem = problem.problem("dimension_mismatch");
    let context = &problem["context"];
    assert_eq!(context, &json!({"coordinates": 2, "intrinsic": 2, "ambient": 3}));
    let off = node.put(RECORD, json!({"vector": [2.0, 0.0, 0.75]})).await;
    let off = off.problem("off_manifold");
    assert!((off["context"]["off"].as_f64().unwrap() - 0.75).abs() < 1e-9, "{off}");
    assert!((off["context"]["expected"].as_f64().unwrap() - 1.25).abs() < 1e-9, "{off}");
}

/// JSON has no NaN and no infinity, MessagePack has.
#[tokio::test]
async fn numbers_that_are_not_finite() {
    let node = prepared().await;
    let before = node.contents().await;
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let packed = encode(Encoding::MessagePack, &packed_vector(value)).unwrap();
        let media = Encoding::MessagePack.content_type();
        for (method, path) in [(Method::PUT, RECORD), (Method::POST, SEARCH)] {
            let body = if path == SEARCH { with_k(&packed) } else { packed.clone() };
            let answer = node.bytes(media, method, path, body).await;
            let problem = answer.problem("not_finite");
            assert_eq!(problem["context"]["index"], 1, "{problem}");
        }
    }
    // The last is JSON, of a number that nothing here can hold.
    for (text, code) in [
        ("[NaN,0,0]", "invalid_json"),
        ("[Infinity,0,0]", "invalid_json"),
        ("[0x1,0,0]", "invalid_json"),
        ("[1e999,0,0]", "invalid_body"),
    ] {
        let body = format!("{{\"vector\":{text}}}").into_bytes();
        node.bytes("application/json", Method::PUT, RECORD, body).await.problem(code);
    }
    let radius =
        encode(Encoding::MessagePack, &std::collections::BTreeMap::from([("radius", f64::NAN)]));
    let mut body = vec![0x82];
    body.extend_from_slice(&packed_vector_entry(0.75));
    body.extend_from_slice(&radius.unwrap()[1..]);
    let media = Encoding::MessagePack.content_type();
    node.bytes(media, Method::POST, SEARCH, body).await.problem("invalid_radius");
    assert_eq!(node.contents().await, before);
}

fn packed_vector(value: f64) -> std::collections::BTreeMap<&'static str, [f64; 3]> {
    std::collections::BTreeMap::from([("vector", [1.25, value, 0.75])])
}

/// The one entry of the map, without the map's header.
fn packed_vector_entry(value: f64) -> Vec<u8> {
    let map = std::collections::BTreeMap::from([("vector", [1.25, 0.0, value])]);
    encode(Encoding::MessagePack, &map).unwrap()[1..].to_vec()
}

/// The map with `k: 1` added.
fn with_k(packed: &[u8]) -> Vec<u8> {
    let mut body = vec![0x82];
    body.extend_from_slice(&packed[1..]);
    body.extend_from_slice(&[0xa1, b'k', 1]);
    body
}

#[tokio::test]
async fn packed_floats_are_taken_and_torn_ones_refused() {
    let node = prepared().await;
    let packed = |bytes: &[u8]| {
        let mut body = vec![0x81, 0xa6];
        body.extend_from_slice(b"vector");
        body.extend_from_slice(&[0xc4, u8::try_from(bytes.len()).unwrap()]);
        body.extend_from_slice(bytes);
        body
    };
    let bytes: Vec<u8> = [1.25_f32, 0.0, 0.75].iter().flat_map(|x| x.to_le_bytes()).collect();
    let media = Encoding::MessagePack.content_type();
    node.bytes(media, Method::PUT, RECORD, packed(&bytes)).await.ok();
    assert_eq!(node.get(RECORD).await.ok()["vector"], json!([1.25, 0.0, 0.75]));
    let torn = node.bytes(media, Method::PUT, RECORD, packed(&bytes[..11])).await;
    torn.problem("invalid_body");
}

#[tokio::test]
async fn namespaces() {
    let node = prepared().await;
    let put = |body, code| case(Method::PUT, "/v1/namespaces/new", body, code);
    let flat = json!({"geometry": "euclidean", "dimension": 2});
    let factor = |weight: f64| json!({"geometry": "euclidean", "dimension": 1, "weight": weight});
    let mut cases = vec![
        put(json!({"geometry": "elliptic", "dimension": 2}), "unknown_geometry"),
        put(json!({"geometry": "Poincare", "dimension": 2}), "unknown_geometry"),
        put(json!({"dimension": 2}), "unknown_geometry"),
        put(json!({}), "unknown_geometry"),
        put(json!({"geometry": "poincare"}), "invalid_dimension"),
        put(json!({"geometry": "poincare", "dimension": 0}), "invalid_dimension"),
        put(json!({"geometry": "poincare", "dimension": 65}), "invalid_dimension"),
        put(json!({"geometry": "lorentzian", "dimension": 1}), "invalid_dimension"),
        put(json!({"geometry": "poincare", "dimension": -1}), "invalid_body"),
        put(json!({"components": []}), "invalid_components"),
        put(json!({"components": [factor(0.0)]}), "invalid_components"),
        put(json!({"components": [factor(-1.0)]}), "invalid_components"),
        put(json!({"components": vec![factor(1.0); 17]}), "invalid_components"),
        put(json!({"components": [factor(1.0)], "geometry": "euclidean"}), "invalid_components"),
        put(json!({"geometry": "euclidean", "dimension": 2, "shards": 0}), "invalid_shards"),
        put(json!({"geometry": "euclidean", "dimension": 2, "shards": 5}), "invalid_shards"),
        put(json!({"geometry": "euclidean", "dimension": 2, "precision": "f16"}), "invalid_body"),
        put(json!({"geometry": "euclidean", "dimension": 2, "dimensions": 2}), "invalid_body"),
        put(json!(null), "invalid_body"),
        put(json!([flat]), "invalid_body"),
    ];
    for (geometry, curvature) in [
        ("poincare", 0.0),
        ("poincare", 1.0),
        ("hyperboloid", 0.0),
        ("klein", 2.0),
        ("euclidean", -1.0),
        ("euclidean", 1.0),
        ("spherical", 0.0),
        ("spherical", -1.0),
        ("lorentzian", -1.0),
        ("poincare", -1e300),
    ] {
        let body = json!({"geometry": geometry, "dimension": 2, "curvature": curvature});
        cases.push(put(body, "invalid_curvature"));
    }
    for index in [
        json!({"type": "HNSW", "m": 1}),
        json!({"type": "HNSW", "M": 257}),
        json!({"type": "HNSW", "ef_search": 0}),
        json!({"type": "HNSW", "ef_construction": 101}),
        json!({"type": "FLAT", "m": 16}),
        json!({"type": "GEOMETRIC", "nprobe": 16}),
        json!({"type": "GEOMETRIC", "quantisation": "f16"}),
        json!({"type": "HNSW", "nlist": 16}),
        json!({"type": "IVF", "m": 16}),
        json!({"type": "IVF", "nlist": 0}),
        json!({"type": "IVF", "nlist": 101}),
        json!({"type": "IVF", "nprobe": 101}),
    ] {
        let body = json!({"geometry": "euclidean", "dimension": 2, "index": index});
        cases.push(put(body, "invalid_index"));
    }
    let body = json!({"geometry": "euclidean", "dimension": 2, "index": {"type": "LSH"}});
    cases.push(put(body, "invalid_body"));
    let odd = json!({"quantisation": "i4"});
    let body = json!({"geometry": "euclidean", "dimension": 2, "index": odd});
    cases.push(put(body, "invalid_body"));
    for (geometry, quantisation) in [
        ("hyperboloid", "i8"),
        ("poincare", "i8"),
        ("klein", "pq"),
        ("lorentzian", "i8"),
        ("lorentzian", "f16"),
    ] {
        let index = json!({"type": "FLAT", "quantisation": quantisation});
        let body = json!({"geometry": geometry, "dimension": 2, "index": index});
        cases.push(put(body, "invalid_index"));
    }
    let odd = json!({"geometry": "euclidean", "dimension": 2, "vectors": {"a b": {}}});
    cases.push(put(odd, "invalid_name"));
    let many: serde_json::Map<_, _> = (0..16).map(|n| (format!("v{n}"), json!({}))).collect();
    let many = json!({"geometry": "euclidean", "dimension": 2, "vectors": many});
    cases.push(put(many, "too_many_named_vectors"));
    refused(&node, cases).await;

    // The limit of namespaces, at its edge.
    node.namespace("third", flat.clone()).await;
    node.put("/v1/namespaces/fourth", flat).await.problem("limit_reached");
}

#[tokio::test]
async fn names_with_odd_characters() {
    let node = prepared().await;
    let flat = json!({"geometry": "euclidean", "dimension": 2});
    let mut cases = Vec::new();
    for path in [
        "/v1/namespaces/%20",
        "/v1/namespaces/a%20b",
        "/v1/namespaces/%2e%2e%2fetc",
        "/v1/namespaces/a%2fb",
        "/v1/namespaces/.hidden",
        "/v1/namespaces/-flag",
        "/v1/namespaces/_system",
        "/v1/namespaces/a%00",
        "/v1/namespaces/a%0ab",
        "/v1/namespaces/%ff%fe",
        "/v1/namespaces/hund%F0%9F%90%95",
        "/v1/namespaces/%E2%80%AEabc",
        "/v1/namespaces/a%27%3BDROP",
    ] {
        cases.push(case(Method::PUT, path, flat.clone(), "invalid_name"));
    }
    cases.push(case(Method::PUT, "/v1/aliases/a%20b", json!({"namespace": "e"}), "invalid_name"));
    cases.push(case(Method::PUT, "/v1/aliases/good", json!({"namespace": "a b"}), "invalid_name"));
    refused(&node, cases).await;
    for path in ["/v1/namespaces/a%20b", "/v1/aliases/a%20b"] {
        node.get(path).await.problem("invalid_name");
        node.delete(path).await.problem("invalid_name");
    }
    let longest = "x".repeat(128);
    node.put(&format!("/v1/namespaces/{longest}x"), flat.clone()).await.problem("invalid_name");
    node.put(&format!("/v1/namespaces/{longest}"), flat).await.ok();
}

#[tokio::test]
async fn unknown_namespaces() {
    let node = prepared().await;
    let on = json!([1.25, 0.0, 0.75]);
    let code = "namespace_not_found";
    refused(
        &node,
        vec![
            case(Method::PUT, "/v1/namespaces/no/vectors/a", json!({"vector": on}), code),
            case(Method::POST, "/v1/namespaces/no/batch", json!({"operations": []}), code),
            case(Method::POST, "/v1/namespaces/no/fetch", json!({"ids": ["a"]}), code),
            case(Method::POST, "/v1/namespaces/no/scroll", json!({}), code),
            case(Method::POST, "/v1/namespaces/no/count", json!({}), code),
            case(Method::POST, "/v1/namespaces/no/search", json!({"vector": on, "k": 1}), code),
            case(Method::POST, "/v1/namespaces/no/search/batch", json!({"searches": []}), code),
            case(Method::PUT, "/v1/aliases/a", json!({"namespace": "no"}), code),
        ],
    )
    .await;
    node.get("/v1/namespaces/no").await.problem(code);
    node.get("/v1/namespaces/no/vectors/a").await.problem(code);
    node.delete("/v1/namespaces/no/vectors/a").await.problem(code);
}

#[tokio::test]
async fn ids() {
    let node = prepared().await;
    let before = node.contents().await;
    let body = json!({"vector": [1, 2]});
    let longest = "x".repeat(512);
    let path = |id: &str| format!("/v1/namespaces/e/vectors/{id}");
    for id in ["", &format!("{longest}x"), "a%00", "a%0a", "a%7f", "a%C2%85"] {
        node.put(&path(id), body.clone()).await.problem("invalid_id");
        node.get(&path(id)).await.problem("invalid_id");
        node.delete(&path(id)).await.problem("invalid_id");
    }
    node.put(&path("%ff"), body.clone()).await.problem("invalid_name");
    let batch = "/v1/namespaces/e/batch";
    for (operations, code) in [
        (json!([{"put": {"id": "", "vector": [1, 2]}}]), "invalid_id"),
        (json!([{"put": {"vector": [1, 2]}}]), "invalid_id"),
        (json!([{"delete": {"id": "a\nb"}}]), "invalid_id"),
        (json!([{"put": {"id": "a", "vector": [1, 2]}}, {"delete": {"id": "a"}}]), "duplicate_id"),
        (
            json!([{"delete": {"id": "kept"}}, {"put": {"id": "b", "vector": [1]}}]),
            "dimension_mismatch",
        ),
        (json!([]), "empty_batch"),
        (json!(vec![json!({"delete": {"id": "kept"}}); 6]), "batch_too_large"),
        (
            json!([{"put": {"id": "a", "vector": [1, 2], "durability": "sync"}}]),
            "invalid_operation",
        ),
        (json!([{"rename": {"id": "a"}}]), "invalid_body"),
        (json!([{"delete": {"id": "kept", "if_match": "x"}}]), "invalid_condition"),
        (json!([{"delete": {"id": "kept", "partition_key": ""}}]), "invalid_partition_key"),
    ] {
        let body = json!({"operations": operations});
        for encoding in BOTH {
            let answer = node.call_in(encoding, Method::POST, batch, &body).await;
            assert_eq!(answer.body["code"], code, "{body} {answer:?}");
            answer.problem(code);
        }
    }
    let fetch = "/v1/namespaces/e/fetch";
    node.post(fetch, json!({"ids": ["a", "a"]})).await.problem("duplicate_id");
    node.post(fetch, json!({"ids": []})).await.problem("empty_batch");
    node.post(fetch, json!({"ids": ["a", "b", "c", "d", "e", "f"]}))
        .await
        .problem("batch_too_large");
    node.post(fetch, json!({"ids": [""]})).await.problem("invalid_id");
    let other = json!({"id": "b", "vector": [1, 2]});
    node.put(&path("a"), other).await.problem("invalid_operation");
    assert_eq!(node.contents().await, before);
    node.put(&path(&longest), body).await.ok();
}

#[tokio::test]
async fn a_bad_item_of_a_batch_is_named_and_all_are_listed() {
    let node = prepared().await;
    let operations = json!([
        {"put": {"id": "a", "vector": [1, 2]}},
        {"put": {"id": "b", "vector": [1]}},
        {"put": {"id": "c\u{1}", "vector": [1, 2]}},
    ]);
    let answer = node.post("/v1/namespaces/e/batch", json!({"operations": operations})).await;
    let problem = answer.problem("dimension_mismatch");
    assert_eq!(problem["context"]["index"], 1);
    let errors = problem["errors"].as_array().unwrap();
    assert_eq!((&errors[0]["index"], &errors[0]["id"]), (&json!(1), &json!("b")));
    assert_eq!((&errors[1]["index"], &errors[1]["code"]), (&json!(2), &json!("invalid_id")));
    node.get("/v1/namespaces/e/vectors/a").await.problem("vector_not_found");
}

#[tokio::test]
async fn searches() {
    let node = prepared().await;
    let search = |body: Value, code| {
        let mut body = body;
        body["vector"] = json!([1.25, 0.0, 0.75]);
        case(Method::POST, SEARCH, body, code)
    };
    refused(
        &node,
        vec![
            search(json!({}), "missing_bound"),
            search(json!({"k": 0}), "invalid_k"),
            search(json!({"k": 51}), "invalid_k"),
            search(json!({"k": 1_000_000_000}), "invalid_k"),
            search(json!({"k": u64::MAX}), "invalid_k"),
            search(json!({"k": -1}), "invalid_body"),
            search(json!({"k": 1.5}), "invalid_body"),
            search(json!({"radius": -1}), "invalid_radius"),
            search(json!({"k": 1, "ef": 0}), "invalid_ef"),
            search(json!({"k": 1, "ef": 101}), "invalid_ef"),
            search(json!({"k": 1, "nprobe": 0}), "invalid_nprobe"),
            search(json!({"k": 1, "nprobe": 101}), "invalid_nprobe"),
            search(json!({"k": 1, "filter": {"a": 1, "b": 2, "c": 3}}), "invalid_filter"),
            search(json!({"k": 1, "filter": {"a..b": 1}}), "invalid_filter"),
            search(json!({"k": 1, "filter": {"a": {"$like": "x"}}}), "invalid_filter"),
            search(json!({"k": 1, "filter": {"a": {"$gt": [1]}}}), "invalid_filter"),
            search(json!({"k": 1, "filter": {"a": {"$in": [1, 2, 3]}}}), "invalid_filter"),
            search(json!({"k": 1, "filter": {"$not": {"$not": {"a": 1}}}}), "invalid_filter"),
            search(json!({"k": 1, "filter": [1]}), "invalid_body"),
            search(json!({"k": 1, "partition_key": "\u{0}"}), "invalid_partition_key"),
            search(json!({"k": 1, "limit": 3}), "invalid_body"),
            case(Method::POST, SEARCH, json!({"k": 1}), "invalid_body"),
            case(Method::POST, "/v1/namespaces/h/scroll", json!({"limit": 0}), "invalid_limit"),
            case(Method::POST, "/v1/namespaces/h/scroll", json!({"limit": 1001}), "invalid_limit"),
            case(Method::POST, "/v1/namespaces/h/scroll", json!({"token": ""}), "invalid_token"),
        ],
    )
    .await;
    for allowed in
        [json!({"k": 50, "ef": 100, "nprobe": 100}), json!({"k": 1}), json!({"radius": 0})]
    {
        let mut body = allowed;
        body["vector"] = json!([1.25, 0.0, 0.75]);
        node.post(SEARCH, body).await.ok();
    }
}

#[tokio::test]
async fn metadata_and_durability() {
    let node = prepared().await;
    let put = |body: Value, code| {
        let mut body = body;
        body["vector"] = json!([1.25, 0.0, 0.75]);
        case(Method::PUT, RECORD, body, code)
    };
    refused(
        &node,
        vec![
            put(json!({"metadata": {"a": "x".repeat(100)}}), "invalid_metadata"),
            put(json!({"metadata": [1]}), "invalid_body"),
            put(json!({"durability": "replicated"}), "durability_unavailable"),
            put(json!({"durability": "quorum"}), "durability_unavailable"),
            put(json!({"durability": "eventually"}), "invalid_body"),
            put(json!({"partition_key": ""}), "invalid_partition_key"),
            put(json!({"partition_key": "x".repeat(513)}), "invalid_partition_key"),
        ],
    )
    .await;
    // {"a":"…"} of exactly the limit.
    let body = json!({"vector": [1.25, 0, 0.75], "metadata": {"a": "x".repeat(92)}});
    node.put(RECORD, body).await.ok();
}

#[tokio::test]
async fn bodies_that_cannot_be_read() {
    let node = prepared().await;
    let before = node.contents().await;
    let json_type = "application/json";
    let packed_type = "application/msgpack";
    let deep_json = [b"{\"metadata\":".to_vec(), b"[".repeat(100_000 / 2)].concat();
    let deep_packed = [b"\x81\xa8metadata\x81\xa1a".to_vec(), b"\x91".repeat(60_000)].concat();
    for (media, bytes, code) in [
        (json_type, b"".to_vec(), "invalid_json"),
        (json_type, b"{".to_vec(), "invalid_json"),
        (json_type, b"{\"vector\":[1.25,0,0.75]}x".to_vec(), "invalid_json"),
        (json_type, b"\xff\xfe".to_vec(), "invalid_json"),
        (json_type, b"{\"vector\":[1.25,0,0.75],\"vector\":[1,0,0]}".to_vec(), "invalid_body"),
        (json_type, b"\x81\xa6vector\x93\x01\x00\x00".to_vec(), "invalid_json"),
        (json_type, deep_json, "invalid_json"),
        (packed_type, b"".to_vec(), "invalid_msgpack"),
        (packed_type, b"\x81".to_vec(), "invalid_msgpack"),
        (packed_type, b"\xdf\xff\xff\xff\xff".to_vec(), "invalid_msgpack"),
        (packed_type, b"\x81\xa6vector\xdd\xff\xff\xff\xff".to_vec(), "invalid_msgpack"),
        (packed_type, b"\x81\xa6vector\x93\x01\x00\x00\x00".to_vec(), "invalid_msgpack"),
        (packed_type, deep_packed, "invalid_msgpack"),
        (packed_type, b"\xc1".to_vec(), "invalid_msgpack"),
        (json_type, b"[[1.25,0,0.75]]".to_vec(), "invalid_body"),
        (packed_type, b"\x91\x93\x01\x00\x00".to_vec(), "invalid_body"),
        (packed_type, b"{\"vector\":[1.25,0,0.75]}".to_vec(), "invalid_body"),
        ("text/plain", b"{}".to_vec(), "unsupported_media_type"),
        ("application/x-www-form-urlencoded", b"a=b".to_vec(), "unsupported_media_type"),
        ("", b"{}".to_vec(), "unsupported_media_type"),
    ] {
        let shown = bytes.iter().take(40).copied().collect::<Vec<_>>();
        let answer = node.bytes(media, Method::PUT, RECORD, bytes).await;
        assert_eq!(answer.body["code"], code, "{media} {} {answer:?}", shown.escape_ascii());
        answer.problem(code);
    }
    assert_eq!(node.contents().await, before);
}

#[tokio::test]
async fn bodies_over_the_limit_with_and_without_their_length() {
    let node = prepared().await;
    let limit = 64 << 10;
    let frame = "{\"vector\":[1.25,0,0.75]}";
    let exactly = format!("{frame}{}", " ".repeat(limit - frame.len()));
    let over = format!("{exactly} ");
    let before = node.contents().await;
    let sized = node.bytes("application/json", Method::PUT, RECORD, over.clone().into_bytes());
    assert_eq!(sized.await.problem("body_too_large")["context"]["limit"], limit);
    let much = "x".repeat(20 * limit).into_bytes();
    node.bytes("application/json", Method::PUT, RECORD, much).await.problem("body_too_large");
    let chunks = |text: String| {
        let parts: Vec<Result<Vec<u8>, std::io::Error>> =
            text.into_bytes().chunks(1_000).map(|chunk| Ok(chunk.to_vec())).collect();
        reqwest::Body::wrap_stream(futures_util::stream::iter(parts))
    };
    let request = node.request(Method::PUT, RECORD).header("content-type", "application/json");
    node.send(request.body(chunks(over))).await.problem("body_too_large");
    assert_eq!(node.contents().await, before);
    let request = node.request(Method::PUT, RECORD).header("content-type", "application/json");
    node.send(request.body(chunks(exactly))).await.ok();
}

#[tokio::test]
async fn routes_methods_headers_and_queries() {
    let node = prepared().await;
    node.get("/v2/namespaces").await.problem("route_not_found");
    node.get("/").await.problem("route_not_found");
    node.get("/v1/namespaces/e/vectors").await.problem("route_not_found");
    node.get("/v1/namespaces/e/vectors/a/b").await.problem("route_not_found");
    let patch = node.send(node.request(Method::PATCH, "/v1/namespaces/e")).await;
    assert!(patch.headers["allow"].to_str().unwrap().contains("PUT"), "{patch:?}");
    patch.problem("method_not_allowed");
    node.send(node.request(Method::GET, SEARCH)).await.problem("method_not_allowed");
    let odd = Method::from_bytes(b"BREW").unwrap();
    node.send(node.request(odd, "/v1/namespaces")).await.problem("method_not_allowed");

    let get = |name: &'static str, value: &'static str| {
        node.send(node.request(Method::GET, "/v1/namespaces").header(name, value))
    };
    get("accept", "text/html").await.problem("not_acceptable");
    get("x-deadline-ms", "soon").await.problem("invalid_header");
    let late = node.request(Method::POST, SEARCH).header("x-deadline-ms", "0");
    let late = late.json(&json!({"vector": [1.25, 0, 0.75], "k": 1, "exact": true}));
    node.send(late).await.problem("deadline_exceeded");
    node.get("/v1/namespaces/e/vectors/kept?colour=red").await.problem("invalid_query");
    node.delete("/v1/namespaces/e/vectors/kept?durability=x").await.problem("invalid_query");
    node.delete("/v1/namespaces/e/vectors/kept?durability=quorum")
        .await
        .problem("durability_unavailable");
    node.get("/v1/namespaces/e/vectors/kept?partition_key=").await.problem("invalid_partition_key");
    // A problem comes in the encoding of the request, under the request's own id.
    let request = node
        .request(Method::GET, "/v1/namespaces/no")
        .header("accept", "application/msgpack")
        .header("x-request-id", "mine");
    let problem = node.send(request).await;
    assert_eq!(problem.headers["content-type"], "application/problem+msgpack");
    assert_eq!(problem.problem("namespace_not_found")["request_id"], "mine");
}

#[tokio::test]
async fn a_product_without_an_order_is_refused_before_anything_is_made() {
    let node = prepared().await;
    let lorentzian = json!({"geometry": "lorentzian", "dimension": 2});
    let product = json!({"components": [lorentzian, {"geometry": "euclidean", "dimension": 1}]});
    let named = json!({"geometry": "euclidean", "dimension": 2, "vectors": {"a": product}});
    let create = |body| case(Method::PUT, "/v1/namespaces/new", body, "invalid_components");
    refused(&node, vec![create(product.clone()), create(named)]).await;
    node.namespace("alone", lorentzian).await;
}

#[tokio::test]
async fn all_bad_items_of_a_request_are_listed() {
    let node = prepared().await;
    let on = [1.25, 0.0, 0.75];
    let operations = json!({"operations": [
        {"put": {"id": "a", "vector": [2.0, 0.0, 0.75]}},
        {"put": {"id": "b", "vector": on}},
        {"put": {"id": "b", "vector": on}},
        {"put": {"vector": on}},
        {"delete": {"id": ""}},
    ]});
    let answer = node.post("/v1/namespaces/h/batch", operations).await;
    let problem = answer.problem("off_manifold");
    let listed = |problem: &Value| -> Vec<(u64, String)> {
        let errors = problem["errors"].as_array().unwrap().iter();
        errors
            .map(|error| {
                (error["index"].as_u64().unwrap(), error["code"].as_str().unwrap().to_owned())
            })
            .collect()
    };
    let expected = [(0, "off_manifold"), (2, "duplicate_id"), (3, "invalid_id"), (4, "invalid_id")];
    assert_eq!(listed(&problem), expected.map(|(index, code)| (index, code.to_owned())));

    let searches = json!({"searches": [
        {"vector": on, "k": 0}, {"vector": on, "k": 1}, {"vector": [1.0], "k": 1},
    ]});
    let answer = node.post("/v1/namespaces/h/search/batch", searches).await;
    let expected = [(0, "invalid_k"), (2, "dimension_mismatch")];
    let problem = answer.problem("invalid_k");
    assert_eq!(listed(&problem), expected.map(|(index, code)| (index, code.to_owned())));
}

#[tokio::test]
async fn an_answer_has_a_limit() {
    let node = TestNode::with(|config| config.limits.answer_bytes = 4_000).await;
    node.namespace("e", json!({"geometry": "euclidean", "dimension": 1})).await;
    for number in 0..10 {
        let body = json!({"vector": [number], "metadata": {"text": "x".repeat(450)}});
        node.put(&format!("/v1/namespaces/e/vectors/{number}"), body).await.ok();
    }
    let search =
        |k: u64, metadata: bool| json!({"vector": [0], "k": k, "include_metadata": metadata});
    let path = "/v1/namespaces/e/search";
    // A hit takes its id and 64 bytes, and here a record of somewhat more than 450.
    node.post(path, search(10, false)).await.ok();
    node.post(path, search(6, true)).await.ok();
    node.post(path, search(10, true)).await.problem("answer_too_large");
    let batch = |one: Value, count: usize| json!({"searches": vec![one; count]});
    let path = "/v1/namespaces/e/search/batch";
    node.post(path, batch(search(10, false), 6)).await.ok();
    node.post(path, batch(search(10, false), 7)).await.problem("answer_too_large");
    node.post(path, batch(search(3, true), 3)).await.problem("answer_too_large");
}

#[tokio::test]
async fn who_announces_a_body_and_sends_none_holds_up_nobody() {
    use std::io::Write;

    let node = prepared().await;
    let mut stalled = Vec::new();
    for number in 0..4 {
        let address = node.node.as_ref().unwrap().external();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let length = if number % 2 == 0 {
            format!("content-length: {}", 64 << 10)
        } else {
            "transfer-encoding: chunked".to_owned()
        };
        let head = format!(
            "POST {SEARCH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stalled.push(stream);
    }
    let search = json!({"vector": [1.25, 0, 0.75], "k": 1});
    for _ in 0..20 {
        node.post(SEARCH, search.clone()).await.ok();
    }
}

#[tokio::test]
async fn a_write_whose_time_is_up_does_not_begin() {
    let node = prepared().await;
    let request = node.request(Method::PUT, RECORD).header("x-deadline-ms", "0");
    let request = request.json(&json!({"vector": [1.25, 0, 0.75]}));
    node.send(request).await.problem("deadline_exceeded");
    node.get(RECORD).await.problem("vector_not_found");
}

#[tokio::test]
async fn a_query_string_that_is_not_utf8_is_refused() {
    let node = prepared().await;
    let path = "/v1/namespaces/h/vectors/kept?partition_key=%ff";
    node.get(path).await.problem("invalid_query");
}
