//! What an embedding is like: its size, and what its precision can hold of it.

use super::embed::Construction;
use super::graph::Hierarchy;
use crate::Precision;

/// Facts about an embedding.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EmbedReport {
    /// The construction that was used; never [`Construction::Automatic`].
    pub construction: Construction,
    /// How many nodes were embedded.
    pub nodes: usize,
    /// How many distinct edges they have.
    pub edges: usize,
    /// How many nodes have more than one parent.
    pub several_parents: usize,
    /// How much shorter the steps from parent to child are than the nested balls need, on the
    /// logarithmic scale: 1 where everything fits into the allowed radius. Below 1, siblings'
    /// caps overlap, and strangers come between a node and its farther ancestors.
    pub squeeze: f64,
    /// Distance of the outermost point from the origin, in units of curvature −1.
    pub max_radius: f64,
    /// Mean distance from the origin.
    pub mean_radius: f64,
    /// The smallest distance found between two children of one node; infinite if no node has two.
    /// All pairs are compared in families of up to 1,000 children; in larger ones each child is
    /// compared with the 32 that follow it along the first coordinate.
    pub smallest_sibling_distance: f64,
    /// How far rounding to the precision moves the outermost points: eps · sinh(max radius) / 2.
    /// What is smaller than this is not reliable out there.
    pub rounding: f64,
    /// How many points are the same as an earlier one once rounded to the precision.
    pub coincident: usize,
}

/// How a layout came about, and how large it is.
pub(super) struct Layout {
    pub(super) construction: Construction,
    pub(super) squeeze: f64,
}

const ALL_PAIRS: usize = 1_000;
const FOLLOWING: usize = 32;

pub(super) fn report(
    hierarchy: &Hierarchy,
    points: &[f64],
    dimension: usize,
    precision: Precision,
    layout: &Layout,
) -> EmbedReport {
    let radii = points.chunks_exact(dimension).map(|point| norm(point).asinh());
    let max_radius = radii.clone().fold(0.0, f64::max);
    EmbedReport {
        construction: layout.construction,
        nodes: hierarchy.len(),
        edges: hierarchy.edges(),
        several_parents: hierarchy
            .order()
            .iter()
            .filter(|&&node| hierarchy.parents(node).len() > 1)
            .count(),
        squeeze: layout.squeeze,
        max_radius,
        mean_radius: radii.sum::<f64>() / hierarchy.len() as f64,
        smallest_sibling_distance: smallest_sibling_distance(hierarchy, points, dimension),
        rounding: precision.epsilon() * max_radius.sinh() / 2.0,
        coincident: coincident(points, dimension, precision),
    }
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// A point in polar form.
struct Polar {
    radius: f64,
    sinh: f64,
    direction: Vec<f64>,
}

impl Polar {
    fn new(point: &[f64]) -> Self {
        let sinh = norm(point);
        let scale = if sinh > 0.0 { 1.0 / sinh } else { 0.0 };
        Self { radius: sinh.asinh(), sinh, direction: point.iter().map(|x| x * scale).collect() }
    }

    /// sinh²(d/2).
    fn key(&self, other: &Self) -> f64 {
        let chord: f64 =
            self.direction.iter().zip(&other.direction).map(|(x, y)| (x - y) * (x - y)).sum();
        let radial = ((self.radius - other.radius) / 2.0).sinh();
        radial * radial + self.sinh * other.sinh * chord / 4.0
    }
}

fn smallest_sibling_distance(hierarchy: &Hierarchy, points: &[f64], dimension: usize) -> f64 {
    let mut smallest = f64::INFINITY;
    for &node in hierarchy.order() {
        let mut family: Vec<Polar> = hierarchy
            .children(node)
            .iter()
            .filter_map(|&child| {
                let first = child as usize * dimension;
                points.get(first..first + dimension).map(Polar::new)
            })
            .collect();
        let following = if family.len() <= ALL_PAIRS {
            family.len()
        } else {
            family.sort_by(|a, b| {
                let first = |polar: &Polar| polar.direction.first().copied().unwrap_or(0.0);
                first(a).total_cmp(&first(b))
            });
            FOLLOWING
        };
        for (place, child) in family.iter().enumerate() {
            for sibling in family.iter().skip(place + 1).take(following) {
                smallest = smallest.min(child.key(sibling));
            }
        }
    }
    2.0 * smallest.sqrt().asinh()
}

fn coincident(points: &[f64], dimension: usize, precision: Precision) -> usize {
    let mut known = std::collections::HashSet::new();
    points
        .chunks_exact(dimension)
        .filter(|point| {
            let bits: Vec<u64> = point
                .iter()
                .map(|&x| match precision {
                    #[expect(clippy::cast_possible_truncation, reason = "rounding is the point")]
                    Precision::F32 => u64::from((x as f32).to_bits()),
                    Precision::F64 => x.to_bits(),
                })
                .collect();
            !known.insert(bits)
        })
        .count()
}
