//! Keys rank as the geometry's distances do, within the bounds that searches rely on.

use hvs_geometry::{Component, Geometry, Precision, Space};
use proptest::prelude::*;

use super::{
    Lane, Metric,
    formula::{Polar, PolarAny, Straight, StraightAny},
    kernel::{Kernel, Portable, kernel},
};
use crate::points::{placed, space};

fn spaces() -> Vec<Space> {
    vec![
        space(Geometry::Hyperboloid, 12, -1.0),
        space(Geometry::Hyperboloid, 5, -0.3),
        space(Geometry::Poincare, 12, -1.0),
        space(Geometry::Poincare, 3, -2.5),
        space(Geometry::Klein, 7, -1.0),
        space(Geometry::Euclidean, 9, 0.0),
        space(Geometry::Spherical, 6, 0.7),
        Space::product(vec![
            Component { space: space(Geometry::Hyperboloid, 4, -1.0), weight: 0.5 },
            Component { space: space(Geometry::Spherical, 2, 1.0), weight: 3.0 },
            Component { space: space(Geometry::Euclidean, 3, 0.0), weight: 1.0 },
        ])
        .unwrap(),
    ]
}

/// A point in storage form from numbers in [-1, 1]: `along` sets how far out it is.
fn point(space: &Space, direction: &mut impl Iterator<Item = f64>, along: f64) -> Vec<f64> {
    let Some(geometry) = space.geometry() else {
        let parts = space.components().iter();
        return parts.flat_map(|part| point(&part.space, direction, along)).collect();
    };
    let v: Vec<f64> = direction.take(space.storage_len()).collect();
    let most = match geometry {
        Geometry::Klein => 6.0,
        _ => 9.0,
    };
    placed(space, &v, along.abs() * most)
}

fn rounded<T: Lane>(stored: &[f64]) -> Vec<f64> {
    stored.iter().map(|&x| T::from_f64(x).to_f64()).collect()
}

/// Two points, the second one `closeness` of the way to being the first.
fn pair<T: Lane>(space: &Space, numbers: &[f64], closeness: f64) -> (Vec<f64>, Vec<f64>) {
    let (mut first, mut second) =
        (numbers.iter().copied().cycle(), numbers.iter().rev().copied().cycle());
    let (along, other) = (numbers[0], numbers[1]);
    let x = point(space, &mut first, along);
    let blend = |y: &mut Vec<f64>| {
        for (b, a) in y.iter_mut().zip(&x) {
            *b = a * closeness + *b * (1.0 - closeness);
        }
    };
    let mut y = point(space, &mut second, other);
    // A sphere's points must stay on it.
    if space.geometry().is_some_and(|geometry| geometry != Geometry::Spherical) {
        blend(&mut y);
    }
    (rounded::<T>(&x), rounded::<T>(&y))
}

fn bounds_hold<T: Lane>(numbers: &[f64], closeness: f64) {
    for space in spaces() {
        let (x, y) = pair::<T>(&space, numbers, closeness);
        let metric = Metric::<T>::of(&space).unwrap();
        let (Ok(query), Ok(other)) = (metric.query(&x), metric.query(&y)) else {
            // Rounding pushed the point out of its ball.
            continue;
        };
        let Ok(truth) = space.stored_distance(&x, &y) else { continue };
        let mut reach = Vec::new();
        metric.extend_reach(&other.row, &mut reach);
        let key = metric.kernel().pair(&query.row, &other.row);
        let least = metric.at_least(&query, key.to_f64(), &reach);
        assert!(least <= truth, "{space}: at least {least}, truly {truth}, key {key:?}");
        let limit = metric.key_limit(&query, truth, &reach);
        assert!(key.to_f64() <= limit, "{space}: key {key:?}, limit {limit} at {truth}");
        // And the bound is worth having: it is near the truth.
        let slack = 2e-2 * (1.0 + truth);
        if T::PRECISION == Precision::F64 {
            assert!(least >= truth - slack, "{space}: at least {least}, truly {truth}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_computed_key_bounds_the_true_distance(
        numbers in prop::collection::vec(-1.0..1.0_f64, 17),
        closeness in prop_oneof![Just(0.0), Just(1.0), 0.9..1.0_f64, Just(1.0 - 1e-7)],
    ) {
        bounds_hold::<f32>(&numbers, closeness);
        bounds_hold::<f64>(&numbers, closeness);
    }

    #[test]
    fn every_instruction_set_and_width_gives_the_same_bits(
        a in prop::collection::vec(-3.0..3.0_f32, 36),
        b in prop::collection::vec(-3.0..3.0_f32, 36),
    ) {
        fn same(kernels: &[&dyn Kernel<f32>], a: &[f32], b: &[f32]) {
            let rows = [b, a, b].concat();
            let expected = kernels[0].pair(a, b);
            for kernel in kernels {
                assert_eq!(kernel.pair(a, b).to_bits(), expected.to_bits());
                let mut keys = Vec::new();
                kernel.scan(a, &rows, &mut keys);
                assert_eq!(keys[0].to_bits(), expected.to_bits());
                assert_eq!((keys[1], keys.len()), (kernel.pair(a, a), 3));
                kernel.gather(a, &rows, &[2, 7, 1], &mut keys);
                assert_eq!(keys[0].to_bits(), expected.to_bits());
                assert_eq!(keys[1].to_bits(), f32::MAX.to_bits(), "no such row");
                assert_eq!(keys[2].to_bits(), kernel.pair(a, a).to_bits());
            }
        }
        same(
            &[&Portable(PolarAny), &Portable(Polar::<12>), &*kernel(PolarAny), &*kernel(Polar::<12>)],
            &a[..16],
            &b[..16],
        );
        same(
            &[&Portable(PolarAny), &Portable(Polar::<32>), &*kernel(PolarAny), &*kernel(Polar::<32>)],
            &a,
            &b,
        );
        same(
            &[&Portable(StraightAny), &Portable(Straight::<8>), &*kernel(StraightAny), &*kernel(Straight::<8>)],
            &a[..8],
            &b[..8],
        );
    }
}

#[test]
fn keys_are_finite_whatever_the_rows_hold() {
    for odd in [f32::NAN, f32::INFINITY, f32::MAX] {
        let (a, b) = ([odd; 16], [-odd; 16]);
        for kernel in [kernel::<f32, _>(Polar::<12>), kernel(PolarAny), kernel(Straight::<16>)] {
            assert!(kernel.pair(&a, &b).is_finite());
        }
    }
}

#[test]
fn the_origin_has_a_row() {
    for geometry in [Geometry::Hyperboloid, Geometry::Poincare, Geometry::Klein] {
        let space = space(geometry, 3, -1.0);
        let metric = Metric::<f32>::of(&space).unwrap();
        for tiny in [0.0, 1e-30, 5e-324] {
            let origin = metric.query(&[0.0; 3]).unwrap();
            let near = metric.query(&[tiny, 0.0, 0.0]).unwrap();
            assert!(metric.kernel().pair(&origin.row, &near.row) < 1e-20);
        }
    }
}

/// Twelve dimensions in f32 are one cache line.
#[test]
fn the_benchmark_row_is_one_cache_line() {
    let metric = Metric::<f32>::of(&space(Geometry::Hyperboloid, 12, -1.0)).unwrap();
    assert_eq!(metric.lanes() * size_of::<f32>(), 64);
}

#[test]
fn a_lorentzian_part_has_no_metric() {
    let lorentzian = space(Geometry::Lorentzian, 3, 1.0);
    assert!(Metric::<f32>::of(&lorentzian).is_none());
    let product = Space::product(vec![Component { space: lorentzian, weight: 1.0 }]).unwrap();
    assert!(Metric::<f32>::of(&product).is_none());
}
