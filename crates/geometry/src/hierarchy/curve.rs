//! Caps that hold given arcs of the trigonometric moment curve, and nothing else of it.
//!
//! The curve θ(t) = (c₁ cos t, c₁ sin t, c₂ cos 2t, c₂ sin 2t, …), Σ cₖ² = 1, lies on the unit
//! sphere. A linear function of the sphere's points is, along the curve, a trigonometric polynomial
//! of the degree K of the curve, and such a polynomial can be positive on any K arcs and negative
//! elsewhere. So in 2K dimensions one cap can hold K separate arcs, however far apart: what a node
//! with descendants in several branches needs.

use std::f64::consts::TAU;

use super::arcs::Arc;
use super::directions::dot;

/// cₖ² is proportional to its k-th power. It gives caps over one arc that grow with the arc, and
/// high harmonics enough weight for several arcs at moderate angles.
const DECAY: f64 = 0.6;

/// The part of the circle that is used, in radians; the rest keeps the ends apart.
const USED: f64 = 3.0;

/// How much of the half-width at which a cap over one arc would be a hemisphere is used.
const WIDEST: f64 = 0.995;

/// Higher harmonics have next to no weight.
const MOST_HARMONICS: usize = 16;

/// At how many places a cap over several arcs is checked.
const CHECKS: u32 = 400;

/// Shares of the polynomial without further zeros that are tried, smallest first, to make the
/// tightest cap valid.
const BLENDS: [f64; 8] = [0.0, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0];

/// The most by which an arc is shortened at either end, in slots.
pub(super) const MOST_INSET: f64 = 0.4;

/// The highest degree of the polynomial that evens out slopes: a higher one is so close to zero on
/// the far side of the circle that rounding decides its sign.
const EVENING: i32 = 3;

/// A cap of the unit sphere.
#[derive(Debug, Clone)]
pub(super) struct Cap {
    pub(super) centre: Vec<f64>,
    /// 1 − cos ρ for the half-angle ρ.
    pub(super) depth: f64,
}

impl Cap {
    /// What tells it from other caps.
    pub(super) fn bits(&self) -> Vec<u64> {
        self.centre.iter().chain([&self.depth]).map(|x| x.to_bits()).collect()
    }
}

/// The curve with the slots of all nodes on it.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    /// cₖ for k = 1, 2, …
    amplitudes: Vec<f64>,
    /// The width of a slot.
    step: f64,
    /// Parameters and points at which caps are checked.
    checks: Vec<(f64, Vec<f64>)>,
}

/// An arc in radians.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    middle: f64,
    half: f64,
}

impl Stretch {
    fn holds(self, t: f64) -> bool {
        (t - self.middle).abs() <= self.half
    }

    fn scaled(self, factor: f64) -> Self {
        Self { half: self.half * factor, ..self }
    }
}

/// A function on the sphere in the coordinates of the curve: ⟨weights, θ⟩ − 1.
struct Function {
    weights: Vec<f64>,
}

/// How many arcs one cap can hold.
pub(super) fn harmonics(dimension: usize) -> usize {
    (dimension / 2).clamp(1, MOST_HARMONICS)
}

impl Curve {
    /// The curve in `dimension` dimensions with `slots` slots, of which no cap needs to hold more
    /// than `widest` in a row.
    pub(super) fn new(dimension: usize, slots: usize, widest: u32) -> Self {
        let mut amplitudes = vec![DECAY.sqrt(); harmonics(dimension)];
        for (amplitude, power) in amplitudes.iter_mut().zip(1..) {
            *amplitude = amplitude.powi(power);
        }
        let norm = dot(&amplitudes, &amplitudes).sqrt();
        for amplitude in &mut amplitudes {
            *amplitude /= norm;
        }
        let slots = slots.max(1) as f64;
        let mut curve = Self { amplitudes, step: 0.0, checks: Vec::new() };
        let used = (2.0 * curve.widest_half() * slots / f64::from(widest.max(1))).min(USED);
        curve.step = used / slots;
        curve.checks = (0..CHECKS)
            .map(|check| used * f64::from(check) / f64::from(CHECKS - 1))
            .map(|t| (t, curve.point(t)))
            .collect();
        curve
    }

    fn harmonics(&self) -> usize {
        self.amplitudes.len()
    }

    /// The cap that holds the arcs, or if none does with the numbers at hand, the widest of them.
    ///
    /// Nodes are in the middle of their slots; each arc is `inset` slots, below a half, shorter at
    /// either end.
    pub(super) fn cap(&self, arcs: &[Arc], inset: f64) -> Cap {
        let inset = inset * self.step;
        let stretches: Vec<Stretch> = arcs
            .iter()
            .map(|arc| self.stretch(*arc))
            .map(|stretch| Stretch { half: stretch.half - inset, ..stretch })
            .collect();
        if (2..=self.harmonics()).contains(&stretches.len())
            && let Some(cap) = self.cap_over_several(&stretches)
        {
            return cap;
        }
        let widest = stretches.into_iter().max_by(|a, b| a.half.total_cmp(&b.half));
        self.cap_over_one(widest.unwrap_or(Stretch { middle: 0.0, half: self.step / 2.0 }))
    }

    /// The radius of the points with the narrowest caps.
    pub(super) fn largest_radius(&self) -> f64 {
        let cap = self.cap(&[Arc { first: 0, end: 1 }], MOST_INSET);
        ((2.0 - cap.depth) / cap.depth).ln()
    }

    /// The largest half-width of an arc whose cap is smaller than a hemisphere.
    fn widest_half(&self) -> f64 {
        let shared = |half: f64| {
            let orders = self.amplitudes.iter().zip(1u32..);
            orders.map(|(a, order)| a * a * (f64::from(order) * half).cos()).sum::<f64>()
        };
        let (mut inside, mut outside) = (0.0, TAU / 4.0);
        for _ in 0..50 {
            let middle = f64::midpoint(inside, outside);
            if shared(middle) > 0.0 {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        WIDEST * inside
    }

    fn stretch(&self, arc: Arc) -> Stretch {
        Stretch {
            middle: self.step * f64::midpoint(f64::from(arc.first), f64::from(arc.end)),
            half: self.step * f64::from(arc.width()) / 2.0,
        }
    }

    fn point(&self, t: f64) -> Vec<f64> {
        self.harmonic_pairs(t, |amplitude, _| amplitude)
    }

    /// (aₖ cos kt, aₖ sin kt) with aₖ made from cₖ and k.
    fn harmonic_pairs(&self, t: f64, scaled: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let mut pairs = Vec::with_capacity(2 * self.amplitudes.len());
        for (amplitude, order) in self.amplitudes.iter().zip(1u32..) {
            let (sin, cos) = (f64::from(order) * t).sin_cos();
            let scale = scaled(*amplitude, f64::from(order));
            pairs.extend([scale * cos, scale * sin]);
        }
        pairs
    }

    fn cap_over_one(&self, stretch: Stretch) -> Cap {
        // 1 − ⟨θ(t), θ(t + h)⟩ without cancellation.
        let depth: f64 = self
            .amplitudes
            .iter()
            .zip(1u32..)
            .map(|(amplitude, order)| {
                let sin = (f64::from(order) * stretch.half / 2.0).sin();
                2.0 * amplitude * amplitude * sin * sin
            })
            .sum();
        Cap { centre: self.point(stretch.middle), depth: depth.min(1.0) }
    }

    fn cap_over_several(&self, stretches: &[Stretch]) -> Option<Cap> {
        let tight = self.tight(stretches);
        let safe = self.safe(stretches);
        for share in BLENDS {
            let function = match (&tight, &safe) {
                (Some(tight), Some(safe)) => tight.blend(safe, share),
                (Some(only), None) | (None, Some(only)) => {
                    Function { weights: only.weights.clone() }
                }
                (None, None) => return None,
            };
            let norm = dot(&function.weights, &function.weights).sqrt();
            // The last one has no zeros but those wanted, whatever rounding makes of the checks.
            let separates = share >= 1.0 || self.separates(&function, stretches);
            if norm > 1.0 && norm.is_finite() && separates {
                let centre = function.weights.iter().map(|weight| weight / norm).collect();
                return Some(Cap { centre, depth: 1.0 - 1.0 / norm });
            }
        }
        None
    }

    /// The smallest cap with the ends of all arcs on its edge. It may hold more of the curve.
    ///
    /// The weights are a combination of the ends' points, written as half sum and half difference
    /// per arc, since the ends themselves are almost the same.
    fn tight(&self, stretches: &[Stretch]) -> Option<Function> {
        let mut basis: Vec<Vec<f64>> = Vec::with_capacity(2 * stretches.len());
        for stretch in stretches {
            let half = stretch.half;
            basis.push(self.harmonic_pairs(stretch.middle, |amplitude, order| {
                amplitude * (order * half).cos()
            }));
            let mut difference = self.harmonic_pairs(stretch.middle, |amplitude, order| {
                amplitude * (order * half).sin() / half
            });
            for pair in difference.chunks_exact_mut(2) {
                if let [cos, sin] = pair {
                    (*cos, *sin) = (-*sin, *cos);
                }
            }
            basis.push(difference);
        }
        let rows = basis
            .iter()
            .zip([1.0, 0.0].into_iter().cycle())
            .map(|(vector, wanted)| {
                basis.iter().map(|other| dot(vector, other)).chain([wanted]).collect()
            })
            .collect();
        let shares = solve(rows)?;
        let mut weights = vec![0.0; 2 * self.harmonics()];
        for (share, vector) in shares.iter().zip(&basis) {
            for (weight, x) in weights.iter_mut().zip(vector) {
                *weight += share * x;
            }
        }
        Some(Function { weights })
    }

    /// The product of −(cos h − cos(t − m)) over all arcs, which changes its sign at their ends
    /// only, times a positive polynomial that evens out its slopes there.
    fn safe(&self, stretches: &[Stretch]) -> Option<Function> {
        let spare = i32::try_from(self.harmonics() - stretches.len()).ok()?.min(EVENING);
        let slopes: Vec<f64> = stretches
            .iter()
            .enumerate()
            .map(|(place, own)| {
                let others = stretches.iter().enumerate().filter(|(other, _)| *other != place);
                others.map(|(_, other)| 1.0 - (own.middle - other.middle).cos()).product()
            })
            .collect();
        let value = |t: f64| {
            let mut product = -1.0;
            let mut evened = 0.0;
            for (stretch, slope) in stretches.iter().zip(&slopes) {
                let from = t - stretch.middle;
                product *= 2.0
                    * f64::midpoint(from, -stretch.half).sin()
                    * f64::midpoint(from, stretch.half).sin();
                evened += (from / 2.0).cos().powi(2 * spare) / slope;
            }
            product * evened
        };
        let count = u32::try_from(4 * self.harmonics()).ok()?;
        let times = (0..count).map(|sample| TAU * f64::from(sample) / f64::from(count));
        let samples: Vec<(f64, f64)> = times.map(|t| (t, value(t))).collect();
        let mean = samples.iter().map(|(_, value)| value).sum::<f64>() / f64::from(count);
        let mut weights = Vec::with_capacity(2 * self.harmonics());
        for (amplitude, order) in self.amplitudes.iter().zip(1u32..) {
            let (mut cos_sum, mut sin_sum) = (0.0, 0.0);
            for (t, value) in &samples {
                let (sin, cos) = (f64::from(order) * t).sin_cos();
                cos_sum += value * cos;
                sin_sum += value * sin;
            }
            let scale = 2.0 / f64::from(count) / amplitude / -mean;
            weights.extend([cos_sum * scale, sin_sum * scale]);
        }
        (mean < 0.0).then_some(Function { weights })
    }

    /// Whether the function is positive in the middle of each arc, negative close beside it, and
    /// right at all places of a grid that are not close to the end of an arc.
    fn separates(&self, function: &Function, stretches: &[Stretch]) -> bool {
        let inside = |t: f64, factor: f64| stretches.iter().any(|arc| arc.scaled(factor).holds(t));
        let beside = stretches
            .iter()
            .flat_map(|arc| [-3.0, 3.0].map(|away| arc.middle + away * arc.half))
            .filter(|t| !inside(*t, 1.01));
        stretches.iter().all(|arc| function.at(&self.point(arc.middle)) > 0.0)
            && beside.into_iter().all(|t| function.at(&self.point(t)) < 0.0)
            && self.checks.iter().all(|(t, point)| match (inside(*t, 0.99), inside(*t, 1.01)) {
                (true, _) => function.at(point) > 0.0,
                (_, true) => true,
                (_, false) => function.at(point) < 0.0,
            })
    }
}

impl Function {
    fn at(&self, point: &[f64]) -> f64 {
        dot(&self.weights, point) - 1.0
    }

    fn blend(&self, other: &Self, share: f64) -> Self {
        let pairs = self.weights.iter().zip(&other.weights);
        Self { weights: pairs.map(|(a, b)| (1.0 - share) * a + share * b).collect() }
    }
}

/// Gauss-Jordan elimination of rows that end with their right-hand side; nothing if singular.
fn solve(mut rows: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let mut solved: Vec<Vec<f64>> = Vec::with_capacity(rows.len());
    for column in 0..rows.len() {
        let size = |row: &[f64]| row.get(column).map_or(0.0, |x: &f64| x.abs());
        let largest = rows.iter().map(|row| size(row)).fold(0.0, f64::max);
        let place = rows.iter().position(|row| size(row) >= largest)?;
        let mut pivot = rows.swap_remove(place);
        let lead = pivot.get(column).copied().filter(|lead| lead.is_normal())?;
        for x in &mut pivot {
            *x /= lead;
        }
        for row in rows.iter_mut().chain(&mut solved) {
            let factor = row.get(column).copied()?;
            for (x, y) in row.iter_mut().zip(&pivot) {
                *x -= factor * y;
            }
        }
        solved.push(pivot);
    }
    solved.iter().map(|row| row.last().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve() -> Curve {
        Curve::new(16, 10_000, 5_000)
    }

    fn held(curve: &Curve, cap: &Cap, slot: u32) -> bool {
        let t = curve.step * (f64::from(slot) + 0.5);
        dot(&curve.point(t), &cap.centre) >= 1.0 - cap.depth
    }

    #[test]
    fn a_cap_over_one_arc_holds_its_slots_and_no_others() {
        let curve = curve();
        for arc in [(0, 1), (17, 18), (40, 95), (2_000, 4_500), (9_999, 10_000)] {
            let arc = Arc { first: arc.0, end: arc.1 };
            let cap = curve.cap(&[arc], 0.0);
            for slot in 0..10_000 {
                assert_eq!(held(&curve, &cap, slot), (arc.first..arc.end).contains(&slot));
            }
        }
    }

    #[test]
    fn a_cap_over_several_arcs_holds_their_slots_and_no_others() {
        let curve = curve();
        for arcs in [
            vec![(0, 1), (9_000, 9_001)],
            vec![(100, 101), (5_000, 5_700)],
            vec![(100, 110), (1_500, 1_501), (7_000, 7_020)],
            vec![(10, 11), (2_000, 2_002), (4_000, 4_100), (8_000, 8_001)],
            vec![(0, 4_800), (7_000, 7_300)],
            vec![(0, 1), (3_000, 7_000), (7_500, 9_900)],
        ] {
            let arcs: Vec<Arc> = arcs.into_iter().map(|(first, end)| Arc { first, end }).collect();
            let cap = curve.cap(&arcs, MOST_INSET);
            for slot in 0..10_000 {
                let wanted = arcs.iter().any(|arc| (arc.first..arc.end).contains(&slot));
                assert_eq!(held(&curve, &cap, slot), wanted, "slot {slot} of {arcs:?}");
            }
        }
    }

    #[test]
    fn equations_are_solved() {
        let solution = solve(vec![vec![0.0, 2.0, 4.0], vec![3.0, 1.0, 5.0]]).unwrap();
        assert_eq!(solution, [1.0, 2.0]);
        assert_eq!(solve(vec![vec![1.0, 2.0, 1.0], vec![2.0, 4.0, 1.0]]), None);
    }
}
