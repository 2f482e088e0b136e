//! Reciprocal-rank fusion: several orders of the same things become one.
//!
//! Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
//! Learning Methods" (2009). Only ranks count, so that distances and scores need no common scale.

use std::collections::HashMap;

use hvs_api::{Code, Fusion};

use super::failure::Failure;
use crate::config::Limits;

/// The constant of the paper.
const DEFAULT_K: u64 = 60;
const MAX_K: u64 = 1_000_000;
const MAX_WEIGHT: f64 = 1e6;
/// Candidates of each order unless the request says: so many for each hit, and at least.
const CANDIDATES_PER_HIT: usize = 4;
const LEAST_CANDIDATES: usize = 100;

/// How two orders become one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rule {
    pub(super) k: u64,
    /// Of the order by vector, and of the order by text.
    pub(super) weights: [f64; 2],
    pub(super) candidates: usize,
}

impl Rule {
    /// The rule of a request for `hits` hits.
    pub(super) fn new(
        wire: Option<&Fusion>,
        hits: usize,
        limits: &Limits,
    ) -> Result<Self, Failure> {
        let default = Fusion::default();
        let wire = wire.unwrap_or(&default);
        let invalid = |detail| Err(Failure::new(Code::InvalidFusion, detail));
        let k = wire.k.unwrap_or(DEFAULT_K);
        if k > MAX_K {
            return invalid(format!("fusion.k is {k}, it must be at most {MAX_K}"));
        }
        let weights = wire.weights.clone().unwrap_or_default();
        let weights = [weights.vector.unwrap_or(1.0), weights.text.unwrap_or(1.0)];
        for (name, weight) in ["vector", "text"].into_iter().zip(weights) {
            if !(weight > 0.0 && weight <= MAX_WEIGHT) {
                return invalid(format!(
                    "fusion.weights.{name} is {weight}, it must be above 0 and at most \
                     {MAX_WEIGHT}; leave {name} out of the search if it is not to count"
                ));
            }
        }
        let most = limits.k;
        let candidates = match wire.candidates {
            None => hits.saturating_mul(CANDIDATES_PER_HIT).max(LEAST_CANDIDATES).min(most),
            Some(asked) => {
                let found = usize::try_from(asked).ok().filter(|it| (hits..=most).contains(it));
                match found {
                    Some(candidates) => candidates,
                    None => {
                        return invalid(format!(
                            "fusion.candidates is {asked}, it must be from k, which is {hits}, to \
                             {most}"
                        ));
                    }
                }
            }
        };
        Ok(Self { k, weights, candidates })
    }
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fused<T> {
    pub(super) item: T,
    pub(super) score: f64,
    /// Position in each of the orders, from 0.
    pub(super) positions: [Option<usize>; 2],
}

/// The sum over the orders of weight / (k + rank), where the first has rank 1. The highest first;
/// equal ones in their own order.
pub(super) fn fuse<T>(rule: &Rule, orders: [&[T]; 2]) -> Vec<Fused<T>>
where
    T: Clone + Ord + std::hash::Hash,
{
    let mut places: HashMap<&T, [Option<usize>; 2]> = HashMap::new();
    let [by_vector, by_text] = orders;
    for (position, item) in by_vector.iter().enumerate() {
        let [place, _] = places.entry(item).or_default();
        place.get_or_insert(position);
    }
    for (position, item) in by_text.iter().enumerate() {
        let [_, place] = places.entry(item).or_default();
        place.get_or_insert(position);
    }
    let part = |weight: f64, position: Option<usize>| {
        position.map_or(0.0, |position| weight / (rule.k as f64 + position as f64 + 1.0))
    };
    let mut fused: Vec<_> = places
        .into_iter()
        .map(|(item, positions)| {
            let parts = rule.weights.into_iter().zip(positions);
            let score = parts.map(|(weight, position)| part(weight, position)).sum();
            Fused { item: item.clone(), score, positions }
        })
        .collect();
    fused.sort_by(|left, right| {
        right.score.total_cmp(&left.score).then_with(|| left.item.cmp(&right.item))
    });
    fused
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hvs_api::FusionWeights;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn it_is_the_sum_of_the_reciprocal_ranks() {
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..500 {
            let mut order = || {
                let mut seen = BTreeSet::new();
                let drawn = (0..random.random_range(0..12)).map(|_| random.random_range(0..15));
                drawn.filter(|item| seen.insert(*item)).collect::<Vec<i32>>()
            };
            let (left, right) = (order(), order());
            let weights = [random.random_range(0.1..3.0), random.random_range(0.1..3.0)];
            let rule = Rule { k: random.random_range(0..80), weights, candidates: 100 };
            let fused = fuse(&rule, [&left, &right]);
            // Straight from the definition.
            let mut expected: Vec<(i32, f64)> = Vec::new();
            for item in 0..15 {
                let mut score = 0.0;
                for (weight, list) in weights.iter().zip([&left, &right]) {
                    if let Some(position) = list.iter().position(|it| *it == item) {
                        score += weight / ((rule.k + 1 + position as u64) as f64);
                    }
                }
                if left.contains(&item) || right.contains(&item) {
                    expected.push((item, score));
                }
            }
            expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let found: Vec<_> = fused.iter().map(|it| (it.item, it.score)).collect();
            assert_eq!(found, expected);
            for it in fused {
                assert_eq!(it.positions[0], left.iter().position(|item| *item == it.item));
                assert_eq!(it.positions[1], right.iter().position(|item| *item == it.item));
            }
        }
    }

    #[test]
    fn a_rule_holds_at_its_edges() {
        let limits = Limits { k: 1_000, ..Limits::default() };
        let rule = |fusion: Fusion, hits| {
            Rule::new(Some(&fusion), hits, &limits).map_err(|failure| failure.problem.code.clone())
        };
        let usual = rule(Fusion::default(), 10).unwrap();
        assert_eq!(usual, Rule { k: 60, weights: [1.0; 2], candidates: 100 });
        assert_eq!(rule(Fusion::default(), 50).unwrap().candidates, 200);
        assert_eq!(rule(Fusion::default(), 1_000).unwrap().candidates, 1_000);
        let candidates = |candidates| Fusion { candidates: Some(candidates), ..Fusion::default() };
        assert_eq!(rule(candidates(10), 10).unwrap().candidates, 10);
        assert_eq!(rule(candidates(1_000), 10).unwrap().candidates, 1_000);
        let weight = |text| Fusion {
            weights: Some(FusionWeights { vector: None, text: Some(text) }),
            ..Fusion::default()
        };
        assert_eq!(rule(weight(1e6), 1).unwrap(), Rule { weights: [1.0, 1e6], ..usual });
        assert_eq!(rule(Fusion { k: Some(0), ..Fusion::default() }, 1).unwrap().k, 0);
        for refused in [
            candidates(9),
            candidates(1_001),
            weight(0.0),
            weight(-1.0),
            weight(f64::NAN),
            weight(1.1e6),
            Fusion { k: Some(MAX_K + 1), ..Fusion::default() },
        ] {
            assert_eq!(rule(refused.clone(), 10).unwrap_err(), "invalid_fusion", "{refused:?}");
        }
    }
}
