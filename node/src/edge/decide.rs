//! Decisions as an API: which option under a budget, which geometry for data.

use std::{collections::HashSet, sync::Arc};

use axum::Router;
use hvs_api::{
    ChooseRequest, ChooseResponse, Code, CostIntervalRequest, CostRequest, CostResponse,
    IntervalResponse,
};
use hvs_geometry::{
    Geometry,
    choice::{
        self, Distances, Recommendation, Sample, SampleError, SampleOptions, TraitError, Traits,
    },
    cost::{self, Budget, Cost, CostError, Optimum, Units, Weights},
};

use super::{App, failure::Failure, geometry::heavy, writes::check_count};
use crate::config::Limits;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/geometry/choose", heavy(choose))
        .route("/v1/geometry/cost", heavy(optimise))
        .route("/v1/geometry/cost/interval", heavy(cost_interval))
}

impl From<CostError> for Failure {
    fn from(error: CostError) -> Self {
        let code = match error {
            CostError::NotFinite { .. } => Code::NotFinite,
            CostError::Weight { .. } => Code::InvalidWeights,
            CostError::NoOptions => Code::EmptyBatch,
            CostError::TooManyOptions { .. } => Code::BatchTooLarge,
            CostError::Overflow { .. } => Code::OutOfDomain,
            _ => Code::InvalidArgument,
        };
        Self::new(code, error.to_string())
    }
}

impl From<SampleError> for Failure {
    fn from(error: SampleError) -> Self {
        let code = match error {
            SampleError::Empty => Code::EmptyBatch,
            SampleError::TooMany { .. } => Code::BatchTooLarge,
            SampleError::NotFinite { .. } => Code::NotFinite,
            _ => Code::InvalidArgument,
        };
        Self::new(code, error.to_string())
    }
}

impl From<TraitError> for Failure {
    fn from(error: TraitError) -> Self {
        Self::new(Code::InvalidArgument, error.to_string())
    }
}

fn units(given: Option<[f64; 4]>) -> Units {
    given.map_or_else(Units::default, |units| Units(Cost::new(units)))
}

fn cost_interval(_: &Limits, request: &CostIntervalRequest) -> Result<IntervalResponse, Failure> {
    let (a, b) = (Cost::new(request.a), Cost::new(request.b));
    let interval = cost::interval(a, b, units(request.units))?;
    Ok(IntervalResponse {
        kind: interval.kind.name().to_owned(),
        interval: Some(interval.length),
        relation: interval.relation.name().to_owned(),
    })
}

fn optimise(limits: &Limits, request: &CostRequest) -> Result<CostResponse, Failure> {
    check_count(request.options.len(), limits.points)?;
    let mut names = HashSet::new();
    for (index, option) in request.options.iter().enumerate() {
        if !names.insert(option.name.as_str()) {
            let detail = format!("option {index} has the name of one before it");
            return Err(Failure::new(Code::DuplicateId, detail).with("index", index));
        }
    }
    let costs: Vec<Cost> = request.options.iter().map(|option| Cost::new(option.cost)).collect();
    let asked = cost::CostRequest::new(
        request.budget.map_or_else(Budget::default, |budget| Budget(Cost::new(budget))),
        request.weights.map_or_else(Weights::default, |weights| Weights(Cost::new(weights))),
        units(request.units),
    );
    Ok(describe(request, &cost::optimise(&costs, &asked)?))
}

fn describe(request: &CostRequest, optimum: &Optimum) -> CostResponse {
    let name = |option: usize| {
        request.options.get(option).map(|option| option.name.clone()).unwrap_or_default()
    };
    let rejected = optimum
        .outcomes
        .iter()
        .enumerate()
        .filter(|(option, _)| optimum.best != Some(*option))
        .map(|(option, outcome)| (name(option), outcome.explain(name)))
        .collect();
    CostResponse {
        best: optimum.best.map(name),
        front: optimum.front.iter().copied().map(name).collect(),
        admissible: optimum.admissible.iter().copied().map(name).collect(),
        rejected,
    }
}

fn choose(limits: &Limits, request: &ChooseRequest) -> Result<ChooseResponse, Failure> {
    let has_sample = request.distances.is_some()
        || request.points.is_some()
        || request.edges.is_some()
        || request.times.is_some();
    let choice = match &request.traits {
        Some(_) if has_sample => {
            return Err(invalid("give traits or a sample, not both"));
        }
        Some(traits) => choice::from_traits(&read_traits(traits)?)?,
        None => from_sample(limits, request)?,
    };
    let components = match &choice.recommendation {
        Recommendation::Single(_) => Vec::new(),
        Recommendation::Product(parts) => {
            parts.iter().copied().map(Geometry::name).map(str::to_owned).collect()
        }
    };
    Ok(ChooseResponse {
        geometry: choice.recommendation.to_string(),
        components,
        reason: choice.reason,
        evidence: choice
            .evidence
            .iter()
            .map(|evidence| (evidence.name.to_owned(), evidence.value))
            .collect(),
    })
}

fn invalid(detail: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidArgument, detail)
}

fn read_traits(given: &std::collections::BTreeMap<String, f64>) -> Result<Traits, Failure> {
    let mut traits = Traits::default();
    for (name, value) in given {
        let place = match name.as_str() {
            "hierarchy" => &mut traits.hierarchy,
            "temporal" => &mut traits.temporal,
            "cyclic" => &mut traits.cyclic,
            "flat" => &mut traits.flat,
            other => {
                let shown: String = other.chars().take(100).collect();
                let detail = format!(
                    "there is no trait {shown:?}; the traits are hierarchy, temporal, cyclic and flat"
                );
                return Err(invalid(detail));
            }
        };
        *place = *value;
    }
    Ok(traits)
}

fn from_sample(limits: &Limits, request: &ChooseRequest) -> Result<choice::Choice, Failure> {
    let mut values = Vec::new();
    let distances = match (&request.distances, &request.points) {
        (Some(_), Some(_)) => return Err(invalid("give distances or points, not both")),
        (Some(rows), None) => {
            check_count(rows.len(), limits.points)?;
            if let Some(index) = rows.iter().position(|row| row.len() != rows.len()) {
                let detail = format!("row {index} has another length than there are rows");
                return Err(invalid(detail));
            }
            values.extend(rows.iter().flatten());
            Some(Distances::Matrix(&values))
        }
        (None, Some(points)) => {
            check_count(points.len(), limits.points)?;
            let dimension = points.first().map_or(0, |point| point.len());
            if let Some(index) = points.iter().position(|point| point.len() != dimension) {
                let detail = format!("point {index} has another number of coordinates");
                return Err(Failure::new(Code::DimensionMismatch, detail));
            }
            values.extend(points.iter().flat_map(|point| point.iter()));
            Some(Distances::Vectors { values: &values, dimension })
        }
        (None, None) => None,
    };
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let edges: Option<Vec<_>> = request
        .edges
        .as_ref()
        .map(|edges| edges.iter().map(|&[from, to]| (number(from), number(to))).collect());
    let sample = Sample { distances, edges: edges.as_deref(), times: request.times.as_deref() };
    Ok(choice::from_sample(&sample, &SampleOptions::default())?)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Config;

    fn ask<Q: serde::de::DeserializeOwned, A: serde::Serialize>(
        operation: fn(&Limits, &Q) -> Result<A, Failure>,
        request: Value,
    ) -> Result<Value, (String, String)> {
        let request = serde_json::from_value(request).unwrap();
        match operation(&Config::default().limits, &request) {
            Ok(answer) => Ok(serde_json::to_value(&answer).unwrap()),
            Err(Failure { problem, .. }) => Err((problem.code, problem.detail)),
        }
    }

    #[test]
    fn intervals_of_extreme_costs_are_right_or_refused() {
        let tiny = json!({"a": [1e-163, 0, 0, 0], "b": [0, 0, 0, 0]});
        let found = ask(cost_interval, tiny).unwrap();
        assert_eq!((&found["kind"], &found["relation"]), (&json!("timelike"), &json!("past")));
        let huge = json!({"a": [1e308, 0, 0, 0], "b": [-1e308, 0, 0, 0]});
        let (code, detail) = ask(cost_interval, huge).unwrap_err();
        assert_eq!(code, "out_of_domain");
        assert!(detail.contains("the interval between the costs overflows"), "{detail}");
    }

    #[test]
    fn scores_that_overflow_are_refused() {
        let options = json!([
            {"name": "a", "cost": [1e308, 1e308, 0, 0]},
            {"name": "b", "cost": [0, 0, 1e308, 1e308]}
        ]);
        let (code, detail) = ask(optimise, json!({"options": options})).unwrap_err();
        assert_eq!(code, "out_of_domain");
        assert!(detail.contains("the score of option 0 overflows"), "{detail}");
    }

    #[test]
    fn evidence_of_huge_samples_is_finite() {
        let points = json!([[1e308, 1e308], [-1e308, 0], [0, 0], [1, 1]]);
        let found = ask(choose, json!({"points": points})).unwrap();
        let evidence = found["evidence"].as_object().unwrap();
        assert!(evidence.len() > 3 && evidence.values().all(Value::is_f64), "{evidence:?}");
    }
}
