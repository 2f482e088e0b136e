//! Lists hold each row once, with the centre that it is nearest to, and are the same every time.

use hvs_geometry::{Geometry, Space};

use super::{Lists, ListsView, build};
use crate::{
    metric::Metric,
    points::{Random, placed, space},
    tree::{VolumeQuery, width},
};

const GROUPS: usize = 7;

/// Rows in well separated groups, in storage form.
fn grouped(space: &Space) -> Vec<Vec<f32>> {
    let mut random = Random(3);
    (0..700)
        .map(|row| {
            let angle = (row % GROUPS) as f64 / GROUPS as f64 * std::f64::consts::TAU;
            let mut v = vec![0.0; space.storage_len()];
            v[0] = angle.cos();
            v[1] = angle.sin();
            for x in &mut v {
                *x += 0.06 * random.unit();
            }
            #[expect(clippy::cast_possible_truncation, reason = "what the index stores")]
            placed(space, &v, 1.0).iter().map(|&x| x as f32).collect()
        })
        .collect()
}

#[test]
fn groups_become_lists_in_every_space() {
    for (geometry, curvature) in [
        (Geometry::Hyperboloid, -1.0),
        (Geometry::Poincare, -0.5),
        (Geometry::Klein, -1.0),
        (Geometry::Euclidean, 0.0),
        (Geometry::Spherical, 2.0),
    ] {
        let space = space(geometry, 4, curvature);
        let metric = Metric::<f32>::of(&space).unwrap();
        let rows = grouped(&space);
        let mut ranking = Vec::new();
        let wide = |row: &[f32]| row.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        for row in &rows {
            metric.encode(&wide(row), &mut ranking).unwrap();
        }
        let stored = |row: usize| rows[row].as_slice();
        let make = || build(&metric, GROUPS, &ranking, &stored, &|| false).unwrap();
        let (order, lists) = make();
        let again = make();
        assert_eq!((&order, &lists.centres), (&again.0, &again.1.centres), "the same every time");
        let view = view(&lists, width(&metric));
        view.check(rows.len(), metric.lanes()).unwrap();
        assert_eq!(view.count(), GROUPS);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq((0..).take(rows.len())), "each row once");
        for list in 0..GROUPS {
            let members = &order[view.rows(list)];
            assert_eq!(members.len(), 100, "{space}");
            let group = members[0] as usize % GROUPS;
            assert!(members.iter().all(|&row| row as usize % GROUPS == group), "{space}");
            for &row in members {
                let query = VolumeQuery::of(&metric, &wide(&rows[row as usize])).unwrap();
                let own = view.least(&query, list);
                assert_eq!(own.to_bits(), 0.0_f64.to_bits(), "a row lies in its list's volume");
            }
        }
        assert!(build(&metric, GROUPS, &ranking, &stored, &|| true).is_none(), "it can be stopped");
    }
}

fn view(lists: &Lists<f32>, width: usize) -> ListsView<'_, f32> {
    ListsView { centres: &lists.centres, starts: &lists.starts, volumes: &lists.volumes, width }
}

#[test]
fn lists_that_do_not_cover_their_rows_are_refused() {
    let good = || Lists { centres: vec![0.0_f32; 8], starts: vec![0, 3, 5], volumes: vec![0.0; 2] };
    view(&good(), 1).check(5, 4).unwrap();
    assert!(view(&good(), 1).check(6, 4).is_err());
    assert!(view(&good(), 1).check(5, 3).is_err());
    assert!(view(&good(), 2).check(5, 4).is_err());
    for starts in [vec![1, 3, 5], vec![0, 6, 5], vec![0, 5], vec![]] {
        assert!(view(&Lists { starts, ..good() }, 1).check(5, 4).is_err());
    }
    assert!(view(&Lists { volumes: vec![f64::NAN; 2], ..good() }, 1).check(5, 4).is_err());
    assert!(view(&Lists { centres: vec![f32::NAN; 8], ..good() }, 1).check(5, 4).is_err());
}
