//! From a hierarchy to points.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;

use super::arcs::{Arc, Slots};
use super::balls::{Balls, WHOLE};
use super::curve::{Curve, MOST_INSET, harmonics};
use super::graph::Hierarchy;
use super::packing::Packer;
use super::reconstruction::{ReconstructionOptions, reconstruction};
use super::report::{EmbedReport, Layout, report};
use super::tree::{Prices, Tree, descendant_counts};
use crate::{Geometry, Precision, Space};

/// How the caps of a hierarchy's nodes are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Construction {
    /// Where some nodes have several parents, there are at least four dimensions and the allowed
    /// radius suffices, both are tried, and a sample of the nodes decides:
    /// [`Curve`](Self::Curve) if it has the better mean rank, and nearly the mean average precision
    /// of the packing. Else [`Packing`](Self::Packing).
    #[default]
    Automatic,
    /// Nested balls, those of siblings side by side, along one parent of each node. Ranks the
    /// ancestors in a tree perfectly where the radius suffices; where it does not, distances are
    /// squeezed. Ancestors over further parents are missed.
    Packing,
    /// The nodes in the order of a tree along the trigonometric moment curve, on which one cap can
    /// hold several arcs: so descendants over further parents are held too. Nodes that have many
    /// scattered descendants come to lie near the origin.
    Curve,
}

/// How [`embed`] goes about it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct EmbedOptions {
    /// The dimension of the space, from [`MIN_EMBED_DIMENSION`] to [`MAX_EMBED_DIMENSION`].
    pub dimension: usize,
    /// The precision in which the points will be stored.
    pub precision: Precision,
    /// How far from the origin points may lie, in units of curvature −1. If absent, as far as the
    /// precision holds in both the hyperboloid and the Poincaré ball: 35.3 for f64, 15.2 for f32.
    pub max_radius: Option<f64>,
    /// How the caps are arranged.
    pub construction: Construction,
}

impl EmbedOptions {
    /// Points for storage in f64, everything else as it suits the hierarchy.
    pub fn new(dimension: usize) -> Self {
        Self {
            dimension,
            precision: Precision::F64,
            max_radius: None,
            construction: Construction::Automatic,
        }
    }
}

/// The smallest dimension to embed into: a line has no room for branches.
pub const MIN_EMBED_DIMENSION: usize = 2;

/// The largest dimension to embed into; more would not improve anything.
pub const MAX_EMBED_DIMENSION: usize = 256;

/// A hierarchy as points of hyperbolic space.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Embedding {
    /// The dimension.
    pub dimension: usize,
    /// In the order of the nodes' numbers, the spatial coordinates of each on the hyperboloid of
    /// curvature −1 ([`Space::from_storage`] adds the time coordinate). In a space of curvature −c,
    /// the same coordinates divided by √c are the same shape.
    pub points: Vec<f64>,
    /// What it is like.
    pub report: EmbedReport,
}

impl Embedding {
    /// The spatial coordinates of a node's point.
    pub fn point(&self, node: u32) -> Option<&[f64]> {
        let first = node as usize * self.dimension;
        self.points.get(first..first + self.dimension)
    }
}

/// Why a hierarchy was not embedded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// The dimension is not supported.
    #[error("dimension {dimension}: hierarchies are embedded in {min} to {max} dimensions")]
    Dimension {
        /// The dimension asked for.
        dimension: usize,
        /// The smallest.
        min: usize,
        /// The largest.
        max: usize,
    },
    /// The allowed radius is not usable.
    #[error(
        "a maximum radius of {max_radius}: it must be at least 1 and at most {limit:.2}, which is \
         as far out as {precision} holds points"
    )]
    Radius {
        /// The radius asked for.
        max_radius: f64,
        /// The largest.
        limit: f64,
        /// The precision that sets it.
        precision: Precision,
    },
    /// The curve was asked for but does not fit.
    #[error(
        "the curve needs at least 4 dimensions and a radius of {needed:.1} for {nodes} nodes, and \
         has {dimension} and {max_radius:.1}: use the packing"
    )]
    CurveDoesNotFit {
        /// The radius that it needs.
        needed: f64,
        /// The allowed radius.
        max_radius: f64,
        /// The number of nodes.
        nodes: usize,
        /// The dimension.
        dimension: usize,
    },
    /// The curve was asked for but would take too long.
    #[error(
        "the curve takes all pairs of descendant and ancestor, and there are more than {limit}: \
         use the packing"
    )]
    TooManyPairs {
        /// The largest number of pairs.
        limit: usize,
    },
}

/// Up to how many pairs of descendant and ancestor are taken into account. Hierarchies with more,
/// such as a path of 100,000 nodes, are laid out along the deepest parents alone.
const PAIR_LIMIT: usize = 50_000_000;

/// How many directions to choose from when packing.
const DIRECTIONS: usize = 1_024;
/// From this dimension on the axes alone give many.
const MANY_AXES: usize = 33;

/// Prices for the packing, which cannot serve small far-off ancestors anyway.
const PACKING: Prices = Prices { missed: 5.0, missed_small: 0.0, stranger: 3.0 };
/// Prices for choosing the tree along the curve.
const CURVE_TREE: Prices = Prices { missed: 5.0, missed_small: 1.0, stranger: 3.0 };
/// Prices for choosing arcs on the curve.
const CURVE_ARCS: Prices = Prices { missed: 20.0, missed_small: 1.0, stranger: 2.0 };

/// How much wider a cap is than its ball, within the free space around balls: caps hold directions
/// exactly for infinitely distant points, and a little less for those near the origin.
const MARGIN: f64 = 1.03;

/// More arcs would be too delicate for f64.
const MOST_ARCS: usize = 5;

/// Embeds a hierarchy in hyperbolic space, by a deterministic construction and without training.
///
/// The same hierarchy, its edges listed in the same order, gives the same points. A single root is
/// put at the origin; several roots lie around it. Takes time about proportional to the number of
/// nodes, and to the number of pairs of descendant and ancestor where nodes have several parents.
///
/// What the result is for: from every node, its ancestors are nearer than strangers. The distance
/// from a node to its ancestors is not the number of edges between them.
///
/// # Errors
/// A dimension or radius outside the limits, and the curve where it does not fit.
pub fn embed(hierarchy: &Hierarchy, options: &EmbedOptions) -> Result<Embedding, EmbedError> {
    let max_radius = check(options)?;
    let is_forest = hierarchy.order().iter().all(|&node| hierarchy.parents(node).len() < 2);
    let sizes = match options.construction {
        Construction::Curve => descendant_counts(hierarchy, PAIR_LIMIT)
            .ok_or(EmbedError::TooManyPairs { limit: PAIR_LIMIT })
            .map(Some)?,
        _ if is_forest => None,
        _ => descendant_counts(hierarchy, PAIR_LIMIT),
    };
    let curve = match (&sizes, options.construction) {
        (None, _) | (_, Construction::Packing) => None,
        (Some(sizes), asked) => {
            match along_curve(hierarchy, sizes, options.dimension, max_radius) {
                Err(error) if asked == Construction::Curve => return Err(error),
                placed => placed.ok(),
            }
        }
    };
    let packed = || packed(hierarchy, sizes.as_deref(), options.dimension, max_radius);
    let curved = |points| (points, Layout { construction: Construction::Curve, squeeze: 1.0 });
    let (points, layout) = match (curve, options.construction) {
        (None, _) => packed(),
        (Some(points), Construction::Automatic) => {
            let packed = packed();
            if is_better(hierarchy, &points, &packed.0, options.dimension) {
                curved(points)
            } else {
                packed
            }
        }
        (Some(points), _) => curved(points),
    };
    let report = report(hierarchy, &points, options.dimension, options.precision, &layout);
    Ok(Embedding { dimension: options.dimension, points, report })
}

fn check(options: &EmbedOptions) -> Result<f64, EmbedError> {
    let dimension = options.dimension;
    if !(MIN_EMBED_DIMENSION..=MAX_EMBED_DIMENSION).contains(&dimension) {
        let (min, max) = (MIN_EMBED_DIMENSION, MAX_EMBED_DIMENSION);
        return Err(EmbedError::Dimension { dimension, min, max });
    }
    let limit_in = |geometry| {
        Space::new(geometry, dimension, -1.0)
            .map_or(f64::INFINITY, |space| space.radius_limit(options.precision))
    };
    let limit = limit_in(Geometry::Hyperboloid);
    let both = limit.min(limit_in(Geometry::Poincare));
    let max_radius = options.max_radius.unwrap_or(both - 0.05);
    if !(1.0..=limit).contains(&max_radius) {
        return Err(EmbedError::Radius { max_radius, limit, precision: options.precision });
    }
    Ok(max_radius)
}

/// How many nodes judge between the curve and the packing.
const JUDGES: usize = 256;

/// How much of the packing's precision the curve must reach; what it is for are the mean ranks.
const ENOUGH_PRECISION: f64 = 0.9;

/// Whether the curve ranks ancestors better than the packing, asking a sample of the nodes.
fn is_better(hierarchy: &Hierarchy, curve: &[f64], packing: &[f64], dimension: usize) -> bool {
    let options = ReconstructionOptions {
        sample: NonZeroUsize::new(JUDGES),
        ..ReconstructionOptions::default()
    };
    let judge = |points| reconstruction(hierarchy, points, dimension, &options);
    let (Ok(curve), Ok(packing)) = (judge(curve), judge(packing)) else { return false };
    let (curve, packing) = (curve.ancestors, packing.ancestors);
    curve.mean_rank < packing.mean_rank && curve.map > ENOUGH_PRECISION * packing.map
}

fn is_single_root(hierarchy: &Hierarchy, node: u32) -> bool {
    hierarchy.parents(node).is_empty() && hierarchy.roots().nth(1).is_none()
}

fn packed(
    hierarchy: &Hierarchy,
    sizes: Option<&[u32]>,
    dimension: usize,
    max_radius: f64,
) -> (Vec<f64>, Layout) {
    let tree = match sizes {
        Some(sizes) => Tree::choose(hierarchy, sizes, PACKING),
        None => Tree::deepest(hierarchy),
    };
    let flat = dimension - 1;
    let most = if dimension < MANY_AXES { DIRECTIONS } else { DIRECTIONS / 4 };
    // A ball of radius s at most WHOLE from the origin becomes a point at most at
    // 2 ln((1 + WHOLE²) / s).
    let depth = max_radius / 2.0 - (WHOLE * WHOLE).ln_1p();
    let balls = Balls::lay_out(&tree, &Packer::new(flat, most), flat, depth);
    let mut points = Vec::with_capacity(hierarchy.len() * dimension);
    for node in (0u32..).take(hierarchy.len()) {
        if is_single_root(hierarchy, node) {
            points.extend(std::iter::repeat_n(0.0, dimension));
        } else {
            push_ball(&mut points, balls.centre(node), MARGIN * balls.radius(node), max_radius);
        }
    }
    (points, Layout { construction: Construction::Packing, squeeze: balls.squeeze })
}

/// Appends the point whose cap is the image of a ball of R^m under inverse stereographic
/// projection, y ↦ (2y, 1 − |y|²) / (1 + |y|²): with q = |x|² − s² for centre x and radius s, it is
/// the cap around w = (2x, 1 − q) with |w| cos ρ = 1 + q.
fn push_ball(points: &mut Vec<f64>, centre: &[f64], radius: f64, max_radius: f64) {
    let square: f64 = centre.iter().map(|x| x * x).sum();
    let q = square - radius * radius;
    let norm = (4.0 * square + (1.0 - q) * (1.0 - q)).sqrt();
    // tan(ρ/2) = e^(−r/2)
    let tangent = 2.0 * radius / (norm + 1.0 + q);
    let grown = (1.0 / (tangent * tangent)).clamp(1.0, max_radius.exp());
    let scale = (grown - 1.0 / grown) / 2.0 / norm;
    points.extend(centre.iter().map(|x| 2.0 * x * scale).chain([(1.0 - q) * scale]));
}

fn along_curve(
    hierarchy: &Hierarchy,
    sizes: &[u32],
    dimension: usize,
    max_radius: f64,
) -> Result<Vec<f64>, EmbedError> {
    let nodes = hierarchy.len();
    let tree = Tree::choose(hierarchy, sizes, CURVE_TREE);
    let most = harmonics(dimension).min(MOST_ARCS);
    let arcs = Slots::new(&tree).arcs(hierarchy, &tree, sizes, CURVE_ARCS, most);
    let widest = (0u32..)
        .zip(&arcs)
        .filter(|(node, _)| !is_single_root(hierarchy, *node))
        .flat_map(|(_, arcs)| arcs.iter().map(|arc| arc.width()))
        .max();
    let curve = Curve::new(dimension, nodes, widest.unwrap_or(1));
    let needed = curve.largest_radius();
    if dimension < 4 || needed > max_radius {
        return Err(EmbedError::CurveDoesNotFit { needed, max_radius, nodes, dimension });
    }
    let mut points = Vec::with_capacity(nodes * dimension);
    // Nodes whose caps are to hold the same must not become the same point: each such cap is a
    // little narrower than the one before.
    let mut alike: HashMap<&[Arc], u32> = HashMap::new();
    let mut known: HashSet<Vec<u64>> = HashSet::new();
    for (node, arcs) in (0u32..).zip(&arcs) {
        let narrower = alike.entry(arcs).or_insert(0);
        let mut cap = curve.cap(arcs, inset(*narrower));
        while !known.insert(cap.bits()) && *narrower < MOST_ALIKE {
            *narrower += 1;
            cap = curve.cap(arcs, inset(*narrower));
        }
        *narrower += 1;
        let grown = ((2.0 - cap.depth) / cap.depth).max(1.0);
        let sinh = if is_single_root(hierarchy, node) { 0.0 } else { (grown - 1.0 / grown) / 2.0 };
        let spatial = cap.centre.iter().map(|x| x * sinh);
        points.extend(spatial.chain(std::iter::repeat(0.0)).take(dimension));
    }
    Ok(points)
}

/// How many nodes are told apart by the width of their caps alone.
const MOST_ALIKE: u32 = 1_000;

fn inset(narrower: u32) -> f64 {
    MOST_INSET * (1.0 - 1.0 / (1.0 + f64::from(narrower)))
}
