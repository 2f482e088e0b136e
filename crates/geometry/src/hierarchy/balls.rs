//! Nested balls of R^m, one per node, those of siblings side by side.

use super::packing::Packer;
use super::tree::{NONE, Tree, get, set};

/// The radius of the ball around all: small enough for its image on the sphere, and the images of
/// those in it, to be caps with nearly the same centres.
pub(super) const WHOLE: f64 = 0.7;

/// Balls of R^m, one per node.
#[derive(Debug, Clone)]
pub(super) struct Balls {
    pub(super) centres: Vec<f64>,
    pub(super) radii: Vec<f64>,
    pub(super) dimension: usize,
    /// How far the sizes were squeezed to keep to the smallest allowed radius: 1 where they fit.
    pub(super) squeeze: f64,
}

impl Balls {
    pub(super) fn centre(&self, node: u32) -> &[f64] {
        let first = node as usize * self.dimension;
        self.centres.get(first..first + self.dimension).unwrap_or(&[])
    }

    pub(super) fn radius(&self, node: u32) -> f64 {
        get(&self.radii, node, 0.0)
    }

    fn put(&mut self, node: u32, centre: &[f64], radius: f64) {
        let first = node as usize * self.dimension;
        if let Some(place) = self.centres.get_mut(first..first + self.dimension) {
            place.copy_from_slice(centre);
        }
        set(&mut self.radii, node, radius);
    }

    /// Lays out the tree inside a ball around the origin of R^`dimension`, no ball smaller than
    /// e^−`depth`.
    ///
    /// From the leaves up, each node gets the smallest ball that holds those of its children, side
    /// by side and clear of its own centre. From the root down, these sizes become places. Where
    /// that would need balls smaller than allowed, all steps from parent to child are shortened
    /// alike on the logarithmic scale: children stay inside their parents, but siblings begin to
    /// overlap.
    pub(super) fn lay_out(tree: &Tree, packer: &Packer, dimension: usize, depth: f64) -> Self {
        let count = tree.parents.len();
        let mut log_radii = vec![0.0; count];
        let mut offsets = vec![0.0; count * dimension];
        let roots: Vec<u32> = tree.roots().collect();
        let single = roots.len() == 1;
        let mut pack = |node: Option<u32>, members: &[u32], hole: bool| {
            let balls: Vec<(u32, f64)> =
                members.iter().map(|&member| (member, get(&log_radii, member, 0.0))).collect();
            let packing = packer.pack(&balls, hole);
            for (member, centre) in packing.centres {
                let first = member as usize * dimension;
                if let Some(place) = offsets.get_mut(first..first + dimension) {
                    place.copy_from_slice(&centre);
                }
            }
            if let Some(node) = node {
                set(&mut log_radii, node, packing.log_radius);
            }
            packing.log_radius
        };
        for &node in tree.order.iter().rev() {
            let children = tree.children.row(node);
            if !children.is_empty() {
                let is_root = single && get(&tree.parents, node, NONE) == NONE;
                pack(Some(node), children, !is_root);
            }
        }
        let whole = match roots.as_slice() {
            [root] => get(&log_radii, *root, 0.0),
            _ => pack(None, &roots, false),
        };
        let depth = (depth + WHOLE.ln()).max(0.1);
        let squeeze = if whole > depth { depth / whole } else { 1.0 };
        let mut balls = Self {
            centres: vec![0.0; count * dimension],
            radii: vec![0.0; count],
            dimension,
            squeeze,
        };
        if let [root] = roots.as_slice() {
            balls.put(*root, &vec![0.0; dimension], WHOLE);
        }
        let mut centre = vec![0.0; dimension];
        for &node in &tree.order {
            let parent = get(&tree.parents, node, NONE);
            if parent == NONE && single {
                continue;
            }
            let outer = if parent == NONE { whole } else { get(&log_radii, parent, 0.0) };
            let outer_radius = if parent == NONE { WHOLE } else { balls.radius(parent) };
            let step = get(&log_radii, node, 0.0) - outer;
            let share = (step * squeeze).exp();
            let stretch =
                if squeeze < 1.0 { (1.0 - share) / (1.0 - step.exp()).max(1e-9) } else { 1.0 };
            let first = node as usize * dimension;
            let offset = offsets.get(first..first + dimension).unwrap_or(&[]);
            let from = if parent == NONE { &[] } else { balls.centre(parent) };
            for ((x, towards), origin) in
                centre.iter_mut().zip(offset).zip(from.iter().chain(std::iter::repeat(&0.0)))
            {
                *x = origin + outer_radius * stretch * towards;
            }
            balls.put(node, &centre, outer_radius * share);
        }
        balls
    }
}
