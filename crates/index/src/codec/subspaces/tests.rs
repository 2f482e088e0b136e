//! Codes are the nearest centres, and keys are those of the rows that codes stand for.

use hvs_geometry::{Component, Geometry, Space};
use proptest::prelude::*;

use super::{CENTRES, Subspaces, WIDTH};
use crate::{
    metric::{Lane, Metric},
    points::{Random, space},
};

fn spaces() -> Vec<Space> {
    vec![
        space(Geometry::Euclidean, 9, 0.0),
        space(Geometry::Spherical, 6, 0.7),
        Space::product(vec![
            Component { space: space(Geometry::Spherical, 2, 1.0), weight: 3.0 },
            Component { space: space(Geometry::Euclidean, 5, 0.0), weight: 1.0 },
        ])
        .unwrap(),
    ]
}

fn rows<T: Lane>(metric: &Metric<T>, random: &mut Random, count: usize, spread: f64) -> Vec<T> {
    let mut rows = Vec::new();
    for _ in 0..count {
        metric.encode(&random.stored(metric.space(), spread), &mut rows).unwrap();
    }
    rows
}

/// The row that a code stands for.
fn decode<T: Lane>(codec: &Subspaces, code: &[u8]) -> Vec<T> {
    let (mut row, mut at) = (Vec::new(), 0);
    for part in &codec.parts {
        let end = row.len() + part.shape.lanes();
        for _ in 0..part.groups {
            let book = &codec.books[at * WIDTH * CENTRES..];
            for lane in 0..WIDTH {
                row.push(T::from_f64(f64::from(book[lane * CENTRES + usize::from(code[at])])));
            }
            at += 1;
        }
        row.resize(end, T::ZERO);
    }
    row
}

fn check<T: Lane>(seed: u64, count: usize, spread: f64) {
    for space in spaces() {
        let (metric, mut random) = (Metric::<T>::of(&space).unwrap(), Random(seed));
        let rows = rows(&metric, &mut random, count, spread);
        let fit = || Subspaces::fit(&metric, &rows, &|| false).unwrap();
        let codec = fit();
        assert_eq!(codec.books, fit().books, "{space}: the same every time");
        let again = Subspaces::read(&metric, codec.parameters()).unwrap();
        let query = metric.query(&random.stored(&space, spread)).unwrap();
        let tables = again.tables(&query.row);
        for row in rows.chunks_exact(metric.lanes()) {
            let mut code = Vec::new();
            again.encode(row, &mut code);
            assert_eq!(code.len(), again.stride());
            let itself: Vec<T> = decode(&codec, &code);
            // No other number of any group would be nearer.
            for at in 0..code.len() {
                let mut other = code.clone();
                for number in (0..=u8::MAX).step_by(5) {
                    other[at] = number;
                    let kernel = metric.kernel();
                    let (own, other) =
                        (kernel.pair(row, &itself), kernel.pair(row, &decode(&codec, &other)));
                    let slack = 1e-5 * (1.0 + other.to_f64() + spread * spread);
                    assert!(own.to_f64() <= other.to_f64() + slack, "{space}");
                }
            }
            let expected = metric.kernel().pair(&query.row, &itself).to_f64();
            let key = tables.key::<T>(&code).to_f64();
            let slack = 1e-4 * (1.0 + expected + spread * spread);
            assert!((key - expected).abs() <= slack, "{space}: {key}, not {expected}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn keys_are_those_of_the_nearest_centres(
        seed in any::<u64>(),
        count in 1_usize..600,
        spread in 0.01_f64..50.0,
    ) {
        check::<f32>(seed, count, spread);
        check::<f64>(seed, count, spread);
    }
}

#[test]
fn where_there_are_no_more_rows_than_centres_codes_are_exact() {
    for space in spaces() {
        let (metric, mut random) = (Metric::<f32>::of(&space).unwrap(), Random(1));
        let rows = rows(&metric, &mut random, CENTRES, 2.0);
        let codec = Subspaces::fit(&metric, &rows, &|| false).unwrap();
        for row in rows.chunks_exact(metric.lanes()) {
            let mut code = Vec::new();
            codec.encode(row, &mut code);
            assert!(codec.tables(row).key::<f32>(&code) < 1e-9, "{space}");
        }
    }
}

#[test]
fn large_numbers_and_equal_rows_have_keys() {
    let space = space(Geometry::Euclidean, 4, 0.0);
    let metric = Metric::<f64>::of(&space).unwrap();
    let mut rows = Vec::new();
    for size in [1e150, -1e150, 1e30, 0.0] {
        for _ in 0..100 {
            metric.encode(&[size; 4], &mut rows).unwrap();
        }
    }
    let codec = Subspaces::fit(&metric, &rows, &|| false).unwrap();
    assert!(codec.parameters().iter().all(|x| x.is_finite()));
    for row in rows.chunks_exact(metric.lanes()) {
        let mut code = Vec::new();
        codec.encode(row, &mut code);
        assert!(codec.tables(row).key::<f64>(&code).is_finite());
    }
}

#[test]
fn odd_parameters_are_no_codec_and_a_stop_ends_training() {
    let metric = Metric::<f32>::of(&space(Geometry::Euclidean, 5, 0.0)).unwrap();
    let count = Subspaces::parameter_count(&metric);
    assert_eq!(count, 2 * WIDTH * CENTRES);
    assert!(Subspaces::read(&metric, &vec![0.5; count]).is_some());
    assert!(Subspaces::read(&metric, &vec![0.5; count - 1]).is_none());
    assert!(Subspaces::read(&metric, &vec![f32::NAN; count]).is_none());
    let rows = rows(&metric, &mut Random(1), 10, 1.0);
    assert!(Subspaces::fit(&metric, &rows, &|| true).is_none());
}
