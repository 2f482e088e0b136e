//! Opening a segment's files, which are checked in full.

use std::{io, path::Path};

use memmap2::{Advice, Mmap, MmapMut};
use serde::Deserialize;

use super::{
    Ranking, Segment,
    layout::{GRAPH_KIND, GraphMeta, ROWS_KIND, RowsMeta, graph_path, rows_path},
    view_lists,
};
use crate::{
    bits::DeadRows,
    codec::Codec,
    error::OpenError,
    files::{damaged, io_error, manifest::SegmentEntry, sections::Sections},
    graph::LinksView,
    metric::Lane,
    ranker::Ranker,
    tree::{self, TreeView},
};

impl<T: Lane> Segment<T> {
    /// Opens and checks a segment's files.
    pub(crate) fn open(
        dir: &Path,
        entry: &SegmentEntry,
        ranker: &Ranker<T>,
        resident: bool,
    ) -> Result<Self, OpenError> {
        let rows_file = Sections::open(&rows_path(dir, entry.number), ROWS_KIND)?;
        let meta: RowsMeta = read_meta(&rows_file)?;
        let rows = meta.rows;
        if rows as u64 != entry.rows || meta.stored != ranker.stored() || meta.precision != T::NAME
        {
            return Err(damaged(rows_file.path(), "it is not the segment of the manifest"));
        }
        check_rows::<T>(&rows_file, &meta)?;
        let mut segment = Self {
            number: entry.number,
            rows,
            stored_len: meta.stored,
            lanes: ranker.lanes(),
            rows_file,
            graph_file: None,
            graph: None,
            codec: None,
            ranking: Ranking::Mapped,
            frugal: !resident,
            dead: DeadRows::none(rows),
            lane: std::marker::PhantomData,
        };
        if ranker.metric().is_some() {
            segment.open_graph(dir, entry, ranker, resident)?;
        }
        segment.forget_checked();
        Ok(segment)
    }

    fn open_graph(
        &mut self,
        dir: &Path,
        entry: &SegmentEntry,
        ranker: &Ranker<T>,
        resident: bool,
    ) -> Result<(), OpenError> {
        let path = graph_path(dir, entry.number);
        let file = Sections::open(&path, GRAPH_KIND)?;
        let meta: GraphMeta = read_meta(&file)?;
        if meta.rows != self.rows || meta.lanes != self.lanes || meta.graph.is_some() != entry.graph
        {
            return Err(damaged(&path, "it is not the graph of the segment's rows"));
        }
        let codec = match (meta.quantisation, ranker.metric()) {
            (Some(quantisation), Some(metric)) => {
                let count = Codec::parameter_count(metric, quantisation);
                let parameters = file.numbers("codec", count)?;
                let codec = Codec::read(metric, quantisation, parameters);
                Some(codec.ok_or_else(|| damaged(&path, "its codec has no figures"))?)
            }
            _ => None,
        };
        let ranking: &[u8] = match &codec {
            Some(codec) => file.numbers("codes", self.rows.saturating_mul(codec.stride()))?,
            None => bytemuck::cast_slice(file.numbers::<T>("ranking", self.rows * self.lanes)?),
        };
        if let Some(shape) = meta.graph {
            let links = LinksView {
                shape,
                base: file.numbers("base", self.rows * shape.base)?,
                first_upper: file.numbers("first", self.rows)?,
                upper: file.numbers("upper", meta.lists * shape.m)?,
                orphans: file.numbers("orphans", meta.orphans)?,
            };
            links.check().map_err(|reason| damaged(&path, reason))?;
        }
        if let (Some(shape), Some(metric)) = (meta.tree, ranker.metric()) {
            let tree = TreeView {
                nodes: file.numbers("nodes", shape.nodes)?,
                volumes: file.numbers("volumes", shape.nodes.saturating_mul(shape.width))?,
                width: shape.width,
            };
            if shape.width != tree::width(metric) {
                return Err(damaged(&path, "its volumes have another width than the space gives"));
            }
            tree.check(self.rows).map_err(|reason| damaged(&path, reason))?;
        }
        if let (Some(shape), Some(metric)) = (meta.inverted, ranker.metric()) {
            if shape.width != tree::width(metric) {
                return Err(damaged(&path, "its volumes have another width than the space gives"));
            }
            let lists = view_lists::<T>(&file, shape, self.lanes)?;
            lists.check(self.rows, self.lanes).map_err(|reason| damaged(&path, reason))?;
        }
        if resident && !ranking.is_empty() {
            self.ranking = Ranking::Resident(copy_resident(ranking).map_err(io_error(&path))?);
        }
        self.codec = codec;
        self.graph_file = Some(file);
        self.graph = Some(meta);
        self.self_test(ranker).map_err(|reason| damaged(&path, reason))
    }
}

fn read_meta<M: for<'a> Deserialize<'a>>(file: &Sections) -> Result<M, OpenError> {
    serde_json::from_slice(file.section("meta"))
        .map_err(|error| damaged(file.path(), format!("meta: {error}")))
}

/// Whether sections fit together, so that rows can be read without surprises.
fn check_rows<T: Lane>(file: &Sections, meta: &RowsMeta) -> Result<(), OpenError> {
    let rows = meta.rows;
    let keys: &[u64] = file.numbers("keys", rows)?;
    let order: &[u32] = file.numbers("bykey", rows)?;
    let ends: &[u64] = file.numbers("idends", rows)?;
    file.numbers::<T>("stored", rows.saturating_mul(meta.stored))?;
    let mut sorted = order.iter().map(|&row| keys.get(row as usize));
    if !sorted.by_ref().is_sorted_by(|a, b| a.is_some() && a < b) {
        return Err(damaged(file.path(), "the order by key is wrong"));
    }
    let ids = file.section("ids");
    if !ends.is_sorted() || ends.last().copied().unwrap_or(0) != ids.len() as u64 {
        return Err(damaged(file.path(), "the positions of ids are wrong"));
    }
    if std::str::from_utf8(ids).is_err() {
        return Err(damaged(file.path(), "ids are not UTF-8"));
    }
    Ok(())
}

/// A copy in anonymous memory, in huge pages where the system has them: random reads of a large
/// matrix otherwise spend most of their time on address translation.
fn copy_resident(bytes: &[u8]) -> io::Result<Mmap> {
    let mut map = MmapMut::map_anon(bytes.len())?;
    // Only a hint: where it is refused, ordinary pages do.
    #[cfg(target_os = "linux")]
    let _ = map.advise(Advice::HugePage);
    map.copy_from_slice(bytes);
    map.make_read_only()
}
