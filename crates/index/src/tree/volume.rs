//! Volumes that hold rows, and how near a query can be to anything in one.
//!
//! Every figure is computed in f64 from stored vectors. A volume of a single space is
//!
//! - Euclidean: a ball, by the triangle inequality;
//! - spherical: a cap, by the triangle inequality of great circles;
//! - hyperbolic: a cap of directions as seen from the origin, between two radii. The angle between
//!   the query and anything in the cap is bounded on the sphere of directions, and the hyperbolic
//!   law of cosines then gives the nearest point that may exist. Volume grows exponentially with
//!   the radius, so a ball around rows far out would reach back to the origin; this shape does not.
//!
//! A product's volume is the product of its components' volumes, and its bound the weighted root of
//! the sum of theirs squared, as its distance is.
//!
//! Bounds hold for distances as the geometry computes them, not only for exact ones: all that
//! rounding can do is subtracted. A direction is off by at most some ε, and so is the half-angle
//! sine of two of them (`DIRECTION`); radii in a ball are off by ε·e^r (Klein: ε·e^2r), which the
//! triangle inequality lets through to the distance at most unchanged.

use crate::metric::{Lane, Metric, POLAR_EXTRA, Shape};

/// Numbers of a volume after its centre.
pub(crate) const EXTRA: usize = 4;
/// What rounding may do to the sine of half an angle, in ε: 3 in computing it, 3 in the volume's
/// own, 2 in subtracting one from the other, 4 in the geometry's distance; and an eighth for each
/// coordinate that a direction's length is summed over.
const DIRECTION: f64 = 12.0;
const DIRECTION_PER_COORDINATE: f64 = 0.125;
/// Relative errors of sums over coordinates and of the functions that follow.
const RELATIVE: f64 = 1e-12;

/// The numbers of one component of a query.
#[derive(Debug)]
struct QueryPart {
    shape: Shape,
    weight: f64,
    /// A point (Euclidean), else a direction.
    centre: Vec<f64>,
    /// The length, for spheres in units of their radius.
    length: f64,
    polar: PolarQuery,
    /// What rounding may do to the sine of half an angle.
    direction: f64,
}

/// A hyperbolic radius r in the forms that a bound needs.
#[derive(Debug, Default, Clone, Copy)]
struct PolarQuery {
    /// sinh r.
    sinh: f64,
    /// e^(r/2)/√2 and e^(-r/2)/√2.
    half: f64,
    inverse: f64,
    /// tanh r and 1 - tanh r.
    tanh: f64,
    rest: f64,
}

/// A query, to be compared with volumes.
#[derive(Debug)]
pub(crate) struct VolumeQuery {
    parts: Vec<QueryPart>,
    is_product: bool,
}

/// Numbers in a volume.
pub(crate) fn width<T: Lane>(metric: &Metric<T>) -> usize {
    metric.parts().map(|(shape, _)| centre_len(shape) + EXTRA).sum()
}

fn centre_len(shape: Shape) -> usize {
    shape.stored().next_multiple_of(4)
}

/// The centre, or direction, that a vector has in one component, and its length; the half-angle
/// numbers of its radius where the component is hyperbolic. `None` for a vector off its space.
fn resolve(shape: Shape, coordinates: &[f64], centre: &mut Vec<f64>) -> Option<(f64, PolarQuery)> {
    match shape {
        Shape::Hyperbolic { .. } => {
            let start = centre.len();
            shape.encode(coordinates, centre).ok()?;
            let end = centre.len() - POLAR_EXTRA;
            let [sinh, half, inverse, _] = *centre.last_chunk::<POLAR_EXTRA>()?;
            centre.truncate(end);
            let tiny = 2.0 * inverse * inverse;
            // 1 - tanh r = 2 e^-2r / (1 + e^-2r).
            let rest = 2.0 * tiny * tiny / (1.0 + tiny * tiny);
            let sinh = 2.0 * sinh;
            let polar = PolarQuery { sinh, half, inverse, tanh: 1.0 - rest, rest };
            Some((if end > start { 1.0 } else { 0.0 }, polar))
        }
        Shape::Euclidean { .. } => {
            centre.extend_from_slice(coordinates);
            centre.resize(centre.len().next_multiple_of(4), 0.0);
            let length = coordinates.iter().map(|x| x * x).sum::<f64>().sqrt();
            Some((length, PolarQuery::default()))
        }
        Shape::Spherical { root, .. } => {
            let length = coordinates.iter().map(|x| x * x).sum::<f64>().sqrt();
            let scale = if length > 0.0 { 1.0 / length } else { return None };
            let start = centre.len();
            centre.extend(coordinates.iter().map(|x| x * scale));
            centre.resize(start + centre_len(shape), 0.0);
            Some((length * root, PolarQuery::default()))
        }
    }
}

#[inline]
fn squared_difference(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    for (x, y) in a.as_chunks::<4>().0.iter().zip(b.as_chunks::<4>().0) {
        for ((sum, p), q) in sums.iter_mut().zip(x).zip(y) {
            *sum += (p - q) * (p - q);
        }
    }
    let [a, b, c, d] = sums;
    (a + b) + (c + d)
}

/// A cosine from a sine, of an angle up to a quarter turn.
#[inline]
fn other_leg(sine: f64) -> f64 {
    ((1.0 - sine) * (1.0 + sine)).max(0.0).sqrt()
}

impl VolumeQuery {
    /// `None` for a vector off its space.
    pub(crate) fn of<T: Lane>(metric: &Metric<T>, stored: &[f64]) -> Option<Self> {
        let mut rest = stored;
        let mut parts = Vec::new();
        for (shape, weight) in metric.parts() {
            let (coordinates, others) = rest.split_at_checked(shape.stored())?;
            let mut centre = Vec::with_capacity(centre_len(shape) + POLAR_EXTRA);
            let (length, polar) = resolve(shape, coordinates, &mut centre)?;
            let steps = DIRECTION + DIRECTION_PER_COORDINATE * shape.stored() as f64;
            let direction = steps * f64::EPSILON;
            parts.push(QueryPart { shape, weight, centre, length, polar, direction });
            rest = others;
        }
        Some(Self { parts, is_product: metric.is_product() })
    }

    /// The largest size of a row in the volume per component, as `Metric::extend_reach` has it.
    pub(crate) fn reach(&self, volume: &[f64], reach: &mut Vec<f64>) {
        reach.clear();
        let mut rest = volume;
        for part in &self.parts {
            let Some((own, others)) = rest.split_at_checked(part.centre.len() + EXTRA) else {
                return;
            };
            let [.., largest] = own.last_chunk::<EXTRA>().copied().unwrap_or_default();
            reach.push(match part.shape {
                Shape::Euclidean { .. } => largest,
                Shape::Spherical { root, .. } => largest / root,
                // e^r/2, which is above sinh r.
                Shape::Hyperbolic { .. } => largest * largest,
            });
            rest = others;
        }
    }

    /// A distance that nothing in the volume is nearer than.
    pub(crate) fn at_least(&self, volume: &[f64]) -> f64 {
        self.distance(self.least(volume))
    }

    /// How far the volume is at least, as a measure: a number that grows with the distance and
    /// costs less to compute.
    #[inline]
    pub(crate) fn least(&self, volume: &[f64]) -> f64 {
        if !self.is_product {
            return self.parts.first().map_or(0.0, |part| part.least(volume));
        }
        let mut rest = volume;
        let mut square = 0.0;
        for part in &self.parts {
            let Some((own, others)) = rest.split_at_checked(part.centre.len() + EXTRA) else {
                return 0.0;
            };
            let distance = distance_of(part.shape, part.least(own));
            square += part.weight * distance * distance;
            rest = others;
        }
        square.sqrt() * (1.0 - RELATIVE)
    }

    /// The distance of a measure, not more than it is.
    pub(crate) fn distance(&self, measure: f64) -> f64 {
        match self.single() {
            Some(shape) => distance_of(shape, measure),
            None => measure,
        }
    }

    /// The measure of a distance, not less than it is.
    pub(crate) fn measure(&self, distance: f64) -> f64 {
        let root_half = |root: f64| root * distance / 2.0;
        let measure = match self.single() {
            Some(Shape::Hyperbolic { root, .. }) => root_half(root).sinh(),
            Some(Shape::Spherical { root, .. }) => {
                let half = root_half(root);
                if half < std::f64::consts::FRAC_PI_2 { half.sin() } else { f64::INFINITY }
            }
            Some(Shape::Euclidean { .. }) | None => distance,
        };
        // sinh magnifies the relative error of a large argument.
        let size = match self.single() {
            Some(Shape::Hyperbolic { root, .. }) => 1.0 + root_half(root),
            _ => 1.0,
        };
        measure * (1.0 + 4.0 * RELATIVE * size)
    }

    fn single(&self) -> Option<Shape> {
        self.parts.first().filter(|_| !self.is_product).map(|part| part.shape)
    }
}

impl QueryPart {
    /// Euclidean: the distance; spherical: the sine of half the angle; hyperbolic: sinh of half the
    /// distance in units of curvature 1.
    #[inline]
    fn least(&self, volume: &[f64]) -> f64 {
        let Some((centre, extra)) = volume.split_last_chunk::<EXTRA>() else { return 0.0 };
        let square = squared_difference(&self.centre, centre);
        let measure = match self.shape {
            Shape::Euclidean { .. } => {
                let [radius, ..] = *extra;
                let middle = square.sqrt();
                middle - radius - RELATIVE * (middle + radius)
            }
            Shape::Spherical { .. } => {
                let [sine, cosine, shortest, longest] = *extra;
                let half = self.half_angle(square, sine, cosine);
                // The geometry takes tan²(angle/2) as |x-y|²/|x+y|², and for lengths a and b other
                // than the radius cos(angle) becomes 2ab/(a²+b²) of what it is.
                let squeeze = [shortest, longest].map(|other| squeeze(self.length, other));
                half * squeeze.into_iter().fold(1.0, f64::min).sqrt() * (1.0 - RELATIVE)
            }
            Shape::Hyperbolic { root, .. } => {
                let [sine, cosine, nearest, farthest] = *extra;
                let half = self.half_angle(square, sine, cosine);
                let query = &self.polar;
                // The nearest point of a ray at an angle has tanh r = tanh(r_q) cos(angle).
                let ray = query.rest + 2.0 * half * half * query.tanh;
                let foot = ((2.0 - ray) / ray).sqrt().sqrt() * std::f64::consts::FRAC_1_SQRT_2;
                let foot = foot.clamp(nearest, farthest);
                let inverse = 0.5 / foot;
                let radial = query.half * inverse - query.inverse * foot;
                let sinh = foot * foot - inverse * inverse;
                let key = radial * radial + query.sinh * sinh.max(0.0) * half * half;
                let reach = farthest * farthest;
                let off = root / 2.0 * self.shape.radial_error(query.sinh, reach);
                // sinh is convex: a distance less by 2 `off` has at least the sinh that its tangent
                // says.
                key.sqrt() * (1.0 - RELATIVE) - off * (1.0 + key).sqrt()
            }
        };
        measure.max(0.0)
    }

    /// The least sine of half an angle to anything in a cap, given the squared chord to its axis.
    #[inline]
    fn half_angle(&self, square: f64, sine: f64, cosine: f64) -> f64 {
        let half = (square.sqrt() / 2.0).min(1.0) * (1.0 - RELATIVE);
        (half * cosine - other_leg(half) * sine - self.direction).max(0.0)
    }
}

/// The distance that a component's measure stands for, not more than it is.
fn distance_of(shape: Shape, measure: f64) -> f64 {
    let distance = match shape {
        Shape::Hyperbolic { root, .. } => 2.0 / root * measure.asinh(),
        Shape::Euclidean { .. } => measure,
        Shape::Spherical { root, .. } => 2.0 / root * measure.min(1.0).asin(),
    };
    distance * (1.0 - RELATIVE)
}

fn squeeze(a: f64, b: f64) -> f64 {
    (2.0 * a * b / (a * a + b * b)).min(1.0)
}

/// Calls its argument with each of some vectors in storage form, as often as it is called itself.
type Each<'a> = &'a dyn Fn(&mut dyn FnMut(&[f64]));

/// The smallest volume around rows that is found with little effort.
///
/// `None` if a vector lies off its space.
pub(crate) fn enclose<T: Lane>(
    metric: &Metric<T>,
    effort: usize,
    rows: Each<'_>,
    volume: &mut Vec<f64>,
) -> Option<()> {
    let mut offset = 0;
    for (shape, _) in metric.parts() {
        let own = Own { shape, offset, rows };
        own.enclose(effort, volume)?;
        offset += shape.stored();
    }
    Some(())
}

/// The rows of one component.
struct Own<'a> {
    shape: Shape,
    offset: usize,
    rows: Each<'a>,
}

impl Own<'_> {
    fn each(&self, mut look: impl FnMut(&[f64], f64, PolarQuery)) -> Option<()> {
        let mut centre = Vec::with_capacity(centre_len(self.shape) + POLAR_EXTRA);
        let mut all = Some(());
        (self.rows)(&mut |stored| {
            centre.clear();
            let own = stored.get(self.offset..self.offset + self.shape.stored());
            let resolved = own.and_then(|own| resolve(self.shape, own, &mut centre));
            match resolved {
                Some((length, polar)) => look(&centre, length, polar),
                None => all = None,
            }
        });
        all
    }

    fn enclose(&self, effort: usize, volume: &mut Vec<f64>) -> Option<()> {
        let mut centre = vec![0.0; centre_len(self.shape)];
        let mut count = 0.0;
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        self.each(|point, length, polar| {
            count += 1.0;
            centre.iter_mut().zip(point).for_each(|(sum, x)| *sum += x);
            let size = if self.shape.is_hyperbolic() { polar.half } else { length };
            low = low.min(size);
            high = high.max(size);
        })?;
        for sum in &mut centre {
            *sum /= f64::max(count, 1.0);
        }
        self.settle(&mut centre);
        // Steps towards the farthest point, each shorter than the one before (Badoiu and Clarkson
        // 2003): near the smallest ball after a few.
        let mut best = (f64::INFINITY, centre.clone());
        let mut farthest = vec![0.0; centre.len()];
        for step in 0..=effort {
            let mut square = 0.0;
            self.each(|point, _, _| {
                let own = squared_difference(point, &centre);
                if own > square {
                    square = own;
                    farthest.copy_from_slice(point);
                }
            })?;
            if square < best.0 {
                best = (square, centre.clone());
            }
            let share = 1.0 / (step as f64 + 2.0);
            centre.iter_mut().zip(&farthest).for_each(|(c, x)| *c += (x - *c) * share);
            self.settle(&mut centre);
        }
        let (square, centre) = best;
        volume.extend_from_slice(&centre);
        let reach = square.max(0.0).sqrt() * (1.0 + RELATIVE);
        let (low, high) = (low * (1.0 - RELATIVE), high * (1.0 + RELATIVE));
        let sine = (reach / 2.0).min(1.0);
        volume.extend(if matches!(self.shape, Shape::Euclidean { .. }) {
            [reach, 0.0, 0.0, high]
        } else {
            [sine, other_leg(sine), low, high]
        });
        Some(())
    }

    /// Makes a direction of what is to be one.
    fn settle(&self, centre: &mut [f64]) {
        if matches!(self.shape, Shape::Euclidean { .. }) {
            return;
        }
        let length = centre.iter().map(|x| x * x).sum::<f64>().sqrt();
        if length > 1e-9 {
            for x in centre {
                *x /= length;
            }
        } else {
            // Directions that balance each other out: any is as good.
            centre.fill(0.0);
            centre.iter_mut().take(1).for_each(|x| *x = 1.0);
        }
    }
}
