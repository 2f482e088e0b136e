//! Far out, where precision ends: exact values, limits at their edges, and clear refusals.

use hvs_geometry::{Geometry, MapError, PointError, Precision, Space};

use crate::EPS;

fn space(geometry: Geometry, dimension: usize) -> Space {
    Space::new(geometry, dimension, geometry.default_curvature()).unwrap()
}

/// `(1-h, 0)` with `h` a power of two is exact, and so is its radius `ln((2-h)/h)`.
#[test]
fn distances_at_the_rim_of_the_ball_keep_their_digits() {
    let ball = space(Geometry::Poincare, 2);
    for exponent in 1..=50 {
        let h = 2.0_f64.powi(-exponent);
        let radius = ((2.0 - h) / h).ln();
        let found = ball.distance(&[0.0, 0.0], &[1.0 - h, 0.0]).unwrap();
        assert!((found - radius).abs() <= 4.0 * EPS * radius, "{h:e}: {found} {radius}");
        let across = ball.distance(&[h - 1.0, 0.0], &[1.0 - h, 0.0]).unwrap();
        assert!((across - 2.0 * radius).abs() <= 8.0 * EPS * radius, "{h:e}: {across}");
        let next = ball.distance(&[1.0 - h, 0.0], &[1.0 - h / 2.0, 0.0]).unwrap();
        let expected = ((2.0 - h / 2.0) / (2.0 - h) * 2.0).ln();
        assert!((next - expected).abs() <= 8.0 * EPS, "{h:e}: {next} {expected}");
    }
}

/// One unit apart along a ray, at any radius that the hyperboloid holds.
#[test]
fn radial_distances_on_the_hyperboloid_keep_their_digits() {
    let sheet = space(Geometry::Hyperboloid, 3);
    for step in 0..36 {
        let r = f64::from(step);
        let at = |r: f64| {
            let direction = [0.6, 0.48, 0.64];
            let mut x = vec![r.cosh()];
            x.extend(direction.map(|u| u * r.sinh()));
            x
        };
        let found = sheet.distance(&at(r), &at(r + 1.0)).unwrap();
        // The coordinates are rounded: the direction by eps, which counts sinh(r)·eps across, and
        // in second order only along.
        let across = r.sinh() * EPS;
        let allowed = 64.0 * EPS + 16.0 * across * across;
        assert!((found - 1.0).abs() <= allowed, "at {r}: {found}");
    }
}

#[test]
fn ball_points_within_four_steps_of_the_rim_are_refused() {
    for geometry in [Geometry::Poincare, Geometry::Klein] {
        let ball = space(geometry, 2);
        for precision in [Precision::F32, Precision::F64] {
            let eps = precision.epsilon();
            assert_eq!(ball.validate(&[1.0 - 4.0 * eps, 0.0], precision), Ok(()));
            let error = ball.validate(&[1.0 - 3.0 * eps, 0.0], precision).unwrap_err();
            let PointError::BeyondPrecision { radius, limit, .. } = error else {
                panic!("{error}");
            };
            assert!(radius > limit && radius < limit + 1.0, "{radius} {limit}");
            assert!((limit - ball.radius_limit(precision)).abs() <= 0.0);
        }
        let error = ball.validate(&[1.0, 0.0], Precision::F64).unwrap_err();
        assert!(matches!(error, PointError::OutsideBall { .. }), "{error}");
        assert!(ball.distance(&[0.6, 0.8 + 1e-15], &[0.0, 0.0]).is_err());
        assert!(ball.distance(&[3.0, 0.0], &[0.0, 5.0]).is_err());
    }
}

/// Projection moves what is off the space, never a point that the precision merely cannot hold.
#[test]
fn ball_points_beyond_the_precision_are_refused_by_projection_too() {
    let beyond = [
        (Geometry::Poincare, Precision::F64, 1.0 - EPS / 2.0),
        (Geometry::Poincare, Precision::F32, 0.999_999_99),
        (Geometry::Klein, Precision::F64, 1.0 - EPS),
        (Geometry::Klein, Precision::F32, 0.999_999_999_9),
    ];
    for (geometry, precision, x) in beyond {
        let ball = space(geometry, 2);
        let error = ball.project(&[x, 0.0], precision).unwrap_err();
        assert!(matches!(error, PointError::BeyondPrecision { .. }), "{geometry} {x}: {error}");
        assert_eq!(ball.validate(&[x, 0.0], precision), Err(error));
        let inside = [1.0 - 4.0 * precision.epsilon(), 0.0];
        assert_eq!(ball.project(&inside, precision).unwrap(), inside);
        for outside in [1.0, 1.0 + EPS, 3.0, 1e200, 1.7e308] {
            let point = ball.project(&[outside, 0.0], precision).unwrap();
            ball.validate(&point, precision).unwrap();
            assert!(point[0] > 1.0 - 16.0 * precision.epsilon(), "{geometry} {outside}");
        }
    }
}

#[test]
fn radius_limits_hold_at_their_edges() {
    for precision in [Precision::F32, Precision::F64] {
        let sheet = space(Geometry::Hyperboloid, 1);
        let limit = sheet.radius_limit(precision);
        for (radius, is_valid) in [(limit - 1e-6, true), (limit + 1e-6, false)] {
            let point = [radius.cosh(), radius.sinh()];
            assert_eq!(sheet.validate(&point, precision).is_ok(), is_valid, "{radius}");
        }
        let lorentzian = space(Geometry::Lorentzian, 2);
        let limit = lorentzian.radius_limit(precision);
        for (radius, is_valid) in [(limit - 1e-6, true), (limit + 1e-6, false)] {
            let point = [radius.sinh(), radius.cosh(), 0.0];
            assert_eq!(lorentzian.validate(&point, precision).is_ok(), is_valid, "{radius}");
        }
        let flat = space(Geometry::Euclidean, 2);
        let limit = flat.radius_limit(precision);
        assert!(flat.validate(&[limit, 0.0], precision).is_ok());
        let error = flat.validate(&[limit, limit], precision).unwrap_err();
        assert!(matches!(error, PointError::BeyondPrecision { .. }), "{error}");
        let d = flat.distance(&[limit, 0.0], &[-limit, 0.0]).unwrap();
        assert!(d.is_finite());
    }
    let (f32_limit, f64_limit) = (
        space(Geometry::Hyperboloid, 2).radius_limit(Precision::F32),
        space(Geometry::Hyperboloid, 2).radius_limit(Precision::F64),
    );
    assert!((f32_limit - 16.64).abs() < 0.01 && (f64_limit - 36.74).abs() < 0.01);
}

#[test]
fn curvature_scales_lengths_and_limits() {
    for geometry in [Geometry::Poincare, Geometry::Hyperboloid, Geometry::Klein] {
        let unit = space(geometry, 2);
        let flatter = Space::new(geometry, 2, -0.25).unwrap();
        let x = unit.from_storage(&[0.3, 0.1]);
        let y = unit.from_storage(&[-0.2, 0.5]);
        let twice = |p: &[f64]| p.iter().map(|a| 2.0 * a).collect::<Vec<f64>>();
        let d = unit.distance(&x, &y).unwrap();
        let scaled = flatter.distance(&twice(&x), &twice(&y)).unwrap();
        assert!((scaled - 2.0 * d).abs() <= 8.0 * EPS * d, "{geometry}: {scaled} {d}");
        let limits = (unit.radius_limit(Precision::F64), flatter.radius_limit(Precision::F64));
        assert!((limits.1 - 2.0 * limits.0).abs() < 1e-12);
        flatter.validate(&twice(&x), Precision::F64).unwrap();
    }
}

#[test]
fn results_beyond_the_rim_are_refused() {
    let ball = space(Geometry::Poincare, 2);
    for length in [20.0, 1e3, 1e300] {
        let error = ball.exp(&[0.1, 0.2], &[length, 0.0]).unwrap_err();
        let MapError::Result(source) = error else { panic!("{error}") };
        assert!(matches!(source, PointError::BeyondPrecision { .. }), "{source}");
    }
    assert!(ball.exp(&[0.1, 0.2], &[15.0, 0.0]).is_ok());
    let far = ball.mobius_add(&[1.0 - 1e-9, 0.0], &[1.0 - 1e-9, 0.0]);
    assert!(matches!(far, Err(MapError::Result(_))), "{far:?}");
    let sheet = space(Geometry::Hyperboloid, 2);
    let apex = sheet.base_point();
    assert!(sheet.exp(&apex, &[0.0, 300.0, 0.0]).is_ok());
    for length in [400.0, 1e3, 1e300] {
        let error = sheet.exp(&apex, &[0.0, length, 0.0]).unwrap_err();
        assert!(matches!(error, MapError::Result(_)), "{error}");
    }
}

#[test]
fn antipodes_of_the_sphere_have_a_distance_and_no_direction() {
    let sphere = Space::new(Geometry::Spherical, 2, 4.0).unwrap();
    let (x, y) = ([0.3, 0.0, 0.4], [-0.3, 0.0, -0.4]);
    let d = sphere.distance(&x, &y).unwrap();
    assert!((d - std::f64::consts::FRAC_PI_2).abs() <= 2.0 * EPS);
    for error in [
        sphere.log(&x, &y).unwrap_err(),
        sphere.midpoint(&x, &y).unwrap_err(),
        sphere.transport(&x, &y, &[0.0, 1.0, 0.0]).unwrap_err(),
    ] {
        assert_eq!(error, MapError::Antipodal { geometry: Geometry::Spherical });
    }
    let near = sphere.project(&[-0.3, 1e-9, -0.4], Precision::F64).unwrap();
    assert!(sphere.log(&x, &near).is_ok());
}

#[test]
fn messages_say_what_is_wrong_and_what_would_be_right() {
    let sheet = space(Geometry::Hyperboloid, 3);
    let text = |x: &[f64]| sheet.validate(x, Precision::F32).unwrap_err().to_string();
    let message = text(&[1.0, 2.0, 3.0]);
    assert!(message.contains("3 coordinates given, 4 expected"), "{message}");
    assert!(message.contains("dimension 3"), "{message}");
    let message = text(&[1.0, f64::NAN, 0.0, 0.0]);
    assert!(message.contains("coordinate 1 is NaN"), "{message}");
    let message = text(&[3.0, 1.0, 1.0, 1.0]);
    assert!(message.contains("x0 is 3") && message.contains("would be right"), "{message}");
    let message = text(&[1e9, 1e9, 0.0, 0.0]);
    assert!(message.contains("radius 21.4") && message.contains("at most 16.6"), "{message}");
    let product = crate::product();
    let mut x = product.base_point();
    x[4] = 0.5;
    let message = product.validate(&x, Precision::F64).unwrap_err().to_string();
    assert!(message.contains("component 1 (from coordinate 4)"), "{message}");
}
