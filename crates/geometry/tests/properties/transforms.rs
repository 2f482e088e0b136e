//! Transforms between spaces.

use hvs_geometry::{Geometry, Space, TransformError, transform};

use crate::{CASES, EPS, Sample, for_each_case, product, rounding};

const HYPERBOLIC: [Geometry; 3] = [Geometry::Poincare, Geometry::Hyperboloid, Geometry::Klein];

fn space(geometry: Geometry, dimension: usize, curvature: f64) -> Space {
    Space::new(geometry, dimension, curvature).unwrap()
}

#[test]
fn models_of_hyperbolic_space_keep_distances() {
    let mut samples = Vec::new();
    for geometry in HYPERBOLIC {
        samples.push(Sample { space: space(geometry, 4, -1.7), radius: 4.0 });
    }
    for_each_case(&samples, |sample, rng| {
        let (x, y) = (sample.point(rng), sample.point(rng));
        let d = sample.space.distance(&x, &y).unwrap();
        for geometry in HYPERBOLIC {
            let other = space(geometry, 4, -1.7);
            assert!(sample.space.is_isometric_to(&other));
            let image = transform(&sample.space, &other, &x).unwrap();
            let second = transform(&sample.space, &other, &y).unwrap();
            let roundings = rounding(&other, &image) + rounding(&other, &second);
            let own = rounding(&sample.space, &x) + rounding(&sample.space, &y);
            let found = other.distance(&image, &second).unwrap();
            let allowed = 8.0 * EPS * (d + roundings + own);
            assert!((found - d).abs() <= allowed, "{geometry} {x:?} {y:?}: {found} {d}");
            let back = transform(&other, &sample.space, &image).unwrap();
            let off = sample.space.distance(&back, &x).unwrap();
            assert!(off <= allowed, "{geometry} {x:?}: {off} {allowed}");
        }
    });
}

/// Between other spaces distances and angles at the base point are kept, and the way back leads
/// back.
#[test]
fn transforms_through_the_tangent_space_keep_the_distance_from_the_base_point_and_invert() {
    let spaces = [
        space(Geometry::Poincare, 9, -1.0),
        space(Geometry::Hyperboloid, 9, -0.5),
        space(Geometry::Klein, 9, -0.3),
        space(Geometry::Euclidean, 9, 0.0),
        space(Geometry::Spherical, 9, 0.4),
        product(),
    ];
    let samples: Vec<Sample> =
        spaces.iter().map(|space| Sample { space: space.clone(), radius: 1.0 }).collect();
    for_each_case(&samples, |sample, rng| {
        let from = &sample.space;
        let x = sample.point(rng);
        let radius = from.distance(&x, &from.base_point()).unwrap();
        for to in &spaces {
            let image = transform(from, to, &x).unwrap();
            let found = to.distance(&image, &to.base_point()).unwrap();
            let allowed = 64.0 * EPS * (1.0 + rounding(from, &x) + rounding(to, &image));
            assert!((found - radius).abs() <= allowed, "{from} to {to} {x:?}: {found} {radius}");
            let back = transform(to, from, &image).unwrap();
            assert!(from.distance(&back, &x).unwrap() <= allowed, "{from} to {to} {x:?}");
        }
    });
}

#[test]
fn lorentzian_space_is_reached_and_left_again() {
    let lorentzian = space(Geometry::Lorentzian, 4, 0.8);
    let samples = [Sample { space: space(Geometry::Euclidean, 4, 0.0), radius: 6.0 }];
    let mut refused = 0;
    for_each_case(&samples, |sample, rng| {
        let x = sample.point(rng);
        let squared = x[1] * x[1] + x[2] * x[2] + x[3] * x[3] - x[0] * x[0];
        match transform(&sample.space, &lorentzian, &x) {
            Ok(image) => {
                lorentzian.validate(&image, hvs_geometry::Precision::F64).unwrap();
                let back = transform(&lorentzian, &sample.space, &image);
                // Near half a turn the way back is as uncertain as the antipode is near.
                let angle = (0.8 * squared.max(0.0)).sqrt();
                if angle > 3.0 {
                    return;
                }
                let back = back.unwrap();
                let off = sample.space.distance(&back, &x).unwrap();
                let size: f64 = image.iter().map(|a| a * a).sum();
                assert!(off <= 1e4 * EPS * size, "{x:?} {image:?} {back:?}");
            }
            Err(TransformError::BeyondInjectivity { radius, limit, .. }) => {
                refused += 1;
                assert!(radius >= limit * (1.0 - 1e-12) && squared > 0.0);
            }
            Err(other) => panic!("{other}"),
        }
    });
    assert!(refused > CASES / 100 && refused < CASES / 2, "{refused}");
}

#[test]
fn points_beyond_half_a_turn_are_refused_with_the_reason() {
    let (flat, sphere) = (space(Geometry::Euclidean, 2, 0.0), space(Geometry::Spherical, 2, 4.0));
    let half_turn = std::f64::consts::PI / 2.0;
    assert!(transform(&flat, &sphere, &[half_turn * 0.999_999, 0.0]).is_ok());
    for beyond in [half_turn, 2.0, 1e9] {
        let error = transform(&flat, &sphere, &[0.0, beyond]).unwrap_err();
        assert!(error.to_string().contains("no inverse"), "{error}");
    }
    let error = transform(&sphere, &flat, &[-0.5, 0.0, 0.0]).unwrap_err();
    assert!(matches!(error, TransformError::Unreachable(_)), "{error}");
    let error = transform(&sphere, &space(Geometry::Euclidean, 3, 0.0), &[0.5, 0.0, 0.0]);
    assert_eq!(error, Err(TransformError::Dimension { from: 2, to: 3 }));
}

#[test]
fn images_that_cannot_be_held_are_refused() {
    let flat = space(Geometry::Euclidean, 2, 0.0);
    for geometry in HYPERBOLIC {
        let error = transform(&flat, &space(geometry, 2, -1.0), &[1000.0, 0.0]).unwrap_err();
        assert!(matches!(error, TransformError::Image(_)), "{geometry}: {error}");
    }
    // 30 fits into the Poincaré ball, not into the Klein ball.
    let far = [30.0_f64.sinh().hypot(1.0), 30.0_f64.sinh(), 0.0];
    let hyperboloid = space(Geometry::Hyperboloid, 2, -1.0);
    assert!(transform(&hyperboloid, &space(Geometry::Poincare, 2, -1.0), &far).is_ok());
    let error = transform(&hyperboloid, &space(Geometry::Klein, 2, -1.0), &far).unwrap_err();
    assert!(matches!(error, TransformError::Image(_)), "{error}");
}
