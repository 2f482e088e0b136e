//! Balls packed into the smallest ball that the known directions allow.

use super::directions::{Directions, dot};

/// Packs balls around the centre of a common ball, the largest into the directions that are
/// farthest apart.
#[derive(Debug, Clone)]
pub(super) struct Packer {
    directions: Directions,
    at_once: usize,
    dimension: usize,
}

/// Balls in the ball around them, which has radius 1 and its centre at the origin.
#[derive(Debug, Clone)]
pub(super) struct Packing {
    /// ln of the radius of the ball around them, in the unit of the given radii.
    pub(super) log_radius: f64,
    /// Each ball's number and centre.
    pub(super) centres: Vec<(u32, Vec<f64>)>,
}

/// A ball to be packed, or several balls that have been packed already and stay together.
struct Item {
    log_radius: f64,
    content: Vec<(u32, Vec<f64>)>,
}

/// Free space around every ball, as a share of the common ball.
const SLACK: f64 = 1.04;

impl Packer {
    pub(super) fn new(dimension: usize, most: usize) -> Self {
        let directions = Directions::new(dimension, most);
        let at_once = directions.best_count().max(2);
        Self { directions, at_once, dimension }
    }

    /// Packs balls given as (number, ln radius) into disjoint places. With `hole`, none of them
    /// contains the centre of the common ball.
    pub(super) fn pack(&self, balls: &[(u32, f64)], hole: bool) -> Packing {
        let mut items: Vec<Item> = balls
            .iter()
            .map(|&(number, log_radius)| Item {
                log_radius,
                content: vec![(number, vec![0.0; self.dimension])],
            })
            .collect();
        while items.len() > self.at_once {
            items.sort_by(|a, b| b.log_radius.total_cmp(&a.log_radius));
            let groups = (items.len() - self.at_once)
                .div_ceil(self.at_once - 1)
                .min(items.len() / self.at_once)
                .max(1);
            let small = items.split_off(items.len() - (groups * self.at_once).min(items.len()));
            let mut small = small.into_iter().peekable();
            while small.peek().is_some() {
                items.push(self.join(small.by_ref().take(self.at_once).collect(), false));
            }
        }
        let joined = self.join(items, hole);
        Packing { log_radius: joined.log_radius, centres: joined.content }
    }

    fn join(&self, mut items: Vec<Item>, hole: bool) -> Item {
        items.sort_by(|a, b| b.log_radius.total_cmp(&a.log_radius));
        let Some(largest) = items.first().map(|item| item.log_radius) else {
            return Item { log_radius: 0.0, content: Vec::new() };
        };
        let radii: Vec<f64> = items.iter().map(|item| (item.log_radius - largest).exp()).collect();
        let radius = self.radius_around(&radii, hole) * SLACK;
        let mut content = Vec::new();
        for ((item, ball), direction) in items.into_iter().zip(&radii).zip(self.directions.iter()) {
            let share = ball / radius;
            for (number, mut centre) in item.content {
                for (x, towards) in centre.iter_mut().zip(direction) {
                    *x = share * *x + (1.0 - share) * towards;
                }
                content.push((number, centre));
            }
        }
        Item { log_radius: largest + radius.ln(), content }
    }

    /// The smallest common radius S for balls of these radii, the i-th in the i-th direction and
    /// touching the common ball from inside. Two of radii a and b at cosine g are apart if
    /// (S−a)(S−b) ≥ 2ab/(1−g), which is a quadratic inequality in S.
    fn radius_around(&self, radii: &[f64], hole: bool) -> f64 {
        let largest = radii.first().copied().unwrap_or(1.0);
        if radii.len() > 1 && radii.last() == Some(&largest) {
            let alike = largest * self.directions.radius_around(radii.len());
            return if hole { alike.max(2.0 * largest) } else { alike };
        }
        let mut radius = if hole { 2.0 * largest } else { largest };
        for (position, (a, direction)) in radii.iter().zip(self.directions.iter()).enumerate() {
            for (b, other) in radii.iter().zip(self.directions.iter()).take(position) {
                let apart = 1.0 - dot(direction, other);
                let needed = f64::midpoint(a + b, ((a - b) * (a - b) + 8.0 * a * b / apart).sqrt());
                radius = radius.max(needed);
            }
        }
        radius
    }
}
