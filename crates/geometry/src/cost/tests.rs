#![expect(clippy::float_cmp, reason = "these values are exact")]

use super::*;
use crate::IntervalKind;
use proptest::prelude::*;

fn cost(values: [f64; 4]) -> Cost {
    Cost::new(values)
}

fn between(a: [f64; 4], b: [f64; 4]) -> CostInterval {
    interval(cost(a), cost(b), Units::default()).unwrap()
}

#[test]
fn more_time_than_anything_else_is_timelike_and_ordered() {
    let found = between([0.0; 4], [5.0, 0.0, 3.0, 0.0]);
    assert_eq!(found.kind, IntervalKind::Timelike);
    assert!((found.length - 4.0).abs() < 1e-15);
    assert_eq!(found.relation, CausalRelation::Future);
    assert_eq!(between([5.0, 0.0, 3.0, 0.0], [0.0; 4]).relation, CausalRelation::Past);
}

#[test]
fn more_of_the_rest_is_spacelike_and_unrelated() {
    let found = between([1.0; 4], [1.0, 3.0, 3.0, 2.0]);
    assert_eq!(found.kind, IntervalKind::Spacelike);
    assert!((found.length - 3.0).abs() < 1e-15);
    assert_eq!(found.relation, CausalRelation::Unrelated);
}

#[test]
fn the_light_cone_is_lightlike_whatever_rounding_does() {
    let found = between([0.1, 0.2, 0.3, 0.4], [0.1 + 0.3, 0.2 + 0.1, 0.3 + 0.2, 0.4 - 0.2]);
    assert_eq!(found.kind, IntervalKind::Lightlike);
    assert_eq!(found.length, 0.0);
    assert_eq!(found.relation, CausalRelation::Future);
    assert_eq!(between([2.0; 4], [2.0; 4]).relation, CausalRelation::Same);
}

#[test]
fn kind_and_relation_are_right_at_every_size() {
    for size in [5e-324, 1e-310, 1e-163, 1e-100, 1e154, 1e200, 1e308] {
        let found = between([size, 0.0, 0.0, 0.0], [0.0; 4]);
        assert_eq!((found.kind, found.relation), (IntervalKind::Timelike, CausalRelation::Past));
        assert!((found.length / size - 1.0).abs() < 1e-15, "{size:e}: {:e}", found.length);
        let found = between([0.0; 4], [size, 0.0, size, 0.0]);
        assert_eq!((found.kind, found.relation), (IntervalKind::Lightlike, CausalRelation::Future));
        let found = between([size, 0.0, 0.0, 0.0], [0.0, size, size, 0.0]);
        assert_eq!(found.kind, IntervalKind::Spacelike);
        assert_eq!(found.relation, CausalRelation::Unrelated);
        assert!((found.length / size - 1.0).abs() < 1e-15, "{size:e}: {:e}", found.length);
    }
    // The difference overflows, and so does its quotient by the unit, but not both together.
    let (a, b) = (cost([-1e308, 0.0, 0.0, 0.0]), cost([1e308, 0.0, 0.0, 0.0]));
    let error = interval(a, b, Units::default()).unwrap_err();
    assert!(matches!(error, CostError::Overflow { .. }), "{error}");
    assert!(error.to_string().contains("the interval between the costs overflows"), "{error}");
    let coarse = Units(cost([1e10, 1.0, 1.0, 1.0]));
    let found = interval(a, b, coarse).unwrap();
    assert_eq!((found.kind, found.relation), (IntervalKind::Timelike, CausalRelation::Future));
    assert!((found.length / 2e298 - 1.0).abs() < 1e-15);
    let fine = Units(cost([1e-300; 4]));
    let found = interval(cost([0.0; 4]), cost([1e-300, 0.0, 3e-300, 0.0]), fine).unwrap();
    assert!((found.length - 8.0_f64.sqrt()).abs() < 1e-14);
}

#[test]
fn scores_are_finite_or_refused() {
    let request = |weights, units| {
        CostRequest::new(Budget::default(), Weights(cost(weights)), Units(cost(units)))
    };
    let large = [cost([1e308; 4]), cost([1e308, 0.0, 0.0, 0.0])];
    let error = optimise(&large, &CostRequest::default()).unwrap_err();
    assert!(error.to_string().contains("the score of option 0 overflows"), "{error}");
    // The same in units that are large enough, with weights whose products overflow on the way.
    let optimum = optimise(&large, &request([1e10; 4], [1e300; 4])).unwrap();
    let why = optimum.outcomes[0].explain(|other| other);
    assert_eq!(optimum.best, Some(1));
    assert!(why.starts_with("dominated by 1"), "{why}");
    // Terms that cancel.
    let optimum = optimise(&[cost([1e308, 1e308, -1e308, -1e308])], &CostRequest::default());
    assert_eq!(optimum.unwrap().outcomes, [Outcome::Best { score: 0.0 }]);
    let apart = [cost([1e308, 0.0, 0.0, 0.0]), cost([0.0, -1e308, 0.0, 0.0])];
    assert!(optimise(&apart, &CostRequest::default()).is_ok(), "dominated, so no difference");
    let apart = [cost([1.7e308, -1.0, 0.0, 0.0]), cost([0.0, 0.0, -1e308, 0.0])];
    let error = optimise(&apart, &CostRequest::default()).unwrap_err();
    assert!(error.to_string().contains("the difference of option 0"), "{error}");
    let over = CostRequest::new(Budget(cost([-1e308; 4])), Weights::default(), Units::default());
    let error = optimise(&[cost([1e308, 0.0, 0.0, 0.0])], &over).unwrap_err();
    assert!(error.to_string().contains("the excess of option 0 in time"), "{error}");
    let optimum = optimise(
        &[cost([1e200, 2.0, 0.0, 0.0]), cost([2e200, 1.0, 0.0, 0.0])],
        &CostRequest::default(),
    )
    .unwrap();
    let why = optimum.outcomes[1].explain(|other| other);
    assert_eq!(why, "the score of 2e200 is worse than the best by 1e200");
}

#[test]
fn units_decide_what_is_timelike() {
    let (a, b) = (cost([0.0; 4]), cost([2.0, 1.0, 0.0, 0.0]));
    let coarse = Units(cost([4.0, 1.0, 1.0, 1.0]));
    assert_eq!(interval(a, b, Units::default()).unwrap().kind, IntervalKind::Timelike);
    assert_eq!(interval(a, b, coarse).unwrap().kind, IntervalKind::Spacelike);
}

#[test]
fn every_loser_is_told_why() {
    let options = [
        cost([1.0, 9.0, 1.0, 1.0]), // fast, much memory
        cost([4.0, 2.0, 1.0, 1.0]), // the best
        cost([5.0, 2.0, 1.0, 1.0]), // the best, but slower
        cost([2.0, 2.0, 1.0, 6.5]), // too dear
        cost([9.0, 1.0, 0.5, 0.5]), // slow and frugal
    ];
    let budget = Budget(cost([f64::INFINITY, 10.0, 10.0, 5.0]));
    let request = CostRequest::new(budget, Weights::default(), Units::default());
    let optimum = optimise(&options, &request).unwrap();
    assert_eq!(optimum.best, Some(1));
    assert_eq!(optimum.admissible, [0, 1, 2, 4]);
    assert_eq!(optimum.front, [0, 1, 4]);
    let excess = Excess { name: "money", cost: 6.5, limit: 5.0, over: 1.5 };
    assert_eq!(
        optimum.outcomes,
        [
            Outcome::WorseScore { score: 12.0, by: 4.0, best_is: CausalRelation::Unrelated },
            Outcome::Best { score: 8.0 },
            Outcome::Dominated { by: 1, score: 9.0 },
            Outcome::OverBudget { excesses: vec![excess] },
            Outcome::WorseScore { score: 11.0, by: 3.0, best_is: CausalRelation::Past },
        ]
    );
    let names = ["fast", "best", "slower", "dear", "frugal"];
    let why = |option: usize| optimum.outcomes[option].explain(|other| names[other]);
    assert_eq!(why(2), "dominated by best: no better in anything, worse in something");
    assert_eq!(why(3), "money 6.5 is over the budget of 5 by 1.5");
    assert_eq!(why(4), "the score of 11 is worse than the best by 3");
}

#[test]
fn the_budget_itself_is_within_the_budget() {
    let request =
        CostRequest { budget: Budget(cost([1.0, 2.0, 3.0, 4.0])), ..CostRequest::default() };
    let options = [cost([1.0, 2.0, 3.0, 4.0]), cost([1.0, 2.0, 3.0, 4.000_000_1])];
    assert_eq!(optimise(&options, &request).unwrap().admissible, [0]);
}

#[test]
fn nothing_within_the_budget_is_an_answer() {
    let request = CostRequest { budget: Budget(cost([0.5; 4])), ..CostRequest::default() };
    let optimum = optimise(&[cost([1.0; 4])], &request).unwrap();
    assert_eq!(optimum.best, None);
    assert!(optimum.front.is_empty());
    assert!(
        matches!(&optimum.outcomes[0], Outcome::OverBudget { excesses } if excesses.len() == 4)
    );
}

#[test]
fn equal_options_both_stay_and_the_first_wins() {
    let options = [cost([2.0, 1.0, 1.0, 1.0]), cost([1.0; 4]), cost([1.0; 4])];
    let optimum = optimise(&options, &CostRequest::default()).unwrap();
    assert_eq!(optimum.best, Some(1));
    assert_eq!(optimum.front, [1, 2]);
    let why = optimum.outcomes[2].explain(|option| option);
    assert_eq!(why, "the score of 4 only equals that of the best, which came first");
}

#[test]
fn a_weight_of_zero_still_chooses_from_the_front() {
    let weights = Weights(cost([1.0, 0.0, 0.0, 0.0]));
    let request = CostRequest { weights, ..CostRequest::default() };
    let options = [cost([1.0, 9.0, 1.0, 1.0]), cost([1.0, 2.0, 1.0, 1.0])];
    let optimum = optimise(&options, &request).unwrap();
    assert_eq!(optimum.best, Some(1));
}

#[test]
fn unusable_numbers_are_named() {
    let good = CostRequest::default();
    let error = optimise(&[cost([1.0, f64::NAN, 1.0, 1.0])], &good).unwrap_err();
    assert_eq!(error.to_string(), "the memory of option 0 is NaN: costs are finite numbers");
    assert_eq!(optimise(&[], &good).unwrap_err(), CostError::NoOptions);
    let weights = Weights(cost([1.0, 1.0, -1.0, 1.0]));
    let error = optimise(&[cost([1.0; 4])], &CostRequest { weights, ..good }).unwrap_err();
    assert_eq!(error, CostError::Weight { name: "energy", value: -1.0 });
    let units = Units(cost([1.0, 1.0, 1.0, 0.0]));
    let error = optimise(&[cost([1.0; 4])], &CostRequest { units, ..good }).unwrap_err();
    assert_eq!(error, CostError::Unit { name: "money", value: 0.0 });
    let budget = Budget(cost([f64::NAN, 1.0, 1.0, 1.0]));
    let error = optimise(&[cost([1.0; 4])], &CostRequest { budget, ..good }).unwrap_err();
    assert_eq!(error, CostError::Budget { name: "time" });
    let many = vec![cost([1.0; 4]); MAX_OPTIONS + 1];
    assert!(matches!(optimise(&many, &good), Err(CostError::TooManyOptions { .. })));
}

fn any_cost() -> impl Strategy<Value = Cost> {
    prop::array::uniform4((0u8..6).prop_map(f64::from)).prop_map(Cost::new)
}

proptest! {
    #[test]
    fn the_front_is_what_nothing_admissible_dominates(
        options in prop::collection::vec(any_cost(), 1..30),
        limits in any_cost(),
        weights in any_cost(),
    ) {
        let request = CostRequest::new(Budget(limits), Weights(weights), Units::default());
        let optimum = optimise(&options, &request).unwrap();
        for (option, own) in options.iter().enumerate() {
            let admissible = optimum.admissible.contains(&option);
            let dominated =
                optimum.admissible.iter().any(|&other| options[other].dominates(*own));
            prop_assert_eq!(optimum.front.contains(&option), admissible && !dominated);
            prop_assert_eq!(
                matches!(&optimum.outcomes[option], Outcome::Best { .. }),
                optimum.best == Some(option)
            );
        }
        if let Some(best) = optimum.best {
            prop_assert!(optimum.front.contains(&best));
            for &other in &optimum.admissible {
                prop_assert!(score(options[best], &request) <= score(options[other], &request));
            }
        }
    }

    #[test]
    fn the_front_lists_the_causal_past_first(
        options in prop::collection::vec(any_cost(), 1..30),
    ) {
        let optimum = optimise(&options, &CostRequest::default()).unwrap();
        for (place, &option) in optimum.front.iter().enumerate() {
            for &later in &optimum.front[place + 1..] {
                let found = interval(options[option], options[later], Units::default()).unwrap();
                prop_assert_ne!(found.relation, CausalRelation::Past);
            }
        }
    }

    #[test]
    fn timelike_chains_obey_the_reverse_triangle_inequality(
        a in any_cost(), b in any_cost(), c in any_cost(),
    ) {
        let units = Units::default();
        let (ab, bc) = (interval(a, b, units).unwrap(), interval(b, c, units).unwrap());
        let is_future = |found: &CostInterval| found.relation == CausalRelation::Future;
        if is_future(&ab) && is_future(&bc) {
            let ac = interval(a, c, units).unwrap();
            prop_assert!(is_future(&ac));
            prop_assert!(ac.length >= (ab.length + bc.length) * (1.0 - 1e-12));
        }
    }
}

fn extreme() -> impl Strategy<Value = f64> {
    let ends = prop::sample::select(vec![
        0.0,
        1.0,
        1e300,
        1e-300,
        1e163,
        1e-163,
        5e-324,
        3e-310,
        f64::MAX,
        f64::MIN_POSITIVE,
    ]);
    (ends, any::<bool>()).prop_map(|(size, negative)| if negative { -size } else { size })
}

proptest! {
    /// Whatever finite numbers are given, the answer is finite, or an error.
    #[test]
    fn finite_costs_have_finite_answers_or_none(
        costs in prop::collection::vec(prop::array::uniform4(extreme()), 2..5),
        weights in prop::array::uniform4(extreme()),
        units in prop::array::uniform4(extreme()),
        limits in prop::array::uniform4(extreme()),
    ) {
        let units = Units(cost(units.map(|unit| unit.abs().max(5e-324))));
        let options: Vec<Cost> = costs.iter().copied().map(cost).collect();
        if let Ok(found) = interval(options[0], options[1], units) {
            prop_assert!(found.length.is_finite());
            let back = interval(options[1], options[0], units).unwrap();
            prop_assert_eq!(found.kind, back.kind);
        }
        for budget in [Budget::default(), Budget(cost(limits))] {
            let request = CostRequest::new(budget, Weights(cost(weights.map(f64::abs))), units);
            let Ok(optimum) = optimise(&options, &request) else { continue };
            for outcome in &optimum.outcomes {
                let text = outcome.explain(|other| other);
                prop_assert!(!text.contains("inf") && !text.contains("NaN"), "{}", text);
            }
        }
    }
}
