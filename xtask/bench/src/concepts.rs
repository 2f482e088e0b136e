//! A hierarchy of concepts in hyperbolic space, in a node.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hvs_api::{
    BatchOperation, BatchRequest, BatchResponse, Coordinates, CreateNamespace, NamespaceInfo,
    Precision, PutRecord, Vector,
};
use hvs_geometry::hierarchy::{
    Construction, EmbedOptions, Embedding, Hierarchy, HierarchyBuilder, embed,
};
use hvs_tests::http::Connection;
use serde_json::json;
use xtask::{
    data, places,
    wordnet::{Concept, Nouns},
};

/// Intrinsic dimension of the space that the concepts are embedded in.
pub(crate) const DIMENSION: usize = 16;
/// Operations in one batch.
const BATCH: usize = 1_000;

/// Where a hierarchy came from.
pub(crate) struct Source {
    pub(crate) nouns: Nouns,
    /// For people: `WordNet 3.0`, or why it is only a part of it.
    pub(crate) name: String,
}

/// All of WordNet's nouns, or the committed mammals when `mammals` is set or nothing else is to be
/// had.
///
/// # Errors
/// Not even the committed file can be read.
pub(crate) fn load(mammals: bool) -> Result<Source> {
    if !mammals {
        match data::wordnet::ensure(None) {
            Ok((folder, release)) => {
                let name = format!("WordNet {}", release.version);
                return Ok(Source { nouns: Nouns::read(&folder)?, name });
            }
            Err(reason) => eprintln!("{reason:#}\n\nGoing on with the mammals."),
        }
    }
    let file = places::mammals_extract();
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let name = String::from("the mammals, the part of WordNet 3.0 that comes with HVS");
    Ok(Source { nouns: Nouns::from_tsv(&text)?, name })
}

/// Concepts as points.
pub(crate) struct Embedded {
    pub(crate) hierarchy: Hierarchy,
    pub(crate) embedding: Embedding,
    pub(crate) took: Duration,
}

/// Embeds the concepts; node numbers are positions in `nouns`.
///
/// # Errors
/// The hierarchy has a circle, or does not fit into the space.
pub(crate) fn embed_nouns(nouns: &Nouns, construction: Construction) -> Result<Embedded> {
    let begun = Instant::now();
    let mut builder = HierarchyBuilder::new();
    for concept in &nouns.concepts {
        builder.node(&concept.id);
    }
    for (parent, child) in nouns.edges() {
        if let (Some(child), Some(parent)) = (nouns.concepts.get(child), nouns.concepts.get(parent))
        {
            builder.edge(&child.id, &parent.id);
        }
    }
    let hierarchy = builder.build()?;
    let mut options = EmbedOptions::new(DIMENSION);
    options.construction = construction;
    let embedding = embed(&hierarchy, &options)?;
    Ok(Embedded { hierarchy, embedding, took: begun.elapsed() })
}

/// Creates the namespace and writes all concepts, with their words and glosses as metadata.
///
/// # Errors
/// The node refuses something.
pub(crate) fn import(
    connection: &mut Connection,
    namespace: &str,
    nouns: &Nouns,
    embedding: &Embedding,
) -> Result<()> {
    let request = CreateNamespace {
        geometry: Some(String::from("hyperboloid")),
        dimension: Some(DIMENSION as u64),
        precision: Some(Precision::F64),
        ..CreateNamespace::default()
    };
    let _: NamespaceInfo = connection.call("PUT", namespace, &request)?;
    let points: Vec<&[f64]> = embedding.points.chunks_exact(DIMENSION).collect();
    ensure!(points.len() == nouns.concepts.len(), "{} points", points.len());
    let rows: Vec<(&Concept, &[f64])> = nouns.concepts.iter().zip(points).collect();
    let depths = depths(nouns);
    for (rows, depths) in rows.chunks(BATCH).zip(depths.chunks(BATCH)) {
        let operations = rows
            .iter()
            .zip(depths)
            .map(|((concept, point), depth)| BatchOperation::Put(record(concept, point, *depth)))
            .collect();
        let request = BatchRequest {
            operations,
            coordinates: Some(Coordinates::Spatial),
            ..BatchRequest::default()
        };
        let answer: BatchResponse =
            connection.call("POST", &format!("{namespace}/batch"), &request)?;
        ensure!(answer.failed == 0, "{} writes failed", answer.failed);
    }
    Ok(())
}

fn record(concept: &Concept, point: &[f64], depth: usize) -> PutRecord {
    let metadata = json!({
        "words": concept.words,
        "gloss": concept.gloss,
        "topic": concept.topic,
        "depth": depth,
    });
    PutRecord {
        id: Some(concept.id.clone()),
        vector: Some(Vector(point.to_vec())),
        metadata: metadata.as_object().cloned(),
        ..PutRecord::default()
    }
}

/// Edges on the shortest way up to a root, for each concept.
pub(crate) fn depths(nouns: &Nouns) -> Vec<usize> {
    let mut children = vec![Vec::new(); nouns.concepts.len()];
    for (parent, child) in nouns.edges() {
        if let Some(of_parent) = children.get_mut(parent) {
            of_parent.push(child);
        }
    }
    let mut depths = vec![usize::MAX; nouns.concepts.len()];
    let roots = nouns.concepts.iter().enumerate().filter(|(_, concept)| concept.parents.is_empty());
    let mut level: Vec<usize> = roots.map(|(at, _)| at).collect();
    let mut depth = 0;
    while !level.is_empty() {
        let mut next = Vec::new();
        for at in level {
            let Some(known) = depths.get_mut(at).filter(|known| **known == usize::MAX) else {
                continue;
            };
            *known = depth;
            next.extend(children.get(at).into_iter().flatten().copied());
        }
        level = next;
        depth += 1;
    }
    depths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mammals_can_be_embedded() {
        let source = load(true).unwrap();
        let embedded = embed_nouns(&source.nouns, Construction::Packing).unwrap();
        assert_eq!(embedded.hierarchy.len(), source.nouns.concepts.len());
        assert_eq!(embedded.embedding.points.len(), source.nouns.concepts.len() * DIMENSION);
        let depths = depths(&source.nouns);
        let depth_of = |id: &str| depths[source.nouns.position(id).unwrap()];
        assert_eq!((depth_of("entity.n.01"), depth_of("mammal.n.01")), (0, 9));
        assert_eq!(depths.iter().max(), Some(&18));
    }
}
