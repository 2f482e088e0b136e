//! Cost space: what an option costs in time τ, memory μ, energy ε and money $.
//!
//! A cost is a point of flat Minkowski space with ds² = −dτ² + dμ² + dε² + d$², after each of the
//! four has been divided by its unit ([`Units`]): without units chosen by the caller, seconds and
//! dollars could not be added. Less is better everywhere.
//!
//! Two orders live here, and they answer different questions. *Domination* compares all four costs:
//! an option that is no worse in any and better in one makes the other pointless. The *causal
//! order* compares events: b lies in the causal future of a if it is later by at least as much, in
//! units, as it is away in memory, energy and money together, so that the interval between them is
//! timelike or lightlike. [`optimise`] uses domination for its front, and lists the front from past
//! to future, see there.

use std::cmp::Ordering;

use crate::CausalRelation;
use crate::numeric::{Shown, exponent, exponent_of, ldexp};

mod interval;
#[cfg(test)]
mod tests;

use interval::interval_unchecked;
pub use interval::{CostInterval, interval};

/// The names of the four costs, in order.
pub const COST_NAMES: [&str; 4] = ["time", "memory", "energy", "money"];

/// What something costs: time, memory, energy and money.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Time τ.
    pub time: f64,
    /// Memory μ.
    pub memory: f64,
    /// Energy ε.
    pub energy: f64,
    /// Money $.
    pub money: f64,
}

impl Cost {
    /// Time, memory, energy, money.
    pub fn new([time, memory, energy, money]: [f64; 4]) -> Self {
        Self { time, memory, energy, money }
    }

    /// Time, memory, energy, money.
    pub fn to_array(self) -> [f64; 4] {
        [self.time, self.memory, self.energy, self.money]
    }

    /// Whether this cost is at most the other in all four, and less in at least one.
    pub fn dominates(self, other: Self) -> bool {
        let pairs = || self.to_array().into_iter().zip(other.to_array());
        pairs().all(|(own, other)| own <= other) && pairs().any(|(own, other)| own < other)
    }
}

/// How much of each cost counts as one: 1 s, 1 GiB, 1 J, 1 $, for example. Positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Units(
    /// One unit of time, memory, energy and money, in the numbers that costs are given in.
    pub Cost,
);

impl Default for Units {
    /// Costs are given in their units already.
    fn default() -> Self {
        Self(Cost::new([1.0; 4]))
    }
}

/// Why costs cannot be compared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CostError {
    /// A cost is not a finite number.
    #[error("the {name} of {which} is {value}: costs are finite numbers")]
    NotFinite {
        /// Which of the four.
        name: &'static str,
        /// Whose it is.
        which: String,
        /// The value found.
        value: f64,
    },
    /// A unit is zero, negative or not finite.
    #[error("the unit of {name} is {value}: units are positive finite numbers")]
    Unit {
        /// Which of the four.
        name: &'static str,
        /// The value found.
        value: f64,
    },
    /// A weight is negative or not finite.
    #[error("the weight of {name} is {value}: weights are finite numbers of at least 0")]
    Weight {
        /// Which of the four.
        name: &'static str,
        /// The value found.
        value: f64,
    },
    /// A limit of the budget is not a number.
    #[error("the budget for {name} is not a number: leave it out or use infinity for no limit")]
    Budget {
        /// Which of the four.
        name: &'static str,
    },
    /// A result is larger than the largest number of f64.
    #[error("{what} overflows: it is beyond the largest number of f64")]
    Overflow {
        /// What overflows.
        what: String,
    },
    /// There is nothing to choose from.
    #[error("there are no options to choose from")]
    NoOptions,
    /// More options than are compared with one another.
    #[error("{found} options: at most {limit} are compared with one another")]
    TooManyOptions {
        /// How many were given.
        found: usize,
        /// How many are allowed.
        limit: usize,
    },
}

/// How many options [`optimise`] takes: it compares all pairs.
pub const MAX_OPTIONS: usize = 10_000;

/// The most that may be spent of each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget(
    /// The limits, themselves still allowed; infinity for none.
    pub Cost,
);

impl Default for Budget {
    /// No limits.
    fn default() -> Self {
        Self(Cost::new([f64::INFINITY; 4]))
    }
}

/// What matters in a choice.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct CostRequest {
    /// Options that cost more of anything are not admissible.
    pub budget: Budget,
    /// How much a unit of each is worth; the score is Σ weight · cost / unit.
    pub weights: Weights,
    /// What counts as one unit.
    pub units: Units,
}

impl CostRequest {
    /// A request with these limits, weights and units.
    pub fn new(budget: Budget, weights: Weights, units: Units) -> Self {
        Self { budget, weights, units }
    }
}

/// How much a unit of each cost is worth; at least 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights(
    /// The weight of time, memory, energy and money.
    pub Cost,
);

impl Default for Weights {
    /// One each.
    fn default() -> Self {
        Self(Cost::new([1.0; 4]))
    }
}

/// The outcome of [`optimise`]. Options are named by their position in the input.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Optimum {
    /// The admissible option with the lowest score; the first of several. Nothing if none is
    /// within the budget.
    pub best: Option<usize>,
    /// The options within the budget, in the order of the input.
    pub admissible: Vec<usize>,
    /// The admissible options that no admissible option dominates, from past to future.
    pub front: Vec<usize>,
    /// What became of each option, in the order of the input.
    pub outcomes: Vec<Outcome>,
}

/// What became of an option.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// It is the best.
    Best {
        /// Its score.
        score: f64,
    },
    /// It costs more than the budget allows.
    OverBudget {
        /// What it exceeds, and by how much.
        excesses: Vec<Excess>,
    },
    /// Another admissible option is no worse in anything and better in something.
    Dominated {
        /// That option: the dominating one with the lowest score.
        by: usize,
        /// Its own score.
        score: f64,
    },
    /// It is on the front, but under the weights another is better.
    WorseScore {
        /// Its own score.
        score: f64,
        /// By how much that is above the best score; 0 if it lost a tie to an earlier option.
        by: f64,
        /// How the best option lies to it in the causal order.
        best_is: CausalRelation,
    },
}

/// A limit that was exceeded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Excess {
    /// Which of the four.
    pub name: &'static str,
    /// What the option costs.
    pub cost: f64,
    /// What the budget allows.
    pub limit: f64,
    /// The difference.
    pub over: f64,
}

impl std::fmt::Display for Excess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {} is over the budget of {} by {}",
            self.name,
            Shown(&self.cost),
            Shown(&self.limit),
            Shown(&self.over)
        )
    }
}

impl Outcome {
    /// Why the option lost, or that it won, in a sentence. `name` gives the name of an option.
    pub fn explain<N: std::fmt::Display>(&self, name: impl Fn(usize) -> N) -> String {
        match self {
            Self::Best { score } => format!("the best, with a score of {}", Shown(score)),
            Self::OverBudget { excesses } => {
                excesses.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            }
            Self::Dominated { by, .. } => {
                format!("dominated by {}: no better in anything, worse in something", name(*by))
            }
            Self::WorseScore { score, by, .. } if *by <= 0.0 => {
                let score = Shown(score);
                format!("the score of {score} only equals that of the best, which came first")
            }
            Self::WorseScore { score, by, .. } => {
                format!("the score of {} is worse than the best by {}", Shown(score), Shown(by))
            }
        }
    }
}

/// Chooses among options that each have a cost.
///
/// - *Admissible* are the options within the budget in all four costs.
/// - The *front* holds the admissible options that none dominates ([`Cost::dominates`]). It
///   respects the causal order: options are listed by time (then by memory, energy and money), so
///   each comes after all options of the front in its causal past. Where a later one lies in the
///   causal future of an earlier, it takes at least one unit of time for each unit by which they
///   differ in the rest; where the interval is spacelike, less.
/// - The *best* has the lowest weighted score. With weights above 0 it is always on the front; with
///   a weight of 0 ties are decided for an option of the front.
///
/// # Errors
/// No or too many options, costs or weights that are not finite, negative weights, limits that are
/// not numbers, units that are not positive; scores of admissible options, and differences of
/// scores or to limits, that overflow.
pub fn optimise(options: &[Cost], request: &CostRequest) -> Result<Optimum, CostError> {
    check(options, request)?;
    let scores: Vec<f64> = options.iter().map(|cost| score(*cost, request)).collect();
    let score_of = |option: usize| scores.get(option).copied().unwrap_or(f64::INFINITY);
    let cost_of = |option: usize| options.get(option).copied().unwrap_or(request.budget.0);

    let excesses: Vec<Vec<Excess>> =
        options.iter().map(|cost| excesses(*cost, request.budget)).collect();
    let admissible: Vec<usize> = excesses
        .iter()
        .enumerate()
        .filter(|(_, excesses)| excesses.is_empty())
        .map(|(option, _)| option)
        .collect();
    for &option in &admissible {
        check_overflow(score_of(option), || format!("the score of option {option}"))?;
    }
    let dominated_by = |option: usize| {
        admissible
            .iter()
            .copied()
            .filter(|&other| cost_of(other).dominates(cost_of(option)))
            .min_by(|&a, &b| score_of(a).total_cmp(&score_of(b)))
    };
    let dominators: Vec<Option<usize>> = excesses
        .iter()
        .enumerate()
        .map(|(option, excesses)| if excesses.is_empty() { dominated_by(option) } else { None })
        .collect();
    let mut front: Vec<usize> = admissible
        .iter()
        .copied()
        .filter(|&option| dominators.get(option) == Some(&None))
        .collect();
    let best =
        front.iter().copied().min_by(|&a, &b| score_of(a).total_cmp(&score_of(b)).then(a.cmp(&b)));
    front.sort_by(|&a, &b| past_to_future(cost_of(a), cost_of(b)));

    let outcome = |(option, (excesses, dominator)): (usize, (Vec<Excess>, Option<usize>))| {
        let score = score_of(option);
        match (best, dominator) {
            _ if !excesses.is_empty() => Outcome::OverBudget { excesses },
            (_, Some(by)) => Outcome::Dominated { by, score },
            (Some(best), None) if best != option => Outcome::WorseScore {
                score,
                by: score - score_of(best),
                best_is: interval_unchecked(cost_of(option), cost_of(best), request.units).relation,
            },
            _ => Outcome::Best { score },
        }
    };
    let outcomes: Vec<Outcome> =
        excesses.into_iter().zip(dominators).enumerate().map(outcome).collect();
    check_outcomes(&outcomes)?;
    Ok(Optimum { best, admissible, front, outcomes })
}

fn past_to_future(a: Cost, b: Cost) -> Ordering {
    let pairs = a.to_array().into_iter().zip(b.to_array());
    pairs.map(|(a, b)| a.total_cmp(&b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Infinite if it overflows, however large the terms that cancel on the way.
fn score(cost: Cost, request: &CostRequest) -> f64 {
    let mut terms = [0.0; 4];
    let factors = cost.to_array().into_iter().zip(request.weights.0.to_array());
    for (term, ((cost, weight), unit)) in
        terms.iter_mut().zip(factors.zip(request.units.0.to_array()))
    {
        let [c, w, u] = [cost, weight, unit].map(exponent);
        *term = ldexp(ldexp(weight, -w) * ldexp(cost, -c) / ldexp(unit, -u), w + c - u);
    }
    let sum: f64 = terms.iter().sum();
    if sum.is_finite() {
        return sum;
    }
    let power = exponent_of(&terms);
    ldexp(terms.iter().map(|term| ldexp(*term, -power)).sum(), power)
}

fn excesses(cost: Cost, budget: Budget) -> Vec<Excess> {
    COST_NAMES
        .into_iter()
        .zip(cost.to_array())
        .zip(budget.0.to_array())
        .filter(|((_, cost), limit)| cost > limit)
        .map(|((name, cost), limit)| Excess { name, cost, limit, over: cost - limit })
        .collect()
}

fn check(options: &[Cost], request: &CostRequest) -> Result<(), CostError> {
    if options.is_empty() {
        return Err(CostError::NoOptions);
    }
    if options.len() > MAX_OPTIONS {
        return Err(CostError::TooManyOptions { found: options.len(), limit: MAX_OPTIONS });
    }
    check_units(request.units)?;
    for (name, value) in COST_NAMES.into_iter().zip(request.weights.0.to_array()) {
        if !value.is_finite() || value < 0.0 {
            return Err(CostError::Weight { name, value });
        }
    }
    for (name, value) in COST_NAMES.into_iter().zip(request.budget.0.to_array()) {
        if value.is_nan() {
            return Err(CostError::Budget { name });
        }
    }
    for (option, cost) in options.iter().enumerate() {
        check_cost(*cost, || format!("option {option}"))?;
    }
    Ok(())
}

/// That no number in an explanation is without bounds, unless the caller's limit was.
fn check_outcomes(outcomes: &[Outcome]) -> Result<(), CostError> {
    for (option, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Outcome::OverBudget { excesses } => {
                for Excess { name, limit, over, .. } in excesses {
                    if limit.is_finite() {
                        let what = || format!("the excess of option {option} in {name}");
                        check_overflow(*over, what)?;
                    }
                }
            }
            Outcome::WorseScore { by, .. } => {
                check_overflow(*by, || format!("the difference of option {option} to the best"))?;
            }
            Outcome::Best { .. } | Outcome::Dominated { .. } => {}
        }
    }
    Ok(())
}

fn check_overflow(value: f64, what: impl Fn() -> String) -> Result<(), CostError> {
    if value.is_finite() {
        return Ok(());
    }
    Err(CostError::Overflow { what: what() })
}

fn check_units(units: Units) -> Result<(), CostError> {
    for (name, value) in COST_NAMES.into_iter().zip(units.0.to_array()) {
        if !value.is_finite() || value <= 0.0 {
            return Err(CostError::Unit { name, value });
        }
    }
    Ok(())
}

fn check_cost(cost: Cost, which: impl Fn() -> String) -> Result<(), CostError> {
    for (name, value) in COST_NAMES.into_iter().zip(cost.to_array()) {
        if !value.is_finite() {
            return Err(CostError::NotFinite { name, which: which(), value });
        }
    }
    Ok(())
}
