//! Centres by k-means, with the distance and the mean of the space.
//!
//! The mean is the one of `hvs_geometry`, component by component: the Fréchet mean, which is the
//! arithmetic one in flat space; in hyperbolic space the Lorentz centroid, because the Fréchet mean
//! is an iteration there that takes tens of steps for points far out, and a centre is wanted often
//! and only has to be somewhere in the middle. Rows are assigned by ranking keys.

use hvs_geometry::{Geometry, Space};

use crate::{
    metric::{Lane, Metric},
    random::Random,
};

/// Rows per list that centres are found from.
const SAMPLE: usize = 32;
/// Rounds of assigning and averaging.
const ROUNDS: usize = 8;

/// What centres are found from.
pub(super) struct Clustering<'a, 'b, T> {
    pub(super) metric: &'b Metric<T>,
    pub(super) ranking: &'b [T],
    pub(super) stored: &'b dyn Fn(usize) -> &'a [T],
    pub(super) stop: &'b dyn Fn() -> bool,
}

/// The row of a matrix nearest to a query, and its key.
pub(super) fn nearest<T: Lane>(
    metric: &Metric<T>,
    query: &[T],
    matrix: &[T],
    keys: &mut Vec<T>,
) -> (usize, T) {
    metric.kernel().scan(query, matrix, keys);
    let mut best = (0, T::INFINITY);
    for (at, &key) in keys.iter().enumerate() {
        if key < best.1 {
            best = (at, key);
        }
    }
    best
}

impl<T: Lane> Clustering<'_, '_, T> {
    /// The ranking rows of `count` centres; `None` to give up.
    pub(super) fn centres(&self, count: usize, random: &mut Random) -> Option<Vec<T>> {
        let lanes = self.metric.lanes();
        let rows = self.ranking.len() / lanes.max(1);
        let sample = random.sample(rows, count.saturating_mul(SAMPLE));
        let mut matrix: Vec<T> = Vec::with_capacity(sample.len() * lanes);
        for &row in &sample {
            matrix.extend_from_slice(self.row(row)?);
        }
        let mut centres = self.seeds(count, &matrix, random)?;
        let mut keys = Vec::new();
        for _ in 0..ROUNDS {
            let mut members: Vec<Vec<usize>> = vec![Vec::new(); count];
            for (&row, own) in sample.iter().zip(matrix.chunks_exact(lanes)) {
                if row % 1_024 == 0 && (self.stop)() {
                    return None;
                }
                let (list, _) = nearest(self.metric, own, &centres, &mut keys);
                members.get_mut(list)?.push(row);
            }
            let mut moved = Vec::with_capacity(centres.len());
            for (members, before) in members.iter().zip(centres.chunks_exact(lanes)) {
                if (self.stop)() {
                    return None;
                }
                let mean = self.mean(members);
                let row = mean.and_then(|mean| {
                    let mut row = Vec::with_capacity(lanes);
                    self.metric.encode(&mean, &mut row).ok().map(|()| row)
                });
                // Where there is no mean (no members, or balanced around a sphere) it stays.
                moved.extend_from_slice(row.as_deref().unwrap_or(before));
            }
            if moved == centres {
                break;
            }
            centres = moved;
        }
        Some(centres)
    }

    /// Rows of the sample, each taken with a probability that grows with its squared distance to
    /// those before it (Arthur and Vassilvitskii 2007).
    fn seeds(&self, count: usize, matrix: &[T], random: &mut Random) -> Option<Vec<T>> {
        let lanes = self.metric.lanes();
        let rows = matrix.len() / lanes;
        let mut seeds: Vec<T> = Vec::with_capacity(count * lanes);
        let mut squares = vec![f64::INFINITY; rows];
        let mut keys = Vec::new();
        let mut next = random.below(rows);
        for _ in 0..count {
            if (self.stop)() {
                return None;
            }
            let seed = matrix.get(next * lanes..(next + 1) * lanes)?;
            seeds.extend_from_slice(seed);
            self.metric.kernel().scan(seed, matrix, &mut keys);
            for (square, key) in squares.iter_mut().zip(&keys) {
                *square = square.min(self.metric.distance_of_key(key.to_f64()).powi(2));
            }
            let total: f64 = squares.iter().sum();
            let mut left = random.unit() * total;
            next = squares
                .iter()
                .position(|square| {
                    left -= square;
                    left < 0.0
                })
                // All lie on a seed already.
                .unwrap_or_else(|| random.below(rows));
        }
        Some(seeds)
    }

    /// The mean of rows in storage form.
    fn mean(&self, rows: &[usize]) -> Option<Vec<f64>> {
        if rows.is_empty() {
            return None;
        }
        let space = self.metric.space();
        let parts = space.components();
        if space.geometry().is_some() {
            return self.mean_of_part(space, 0, rows);
        }
        let (mut offset, mut mean) = (0, Vec::new());
        for part in parts {
            mean.extend(self.mean_of_part(&part.space, offset, rows)?);
            offset += part.space.storage_len();
        }
        Some(mean)
    }

    fn mean_of_part(&self, space: &Space, offset: usize, rows: &[usize]) -> Option<Vec<f64>> {
        let points: Vec<Vec<f64>> = rows
            .iter()
            .filter_map(|&row| {
                let stored = (self.stored)(row).get(offset..offset + space.storage_len())?;
                let wide: Vec<f64> = stored.iter().map(|lane| lane.to_f64()).collect();
                Some(space.from_storage(&wide))
            })
            .collect();
        let mean = if space.geometry().is_some_and(Geometry::is_hyperbolic) {
            space.lorentz_centroid(&points, None).ok()?
        } else {
            space.frechet_mean(&points, None).ok()?.point
        };
        Some(space.to_storage(&mean))
    }

    fn row(&self, row: usize) -> Option<&[T]> {
        let lanes = self.metric.lanes();
        self.ranking.get(row * lanes..(row + 1) * lanes)
    }
}
