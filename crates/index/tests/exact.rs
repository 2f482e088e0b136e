//! Exact answers are those of the geometry crate, in every space, from the tail and from segments.

mod kit;

use hvs_geometry::{Geometry, Precision};
use hvs_index::{RestartState, SearchRequest, Strategy, VectorIndex};
use kit::{Model, Random, config, fill, metric_spaces, space};

#[test]
fn exact_search_gives_the_ids_of_brute_force() {
    for space in metric_spaces() {
        for precision in [Precision::F32, Precision::F64] {
            let dir = tempfile::tempdir().unwrap();
            let index =
                VectorIndex::open(dir.path(), config(&space, precision), RestartState::default())
                    .unwrap();
            let (mut model, mut random) = (Model::default(), Random(7));
            for round in 0..2 {
                fill(&index, &mut model, &space, precision, &mut random, 1 + 900 * round, 900);
                for _ in 0..20 {
                    let query = space.from_storage(&random.stored(&space, 4.0));
                    let answer = index
                        .search(&SearchRequest {
                            exact: true,
                            ..SearchRequest::nearest(&query, 10)
                        })
                        .unwrap();
                    assert!(answer.exact);
                    assert_eq!(answer.strategy, Strategy::Scan);
                    let truth = model.nearest(&space, &query, 10);
                    for (hit, (key, distance)) in answer.hits.iter().zip(&truth) {
                        assert_eq!(hit.key, *key, "{space} {precision}");
                        assert_eq!(hit.id, format!("id-{key}"));
                        assert!(
                            (hit.distance - distance).abs() <= 1e-9 * (1.0 + distance),
                            "{space}: {} and {distance}",
                            hit.distance
                        );
                    }
                    assert_eq!(answer.hits.len(), 10);
                }
                index.flush().unwrap();
            }
            assert_eq!(index.stats().tail, 0);
            assert_eq!(index.stats().live, 1_800);
        }
    }
}

#[test]
fn lorentzian_search_ranks_intervals_and_leaves_out_what_no_geodesic_reaches() {
    let space = space(Geometry::Lorentzian, 4, 1.0);
    let dir = tempfile::tempdir().unwrap();
    let index =
        VectorIndex::open(dir.path(), config(&space, Precision::F64), RestartState::default())
            .unwrap();
    let (mut model, mut random) = (Model::default(), Random(3));
    fill(&index, &mut model, &space, Precision::F64, &mut random, 1, 600);
    for round in 0..2 {
        let query = space.from_storage(&random.stored(&space, 1.0));
        let answer = index.search(&SearchRequest::nearest(&query, 600)).unwrap();
        assert!(answer.exact);
        assert!(answer.hits.is_sorted_by(|a, b| a.distance <= b.distance));
        let inner = |y: &[f64]| {
            -query[0] * y[0] + query.iter().zip(y).skip(1).map(|(a, b)| a * b).sum::<f64>()
        };
        let reachable = model.rows.iter().filter(|(_, _, y)| inner(y) > -1.0).count();
        assert!(reachable < 600, "the sample has pairs without a geodesic");
        assert_eq!(answer.hits.len(), reachable);
        for hit in &answer.hits {
            let (_, _, y) = &model.rows[usize::try_from(hit.key).unwrap() - 1];
            let c = inner(y);
            let expected = if c > 1.0 { c.acosh() } else { c.clamp(-1.0, 1.0).acos() };
            assert!((hit.distance - expected).abs() < 1e-6, "{} {expected}", hit.distance);
        }
        if round == 0 {
            index.flush().unwrap();
            assert_eq!(index.stats().segments, 1);
        }
    }
}
