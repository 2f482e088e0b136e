//! Bad input: each gets a problem with a stable code, and nothing changes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use hvs_api::{Encoding, encode};
use reqwest::Method;
use serde_json::{Value, json};
use support::{BOTH, TestNode, prepared};

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
            case(Method::POST, SEARCH, json!({"k": 1}), "missing_vector"),
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
