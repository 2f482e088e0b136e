//! What a sample of data is like, in numbers.

use super::{Distances, Evidence, Sample, SampleOptions};
use crate::numeric::{exponent_of, scaled_by_power};

/// The most items whose distances are compared with one another.
pub const MAX_SAMPLE_POINTS: usize = 2_000;

/// The largest item number in a sample that has edges only.
const MAX_ITEMS: usize = 10_000_000;

/// The fewest items with a four-point condition.
const FOUR: usize = 4;

/// Relative tolerance for the symmetry of a matrix.
const SYMMETRY: f64 = 1e-9;

/// Why a sample cannot be measured.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// There are neither distances nor edges.
    #[error("the sample has neither distances nor edges to judge by")]
    Empty,
    /// Too few items to tell shapes apart.
    #[error("{found} items: at least {least} are needed, and some dozens to be sure")]
    TooFew {
        /// How many there are.
        found: usize,
        /// How many are needed.
        least: usize,
    },
    /// Too many items to compare all pairs.
    #[error("{found} items: at most {most}, draw a sample of that many")]
    TooMany {
        /// How many there are.
        found: usize,
        /// How many are allowed.
        most: usize,
    },
    /// The numbers are not a square matrix, or not whole vectors.
    #[error("{found} numbers are not {shape}")]
    Shape {
        /// How many there are.
        found: usize,
        /// What they should be.
        shape: &'static str,
    },
    /// A number that is not finite.
    #[error("number {index} is {value}: distances and coordinates are finite")]
    NotFinite {
        /// Its position.
        index: usize,
        /// The value found.
        value: f64,
    },
    /// Not a matrix of distances.
    #[error("row {row}, column {column} is {value}: {wrong}")]
    NotADistance {
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// The value found.
        value: f64,
        /// What a distance there would be.
        wrong: &'static str,
    },
    /// All items are in the same place.
    #[error("all distances are 0: there is no shape to judge")]
    AllTheSame,
    /// An edge or a list of times that does not fit the items.
    #[error("edge {edge} names item {item}, but there are {items}")]
    UnknownItem {
        /// The position of the edge.
        edge: usize,
        /// The item.
        item: usize,
        /// How many items there are.
        items: usize,
    },
    /// The times are not one finite number per item.
    #[error("{found} finite times for {items} items: one is needed for each")]
    Times {
        /// How many finite times there are.
        found: usize,
        /// How many items there are.
        items: usize,
    },
}

/// The shape that distances have.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShapeEvidence {
    items: usize,
    quadruples: usize,
    /// Mean four-point δ over the diameter.
    pub(super) mean_delta: f64,
    /// Largest δ found over the diameter.
    max_delta: f64,
    /// Mean four-point δ over the standard deviation of the distances.
    pub(super) delta_per_deviation: f64,
    /// Smallest distance of an item to its farthest, over the largest such.
    pub(super) eccentricity_ratio: f64,
    /// Standard deviation over mean of the distances.
    pub(super) spread: f64,
}

impl ShapeEvidence {
    pub(super) fn evidence(&self) -> [Evidence; 7] {
        [
            Evidence { name: "items", value: self.items as f64 },
            Evidence { name: "quadruples", value: self.quadruples as f64 },
            Evidence { name: "mean_delta", value: self.mean_delta },
            Evidence { name: "max_delta", value: self.max_delta },
            Evidence { name: "delta_per_deviation", value: self.delta_per_deviation },
            Evidence { name: "eccentricity_ratio", value: self.eccentricity_ratio },
            Evidence { name: "spread", value: self.spread },
        ]
    }
}

/// What edges say about order.
#[derive(Debug, Clone, Copy)]
pub(super) struct CausalEvidence {
    pub(super) edges: usize,
    /// Share of the edges that lie on no cycle.
    pub(super) acyclic_share: f64,
    /// Share of the edges that run forward in time, where times are given.
    pub(super) forward_share: Option<f64>,
}

impl CausalEvidence {
    pub(super) fn evidence(&self) -> impl Iterator<Item = Evidence> + use<> {
        let forward = self.forward_share.map(|value| Evidence { name: "forward_share", value });
        [
            Evidence { name: "edges", value: self.edges as f64 },
            Evidence { name: "acyclic_share", value: self.acyclic_share },
        ]
        .into_iter()
        .chain(forward)
    }
}

pub(super) fn measure(
    sample: &Sample<'_>,
    options: &SampleOptions,
) -> Result<(Option<ShapeEvidence>, Option<CausalEvidence>), SampleError> {
    if sample.distances.is_none() && sample.edges.is_none() {
        return Err(SampleError::Empty);
    }
    let matrix = sample.distances.as_ref().map(Matrix::new).transpose()?;
    let items = matrix.as_ref().map(|matrix| matrix.items);
    let causal =
        sample.edges.map(|edges| causal_evidence(edges, sample.times, items)).transpose()?;
    let shape = matrix.map(|matrix| matrix.shape_evidence(options)).transpose()?;
    Ok((shape, causal))
}

/// A checked matrix of distances.
struct Matrix {
    items: usize,
    values: Vec<f64>,
}

impl Matrix {
    fn new(distances: &Distances<'_>) -> Result<Self, SampleError> {
        let (numbers, items) = match *distances {
            Distances::Matrix(values) => {
                let items = values.len().isqrt();
                if items * items != values.len() {
                    let shape = "the rows of a square matrix";
                    return Err(SampleError::Shape { found: values.len(), shape });
                }
                (values, items)
            }
            Distances::Vectors { values, dimension } => {
                if dimension == 0 || !values.len().is_multiple_of(dimension) {
                    let shape = "vectors of the given dimension";
                    return Err(SampleError::Shape { found: values.len(), shape });
                }
                (values, values.len() / dimension)
            }
        };
        if items < FOUR {
            return Err(SampleError::TooFew { found: items, least: FOUR });
        }
        if items > MAX_SAMPLE_POINTS {
            return Err(SampleError::TooMany { found: items, most: MAX_SAMPLE_POINTS });
        }
        if let Some((index, &value)) =
            numbers.iter().enumerate().find(|(_, value)| !value.is_finite())
        {
            return Err(SampleError::NotFinite { index, value });
        }
        match *distances {
            Distances::Matrix(values) => {
                Self { items, values: values.to_vec() }.check()?;
                Ok(Self { items, values: tame(values) })
            }
            Distances::Vectors { values, dimension } => {
                let mut matrix = all_distances(values, dimension);
                if matrix.iter().any(|distance| !distance.is_finite()) {
                    matrix = all_distances(&tame(values), dimension);
                }
                Ok(Self { items, values: tame(&matrix) })
            }
        }
    }

    fn check(&self) -> Result<(), SampleError> {
        let largest = self.values.iter().copied().fold(0.0, f64::max);
        for (row, values) in self.values.chunks_exact(self.items).enumerate() {
            for (column, &value) in values.iter().enumerate() {
                let wrong = if value < 0.0 {
                    "a distance is at least 0"
                } else if row == column && value > 0.0 {
                    "the distance of an item to itself is 0"
                } else if (value - self.at(column, row)).abs() > SYMMETRY * largest {
                    "a distance is the same in both directions"
                } else {
                    continue;
                };
                return Err(SampleError::NotADistance { row, column, value, wrong });
            }
        }
        Ok(())
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.values.get(row * self.items + column).copied().unwrap_or(0.0)
    }

    fn shape_evidence(&self, options: &SampleOptions) -> Result<ShapeEvidence, SampleError> {
        let eccentricities: Vec<f64> = self
            .values
            .chunks_exact(self.items)
            .map(|row| row.iter().copied().fold(0.0, f64::max))
            .collect();
        let diameter = eccentricities.iter().copied().fold(0.0, f64::max);
        if diameter <= 0.0 {
            return Err(SampleError::AllTheSame);
        }
        let least = eccentricities.iter().copied().fold(f64::INFINITY, f64::min);
        let (mean, deviation) = self.moments(diameter);
        let (mut total, mut largest, mut count) = (0.0, 0.0_f64, 0_usize);
        self.quadruples(options, |quadruple| {
            let delta = self.delta(quadruple) / diameter;
            total += delta;
            largest = largest.max(delta);
            count += 1;
        });
        let mean_delta = total / count.max(1) as f64;
        Ok(ShapeEvidence {
            items: self.items,
            quadruples: count,
            mean_delta,
            max_delta: largest,
            delta_per_deviation: if deviation > 0.0 { mean_delta / deviation } else { 0.0 },
            eccentricity_ratio: least / diameter,
            spread: deviation / mean,
        })
    }

    /// Mean and standard deviation of the distances between different items, over the diameter.
    fn moments(&self, diameter: f64) -> (f64, f64) {
        let pairs = (self.items * (self.items - 1)) as f64;
        let mean = self.values.iter().map(|value| value / diameter).sum::<f64>() / pairs;
        let mut squares = 0.0;
        for (row, values) in self.values.chunks_exact(self.items).enumerate() {
            let others = values.iter().enumerate().filter(|(column, _)| *column != row);
            squares += others.map(|(_, value)| (value / diameter - mean).powi(2)).sum::<f64>();
        }
        (mean, (squares / pairs).sqrt())
    }

    /// Half the difference of the two largest among the three ways to pair up four items.
    fn delta(&self, [a, b, c, d]: [usize; 4]) -> f64 {
        let mut sums = [
            self.at(a, b) + self.at(c, d),
            self.at(a, c) + self.at(b, d),
            self.at(a, d) + self.at(b, c),
        ];
        sums.sort_unstable_by(f64::total_cmp);
        let [_, second, first] = sums;
        (first - second) / 2.0
    }

    /// All quadruples if there are no more than wanted, else as many drawn at random.
    fn quadruples(&self, options: &SampleOptions, mut visit: impl FnMut([usize; 4])) {
        let n = self.items as u128;
        let all = n * (n - 1) * (n - 2) * (n - 3) / 24;
        if all <= options.quadruples.max(1) as u128 {
            for a in 0..self.items {
                for b in 0..a {
                    for c in 0..b {
                        for d in 0..c {
                            visit([a, b, c, d]);
                        }
                    }
                }
            }
            return;
        }
        let mut state = options.seed;
        let mut drawn = 0;
        while drawn < options.quadruples.max(1) {
            let [a, b, c, d] = [(); 4].map(|()| below(&mut state, self.items));
            if a != b && a != c && a != d && b != c && b != d && c != d {
                visit([a, b, c, d]);
                drawn += 1;
            }
        }
    }
}

/// The numbers over the power of two of the largest: all that is measured are quotients, and sums
/// and differences of large numbers would overflow.
fn tame(values: &[f64]) -> Vec<f64> {
    scaled_by_power(values, -exponent_of(values))
}

fn all_distances(values: &[f64], dimension: usize) -> Vec<f64> {
    let vectors = || values.chunks_exact(dimension);
    vectors().flat_map(|x| vectors().map(move |y| euclidean(x, y))).collect()
}

fn euclidean(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).fold(0.0, |length: f64, (x, y)| length.hypot(x - y))
}

/// A number below `bound`, from `SplitMix64`; its bias is below 2^-50 for the bounds used here.
fn below(state: &mut u64, bound: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    usize::try_from((u128::from(mixed) * bound as u128) >> 64).unwrap_or(0)
}

fn causal_evidence(
    edges: &[(usize, usize)],
    times: Option<&[f64]>,
    items: Option<usize>,
) -> Result<CausalEvidence, SampleError> {
    let named = edges.iter().map(|(from, to)| from.max(to).saturating_add(1)).max().unwrap_or(0);
    let items = items.or(times.map(<[f64]>::len)).unwrap_or(named.min(MAX_ITEMS));
    for (edge, (from, to)) in edges.iter().enumerate() {
        let item = *from.max(to);
        if item >= items {
            return Err(SampleError::UnknownItem { edge, item, items });
        }
    }
    let forward = match times {
        None => None,
        Some(times) => {
            let finite = times.iter().filter(|time| time.is_finite()).count();
            if finite != items || times.len() != items {
                return Err(SampleError::Times { found: finite, items });
            }
            let forward = edges.iter().filter(|(from, to)| times.get(*from) < times.get(*to));
            Some(forward.count() as f64 / edges.len().max(1) as f64)
        }
    };
    let component = components(edges, items);
    let acyclic = edges.iter().filter(|(from, to)| component.get(*from) != component.get(*to));
    Ok(CausalEvidence {
        edges: edges.len(),
        acyclic_share: acyclic.count() as f64 / edges.len().max(1) as f64,
        forward_share: forward,
    })
}

/// The strongly connected component of each item (Kosaraju's algorithm): an edge lies on a cycle
/// exactly if both its ends are in the same one.
fn components(edges: &[(usize, usize)], items: usize) -> Vec<usize> {
    let mut forward = vec![Vec::new(); items];
    let mut backward = vec![Vec::new(); items];
    for &(from, to) in edges {
        if let Some(row) = forward.get_mut(from) {
            row.push(to);
        }
        if let Some(row) = backward.get_mut(to) {
            row.push(from);
        }
    }
    let mut finished = Vec::with_capacity(items);
    let mut seen = vec![false; items];
    for start in 0..items {
        walk(&forward, start, &mut seen, |node| finished.push(node));
    }
    let mut component = vec![0; items];
    let mut seen = vec![false; items];
    for &start in finished.iter().rev() {
        walk(&backward, start, &mut seen, |node| {
            if let Some(place) = component.get_mut(node) {
                *place = start;
            }
        });
    }
    component
}

/// Depth-first walk from `start` over what was not seen yet; visits a node after all below it.
fn walk(rows: &[Vec<usize>], start: usize, seen: &mut [bool], mut visit: impl FnMut(usize)) {
    let mut enter =
        |node: usize| seen.get_mut(node).is_some_and(|seen| !std::mem::replace(seen, true));
    if !enter(start) {
        return;
    }
    let mut open: Vec<(usize, usize)> = vec![(start, 0)];
    while let Some((node, next)) = open.last_mut() {
        if let Some(&other) = rows.get(*node).and_then(|row| row.get(*next)) {
            *next += 1;
            if enter(other) {
                open.push((other, 0));
            }
        } else {
            visit(*node);
            open.pop();
        }
    }
}
