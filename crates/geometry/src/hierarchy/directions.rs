//! Directions that keep their distance from one another.

/// Candidates per wanted direction.
const CANDIDATES: usize = 8;

/// Unit vectors of R^m of which every beginning is well spread: each is, of a fixed pool, the one
/// farthest from all before it (Gonzalez's farthest-first traversal).
#[derive(Debug, Clone)]
pub(super) struct Directions {
    vectors: Vec<f64>,
    dimension: usize,
    /// The largest cosine between two of the first i + 1 directions.
    closest: Vec<f64>,
}

impl Directions {
    /// At most `count` directions of R^`dimension`; only two exist for dimension 1.
    pub(super) fn new(dimension: usize, count: usize) -> Self {
        let pool = pool(dimension, count);
        // The largest cosine of each candidate to any direction chosen so far.
        let mut cosines = vec![f64::NEG_INFINITY; pool.len() / dimension.max(1)];
        let mut chosen = Self { vectors: Vec::new(), dimension, closest: Vec::new() };
        let mut widest = f64::NEG_INFINITY;
        let mut next = 0;
        for _ in 0..count.min(cosines.len()) {
            let Some(vector) = pool.chunks_exact(dimension).nth(next) else { break };
            let cosine = cosines.get(next).copied().unwrap_or(1.0);
            if cosine > 1.0 - 1e-9 {
                break;
            }
            widest = widest.max(cosine);
            chosen.closest.push(widest);
            chosen.vectors.extend_from_slice(vector);
            let mut best = f64::INFINITY;
            for ((number, candidate), cosine) in
                pool.chunks_exact(dimension).enumerate().zip(&mut cosines)
            {
                *cosine = cosine.max(dot(vector, candidate));
                if *cosine < best {
                    best = *cosine;
                    next = number;
                }
            }
        }
        chosen
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.vectors.chunks_exact(self.dimension)
    }

    /// The radius of the ball around balls of radius 1 that touch it in the first `count`
    /// directions: S = 1 + √(2 / (1 − cosine)).
    pub(super) fn radius_around(&self, count: usize) -> f64 {
        let closest = self.closest.get(count.saturating_sub(1)).copied().unwrap_or(0.0);
        if count < 2 { 1.0 } else { 1.0 + (2.0 / (1.0 - closest)).sqrt() }
    }

    /// How many to use at once. N balls packed k at a time, groups of groups, need a ball that
    /// grows as N^(ln S(k) / ln k): the k with the smallest exponent.
    pub(super) fn best_count(&self) -> usize {
        let exponent = |count: &usize| self.radius_around(*count).ln() / (*count as f64).ln();
        (2..=self.closest.len()).min_by(|a, b| exponent(a).total_cmp(&exponent(b))).unwrap_or(1)
    }
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// The axes in both senses, then pseudo-random directions from a fixed seed. Only operations that
/// IEEE 754 rounds exactly, so the same everywhere.
fn pool(dimension: usize, count: usize) -> Vec<f64> {
    let mut pool = Vec::new();
    for axis in 0..dimension {
        for sign in [1.0, -1.0] {
            pool.extend((0..dimension).map(|other| if other == axis { sign } else { 0.0 }));
        }
    }
    if dimension < 2 {
        return pool;
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..count * CANDIDATES {
        let vector: Vec<f64> = (0..dimension).map(|_| bell(&mut state)).collect();
        let norm = dot(&vector, &vector).sqrt();
        if norm > 0.0 {
            pool.extend(vector.iter().map(|x| x / norm));
        }
    }
    pool
}

/// Close to a normal variable: the sum of twelve uniform ones.
fn bell(state: &mut u64) -> f64 {
    (0..12).map(|_| (splitmix(state) >> 11) as f64 / (1u64 << 53) as f64 - 0.5).sum()
}

/// `SplitMix64` (Steele, Lea and Flood 2014).
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
