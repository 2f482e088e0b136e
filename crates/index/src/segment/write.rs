//! Writing a segment's files.

use std::{io, path::Path};

use super::layout::{
    GRAPH_KIND, GraphMeta, ListsShape, ROWS_KIND, RowsMeta, TreeShape, graph_path, rows_path,
};
use crate::{
    codec::Codec,
    config::Quantisation,
    files::{publish, sections::Writer},
    graph::Links,
    lists::Lists,
    metric::Lane,
    ranker::Ranker,
    tree::Tree,
};

/// What is made of a segment's ranking rows so that searches look at fewer of them.
#[derive(Debug)]
pub(crate) enum Structure<T> {
    /// Nothing: they are scanned.
    None,
    Graph(Links),
    Tree(Tree),
    Lists(Lists<T>),
}

/// The content of a segment that is about to be written, row by row in its final order.
pub(crate) trait Content<T> {
    fn rows(&self) -> usize;
    fn key(&self, row: usize) -> u64;
    fn id(&self, row: usize) -> &str;
    fn stored(&self, row: usize) -> &[T];
}

/// Writes `segment-N.rows`, complete and durable.
pub(crate) fn write_rows<T: Lane>(
    dir: &Path,
    number: u64,
    stored_len: usize,
    content: &dyn Content<T>,
) -> io::Result<()> {
    let path = rows_path(dir, number);
    let rows = content.rows();
    let mut writer = Writer::create(&path, ROWS_KIND, 1)?;
    let meta = RowsMeta { rows, stored: stored_len, precision: T::NAME.to_owned() };
    writer.section("meta", &serde_json::to_vec(&meta)?)?;

    let keys: Vec<u64> = (0..rows).map(|row| content.key(row)).collect();
    writer.section("keys", bytemuck::cast_slice(&keys))?;
    let mut order: Vec<u32> = (0..u32::try_from(rows).unwrap_or(u32::MAX)).collect();
    order.sort_unstable_by_key(|&row| keys.get(row as usize));
    writer.section("bykey", bytemuck::cast_slice(&order))?;
    drop((keys, order));

    let mut end = 0_u64;
    writer.begin("idends")?;
    for row in 0..rows {
        end += content.id(row).len() as u64;
        writer.write(&end.to_le_bytes())?;
    }
    writer.begin("ids")?;
    for row in 0..rows {
        writer.write(content.id(row).as_bytes())?;
    }
    writer.begin("stored")?;
    for row in 0..rows {
        writer.write(bytemuck::cast_slice(content.stored(row)))?;
    }
    writer.finish()?;
    publish(&path)
}

/// Writes `segment-N.graph`, complete and durable.
pub(crate) fn write_graph<T: Lane>(
    dir: &Path,
    number: u64,
    ranker: &Ranker<T>,
    ranking: &[T],
    structure: &Structure<T>,
    codec: Option<&Codec>,
) -> io::Result<()> {
    let links = match structure {
        Structure::Graph(links) => Some(links.view()),
        _ => None,
    };
    let tree = match structure {
        Structure::Tree(tree) => Some(tree),
        _ => None,
    };
    let lists = match structure {
        Structure::Lists(lists) => Some(lists),
        _ => None,
    };
    let path = graph_path(dir, number);
    let lanes = ranker.lanes().max(1);
    let mut reach = Vec::new();
    for row in ranking.chunks_exact(lanes) {
        ranker.extend_reach(row, &mut reach);
    }
    let meta = GraphMeta {
        rows: ranking.len() / lanes,
        lanes,
        lists: links.map_or(0, |links| links.upper.len() / links.shape.m.max(1)),
        orphans: links.map_or(0, |links| links.orphans.len()),
        reach,
        graph: links.map(|links| links.shape),
        tree: tree.map(|tree| TreeShape {
            nodes: tree.nodes.len(),
            width: tree.volumes.len() / tree.nodes.len().max(1),
        }),
        inverted: lists.map(|lists| ListsShape {
            count: lists.starts.len().saturating_sub(1),
            width: lists.volumes.len() / lists.starts.len().saturating_sub(1).max(1),
        }),
        quantisation: codec.map(Codec::quantisation),
    };
    // A file without newer sections is one that older programs read.
    let format = match codec.map(Codec::quantisation) {
        Some(Quantisation::Pq) => 3,
        _ if tree.is_some() || lists.is_some() || codec.is_some() => 2,
        _ => 1,
    };
    let mut writer = Writer::create(&path, GRAPH_KIND, format)?;
    writer.section("meta", &serde_json::to_vec(&meta)?)?;
    if let Some(codec) = codec {
        writer.section("codec", bytemuck::cast_slice(&codec.parameters()))?;
        writer.begin("codes")?;
        let mut code = Vec::new();
        for row in ranking.chunks_exact(lanes) {
            code.clear();
            codec.encode(row, &mut code);
            writer.write(&code)?;
        }
    } else {
        writer.section("ranking", bytemuck::cast_slice(ranking))?;
    }
    if let Some(links) = links {
        writer.section("base", bytemuck::cast_slice(links.base))?;
        writer.section("first", bytemuck::cast_slice(links.first_upper))?;
        writer.section("upper", bytemuck::cast_slice(links.upper))?;
        writer.section("orphans", bytemuck::cast_slice(links.orphans))?;
    }
    if let Some(tree) = tree {
        writer.section("nodes", bytemuck::cast_slice(&tree.nodes))?;
        writer.section("volumes", bytemuck::cast_slice(&tree.volumes))?;
    }
    if let Some(lists) = lists {
        writer.section("centres", bytemuck::cast_slice(&lists.centres))?;
        writer.section("starts", bytemuck::cast_slice(&lists.starts))?;
        writer.section("volumes", bytemuck::cast_slice(&lists.volumes))?;
    }
    writer.finish()?;
    publish(&path)
}
