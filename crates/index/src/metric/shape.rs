//! Rows and distances of a single space of constant curvature.

use hvs_geometry::{Geometry, Space};

use super::{Lane, formula::POLAR_EXTRA};

/// A vector that has no row: off the manifold, or beyond what the lanes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfRange;

/// How coordinates say where a hyperbolic point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chart {
    /// Spatial coordinates, of length sinh(r)/√c.
    Hyperboloid,
    /// Length tanh(r/2)/√c.
    Poincare,
    /// Length tanh(r)/√c.
    Klein,
}

/// A space of constant curvature and how its vectors become rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    Hyperbolic {
        chart: Chart,
        dimension: usize,
        /// √c for curvature −c.
        root: f64,
    },
    Euclidean {
        dimension: usize,
    },
    Spherical {
        /// n + 1.
        ambient: usize,
        /// √c for curvature c.
        root: f64,
    },
}

impl Shape {
    /// The shape of a space; `None` for products and for spaces that are no metric.
    pub(crate) fn of(space: &Space) -> Option<Self> {
        let dimension = space.dimension();
        let root = space.curvature().abs().sqrt();
        let hyperbolic = |chart| Some(Self::Hyperbolic { chart, dimension, root });
        match space.geometry()? {
            Geometry::Hyperboloid => hyperbolic(Chart::Hyperboloid),
            Geometry::Poincare => hyperbolic(Chart::Poincare),
            Geometry::Klein => hyperbolic(Chart::Klein),
            Geometry::Euclidean => Some(Self::Euclidean { dimension }),
            Geometry::Spherical => Some(Self::Spherical { ambient: space.ambient(), root }),
            _ => None,
        }
    }

    pub(crate) fn is_hyperbolic(self) -> bool {
        matches!(self, Self::Hyperbolic { .. })
    }

    /// Coordinates in storage form.
    pub(crate) fn stored(self) -> usize {
        match self {
            Self::Hyperbolic { dimension, .. } | Self::Euclidean { dimension } => dimension,
            Self::Spherical { ambient, .. } => ambient,
        }
    }

    /// Numbers in a row, a multiple of four.
    pub(crate) fn lanes(self) -> usize {
        let coordinates = self.stored().next_multiple_of(4);
        if self.is_hyperbolic() { coordinates + POLAR_EXTRA } else { coordinates }
    }

    /// Appends the row of `coordinates`, which has `stored()` of them. On an error the row may
    /// have grown by a part.
    pub(crate) fn encode<S: Lane>(
        self,
        coordinates: &[f64],
        row: &mut Vec<S>,
    ) -> Result<(), OutOfRange> {
        let end = row.len() + self.lanes();
        let finite = |value: f64| {
            let lane = S::from_f64(value);
            if lane.to_f64().is_finite() { Ok(lane) } else { Err(OutOfRange) }
        };
        // Beyond it a key of two rows could overflow.
        let largest = S::MAX.to_f64().sqrt() / 2.0;
        let length = length(coordinates);
        let Self::Hyperbolic { chart, root, .. } = self else {
            if length > largest {
                return Err(OutOfRange);
            }
            for &coordinate in coordinates {
                row.push(finite(coordinate)?);
            }
            row.resize(end, S::ZERO);
            return Ok(());
        };
        let polar = Polar::of(chart, root * length).ok_or(OutOfRange)?;
        if polar.sinh > largest {
            return Err(OutOfRange);
        }
        let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
        if scale.is_infinite() {
            // A point so near the origin that its direction cannot be told: it is the origin.
            row.resize(end - POLAR_EXTRA, S::ZERO);
        } else {
            row.extend(coordinates.iter().map(|&coordinate| S::from_f64(coordinate * scale)));
            row.resize(end - POLAR_EXTRA, S::ZERO);
        }
        row.push(finite(polar.sinh / 2.0)?);
        row.push(finite(polar.half * std::f64::consts::FRAC_1_SQRT_2)?);
        row.push(finite(std::f64::consts::FRAC_1_SQRT_2 / polar.half)?);
        row.push(S::ZERO);
        Ok(())
    }

    /// The distance that a key stands for.
    pub(crate) fn distance(self, key: f64) -> f64 {
        let key = key.max(0.0);
        match self {
            Self::Hyperbolic { root, .. } => 2.0 / root * key.sqrt().asinh(),
            Self::Euclidean { .. } => key.sqrt(),
            Self::Spherical { root, .. } => {
                2.0 / root * (key.sqrt() * root / 2.0).clamp(0.0, 1.0).asin()
            }
        }
    }

    /// The key of a distance.
    pub(crate) fn key(self, distance: f64) -> f64 {
        match self {
            Self::Hyperbolic { root, .. } => (distance * root / 2.0).sinh().powi(2),
            Self::Euclidean { .. } => distance * distance,
            Self::Spherical { root, .. } => {
                let half_angle = distance * root / 2.0;
                if half_angle >= std::f64::consts::FRAC_PI_2 {
                    return f64::INFINITY;
                }
                (2.0 / root * half_angle.sin()).powi(2)
            }
        }
    }

    /// How large a row is, in the sense that rounding errors grow with: sinh r, or the length.
    pub(crate) fn size<S: Lane>(self, row: &[S]) -> f64 {
        if self.is_hyperbolic() {
            let extra = row.last_chunk::<POLAR_EXTRA>();
            return extra.map_or(0.0, |[sinh, ..]| 2.0 * sinh.to_f64());
        }
        row.iter().map(|lane| lane.to_f64() * lane.to_f64()).sum::<f64>().sqrt()
    }

    /// How far off a distance (for spheres: a chord) may be because rows are rounded, when one
    /// row has size `query` and the other at most `reach`.
    ///
    /// Hyperbolic: a direction is off by at most eps, which √(sinh r1 sinh r2) magnifies; the
    /// radial parts are off by a few eps. In a ball the radius itself is only known to an f64 eps
    /// of e^r (Klein: e^2r), however it is computed.
    pub(crate) fn error(self, query: f64, reach: f64, epsilon: f64) -> f64 {
        match self {
            Self::Hyperbolic { root, .. } => {
                let rows = epsilon * (8.0 + 4.0 * (query * reach).sqrt());
                2.0 / root * (rows + 8.0 * f64::EPSILON * self.conditioning(query, reach))
            }
            Self::Euclidean { .. } | Self::Spherical { .. } => 4.0 * epsilon * (query + reach),
        }
    }

    /// How far off a hyperbolic distance may be because radii are rounded in f64, with sizes as in
    /// `error`. Nothing in other spaces.
    pub(crate) fn radial_error(self, query: f64, reach: f64) -> f64 {
        match self {
            Self::Hyperbolic { root, .. } => {
                16.0 / root * f64::EPSILON * (1.0 + self.conditioning(query, reach))
            }
            Self::Euclidean { .. } | Self::Spherical { .. } => 0.0,
        }
    }

    /// What an ε of coordinates is magnified by in radii.
    fn conditioning(self, query: f64, reach: f64) -> f64 {
        let larger = 1.0 + query.max(reach);
        match self {
            Self::Hyperbolic { chart: Chart::Poincare, .. } => larger,
            Self::Hyperbolic { chart: Chart::Klein, .. } => larger * larger,
            _ => 0.0,
        }
    }

    /// The error of a distance whose `error()` is known; differs for spheres, where arcs near the
    /// antipode change much faster than chords.
    pub(crate) fn arc_error(self, error: f64) -> f64 {
        match self {
            Self::Spherical { root, .. } => error + 2.0 * (error * root).sqrt() / root,
            _ => error,
        }
    }

    /// The distance of a key, off by a factor and by a length (for spheres: of the chord).
    pub(crate) fn distance_off(self, key: f64, factor: f64, error: f64) -> f64 {
        match self {
            Self::Spherical { .. } => {
                let chord = (key.max(0.0).sqrt() * factor + error).max(0.0);
                self.distance(chord * chord)
            }
            _ => (self.distance(key) * factor + error).max(0.0),
        }
    }

    /// The key of a distance, off in the same way.
    pub(crate) fn key_off(self, distance: f64, factor: f64, error: f64) -> f64 {
        match self {
            Self::Spherical { .. } => (self.key(distance).sqrt() * factor + error).powi(2),
            _ => self.key(distance * factor + error),
        }
    }
}

/// The radial part of a hyperbolic row, in units of curvature 1.
struct Polar {
    /// sinh r.
    sinh: f64,
    /// e^(r/2).
    half: f64,
}

impl Polar {
    /// From a length in units of curvature 1; `None` outside the model.
    fn of(chart: Chart, length: f64) -> Option<Self> {
        let inside = (1.0 - length) * (1.0 + length);
        if !length.is_finite() || (chart != Chart::Hyperboloid && inside <= 0.0) {
            return None;
        }
        Some(match chart {
            Chart::Hyperboloid => Self { sinh: length, half: (length + length.hypot(1.0)).sqrt() },
            Chart::Poincare => {
                Self { sinh: 2.0 * length / inside, half: ((1.0 + length) / (1.0 - length)).sqrt() }
            }
            Chart::Klein => {
                Self { sinh: length / inside.sqrt(), half: ((1.0 + length) / inside.sqrt()).sqrt() }
            }
        })
    }
}

/// Euclidean length without overflow or underflow.
fn length(coordinates: &[f64]) -> f64 {
    let largest = coordinates.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return largest;
    }
    if (1e-140..1e140).contains(&largest) {
        return coordinates.iter().map(|x| x * x).sum::<f64>().sqrt();
    }
    largest * coordinates.iter().map(|x| (x / largest) * (x / largest)).sum::<f64>().sqrt()
}
