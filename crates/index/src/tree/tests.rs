//! Bounds hold for the distances that the geometry computes, wherever points lie.

use hvs_geometry::{Component, Geometry, Space};
use proptest::prelude::*;

use super::{NONE, TreeView, VolumeQuery, build, volume, width};
use crate::{
    metric::{Lane, Metric},
    points::{placed, space},
};

fn spaces() -> Vec<Space> {
    vec![
        space(Geometry::Hyperboloid, 10, -1.0),
        space(Geometry::Hyperboloid, 2, -0.3),
        space(Geometry::Poincare, 6, -1.0),
        space(Geometry::Poincare, 3, -2.5),
        space(Geometry::Klein, 4, -1.0),
        space(Geometry::Euclidean, 9, 0.0),
        space(Geometry::Spherical, 6, 0.7),
        space(Geometry::Spherical, 1, 2.0),
        Space::product(vec![
            Component { space: space(Geometry::Hyperboloid, 4, -1.0), weight: 0.5 },
            Component { space: space(Geometry::Spherical, 2, 1.0), weight: 3.0 },
            Component { space: space(Geometry::Euclidean, 3, 0.0), weight: 1.0 },
        ])
        .unwrap(),
    ]
}

/// How far out points are put, in units of curvature 1: as far as the precision holds.
fn farthest(geometry: Geometry, is_wide: bool) -> f64 {
    match (geometry, is_wide) {
        (Geometry::Klein, false) => 6.0,
        (Geometry::Klein, true) | (_, false) => 14.0,
        (_, true) => 33.0,
    }
}

/// A point in storage form: `spread` of random numbers added to a common direction, and `out` of
/// the way to where the precision ends.
fn point(
    space: &Space,
    numbers: &mut impl Iterator<Item = f64>,
    spread: f64,
    wide: bool,
) -> Vec<f64> {
    let Some(geometry) = space.geometry() else {
        let parts = space.components().iter();
        return parts.flat_map(|part| point(&part.space, numbers, spread, wide)).collect();
    };
    let out = numbers.next().unwrap();
    let v: Vec<f64> = (0..space.storage_len())
        .map(|at| numbers.next().unwrap() * spread + f64::from(u8::from(at == 0)))
        .collect();
    placed(space, &v, (1.0 - spread * out.abs()) * farthest(geometry, wide))
}

fn rounded<T: Lane>(stored: &[f64]) -> Vec<T> {
    stored.iter().map(|&x| T::from_f64(x)).collect()
}

fn wide<T: Lane>(stored: &[T]) -> Vec<f64> {
    stored.iter().map(|x| x.to_f64()).collect()
}

/// Every volume of a tree over the points is at least as near as each of its rows, as the geometry
/// measures it.
fn bounds_hold<T: Lane>(numbers: &[f64], spread: f64, is_wide: bool) {
    for space in spaces() {
        let metric = Metric::<T>::of(&space).unwrap();
        let mut numbers = numbers.iter().copied().cycle();
        let (mut rows, mut ranking): (Vec<Vec<T>>, Vec<T>) = (Vec::new(), Vec::new());
        for at in 0..60 {
            // A few lie exactly where another one does.
            let row = match rows.last() {
                Some(before) if at % 7 == 0 => before.clone(),
                _ => rounded::<T>(&point(&space, &mut numbers, spread, is_wide)),
            };
            if metric.encode(&wide(&row), &mut ranking).is_ok() {
                rows.push(row);
            }
        }
        if rows.is_empty() {
            continue;
        }
        let stored = |row: usize| rows[row].as_slice();
        let Some((order, tree)) = build(&metric, &ranking, &stored, &|| false) else {
            panic!("{space}: every row has a place");
        };
        let view = TreeView { nodes: &tree.nodes, volumes: &tree.volumes, width: width(&metric) };
        view.check(rows.len()).unwrap();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq((0..).take(rows.len())), "each row once");

        let mut queries: Vec<Vec<f64>> = rows.iter().step_by(5).map(|row| wide(row)).collect();
        queries.push(point(&space, &mut numbers, 1.0, is_wide));
        queries.push(point(&space, &mut numbers, spread, is_wide));
        for query in queries {
            let Some(volumes) = VolumeQuery::of(&metric, &query) else { continue };
            for (number, &[start, end, ..]) in (0_u32..).zip(view.nodes) {
                let measure = volumes.least(view.volume(number));
                let least = volumes.distance(measure);
                for &row in &order[start as usize..end as usize] {
                    let Ok(truth) = space.stored_distance(&query, &wide(&rows[row as usize]))
                    else {
                        continue;
                    };
                    assert!(least <= truth, "{space}: at least {least}, truly {truth}");
                    assert!(measure <= volumes.measure(truth), "{space}: {measure} at {truth}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_volume_is_never_said_to_be_farther_than_what_it_holds(
        numbers in prop::collection::vec(-1.0..1.0_f64, 97),
        spread in prop_oneof![Just(0.0), Just(1.0), 0.0..1.0_f64, 1e-9..1e-5_f64, 1e-16..1e-12_f64],
    ) {
        bounds_hold::<f32>(&numbers, spread, false);
        bounds_hold::<f64>(&numbers, spread, true);
    }

    /// What was passed over must be provably beyond the reach for which it was.
    #[test]
    fn a_measure_and_its_distance_lean_the_same_way(
        distance in prop_oneof![Just(0.0), 1e-12..1e-3_f64, 0.0..3.0_f64, 3.0..70.0_f64],
    ) {
        for space in spaces() {
            let metric = Metric::<f64>::of(&space).unwrap();
            let mut numbers = [0.5].into_iter().cycle();
            let query = point(&space, &mut numbers, 0.5, false);
            let volumes = VolumeQuery::of(&metric, &query).unwrap();
            let measure = volumes.measure(distance);
            prop_assert!(measure.is_infinite() || volumes.distance(measure) >= distance
                || measure > 1.0 && space.geometry() == Some(Geometry::Spherical));
        }
    }
}

/// Bounds that always say zero would hold too.
#[test]
fn volumes_of_small_groups_are_small() {
    let space = space(Geometry::Hyperboloid, 3, -1.0);
    let metric = Metric::<f64>::of(&space).unwrap();
    let rows: Vec<Vec<f64>> =
        (0..20).map(|at| vec![100.0, 0.5 * f64::from(at % 5), 0.5 * f64::from(at / 5)]).collect();
    let mut numbers = Vec::new();
    volume::enclose(&metric, 12, &|look| rows.iter().for_each(|row| look(row)), &mut numbers)
        .unwrap();
    let query = [-100.0, 1.0, 1.0];
    let truth = rows.iter().map(|row| space.stored_distance(&query, row).unwrap());
    let nearest = truth.fold(f64::INFINITY, f64::min);
    let least = VolumeQuery::of(&metric, &query).unwrap().at_least(&numbers);
    assert!(least <= nearest && least > nearest - 0.01, "{least} {nearest}");
    let inside = VolumeQuery::of(&metric, &[100.0, 1.0, 1.0]).unwrap().at_least(&numbers);
    assert_eq!(inside.to_bits(), 0.0_f64.to_bits());
}

#[test]
fn a_tree_that_does_not_cover_its_rows_is_refused() {
    let good = [[0, 4, 2, 0], [0, 2, NONE, 0], [2, 4, NONE, 0]];
    let volumes = [0.0; 3];
    let check = |nodes: &[[u32; 4]], volumes: &[f64]| {
        TreeView { nodes, volumes, width: 1 }.check(4).map_err(|_| ())
    };
    assert_eq!(check(&good, &volumes), Ok(()));
    for (node, at, value) in
        [(0, 0, 1), (0, 1, 5), (0, 2, 1), (0, 2, 3), (0, 2, NONE), (1, 1, 3), (2, 0, 1), (2, 2, 1)]
    {
        let mut bad = good;
        bad[node][at] = value;
        assert_eq!(check(&bad, &volumes), Err(()), "{bad:?}");
    }
    assert_eq!(check(&good, &[0.0, f64::NAN, 0.0]), Err(()));
    assert_eq!(check(&good, &[0.0; 2]), Err(()));
    assert_eq!(check(&good[..2], &volumes[..2]), Err(()));
    assert_eq!(check(&[], &[]), Err(()));
}
