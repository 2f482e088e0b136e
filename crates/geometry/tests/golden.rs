//! The reference values: every case within the error that its conditioning allows.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a malformed reference file must fail the test"
)]

use hvs_geometry::golden::{
    Case, CaseError, EvaluationError, Fields, Outcome, Value as Out, evaluate, summarise,
};
use serde_json::Value;

fn number(value: &Value) -> Option<f64> {
    value.as_str().map(|text| text.parse().unwrap())
}

fn vector(value: &Value) -> Option<Vec<f64>> {
    value.as_array().map(|items| items.iter().map(|item| number(item).unwrap()).collect())
}

fn vectors(value: &Value) -> Option<Vec<Vec<f64>>> {
    value.as_array().map(|items| items.iter().map(|item| vector(item).unwrap()).collect())
}

fn fields(case: &Value) -> Fields {
    Fields {
        geometry: case["geometry"].as_str().unwrap().to_owned(),
        op: case["op"].as_str().unwrap().to_owned(),
        c: number(&case["c"]),
        x: vector(&case["x"]),
        y: vector(&case["y"]),
        v: vector(&case["v"]),
        x_spatial: vector(&case["x_spatial"]),
        y_spatial: vector(&case["y_spatial"]),
        v_spatial: vector(&case["v_spatial"]),
        x0: number(&case["x0"]),
        y0: number(&case["y0"]),
        x_dir: vector(&case["x_dir"]),
        y_dir: vector(&case["y_dir"]),
        t: number(&case["t"]),
        points: vectors(&case["points"]),
        points_spatial: vectors(&case["points_spatial"]),
        weights: vector(&case["weights"]),
        normalize: case["normalize"].as_bool().unwrap_or(false),
        inner: number(&case["inner"]),
        kind: case["kind"].as_str().map(str::to_owned),
        out_number: number(&case["out"]),
        out_vector: vector(&case["out"]),
    }
}

fn cases() -> Vec<Case> {
    let file: Value = serde_json::from_str(include_str!("golden/geometry.json")).unwrap();
    let cases = file["cases"].as_array().unwrap();
    cases.iter().map(|case| Case::new(fields(case)).unwrap()).collect()
}

#[test]
fn every_case_is_within_the_bound_of_its_conditioning() {
    let cases = cases();
    assert_eq!(cases.len(), 804);
    let outcomes: Vec<Result<Outcome, EvaluationError>> = cases.iter().map(evaluate).collect();
    let summaries = summarise(cases.iter().zip(&outcomes));
    let mut failed = 0;
    for summary in &summaries {
        let (geometry, operation) = (summary.geometry, summary.operation);
        println!(
            "{geometry:<12} {operation:<15} {:>3} cases, {} failed, worst error {:.2e} (bound {:.2e}), at most {:.3} of the bound",
            summary.cases, summary.failed, summary.worst_error, summary.bound, summary.worst_share
        );
        failed += summary.failed;
    }
    for (index, outcome) in outcomes.iter().enumerate() {
        if let Err(error) = outcome {
            println!("case {index}: {error}");
        }
    }
    assert_eq!(failed, 0);
    assert_eq!(summaries.len(), 17);
}

fn failures(cases: &[Case]) -> usize {
    cases.iter().filter(|case| !evaluate(case).unwrap().passes()).count()
}

/// A library that measures distances by the inverse hyperbolic cosine fails where it loses digits:
/// for near points, not for distant ones.
#[test]
fn distances_by_acosh_are_caught() {
    let mut cases = cases();
    cases.retain(|case| case.operation.name() == "distance" && case.geometry.name() == "poincare");
    assert_eq!(failures(&cases), 0);
    for case in &mut cases {
        let (Some(x), Some(y)) = (&case.x, &case.y) else { panic!("no points") };
        let (x, y) = (ambient(x), ambient(y));
        let gap: f64 = x.iter().zip(y).map(|(a, b)| (a - b) * (a - b)).sum();
        let factor = |x: &[f64]| 1.0 - case.c * x.iter().map(|a| a * a).sum::<f64>();
        let cosh = 1.0 + 2.0 * case.c * gap / (factor(x) * factor(y));
        case.expected = Out::Number(cosh.acosh() / case.c.sqrt());
    }
    let failed = failures(&cases);
    assert!((20..=48).contains(&failed), "{failed} of {}", cases.len());
}

fn ambient(given: &hvs_geometry::golden::Coordinates) -> &[f64] {
    match given {
        hvs_geometry::golden::Coordinates::Ambient(x) => x,
        other => panic!("{other:?}"),
    }
}

/// The exponential map that lacks the conformal factor is right at the origin only.
#[test]
fn an_exponential_map_without_its_conformal_factor_is_caught() {
    let mut cases = cases();
    cases.retain(|case| case.operation.name() == "exp" && case.geometry.name() == "poincare");
    for case in &mut cases {
        let space = hvs_geometry::Space::new(
            case.geometry,
            ambient(case.x.as_ref().unwrap()).len(),
            -case.c,
        )
        .unwrap();
        let v = ambient(case.v.as_ref().unwrap());
        let length = v.iter().map(|a| a * a).sum::<f64>().sqrt();
        let factor = (case.c.sqrt() * length / 2.0).tanh() / (case.c.sqrt() * length);
        let step: Vec<f64> = v.iter().map(|a| a * factor).collect();
        let wrong = space.mobius_add(ambient(case.x.as_ref().unwrap()), &step).unwrap();
        case.expected = Out::Vector(wrong);
    }
    assert_eq!(failures(&cases), cases.len());
}

#[test]
fn a_value_of_the_wrong_kind_or_length_does_not_pass() {
    let cases = cases();
    for case in &cases {
        for wrong in [Out::Number(f64::NAN), Out::Vector(vec![0.5]), Out::Vector(vec![f64::NAN])] {
            let case = Case { expected: wrong, ..case.clone() };
            assert!(!evaluate(&case).unwrap().passes(), "{case:?}");
        }
    }
}

#[test]
fn incomplete_and_unknown_cases_say_what_is_missing() {
    let fields = |geometry: &str, op: &str| Fields {
        geometry: geometry.to_owned(),
        op: op.to_owned(),
        out_number: Some(1.0),
        ..Fields::default()
    };
    assert!(matches!(Case::new(fields("flat", "distance")), Err(CaseError::Geometry(_))));
    assert!(matches!(Case::new(fields("klein", "dist")), Err(CaseError::Operation { .. })));
    let error = Case::new(fields("poincare", "log")).unwrap_err();
    assert_eq!(error.to_string(), "log needs the field \"out\"");
    let case = Case::new(Fields { x: Some(vec![0.1]), ..fields("poincare", "distance") }).unwrap();
    assert_eq!(evaluate(&case).unwrap_err().to_string(), "distance needs the field \"y\"");
    let empty = Case::new(fields("poincare", "distance")).unwrap();
    assert!(matches!(evaluate(&empty), Err(EvaluationError::Space(_))));
}
