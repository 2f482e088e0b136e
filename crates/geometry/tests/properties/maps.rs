//! Exponential map, logarithm, transport and geodesics fit together.

use hvs_geometry::Geometry;

use crate::{EPS, Sample, for_each_case, length, metric_samples, rounding};

/// Growth of a displacement along a geodesic of length `d`: `cosh` of it in negative curvature.
fn growth(sample: &Sample, d: f64) -> f64 {
    let hyperbolic = |curvature: f64| (curvature.abs().sqrt() * d).cosh();
    match sample.space.geometry() {
        Some(Geometry::Euclidean | Geometry::Spherical) => 1.0,
        Some(_) => hyperbolic(sample.space.curvature()),
        None => hyperbolic(1.0),
    }
}

/// Points of a sphere near the antipode have directions as uncertain as they are near to it.
fn turn(sample: &Sample, x: &[f64], y: &[f64]) -> f64 {
    let mut worst = 1.0_f64;
    let mut parts = vec![(sample.space.clone(), x, y)];
    if !sample.space.components().is_empty() {
        parts.clear();
        let (mut x_rest, mut y_rest) = (x, y);
        for component in sample.space.components() {
            let (x_head, x_tail) = x_rest.split_at(component.space.ambient());
            let (y_head, y_tail) = y_rest.split_at(component.space.ambient());
            (x_rest, y_rest) = (x_tail, y_tail);
            parts.push((component.space.clone(), x_head, y_head));
        }
    }
    for (space, x, y) in parts {
        if space.geometry() == Some(Geometry::Spherical) {
            let angle = space.curvature().sqrt() * space.distance(x, y).unwrap();
            worst = worst.max(1.0 / (angle / 2.0).cos());
        }
    }
    worst
}

#[test]
fn exp_undoes_log() {
    for_each_case(&metric_samples(), |sample, rng| {
        let (x, y) = (sample.point(rng), sample.point(rng));
        let space = &sample.space;
        let v = space.log(&x, &y).unwrap();
        let end = space.exp(&x, &v).unwrap();
        let d = space.distance(&x, &y).unwrap();
        let off = space.distance(&end, &y).unwrap();
        let allowed = 32.0 * EPS * (rounding(space, &x) * growth(sample, d) + rounding(space, &y));
        assert!(off <= allowed, "{x:?} {y:?}: off by {off}, allowed {allowed}");
    });
}

#[test]
fn log_undoes_exp() {
    for_each_case(&metric_samples(), |sample, rng| {
        let x = sample.point(rng);
        let space = &sample.space;
        let v = sample.tangent(&x, rng);
        let end = space.exp(&x, &v).unwrap();
        let back = space.log(&x, &end).unwrap();
        let gap: Vec<f64> = back.iter().zip(&v).map(|(a, b)| a - b).collect();
        let gap = space.project_tangent(&x, &gap).unwrap();
        let d = space.distance(&x, &end).unwrap();
        let allowed = 64.0
            * EPS
            * (rounding(space, &x) * growth(sample, d) + rounding(space, &end))
            * turn(sample, &x, &end);
        assert!(length(space, &x, &gap) <= allowed, "{x:?} {v:?} {back:?} {allowed}");
    });
}

#[test]
fn the_logarithm_is_as_long_as_the_distance() {
    for_each_case(&metric_samples(), |sample, rng| {
        let (x, y) = (sample.point(rng), sample.point(rng));
        let space = &sample.space;
        let v = space.log(&x, &y).unwrap();
        let d = space.distance(&x, &y).unwrap();
        let allowed = 32.0 * EPS * (rounding(space, &x) * (1.0 + d) + rounding(space, &y));
        let found = length(space, &x, &v);
        assert!((found - d).abs() <= allowed, "{x:?} {y:?}: {found} {d} {allowed}");
    });
}

#[test]
fn transport_keeps_inner_products_as_far_as_conditioning_allows() {
    for_each_case(&metric_samples(), |sample, rng| {
        let (x, y) = (sample.point(rng), sample.point(rng));
        let space = &sample.space;
        let (u, v) = (sample.tangent(&x, rng), sample.tangent(&x, rng));
        let moved_u = space.transport(&x, &y, &u).unwrap();
        let moved_v = space.transport(&x, &y, &v).unwrap();
        let before = space.inner(&x, &u, &v).unwrap();
        let after = space.inner(&y, &moved_u, &moved_v).unwrap();
        let sizes = length(space, &x, &u) * length(space, &x, &v);
        let roundings = (rounding(space, &x) + rounding(space, &y)) * turn(sample, &x, &y);
        let allowed = 128.0 * EPS * sizes * (1.0 + roundings);
        assert!((after - before).abs() <= allowed, "{x:?} {y:?}: {before} {after} {allowed}");
    });
}

/// A geodesic transports its own velocity, so the logarithm there becomes the one back, reversed;
/// and transport back undoes transport.
#[test]
fn transport_follows_the_geodesic_and_back() {
    for_each_case(&metric_samples(), |sample, rng| {
        let (x, y) = (sample.point(rng), sample.point(rng));
        let space = &sample.space;
        let d = space.distance(&x, &y).unwrap();
        let there = space.log(&x, &y).unwrap();
        let moved = space.transport(&x, &y, &there).unwrap();
        let back = space.log(&y, &x).unwrap();
        let sum: Vec<f64> = moved.iter().zip(&back).map(|(a, b)| a + b).collect();
        let sum = space.project_tangent(&y, &sum).unwrap();
        let roundings = (rounding(space, &x) + rounding(space, &y)) * turn(sample, &x, &y);
        let allowed = 128.0 * EPS * (1.0 + d) * roundings.max(1.0);
        assert!(length(space, &y, &sum) <= allowed, "{x:?} {y:?}: {sum:?} {allowed}");

        let v = sample.tangent(&x, rng);
        let moved = space.transport(&x, &y, &v).unwrap();
        let returned = space.transport(&y, &x, &moved).unwrap();
        let gap: Vec<f64> = returned.iter().zip(&v).map(|(a, b)| a - b).collect();
        let gap = space.project_tangent(&x, &gap).unwrap();
        let allowed = 128.0 * EPS * length(space, &x, &v) * (1.0 + roundings) * roundings.max(1.0);
        assert!(length(space, &x, &gap) <= allowed, "{x:?} {y:?} {v:?}: {returned:?} {allowed}");
    });
}

#[test]
fn a_geodesic_divides_the_distance() {
    for_each_case(&metric_samples(), |sample, rng| {
        let (x, y) = (sample.point(rng), sample.point(rng));
        let space = &sample.space;
        let t = rand::RngExt::random::<f64>(rng);
        let point = space.geodesic(&x, &y, t).unwrap();
        let d = space.distance(&x, &y).unwrap();
        let (before, after) =
            (space.distance(&x, &point).unwrap(), space.distance(&point, &y).unwrap());
        let roundings = rounding(space, &x) + rounding(space, &y) + rounding(space, &point);
        let allowed = 32.0 * EPS * (d + roundings * turn(sample, &x, &y));
        assert!((before - t * d).abs() <= allowed, "{x:?} {y:?} at {t}: {before} of {d}");
        assert!((after - (1.0 - t) * d).abs() <= allowed, "{x:?} {y:?} at {t}: {after} of {d}");
    });
}

#[test]
fn the_ends_and_the_middle_of_a_geodesic_are_where_they_should_be() {
    for_each_case(&metric_samples(), |sample, rng| {
        let (x, y) = (sample.point(rng), sample.point(rng));
        let space = &sample.space;
        let allowed = |end: &[f64]| 16.0 * EPS * rounding(space, end);
        let start = space.geodesic(&x, &y, 0.0).unwrap();
        assert!(space.distance(&start, &x).unwrap() <= allowed(&x), "{x:?} {y:?}");
        let end = space.geodesic(&x, &y, 1.0).unwrap();
        assert!(space.distance(&end, &y).unwrap() <= allowed(&y), "{x:?} {y:?}");
        let middle = space.midpoint(&x, &y).unwrap();
        let (there, back) =
            (space.distance(&x, &middle).unwrap(), space.distance(&y, &middle).unwrap());
        let roundings = rounding(space, &x) + rounding(space, &y);
        let allowed = 32.0 * EPS * roundings * turn(sample, &x, &y);
        assert!((there - back).abs() <= allowed, "{x:?} {y:?}: {there} {back}");
    });
}

/// `x ⊕ y` is `exp_x` of `y`'s logarithm at the centre, carried to `x`; and `(-x) ⊕ (x ⊕ y) = y`.
#[test]
fn mobius_addition_is_translation() {
    let samples: Vec<Sample> = metric_samples()
        .into_iter()
        .filter(|sample| sample.space.geometry() == Some(Geometry::Poincare))
        .map(|sample| Sample { radius: sample.radius / 2.0, ..sample })
        .collect();
    for_each_case(&samples, |sample, rng| {
        let (x, y) = (sample.point(rng), sample.point(rng));
        let space = &sample.space;
        let sum = space.mobius_add(&x, &y).unwrap();
        let origin = space.base_point();
        let velocity = space.log(&origin, &y).unwrap();
        let carried = space.transport(&origin, &x, &velocity).unwrap();
        let end = space.exp(&x, &carried).unwrap();
        let roundings = rounding(space, &x) * rounding(space, &y) * space.curvature().abs().sqrt();
        let allowed = 32.0 * EPS * (roundings + rounding(space, &sum));
        assert!(space.distance(&sum, &end).unwrap() <= allowed, "{x:?} {y:?}: {sum:?} {end:?}");

        let minus_x: Vec<f64> = x.iter().map(|a| -a).collect();
        let back = space.mobius_add(&minus_x, &sum).unwrap();
        let allowed = 32.0 * EPS * (roundings + rounding(space, &sum) + rounding(space, &x));
        assert!(space.distance(&back, &y).unwrap() <= allowed, "{x:?} {y:?}: {back:?}");

        let doubled = space.mobius_add(&x, &x).unwrap();
        let scaled = space.mobius_scalar(2.0, &x).unwrap();
        let allowed = 32.0 * EPS * rounding(space, &doubled);
        assert!(space.distance(&doubled, &scaled).unwrap() <= allowed, "{x:?}");
    });
}
