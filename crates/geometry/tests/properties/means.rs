//! Means: convergence, optimality, and what is known about each.

use hvs_geometry::{Geometry, MeanError, Space};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::{EPS, Sample, metric_samples, product, rounding};

/// Means of a dozen points cost a few hundred distances each, so fewer cases do.
const MEANS: usize = 1_000;

fn draw(sample: &Sample, count: usize, rng: &mut StdRng) -> (Vec<Vec<f64>>, Vec<f64>) {
    let points = (0..count).map(|_| sample.point(rng)).collect();
    let weights = (0..count).map(|_| 0.1 + rng.random::<f64>()).collect();
    (points, weights)
}

fn spread(space: &Space, mean: &[f64], points: &[Vec<f64>], weights: &[f64]) -> f64 {
    let squares = points.iter().zip(weights).map(|(point, weight)| {
        let d = space.distance(mean, point).unwrap();
        weight * d * d
    });
    squares.sum::<f64>() / weights.iter().sum::<f64>()
}

#[test]
fn the_frechet_mean_converges_up_to_radius_eight_in_tens_of_iterations() {
    let worst = most_iterations_up_to_radius_eight();
    assert!(worst <= 20, "{worst} iterations");
}

fn most_iterations_up_to_radius_eight() -> usize {
    let mut worst = 0;
    for (geometry, dimension) in
        [(Geometry::Hyperboloid, 2), (Geometry::Hyperboloid, 16), (Geometry::Poincare, 5)]
    {
        let space = Space::new(geometry, dimension, -1.0).unwrap();
        for seed in 0..MEANS as u64 {
            let mut rng = StdRng::seed_from_u64(seed);
            let radius = 0.5 * f64::from(1 + rng.random_range(0..16));
            let sample = Sample { space: space.clone(), radius };
            let count = rng.random_range(1..30);
            let (points, weights) = draw(&sample, count, &mut rng);
            let mean = space.frechet_mean(&points, Some(&weights)).unwrap();
            assert!(mean.is_unique && mean.residual < 1e-9, "seed {seed}: {mean:?}");
            worst = worst.max(mean.iterations);
        }
    }
    worst
}

/// At the mean the logarithms balance, and every step away from it is a step up.
#[test]
fn the_frechet_mean_minimises_squared_distances() {
    for (index, sample) in metric_samples().into_iter().enumerate() {
        let mut rng = StdRng::seed_from_u64(index as u64);
        let mut found = 0;
        for _ in 0..MEANS / 5 {
            let radius = sample.radius.min(4.0);
            let radius =
                if sample.space.geometry() == Some(Geometry::Spherical) { 1.2 } else { radius };
            let narrow = Sample { space: sample.space.clone(), radius };
            let (points, weights) = draw(&narrow, 7, &mut rng);
            let mean = match sample.space.frechet_mean(&points, Some(&weights)) {
                Ok(mean) => mean.point,
                // A product draws its sphere all around, which may balance out or settle slowly.
                Err(MeanError::Balanced | MeanError::NotConverged { .. })
                    if sample.space.geometry().is_none() =>
                {
                    continue;
                }
                Err(error) => panic!("{}: {error}", sample.space),
            };
            found += 1;
            let lowest = spread(&sample.space, &mean, &points, &weights);
            let scale = rounding(&sample.space, &mean);
            for point in &points {
                let aside = sample.space.geodesic(&mean, point, 1e-3).unwrap();
                let there = spread(&sample.space, &aside, &points, &weights);
                let allowed = 64.0 * EPS * (1.0 + lowest) * scale.max(1.0);
                assert!(there >= lowest - allowed, "{}: {there} {lowest}", sample.space);
            }
        }
        assert!(found > MEANS / 10, "{}", sample.space);
    }
}

#[test]
fn the_mean_of_two_points_is_their_midpoint_and_of_one_itself() {
    for (index, sample) in metric_samples().into_iter().enumerate() {
        let mut rng = StdRng::seed_from_u64(index as u64 + 77);
        for _ in 0..MEANS / 5 {
            let radius = sample.radius.min(2.0);
            let (points, _) = draw(&Sample { space: sample.space.clone(), radius }, 2, &mut rng);
            let space = &sample.space;
            let Ok(mean) = space.frechet_mean(&points, None) else {
                assert!(space.geometry().is_none_or(|g| g == Geometry::Spherical), "{space}");
                continue;
            };
            let middle = space.midpoint(&points[0], &points[1]).unwrap();
            let off = space.distance(&mean.point, &middle).unwrap();
            assert!(off < 1e-7, "{space} {points:?}: {off}");
            let own = space.frechet_mean(&points[..1], Some(&[2.5])).unwrap();
            assert!(space.distance(&own.point, &points[0]).unwrap() < 1e-12, "{points:?}");
        }
    }
}

/// The textbook gyro-midpoint `½ ⊗ Σ wλx/Σ w(λ-1)`, the normalised sum on the hyperboloid, and the
/// closed forms of the crate are one point in all models, apart from the Fréchet mean.
#[test]
fn centroid_and_gyro_midpoint_are_one_point_in_every_model() {
    let ball = Space::new(Geometry::Poincare, 3, -1.0).unwrap();
    let sample = Sample { space: ball.clone(), radius: 3.0 };
    for seed in 0..MEANS as u64 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (points, weights) = draw(&sample, 5, &mut rng);
        let gyro = ball.gyro_midpoint(&points, Some(&weights)).unwrap();
        let mut sum = [0.0; 3];
        let mut divisor = 0.0;
        for (point, weight) in points.iter().zip(&weights) {
            let lambda = 2.0 / (1.0 - point.iter().map(|a| a * a).sum::<f64>());
            sum.iter_mut().zip(point).for_each(|(a, b)| *a += weight * lambda * b);
            divisor += weight * (lambda - 1.0);
        }
        let quotient: Vec<f64> = sum.iter().map(|a| a / divisor).collect();
        let textbook = ball.mobius_scalar(0.5, &quotient).unwrap();
        assert!(ball.distance(&gyro, &textbook).unwrap() < 1e-11, "seed {seed}");
        for geometry in [Geometry::Hyperboloid, Geometry::Klein] {
            let other = Space::new(geometry, 3, -1.0).unwrap();
            let images: Vec<Vec<f64>> = points
                .iter()
                .map(|point| hvs_geometry::transform(&ball, &other, point).unwrap())
                .collect();
            let centroid = other.lorentz_centroid(&images, Some(&weights)).unwrap();
            let back = hvs_geometry::transform(&other, &ball, &centroid).unwrap();
            assert!(ball.distance(&gyro, &back).unwrap() < 1e-11, "seed {seed} {geometry}");
        }
    }
}

#[test]
fn the_centroid_is_not_the_frechet_mean_far_out() {
    let sheet = Space::new(Geometry::Hyperboloid, 2, -1.0).unwrap();
    let sample = Sample { space: sheet.clone(), radius: 8.0 };
    let mut rng = StdRng::seed_from_u64(1);
    let (points, weights) = draw(&sample, 10, &mut rng);
    let mean = sheet.frechet_mean(&points, Some(&weights)).unwrap().point;
    let centroid = sheet.lorentz_centroid(&points, Some(&weights)).unwrap();
    assert!(sheet.distance(&mean, &centroid).unwrap() > 0.05);
}

/// Points that all lie far out in one direction, where the normalised sum loses its norm.
#[test]
fn means_of_far_clusters_stay_in_the_cluster() {
    for geometry in [Geometry::Hyperboloid, Geometry::Poincare] {
        let sheet = Space::new(Geometry::Hyperboloid, 2, -1.0).unwrap();
        let space = Space::new(geometry, 2, -1.0).unwrap();
        let points: Vec<Vec<f64>> = (0..6)
            .map(|index| {
                let (r, angle) = (17.0 + 0.3 * f64::from(index), 1e-8 * f64::from(index));
                let x = [r.cosh(), r.sinh() * angle.cos(), r.sinh() * angle.sin()];
                hvs_geometry::transform(&sheet, &space, &x).unwrap()
            })
            .collect();
        let mean = space.frechet_mean(&points, None).unwrap().point;
        let centroid = space.lorentz_centroid(&points, None).unwrap();
        for point in &points {
            assert!(space.distance(point, &mean).unwrap() < 1.5);
            assert!(space.distance(point, &centroid).unwrap() < 1.5);
        }
    }
}

#[test]
fn means_on_the_sphere_say_whether_they_are_unique() {
    let sphere = Space::new(Geometry::Spherical, 2, 1.0).unwrap();
    let near = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let mean = sphere.frechet_mean(&near, None).unwrap();
    assert!(mean.is_unique);
    for coordinate in &mean.point {
        assert!((coordinate - 3.0_f64.sqrt().recip()).abs() < 1e-12);
    }
    let wide = [[1.0, 0.0, 0.0], [-0.8, 0.6, 0.0], [0.0, 1.0, 0.0]];
    let mean = sphere.frechet_mean(&wide, Some(&[1.0, 1.0, 0.1])).unwrap();
    assert!(mean.is_unique || mean.residual < 1e-6);
    // 150 degrees from a pole ten times as heavy: the mean stays within a quarter turn of one only.
    let wider = [[0.0, 0.0, 1.0], [0.5, 0.0, -0.75_f64.sqrt()]];
    assert!(!sphere.frechet_mean(&wider, Some(&[3.0, 0.3])).unwrap().is_unique);
    let balanced = [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]];
    assert_eq!(sphere.frechet_mean(&balanced, None), Err(MeanError::Balanced));
}

#[test]
fn bad_means_are_refused_with_the_reason() {
    let flat = Space::new(Geometry::Euclidean, 2, 0.0).unwrap();
    let none: [Vec<f64>; 0] = [];
    assert_eq!(flat.frechet_mean(&none, None), Err(MeanError::NoPoints));
    let points = [[0.0, 1.0], [2.0, 3.0]];
    let error = flat.frechet_mean(&points, Some(&[1.0]));
    assert_eq!(error, Err(MeanError::WeightCount { points: 2, weights: 1 }));
    let error = flat.frechet_mean(&points, Some(&[1.0, -1.0]));
    assert_eq!(error, Err(MeanError::Weight { index: 1, weight: -1.0 }));
    let error = flat.frechet_mean(&points, Some(&[0.0, 0.0]));
    assert_eq!(error, Err(MeanError::WeightSum { sum: 0.0 }));
    let error = flat.frechet_mean(&[vec![0.0, 1.0], vec![1.0]], None).unwrap_err();
    assert!(matches!(error, MeanError::Point { index: 1, .. }), "{error}");
    let error = flat.lorentz_centroid(&points, None).unwrap_err();
    assert!(error.to_string().contains("hyperbolic"), "{error}");
    let mean = flat.frechet_mean(&points, Some(&[1.0, 3.0])).unwrap();
    assert_eq!(mean.point, [1.5, 2.5]);
    assert!(product().frechet_mean(&[product().base_point()], None).is_ok());
}
