//! How well distances give the hierarchy back.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::graph::Hierarchy;

/// How [`reconstruction`] is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReconstructionOptions {
    /// Ask only this many nodes, spread evenly over the node numbers; each is still compared with
    /// every node. All nodes if absent.
    pub sample: Option<NonZeroUsize>,
    /// Threads to use; as many as the machine runs at once if absent. The result does not depend
    /// on it.
    pub threads: Option<NonZeroUsize>,
}

/// How well the distances between points give back two relations of the hierarchy.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Reconstruction {
    /// A node and each of its ancestors: the transitive closure, as Nickel and Kiela (2017)
    /// measure it.
    pub ancestors: RelationScore,
    /// A node and each of its parents and children: the undirected graph, as Sala et al. (2018)
    /// measure it.
    pub neighbours: RelationScore,
}

/// The scores of one relation.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RelationScore {
    /// Mean average precision: for each node that has related nodes, the mean over these of the
    /// share of related nodes among all nodes at most as far away; then the mean over the nodes.
    /// 1 is perfect.
    pub map: f64,
    /// The mean over all related pairs of 1 + the number of unrelated nodes that are at most as
    /// far away as the related one. 1 is perfect.
    pub mean_rank: f64,
    /// How many nodes were asked: those of the sample that have related nodes.
    pub nodes: usize,
    /// How many related pairs they have.
    pub pairs: usize,
}

/// Why an embedding cannot be measured.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReconstructionError {
    /// The block of coordinates does not hold one point per node.
    #[error(
        "{coordinates} coordinates are not {nodes} points of dimension {dimension} \
         ({} would be)",
        .nodes * .dimension
    )]
    Length {
        /// How many coordinates were given.
        coordinates: usize,
        /// The number of nodes.
        nodes: usize,
        /// The dimension.
        dimension: usize,
    },
    /// A coordinate is not a number, or the point is too far out for its distance to be computed.
    #[error("the point of node {node} is not finite, or farther out than radius 354")]
    NotFinite {
        /// The node's number.
        node: usize,
    },
    /// A worker thread ended early.
    #[error("a worker thread of the measurement ended early")]
    Worker,
}

/// Ranks, for every node (or a sample), all other nodes by hyperbolic distance and compares the
/// ranking with the hierarchy.
///
/// `points` holds, node after node, the `dimension` spatial coordinates on the hyperboloid of
/// curvature −1 (the time coordinate follows from them). Ties count against the embedding, so
/// points that coincide are scored worst, not best. A node itself is never ranked.
///
/// Takes nodes² · dimension steps: about a minute for 82,000 nodes in 16 dimensions.
///
/// # Errors
/// A block of the wrong length, and a point that is not finite.
pub fn reconstruction(
    hierarchy: &Hierarchy,
    points: &[f64],
    dimension: usize,
    options: &ReconstructionOptions,
) -> Result<Reconstruction, ReconstructionError> {
    let nodes = hierarchy.len();
    if dimension == 0 || points.len() != nodes * dimension {
        return Err(ReconstructionError::Length { coordinates: points.len(), nodes, dimension });
    }
    let polar = Polar::new(points, dimension)?;
    let asked = options.sample.map_or(nodes, |sample| sample.get().min(nodes));
    let threads = options
        .threads
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZeroUsize::get)
        .min(asked);
    let next = AtomicUsize::new(0);
    let mut scores = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| Worker::new(hierarchy, &polar).run(&next, asked)))
            .collect();
        let mut scores = Vec::with_capacity(asked);
        for worker in workers {
            scores.extend(worker.join().map_err(|_| ReconstructionError::Worker)?);
        }
        Ok(scores)
    })?;
    // Sums of floating-point numbers depend on their order; this one makes the result the same
    // for any number of threads.
    scores.sort_unstable_by_key(|score| score.node);
    Ok(Reconstruction {
        ancestors: total(scores.iter().map(|score| score.ancestors)),
        neighbours: total(scores.iter().map(|score| score.neighbours)),
    })
}

fn total(scores: impl Iterator<Item = Score>) -> RelationScore {
    let (mut precision, mut ranks, mut nodes, mut pairs) = (0.0, 0u128, 0, 0);
    for score in scores.filter(|score| score.pairs > 0) {
        precision += score.average_precision;
        ranks += u128::from(score.rank_sum);
        nodes += 1;
        pairs += score.pairs;
    }
    RelationScore {
        map: precision / nodes.max(1) as f64,
        mean_rank: ranks as f64 / pairs.max(1) as f64,
        nodes,
        pairs,
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Score {
    average_precision: f64,
    rank_sum: u64,
    pairs: usize,
}

struct NodeScore {
    node: usize,
    ancestors: Score,
    neighbours: Score,
}

/// How many points one step of the distance loop takes: small enough for the first-level cache.
const BLOCK: usize = 512;

/// The points in polar form, from which sinh²(d/2) follows without cancellation or any
/// transcendental function: sinh²((r₁−r₂)/2) + sinh r₁ · sinh r₂ · |u₁−u₂|²/4.
struct Polar {
    /// e^(r/2) of each point.
    grown: Vec<f64>,
    /// sinh r of each point.
    sinh: Vec<f64>,
    /// The unit directions, block after block; within a block coordinate after coordinate.
    directions: Vec<f64>,
    dimension: usize,
}

impl Polar {
    fn new(points: &[f64], dimension: usize) -> Result<Self, ReconstructionError> {
        let nodes = points.len() / dimension;
        let mut grown = Vec::with_capacity(nodes);
        let mut sinh = Vec::with_capacity(nodes);
        let mut directions = Vec::with_capacity(points.len());
        for (block, start) in points.chunks(BLOCK * dimension).zip((0..).step_by(BLOCK)) {
            let first = sinh.len();
            for (point, node) in block.chunks_exact(dimension).zip(start..) {
                let norm = point.iter().map(|x| x * x).sum::<f64>().sqrt();
                if !norm.is_finite() {
                    return Err(ReconstructionError::NotFinite { node });
                }
                sinh.push(norm);
                grown.push((norm + (1.0 + norm * norm).sqrt()).sqrt());
            }
            for axis in 0..dimension {
                let coordinates = block.iter().skip(axis).step_by(dimension);
                let norms = sinh.iter().skip(first);
                directions.extend(
                    coordinates
                        .zip(norms)
                        .map(|(x, norm)| if *norm > 0.0 { x / norm } else { 0.0 }),
                );
            }
        }
        Ok(Self { grown, sinh, directions, dimension })
    }

    /// The direction of one point.
    fn direction(&self, node: usize) -> impl Iterator<Item = f64> {
        let block = node / BLOCK;
        let width = (self.sinh.len() - (block * BLOCK).min(self.sinh.len())).min(BLOCK);
        let first = block * BLOCK * self.dimension + node % BLOCK;
        self.directions.iter().skip(first).step_by(width.max(1)).take(self.dimension).copied()
    }

    /// Writes sinh²(d/2) from `node` to every point into `keys`.
    fn keys(&self, node: usize, keys: &mut [f64]) {
        let own_grown = self.grown.get(node).copied().unwrap_or(1.0);
        let own_shrunk = 1.0 / own_grown;
        let quarter_sinh = self.sinh.get(node).copied().unwrap_or(0.0) / 4.0;
        let direction: Vec<f64> = self.direction(node).collect();
        let mut directions = self.directions.as_slice();
        let blocks =
            keys.chunks_mut(BLOCK).zip(self.grown.chunks(BLOCK).zip(self.sinh.chunks(BLOCK)));
        for (keys, (grown, sinh)) in blocks {
            keys.fill(0.0);
            let Some((block, rest)) = directions.split_at_checked(keys.len() * self.dimension)
            else {
                return;
            };
            directions = rest;
            for (coordinates, own) in block.chunks_exact(keys.len()).zip(&direction) {
                for (key, x) in keys.iter_mut().zip(coordinates) {
                    *key += (x - own) * (x - own);
                }
            }
            for (key, (grown, sinh)) in keys.iter_mut().zip(grown.iter().zip(sinh)) {
                let radial = (own_grown / grown - grown * own_shrunk) / 2.0;
                *key = radial * radial + quarter_sinh * sinh * *key;
            }
        }
    }
}

struct Worker<'a> {
    hierarchy: &'a Hierarchy,
    polar: &'a Polar,
    keys: Vec<f64>,
    seen: Vec<u32>,
    stamp: u32,
}

impl<'a> Worker<'a> {
    fn new(hierarchy: &'a Hierarchy, polar: &'a Polar) -> Self {
        let nodes = hierarchy.len();
        Self { hierarchy, polar, keys: vec![0.0; nodes], seen: vec![0; nodes], stamp: 0 }
    }

    fn run(mut self, next: &AtomicUsize, asked: usize) -> Vec<NodeScore> {
        let nodes = self.hierarchy.len();
        let mut scores = Vec::new();
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            if turn >= asked {
                return scores;
            }
            // Spread evenly; wide enough for 2^32 nodes.
            let node = (turn as u128 * nodes as u128 / asked as u128) as usize;
            scores.push(self.score(node));
        }
    }

    fn score(&mut self, node: usize) -> NodeScore {
        self.polar.keys(node, &mut self.keys);
        let number = u32::try_from(node).unwrap_or(u32::MAX);
        self.stamp += 1;
        let mut ancestors = Vec::new();
        self.hierarchy.ancestors(number, &mut self.seen, self.stamp, &mut ancestors);
        let parents = self.hierarchy.parents(number).iter();
        let neighbours: Vec<u32> =
            parents.chain(self.hierarchy.children(number)).copied().collect();
        NodeScore {
            node,
            ancestors: self.rank(node, &ancestors),
            neighbours: self.rank(node, &neighbours),
        }
    }

    fn rank(&mut self, node: usize, related: &[u32]) -> Score {
        // The node and its related nodes are taken out, so that what is left are strangers.
        let mut taken: Vec<(usize, f64)> = Vec::with_capacity(related.len() + 1);
        for other in related.iter().map(|&other| other as usize).chain([node]) {
            if let Some(key) = self.keys.get_mut(other) {
                taken.push((other, std::mem::replace(key, f64::INFINITY)));
            }
        }
        let mut near: Vec<f64> =
            taken.iter().filter(|(other, _)| *other != node).map(|(_, key)| *key).collect();
        near.sort_unstable_by(f64::total_cmp);
        let farthest = near.last().copied().unwrap_or(f64::NEG_INFINITY);
        // How many strangers come before a related node, but not before the one ahead of it.
        let mut before = vec![0u64; near.len()];
        for &key in self.keys.iter().filter(|key| **key <= farthest) {
            let place = near.partition_point(|&other| other < key);
            if let Some(count) = before.get_mut(place) {
                *count += 1;
            }
        }
        for (other, taken_key) in taken {
            if let Some(key) = self.keys.get_mut(other) {
                *key = taken_key;
            }
        }
        let mut score = Score { pairs: near.len(), ..Score::default() };
        let mut strangers = 0;
        for (position, count) in (1u64..).zip(&before) {
            strangers += count;
            score.rank_sum += strangers + 1;
            score.average_precision += position as f64 / (position + strangers) as f64;
        }
        score.average_precision /= near.len().max(1) as f64;
        score
    }
}
