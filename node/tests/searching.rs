//! Search over HTTP, compared with the distances of the geometry crate.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use hvs_api::Encoding;
use hvs_geometry::{Geometry, Space};
use reqwest::Method;
use serde_json::{Value, json};
use support::{BOTH, TestNode, ids};

const POINTS: usize = 300;

/// Points of the sheet that spread over directions and radii, the same in every run.
fn points(dimension: usize, count: usize) -> Vec<Vec<f64>> {
    let mut state = 7_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1_u32 << 24) - 0.5
    };
    let spatial = (0..count).map(|_| (0..dimension).map(|_| 4.0 * next()).collect::<Vec<_>>());
    let space = Space::new(Geometry::Hyperboloid, dimension, -1.0).unwrap();
    // As f32 keeps them, so that distances can be compared closely.
    spatial
        .map(|x| {
            #[expect(clippy::cast_possible_truncation, reason = "the rounding is wanted")]
            let kept: Vec<f64> = x.iter().map(|x| f64::from(*x as f32)).collect();
            space.from_storage(&kept)
        })
        .collect()
}

async fn filled(settings: Value) -> (TestNode, Vec<Vec<f64>>) {
    let node = TestNode::start().await;
    node.namespace("n", settings).await;
    let points = points(4, POINTS);
    let puts: Vec<_> = points
        .iter()
        .enumerate()
        .map(|(n, x)| {
            let metadata = json!({"group": n % 10, "nested": {"even": n % 2 == 0}});
            json!({"put": {"id": format!("p{n}"), "vector": x, "metadata": metadata}})
        })
        .collect();
    node.post("/v1/namespaces/n/batch", json!({"operations": puts})).await.ok();
    (node, points)
}

/// Ids and distances by looking at every point.
fn nearest(
    points: &[Vec<f64>],
    query: &[f64],
    accept: impl Fn(usize) -> bool,
) -> Vec<(String, f64)> {
    let space = Space::new(Geometry::Hyperboloid, 4, -1.0).unwrap();
    let mut all: Vec<_> = points
        .iter()
        .enumerate()
        .filter(|(n, _)| accept(*n))
        .map(|(n, x)| (format!("p{n}"), space.distance(query, x).unwrap()))
        .collect();
    all.sort_by(|left, right| left.1.total_cmp(&right.1));
    all
}

#[track_caller]
fn assert_hits(answer: &Value, expected: &[(String, f64)]) {
    let hits = answer["hits"].as_array().unwrap();
    assert_eq!(hits.len(), expected.len(), "{answer}");
    for (place, (hit, (id, distance))) in hits.iter().zip(expected).enumerate() {
        assert_eq!(hit["id"], *id, "{answer}");
        let found = hit["distance"].as_f64().unwrap();
        assert!((found - distance).abs() < 1e-9 * (1.0 + distance), "{found} {distance}");
        assert!((hit["score"].as_f64().unwrap() - 1.0 / (1.0 + found)).abs() < 1e-12);
        assert_eq!(hit["rank"], place + 1);
    }
}

#[tokio::test]
async fn hits_are_the_nearest_by_the_true_distance_over_any_number_of_shards() {
    for shards in [1, 4] {
        let settings = json!({"geometry": "hyperboloid", "dimension": 4, "shards": shards});
        let (node, points) = filled(settings).await;
        let query = &points[17];
        for encoding in BOTH {
            let body = json!({"vector": query, "k": 10, "explain": true});
            let path = "/v1/namespaces/n/search";
            let answer = node.call_in(encoding, Method::POST, path, &body).await.ok();
            assert_hits(&answer, &nearest(&points, query, |_| true)[..10]);
            assert_eq!(answer["explain"]["shards"].as_array().unwrap().len(), shards);
            assert!(answer["explain"]["total_us"].as_f64().unwrap() > 0.0);
        }
    }
}

#[tokio::test]
async fn radius_filter_and_exactness_hold_together() {
    let settings = json!({"geometry": "hyperboloid", "dimension": 4, "shards": 2});
    let (node, points) = filled(settings).await;
    let query = &points[3];
    let search = async |mut body: Value| {
        body["vector"] = json!(query);
        node.post("/v1/namespaces/n/search", body).await.ok()
    };
    let all = nearest(&points, query, |_| true);
    let radius = f64::midpoint(all[24].1, all[25].1);
    let within = search(json!({"radius": radius})).await;
    assert_hits(&within, &all[..25]);
    assert!(within.get("truncated").is_none());
    assert_hits(&search(json!({"radius": radius, "k": 5})).await, &all[..5]);
    assert_hits(&search(json!({"radius": 0.0})).await, &all[..1]);
    let exact = search(json!({"k": 7, "exact": true})).await;
    assert_eq!(exact["exact"], true);
    assert_hits(&exact, &all[..7]);

    let even_third = nearest(&points, query, |n| n % 10 == 4);
    let filter = json!({"group": 4, "nested.even": true});
    assert_hits(&search(json!({"k": 20, "filter": filter})).await, &even_third[..20]);
    let nothing = search(json!({"k": 20, "filter": {"group": 4, "nested.even": false}})).await;
    assert_eq!(nothing["hits"], json!([]));
}

#[tokio::test]
async fn hits_carry_vectors_and_metadata_if_asked() {
    let (node, points) = filled(json!({"geometry": "hyperboloid", "dimension": 4})).await;
    let body = json!({"vector": points[5], "k": 1});
    let plain = node.post("/v1/namespaces/n/search", body.clone()).await.ok();
    assert!(plain["hits"][0].get("vector").is_none() && plain["hits"][0].get("metadata").is_none());
    let mut body = body;
    body["include_vectors"] = json!(true);
    body["include_metadata"] = json!(true);
    let full = node.post("/v1/namespaces/n/search", body).await.ok();
    assert_eq!(full["hits"][0]["vector"], json!(points[5]));
    assert_eq!(full["hits"][0]["metadata"]["group"], 5);
}

#[tokio::test]
async fn a_query_may_come_in_other_coordinates_and_geometries() {
    let (node, points) = filled(json!({"geometry": "hyperboloid", "dimension": 4})).await;
    let query = &points[40];
    let expected = nearest(&points, query, |_| true)[..10].to_vec();
    let sheet = Space::new(Geometry::Hyperboloid, 4, -1.0).unwrap();
    let ball = Space::new(Geometry::Poincare, 4, -1.0).unwrap();
    let in_ball = hvs_geometry::transform(&sheet, &ball, query).unwrap();
    let mut off = query.clone();
    off[0] += 3.0;
    for body in [
        json!({"vector": query[1..], "coordinates": "spatial"}),
        json!({"vector": in_ball, "geometry": "poincare"}),
        json!({"vector": off, "project": true}),
    ] {
        let mut body = body;
        body["k"] = json!(10);
        let answer = node.post("/v1/namespaces/n/search", body).await.ok();
        assert_eq!(ids(&answer), expected.iter().map(|hit| hit.0.clone()).collect::<Vec<_>>());
    }
}

/// A client that computes in f32 cannot know the time coordinate better than that.
#[tokio::test]
async fn queries_and_records_that_f32_rounded_are_points_in_f32() {
    let (node, points) = filled(json!({"geometry": "hyperboloid", "dimension": 4})).await;
    for x in &points[..50] {
        #[expect(clippy::cast_possible_truncation, reason = "the rounding is wanted")]
        let rounded: Vec<f64> = x.iter().map(|x| f64::from(*x as f32)).collect();
        let search = json!({"vector": rounded, "k": 3});
        let found = node.post("/v1/namespaces/n/search", search).await.ok();
        assert_hits(&found, &nearest(&points, x, |_| true)[..3]);
        node.put("/v1/namespaces/n/vectors/rounded", json!({"vector": rounded})).await.ok();
        node.delete("/v1/namespaces/n/vectors/rounded").await.ok();
    }
}

#[tokio::test]
async fn named_vectors_are_searched_by_name_each_in_its_own_space() {
    let node = TestNode::start().await;
    let vectors = json!({"colour": {"geometry": "spherical", "dimension": 1, "precision": "f64"}});
    let settings = json!({"geometry": "euclidean", "dimension": 1, "vectors": vectors});
    node.namespace("n", settings).await;
    for (id, x, angle) in [("a", 0.0, 3.0_f64), ("b", 5.0, 0.1), ("c", 9.0, 1.0)] {
        let body = json!({"vectors": {"": [x], "colour": [angle.cos(), angle.sin()]}});
        node.put(&format!("/v1/namespaces/n/vectors/{id}"), body).await.ok();
    }
    node.put("/v1/namespaces/n/vectors/d", json!({"vector": [1]})).await.ok();
    let search = async |body| node.post("/v1/namespaces/n/search", body).await.ok();
    assert_eq!(ids(&search(json!({"vector": [0], "k": 9})).await), ["a", "d", "b", "c"]);
    let by_colour = search(json!({"vector": [1, 0], "using": "colour", "k": 9})).await;
    assert_eq!(ids(&by_colour), ["b", "c", "a"]);
    assert!((by_colour["hits"][2]["distance"].as_f64().unwrap() - 3.0).abs() < 1e-12);
    let record = node.get("/v1/namespaces/n/vectors/d").await.ok();
    assert!(record.get("vectors").is_none(), "{record}");
}

#[tokio::test]
async fn a_product_space_sums_weighted_squares() {
    let node = TestNode::start().await;
    let components = json!([
        {"geometry": "hyperboloid", "dimension": 1, "weight": 4.0},
        {"geometry": "euclidean", "dimension": 1},
    ]);
    node.namespace("n", json!({"components": components, "precision": "f64"})).await;
    let body = json!({"vector": [1.25, 0.75, 3.0]});
    node.put("/v1/namespaces/n/vectors/a", body).await.ok();
    let search = json!({"vector": [1, 0, 0], "k": 1});
    let answer = node.post("/v1/namespaces/n/search", search).await.ok();
    let hyperbolic = 0.75_f64.asinh();
    let expected = (4.0 * hyperbolic * hyperbolic + 9.0).sqrt();
    assert!((answer["hits"][0]["distance"].as_f64().unwrap() - expected).abs() < 1e-12);
}

#[tokio::test]
async fn a_batch_of_searches_answers_as_single_ones_do() {
    let settings = json!({"geometry": "hyperboloid", "dimension": 4, "shards": 2});
    let (node, points) = filled(settings).await;
    let searches: Vec<_> =
        points[..50].iter().map(|x| json!({"vector": x, "k": 3, "radius": 2.5})).collect();
    let body = json!({"searches": searches});
    let path = "/v1/namespaces/n/search/batch";
    let batch = node.call_in(Encoding::MessagePack, Method::POST, path, &body).await.ok();
    for (search, result) in searches.iter().zip(batch["results"].as_array().unwrap()) {
        let single = node.post("/v1/namespaces/n/search", search.clone()).await.ok();
        assert_eq!(ids(&single), ids(result));
    }
    let body = json!({"searches": [searches[0], {"vector": points[1], "k": 0}]});
    let problem = node.post(path, body).await.problem("invalid_k");
    assert_eq!(problem["errors"][0]["index"], 1);
    node.post(path, json!({"searches": []})).await.problem("empty_batch");
}

#[tokio::test]
async fn a_partition_key_keeps_records_together_and_narrows_a_search() {
    let node = TestNode::start().await;
    node.namespace("n", json!({"geometry": "euclidean", "dimension": 1, "shards": 8})).await;
    for (tenant, x) in [("t1", 1.0), ("t2", 2.0)] {
        for n in 0..5 {
            let body = json!({"vector": [x], "partition_key": tenant, "metadata": {"t": tenant}});
            node.put(&format!("/v1/namespaces/n/vectors/{tenant}-{n}"), body).await.ok();
        }
    }
    let search = json!({"vector": [0], "k": 20, "partition_key": "t2", "explain": true});
    let answer = node.post("/v1/namespaces/n/search", search).await.ok();
    assert_eq!(answer["explain"]["shards"].as_array().unwrap().len(), 1);
    assert!(ids(&answer).iter().filter(|id| id.starts_with("t2")).count() == 5);
    let record = node.get("/v1/namespaces/n/vectors/t1-3?partition_key=t1").await.ok();
    assert_eq!(record["partition_key"], "t1");
}

#[tokio::test]
async fn lorentzian_points_are_ranked_by_their_interval() {
    let node = TestNode::start().await;
    let settings = json!({"geometry": "lorentzian", "dimension": 2, "precision": "f64"});
    node.namespace("n", settings).await;
    for (id, angle) in [("far", 2.0_f64), ("near", 0.5)] {
        let body = json!({"vector": [0.0, angle.cos(), angle.sin()]});
        node.put(&format!("/v1/namespaces/n/vectors/{id}"), body).await.ok();
    }
    let search = json!({"vector": [0, 1, 0], "k": 2, "explain": true});
    let answer = node.post("/v1/namespaces/n/search", search).await.ok();
    assert_eq!(ids(&answer), ["near", "far"]);
    assert_eq!(answer["exact"], true);
}

/// Each type of index, through the whole node: what it is, what it answers, how it says it was found.
#[tokio::test]
async fn every_type_of_index_finds_the_nearest() {
    let node = TestNode::with(|config| config.index.tail = 500).await;
    let indexes = [
        ("hnsw", json!({"type": "HNSW"}), "HNSW"),
        ("flat", json!({"type": "flat", "quantisation": "none"}), "FLAT"),
        ("flat-i8", json!({"type": "FLAT", "quantisation": "i8"}), "FLAT"),
        ("flat-pq", json!({"type": "FLAT", "quantisation": "pq"}), "FLAT"),
        ("geometric", json!({"type": "geometric"}), "GEOMETRIC"),
        ("ivf", json!({"type": "ivf", "nlist": 20, "nprobe": 5}), "IVF"),
        ("ivf-f16", json!({"type": "IVF", "quantisation": "f16"}), "IVF"),
    ];
    for (name, index, kind) in indexes {
        let path = format!("/v1/namespaces/{name}");
        let settings = json!({"geometry": "euclidean", "dimension": 2, "index": index});
        let created = node.put(&path, settings.clone()).await;
        assert_eq!(created.status, 201, "{created:?}");
        let told = &created.body["vectors"][""]["index"];
        assert_eq!(told["type"], kind);
        if name == "ivf" {
            assert_eq!((&told["nlist"], &told["nprobe"]), (&json!(20), &json!(5)));
        }
        let quantisation = index.get("quantisation").filter(|given| **given != json!("none"));
        assert_eq!(told.get("quantisation"), quantisation, "none is left out");
        assert_eq!(node.put(&path, settings).await.status, 200, "the same settings again");
        for batch in 0..3 {
            let operations: Vec<_> = (batch * 1_000..(batch + 1) * 1_000)
                .map(|at| {
                    let vector = [f64::from(at % 60), f64::from(at / 60)];
                    json!({"put": {"id": at.to_string(), "vector": vector}})
                })
                .collect();
            node.post(&format!("{path}/batch"), json!({"operations": operations})).await.ok();
        }
        let search = json!({"vector": [30.2, 25.1], "k": 3, "nprobe": 10});
        let found = node.post(&format!("{path}/search"), search).await.ok();
        let ids: Vec<&str> = found["hits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hit| hit["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, ["1530", "1531", "1590"], "{name}: {found}");
    }
    let wrong = json!({"type": "IVF", "nlist": 20, "nprobe": 6});
    let body = json!({"geometry": "euclidean", "dimension": 2, "index": wrong});
    node.put("/v1/namespaces/ivf", body).await.problem("namespace_exists");
}

#[tokio::test]
async fn a_partition_key_leads_to_its_own_records_only() {
    let node = TestNode::start().await;
    node.namespace("p", json!({"geometry": "euclidean", "dimension": 1, "shards": 2})).await;
    for number in 0..20 {
        let key = format!("tenant{}", number % 5);
        let body = json!({"vector": [number], "partition_key": key});
        node.put(&format!("/v1/namespaces/p/vectors/r{number}"), body).await.ok();
    }
    node.put("/v1/namespaces/p/vectors/tenant9", json!({"vector": [0]})).await.ok();
    for tenant in 0..5 {
        let body = json!({"vector": [0], "k": 20, "partition_key": format!("tenant{tenant}")});
        let answer = node.post("/v1/namespaces/p/search", body).await.ok();
        let expected: Vec<String> = (0..4).map(|n| format!("r{}", 5 * n + tenant)).collect();
        assert_eq!(ids(&answer), expected);
    }
    // An id stands for its own key where none was given.
    let body = json!({"vector": [0], "k": 20, "partition_key": "tenant9"});
    assert_eq!(ids(&node.post("/v1/namespaces/p/search", body).await.ok()), ["tenant9"]);

    let record = "/v1/namespaces/p/vectors/r1?partition_key=tenant";
    node.get(&format!("{record}1")).await.ok();
    for other in [0, 2, 3, 4] {
        node.get(&format!("{record}{other}")).await.problem("vector_not_found");
        let body = json!({"ids": ["r1"], "partition_key": format!("tenant{other}")});
        let answer = node.post("/v1/namespaces/p/fetch", body).await.ok();
        assert_eq!(answer["missing"], json!(["r1"]));
    }
}

#[tokio::test]
async fn a_filter_with_operators_finds_what_it_means_in_search_scroll_and_count() {
    let node = TestNode::start().await;
    node.namespace("f", json!({"geometry": "euclidean", "dimension": 1, "shards": 2})).await;
    for number in 0..60 {
        let tags = if number % 2 == 0 { json!(["even", "n"]) } else { json!(["odd", "n"]) };
        let metadata = json!({"n": number, "tags": tags, "deep": {"name": format!("r{number}")}});
        let body = json!({"vector": [number], "metadata": metadata});
        node.put(&format!("/v1/namespaces/f/vectors/r{number:02}"), body).await.ok();
    }
    for (filter, expected) in [
        (json!({"n": {"$gte": 10, "$lt": 13}}), vec![10, 11, 12]),
        (json!({"tags": "odd", "n": {"$lte": 3}}), vec![1, 3]),
        (json!({"deep.name": {"$in": ["r7", "r59", "r60"]}}), vec![7, 59]),
        (json!({"$or": [{"n": 4}, {"deep.name": {"$contains": "58"}}]}), vec![4, 58]),
        (json!({"n": {"$not": {"$gt": 1}}, "$kind": "vector"}), vec![0, 1]),
        (json!({"missing": {"$exists": true}}), vec![]),
    ] {
        let expected: Vec<String> = expected.iter().map(|n| format!("r{n:02}")).collect();
        let body = json!({"vector": [0], "k": 60, "filter": filter, "explain": true});
        let answer = node.post("/v1/namespaces/f/search", body).await.ok();
        assert_eq!(ids(&answer), expected, "{filter}");
        let known: u64 = answer["explain"]["shards"]
            .as_array()
            .unwrap()
            .iter()
            .map(|shard| shard["matching"].as_u64().unwrap())
            .sum();
        assert_eq!(known, expected.len() as u64, "{filter}");
        let count = node.post("/v1/namespaces/f/count", json!({"filter": filter})).await.ok();
        assert_eq!(count["count"], expected.len() as u64, "{filter}");
        let page = node.post("/v1/namespaces/f/scroll", json!({"filter": filter})).await.ok();
        let mut found: Vec<&str> =
            page["records"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{filter}");
    }
}
