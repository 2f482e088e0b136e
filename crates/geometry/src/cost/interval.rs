//! The interval between two costs.

use std::cmp::Ordering;

use super::{Cost, CostError, Units, check_cost, check_overflow, check_units};
use crate::numeric::{exponent, ldexp};
use crate::{CausalRelation, IntervalKind};

/// The interval between two costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CostInterval {
    /// √|−Δτ² + Δμ² + Δε² + Δ$²|, in units: proper time if timelike, proper length if spacelike, 0
    /// if lightlike.
    pub length: f64,
    /// Timelike if more time lies between the costs than anything else, spacelike if less.
    pub kind: IntervalKind,
    /// How the second lies to the first in the causal order.
    pub relation: CausalRelation,
}

/// Relative tolerance of lightlike: a difference this close to the light cone lies on it.
const ON_THE_CONE: f64 = 16.0 * f64::EPSILON;

/// The interval from `a` to `b`, in `units`, and its kind. Kind and relation are right for costs of
/// any size.
///
/// # Errors
/// Costs that are not finite, units that are not positive, and a length that overflows.
pub fn interval(a: Cost, b: Cost, units: Units) -> Result<CostInterval, CostError> {
    check_units(units)?;
    check_cost(a, || "the first cost".to_owned())?;
    check_cost(b, || "the second cost".to_owned())?;
    let interval = interval_unchecked(a, b, units);
    check_overflow(interval.length, || "the interval between the costs".to_owned())?;
    Ok(interval)
}

/// The interval, with a length that is infinite if it overflows.
pub(super) fn interval_unchecked(a: Cost, b: Cost, units: Units) -> CostInterval {
    let mut gaps = [(0.0, 0); 4];
    let pairs = a.to_array().into_iter().zip(b.to_array()).zip(units.0.to_array());
    for (gap, ((from, to), unit)) in gaps.iter_mut().zip(pairs) {
        *gap = gap_in_units(from, to, unit);
    }
    // Everything over the power of two of the largest: squares neither over- nor underflow, but
    // for what is too small beside the largest to count.
    let sizes = gaps.iter().filter(|(gap, _)| *gap != 0.0).map(|(_, power)| *power);
    let power = sizes.max().unwrap_or(0);
    let [time, memory, energy, money] = gaps.map(|(gap, own)| ldexp(gap, own - power));
    let rest = memory.hypot(energy).hypot(money);
    // Factored, so that differences close to the light cone do not cancel.
    let (gap, sum) = (rest - time.abs(), rest + time.abs());
    let kind = if gap.abs() <= ON_THE_CONE * rest.max(time.abs()) {
        IntervalKind::Lightlike
    } else if gap < 0.0 {
        IntervalKind::Timelike
    } else {
        IntervalKind::Spacelike
    };
    let relation = match (kind, time.partial_cmp(&0.0)) {
        (IntervalKind::Spacelike, _) => CausalRelation::Unrelated,
        (_, Some(Ordering::Greater)) => CausalRelation::Future,
        (_, Some(Ordering::Less)) => CausalRelation::Past,
        _ => CausalRelation::Same,
    };
    let length = match kind {
        IntervalKind::Lightlike => 0.0,
        _ => ldexp(gap.abs().sqrt() * sum.sqrt(), power),
    };
    CostInterval { length, kind, relation }
}

/// `(to - from)/unit` as a number between 1/2 and 2 (or zero) and the power of two it stands
/// before: the quotient itself may overflow, as the difference may.
fn gap_in_units(from: f64, to: f64, unit: f64) -> (f64, i32) {
    let plain = to - from;
    let (gap, halvings) = if plain.is_finite() { (plain, 0) } else { (to / 2.0 - from / 2.0, 1) };
    let (gap_power, unit_power) = (exponent(gap), exponent(unit));
    (ldexp(gap, -gap_power) / ldexp(unit, -unit_power), gap_power - unit_power + halvings)
}
