//! From coordinates on the wire to points of a space.

use std::borrow::Cow;

use hvs_api::{Code, Coordinates, Problem};
use hvs_geometry::{Precision, Space};

use super::failure::Failure;

/// How a request gives its points.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    pub(super) coordinates: Coordinates,
    pub(super) project: bool,
}

/// The point in ambient coordinates: checked, or projected if the request says so. Either way a
/// point that lies on its space beyond what the precision can hold is refused.
pub(super) fn read_point(
    space: &Space,
    precision: Precision,
    given: Vec<f64>,
    reading: Reading,
) -> Result<Vec<f64>, Failure> {
    let ambient = match reading.coordinates {
        Coordinates::Ambient => given,
        Coordinates::Spatial => from_spatial(space, &given)?,
    };
    if reading.project {
        return Ok(space.project(&ambient, precision)?);
    }
    space.validate(&ambient, precision)?;
    Ok(ambient)
}

fn from_spatial(space: &Space, given: &[f64]) -> Result<Vec<f64>, Failure> {
    let expected = space.storage_len();
    if expected == space.ambient() {
        let detail = format!("{} has no spatial coordinates beside its ambient ones", name(space));
        return Err(Failure::new(Code::InvalidCoordinates, detail));
    }
    if given.len() != expected {
        let problem = Problem::new(
            Code::DimensionMismatch,
            format!(
                "{} spatial coordinates given, {expected} expected: {} has dimension {} and its \
                 points have {} coordinates, {expected} of them spatial",
                given.len(),
                name(space),
                space.dimension(),
                space.ambient()
            ),
        );
        return Err(problem
            .with("coordinates", given.len())
            .with("intrinsic", space.dimension())
            .with("ambient", space.ambient())
            .into());
    }
    if let Some((index, value)) = given.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        let detail = format!("coordinate {index} is {value}: coordinates must be finite numbers");
        return Err(Failure::new(Code::NotFinite, detail).with("index", index));
    }
    Ok(space.from_storage(given))
}

/// A space's name for messages.
pub(super) fn name(space: &Space) -> Cow<'static, str> {
    match space.geometry() {
        Some(geometry) => Cow::Borrowed(geometry.name()),
        None => Cow::Borrowed("a product"),
    }
}

#[cfg(test)]
mod tests {
    use hvs_geometry::{Component, Geometry};

    use super::*;

    fn space(geometry: Geometry, dimension: usize, curvature: f64) -> Space {
        Space::new(geometry, dimension, curvature).unwrap()
    }

    fn read(space: &Space, given: &[f64], reading: Reading) -> Result<Vec<f64>, String> {
        read_point(space, Precision::F64, given.to_vec(), reading)
            .map_err(|failure| failure.problem.code.clone())
    }

    const SPATIAL: Reading = Reading { coordinates: Coordinates::Spatial, project: false };

    #[test]
    fn spatial_coordinates_become_a_point_of_the_sheet() {
        let hyperboloid = space(Geometry::Hyperboloid, 2, -1.0);
        assert_eq!(read(&hyperboloid, &[0.0, 0.75], SPATIAL).unwrap(), [1.25, 0.0, 0.75]);
        assert_eq!(read(&hyperboloid, &[1.25, 0.0, 0.75], Reading::default()).unwrap().len(), 3);
        for (given, code) in
            [(&[1.25, 0.0, 0.75][..], "dimension_mismatch"), (&[f64::NAN, 0.0][..], "not_finite")]
        {
            assert_eq!(read(&hyperboloid, given, SPATIAL).unwrap_err(), code);
        }
        let ball = space(Geometry::Poincare, 2, -1.0);
        assert_eq!(read(&ball, &[0.0, 0.5], SPATIAL).unwrap_err(), "invalid_coordinates");
    }

    #[test]
    fn in_a_product_each_hyperboloid_is_spatial() {
        let parts = vec![
            Component { space: space(Geometry::Hyperboloid, 1, -1.0), weight: 1.0 },
            Component { space: space(Geometry::Euclidean, 1, 0.0), weight: 1.0 },
        ];
        let product = Space::product(parts).unwrap();
        assert_eq!(read(&product, &[0.75, 9.0], SPATIAL).unwrap(), [1.25, 0.75, 9.0]);
    }

    #[test]
    fn points_off_the_manifold_are_refused_or_projected() {
        let hyperboloid = space(Geometry::Hyperboloid, 1, -1.0);
        let off = [2.0, 0.75];
        assert_eq!(read(&hyperboloid, &off, Reading::default()).unwrap_err(), "off_manifold");
        let project = Reading { project: true, ..Reading::default() };
        assert_eq!(read(&hyperboloid, &off, project).unwrap(), [1.25, 0.75]);
    }

    #[test]
    fn points_beyond_the_precision_are_refused_either_way() {
        let project = Reading { project: true, ..Reading::default() };
        for (geometry, precision, x) in [
            (Geometry::Poincare, Precision::F64, 0.999_999_999_999_999_9),
            (Geometry::Poincare, Precision::F32, 0.999_999_99),
            (Geometry::Klein, Precision::F32, 0.999_999_999_9),
            (Geometry::Euclidean, Precision::F64, 1e200),
            (Geometry::Euclidean, Precision::F64, f64::MAX),
        ] {
            let curvature = geometry.default_curvature();
            let space = space(geometry, 2, curvature);
            for reading in [Reading::default(), project] {
                let failure = read_point(&space, precision, vec![x, 0.0], reading);
                let problem = failure.unwrap_err().problem;
                assert_eq!(problem.code, "precision_exceeded", "{geometry} {x}");
                for number in ["radius", "limit"] {
                    assert!(problem.context[number].is_f64(), "{geometry} {x}: {problem:?}");
                }
            }
        }
    }

    #[test]
    fn points_far_outside_a_ball_are_off_it_with_their_norm() {
        let ball = space(Geometry::Poincare, 2, -1.0);
        let failure = read_point(&ball, Precision::F64, vec![3e200, 4e200], Reading::default());
        let problem = failure.unwrap_err().problem;
        assert_eq!(problem.code, "off_manifold");
        let norm = problem.context["norm"].as_f64().unwrap();
        assert!((norm / 5e200 - 1.0).abs() < 1e-15, "{norm}");
        let project = Reading { project: true, ..Reading::default() };
        assert_eq!(read(&ball, &[3e200, 4e200], project).unwrap().len(), 2);
    }
}
