//! Geometry operations over HTTP.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use hvs_api::Encoding;
use reqwest::Method;
use serde_json::{Value, json};
use support::{BOTH, TestNode};

#[track_caller]
fn close(value: &Value, expected: &[f64]) {
    let found: Vec<f64> = match value {
        Value::Array(values) => values.iter().map(|x| x.as_f64().unwrap()).collect(),
        one => vec![one.as_f64().unwrap()],
    };
    assert_eq!(found.len(), expected.len(), "{value}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-12, "{value} {expected:?}");
    }
}

/// Values of an independent library for the same points, in curvature -1.
#[tokio::test]
async fn operations_agree_with_known_values() {
    let node = TestNode::start().await;
    let (x, y) = (json!([0.1, 0.2, 0.3]), json!([-0.4, 0.1, 0.2]));
    let v = json!([0.05, 0.02, -0.01]);
    let space = json!({"geometry": "poincare"});
    for encoding in BOTH {
        let call = async |operation: &str, body: Value| {
            let path = format!("/v1/geometry/{operation}");
            node.call_in(encoding, Method::POST, &path, &body).await.ok()
        };
        let pair = json!({"space": space, "x": x, "y": y});
        let distance = call("distance", pair.clone()).await;
        close(&distance["distance"], &[1.189_441_772_277_438_4]);
        let log = call("log", pair.clone()).await;
        close(
            &log["tangent"],
            &[-0.461_659_042_399_856_3, -0.141_427_277_759_255_73, -0.168_702_538_469_469_33],
        );
        let exp = call("exp", json!({"space": space, "x": x, "v": v})).await;
        close(
            &exp["point"],
            &[0.149_561_707_381_767_4, 0.220_373_360_281_147_68, 0.291_185_013_180_527_9],
        );
        let moved = call("transport", json!({"space": space, "x": x, "y": y, "v": v})).await;
        close(
            &moved["tangent"],
            &[0.043_921_571_028_948_52, 0.009_617_579_768_862_584, -0.022_580_993_626_329_482],
        );
        let sum = call("mobius_add", pair.clone()).await;
        close(
            &sum["point"],
            &[-0.193_798_449_612_403_1, 0.310_077_519_379_844_96, 0.503_875_968_992_248_1],
        );
        let points = json!([x, y, [0.3, -0.5, 0.1], [0.0, 0.0, 0.6]]);
        let mean = call("mean", json!({"space": space, "points": points})).await;
        close(
            &mean["point"],
            &[0.003_718_525_075_882_657, -0.044_063_266_635_708_89, 0.267_184_887_889_874_77],
        );
        let start = call("geodesic", json!({"space": space, "x": x, "y": y, "t": 0.0})).await;
        close(&start["point"], &[0.1, 0.2, 0.3]);
        let midpoint = call("midpoint", pair).await;
        let halfway = call("geodesic", json!({"space": space, "x": x, "y": y, "t": 0.5})).await;
        let expected: Vec<f64> = serde_json::from_value(midpoint["point"].clone()).unwrap();
        close(&halfway["point"], &expected);
        let to = json!({"geometry": "hyperboloid"});
        let sheet = call("transform", json!({"from": space, "to": to, "x": [0.5, 0.0]})).await;
        close(&sheet["point"], &[5.0 / 3.0, 4.0 / 3.0, 0.0]);
        let inner = call("inner", json!({"space": space, "x": [0, 0, 0], "u": v, "v": v})).await;
        close(&inner["inner"], &[4.0 * 0.003]);
        let scaled = call("mobius_scalar", json!({"space": space, "r": 2.0, "x": [0.5]})).await;
        close(&scaled["point"], &[0.8]);
    }
}

#[tokio::test]
async fn points_are_examined_and_projected() {
    let node = TestNode::start().await;
    let space = json!({"geometry": "hyperboloid"});
    let good = json!({"space": space, "x": [1.25, 0.75]});
    assert_eq!(node.post("/v1/geometry/validate", good).await.ok()["valid"], true);
    let bad = json!({"space": space, "x": [2.0, 0.75]});
    let examined = node.post("/v1/geometry/validate", bad.clone()).await.ok();
    assert_eq!(examined["valid"], false);
    assert_eq!(examined["problem"]["code"], "off_manifold");
    let projected = node.post("/v1/geometry/project", bad).await.ok();
    close(&projected["point"], &[1.25, 0.75]);
    // What f64 holds, f32 need not.
    let far = json!({"geometry": "poincare"});
    let far = |precision| json!({"space": far, "x": [1.0 - 1e-9], "precision": precision});
    assert_eq!(node.post("/v1/geometry/validate", far("f64")).await.ok()["valid"], true);
    let examined = node.post("/v1/geometry/validate", far("f32")).await.ok();
    assert_eq!(examined["problem"]["code"], "precision_exceeded");
}

#[tokio::test]
async fn intervals_have_a_kind_and_an_order() {
    let node = TestNode::start().await;
    let space = json!({"geometry": "lorentzian"});
    let interval = async |y: Value| {
        let body = json!({"space": space, "x": [0, 1, 0], "y": y});
        node.post("/v1/geometry/interval", body).await.ok()
    };
    let later = interval(json!([1.0_f64.sinh(), 1.0_f64.cosh(), 0.0])).await;
    assert_eq!((&later["kind"], &later["relation"]), (&json!("timelike"), &json!("future")));
    close(&later["interval"], &[1.0]);
    let beside = interval(json!([0.0, 0.0, 1.0])).await;
    assert_eq!((&beside["kind"], &beside["relation"]), (&json!("spacelike"), &json!("unrelated")));
    let apart = interval(json!([1.0_f64.sinh(), -1.0_f64.cosh(), 0.0])).await;
    assert_eq!(apart["kind"], "none");
    assert!(apart.get("interval").is_none());
    let body = json!({"space": space, "x": [0, 1, 0], "y": [0, 0, 1]});
    node.post("/v1/geometry/distance", body).await.problem("undefined_operation");
}

#[tokio::test]
async fn options_and_geometries_are_chosen_with_reasons() {
    let node = TestNode::start().await;
    let option = |name: &str, cost: [f64; 4]| json!({"name": name, "cost": cost});
    let options = json!([
        option("fast", [1.0, 4.0, 1.0, 1.0]),
        option("slow", [9.0, 1.0, 1.0, 1.0]),
        option("worse", [9.0, 4.0, 1.0, 1.0]),
        option("dear", [1.0, 1.0, 1.0, 99.0]),
    ]);
    let body = json!({"options": options, "budget": [10, 10, 10, 10]});
    let chosen = node.post("/v1/geometry/cost", body).await.ok();
    assert_eq!(chosen["best"], "fast");
    assert_eq!(chosen["admissible"], json!(["fast", "slow", "worse"]));
    assert_eq!(chosen["front"].as_array().unwrap().len(), 2);
    assert!(chosen["rejected"]["dear"].as_str().unwrap().contains("over the budget"));
    assert!(chosen["rejected"]["worse"].as_str().unwrap().contains("dominated by"));
    let twice = json!({"options": [option("a", [1.0; 4]), option("a", [2.0; 4])]});
    node.post("/v1/geometry/cost", twice).await.problem("duplicate_id");
    let body = json!({"a": [0, 0, 0, 0], "b": [5, 3, 0, 0]});
    let interval = node.post("/v1/geometry/cost/interval", body).await.ok();
    assert_eq!((&interval["kind"], &interval["relation"]), (&json!("timelike"), &json!("future")));
    close(&interval["interval"], &[4.0]);

    let choose = async |body: Value| node.post("/v1/geometry/choose", body).await;
    let chosen = choose(json!({"traits": {"hierarchy": 0.9}})).await.ok();
    assert_eq!(chosen["geometry"], "hyperboloid");
    let several = choose(json!({"traits": {"hierarchy": 0.9, "cyclic": 0.8}})).await.ok();
    assert_eq!(several["geometry"], "product");
    assert_eq!(several["components"], json!(["hyperboloid", "spherical"]));
    let circle: Vec<_> = (0..40)
        .map(|n| f64::from(n) * std::f64::consts::TAU / 40.0)
        .map(|angle| [angle.cos(), angle.sin()])
        .collect();
    let chosen = choose(json!({"points": circle})).await.ok();
    assert_eq!(chosen["geometry"], "spherical");
    assert!(!chosen["evidence"].as_object().unwrap().is_empty());
    for (body, code) in [
        (json!({"traits": {"hierarchy": 2}}), "invalid_argument"),
        (json!({"traits": {"colour": 1}}), "invalid_argument"),
        (json!({"traits": {"flat": 1}, "points": circle}), "invalid_argument"),
        (json!({"distances": [[0, 1], [1]]}), "invalid_argument"),
        (json!({"points": [[1, 2], [1]]}), "dimension_mismatch"),
        (json!({"points": []}), "empty_batch"),
        (json!({}), "empty_batch"),
    ] {
        choose(body).await.problem(code);
    }
}

#[tokio::test]
async fn bad_arguments_have_codes() {
    let node = TestNode::with(|config| config.limits.points = 3).await;
    let ball = json!({"geometry": "poincare"});
    let sphere = json!({"geometry": "spherical"});
    let pair = |space: &Value, x: Value, y: Value| json!({"space": space, "x": x, "y": y});
    for (operation, body, code) in [
        ("distance", pair(&ball, json!([0.1]), json!([0.1, 0.2])), "dimension_mismatch"),
        ("distance", pair(&ball, json!([1.5]), json!([0.1])), "off_manifold"),
        ("distance", pair(&json!({}), json!([0.1]), json!([0.1])), "unknown_geometry"),
        (
            "distance",
            pair(&json!({"geometry": "x"}), json!([0.1]), json!([0.1])),
            "unknown_geometry",
        ),
        ("distance", pair(&ball, json!([]), json!([])), "invalid_dimension"),
        ("distance", json!({"space": ball, "x": [0.1]}), "invalid_body"),
        ("log", pair(&sphere, json!([1, 0]), json!([-1, 0])), "no_geodesic"),
        ("exp", json!({"space": sphere, "x": [1, 0], "v": [1, 0]}), "not_tangent"),
        ("exp", json!({"space": ball, "x": [0.1], "v": [1, 0]}), "dimension_mismatch"),
        ("mobius_add", pair(&sphere, json!([1, 0]), json!([1, 0])), "undefined_operation"),
        ("project", json!({"space": sphere, "x": [0, 0]}), "off_manifold"),
        ("interval", pair(&ball, json!([0.1]), json!([0.1])), "undefined_operation"),
        ("mean", json!({"space": ball, "points": []}), "empty_batch"),
        ("mean", json!({"space": ball, "points": [[0.1], [0.1], [0.1], [0.1]]}), "batch_too_large"),
        ("mean", json!({"space": ball, "points": [[0.1]], "weights": [-1]}), "invalid_weights"),
        ("mean", json!({"space": ball, "points": [[0.1]], "weights": [1, 2]}), "invalid_weights"),
        (
            "mean",
            json!({"space": sphere, "points": [[1, 0]], "kind": "gyro_midpoint"}),
            "undefined_operation",
        ),
        (
            "transform",
            json!({"from": ball, "to": {"geometry": "euclidean", "dimension": 2}, "x": [0.1]}),
            "invalid_dimension",
        ),
        (
            "transform",
            json!({"from": {"geometry": "euclidean"}, "to": sphere, "x": [9.0]}),
            "out_of_domain",
        ),
    ] {
        let path = format!("/v1/geometry/{operation}");
        for encoding in BOTH {
            let answer = node.call_in(encoding, Method::POST, &path, &body).await;
            assert_eq!(answer.body["code"], code, "{operation} {body} {answer:?}");
            answer.problem(code);
        }
    }
    // A share of the way that only MessagePack can say.
    let mut body = vec![0x84];
    for part in [json!({"space": ball}), json!({"x": [0.1]}), json!({"y": [0.2]})] {
        body.extend_from_slice(&hvs_api::encode(Encoding::MessagePack, &part).unwrap()[1..]);
    }
    body.extend_from_slice(&[0xa1, b't', 0xcb]);
    body.extend_from_slice(&f64::NAN.to_be_bytes());
    let media = Encoding::MessagePack.content_type();
    let answer = node.bytes(media, Method::POST, "/v1/geometry/geodesic", body).await;
    answer.problem("invalid_argument");
}
