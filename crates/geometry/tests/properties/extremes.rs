//! Numbers at the ends of f64, whose squares have no digits or are infinite.

use hvs_geometry::{Geometry, MapError, PointError, Precision, Space, transform};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::{EPS, Sample, for_each_case, metric_samples, product};

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

/// A finite number at an end of f64, or an ordinary one.
fn extreme(rng: &mut StdRng) -> f64 {
    let size = match rng.random_range(0..12) {
        0 | 1 => 0.0,
        2 => 1e300,
        3 => 1e-300,
        4 => 1e163,
        5 => 1e-163,
        6 => f64::from_bits(rng.random_range(1..1_u64 << 52)),
        7 => f64::MAX,
        8 => 10.0_f64.powf(rng.random_range(-308.0..308.0)),
        _ => rng.random::<f64>(),
    };
    if rng.random() { size } else { -size }
}

fn extreme_vector(length: usize, rng: &mut StdRng) -> Vec<f64> {
    (0..length).map(|_| extreme(rng)).collect()
}

/// A point of the space where extreme coordinates can be made one, and the coordinates otherwise.
fn extreme_point(sample: &Sample, rng: &mut StdRng) -> Vec<f64> {
    let x = extreme_vector(sample.space.ambient(), rng);
    match rng.random_range(0..4) {
        0 => x,
        1 => sample.point(rng),
        _ => sample.space.project(&x, Precision::F64).unwrap_or(x),
    }
}

/// Every operation answers finite input with a finite value or an error.
#[test]
fn finite_input_has_a_finite_answer_or_none() {
    let mut samples = metric_samples();
    let lorentzian = Space::new(Geometry::Lorentzian, 3, 1.5).unwrap();
    samples.push(Sample { space: lorentzian, radius: 5.0 });
    let mut answers = [0_usize; 16];
    for_each_case(&samples, |sample, rng| {
        let space = &sample.space;
        let (x, y) = (extreme_point(sample, rng), extreme_point(sample, rng));
        let tangent = |rng: &mut StdRng| {
            let v = extreme_vector(space.ambient(), rng);
            space.project_tangent(&x, &v).unwrap_or(v)
        };
        let (u, v) = (tangent(rng), tangent(rng));
        let t = extreme(rng);
        let weights = [extreme(rng).abs(), extreme(rng).abs()];
        let from_product = product().project(&extreme_vector(11, rng), Precision::F64);
        let one = |value: f64| vec![value];
        let points: &[&[f64]] = if rng.random_ratio(1, 8) { &[&x, &y] } else { &[] };
        let found = [
            space.distance(&x, &y).ok().map(one),
            space.stored_distance(&space.to_storage(&x), &space.to_storage(&y)).ok().map(one),
            space.exp(&x, &v).ok(),
            space.log(&x, &y).ok(),
            space.transport(&x, &y, &v).ok(),
            space.geodesic(&x, &y, t).ok(),
            space.midpoint(&x, &y).ok(),
            space.inner(&x, &u, &v).ok().map(one),
            space.project_tangent(&x, &v).ok(),
            space.mobius_add(&x, &y).ok(),
            space.mobius_scalar(t, &x).ok(),
            space.frechet_mean(points, Some(&weights)).ok().map(|mean| mean.point),
            space.lorentz_centroid(points, Some(&weights)).ok(),
            space
                .interval(&x, &y, Precision::F64)
                .ok()
                .map(|interval| vec![interval.length.unwrap_or(0.0), interval.inner]),
            transform(space, &samples_target(space), &x).ok(),
            from_product.ok().and_then(|x| transform(&product(), &flat_of(9), &x).ok()),
        ];
        for (operation, values) in found.iter().enumerate() {
            let Some(values) = values else { continue };
            answers[operation] += 1;
            assert!(
                values.iter().all(|value| value.is_finite()),
                "operation {operation} in {space}: {values:?} of {x:?} {y:?} {u:?} {v:?} {t:e} {weights:?}"
            );
        }
        let causes = [
            space.validate(&x, Precision::F64).err().map(|error| error.to_string()),
            space.exp(&x, &v).err().map(|error| error.to_string()),
            space.log(&x, &y).err().map(|error| error.to_string()),
            space.transport(&x, &y, &v).err().map(|error| error.to_string()),
            space.inner(&x, &u, &v).err().map(|error| error.to_string()),
            space.distance(&x, &y).err().map(|error| error.to_string()),
        ];
        for cause in causes.into_iter().flatten() {
            assert!(!cause.contains("NaN") && !cause.contains("inf "), "{space}: {cause}");
        }
    });
    // Every operation had answers, so the test is not about errors alone.
    assert!(answers.iter().all(|count| *count > 100), "{answers:?}");
}

fn flat_of(dimension: usize) -> Space {
    space(Geometry::Euclidean, dimension)
}

/// A space of the same dimension to transform into.
fn samples_target(from: &Space) -> Space {
    match from.geometry() {
        Some(Geometry::Euclidean) => space(Geometry::Hyperboloid, from.dimension()),
        _ => flat_of(from.dimension()),
    }
}

/// Lengths and products of tangent vectors of any size are scaled like the vectors.
#[test]
fn maps_that_are_linear_in_a_vector_are_so_at_every_size() {
    for_each_case(&metric_samples(), |sample, rng| {
        let space = &sample.space;
        let (x, y) = (sample.point(rng), sample.point(rng));
        let v = space.project_tangent(&x, &sample.tangent(&x, rng)).unwrap();
        let power: i32 = rng.random_range(-900..900);
        let large = 2.0_f64.powi(power);
        let scaled = |v: &[f64]| v.iter().map(|a| a * large).collect::<Vec<f64>>();
        let close = |found: &[f64], truth: &[f64]| {
            let size = truth.iter().fold(0.0_f64, |size, a| size.max(a.abs()));
            found.iter().zip(truth).all(|(a, b)| (a - b).abs() <= 1e-12 * size)
        };
        let found = space.transport(&x, &y, &scaled(&v)).unwrap();
        let truth = scaled(&space.transport(&x, &y, &v).unwrap());
        assert!(close(&found, &truth), "{space} 2^{power}: {found:?} {truth:?}");
        // The other vector is as small as this one is large.
        let w: Vec<f64> = v.iter().map(|a| a * 2.0_f64.powi(-power)).collect();
        let found = space.inner(&x, &scaled(&v), &w).unwrap();
        let truth = space.inner(&x, &v, &v).unwrap();
        assert!(close(&[found], &[truth]), "{space} 2^{power}: {found} {truth}");
        if power.abs() < 480 {
            let found = space.inner(&x, &scaled(&v), &scaled(&v)).unwrap();
            assert!(close(&[found], &[truth * large * large]), "{space} 2^{power}: {found:e}");
        }
    });
}

#[test]
fn what_overflows_is_named() {
    let flat = flat_of(2);
    let error = flat.inner(&[0.0; 2], &[1e200, 0.0], &[1e200, 0.0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the result cannot be held: the inner product overflows: it is beyond the largest number \
         of f64"
    );
    assert!(
        (flat.inner(&[0.0; 2], &[1e200, 1e200], &[1e-200, -5e-201]).unwrap() - 0.5).abs() < EPS
    );
    let found = flat.inner(&[0.0; 2], &[1e200, -1e200], &[1e200, 1e200]).unwrap();
    assert!(found.abs() <= 0.0, "{found}");
    let ball = space(Geometry::Klein, 2);
    let (x, y) = (
        [-0.988_750_274_839_623, -0.049_728_201_300_369_83],
        [0.830_692_640_439_534_6, 0.556_731_296_874_528_3],
    );
    let size = 2.0_f64.powi(997);
    let found = ball.transport(&x, &y, &[-size, -size]).unwrap();
    let truth = ball.transport(&x, &y, &[-1.0, -1.0]).unwrap();
    for (found, truth) in found.iter().zip(truth) {
        assert!((found / size - truth).abs() <= 1e-14 * truth.abs(), "{found:e} {truth}");
    }
    // The vector is tangent, but too long to have a norm.
    let sphere = space(Geometry::Spherical, 2);
    let v = [0.0, 1.7e308, 1.7e308];
    let pole = sphere.base_point();
    let error = sphere.exp(&pole, &v).unwrap_err();
    assert!(matches!(error, MapError::Result(PointError::Overflow { .. })), "{error}");
    let moved = sphere.transport(&pole, &[0.0, 1.0, 0.0], &v).unwrap();
    assert_eq!(moved, [-1.7e308, 0.0, 1.7e308]);
    assert!(sphere.inner(&pole, &v, &v).is_err());
}
