//! De Sitter space: causal order, intervals, maps where a geodesic exists, and no metric.

use hvs_geometry::{
    CausalRelation, DistanceError, Geometry, IntervalError, IntervalKind, MapError, MeanError,
    Precision, Space,
};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::{CASES, EPS, Sample, for_each_case};

fn samples() -> Vec<Sample> {
    [(3, 1.0, 2.0), (2, 0.5, 2.0), (6, 2.0, 1.0)]
        .into_iter()
        .map(|(dimension, curvature, radius)| Sample {
            space: Space::new(Geometry::Lorentzian, dimension, curvature).unwrap(),
            radius,
        })
        .collect()
}

fn minkowski(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(a, b)| a * b).sum::<f64>() - 2.0 * x[0] * y[0]
}

fn squared_size(x: &[f64]) -> f64 {
    x.iter().map(|a| a * a).sum()
}

/// A point in the timelike future of `x`.
fn later(sample: &Sample, x: &[f64], rng: &mut StdRng) -> Vec<f64> {
    let space = &sample.space;
    loop {
        let wish: Vec<f64> = (0..x.len()).map(|_| rng.random::<f64>() - 0.5).collect();
        let mut v = space.project_tangent(x, &wish).unwrap();
        let squared = minkowski(&v, &v);
        if squared >= -1e-3 {
            continue;
        }
        let factor = (0.1 + rng.random::<f64>()) / (-squared).sqrt() * v[0].signum();
        for a in &mut v {
            *a *= factor;
        }
        return space.exp(x, &v).unwrap();
    }
}

#[test]
fn timelike_chains_obey_the_reverse_triangle_inequality() {
    for_each_case(&samples(), |sample, rng| {
        let space = &sample.space;
        let x = sample.point(rng);
        let y = later(sample, &x, rng);
        let z = later(sample, &y, rng);
        let time = |a: &[f64], b: &[f64]| {
            let interval = space.interval(a, b, Precision::F64).unwrap();
            assert_eq!(interval.kind, IntervalKind::Timelike, "{a:?} {b:?}");
            let relation = space.causal_relation(a, b, Precision::F64).unwrap();
            assert_eq!(relation, CausalRelation::Future);
            let back = space.causal_relation(b, a, Precision::F64).unwrap();
            assert_eq!(back, CausalRelation::Past);
            interval.length.unwrap()
        };
        let direct = time(&x, &z);
        let detour = time(&x, &y) + time(&y, &z);
        let allowed = 1e3 * EPS * (squared_size(&x) + squared_size(&y) + squared_size(&z));
        assert!(direct >= detour - allowed, "{x:?} {y:?} {z:?}: {direct} {detour}");
    });
}

/// The triangle inequality is not claimed, and would be false: the space says so, and the sample
/// holds counterexamples.
#[test]
fn the_triangle_inequality_is_not_claimed() {
    let mut violated = 0;
    let mut spacelike = 0;
    for_each_case(&samples(), |sample, rng| {
        let space = &sample.space;
        assert!(!space.is_metric());
        let [x, y, z] = [sample.point(rng), sample.point(rng), sample.point(rng)];
        assert!(matches!(space.distance(&x, &y), Err(DistanceError::NotMetric { .. })));
        assert!(matches!(space.rank_key(&x, &y), Err(DistanceError::NotMetric { .. })));
        let length = |a: &[f64], b: &[f64]| {
            let interval = space.interval(a, b, Precision::F64).unwrap();
            interval.length.filter(|_| interval.kind == IntervalKind::Spacelike)
        };
        let sides = [length(&x, &y), length(&y, &z), length(&x, &z)];
        if let [Some(first), Some(second), Some(direct)] = sides {
            spacelike += 1;
            violated += usize::from(direct > first + second + 1e-6);
        }
    });
    assert!(violated > spacelike / 100, "{violated} of {spacelike} spacelike triples");
}

/// The kind follows the inner product, and every kind occurs.
#[test]
fn the_kind_of_an_interval_follows_the_inner_product() {
    let mut seen = [0_usize; 4];
    for_each_case(&samples(), |sample, rng| {
        let space = &sample.space;
        let (x, y) = (sample.point(rng), sample.point(rng));
        let inner = space.curvature() * minkowski(&x, &y);
        let interval = space.interval(&x, &y, Precision::F64).unwrap();
        let allowed = 64.0 * EPS * (squared_size(&x) + squared_size(&y)) * space.curvature();
        assert!((interval.inner - inner).abs() <= allowed, "{x:?} {y:?}");
        if (inner.abs() - 1.0).abs() <= allowed {
            return;
        }
        let (index, expected) = if inner > 1.0 {
            (0, IntervalKind::Timelike)
        } else if inner > -1.0 {
            (1, IntervalKind::Spacelike)
        } else {
            (2, IntervalKind::Disconnected)
        };
        seen[index] += 1;
        assert_eq!(interval.kind, expected, "{x:?} {y:?} {inner}");
        let scale = space.curvature().sqrt();
        let length = match expected {
            IntervalKind::Timelike => Some(inner.acosh() / scale),
            IntervalKind::Spacelike => Some(inner.acos() / scale),
            _ => None,
        };
        assert_eq!(interval.length.is_some(), length.is_some());
        if let Some((found, naive)) = interval.length.zip(length) {
            let slope = (inner * inner - 1.0).abs().sqrt();
            assert!((found - naive).abs() <= 4.0 * allowed / slope / scale, "{found} {naive}");
        }
        let reverse = space.interval(&y, &x, Precision::F64).unwrap();
        assert_eq!(reverse.kind, interval.kind);
    });
    assert!(seen[..3].iter().all(|count| *count > CASES / 50), "{seen:?}");
}

/// Rays of light: `x + t·n` with a null vector `n` tangent at `x`.
#[test]
fn light_rays_are_lightlike_and_ordered() {
    for_each_case(&samples(), |sample, rng| {
        let space = &sample.space;
        let x = sample.point(rng);
        // A null tangent vector: a timelike unit vector plus a spacelike one across it.
        let time = space.log(&x, &later(sample, &x, rng)).unwrap();
        let time_norm = (-minkowski(&time, &time)).sqrt();
        let wish: Vec<f64> = (0..x.len()).map(|_| rng.random::<f64>() - 0.5).collect();
        let mut across = space.project_tangent(&x, &wish).unwrap();
        let along = minkowski(&across, &time) / (time_norm * time_norm);
        across.iter_mut().zip(&time).for_each(|(a, b)| *a += along * b);
        let across_norm = minkowski(&across, &across).sqrt();
        let ray: Vec<f64> =
            time.iter().zip(&across).map(|(a, b)| a / time_norm + b / across_norm).collect();
        let y: Vec<f64> = x.iter().zip(&ray).map(|(a, b)| a + b).collect();
        // The construction loses more than a rounding, so it is told to f32 precision.
        let interval = space.interval(&x, &y, Precision::F32).unwrap();
        assert_eq!(interval.kind, IntervalKind::Lightlike, "{x:?} {ray:?}");
        assert_eq!(interval.length, Some(0.0));
        let relation = space.causal_relation(&x, &y, Precision::F32).unwrap();
        assert_eq!(relation, CausalRelation::Future);
    });
}

#[test]
fn a_point_is_the_same_as_itself_and_has_no_single_way_to_its_antipode() {
    for_each_case(&samples(), |sample, rng| {
        let space = &sample.space;
        let x = sample.point(rng);
        let relation = space.causal_relation(&x, &x, Precision::F64).unwrap();
        assert_eq!(relation, CausalRelation::Same);
        let antipode: Vec<f64> = x.iter().map(|a| -a).collect();
        let interval = space.interval(&x, &antipode, Precision::F64).unwrap();
        assert_eq!(interval.kind, IntervalKind::Spacelike);
        let half_turn = std::f64::consts::PI / space.curvature().sqrt();
        assert!((interval.length.unwrap() - half_turn).abs() < 1e-6);
        assert!(matches!(space.log(&x, &antipode), Err(MapError::Antipodal { .. })));
        assert!(matches!(space.midpoint(&x, &antipode), Err(MapError::Antipodal { .. })));
    });
}

#[test]
fn maps_fit_together_where_a_geodesic_exists_and_refuse_where_none_does() {
    let mut without = 0;
    for_each_case(&samples(), |sample, rng| {
        let space = &sample.space;
        let (x, y) = (sample.point(rng), sample.point(rng));
        let interval = space.interval(&x, &y, Precision::F64).unwrap();
        if interval.kind == IntervalKind::Disconnected {
            without += 1;
            assert!(matches!(space.log(&x, &y), Err(MapError::NoGeodesic { .. })));
            assert!(matches!(space.geodesic(&x, &y, 0.5), Err(MapError::NoGeodesic { .. })));
            assert!(matches!(space.transport(&x, &y, &x), Err(MapError::Tangent(_))));
            return;
        }
        // Near the light cone of the antipode everything is steep.
        if interval.inner < -0.9 {
            return;
        }
        let size = (squared_size(&x) + squared_size(&y)) * space.curvature();
        let allowed = 1e3 * EPS * size * size;
        let v = space.log(&x, &y).unwrap();
        let end = space.exp(&x, &v).unwrap();
        let off: f64 = end.iter().zip(&y).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
        assert!(off <= allowed, "{x:?} {y:?}: {off}");
        let length = space.inner(&x, &v, &v).unwrap();
        let sign = if interval.kind == IntervalKind::Timelike { -1.0 } else { 1.0 };
        let expected = sign * interval.length.unwrap().powi(2);
        assert!((length - expected).abs() <= allowed, "{x:?} {y:?}: {length} {expected}");

        let wish = sample.point(rng);
        let u = space.project_tangent(&x, &wish).unwrap();
        let moved = space.transport(&x, &y, &u).unwrap();
        let (before, after) =
            (space.inner(&x, &u, &u).unwrap(), space.inner(&y, &moved, &moved).unwrap());
        let allowed = allowed * squared_size(&u).max(squared_size(&moved));
        assert!((before - after).abs() <= allowed, "{x:?} {y:?} {u:?}: {before} {after}");

        let middle = space.midpoint(&x, &y).unwrap();
        let half = space.interval(&x, &middle, Precision::F64).unwrap();
        if interval.length.unwrap() > 1e-2 {
            let half = half.length.unwrap();
            let off = (2.0 * half - interval.length.unwrap()).abs();
            assert!(off <= 1e6 * EPS * size, "{x:?} {y:?}: {off}");
        }
    });
    assert!(without > CASES / 50, "{without}");
}

#[test]
fn what_is_undefined_says_so() {
    let lorentzian = &samples()[0].space;
    let x = lorentzian.base_point();
    let error = lorentzian.frechet_mean(&[&x], None).unwrap_err();
    assert!(matches!(error, MeanError::NotMetric { .. }));
    assert!(error.to_string().contains("nothing to minimise"), "{error}");
    assert!(matches!(
        lorentzian.lorentz_centroid(&[&x], None),
        Err(MeanError::NotHyperbolic { .. })
    ));
    let error = lorentzian.distance(&x, &x).unwrap_err();
    assert!(error.to_string().contains("use the interval"), "{error}");
    let flat = Space::new(Geometry::Euclidean, 4, 0.0).unwrap();
    let error = flat.interval(&x, &x, Precision::F64).unwrap_err();
    assert!(matches!(error, IntervalError::NotLorentzian { .. }));
}
