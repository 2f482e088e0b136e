#![expect(clippy::float_cmp, reason = "these values are exact")]

use super::*;

fn matrix(count: usize, distance: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    (0..count).flat_map(|a| (0..count).map(move |b| (a, b))).map(|(a, b)| distance(a, b)).collect()
}

/// Distances along the edges of the binary heap's tree.
fn tree_distance(mut a: usize, mut b: usize) -> f64 {
    let mut steps = 0.0;
    (a, b) = (a + 1, b + 1);
    while a != b {
        if a > b {
            a /= 2;
        } else {
            b /= 2;
        }
        steps += 1.0;
    }
    steps
}

/// Repeatable numbers in [0, 1).
fn noise(index: usize) -> f64 {
    let mut mixed = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^= mixed >> 32;
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

/// Nearly normal.
fn bell(index: usize) -> f64 {
    (0..12).map(|part| noise(12 * index + part) - 0.5).sum()
}

fn choose(values: &[f64]) -> Choice {
    let sample = Sample { distances: Some(Distances::Matrix(values)), ..Sample::default() };
    from_sample(&sample, &SampleOptions::default()).unwrap()
}

fn choose_vectors(values: &[f64], dimension: usize) -> Choice {
    let distances = Some(Distances::Vectors { values, dimension });
    from_sample(&Sample { distances, ..Sample::default() }, &SampleOptions::default()).unwrap()
}

fn value(choice: &Choice, name: &str) -> f64 {
    choice.evidence.iter().find(|evidence| evidence.name == name).unwrap().value
}

fn single(geometry: Geometry) -> Recommendation {
    Recommendation::Single(geometry)
}

#[test]
fn a_tree_metric_has_delta_zero_and_is_hyperbolic() {
    let choice = choose(&matrix(127, tree_distance));
    assert_eq!(value(&choice, "mean_delta"), 0.0);
    assert_eq!(value(&choice, "max_delta"), 0.0);
    assert_eq!(choice.recommendation, single(Geometry::Hyperboloid));
    assert!(choice.reason.contains("tree"), "{}", choice.reason);
}

#[test]
fn a_tree_with_measurement_errors_is_still_hyperbolic() {
    let noisy = |a: usize, b: usize| {
        let error = 1.0 + 0.1 * (noise(a.min(b) * 1_000 + a.max(b)) - 0.5);
        tree_distance(a, b) * error
    };
    let choice = choose(&matrix(127, noisy));
    assert!(value(&choice, "mean_delta") > 0.0);
    assert_eq!(choice.recommendation, single(Geometry::Hyperboloid));
}

#[test]
fn a_circle_is_spherical_along_arcs_and_along_chords() {
    let angle = |index: usize| std::f64::consts::TAU * noise(index);
    let arc = |a: usize, b: usize| {
        let apart = (angle(a) - angle(b)).abs();
        apart.min(std::f64::consts::TAU - apart)
    };
    assert_eq!(choose(&matrix(80, arc)).recommendation, single(Geometry::Spherical));
    let chord = |a: usize, b: usize| 2.0 * (arc(a, b) / 2.0).sin();
    assert_eq!(choose(&matrix(80, chord)).recommendation, single(Geometry::Spherical));
}

#[test]
fn a_sphere_is_spherical() {
    let mut values = Vec::new();
    for item in 0..200 {
        let point: Vec<f64> = (0..3).map(|axis| bell(3 * item + axis)).collect();
        let norm = point.iter().map(|x| x * x).sum::<f64>().sqrt();
        values.extend(point.iter().map(|x| x / norm));
    }
    assert_eq!(choose_vectors(&values, 3).recommendation, single(Geometry::Spherical));
}

#[test]
fn flat_data_are_euclidean() {
    let grid: Vec<f64> =
        (0..144).flat_map(|item| [f64::from(item % 12), f64::from(item / 12)]).collect();
    assert_eq!(choose_vectors(&grid, 2).recommendation, single(Geometry::Euclidean));
    for dimension in [2, 3, 10, 50, 400] {
        let cloud: Vec<f64> = (0..200 * dimension).map(bell).collect();
        let choice = choose_vectors(&cloud, dimension);
        assert_eq!(choice.recommendation, single(Geometry::Euclidean), "{dimension}: {choice:?}");
    }
}

/// Everything measured is a quotient, so the size of the numbers must not matter.
#[test]
fn samples_of_every_size_are_measured_alike() {
    let points: Vec<f64> = (0..40).map(noise).collect();
    let truth = choose_vectors(&points, 2);
    let tree = matrix(16, tree_distance);
    let tree_truth = choose(&tree);
    for power in [-1060, -1000, -540, 540, 1000, 1020] {
        let scaled = |values: &[f64]| crate::numeric::scaled_by_power(values, power);
        let found = choose_vectors(&scaled(&points), 2);
        assert_eq!(found.recommendation, truth.recommendation, "2^{power}");
        for (found, truth) in found.evidence.iter().zip(&truth.evidence) {
            // Subnormal numbers have few digits.
            let allowed = if power < -1000 { 1e-3 } else { 1e-14 };
            assert!((found.value - truth.value).abs() <= allowed, "2^{power}: {found:?} {truth:?}");
        }
        assert_eq!(choose(&scaled(&tree)), tree_truth, "2^{power}");
    }
    let apart = [1e308, 1e308, -1e308, 0.0, 0.0, 0.0, 1.0, 1.0];
    assert!(choose_vectors(&apart, 2).evidence.iter().all(|evidence| evidence.value.is_finite()));
    let ends = [0.0, 1.7e308, -1.7e308, 1e-300, 5e-324, -1e300, 1e163, f64::MAX, -f64::MAX];
    for seed in 0..1000_usize {
        let pick =
            |index: usize| ends[(seed + index * (1 + seed / 9) + index * index) % ends.len()];
        let values: Vec<f64> = (0..15).map(pick).collect();
        let distances = Some(Distances::Vectors { values: &values, dimension: 3 });
        let sample = Sample { distances, ..Sample::default() };
        let Ok(choice) = from_sample(&sample, &SampleOptions::default()) else { continue };
        let is_finite = choice.evidence.iter().all(|evidence| evidence.value.is_finite());
        assert!(is_finite, "{values:?}: {choice:?}");
    }
}

#[test]
fn the_seed_decides_which_quadruples_are_drawn() {
    let cloud: Vec<f64> = (0..400).map(bell).collect();
    let distances = Some(Distances::Vectors { values: &cloud, dimension: 2 });
    let sample = Sample { distances, ..Sample::default() };
    let with = |seed| from_sample(&sample, &SampleOptions { quadruples: 1_000, seed }).unwrap();
    assert_eq!(with(1), with(1));
    assert_ne!(value(&with(1), "mean_delta"), value(&with(2), "mean_delta"));
    assert_eq!(value(&with(1), "quadruples"), 1_000.0);
}

/// Edges from each item to the next few, and the times of the items.
fn forward_edges(count: usize) -> (Vec<(usize, usize)>, Vec<f64>) {
    let edges = (0..count - 3).flat_map(|from| [(from, from + 1), (from, from + 3)]).collect();
    (edges, (0..count).map(|item| item as f64).collect())
}

#[test]
fn edges_that_run_forward_in_time_are_lorentzian() {
    let (edges, times) = forward_edges(50);
    let sample = Sample { edges: Some(&edges), times: Some(&times), ..Sample::default() };
    let choice = from_sample(&sample, &SampleOptions::default()).unwrap();
    assert_eq!(choice.recommendation, single(Geometry::Lorentzian));
    assert_eq!(value(&choice, "forward_share"), 1.0);
    assert_eq!(value(&choice, "acyclic_share"), 1.0);
}

#[test]
fn edges_against_time_or_in_cycles_are_no_order() {
    let (mut edges, times) = forward_edges(50);
    let backwards: Vec<f64> = times.iter().map(|time| -time).collect();
    let sample = Sample { edges: Some(&edges), times: Some(&backwards), ..Sample::default() };
    let choice = from_sample(&sample, &SampleOptions::default()).unwrap();
    assert_eq!(choice.recommendation, single(Geometry::Euclidean));
    edges.push((47, 0));
    let sample = Sample { edges: Some(&edges), ..Sample::default() };
    let choice = from_sample(&sample, &SampleOptions::default()).unwrap();
    assert!(value(&choice, "acyclic_share") < 0.1, "{choice:?}");
    assert_eq!(choice.recommendation, single(Geometry::Euclidean));
}

#[test]
fn only_edges_on_a_cycle_count_against_an_order() {
    let edges = [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 4)];
    let sample = Sample { edges: Some(&edges), ..Sample::default() };
    let choice = from_sample(&sample, &SampleOptions::default()).unwrap();
    assert!((value(&choice, "acyclic_share") - 2.0 / 6.0).abs() < 1e-15);
}

#[test]
fn a_tree_that_grows_in_time_is_a_product() {
    let values = matrix(63, tree_distance);
    let edges: Vec<(usize, usize)> = (1..63).map(|child| ((child - 1) / 2, child)).collect();
    let times: Vec<f64> = (0..63).map(f64::from).collect();
    let sample = Sample {
        distances: Some(Distances::Matrix(&values)),
        edges: Some(&edges),
        times: Some(&times),
    };
    let choice = from_sample(&sample, &SampleOptions::default()).unwrap();
    let both = vec![Geometry::Hyperboloid, Geometry::Lorentzian];
    assert_eq!(choice.recommendation, Recommendation::Product(both));
    let sample = Sample { times: None, ..sample };
    let choice = from_sample(&sample, &SampleOptions::default()).unwrap();
    assert_eq!(choice.recommendation, single(Geometry::Hyperboloid));
}

#[test]
fn flat_data_with_an_order_in_time_are_lorentzian() {
    let grid: Vec<f64> =
        (0..49).flat_map(|item| [f64::from(item % 7), f64::from(item / 7)]).collect();
    let (edges, times) = forward_edges(49);
    let sample = Sample {
        distances: Some(Distances::Vectors { values: &grid, dimension: 2 }),
        edges: Some(&edges),
        times: Some(&times),
    };
    let choice = from_sample(&sample, &SampleOptions::default()).unwrap();
    assert_eq!(choice.recommendation, single(Geometry::Lorentzian));
}

#[test]
fn traits_follow_the_specification() {
    let none = Traits::default();
    let recommended = |traits: Traits| from_traits(&traits).unwrap().recommendation;
    let hierarchy = Traits { hierarchy: 0.71, ..none };
    assert_eq!(recommended(hierarchy), single(Geometry::Hyperboloid));
    assert_eq!(recommended(Traits { temporal: 0.9, ..none }), single(Geometry::Lorentzian));
    assert_eq!(recommended(Traits { cyclic: 0.9, ..none }), single(Geometry::Spherical));
    assert_eq!(recommended(Traits { flat: 0.9, ..none }), single(Geometry::Euclidean));
    assert_eq!(recommended(none), single(Geometry::Euclidean));
    assert_eq!(recommended(Traits { hierarchy: 0.7, ..none }), single(Geometry::Euclidean));
    let mixed = from_traits(&Traits { cyclic: 0.8, ..hierarchy }).unwrap();
    let both = vec![Geometry::Hyperboloid, Geometry::Spherical];
    assert_eq!(mixed.recommendation, Recommendation::Product(both));
    assert_eq!(mixed.recommendation.to_string(), "product");
    assert!(mixed.reason.contains("hierarchy (0.71) and cyclic (0.8)"), "{}", mixed.reason);
}

#[test]
fn traits_outside_their_range_are_refused() {
    for value in [-0.1, 1.1, f64::NAN] {
        let error = from_traits(&Traits { temporal: value, ..Traits::default() }).unwrap_err();
        assert!(error.to_string().starts_with("the trait temporal is"), "{error}");
    }
}

#[test]
fn unusable_samples_are_refused() {
    fn matrix(values: &[f64]) -> Sample<'_> {
        Sample { distances: Some(Distances::Matrix(values)), ..Sample::default() }
    }
    let options = SampleOptions::default();
    let refused = |sample: Sample<'_>| from_sample(&sample, &options).unwrap_err();

    assert_eq!(refused(Sample::default()), SampleError::Empty);
    assert!(matches!(refused(matrix(&[0.0; 9])), SampleError::TooFew { found: 3, .. }));
    assert!(matches!(refused(matrix(&[0.0; 17])), SampleError::Shape { found: 17, .. }));
    assert_eq!(refused(matrix(&[0.0; 16])), SampleError::AllTheSame);
    let mut values = [1.0; 16];
    for item in 0..4 {
        values[5 * item] = 0.0;
    }
    assert!(from_sample(&matrix(&values), &options).is_ok());
    values[1] = 2.0;
    assert!(matches!(
        refused(matrix(&values)),
        SampleError::NotADistance { row: 0, column: 1, .. }
    ));
    values[1] = f64::NAN;
    assert!(matches!(refused(matrix(&values)), SampleError::NotFinite { index: 1, .. }));
    values[1] = -1.0;
    assert!(matches!(refused(matrix(&values)), SampleError::NotADistance { .. }));
    let many = vec![0.0; MAX_SAMPLE_POINTS + 1];
    let vectors = Some(Distances::Vectors { values: &many, dimension: 1 });
    let error = refused(Sample { distances: vectors, ..Sample::default() });
    assert!(matches!(error, SampleError::TooMany { .. }));
    let edges = [(0, 7)];
    let sample = Sample { edges: Some(&edges), times: Some(&[0.0; 7]), ..Sample::default() };
    assert_eq!(refused(sample), SampleError::UnknownItem { edge: 0, item: 7, items: 7 });
    let times = [0.0, f64::NAN];
    let sample = Sample { edges: Some(&[(0, 1)]), times: Some(&times), ..Sample::default() };
    assert_eq!(refused(sample), SampleError::Times { found: 1, items: 2 });
    let sample = Sample { edges: Some(&[(0, usize::MAX - 1)]), ..Sample::default() };
    assert!(matches!(refused(sample), SampleError::UnknownItem { .. }));
}
