//! Points that are spread evenly over a ball of hyperbolic space, and their true neighbours.

use std::thread;

/// A pseudo-random sequence that is the same on every machine and for ever (splitmix64), because
/// a figure is worth comparing only with one on the same points.
pub(crate) struct Sequence(u64);

impl Sequence {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Even over (0, 1].
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64
    }

    /// Normally distributed, by the method of Box and Muller.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// Points of a hyperboloid of curvature -1 as their spatial coordinates in f32, one point after
/// the other: what the node stores.
pub(crate) struct Points {
    pub(crate) dimension: usize,
    pub(crate) coordinates: Vec<f32>,
}

impl Points {
    /// `count` points, even by volume over the ball of the given radius.
    ///
    /// The volume at distance r grows as sinh^(n-1) r. An exponential distribution towards the
    /// edge is always at least as dense, so some of its values are dropped to get the exact one.
    pub(crate) fn in_ball(dimension: usize, radius: f64, count: usize, seed: u64) -> Self {
        let mut sequence = Sequence::new(seed);
        let mut coordinates = Vec::with_capacity(count * dimension);
        let exponent = (dimension - 1) as f64;
        let mut direction = vec![0.0; dimension];
        for _ in 0..count {
            let r = loop {
                let candidate = radius + sequence.unit().ln() / exponent;
                let kept = (1.0 - (-2.0 * candidate).exp()).powf(exponent);
                if candidate > 0.0 && sequence.unit() <= kept {
                    break candidate;
                }
            };
            let mut squares = 0.0;
            for coordinate in &mut direction {
                *coordinate = sequence.normal();
                squares += *coordinate * *coordinate;
            }
            let scale = r.sinh() / f64::sqrt(squares);
            #[expect(clippy::cast_possible_truncation, reason = "what the node stores")]
            coordinates.extend(direction.iter().map(|coordinate| (coordinate * scale) as f32));
        }
        Self { dimension, coordinates }
    }

    pub(crate) fn len(&self) -> usize {
        self.coordinates.len() / self.dimension
    }

    /// The spatial coordinates of every point.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.coordinates.chunks_exact(self.dimension)
    }

    pub(crate) fn get(&self, at: usize) -> &[f32] {
        let start = at * self.dimension;
        self.coordinates.get(start..start + self.dimension).unwrap_or_default()
    }

    /// All coordinates of a point, the time coordinate first.
    pub(crate) fn ambient(spatial: &[f32]) -> Vec<f64> {
        let mut point = Vec::with_capacity(spatial.len() + 1);
        point.push(time_of(spatial));
        point.extend(spatial.iter().map(|coordinate| f64::from(*coordinate)));
        point
    }

    /// The `k` nearest points to each query, nearest first, by comparing with every one.
    pub(crate) fn nearest(&self, queries: &Points, k: usize) -> Vec<Vec<Neighbour>> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let times: Vec<f64> = self.iter().map(time_of).collect();
        let all: Vec<&[f32]> = queries.iter().collect();
        let share = all.len().div_ceil(threads).max(1);
        thread::scope(|scope| {
            let times = &times;
            let workers: Vec<_> = all
                .chunks(share)
                .map(|part| {
                    scope.spawn(move || {
                        part.iter().map(|query| self.nearest_to(query, times, k)).collect()
                    })
                })
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or(Vec::new())).collect()
        })
    }

    fn nearest_to(&self, query: &[f32], times: &[f64], k: usize) -> Vec<Neighbour> {
        let query_time = time_of(query);
        let query: Vec<f64> = query.iter().map(|coordinate| f64::from(*coordinate)).collect();
        // Sorted by the cosine hyperbolicus of the distance, which is monotone in it.
        let mut best: Vec<(f64, usize)> = Vec::with_capacity(k + 1);
        let mut worst = f64::INFINITY;
        for (at, (point, time)) in self.iter().zip(times).enumerate() {
            let spatial: f64 = query.iter().zip(point).map(|(a, b)| a * f64::from(*b)).sum();
            let cosh = query_time * time - spatial;
            if cosh < worst {
                let place = best.partition_point(|(other, _)| *other <= cosh);
                best.insert(place, (cosh, at));
                best.truncate(k);
                if best.len() == k {
                    worst = best.last().map_or(f64::INFINITY, |(cosh, _)| *cosh);
                }
            }
        }
        best.into_iter()
            .map(|(cosh, at)| Neighbour { at, distance: cosh.max(1.0).acosh() })
            .collect()
    }
}

/// A point and how far away it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Neighbour {
    pub(crate) at: usize,
    pub(crate) distance: f64,
}

fn time_of(spatial: &[f32]) -> f64 {
    let squares: f64 = spatial.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    (1.0 + squares).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_radius_follows_the_volume() {
        // In the plane (n = 2) the share of the area within r is (cosh r - 1) / (cosh R - 1).
        let points = Points::in_ball(2, 3.0, 20_000, 1);
        let within = points.iter().filter(|p| time_of(p) <= 2.0_f64.cosh()).count() as f64;
        let expected = (2.0_f64.cosh() - 1.0) / (3.0_f64.cosh() - 1.0);
        let share = within / points.len() as f64;
        assert!((share - expected).abs() < 0.01, "{share} instead of {expected}");
        assert!(points.iter().all(|p| time_of(p) <= 3.0_f64.cosh() * 1.000_001));
    }

    #[test]
    fn the_same_seed_gives_the_same_points() {
        let first = Points::in_ball(12, 4.0, 100, 7);
        assert_eq!(first.coordinates, Points::in_ball(12, 4.0, 100, 7).coordinates);
        assert_ne!(first.coordinates, Points::in_ball(12, 4.0, 100, 8).coordinates);
    }

    #[test]
    fn the_nearest_are_those_of_the_geometry_crate() {
        let space = hvs_geometry::Space::new(hvs_geometry::Geometry::Hyperboloid, 3, -1.0).unwrap();
        let points = Points::in_ball(3, 2.0, 500, 3);
        let queries = Points::in_ball(3, 2.0, 20, 4);
        for (query, found) in queries.iter().zip(points.nearest(&queries, 5)) {
            let query = Points::ambient(query);
            let mut all: Vec<Neighbour> = points
                .iter()
                .map(|point| space.distance(&query, &Points::ambient(point)).unwrap())
                .enumerate()
                .map(|(at, distance)| Neighbour { at, distance })
                .collect();
            all.sort_by(|a, b| a.distance.total_cmp(&b.distance));
            for (expected, got) in all.iter().zip(&found) {
                assert_eq!(expected.at, got.at);
                assert!((expected.distance - got.distance).abs() < 1e-6);
            }
            assert_eq!(found.len(), 5);
        }
    }
}
