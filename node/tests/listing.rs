//! Writes by filter, facets, scrolls in order, groups and recommendations, held against the
//! simplest way of finding the same.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use support::{TestNode, ids};

const RECORDS: u32 = 60;

/// The metadata of a record: values of several types, some missing, some lists.
fn metadata(number: u32) -> Value {
    let colour = ["red", "green", "blue"][number as usize % 3];
    let mut metadata = json!({"n": number, "colour": colour});
    match number % 5 {
        0 => metadata["size"] = json!(number / 10),
        1 => metadata["size"] = json!(f64::from(number) / 10.0),
        2 => metadata["size"] = json!("large"),
        3 => metadata["size"] = json!([number % 7, "small"]),
        _ => {}
    }
    metadata
}

fn place(number: u32) -> [f64; 2] {
    let x = f64::from(number);
    [(x * 1.7).sin() * 2.0, (x * 2.3).cos() * 2.0]
}

async fn filled(shards: u64, change: impl FnOnce(&mut hvs_node::config::Config)) -> TestNode {
    let node = TestNode::with(change).await;
    node.namespace("n", json!({"geometry": "euclidean", "dimension": 2, "shards": shards})).await;
    let operations: Vec<_> = (0..RECORDS)
        .map(|n| {
            json!({"put": {"id": format!("r{n:02}"), "vector": place(n), "metadata": metadata(n)}})
        })
        .collect();
    node.post("/v1/namespaces/n/batch", json!({ "operations": operations })).await.ok();
    node
}

async fn post(node: &TestNode, route: &str, body: Value) -> support::Answer {
    node.post(&format!("/v1/namespaces/n/{route}"), body).await
}

async fn count(node: &TestNode, filter: Value) -> u64 {
    post(node, "count", json!({ "filter": filter })).await.ok()["count"].as_u64().unwrap()
}

#[tokio::test]
async fn deleting_by_filter_goes_in_steps_until_it_is_complete() {
    let node = filled(3, |config| config.limits.filter_writes = 8).await;
    let filter = json!({"colour": "red"});
    let dry = json!({"filter": filter, "dry_run": true, "limit": 8});
    let answer = post(&node, "vectors/delete", dry).await.ok();
    assert_eq!((&answer["matched"], &answer["changed"]), (&json!(8), &json!(0)));
    assert_eq!(count(&node, filter.clone()).await, 20);

    let (mut rounds, mut changed) = (0, 0);
    loop {
        let answer =
            post(&node, "vectors/delete", json!({"filter": filter, "limit": 7})).await.ok();
        assert!(answer["matched"].as_u64().unwrap() <= 7);
        assert_eq!(answer["matched"], answer["changed"]);
        assert_eq!(answer["complete"] == true, answer.get("next").is_none());
        changed += answer["changed"].as_u64().unwrap();
        rounds += 1;
        if answer["complete"] == true {
            break;
        }
    }
    assert!(rounds >= 3, "{rounds}");
    assert_eq!((changed, count(&node, filter.clone()).await), (20, 0));
    assert_eq!(count(&node, json!({"n": {"$gte": 0}})).await, 40);

    let before = node.contents().await;
    post(&node, "vectors/delete", json!({})).await.problem("invalid_filter");
    post(&node, "vectors/delete", json!({"filter": {}})).await.problem("invalid_filter");
    for limit in [0, 9] {
        let body = json!({"filter": filter, "limit": limit});
        post(&node, "vectors/delete", body).await.problem("invalid_limit");
    }
    let body = json!({"filter": filter, "token": "00"});
    post(&node, "vectors/delete", body).await.problem("invalid_token");
    post(&node, "vectors/other", json!({"filter": filter})).await.problem("method_not_allowed");
    let keyed = node.request(reqwest::Method::POST, "/v1/namespaces/n/vectors/delete");
    let keyed = keyed.header("idempotency-key", "k").json(&json!({ "filter": filter }));
    node.send(keyed).await.problem("invalid_idempotency_key");
    assert_eq!(node.contents().await, before);
}

#[tokio::test]
async fn records_may_be_called_delete_and_patch() {
    let node = filled(1, |_| {}).await;
    for id in ["delete", "patch"] {
        let path = format!("/v1/namespaces/n/vectors/{id}");
        node.put(&path, json!({"vector": [9, 9]})).await.ok();
        assert_eq!(node.get(&path).await.ok()["id"], id);
        node.delete(&path).await.ok();
    }
}

#[tokio::test]
async fn what_a_patch_by_filter_would_make_too_large_stays_and_is_counted() {
    let node = filled(2, |config| config.limits.metadata_bytes = 200).await;
    let long = json!({"vector": [0, 0], "metadata": {"colour": "grey", "text": "x".repeat(120)}});
    node.put("/v1/namespaces/n/vectors/long", long).await.ok();
    let short = json!({"vector": [0, 0], "metadata": {"colour": "grey"}});
    node.put("/v1/namespaces/n/vectors/short", short).await.ok();
    let patch = json!({"metadata": {"more": "y".repeat(100)}});
    let body = json!({"filter": {"colour": "grey"}, "patch": patch});
    let answer = post(&node, "vectors/patch", body).await.ok();
    let expected =
        json!({"matched": 2, "changed": 1, "skipped": 0, "too_large": 1, "complete": true});
    assert_eq!(answer, expected);
    let metadata = node.get("/v1/namespaces/n/vectors/long").await.ok()["metadata"].clone();
    assert!(metadata.get("more").is_none() && metadata.get("text").is_some());
}

#[tokio::test]
async fn patching_by_filter_goes_on_from_where_it_ended() {
    let node = filled(2, |_| {}).await;
    let filter = json!({"colour": {"$in": ["green", "blue"]}});
    let patch = json!({"metadata": {"seen": true, "n": null}, "region": "eu"});
    let (mut token, mut changed) = (Value::Null, 0);
    loop {
        let mut body = json!({"filter": filter, "patch": patch, "limit": 15});
        if !token.is_null() {
            body["token"] = token.clone();
        }
        let answer = post(&node, "vectors/patch", body).await.ok();
        changed += answer["changed"].as_u64().unwrap();
        match answer.get("next") {
            Some(next) => token = next.clone(),
            None => break,
        }
    }
    // Each once, although they still match afterwards.
    assert_eq!(changed, 40);
    assert_eq!(count(&node, json!({"$region": "eu", "seen": true})).await, 40);
    assert_eq!(count(&node, json!({"n": {"$exists": true}})).await, 20);
    let record = node.get("/v1/namespaces/n/vectors/r01").await.ok();
    assert_eq!((&record["version"], &record["metadata"]["colour"]), (&json!(2), &json!("green")));

    let body = json!({"filter": filter, "patch": {"id": "x", "region": "eu"}});
    post(&node, "vectors/patch", body).await.problem("invalid_operation");
    post(&node, "vectors/patch", json!({"filter": filter, "patch": {}}))
        .await
        .problem("invalid_operation");
    let body = json!({"filter": filter, "patch": patch, "token": token});
    if !token.is_null() {
        // The token of a patch is not one of a deletion.
        let mut other = body.clone();
        other.as_object_mut().unwrap().remove("patch");
        post(&node, "vectors/delete", other).await.problem("invalid_token");
    }
}

/// The scalars of a record's field, each once.
fn scalars(value: Option<&Value>) -> Vec<Value> {
    match value {
        None => Vec::new(),
        Some(Value::Array(elements)) => elements.clone(),
        Some(value) => vec![value.clone()],
    }
}

#[tokio::test]
async fn facets_count_as_one_would_by_hand() {
    for text_bytes in [256, 2] {
        // With the second, texts are not indexed, so that records are looked at.
        let node = filled(3, |config| config.payload.text_bytes = text_bytes).await;
        for (field, filter) in [
            ("colour", json!({})),
            ("size", json!({})),
            ("size", json!({"colour": "red"})),
            ("size", json!({"n": {"$lt": 30}})),
            ("none", json!({})),
        ] {
            let mut counts: BTreeMap<String, (Value, u64)> = BTreeMap::new();
            for metadata in (0..RECORDS).map(metadata) {
                let matches = filter.as_object().unwrap().iter().all(|(name, wanted)| {
                    wanted.get("$lt").map_or(metadata[name] == *wanted, |most| {
                        metadata[name].as_u64() < most.as_u64()
                    })
                });
                if matches {
                    for value in scalars(metadata.get(field)) {
                        // 2 and 2.0 are one value.
                        let name = value.as_f64().map_or(value.to_string(), |x| x.to_string());
                        counts.entry(name).or_insert((value, 0)).1 += 1;
                    }
                }
            }
            let body = json!({"field": field, "filter": filter, "limit": 100});
            let answer = post(&node, "facets", body).await.ok();
            assert_eq!(answer["exact"], true);
            let found = answer["values"].as_array().unwrap();
            let order: Vec<u64> = found.iter().map(|v| v["count"].as_u64().unwrap()).collect();
            assert!(order.is_sorted_by(|a, b| a >= b), "{order:?}");
            let found: BTreeMap<String, u64> = found
                .iter()
                .map(|facet| {
                    let value = &facet["value"];
                    let name = value.as_f64().map_or(value.to_string(), |x| x.to_string());
                    (name, facet["count"].as_u64().unwrap())
                })
                .collect();
            let expected: BTreeMap<String, u64> =
                counts.into_iter().map(|(name, (_, count))| (name, count)).collect();
            assert_eq!(found, expected, "{field} {filter}");
            let body = json!({"field": field, "filter": filter, "limit": 1});
            let top = post(&node, "facets", body).await.ok();
            assert_eq!(top["values"].get(0), answer["values"].get(0));
        }
        post(&node, "facets", json!({"field": "a..b"})).await.problem("invalid_filter");
        post(&node, "facets", json!({"field": "n", "limit": 0})).await.problem("invalid_limit");
        post(&node, "facets", json!({"field": "n", "limit": 1001})).await.problem("invalid_limit");
    }
    let node = filled(1, |config| {
        config.limits.facet_values = 5;
        config.payload.fields = 0;
    })
    .await;
    let answer = post(&node, "facets", json!({"field": "n", "limit": 5})).await.ok();
    assert_eq!(answer["exact"], false, "60 values, of which 5 are held");
}

#[tokio::test]
async fn scrolls_in_order_meet_every_record_once() {
    let node = filled(3, |_| {}).await;
    let number = |metadata: &Value| match metadata.get("size") {
        Some(Value::Number(n)) => n.as_f64(),
        Some(Value::Array(elements)) => elements[0].as_f64(),
        _ => None,
    };
    for descending in [false, true] {
        for limit in [1, 7, 60] {
            // Numbers before texts; of a list the least counts, or the greatest.
            let mut expected: Vec<(u8, f64, String)> = (0..RECORDS)
                .filter_map(|n| {
                    let metadata = metadata(n);
                    let id = format!("r{n:02}");
                    match (number(&metadata), n % 5) {
                        (_, 3) if descending => Some((2, 0.0, id)),
                        (Some(x), _) => Some((0, x, id)),
                        (None, 2) => Some((1, 0.0, id)),
                        _ => None,
                    }
                })
                .collect();
            expected.sort_by(|a, b| {
                let values = a.0.cmp(&b.0).then(a.1.total_cmp(&b.1));
                if descending { values.reverse() } else { values }.then(a.2.cmp(&b.2))
            });
            let expected: Vec<String> = expected.into_iter().map(|(_, _, id)| id).collect();
            let mut found = Vec::new();
            let mut token: Option<Value> = None;
            loop {
                let mut body =
                    json!({"order_by": "size", "descending": descending, "limit": limit});
                if let Some(token) = token.take() {
                    body["token"] = token;
                }
                let page = post(&node, "scroll", body).await.ok();
                let records = page["records"].as_array().unwrap();
                assert!(records.len() <= limit);
                found.extend(records.iter().map(|r| r["id"].as_str().unwrap().to_owned()));
                match page.get("next") {
                    Some(next) => token = Some(next.clone()),
                    None => break,
                }
            }
            assert_eq!(found, expected, "descending: {descending}, limit {limit}");
        }
    }
    let first = post(&node, "scroll", json!({"order_by": "n", "limit": 2})).await.ok();
    let token = &first["next"];
    for other in [
        json!({"order_by": "size", "token": token}),
        json!({"order_by": "n", "descending": true, "token": token}),
        json!({"order_by": "n", "filter": {"n": 1}, "token": token}),
        json!({"token": token}),
    ] {
        post(&node, "scroll", other).await.problem("invalid_token");
    }
    post(&node, "scroll", json!({"descending": true})).await.problem("invalid_argument");
    post(&node, "scroll", json!({"explain": true})).await.problem("invalid_argument");
}

#[tokio::test]
async fn an_ordered_scroll_says_how_it_was_found_and_scans_no_more_than_it_may() {
    let capped = filled(2, |config| config.limits.exact_vectors = 20).await;
    let page = json!({"order_by": "n", "limit": 3, "explain": true, "filter": {"colour": "red"}});
    let answer = post(&capped, "scroll", page.clone()).await.ok();
    let shards = answer["explain"]["shards"].as_array().unwrap();
    assert_eq!(shards.len(), 2);
    for shard in shards {
        assert_eq!(shard["strategy"], "ordered_index", "{shard}");
        assert_eq!(shard["indexed"], json!(["colour"]));
        assert!(shard["scanned"].as_u64().unwrap() <= 20, "{shard}");
    }
    let patch = json!({"payload_indexing": "declared"});
    let path = "/v1/namespaces/n";
    capped.call_in(hvs_api::Encoding::Json, reqwest::Method::PATCH, path, &patch).await.ok();
    until_ready(&capped).await;
    // Few enough to be looked at one by one, and too many.
    let none = json!({"order_by": "n", "limit": 3, "filter": {"$kind": "other"}});
    assert_eq!(post(&capped, "scroll", none).await.ok()["records"], json!([]));
    post(&capped, "scroll", json!({"order_by": "n"})).await.problem("scan_too_large");
}

async fn until_ready(node: &TestNode) {
    while node.get("/v1/namespaces/n").await.ok()["payload"]["ready"] != true {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn exact_groups_are_those_of_the_nearest_hits() {
    for shards in [1, 3] {
        let node = filled(shards, |_| {}).await;
        let query = [0.3, 0.2];
        let distance = |n: u32| {
            let [x, y] = place(n);
            (x - query[0]).hypot(y - query[1])
        };
        for (groups, size) in [(3, 2), (50, 1), (2, 30), (50, 20)] {
            let mut nearest: Vec<u32> = (0..RECORDS).collect();
            nearest.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)));
            let mut expected: Vec<(String, Vec<String>)> = Vec::new();
            for n in nearest {
                // Lists are in no group.
                let value = match &metadata(n)["size"] {
                    Value::Number(number) => number.as_f64().unwrap().to_string(),
                    Value::String(text) => text.clone(),
                    _ => continue,
                };
                let id = format!("r{n:02}");
                if let Some(group) = expected.iter_mut().find(|group| group.0 == value) {
                    if group.1.len() < size {
                        group.1.push(id);
                    }
                } else if expected.len() < groups {
                    expected.push((value, vec![id]));
                }
            }
            let body = json!({
                "vector": query, "group_by": "size", "groups": groups, "group_size": size,
                "exact": true
            });
            let answer = post(&node, "search", body).await.ok();
            assert_eq!(answer["exact"], true);
            assert_eq!(answer["hits"], json!([]));
            let found: Vec<(String, Vec<String>)> = answer["groups"]
                .as_array()
                .unwrap()
                .iter()
                .map(|group| {
                    let value = &group["value"];
                    let name = value.as_f64().map(|x| x.to_string());
                    (name.unwrap_or_else(|| value.as_str().unwrap().to_owned()), ids(group))
                })
                .collect();
            assert_eq!(found, expected, "{groups} of {size}");
        }
        let body = json!({"vector": query, "group_by": "colour", "filter": {"n": {"$lt": 2}}});
        let answer = post(&node, "search", body).await.ok();
        let groups = answer["groups"].as_array().unwrap();
        let colours: BTreeSet<_> = groups.iter().map(|g| g["value"].as_str().unwrap()).collect();
        assert_eq!(colours, BTreeSet::from(["green", "red"]));
        // Without a hit there are no groups, and it is said so.
        let body = json!({"vector": query, "group_by": "colour", "filter": {"n": {"$lt": -1}}});
        let answer = post(&node, "search", body).await.ok();
        assert_eq!((&answer["groups"], &answer["hits"]), (&json!([]), &json!([])));
        for (bad, code) in [
            (json!({"vector": query, "group_by": "a", "k": 1}), "invalid_argument"),
            (json!({"vector": query, "groups": 1, "k": 1}), "invalid_argument"),
            (json!({"vector": query, "group_by": "a", "groups": 0}), "invalid_k"),
            (json!({"vector": query, "group_by": "a", "groups": 1001}), "invalid_k"),
            (json!({"vector": query, "group_by": "a", "group_size": 1001}), "invalid_k"),
            (json!({"vector": query, "group_by": "$a"}), "invalid_filter"),
        ] {
            post(&node, "search", bad).await.problem(code);
        }
    }
}

#[tokio::test]
async fn a_recommendation_is_a_search_at_the_mean_without_the_examples() {
    let node = TestNode::start().await;
    for geometry in ["euclidean", "poincare", "hyperboloid", "spherical"] {
        let spatial = geometry == "hyperboloid";
        let path = format!("/v1/namespaces/{geometry}");
        node.put(&path, json!({"geometry": geometry, "dimension": 2, "shards": 2})).await.ok();
        let point = |n: u32| {
            let [x, y] = place(n).map(|x| x / 5.0);
            if geometry == "spherical" { json!([1.0, x, y]) } else { json!([x, y]) }
        };
        let coordinates = if spatial { "spatial" } else { "ambient" };
        let operations: Vec<_> = (0..RECORDS)
            .map(|n| json!({"put": {"id": format!("r{n:02}"), "vector": point(n)}}))
            .collect();
        let batch = json!({
            "operations": operations, "coordinates": coordinates, "project": !spatial
        });
        node.post(&format!("{path}/batch"), batch).await.ok();
        let vector =
            async |id: &str| node.get(&format!("{path}/vectors/{id}")).await.ok()["vector"].clone();
        let space = json!({"geometry": geometry, "dimension": 2});
        let project = async |x: Value| {
            let body = json!({"space": space, "x": x});
            node.post("/v1/geometry/project", body).await.ok()["point"].clone()
        };
        let examples = ["r03", "r10", "r20"];
        let mut points = Vec::new();
        for id in examples {
            points.push(project(vector(id).await).await);
        }
        let mean = json!({"space": space, "points": points});
        let mean = node.post("/v1/geometry/mean", mean).await.ok()["point"].clone();
        let search = json!({"vector": mean, "project": true, "k": RECORDS, "exact": true});
        let mut expected = ids(&node.post(&format!("{path}/search"), search).await.ok());
        expected.retain(|id| !examples.contains(&id.as_str()));
        let positive: Vec<_> = examples.iter().map(|id| json!({ "id": id })).collect();
        let body = json!({"positive": positive, "k": RECORDS, "exact": true});
        let answer = node.post(&format!("{path}/recommend"), body).await.ok();
        assert_eq!(ids(&answer), expected, "{geometry}");

        // A point is no record to leave out, and negatives are left out too.
        let body = json!({
            "positive": [{"vector": points[0]}], "negative": [{"id": "r10"}], "k": RECORDS,
            "project": true, "strength": 0.5
        });
        let found = ids(&node.post(&format!("{path}/recommend"), body).await.ok());
        assert_eq!(found.len(), RECORDS as usize - 1);
        assert!(found.contains(&"r03".to_owned()) && !found.contains(&"r10".to_owned()));
    }
    let path = "/v1/namespaces/euclidean/recommend";
    let body = json!({
        "positive": [{"vector": [1, 0]}, {"vector": [3, 2]}], "negative": [{"vector": [1, -1]}]
    });
    assert_eq!(node.post(path, body).await.ok()["query"], json!([3.0, 3.0]));
    for (bad, code) in [
        (json!({"positive": []}), "empty_batch"),
        (json!({"positive": [{}]}), "invalid_argument"),
        (json!({"positive": [{"id": "r01", "vector": [1, 2]}]}), "invalid_argument"),
        (json!({"positive": [{"id": "none"}]}), "vector_not_found"),
        (json!({"positive": [{"vector": [1]}]}), "dimension_mismatch"),
        (json!({"positive": [{"id": "r01"}], "strength": -1}), "invalid_argument"),
        (json!({"positive": [{"id": "r01"}], "using": "x"}), "unknown_vector_name"),
    ] {
        node.post(path, bad).await.problem(code);
    }
    node.namespace("causal", json!({"geometry": "lorentzian", "dimension": 2})).await;
    let body = json!({"positive": [{"vector": [0, 0, 1]}], "project": true});
    let problem =
        node.post("/v1/namespaces/causal/recommend", body).await.problem("undefined_operation");
    assert!(problem["detail"].as_str().unwrap().contains("no Fréchet mean"), "{problem}");
}

#[tokio::test]
async fn long_reads_end_at_their_deadline() {
    let node = filled(1, |config| config.payload.fields = 0).await;
    let hurried = async |route: &str, body: Value| {
        let path = format!("/v1/namespaces/n/{route}");
        let request = node.request(reqwest::Method::POST, &path).header("x-deadline-ms", "0");
        node.send(request.json(&body)).await
    };
    hurried("facets", json!({"field": "n"})).await.problem("deadline_exceeded");
    hurried("scroll", json!({"order_by": "n"})).await.problem("deadline_exceeded");
    hurried("count", json!({"filter": {"n": 1}})).await.problem("deadline_exceeded");
    let query = json!({"vector": [0, 0], "group_by": "n", "exact": true});
    hurried("search", query).await.problem("deadline_exceeded");
    // What writes says how far it came.
    let body = json!({"filter": {"n": {"$gte": 0}}});
    let answer = hurried("vectors/delete", body.clone()).await.ok();
    assert_eq!((&answer["changed"], &answer["complete"]), (&json!(0), &json!(false)));
    let mut rest = body;
    rest["token"] = answer["next"].clone();
    let answer = post(&node, "vectors/delete", rest).await.ok();
    assert_eq!((&answer["changed"], &answer["complete"]), (&json!(60), &json!(true)));
}
