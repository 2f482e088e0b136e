//! Searches by text, and by vector and text, over HTTP.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeMap;

use hvs_api::Encoding;
use hvs_geometry::{Geometry, Space};
use hvs_node::config::Config;
use reqwest::Method;
use serde_json::{Value, json};
use support::{BOTH, TestNode, ids};

const RECORDS: usize = 240;
const WORDS: [&str; 8] = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen"];

/// The words of a record: the first are in more records, and the length varies.
fn words(number: usize) -> Vec<&'static str> {
    let count = 2 + number % 7;
    (0..count).map(|n| WORDS[(number * 31 + n * n * 17) % (1 + (number + n) % 8)]).collect()
}

/// As f32 keeps it.
fn point(number: usize) -> [f64; 2] {
    let angle = number as f64 * 2.4;
    let radius = 0.9 * (number as f64 / RECORDS as f64).sqrt();
    #[expect(clippy::cast_possible_truncation, reason = "the rounding is wanted")]
    let kept = |x: f64| f64::from(x as f32);
    [kept(radius * angle.cos()), kept(radius * angle.sin())]
}

fn id(number: usize) -> String {
    format!("r{number:03}")
}

async fn filled(shards: usize, change: impl FnOnce(&mut Config)) -> TestNode {
    let node = TestNode::with(change).await;
    let index = json!({"type": "HYBRID", "text_fields": ["title", "more.text"], "dense": "FLAT"});
    let settings =
        json!({"geometry": "poincare", "dimension": 2, "shards": shards, "index": index});
    node.namespace("n", settings).await;
    let puts: Vec<_> = (0..RECORDS)
        .map(|n| {
            let words = words(n);
            let metadata = json!({
                "title": words[0], "more": [{"text": words[1..].join(" - ")}],
                "group": n % 12, "other": "ant",
            });
            json!({"put": {"id": id(n), "vector": point(n), "metadata": metadata}})
        })
        .collect();
    node.post("/v1/namespaces/n/batch", json!({"operations": puts})).await.ok();
    node
}

async fn search(node: &TestNode, request: Value) -> Value {
    node.post("/v1/namespaces/n/search", request).await.ok()
}

/// BM25 from its definition; the texts are short enough for their lengths to be exact.
fn by_text(query: &[&str], accept: impl Fn(usize) -> bool) -> Vec<(usize, f64)> {
    let count = RECORDS as f64;
    let mean = (0..RECORDS).map(|n| words(n).len() as f64).sum::<f64>() / count;
    let mut scores = Vec::new();
    for number in (0..RECORDS).filter(|number| accept(*number)) {
        let document = words(number);
        let mut score = 0.0;
        for word in query {
            let with = (0..RECORDS).filter(|n| words(*n).contains(word)).count() as f64;
            let times = document.iter().filter(|other| *other == word).count() as f64;
            let norm = 1.2 * (0.25 + 0.75 * document.len() as f64 / mean);
            score += ((count - with + 0.5) / (with + 0.5)).ln_1p() * times * 2.2 / (times + norm);
        }
        if score > 0.0 {
            scores.push((number, score));
        }
    }
    scores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    scores
}

fn distance(query: &[f64], number: usize) -> f64 {
    Space::new(Geometry::Poincare, 2, -1.0).unwrap().distance(query, &point(number)).unwrap()
}

fn number(hit: &Value) -> usize {
    hit["id"].as_str().unwrap()[1..].parse().unwrap()
}

fn close(left: f64, right: f64) -> bool {
    (left - right).abs() <= 1e-9 * right.abs().max(1.0)
}

/// The hits have these scores, in this order, and each is the score of its record.
#[track_caller]
fn assert_scores(answer: &Value, expected: &[(usize, f64)], k: usize) {
    let all: BTreeMap<usize, f64> = expected.iter().copied().collect();
    let hits = answer["hits"].as_array().unwrap();
    assert_eq!(hits.len(), k.min(expected.len()), "{answer}");
    for (place, (hit, (_, score))) in hits.iter().zip(expected).enumerate() {
        let found = hit["score"].as_f64().unwrap();
        assert!(close(found, *score), "{place}: {found} {score}\n{answer}");
        assert!(close(found, all[&number(hit)]), "{answer}");
        assert_eq!(hit["rank"], place + 1);
    }
}

#[tokio::test]
async fn text_alone_is_bm25_over_all_shards() {
    for shards in [1, 3] {
        let node = filled(shards, |_| {}).await;
        for k in [1, 10, RECORDS] {
            let answer = search(&node, json!({"text": "Cat, HEN & nothing", "k": k})).await;
            assert_scores(&answer, &by_text(&["cat", "hen"], |_| true), k);
            assert!(answer["hits"].as_array().unwrap().iter().all(|hit| {
                hit["distance"].is_null() && hit["ranks"].is_null() && hit["metadata"].is_null()
            }));
            assert_eq!(answer["exact"], true);
        }
        // Never fewer than k while k match.
        let filter = json!({"group": 7});
        let answer = search(&node, json!({"text": "ant bee cat", "k": 5, "filter": filter})).await;
        let expected = by_text(&["ant", "bee", "cat"], |n| n % 12 == 7);
        assert!(expected.len() >= 5);
        assert_scores(&answer, &expected, 5);
        let request = json!({
            "text": "fox", "k": 2, "include_metadata": true, "include_vectors": true,
        });
        for hit in search(&node, request).await["hits"].as_array().unwrap() {
            assert_eq!(hit["vector"], json!(point(number(hit))));
            assert_eq!(hit["metadata"]["group"], number(hit) % 12);
        }
        // A text of a field that is not named finds nothing.
        assert!(search(&node, json!({"text": "nothing", "k": 5})).await["hits"] == json!([]));
    }
}

#[tokio::test]
async fn both_are_fused_by_reciprocal_ranks_with_true_distances() {
    let query = [0.3, -0.2];
    for shards in [1, 3] {
        let node = filled(shards, |_| {}).await;
        let fusion = json!({"k": 10, "weights": {"vector": 0.5, "text": 2.0}, "candidates": 30});
        for (fusion, k0, weights, candidates) in
            [(fusion, 10.0, [0.5, 2.0], 30), (json!({}), 60.0, [1.0, 1.0], 100)]
        {
            let request = json!({
                "vector": query, "text": "gnu hen", "k": 25, "fusion": fusion, "explain": true,
                "filter": {"group": {"$ne": 3}},
            });
            let answer = search(&node, request).await;
            let accept = |n: usize| n % 12 != 3;
            let text = by_text(&["gnu", "hen"], accept);
            let mut near: Vec<_> = (0..RECORDS).filter(|n| accept(*n)).collect();
            near.sort_by(|a, b| distance(&query, *a).total_cmp(&distance(&query, *b)));
            near.truncate(candidates);
            let hits = answer["hits"].as_array().unwrap();
            assert_eq!(hits.len(), 25);
            let scores: BTreeMap<usize, f64> = text.iter().copied().collect();
            let mut last = f64::INFINITY;
            for hit in hits {
                let n = number(hit);
                assert!(accept(n));
                // The ranks are those of the two orders.
                let by_vector = near.iter().position(|other| *other == n);
                let ranks = &hit["ranks"];
                assert_eq!(ranks["vector"].as_u64(), by_vector.map(|p| p as u64 + 1), "{hit}");
                let text_rank = ranks["text"].as_u64();
                if let Some(rank) = text_rank {
                    let place = usize::try_from(rank).unwrap() - 1;
                    assert!(place < candidates);
                    // Equal scores may be in any order over shards.
                    assert!(close(text[place].1, scores[&n]), "{hit}");
                    assert!(close(ranks["text_score"].as_f64().unwrap(), scores[&n]));
                }
                let part = |weight: f64, rank: Option<u64>| {
                    rank.map_or(0.0, |rank| weight / (k0 + rank as f64))
                };
                let score =
                    part(weights[0], by_vector.map(|p| p as u64 + 1)) + part(weights[1], text_rank);
                let found = hit["score"].as_f64().unwrap();
                assert!((found - score).abs() < 1e-12, "{hit}");
                assert!(found <= last);
                last = found;
                assert!(close(hit["distance"].as_f64().unwrap(), distance(&query, n)), "{hit}");
            }
            // Nothing better was left out.
            let best = |rank: usize| weights[1] / (k0 + rank as f64);
            let by_rank: Vec<_> =
                hits.iter().filter_map(|hit| hit["ranks"]["text"].as_u64()).collect();
            for rank in 1..=text.len().min(candidates) {
                assert!(best(rank) <= last || by_rank.contains(&(rank as u64)), "{rank}");
            }
            let strategies: Vec<_> =
                answer["explain"]["shards"].as_array().unwrap().iter().collect();
            assert_eq!(strategies.len(), 2 * shards);
        }
    }
}

#[tokio::test]
async fn a_hit_by_text_alone_has_its_distance_in_every_space() {
    let node = TestNode::start().await;
    for (name, geometry, curvature, points) in [
        ("h", "hyperboloid", -0.5, [[2_f64.sqrt(), 0.0, 0.0], [(2.0_f64 + 9.0).sqrt(), 3.0, 0.0]]),
        ("s", "spherical", 1.0, [[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]]),
        ("l", "lorentzian", 1.0, [[0.0, 1.0, 0.0], [1.0_f64.sinh(), 1.0_f64.cosh(), 0.0]]),
    ] {
        let index = json!({"type": "HYBRID", "text_fields": ["t"]});
        let settings = json!({
            "geometry": geometry, "dimension": 2, "curvature": curvature, "precision": "f64",
            "index": index,
        });
        node.namespace(name, settings).await;
        let puts: Vec<_> = (0..30)
            .map(|n| {
                let (point, text) =
                    (points[usize::from(n == 29)], if n == 29 { "far" } else { "" });
                json!({"put": {"id": format!("{n}"), "vector": point, "metadata": {"t": text}}})
            })
            .collect();
        let path = format!("/v1/namespaces/{name}");
        node.post(&format!("{path}/batch"), json!({"operations": puts})).await.ok();
        let by_vector = json!({"vector": points[0], "k": 30, "exact": true});
        let by_vector = node.post(&format!("{path}/search"), by_vector).await.ok();
        let far = &by_vector["hits"][29];
        assert_eq!(far["id"], "29", "{by_vector}");
        let fusion = json!({"weights": {"text": 2}, "candidates": 1});
        let both = json!({
            "vector": points[0], "text": "far", "k": 1, "fusion": fusion, "explain": true,
        });
        let hit = node.post(&format!("{path}/search"), both).await.ok()["hits"][0].clone();
        assert_eq!((&hit["id"], &hit["ranks"]["vector"]), (&json!("29"), &Value::Null), "{hit}");
        assert_eq!(hit["distance"], far["distance"], "{geometry}");
    }
}

#[tokio::test]
async fn writes_are_found_at_once_and_after_a_restart() {
    let node = filled(2, |_| {}).await;
    let found = async |node: &TestNode, text: &str| {
        ids(&search(node, json!({"text": text, "k": 100})).await)
    };
    let put = |id: &str, text: &str| json!({"put": {"id": id, "vector": [0.1, 0.2], "metadata": {"title": text}}});
    let batch = json!({"operations": [put("x", "yak"), put("y", "yak zebu"), put("r001", "zebu")]});
    node.post("/v1/namespaces/n/batch", batch).await.ok();
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    assert_eq!(sorted(found(&node, "yak").await), ["x", "y"]);
    let batch = json!({"operations": [{"delete": {"id": "x"}}, put("z", "yak")]});
    node.post("/v1/namespaces/n/batch", batch).await.ok();
    assert_eq!(sorted(found(&node, "yak").await), ["y", "z"]);
    let before = found(&node, "ant bee cat zebu").await;
    assert!(before.contains(&"r001".to_owned()));
    let node = node.restart().await;
    assert_eq!(sorted(found(&node, "yak").await), ["y", "z"]);
    assert_eq!(sorted(found(&node, "ant bee cat zebu").await), sorted(before));
    let info = node.get("/v1/namespaces/n").await.ok();
    assert_eq!(info["text"]["documents"], RECORDS + 2);
    assert_eq!(info["text"]["ready"], true);
    let index = &info["vectors"][""]["index"];
    assert_eq!(index["text_fields"], json!(["title", "more.text"]));
    assert_eq!((&index["type"], &index["dense"]), (&json!("HYBRID"), &json!("FLAT")));
}

#[tokio::test]
async fn partition_keys_and_batches_hold() {
    let node = filled(3, |_| {}).await;
    let put = |id: &str, key: &str| {
        json!({"put": {
            "id": id, "partition_key": key, "vector": [0.1, 0.2], "metadata": {"title": "yak"},
        }})
    };
    let puts = json!({"operations": [put("a", "k"), put("b", "k"), put("c", "l"), put("d", "m")]});
    node.post("/v1/namespaces/n/batch", puts).await.ok();
    let with_key = json!({"text": "yak", "k": 9, "partition_key": "k"});
    let all = json!({"text": "yak", "k": 9});
    let both = json!({"text": "yak", "vector": [0.1, 0.2], "k": 9, "partition_key": "k"});
    let alone = json!({"vector": [0.1, 0.2], "k": 4});
    let searches = json!({"searches": [with_key, all, both, alone]});
    for encoding in BOTH {
        let path = "/v1/namespaces/n/search/batch";
        let answer = node.call_in(encoding, Method::POST, path, &searches).await.ok();
        let results = answer["results"].as_array().unwrap();
        assert_eq!(ids(&results[0]), ["a", "b"]);
        assert_eq!(ids(&results[1]).len(), 4);
        assert_eq!(ids(&results[2]), ["a", "b"]);
        assert_eq!(ids(&results[3]).len(), 4);
        // The same score whether one shard is asked or all.
        let scores = |answer: &Value| answer["hits"][0]["score"].as_f64().unwrap();
        assert!(close(scores(&results[0]), scores(&results[1])));
        assert!(results[3]["hits"][0]["score"].as_f64().unwrap() > 0.5);
    }
}

#[tokio::test]
async fn what_cannot_be_searched_is_told() {
    let node = filled(1, |config| {
        config.limits.text_bytes = 20;
        config.limits.text_words = 3;
        config.limits.k = 50;
    })
    .await;
    node.namespace("plain", json!({"geometry": "poincare", "dimension": 2})).await;
    let plain = node.post("/v1/namespaces/plain/search", json!({"text": "ant", "k": 1})).await;
    plain.problem("no_text_index");
    let both = json!({"vector": [0, 0], "text": "ant", "k": 1});
    node.post("/v1/namespaces/plain/search", both.clone()).await.problem("no_text_index");
    for (change, code) in [
        (json!({"text": ""}), "invalid_text"),
        (json!({"text": "?!"}), "invalid_text"),
        (json!({"text": "a b c d"}), "invalid_text"),
        (json!({"text": "aaaaaaaaaaaaaaaaaaaaa"}), "invalid_text"),
        (json!({"text": 3}), "invalid_body"),
        (json!({"k": 0}), "invalid_k"),
        (json!({"k": null}), "missing_bound"),
        (json!({"radius": 1.0}), "search_unsupported"),
        (json!({"using": "other"}), "unknown_vector_name"),
        (json!({"vector": [0]}), "dimension_mismatch"),
        (json!({"vector": []}), "dimension_mismatch"),
        (json!({"vector": null, "ef": 5}), "search_unsupported"),
        (json!({"vector": null, "geometry": "klein"}), "search_unsupported"),
        (json!({"vector": null, "fusion": {}}), "invalid_fusion"),
        (json!({"text": null, "fusion": {}}), "invalid_fusion"),
        (json!({"text": null, "vector": null}), "missing_vector"),
        (json!({"fusion": {"weights": {"text": 0}}}), "invalid_fusion"),
        (json!({"fusion": {"weights": {"vector": -1}}}), "invalid_fusion"),
        (json!({"fusion": {"candidates": 0}}), "invalid_fusion"),
        (json!({"fusion": {"candidates": 51}}), "invalid_fusion"),
        (json!({"fusion": {"k": -1}}), "invalid_body"),
        (json!({"fusion": {"other": 1}}), "invalid_body"),
    ] {
        let mut request = both.clone();
        for (name, value) in change.as_object().unwrap() {
            if value.is_null() {
                request.as_object_mut().unwrap().remove(name);
            } else {
                request[name] = value.clone();
            }
        }
        for encoding in [Encoding::Json, Encoding::MessagePack] {
            let path = "/v1/namespaces/n/search";
            let answer = node.call_in(encoding, Method::POST, path, &request).await;
            answer.problem(code);
        }
    }
    // At the edges.
    for text in ["a b c a b", "aaaaaaaaaaaaaaaaaaaa"] {
        search(&node, json!({"text": text, "k": 50})).await;
    }
    let edge = json!({"vector": [0, 0], "text": "ant", "k": 50, "fusion": {"candidates": 50}});
    assert_eq!(ids(&search(&node, edge).await).len(), 50);
    for (index, code) in [
        (json!({"type": "HYBRID"}), "invalid_index"),
        (json!({"type": "HYBRID", "text_fields": ["$kind"]}), "invalid_index"),
        (json!({"type": "HNSW", "text_fields": ["t"]}), "invalid_index"),
    ] {
        let settings = json!({"geometry": "poincare", "dimension": 2, "index": index});
        node.put("/v1/namespaces/bad", settings).await.problem(code);
    }
    let past = node
        .request(Method::POST, "/v1/namespaces/n/search")
        .header("x-deadline-ms", "0")
        .json(&json!({"text": "ant", "k": 1}));
    node.send(past).await.problem("deadline_exceeded");
}

#[tokio::test]
async fn answers_stay_within_their_limit() {
    let node = filled(1, |config| config.limits.answer_bytes = 4_000).await;
    let request = |k: usize| json!({"text": "ant bee cat dog", "vector": [0, 0], "k": k, "include_metadata": true});
    search(&node, request(5)).await;
    let answer = node.post("/v1/namespaces/n/search", request(60)).await;
    answer.problem("answer_too_large");
}

/// Groups, each a value with the ids of its hits.
fn groups(answer: &Value) -> Vec<(Value, Vec<String>)> {
    let groups = answer["groups"].as_array().unwrap().iter();
    groups.map(|group| (group["value"].clone(), ids(group))).collect()
}

/// What gathering an order makes of it.
fn gathered(
    order: impl Iterator<Item = (Value, String)>,
    groups: usize,
    size: usize,
) -> Vec<(Value, Vec<String>)> {
    let mut found: Vec<(Value, Vec<String>)> = Vec::new();
    for (value, id) in order {
        if let Some(group) = found.iter_mut().find(|group| group.0 == value) {
            if group.1.len() < size {
                group.1.push(id);
            }
        } else if found.len() < groups {
            found.push((value, vec![id]));
        }
    }
    found
}

#[tokio::test]
async fn hits_by_text_are_gathered_by_a_field() {
    let node = filled(1, |_| {}).await;
    let text = "ant hen";
    let order = |accept: fn(usize) -> bool| {
        let order = by_text(&["ant", "hen"], accept);
        order.into_iter().map(|(number, _)| (json!(number % 12), id(number)))
    };
    for (number, size) in [(3, 2), (12, 1), (40, 30)] {
        let request = json!({
            "text": text, "group_by": "group", "groups": number, "group_size": size,
            "exact": true,
        });
        let answer = search(&node, request.clone()).await;
        assert_eq!(groups(&answer), gathered(order(|_| true), number, size), "{number}, {size}");
        assert_eq!((&answer["exact"], &answer["hits"]), (&json!(true), &json!([])));
        let mut filtered = request;
        filtered["filter"] = json!({"group": {"$gte": 10}});
        let answer = search(&node, filtered).await;
        assert_eq!(groups(&answer), gathered(order(|n| n % 12 >= 10), number, size));
        let first = &answer["groups"][0]["hits"][0];
        assert_eq!(first["rank"], 1);
        let score = by_text(&["ant", "hen"], |n| n % 12 >= 10)[0].1;
        assert!(close(first["score"].as_f64().unwrap(), score));
    }
    // One look, and it says that there may be more.
    let quick = json!({"text": text, "group_by": "group", "groups": 12, "group_size": 3});
    let answer = search(&node, quick).await;
    let found = groups(&answer);
    assert!(!found.is_empty());
    let whole = gathered(order(|_| true), 12, 3);
    assert!(answer["exact"] == false || found == whole);
    let shards = filled(3, |_| {}).await;
    let request = json!({
        "text": text, "group_by": "group", "groups": 40, "group_size": 200, "exact": true,
    });
    let sorted = |found: Vec<(Value, Vec<String>)>| {
        let sorted = found.into_iter().map(|(value, mut ids)| {
            ids.sort();
            (value.to_string(), ids)
        });
        sorted.collect::<BTreeMap<_, _>>()
    };
    let found = sorted(groups(&search(&shards, request).await));
    assert_eq!(found, sorted(gathered(order(|_| true), 40, 200)));
    // As with a vector, exact is of use only where something may be missed.
    let alone = json!({"text": text, "k": 3, "exact": true});
    node.post("/v1/namespaces/n/search", alone).await.problem("search_unsupported");
    let both = json!({"text": text, "k": 3, "group_by": "group"});
    node.post("/v1/namespaces/n/search", both).await.problem("invalid_argument");
}

#[tokio::test]
async fn fused_hits_are_gathered_by_a_field() {
    for shards in [1, 3] {
        let node = filled(shards, |_| {}).await;
        let fusion = json!({"candidates": 240});
        let both = json!({"vector": [0.3, -0.2], "text": "gnu hen", "fusion": fusion});
        let mut all = both.clone();
        (all["k"], all["include_metadata"]) = (json!(240), json!(true));
        let order = search(&node, all).await["hits"].clone();
        let order = || {
            let hits = order.as_array().unwrap().iter();
            hits.map(|hit| (hit["metadata"]["group"].clone(), id(number(hit))))
        };
        for (groups_asked, size) in [(4, 2), (12, 20)] {
            let mut request = both.clone();
            request["group_by"] = json!("group");
            (request["groups"], request["group_size"]) = (json!(groups_asked), json!(size));
            request["explain"] = json!(true);
            let answer = search(&node, request).await;
            assert_eq!(groups(&answer), gathered(order(), groups_asked, size), "{shards}");
            assert_eq!(answer["exact"], true, "{shards} {groups_asked}");
            assert_eq!(answer["explain"]["shards"].as_array().unwrap().len(), 2 * shards);
            let hit = &answer["groups"][0]["hits"][0];
            assert!(hit["distance"].is_number() && hit["metadata"].is_null(), "{hit}");
        }
        // Of few candidates there are few groups, which is told.
        let mut few = both;
        few["fusion"] = json!({"candidates": 12});
        (few["group_by"], few["groups"]) = (json!("group"), json!(12));
        let answer = search(&node, few).await;
        assert!(answer["exact"] == false || groups(&answer).len() == 12, "{answer}");
    }
}

#[tokio::test]
async fn records_in_memory_are_found_by_their_text() {
    let node = filled(2, |_| {}).await;
    let put = |id: &str, durability: &str| {
        let body = json!({
            "vector": [0.1, 0.2], "metadata": {"title": "yak zebu", "group": 77},
            "durability": durability,
        });
        let path = format!("/v1/namespaces/n/vectors/{id}");
        let node = &node;
        async move { node.put(&path, body).await.ok() }
    };
    assert_eq!(put("logged", "buffered").await["durability"], "buffered");
    for id in ["held1", "held2", "held3"] {
        assert_eq!(put(id, "memory").await["durability"], "memory");
    }
    let filter = json!({"group": 77});
    let answer = search(&node, json!({"text": "yak", "k": 9, "filter": filter})).await;
    let mut found = ids(&answer);
    found.sort();
    assert_eq!(found, ["held1", "held2", "held3", "logged"]);
    let scores: Vec<f64> =
        answer["hits"].as_array().unwrap().iter().map(|h| h["score"].as_f64().unwrap()).collect();
    assert!(scores.iter().all(|score| close(*score, scores[0])), "{scores:?}");
    let both = json!({"text": "zebu", "vector": [0.1, 0.2], "k": 4, "include_metadata": true});
    let hits = search(&node, both).await["hits"].clone();
    for hit in hits.as_array().unwrap() {
        assert_eq!(hit["metadata"]["title"], "yak zebu");
        assert!(hit["distance"].as_f64().unwrap() < 1e-6);
    }
    let info = node.get("/v1/namespaces/n").await.ok();
    assert_eq!(info["text"]["documents"], RECORDS + 4);
}
