//! Which geometry suits data: from what is known about them, or from a sample of them.
//!
//! [`from_traits`] follows the specification's guidelines. [`from_sample`] measures:
//!
//! - *Tree-likeness*: Gromov's four-point condition. Of the three ways to pair up four points, the
//!   two largest sums of distances are equal in a tree; half their difference is δ. The mean and
//!   the largest δ of many quadruples, relative to the diameter, are 0 for a tree and largest for
//!   grids and circles.
//! - *Cycles*: on a circle or a sphere every point has an antipode, so the farthest point from each
//!   is about equally far, and those in the middle are missing. In flat and tree-like data some
//!   points are central: their farthest point is only half as far as the diameter. The smallest
//!   eccentricity divided by the largest is 1/2 for a line, a grid's about 0.5, a tree's 0.5, and
//!   1 for a circle or sphere.
//! - *Causal order*: whether directed edges have no cycle, and whether they run forward in time.
//!
//! The thresholds are constants of this module, and every number that was compared with one is in
//! the answer.

use crate::Geometry;

mod measure;
#[cfg(test)]
mod tests;

use measure::{CausalEvidence, ShapeEvidence};
pub use measure::{MAX_SAMPLE_POINTS, SampleError};

/// What is known about data: how much each trait applies, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Traits {
    /// They form a hierarchy or tree.
    pub hierarchy: f64,
    /// They have an order in time, or of cause and effect.
    pub temporal: f64,
    /// They repeat: angles, seasons, phases.
    pub cyclic: f64,
    /// They are flat or linear.
    pub flat: f64,
}

/// The recommended geometry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recommendation {
    /// One space.
    Single(Geometry),
    /// A product of spaces, one for each structure found.
    Product(Vec<Geometry>),
}

impl std::fmt::Display for Recommendation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Single(geometry) => write!(f, "{geometry}"),
            Self::Product(_) => f.write_str("product"),
        }
    }
}

/// A recommendation and why.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Choice {
    /// The recommended geometry.
    pub recommendation: Recommendation,
    /// Why, in a sentence or two.
    pub reason: String,
    /// What was measured or declared.
    pub evidence: Vec<Evidence>,
}

/// A number that the choice rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// What was measured, in lower case with underscores.
    pub name: &'static str,
    /// The value found.
    pub value: f64,
}

/// Why nothing can be chosen from traits.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TraitError {
    /// A trait is not between 0 and 1.
    #[error("the trait {name} is {value}: traits are numbers from 0 to 1")]
    OutOfRange {
        /// Which.
        name: &'static str,
        /// The value found.
        value: f64,
    },
}

/// Above this a declared trait decides (the specification's threshold).
pub const TRAIT_THRESHOLD: f64 = 0.7;

/// Chooses from declared traits.
///
/// One trait above 0.7 chooses its geometry: hierarchy the hyperboloid, temporal the Lorentzian
/// space, cyclic the sphere, flat the Euclidean space. Several choose the product of theirs; none
/// chooses Euclidean, in which nothing is distorted that is not structured.
///
/// # Errors
/// Traits that are not numbers from 0 to 1.
pub fn from_traits(traits: &Traits) -> Result<Choice, TraitError> {
    let declared = [
        ("hierarchy", traits.hierarchy, Geometry::Hyperboloid),
        ("temporal", traits.temporal, Geometry::Lorentzian),
        ("cyclic", traits.cyclic, Geometry::Spherical),
        ("flat", traits.flat, Geometry::Euclidean),
    ];
    for (name, value, _) in declared {
        if !(0.0..=1.0).contains(&value) {
            return Err(TraitError::OutOfRange { name, value });
        }
    }
    let strong: Vec<_> =
        declared.into_iter().filter(|(_, value, _)| *value > TRAIT_THRESHOLD).collect();
    let evidence = declared.into_iter().map(|(name, value, _)| Evidence { name, value }).collect();
    let names: Vec<String> =
        strong.iter().map(|(name, value, _)| format!("{name} ({value})")).collect();
    let (recommendation, reason) = match strong.as_slice() {
        [] => (
            Recommendation::Single(Geometry::Euclidean),
            format!("no trait is above {TRAIT_THRESHOLD}, and flat space distorts nothing"),
        ),
        [(_, _, geometry)] => (
            Recommendation::Single(*geometry),
            format!("{} is above {TRAIT_THRESHOLD}; {}", names.join(""), suits(*geometry)),
        ),
        several => (
            Recommendation::Product(several.iter().map(|(_, _, geometry)| *geometry).collect()),
            format!(
                "{} are above {TRAIT_THRESHOLD}: a product gives each its own space",
                names.join(" and ")
            ),
        ),
    };
    Ok(Choice { recommendation, reason, evidence })
}

fn suits(geometry: Geometry) -> &'static str {
    match geometry {
        Geometry::Hyperboloid | Geometry::Poincare | Geometry::Klein => {
            "hyperbolic volume grows as fast as a tree branches"
        }
        Geometry::Lorentzian => "light cones keep what comes before what",
        Geometry::Spherical => "a sphere closes cycles without a seam",
        Geometry::Euclidean => "flat data stay undistorted in flat space",
    }
}

/// A sample of data to choose from. Give at least distances or edges.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample<'a> {
    /// How far the items are from one another.
    pub distances: Option<Distances<'a>>,
    /// Directed relations (from, to) between items, by their numbers.
    pub edges: Option<&'a [(usize, usize)]>,
    /// The time of each item; `from` should be no later than `to`.
    pub times: Option<&'a [f64]>,
}

/// Distances between the items of a sample.
#[derive(Debug, Clone, Copy)]
pub enum Distances<'a> {
    /// The full symmetric matrix, row after row.
    Matrix(&'a [f64]),
    /// The items as vectors of this dimension, one after the other, compared by their Euclidean
    /// distance. Structure that the vectors have lost cannot be found: the points of a hierarchy
    /// in a flat space may look flat.
    Vectors {
        /// All coordinates.
        values: &'a [f64],
        /// Coordinates per item.
        dimension: usize,
    },
}

/// How [`from_sample`] samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleOptions {
    /// How many quadruples of items to test; all of them if there are not more.
    pub quadruples: usize,
    /// Seed of the selection; the same seed gives the same answer.
    pub seed: u64,
}

impl Default for SampleOptions {
    /// 20,000 quadruples, enough for two digits of the mean δ.
    fn default() -> Self {
        Self { quadruples: 20_000, seed: 0 }
    }
}

/// Mean δ over the diameter up to which data count as tree-like: 0 for a tree, 0.05 to 0.1 for
/// flat squares and for circles.
pub const TREE_MEAN_DELTA: f64 = 0.03;

/// Mean δ over the standard deviation of the distances up to which data count as tree-like. In
/// many dimensions all distances are alike, and δ is small only because of that.
pub const TREE_DELTA_PER_DEVIATION: f64 = 0.15;

/// Smallest eccentricity over the largest from which data count as cyclic: nearly 1 for circles
/// and spheres, about a half for trees, lines and squares.
pub const CYCLE_ECCENTRICITY: f64 = 0.85;

/// Standard deviation over mean of the distances from which data count as cyclic: 0.58 on a
/// circle, 0.44 on a sphere. Below it, as in any cloud of many dimensions, all distances are alike
/// and the eccentricities say nothing.
pub const CYCLE_SPREAD: f64 = 0.25;

/// Share of edges that must run forward in time, and lie on no cycle, for a causal order.
pub const CAUSAL_SHARE: f64 = 0.95;

/// Chooses from a sample of the data.
///
/// A causal order (edges that run forward in given times) asks for a Lorentzian space, tree-like
/// distances for the hyperboloid, cyclic ones for the sphere, and neither for Euclidean. A causal
/// order together with tree-like or cyclic distances asks for a product. Edges without times that
/// have no cycle are a hierarchy as much as an order: they ask for the hyperboloid unless the
/// distances speak for something else, since few-parent edges make a tree.
///
/// # Errors
/// Nothing to measure, fewer than four items, distances that are not those of a metric's (negative,
/// asymmetric, not finite, all zero), edges and times that name unknown items.
pub fn from_sample(sample: &Sample<'_>, options: &SampleOptions) -> Result<Choice, SampleError> {
    let (shape, causal) = measure::measure(sample, options)?;
    let mut evidence = Vec::new();
    if let Some(shape) = &shape {
        evidence.extend(shape.evidence());
    }
    if let Some(causal) = &causal {
        evidence.extend(causal.evidence());
    }
    let shape_says = shape.as_ref().map(judge_shape);
    let causal_says = causal.as_ref().and_then(judge_causal);
    let (recommendation, reason) = match (shape_says, causal_says) {
        (Some((shape, why_shape)), Some((order, why_order))) => {
            combine((shape, &why_shape), (order, &why_order))
        }
        (Some((geometry, why)), None) => {
            let note = if causal.is_some() { "; the edges are no causal order" } else { "" };
            (Recommendation::Single(geometry), format!("{why}{note}"))
        }
        (None, Some((geometry, why))) => (Recommendation::Single(geometry), why),
        (None, None) => (
            Recommendation::Single(Geometry::Euclidean),
            "the edges are no causal order, and there are no distances to judge by".to_owned(),
        ),
    };
    Ok(Choice { recommendation, reason, evidence })
}

fn judge_shape(shape: &ShapeEvidence) -> (Geometry, String) {
    let delta = shape.mean_delta;
    let per_deviation = shape.delta_per_deviation;
    if delta <= TREE_MEAN_DELTA && per_deviation <= TREE_DELTA_PER_DEVIATION {
        let why = format!(
            "the distances are those of a tree: the four-point delta is on average {delta:.4} of \
             the diameter (a tree's is at most {TREE_MEAN_DELTA}) and {per_deviation:.3} of the \
             deviation of the distances (at most {TREE_DELTA_PER_DEVIATION})"
        );
        return (Geometry::Hyperboloid, why);
    }
    let (eccentricity, spread) = (shape.eccentricity_ratio, shape.spread);
    if eccentricity >= CYCLE_ECCENTRICITY && spread >= CYCLE_SPREAD {
        let why = format!(
            "the distances close into a circle or sphere: every item has another almost as far \
             away as the diameter (the least by {eccentricity:.2} of it, at least \
             {CYCLE_ECCENTRICITY}), and the distances vary (by {spread:.2} of the mean)"
        );
        return (Geometry::Spherical, why);
    }
    let why = format!(
        "the distances are flat: not a tree's (four-point delta {delta:.4} of the diameter \
         and {per_deviation:.3} of the deviation), and not closed into a cycle (eccentricities down to \
         {eccentricity:.2} of the diameter, spread {spread:.2})"
    );
    (Geometry::Euclidean, why)
}

fn judge_causal(causal: &CausalEvidence) -> Option<(Geometry, String)> {
    let acyclic = causal.acyclic_share;
    if causal.edges == 0 || acyclic < CAUSAL_SHARE {
        return None;
    }
    match causal.forward_share {
        Some(forward) if forward >= CAUSAL_SHARE => Some((
            Geometry::Lorentzian,
            format!(
                "the edges are a causal order: {:.1} % run forward in time and {:.1} % lie on no \
                 cycle",
                100.0 * forward,
                100.0 * acyclic
            ),
        )),
        Some(_) => None,
        None => Some((
            Geometry::Hyperboloid,
            format!("the edges are a hierarchy: {:.1} % lie on no cycle", 100.0 * acyclic),
        )),
    }
}

fn combine(shape: (Geometry, &str), order: (Geometry, &str)) -> (Recommendation, String) {
    let why = format!("{}; {}", shape.1, order.1);
    match (shape.0, order.0) {
        (shape, order) if shape == order => (Recommendation::Single(shape), why),
        // Flat distances say only that nothing else was found in them.
        (Geometry::Euclidean, Geometry::Lorentzian) => {
            (Recommendation::Single(Geometry::Lorentzian), why)
        }
        (shape, order) => (Recommendation::Product(vec![shape, order]), why),
    }
}
