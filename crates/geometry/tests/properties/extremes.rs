//! Numbers at the ends of f64, whose squares have no digits or are infinite.

use hvs_geometry::{Geometry, PointError, Precision, Space};

use crate::EPS;

fn space(geometry: Geometry, dimension: usize) -> Space {
    Space::new(geometry, dimension, geometry.default_curvature()).unwrap()
}

/// Near the origin every hyperbolic space is flat: the distance is the Euclidean one (twice that
/// in the Poincaré ball).
#[test]
fn distances_near_the_origin_keep_their_digits() {
    let (x, y) = ([3.0, -1.0, 0.5], [-2.0, 4.0, 1.5]);
    let flat = 51.0_f64.sqrt();
    for size in [1e-100, 1e-119, 1e-121, 1e-150, 1e-160, 1e-163, 1e-200, 1e-300] {
        for (geometry, factor) in [
            (Geometry::Euclidean, 1.0),
            (Geometry::Poincare, 2.0),
            (Geometry::Klein, 1.0),
            (Geometry::Hyperboloid, 1.0),
        ] {
            let space = space(geometry, 3);
            let at = |x: &[f64]| x.iter().map(|a| a * size).collect::<Vec<f64>>();
            let (x, y) = (at(&x), at(&y));
            let truth = factor * flat * size;
            let found = space.stored_distance(&x, &y).unwrap();
            assert!((found - truth).abs() <= 4.0 * EPS * truth, "{geometry} {size:e}: {found:e}");
            let ambient = space.distance(&space.from_storage(&x), &space.from_storage(&y));
            assert_eq!(ambient.unwrap().to_bits(), found.to_bits());
            let origin = space.base_point();
            let radius = space.distance(&origin, &space.from_storage(&x)).unwrap();
            let truth = factor * 10.25_f64.sqrt() * size;
            assert!((radius - truth).abs() <= 4.0 * EPS * truth, "{geometry} {size:e}: {radius:e}");
        }
    }
}

/// Two points that differ in a tiny coordinate only, far from the origin.
#[test]
fn distances_along_a_tiny_coordinate_keep_their_digits() {
    for size in [1e-130, 1e-160, 1e-200, 1e-300] {
        // 1 - 0.6² = 0.64; the hyperboloid's coordinates are orthonormal across the radius, and so
        // are the sphere's; Klein's are longer by 1/√0.64.
        for (geometry, x, across) in [
            (Geometry::Poincare, 0.6, 2.0 / 0.64),
            (Geometry::Klein, 0.6, 1.0 / 0.8),
            (Geometry::Hyperboloid, 0.75, 1.0),
            (Geometry::Euclidean, 0.75, 1.0),
        ] {
            let space = space(geometry, 2);
            let found = space.stored_distance(&[x, size], &[x, -2.0 * size]).unwrap();
            let truth = 3.0 * size * across;
            assert!((found - truth).abs() <= 8.0 * EPS * truth, "{geometry} {size:e}: {found:e}");
        }
        let sphere = space(Geometry::Spherical, 2);
        let found = sphere.distance(&[1.0, 0.0, size], &[1.0, 0.0, -2.0 * size]).unwrap();
        assert!((found - 3.0 * size).abs() <= 8.0 * EPS * size, "{size:e}: {found:e}");
    }
}

#[test]
fn a_product_adds_tiny_distances_by_weight() {
    let part = |geometry, weight| hvs_geometry::Component { space: space(geometry, 1), weight };
    let product =
        Space::product(vec![part(Geometry::Euclidean, 9.0), part(Geometry::Poincare, 4.0)])
            .unwrap();
    for size in [1e-100, 1e-160, 1e-300] {
        let found = product.distance(&[0.0, 0.0], &[size, size]).unwrap();
        assert!((found - 5.0 * size).abs() <= 8.0 * EPS * size, "{size:e}: {found:e}");
    }
}

/// Far outside what can be stored, distances are still right, or refused where they overflow.
#[test]
fn large_distances_are_right_or_refused() {
    let flat = space(Geometry::Euclidean, 2);
    let found = flat.distance(&[3e200, 0.0], &[0.0, 4e200]).unwrap();
    assert!((found - 5e200).abs() <= 4.0 * EPS * 5e200, "{found:e}");
    assert!(flat.distance(&[1.7e308, 0.0], &[-1.7e308, 0.0]).is_err());
    let sheet = space(Geometry::Hyperboloid, 2);
    for size in [1e10_f64, 1e160, 1e200, 1e299] {
        let (x, y) = (sheet.from_storage(&[size, 0.0]), sheet.from_storage(&[-size, 0.0]));
        let truth = 2.0 * (size.ln() + 2.0_f64.ln());
        let found = sheet.distance(&x, &y).unwrap();
        assert!((found - truth).abs() <= 8.0 * EPS * truth, "{size:e}: {found} {truth}");
        let found = sheet.distance(&x, &sheet.base_point()).unwrap();
        assert!((found - truth / 2.0).abs() <= 8.0 * EPS * truth, "{size:e}: {found} {truth}");
    }
}

/// Whatever is refused is refused for what it is, with numbers that are finite and short.
#[test]
fn refusals_of_huge_points_have_finite_numbers() {
    for largest in [1e155, 1e200, 1e300, 1.7e308] {
        for geometry in Geometry::ALL {
            let space = space(geometry, 2);
            let mut x = vec![largest; space.ambient()];
            x[0] = -largest;
            for precision in [Precision::F32, Precision::F64] {
                let error = space.validate(&x, precision).unwrap_err();
                let numbers = match error.clone() {
                    PointError::OffManifold { found, expected, off, tolerance, .. } => {
                        assert!(!matches!(geometry, Geometry::Poincare | Geometry::Klein));
                        vec![found, expected, off, tolerance]
                    }
                    PointError::OutsideBall { norm, bound, .. } => {
                        let truth = 2.0_f64.sqrt() * largest;
                        let is_right = (norm - truth).abs() <= 4.0 * EPS * norm;
                        assert!(is_right || truth.is_infinite(), "{norm:e}");
                        vec![norm, bound]
                    }
                    PointError::BeyondPrecision { radius, limit, .. } => {
                        assert!(!matches!(geometry, Geometry::Poincare | Geometry::Klein));
                        assert!(radius > limit);
                        vec![radius, limit]
                    }
                    error => panic!("{geometry}: {error}"),
                };
                assert!(numbers.iter().all(|a| a.is_finite()), "{geometry}: {numbers:?}");
                let text = error.to_string();
                assert!(text.len() < 200, "{text}");
                assert!(!text.contains("inf") && !text.contains("NaN"), "{text}");
            }
        }
    }
    let ball = space(Geometry::Poincare, 2);
    let error = ball.validate(&[1e200, 0.0], Precision::F64).unwrap_err();
    assert_eq!(
        error.to_string(),
        "outside the poincare ball: the norm is 1e200, it must be below 1"
    );
    let flat = space(Geometry::Euclidean, 2);
    let error = flat.validate(&[1e200, 0.0], Precision::F64).unwrap_err().to_string();
    assert!(error.contains("radius 1.0000e200, at most 3.3520e153 can"), "{error}");
    // Far out on the sheet, the radius is that of the logarithm.
    let sheet = space(Geometry::Hyperboloid, 2);
    let error = sheet.validate(&[1.0, 1e308, 0.0], Precision::F64).unwrap_err().to_string();
    assert!(error.contains("radius 709.8894"), "{error}");
}
