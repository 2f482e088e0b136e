//! Intervals of a Lorentzian (de Sitter) space, which rank without being a metric.

use hvs_geometry::Space;

/// The hyperboloid of one sheet ⟨x,x⟩ = 1/c with x0 as time.
#[derive(Debug, Clone)]
pub(crate) struct Interval {
    ambient: usize,
    /// √c.
    root: f64,
}

impl Interval {
    pub(crate) fn of(space: &Space) -> Self {
        Self { ambient: space.ambient(), root: space.curvature().abs().sqrt() }
    }

    pub(crate) fn stored(&self) -> usize {
        self.ambient
    }

    /// The magnitude of the interval, infinite if no geodesic joins the two.
    ///
    /// With s = c⟨x−y,x−y⟩: timelike (s < 0) 2·asinh(√−s/2), spacelike (0 < s < 4)
    /// 2·asin(√s/2), lightlike 0, all over √c; π/√c at the antipode, and nothing beyond
    /// (O'Neill, Semi-Riemannian Geometry, prop. 5.38).
    pub(crate) fn magnitude(&self, x: &[f64], y: &[f64]) -> f64 {
        let mut square = 0.0;
        let mut antipodal = true;
        for (index, (&a, &b)) in x.iter().zip(y).enumerate() {
            let difference = (a - b) * self.root;
            square += if index == 0 { -difference * difference } else { difference * difference };
            antipodal &= a == -b;
        }
        if antipodal {
            return std::f64::consts::PI / self.root;
        }
        if square.is_nan() || square >= 4.0 {
            return f64::INFINITY;
        }
        if square < 0.0 {
            return 2.0 / self.root * ((-square).sqrt() / 2.0).asinh();
        }
        2.0 / self.root * (square.sqrt() / 2.0).asin()
    }
}
