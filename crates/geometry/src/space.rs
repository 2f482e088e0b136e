//! Which space a point lives on: one geometry with its dimension and curvature, or a weighted
//! product of several.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// Largest intrinsic dimension of one component. Far above any embedding in use; it keeps sums of
/// squares and their error bounds meaningful.
pub const MAX_DIMENSION: usize = 65_536;

/// Largest number of components of a product, counted after nested products are flattened.
pub const MAX_COMPONENTS: usize = 1_024;

/// Smallest magnitude of a curvature that is not zero. A flatter space is Euclidean to every
/// precision that this crate offers.
pub const MIN_CURVATURE: f64 = 1e-12;

/// Largest magnitude of a curvature.
pub const MAX_CURVATURE: f64 = 1e12;

/// A kind of space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Geometry {
    /// Hyperbolic space as the open ball `√c·|x| < 1`, conformal; `n` coordinates.
    Poincare,
    /// Hyperbolic space as the sheet `⟨x,x⟩ = -1/c`, `x0 > 0` of Minkowski space; `n + 1`
    /// coordinates, time first.
    Hyperboloid,
    /// Hyperbolic space as the open ball in which geodesics are straight; `n` coordinates.
    Klein,
    /// Flat space; `n` coordinates.
    Euclidean,
    /// The sphere `|x|² = 1/c`; `n + 1` coordinates.
    Spherical,
    /// De Sitter space `⟨x,x⟩ = 1/c` in Minkowski space; `n + 1` coordinates, time first. It has
    /// intervals and causal order instead of a distance.
    Lorentzian,
}

impl Geometry {
    /// Every geometry, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Poincare,
        Self::Hyperboloid,
        Self::Klein,
        Self::Euclidean,
        Self::Spherical,
        Self::Lorentzian,
    ];

    /// The name on the wire and in files, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Poincare => "poincare",
            Self::Hyperboloid => "hyperboloid",
            Self::Klein => "klein",
            Self::Euclidean => "euclidean",
            Self::Spherical => "spherical",
            Self::Lorentzian => "lorentzian",
        }
    }

    /// Whether this is one of the three models of hyperbolic space.
    pub fn is_hyperbolic(self) -> bool {
        matches!(self, Self::Poincare | Self::Hyperboloid | Self::Klein)
    }

    /// The curvature that is meant when none is given: -1, 0 or +1.
    pub fn default_curvature(self) -> f64 {
        match self {
            Self::Poincare | Self::Hyperboloid | Self::Klein => -1.0,
            Self::Euclidean => 0.0,
            Self::Spherical | Self::Lorentzian => 1.0,
        }
    }

    fn has_extra_coordinate(self) -> bool {
        matches!(self, Self::Hyperboloid | Self::Spherical | Self::Lorentzian)
    }
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no geometry.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "unknown geometry {name:?}: expected poincare, hyperboloid, klein, euclidean, spherical or lorentzian"
)]
pub struct UnknownGeometry {
    /// The name as given.
    pub name: String,
}

impl FromStr for Geometry {
    type Err = UnknownGeometry;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|geometry| geometry.name() == name)
            .ok_or_else(|| UnknownGeometry { name: name.to_owned() })
    }
}

/// Why a space cannot exist as described.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// The intrinsic dimension is too small or too large.
    // Only the bound that does not hold: a caller may allow less than `most`.
    #[error(
        "dimension {dimension} is not possible for {geometry}: it must be at {}",
        if .dimension < .least { format!("least {least}") } else { format!("most {most}") }
    )]
    Dimension {
        /// The geometry asked for.
        geometry: Geometry,
        /// The dimension asked for.
        dimension: usize,
        /// The smallest possible one.
        least: usize,
        /// The largest possible one.
        most: usize,
    },
    /// The curvature has the wrong sign, is not a number, or is out of range.
    #[error("curvature {curvature} is not possible for {geometry}: it must be {expected}")]
    Curvature {
        /// The geometry asked for.
        geometry: Geometry,
        /// The curvature asked for.
        curvature: f64,
        /// What would be right.
        expected: &'static str,
    },
    /// A product of nothing.
    #[error("a product space needs at least one component")]
    NoComponents,
    /// A product of too many.
    #[error("a product of {count} components is too large: at most {most}")]
    TooManyComponents {
        /// How many there are after nested products are flattened.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A weight that is not a positive finite number.
    #[error("component {index} has weight {weight}: it must be a positive finite number")]
    Weight {
        /// Index of the component.
        index: usize,
        /// Its weight.
        weight: f64,
    },
}

/// One factor of a product space. Its squared distance counts `weight` times.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// The factor.
    pub space: Space,
    /// Its positive weight `w` in `d² = Σ w·d_i²`.
    pub weight: f64,
}

/// One geometry with its parameters: what a [`Space`] is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Model {
    pub(crate) geometry: Geometry,
    /// Intrinsic dimension.
    pub(crate) dimension: usize,
    /// Signed curvature.
    pub(crate) curvature: f64,
    /// `√|curvature|`, and 1 for flat space: multiplies lengths into units of curvature ±1.
    pub(crate) scale: f64,
}

impl Model {
    pub(crate) fn ambient(&self) -> usize {
        self.dimension + usize::from(self.geometry.has_extra_coordinate())
    }

    pub(crate) fn storage_len(&self) -> usize {
        match self.geometry {
            Geometry::Hyperboloid => self.dimension,
            _ => self.ambient(),
        }
    }

    /// `|curvature|`, written `c` in the formulas.
    pub(crate) fn c(&self) -> f64 {
        self.curvature.abs()
    }
}

/// A part of a space with its weight and where its coordinates begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) model: Model,
    pub(crate) weight: f64,
    /// Index of its first ambient coordinate.
    pub(crate) offset: usize,
}

#[derive(Debug, PartialEq)]
struct Product {
    components: Vec<Component>,
    dimension: usize,
    ambient: usize,
    storage_len: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Single(Model),
    Product(Arc<Product>),
}

/// A validated space. Cheap to clone.
///
/// Points and tangent vectors are slices of [`Space::ambient`] coordinates in f64. The hyperboloid
/// and the Lorentzian space put the time coordinate first; a product concatenates its components.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    shape: Shape,
}

impl Space {
    /// A space of one geometry.
    ///
    /// `dimension` is the intrinsic one, `n`. `curvature` is signed: negative for the hyperbolic
    /// models, 0 for Euclidean, positive for spherical and Lorentzian.
    ///
    /// # Errors
    /// A dimension outside 1 (2 for Lorentzian, which needs a direction of space beside each
    /// point's own) to [`MAX_DIMENSION`], or a curvature of the wrong sign or outside
    /// [`MIN_CURVATURE`] to [`MAX_CURVATURE`] in magnitude.
    pub fn new(geometry: Geometry, dimension: usize, curvature: f64) -> Result<Self, SpaceError> {
        let least = if geometry == Geometry::Lorentzian { 2 } else { 1 };
        if !(least..=MAX_DIMENSION).contains(&dimension) {
            return Err(SpaceError::Dimension { geometry, dimension, least, most: MAX_DIMENSION });
        }
        let in_range = (MIN_CURVATURE..=MAX_CURVATURE).contains(&curvature.abs());
        let (is_valid, expected) = match geometry {
            Geometry::Poincare | Geometry::Hyperboloid | Geometry::Klein => {
                (curvature < 0.0 && in_range, "negative, between -1e12 and -1e-12")
            }
            Geometry::Euclidean => (curvature == 0.0, "0"),
            Geometry::Spherical | Geometry::Lorentzian => {
                (curvature > 0.0 && in_range, "positive, between 1e-12 and 1e12")
            }
        };
        if !is_valid {
            return Err(SpaceError::Curvature { geometry, curvature, expected });
        }
        let scale = if geometry == Geometry::Euclidean { 1.0 } else { curvature.abs().sqrt() };
        // A flat space has one zero, so that equal spaces compare equal and print alike.
        let curvature = if geometry == Geometry::Euclidean { 0.0 } else { curvature };
        Ok(Self { shape: Shape::Single(Model { geometry, dimension, curvature, scale }) })
    }

    /// The product of `components` with `d² = Σ w·d_i²`. Products inside it are flattened, their
    /// weights multiplied.
    ///
    /// # Errors
    /// No component, more than [`MAX_COMPONENTS`], or a weight that is not positive and finite.
    pub fn product(components: Vec<Component>) -> Result<Self, SpaceError> {
        if components.is_empty() {
            return Err(SpaceError::NoComponents);
        }
        let mut flat = Vec::with_capacity(components.len());
        for (index, component) in components.into_iter().enumerate() {
            let weight = component.weight;
            if !(weight.is_finite() && weight > 0.0) {
                return Err(SpaceError::Weight { index, weight });
            }
            match &component.space.shape {
                Shape::Single(_) => flat.push(component),
                Shape::Product(inner) => {
                    for nested in &inner.components {
                        let weight = weight * nested.weight;
                        if !(weight.is_finite() && weight > 0.0) {
                            return Err(SpaceError::Weight { index, weight });
                        }
                        flat.push(Component { space: nested.space.clone(), weight });
                    }
                }
            }
        }
        if flat.len() > MAX_COMPONENTS {
            return Err(SpaceError::TooManyComponents { count: flat.len(), most: MAX_COMPONENTS });
        }
        let dimension = flat.iter().map(|component| component.space.dimension()).sum();
        let ambient = flat.iter().map(|component| component.space.ambient()).sum();
        let storage_len = flat.iter().map(|component| component.space.storage_len()).sum();
        let product = Product { components: flat, dimension, ambient, storage_len };
        Ok(Self { shape: Shape::Product(Arc::new(product)) })
    }

    /// Intrinsic dimension: of a product, the sum over its components.
    pub fn dimension(&self) -> usize {
        match &self.shape {
            Shape::Single(model) => model.dimension,
            Shape::Product(product) => product.dimension,
        }
    }

    /// Number of coordinates of a point: `n`, or `n + 1` for hyperboloid, spherical and Lorentzian.
    pub fn ambient(&self) -> usize {
        match &self.shape {
            Shape::Single(model) => model.ambient(),
            Shape::Product(product) => product.ambient,
        }
    }

    /// Number of coordinates kept at rest; see [`Space::to_storage`].
    pub fn storage_len(&self) -> usize {
        match &self.shape {
            Shape::Single(model) => model.storage_len(),
            Shape::Product(product) => product.storage_len,
        }
    }

    /// Signed curvature; 0 for a product, whose components have their own.
    pub fn curvature(&self) -> f64 {
        match &self.shape {
            Shape::Single(model) => model.curvature,
            Shape::Product(_) => 0.0,
        }
    }

    /// The geometry, or `None` for a product.
    pub fn geometry(&self) -> Option<Geometry> {
        match &self.shape {
            Shape::Single(model) => Some(model.geometry),
            Shape::Product(_) => None,
        }
    }

    /// The components of a product in the order of their coordinates; empty for a single geometry.
    pub fn components(&self) -> &[Component] {
        match &self.shape {
            Shape::Single(_) => &[],
            Shape::Product(product) => &product.components,
        }
    }

    /// Whether the space has a distance that is a metric: every part but a Lorentzian one.
    pub fn is_metric(&self) -> bool {
        self.parts().all(|part| part.model.geometry != Geometry::Lorentzian)
    }

    /// The geometries that the space is made of, with weights and offsets.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        let single = match &self.shape {
            Shape::Single(model) => Some(Part { model: *model, weight: 1.0, offset: 0 }),
            Shape::Product(_) => None,
        };
        let mut offset = 0;
        let many = self.components().iter().filter_map(move |component| {
            let Shape::Single(model) = &component.space.shape else { return None };
            let part = Part { model: *model, weight: component.weight, offset };
            offset += model.ambient();
            Some(part)
        });
        single.into_iter().chain(many)
    }

    /// The one model of a space that is not a product.
    pub(crate) fn single(&self) -> Option<Model> {
        match &self.shape {
            Shape::Single(model) => Some(*model),
            Shape::Product(_) => None,
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts().enumerate() {
            if index > 0 {
                f.write_str(" x ")?;
            }
            if self.single().is_none() {
                write!(f, "{}*", part.weight)?;
            }
            let Model { geometry, dimension, curvature, .. } = part.model;
            write!(f, "{geometry}({dimension}, {curvature})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(geometry: Geometry, dimension: usize) -> Space {
        Space::new(geometry, dimension, geometry.default_curvature()).unwrap()
    }

    #[test]
    fn names_round_trip_and_others_are_refused() {
        for geometry in Geometry::ALL {
            assert_eq!(geometry.to_string().parse(), Ok(geometry));
        }
        for name in ["Poincare", "hyperbolic", "", " klein"] {
            let error = name.parse::<Geometry>().unwrap_err();
            assert_eq!(error.name, name);
            assert!(error.to_string().contains("hyperboloid"), "{error}");
        }
    }

    #[test]
    fn ambient_and_storage_lengths_follow_the_geometry() {
        let lengths = Geometry::ALL
            .map(|geometry| (space(geometry, 5).ambient(), space(geometry, 5).storage_len()));
        assert_eq!(lengths, [(5, 5), (6, 5), (5, 5), (5, 5), (6, 6), (6, 6)]);
    }

    #[test]
    fn curvature_of_the_wrong_sign_or_size_is_refused() {
        for geometry in Geometry::ALL {
            let good = geometry.default_curvature();
            assert!(Space::new(geometry, 3, good).is_ok());
            let (zero, wrong_sign) =
                if geometry == Geometry::Euclidean { (1e-13, 1.0) } else { (0.0, -good) };
            for bad in [zero, wrong_sign, 1e-13, 1e13, -1e13, f64::NAN, f64::INFINITY] {
                let error = Space::new(geometry, 3, bad);
                assert!(matches!(error, Err(SpaceError::Curvature { .. })), "{geometry} {bad}");
            }
        }
        assert!(Space::new(Geometry::Poincare, 3, -MAX_CURVATURE).is_ok());
        assert!(Space::new(Geometry::Spherical, 3, MIN_CURVATURE).is_ok());
    }

    #[test]
    fn dimension_limits_hold_at_their_edges() {
        for geometry in Geometry::ALL {
            let least = if geometry == Geometry::Lorentzian { 2 } else { 1 };
            let curvature = geometry.default_curvature();
            assert!(Space::new(geometry, least, curvature).is_ok());
            assert!(Space::new(geometry, MAX_DIMENSION, curvature).is_ok());
            for bad in [0, least - 1, MAX_DIMENSION + 1] {
                let error = Space::new(geometry, bad, curvature).unwrap_err();
                assert!(matches!(error, SpaceError::Dimension { .. }), "{geometry} {bad}");
                let bound = if bad < least {
                    format!("it must be at least {least}")
                } else {
                    format!("it must be at most {MAX_DIMENSION}")
                };
                assert!(error.to_string().ends_with(&bound), "{error}");
            }
        }
    }

    #[test]
    fn products_flatten_and_multiply_weights() {
        let inner = Space::product(vec![
            Component { space: space(Geometry::Hyperboloid, 2), weight: 2.0 },
            Component { space: space(Geometry::Spherical, 3), weight: 0.5 },
        ])
        .unwrap();
        let outer = Space::product(vec![
            Component { space: inner, weight: 3.0 },
            Component { space: space(Geometry::Euclidean, 4), weight: 1.0 },
        ])
        .unwrap();
        assert_eq!((outer.dimension(), outer.ambient(), outer.storage_len()), (9, 11, 10));
        let weights: Vec<f64> =
            outer.components().iter().map(|component| component.weight).collect();
        assert_eq!(weights, [6.0, 1.5, 1.0]);
        let offsets: Vec<usize> = outer.parts().map(|part| part.offset).collect();
        assert_eq!(offsets, [0, 3, 7]);
        assert_eq!(outer.geometry(), None);
        assert!(outer.is_metric());
        assert_eq!(
            outer.to_string(),
            "6*hyperboloid(2, -1) x 1.5*spherical(3, 1) x 1*euclidean(4, 0)"
        );
    }

    #[test]
    fn bad_products_are_refused() {
        assert_eq!(Space::product(vec![]), Err(SpaceError::NoComponents));
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let component = Component { space: space(Geometry::Euclidean, 2), weight };
            assert!(matches!(
                Space::product(vec![component]),
                Err(SpaceError::Weight { index: 0, .. })
            ));
        }
        let one = Component { space: space(Geometry::Euclidean, 1), weight: 1.0 };
        assert!(Space::product(vec![one.clone(); MAX_COMPONENTS]).is_ok());
        let error = Space::product(vec![one; MAX_COMPONENTS + 1]);
        assert!(matches!(error, Err(SpaceError::TooManyComponents { .. })));
    }

    #[test]
    fn a_lorentzian_part_is_not_metric() {
        let lorentzian = space(Geometry::Lorentzian, 3);
        assert!(!lorentzian.is_metric());
        let product = Space::product(vec![
            Component { space: space(Geometry::Euclidean, 2), weight: 1.0 },
            Component { space: lorentzian, weight: 1.0 },
        ])
        .unwrap();
        assert!(!product.is_metric());
    }
}
