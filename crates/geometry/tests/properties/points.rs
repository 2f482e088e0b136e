//! Validation and projection, and that no input makes anything panic.

use hvs_geometry::{Geometry, PointError, Precision, Space, transform};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::{CASES, Sample, for_each_case, metric_samples, product};

fn all_samples() -> Vec<Sample> {
    let mut samples = metric_samples();
    let lorentzian = Space::new(Geometry::Lorentzian, 4, 1.5).unwrap();
    samples.push(Sample { space: lorentzian, radius: 5.0 });
    samples
}

/// Numbers of every size, and what is no number.
fn wild(rng: &mut StdRng) -> f64 {
    match rng.random_range(0..12) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        3 => f64::MAX,
        4 => f64::MIN_POSITIVE / 4.0,
        5 => -0.0,
        6 => 1.0,
        7 => f64::from_bits(rng.random::<u64>()),
        _ => rng.random::<f64>() * 4.0 - 2.0,
    }
}

fn wild_vector(length: usize, rng: &mut StdRng) -> Vec<f64> {
    (0..length).map(|_| wild(rng)).collect()
}

#[test]
fn random_points_are_points_within_their_radius() {
    for_each_case(&all_samples(), |sample, rng| {
        let x = sample.point(rng);
        sample.space.validate(&x, Precision::F64).unwrap();
        if let (Some(geometry), true) = (sample.space.geometry(), sample.space.is_metric()) {
            let radius = sample.space.distance(&x, &sample.space.base_point()).unwrap();
            assert!(radius <= sample.radius * (1.0 + 1e-9), "{geometry} {x:?}: {radius}");
        }
    });
}

/// What a client computes in f32 is accepted at f32, its time coordinate's error included.
#[test]
fn points_rounded_to_f32_are_valid_in_f32() {
    for_each_case(&all_samples(), |sample, rng| {
        let x = sample.point(rng);
        #[allow(clippy::cast_possible_truncation, reason = "the rounding is the point")]
        let rounded: Vec<f64> = x.iter().map(|a| f64::from(*a as f32)).collect();
        if let Err(error) = sample.space.validate(&rounded, Precision::F32) {
            panic!("{}: {rounded:?}: {error}", sample.space);
        }
    });
}

#[test]
fn points_that_are_clearly_off_are_refused_with_what_would_be_right() {
    let spaces = [
        Space::new(Geometry::Hyperboloid, 3, -1.0).unwrap(),
        Space::new(Geometry::Spherical, 3, 2.0).unwrap(),
        Space::new(Geometry::Lorentzian, 3, 1.0).unwrap(),
    ];
    let samples: Vec<Sample> =
        spaces.into_iter().map(|space| Sample { space, radius: 1.5 }).collect();
    for_each_case(&samples, |sample, rng| {
        let x = sample.point(rng);
        // Off the surface along all coordinates but the time, by more than f32 can excuse.
        let factor = 1.0 + 1e-3;
        let off: Vec<f64> = x.iter().map(|a| a * factor).collect();
        for precision in [Precision::F32, Precision::F64] {
            let error = sample.space.validate(&off, precision).unwrap_err();
            let PointError::OffManifold { found, expected, off, tolerance, .. } = error else {
                panic!("{error}");
            };
            assert!(off > tolerance && (found - expected).abs() >= off);
        }
    });
}

#[test]
fn whatever_can_be_projected_is_valid_afterwards() {
    let mut projected = 0;
    for_each_case(&all_samples(), |sample, rng| {
        let size = 10.0_f64.powf(rng.random::<f64>() * 8.0 - 4.0);
        let x: Vec<f64> =
            (0..sample.space.ambient()).map(|_| size * (rng.random::<f64>() * 2.0 - 1.0)).collect();
        for precision in [Precision::F32, Precision::F64] {
            match sample.space.project(&x, precision) {
                Ok(point) => {
                    projected += 1;
                    sample.space.validate(&point, precision).unwrap();
                    let again = sample.space.project(&point, precision).unwrap();
                    sample.space.validate(&again, precision).unwrap();
                }
                Err(PointError::BeyondPrecision { radius, limit, .. }) => assert!(radius > limit),
                Err(PointError::InComponent { source, .. }) => {
                    assert!(matches!(*source, PointError::BeyondPrecision { .. }));
                }
                Err(error) => panic!("{x:?}: {error}"),
            }
        }
    });
    assert!(projected > CASES);
}

#[test]
fn valid_points_are_not_moved_by_projection() {
    for_each_case(&all_samples(), |sample, rng| {
        let x = sample.point(rng);
        let projected = sample.space.project(&x, Precision::F64).unwrap();
        for (before, after) in x.iter().zip(&projected) {
            let size: f64 = x.iter().fold(0.0, |size, a| size.max(a.abs()));
            assert!((before - after).abs() <= 1e-15 * (1.0 + size) * 8.0, "{x:?} {projected:?}");
        }
        let stored = sample.space.to_storage(&x);
        assert_eq!(stored.len(), sample.space.storage_len());
        let restored = sample.space.from_storage(&stored);
        assert_eq!(restored.len(), x.len());
        sample.space.validate(&restored, Precision::F64).unwrap();
        assert_eq!(sample.space.to_storage(&restored), stored);
    });
}

/// Every operation answers every input, with a value or an error: no panic, and no value that is
/// not a number unless overflow made it.
#[test]
fn no_input_panics() {
    for_each_case(&all_samples(), |sample, rng| {
        let space = &sample.space;
        let length = match rng.random_range(0..10) {
            0 => rng.random_range(0..20),
            _ => space.ambient(),
        };
        let valid = sample.point(rng);
        let mut x = wild_vector(length, rng);
        if rng.random::<f64>() < 0.3 {
            x.clone_from(&valid);
        }
        let (y, v) = (wild_vector(length, rng), wild_vector(length, rng));
        let t = wild(rng);
        for precision in [Precision::F32, Precision::F64] {
            let _ = space.validate(&x, precision);
            let _ = space.project(&x, precision);
            let _ = space.interval(&x, &y, precision);
            let _ = space.causal_relation(&x, &y, precision);
        }
        if let Ok(distance) = space.distance(&x, &y) {
            assert!(!distance.is_nan(), "{x:?} {y:?}");
        }
        let _ = space.stored_distance(&x, &y);
        for point in [space.exp(&x, &v), space.geodesic(&x, &y, t), space.mobius_add(&x, &y)]
            .into_iter()
            .flatten()
        {
            assert!(point.iter().all(|a| a.is_finite()), "{x:?} {y:?} {v:?} {t}: {point:?}");
        }
        let _ = space.log(&x, &y);
        let _ = space.transport(&x, &y, &v);
        let _ = space.inner(&x, &v, &v);
        let _ = space.mobius_scalar(t, &x);
        let _ = space.project_tangent(&x, &v);
        let _ = space.frechet_mean(&[&x, &y, &valid], Some(&[t, 1.0, 2.0]));
        let _ = space.lorentz_centroid(&[&x, &y], None);
        let _ = space.gyro_midpoint(&[&x, &y], None);
        let _ = space.from_storage(&space.to_storage(&x));
        let _ = space.random_point(rng, t);
        let _ = transform(space, &product(), &x);
        let _ = transform(&product(), space, &x);
    });
}
