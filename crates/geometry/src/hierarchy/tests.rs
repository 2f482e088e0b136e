#![expect(clippy::float_cmp, reason = "these values are exact")]

use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;
use crate::{Geometry, Precision, Space};

fn hierarchy(edges: &[(usize, usize)]) -> Hierarchy {
    let names = edges.iter().map(|(child, parent)| (child.to_string(), parent.to_string()));
    Hierarchy::from_edges(names).unwrap()
}

/// The tree in which node i > 0 hangs below node (i − 1) / `branches`.
fn regular_tree(nodes: usize, branches: usize) -> Vec<(usize, usize)> {
    (1..nodes).map(|node| (node, (node - 1) / branches)).collect()
}

/// Repeatable numbers below `bound`.
fn draw(index: usize, bound: usize) -> usize {
    let mut mixed = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^= mixed >> 32;
    usize::try_from(mixed % bound as u64).unwrap()
}

/// A random tree in which one node in `rare` has a second parent.
fn random_dag(nodes: usize, rare: usize) -> Vec<(usize, usize)> {
    let mut edges = Vec::new();
    for node in 1..nodes {
        edges.push((node, draw(node, node.div_ceil(3))));
        if draw(node + nodes, rare) == 0 {
            edges.push((node, draw(node + 2 * nodes, node)));
        }
    }
    edges
}

fn embedded(hierarchy: &Hierarchy, dimension: usize) -> Embedding {
    embed(hierarchy, &EmbedOptions::new(dimension)).unwrap()
}

fn scores(hierarchy: &Hierarchy, embedding: &Embedding) -> Reconstruction {
    let options = ReconstructionOptions::default();
    reconstruction(hierarchy, &embedding.points, embedding.dimension, &options).unwrap()
}

fn sampled(hierarchy: &Hierarchy, embedding: &Embedding, nodes: usize) -> Reconstruction {
    let options = ReconstructionOptions {
        sample: NonZeroUsize::new(nodes),
        ..ReconstructionOptions::default()
    };
    reconstruction(hierarchy, &embedding.points, embedding.dimension, &options).unwrap()
}

fn distance(embedding: &Embedding, a: u32, b: u32) -> f64 {
    let space = Space::new(Geometry::Hyperboloid, embedding.dimension, -1.0).unwrap();
    let (a, b) = (embedding.point(a).unwrap(), embedding.point(b).unwrap());
    space.stored_distance(a, b).unwrap()
}

fn assert_storable(embedding: &Embedding, precision: Precision) {
    let space = Space::new(Geometry::Hyperboloid, embedding.dimension, -1.0).unwrap();
    for point in embedding.points.chunks_exact(embedding.dimension) {
        space.validate(&space.from_storage(point), precision).unwrap();
    }
}

#[test]
fn edges_make_a_hierarchy() {
    let edges = [("dog", "canine"), ("canine", "animal"), ("dog", "pet"), ("dog", "canine")];
    let hierarchy = Hierarchy::from_edges(edges).unwrap();
    assert_eq!(hierarchy.len(), 4);
    assert_eq!(hierarchy.edges(), 3);
    assert_eq!(hierarchy.duplicates(), 1);
    let dog = hierarchy.find("dog").unwrap();
    let parents: Vec<_> =
        hierarchy.parents(dog).iter().map(|&parent| hierarchy.name(parent).unwrap()).collect();
    assert_eq!(parents, ["canine", "pet"]);
    let roots: Vec<_> = hierarchy.roots().map(|root| hierarchy.name(root).unwrap()).collect();
    assert_eq!(roots, ["animal", "pet"]);
    assert_eq!(hierarchy.find("cat"), None);
    assert!(hierarchy.parents(99).is_empty());
}

#[test]
fn what_is_no_hierarchy_is_refused_by_name() {
    let none: [(&str, &str); 0] = [];
    assert_eq!(Hierarchy::from_edges(none).unwrap_err(), HierarchyError::Empty);
    let error = Hierarchy::from_edges([("a", "b"), ("b", "b")]).unwrap_err();
    assert_eq!(error, HierarchyError::SelfLoop { node: "b".to_owned() });
    let edges = [("x", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("c", "root")];
    let error = Hierarchy::from_edges(edges).unwrap_err();
    let HierarchyError::Cycle { mut nodes, length } = error else { panic!("{error}") };
    nodes.sort();
    assert_eq!((nodes, length), (vec!["a".to_owned(), "b".to_owned(), "c".to_owned()], 3));
    let ring = (0..1_000).map(|node| (node.to_string(), ((node + 1) % 1_000).to_string()));
    let error = Hierarchy::from_edges(ring).unwrap_err();
    assert!(error.to_string().contains("a circle of 1000 nodes"), "{error}");
    assert!(error.to_string().ends_with("-> ..."), "{error}");
}

/// The path 3 → 2 → 1 → 0 on a line: 1 at the origin, 0 one to the right, 2 one and 3 three and a
/// half to the left.
#[test]
fn ranks_are_those_worked_out_by_hand() {
    let hierarchy = Hierarchy::from_edges([("1", "0"), ("2", "1"), ("3", "2")]).unwrap();
    // The nodes are numbered as named: 1, 0, 2, 3.
    let points: Vec<f64> =
        [0.0_f64, 1.0, -1.0, -3.5].iter().flat_map(|x| [x.sinh(), 0.0]).collect();
    let options = ReconstructionOptions::default();
    let found = reconstruction(&hierarchy, &points, 2, &options).unwrap();
    // From 1: 0 and 2 are both at distance 1, a tie that counts against the ancestor 0: rank 2.
    // From 2: ancestors at 1 and 2, stranger 3 at 2.5: ranks 1 and 1.
    // From 3: ancestors at 2.5, 3.5 and 4.5, no stranger: ranks 1, 1, 1.
    assert_eq!((found.ancestors.nodes, found.ancestors.pairs), (3, 6));
    assert!((found.ancestors.mean_rank - 7.0 / 6.0).abs() < 1e-15);
    assert!((found.ancestors.map - (0.5 + 1.0 + 1.0) / 3.0).abs() < 1e-15);
    // Neighbours: 1 has 0 and 2; 0 has 1; 2 has 1 at 1 and 3 at 2.5, with the stranger 0 at 2
    // between them; 3 has 2.
    assert_eq!((found.neighbours.nodes, found.neighbours.pairs), (4, 6));
    assert!((found.neighbours.mean_rank - 7.0 / 6.0).abs() < 1e-15);
    let map = (1.0 + 1.0 + f64::midpoint(1.0, 2.0 / 3.0) + 1.0) / 4.0;
    assert!((found.neighbours.map - map).abs() < 1e-15);
}

#[test]
fn ranks_agree_with_sorting_all_distances() {
    let hierarchy = hierarchy(&random_dag(600, 5));
    let embedding = embedded(&hierarchy, 3);
    let (mut ranks, mut pairs, mut precisions, mut asked) = (0, 0, 0.0, 0_usize);
    for node in 0..600 {
        let mut ancestors = std::collections::HashSet::new();
        let mut open = hierarchy.parents(node).to_vec();
        while let Some(ancestor) = open.pop() {
            if ancestors.insert(ancestor) {
                open.extend_from_slice(hierarchy.parents(ancestor));
            }
        }
        if ancestors.is_empty() {
            continue;
        }
        let mut others: Vec<(f64, bool)> = (0..600)
            .filter(|&other| other != node)
            .map(|other| (distance(&embedding, node, other), ancestors.contains(&other)))
            .collect();
        // Strangers first where the distances are the same.
        others.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let (mut found, mut precision) = (0, 0.0);
        for (place, (_, is_ancestor)) in others.iter().enumerate() {
            if *is_ancestor {
                ranks += place - found + 1;
                found += 1;
                precision += found as f64 / (place + 1) as f64;
            }
        }
        pairs += found;
        precisions += precision / found as f64;
        asked += 1;
    }
    let scores = scores(&hierarchy, &embedding).ancestors;
    assert_eq!((scores.nodes, scores.pairs), (asked, pairs));
    assert!((scores.mean_rank - ranks as f64 / pairs as f64).abs() < 0.01, "{scores:?}");
    assert!((scores.map - precisions / asked as f64).abs() < 1e-3, "{scores:?}");
}

#[test]
fn the_number_of_threads_does_not_change_the_scores() {
    let hierarchy = hierarchy(&random_dag(2_000, 20));
    let embedding = embedded(&hierarchy, 6);
    let with = |threads| {
        let options = ReconstructionOptions {
            threads: NonZeroUsize::new(threads),
            ..ReconstructionOptions::default()
        };
        reconstruction(&hierarchy, &embedding.points, 6, &options).unwrap()
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn points_that_coincide_are_scored_worst() {
    let hierarchy = hierarchy(&regular_tree(50, 2));
    let found =
        reconstruction(&hierarchy, &[0.5; 100], 2, &ReconstructionOptions::default()).unwrap();
    assert!(found.ancestors.map < 0.1, "{found:?}");
}

#[test]
fn unusable_points_are_refused() {
    let hierarchy = hierarchy(&regular_tree(3, 2));
    let options = ReconstructionOptions::default();
    let measure = |points: &[f64], dimension| {
        reconstruction(&hierarchy, points, dimension, &options).unwrap_err()
    };
    assert!(matches!(measure(&[0.0; 5], 2), ReconstructionError::Length { .. }));
    assert!(matches!(measure(&[], 0), ReconstructionError::Length { .. }));
    let mut points = [0.0; 6];
    points[3] = f64::NAN;
    assert_eq!(measure(&points, 2), ReconstructionError::NotFinite { node: 1 });
    points[3] = 1e200;
    assert_eq!(measure(&points, 2), ReconstructionError::NotFinite { node: 1 });
}

#[test]
fn trees_are_reconstructed_almost_perfectly_in_any_dimension() {
    for dimension in [2, 3, 5, 16, 64] {
        for edges in [regular_tree(2_000, 2), regular_tree(1_500, 40), random_dag(800, usize::MAX)]
        {
            let hierarchy = hierarchy(&edges);
            let embedding = embedded(&hierarchy, dimension);
            let found = scores(&hierarchy, &embedding);
            let report = &embedding.report;
            assert_eq!(report.construction, Construction::Packing);
            assert!(report.squeeze >= 1.0, "{report:?}");
            assert!(found.ancestors.map > 0.998, "{dimension}: {found:?} {report:?}");
            assert!(found.ancestors.mean_rank < 1.005, "{dimension}: {found:?}");
            assert!(report.smallest_sibling_distance > 1.0, "{report:?}");
            assert_eq!(report.coincident, 0);
            assert_storable(&embedding, Precision::F64);
        }
    }
}

#[test]
fn parents_are_nearer_than_strangers() {
    let edges = regular_tree(400, 3);
    let hierarchy = hierarchy(&edges);
    let embedding = embedded(&hierarchy, 4);
    let mut stamp = 0;
    let mut seen = vec![0; 400];
    for node in 0..400 {
        let mut ancestors = Vec::new();
        stamp += 1;
        hierarchy.ancestors(node, &mut seen, stamp, &mut ancestors);
        let farthest =
            ancestors.iter().map(|&other| distance(&embedding, node, other)).fold(0.0, f64::max);
        for other in (0..400).filter(|other| *other != node && !ancestors.contains(other)) {
            assert!(distance(&embedding, node, other) > farthest, "{node} {other}");
        }
    }
}

#[test]
fn several_parents_are_found_along_the_curve() {
    let hierarchy = hierarchy(&random_dag(5_000, 40));
    let embedding = embedded(&hierarchy, 16);
    assert_eq!(embedding.report.construction, Construction::Curve);
    assert_storable(&embedding, Precision::F64);
    assert_eq!(embedding.report.coincident, 0);
    let curve = scores(&hierarchy, &embedding).ancestors;
    let options = EmbedOptions { construction: Construction::Packing, ..EmbedOptions::new(16) };
    let packing = scores(&hierarchy, &embed(&hierarchy, &options).unwrap()).ancestors;
    assert!(curve.map > 0.9, "{curve:?} {packing:?}");
    assert!(curve.mean_rank < packing.mean_rank / 2.0, "{curve:?} {packing:?}");
}

/// How many strangers are at most as far from `node` as its farthest ancestor.
fn strangers_before_ancestors(hierarchy: &Hierarchy, embedding: &Embedding, node: u32) -> usize {
    let mut ancestors = Vec::new();
    hierarchy.ancestors(node, &mut vec![0; hierarchy.len()], 1, &mut ancestors);
    let farthest =
        ancestors.iter().map(|&other| distance(embedding, node, other)).fold(0.0, f64::max);
    (0..u32::try_from(hierarchy.len()).unwrap())
        .filter(|other| *other != node && !ancestors.contains(other))
        .filter(|other| distance(embedding, node, *other) <= farthest)
        .count()
}

#[test]
fn a_leaf_finds_the_ancestors_over_its_second_parent() {
    let mut edges = regular_tree(1_365, 4);
    let second = [(1_000, 40), (1_100, 50), (1_200, 60), (1_300, 70), (900, 80)];
    edges.extend(second);
    let hierarchy = hierarchy(&edges);
    let options = EmbedOptions { construction: Construction::Curve, ..EmbedOptions::new(16) };
    let embedding = embed(&hierarchy, &options).unwrap();
    let options = EmbedOptions { construction: Construction::Packing, ..EmbedOptions::new(16) };
    let packed = embed(&hierarchy, &options).unwrap();
    let mut hidden = 0;
    for (leaf, _) in second {
        let node = hierarchy.find(&leaf.to_string()).unwrap();
        let strangers = strangers_before_ancestors(&hierarchy, &embedding, node);
        assert!(strangers < 20, "{leaf}: {strangers}");
        hidden += strangers_before_ancestors(&hierarchy, &packed, node);
    }
    assert!(hidden > 300, "along single chains these ancestors are hidden: {hidden}");
}

/// As "causal agent" in WordNet, nearly all of whose descendants are persons and so organisms.
#[test]
fn a_node_that_shares_its_descendants_is_laid_out_inside_the_other() {
    let mut edges = vec![("organism".to_owned(), "entity".to_owned())];
    let mut edge = |child: &str, parent: &str| edges.push((child.to_owned(), parent.to_owned()));
    edge("agent", "entity");
    edge("person", "organism");
    edge("person", "agent");
    edge("force", "agent");
    for number in 0..40 {
        edge(&format!("person {number}"), "person");
        edge(&format!("plant {number}"), "organism");
    }
    let hierarchy = Hierarchy::from_edges(edges).unwrap();
    let options = EmbedOptions { construction: Construction::Packing, ..EmbedOptions::new(6) };
    let embedding = embed(&hierarchy, &options).unwrap();
    for name in ["person 0", "person 39", "plant 7"] {
        let node = hierarchy.find(name).unwrap();
        assert_eq!(strangers_before_ancestors(&hierarchy, &embedding, node), 0, "{name}");
    }
}

#[test]
fn the_same_edges_give_the_same_bits() {
    for rare in [30, usize::MAX] {
        let edges = random_dag(3_000, rare);
        let first = embedded(&hierarchy(&edges), 8);
        let second = embedded(&hierarchy(&edges), 8);
        let bits = |embedding: &Embedding| -> Vec<u64> {
            embedding.points.iter().map(|x| x.to_bits()).collect()
        };
        assert_eq!(bits(&first), bits(&second));
    }
}

#[test]
fn a_path_far_longer_than_the_radius_keeps_its_order() {
    let edges: Vec<_> = (1..100_000).map(|node| (node, node - 1)).collect();
    let hierarchy = hierarchy(&edges);
    let embedding = embedded(&hierarchy, 5);
    assert!(embedding.report.squeeze < 1e-3);
    assert_eq!(embedding.report.coincident, 0);
    assert_storable(&embedding, Precision::F64);
    let curve = EmbedOptions { construction: Construction::Curve, ..EmbedOptions::new(5) };
    let error = embed(&hierarchy, &curve).unwrap_err();
    assert!(matches!(error, EmbedError::TooManyPairs { .. }), "{error}");
    let radii: Vec<f64> = embedding
        .points
        .chunks_exact(5)
        .map(|point| point.iter().map(|x| x * x).sum::<f64>().sqrt())
        .collect();
    let in_order = (1..100_000).filter(|node| {
        let (child, parent) = (node.to_string(), (node - 1).to_string());
        let radius = |name: &str| radii[hierarchy.find(name).unwrap() as usize];
        radius(&child) > radius(&parent)
    });
    assert_eq!(in_order.count(), 99_999);
}

#[test]
fn a_star_of_a_hundred_thousand_keeps_its_leaves_apart() {
    let edges: Vec<_> = (1..100_000).map(|node| (node, 0)).collect();
    let hierarchy = hierarchy(&edges);
    for dimension in [2, 16] {
        let embedding = embedded(&hierarchy, dimension);
        assert_eq!(embedding.report.squeeze, 1.0);
        assert!(embedding.report.smallest_sibling_distance > 1.0, "{:?}", embedding.report);
        assert_eq!(sampled(&hierarchy, &embedding, 50).ancestors.mean_rank, 1.0);
    }
}

#[test]
fn a_forest_has_no_root_at_the_origin() {
    let mut edges = regular_tree(100, 3);
    edges.extend(regular_tree(100, 3).into_iter().map(|(a, b)| (a + 100, b + 100)));
    let hierarchy = hierarchy(&edges);
    let embedding = embedded(&hierarchy, 4);
    for root in hierarchy.roots() {
        assert!(embedding.point(root).unwrap().iter().any(|x| x.abs() > 0.1));
    }
    assert!(scores(&hierarchy, &embedding).ancestors.map > 0.999);
}

#[test]
fn a_single_node_is_the_origin() {
    let mut builder = HierarchyBuilder::new();
    builder.node("alone");
    let embedding = embedded(&builder.build().unwrap(), 3);
    assert_eq!(embedding.points, [0.0; 3]);
    assert_eq!(embedding.report.smallest_sibling_distance, f64::INFINITY);
}

#[test]
fn a_small_radius_squeezes_and_single_precision_is_kept_to() {
    let hierarchy = hierarchy(&random_dag(5_000, usize::MAX));
    let single = EmbedOptions { precision: Precision::F32, ..EmbedOptions::new(8) };
    let embedding = embed(&hierarchy, &single).unwrap();
    assert!(embedding.report.max_radius < 15.3, "{:?}", embedding.report);
    assert_eq!(embedding.report.coincident, 0);
    let rounded: Vec<f64> = embedding
        .points
        .iter()
        .map(|&x| {
            #[expect(clippy::cast_possible_truncation, reason = "rounding is what is tested")]
            let rounded = x as f32;
            f64::from(rounded)
        })
        .collect();
    let space = Space::new(Geometry::Poincare, 8, -1.0).unwrap();
    assert!(embedding.report.max_radius < space.radius_limit(Precision::F32));
    let options = ReconstructionOptions::default();
    let found = reconstruction(&hierarchy, &rounded, 8, &options).unwrap();
    let exact = scores(&hierarchy, &embedding);
    assert!((found.ancestors.map - exact.ancestors.map).abs() < 1e-3, "{found:?} {exact:?}");
    let narrow = EmbedOptions { max_radius: Some(6.0), ..EmbedOptions::new(8) };
    let squeezed = embed(&hierarchy, &narrow).unwrap();
    assert!(squeezed.report.squeeze < 1.0 && squeezed.report.max_radius <= 6.0 + 1e-9);
}

#[test]
fn limits_are_told() {
    let hierarchy = hierarchy(&regular_tree(10, 2));
    for dimension in [0, 1, MAX_EMBED_DIMENSION + 1] {
        let error = embed(&hierarchy, &EmbedOptions::new(dimension)).unwrap_err();
        assert!(matches!(error, EmbedError::Dimension { .. }), "{error}");
    }
    assert!(embed(&hierarchy, &EmbedOptions::new(MAX_EMBED_DIMENSION)).is_ok());
    for radius in [0.5, 100.0, f64::NAN, f64::INFINITY] {
        let options = EmbedOptions { max_radius: Some(radius), ..EmbedOptions::new(3) };
        let error = embed(&hierarchy, &options).unwrap_err();
        assert!(matches!(error, EmbedError::Radius { .. }), "{error}");
    }
    let options = EmbedOptions { construction: Construction::Curve, ..EmbedOptions::new(3) };
    let error = embed(&hierarchy, &options).unwrap_err();
    assert!(matches!(error, EmbedError::CurveDoesNotFit { .. }), "{error}");
    let options = EmbedOptions { construction: Construction::Curve, ..EmbedOptions::new(4) };
    let embedding = embed(&hierarchy, &options).unwrap();
    assert_eq!(embedding.report.construction, Construction::Curve);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the hierarchy, dimension and radius: points that the space accepts, no two the
    /// same, and ancestors found better than by chance.
    #[test]
    fn every_hierarchy_is_embedded(
        nodes in 2_usize..120,
        rare in 1_usize..20,
        salt in 0_usize..1_000_000,
        dimension in 2_usize..20,
        radius in 5.0_f64..35.0,
    ) {
        let mut edges = Vec::new();
        for node in 1..nodes {
            if draw(salt + node, 15) > 0 {
                edges.push((node, draw(salt + 7 * node, node)));
            }
            if draw(salt + 3 * node, rare) == 0 {
                edges.push((node, draw(salt + 5 * node, node)));
            }
        }
        let mut builder = HierarchyBuilder::new();
        for node in 0..nodes {
            builder.node(&node.to_string());
        }
        for (child, parent) in &edges {
            builder.edge(&child.to_string(), &parent.to_string());
        }
        let hierarchy = builder.build().unwrap();
        let options = EmbedOptions { max_radius: Some(radius), ..EmbedOptions::new(dimension) };
        let embedding = embed(&hierarchy, &options).unwrap();
        prop_assert!(embedding.report.max_radius <= radius + 1e-6, "{:?}", embedding.report);
        prop_assert_eq!(embedding.points.len(), nodes * dimension);
        prop_assert_eq!(embedding.report.coincident, 0, "{:?}", embedding.report);
        assert_storable(&embedding, Precision::F64);
        let found = scores(&hierarchy, &embedding).ancestors;
        if found.pairs > 0 {
            // An order by chance has about as many ancestors among the first as among all.
            let chance = found.pairs as f64 / (found.nodes * (nodes - 1)) as f64;
            let least = (2.0 * chance).min(0.25);
            prop_assert!(found.map > least, "{:?} {:?}", found, embedding.report);
        }
    }
}
