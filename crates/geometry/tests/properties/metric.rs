//! Distance is a metric, and the ranking key orders like it.

use crate::{EPS, for_each_case, metric_samples, rounding};

#[test]
fn distance_is_symmetric_and_not_negative() {
    for_each_case(&metric_samples(), |sample, rng| {
        let (x, y) = (sample.point(rng), sample.point(rng));
        let there = sample.space.distance(&x, &y).unwrap();
        let back = sample.space.distance(&y, &x).unwrap();
        assert!(there >= 0.0 && (there - back).abs() <= 4.0 * EPS * there, "{x:?} {y:?}");
    });
}

#[test]
fn distance_to_itself_is_zero_and_to_others_is_not() {
    for_each_case(&metric_samples(), |sample, rng| {
        let (x, y) = (sample.point(rng), sample.point(rng));
        let own = sample.space.distance(&x, &x).unwrap();
        assert!(own.abs() <= 0.0, "{x:?} to itself: {own}");
        assert!(sample.space.distance(&x, &y).unwrap() > 0.0, "{x:?} {y:?}");
    });
}

#[test]
fn the_triangle_inequality_holds_in_metric_spaces() {
    for_each_case(&metric_samples(), |sample, rng| {
        let [x, y, z] = [sample.point(rng), sample.point(rng), sample.point(rng)];
        let distance = |a: &[f64], b: &[f64]| sample.space.distance(a, b).unwrap();
        let detour = distance(&x, &y) + distance(&y, &z);
        let slack = match sample.space.geometry() {
            // Klein converts its points to the hyperboloid first, which rounds them.
            Some(hvs_geometry::Geometry::Klein) => rounding(&sample.space, &y),
            // A point of the sphere lies on it to within one rounding.
            _ => detour + 1.0,
        };
        assert!(distance(&x, &z) <= detour + 8.0 * EPS * slack, "{x:?} {y:?} {z:?}");
    });
}

/// Near points are where textbook formulas lose all digits. A point half-way to a near point is
/// half as far.
#[test]
fn near_points_keep_their_distance() {
    for_each_case(&metric_samples(), |sample, rng| {
        let (x, far) = (sample.point(rng), sample.point(rng));
        let space = &sample.space;
        let near = space.geodesic(&x, &far, 1e-6).unwrap();
        let (whole, part) = (space.distance(&x, &far).unwrap(), space.distance(&x, &near).unwrap());
        let allowed = 16.0 * EPS * (rounding(space, &x) + rounding(space, &near));
        assert!((part - 1e-6 * whole).abs() <= allowed, "{x:?} {near:?}: {part} of {whole}");
    });
}

#[test]
fn the_ranking_key_orders_like_the_distance_and_converts_to_it() {
    for_each_case(&metric_samples(), |sample, rng| {
        let [x, y, z] = [sample.point(rng), sample.point(rng), sample.point(rng)];
        let space = &sample.space;
        let key = |a: &[f64]| space.rank_key(&x, a).unwrap();
        let distance = |a: &[f64]| space.distance(&x, a).unwrap();
        let gap = distance(&y) - distance(&z);
        if gap.abs() > 8.0 * EPS * distance(&y) {
            assert_eq!(key(&y) < key(&z), gap < 0.0, "{x:?} {y:?} {z:?}");
        }
        let round_trip = space.distance_from_key(space.key_from_distance(distance(&y)));
        assert!((round_trip - distance(&y)).abs() <= 8.0 * EPS * distance(&y));
    });
}

#[test]
fn stored_points_have_the_same_distance() {
    for_each_case(&metric_samples(), |sample, rng| {
        let (x, y) = (sample.point(rng), sample.point(rng));
        let space = &sample.space;
        let stored = space.stored_distance(&space.to_storage(&x), &space.to_storage(&y)).unwrap();
        assert_eq!(stored.to_bits(), space.distance(&x, &y).unwrap().to_bits());
    });
}
