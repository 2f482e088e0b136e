//! An immutable piece of the index: rows on disk, and what makes them fast to search.
//!
//! `segment-N.rows` is what cannot be computed: keys, ids and stored vectors, with an order by key.
//! `segment-N.graph` is what can: ranking rows and the links of a graph, the
//! volumes of a tree, or inverted lists. Both are mapped and checked
//! in full when opened. Keys within a segment are in no order, because rows are laid out so that
//! near ones are neighbours.

mod layout;
mod open;
mod self_test;
mod write;

use std::{borrow::Cow, ops::Range};

use memmap2::Mmap;

use self::layout::{GraphMeta, ListsShape};
pub(crate) use self::{
    layout::{graph_path, remove_files, rows_path},
    write::{Content, Structure, write_graph, write_rows},
};
use crate::{
    bits::DeadRows,
    codec::Codec,
    config::Quantisation,
    error::OpenError,
    files::{manifest::SegmentEntry, sections::Sections},
    graph::{LinksView, walk::Walk},
    lists::ListsView,
    metric::Lane,
    ranker::Ranker,
    tree::TreeView,
};

/// Where a segment's ranking rows are.
enum Ranking {
    Mapped,
    Resident(Mmap),
}

/// An opened segment.
pub(crate) struct Segment<T> {
    pub(crate) number: u64,
    rows: usize,
    stored_len: usize,
    lanes: usize,
    rows_file: Sections,
    graph_file: Option<Sections>,
    graph: Option<GraphMeta>,
    codec: Option<Codec>,
    ranking: Ranking,
    /// Whether memory of the process goes before the time of a search.
    frugal: bool,
    pub(crate) dead: DeadRows,
    lane: std::marker::PhantomData<T>,
}

impl<T: Lane> Segment<T> {
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn live(&self) -> usize {
        self.rows - self.dead.count().min(self.rows)
    }

    pub(crate) fn has_graph(&self) -> bool {
        self.graph.as_ref().is_some_and(|meta| meta.graph.is_some())
    }

    /// The largest size of a row per component.
    pub(crate) fn reach(&self) -> &[f64] {
        self.graph.as_ref().map_or(&[], |meta| meta.reach.as_slice())
    }

    /// Codes in place of ranking rows, where they are quantised.
    pub(crate) fn codes(&self) -> Option<(&Codec, &[u8])> {
        let codec = self.codec.as_ref()?;
        let bytes = self.rows * codec.stride();
        let codes = match &self.ranking {
            Ranking::Resident(map) => map.get(..bytes)?,
            Ranking::Mapped => self.graph_file.as_ref()?.numbers("codes", bytes).ok()?,
        };
        Some((codec, codes))
    }

    /// How ranking rows are coded.
    pub(crate) fn quantisation(&self) -> Quantisation {
        self.codec.as_ref().map_or(Quantisation::None, Codec::quantisation)
    }

    /// Ranking rows as vectors give them, whatever is stored.
    pub(crate) fn full_ranking(&self, ranker: &Ranker<T>) -> Cow<'_, [T]> {
        if self.codec.is_none() {
            return Cow::Borrowed(self.ranking());
        }
        let mut rows = Vec::with_capacity(self.rows * self.lanes);
        self.encode_rows(ranker, 0..self.rows, &mut rows);
        Cow::Owned(rows)
    }

    /// Appends the ranking rows of some vectors.
    pub(crate) fn encode_rows(&self, ranker: &Ranker<T>, rows: Range<usize>, matrix: &mut Vec<T>) {
        let mut wide = Vec::with_capacity(self.stored_len);
        for row in rows {
            let end = matrix.len() + self.lanes;
            wide.clear();
            wide.extend(self.stored(row).unwrap_or_default().iter().map(|lane| lane.to_f64()));
            if ranker.encode(&wide, matrix).is_err() {
                // It was encoded when it was inserted.
                matrix.resize(end, T::ZERO);
            }
        }
    }

    /// Ranking rows, one after the other; empty when the space has none, or they are quantised.
    pub(crate) fn ranking(&self) -> &[T] {
        if self.codec.is_some() {
            return &[];
        }
        if let Ranking::Resident(map) = &self.ranking {
            return bytemuck::try_cast_slice(map)
                .ok()
                .and_then(|rows: &[T]| rows.get(..self.rows * self.lanes))
                .unwrap_or_default();
        }
        self.graph_file
            .as_ref()
            .and_then(|file| file.numbers("ranking", self.rows * self.lanes).ok())
            .unwrap_or_default()
    }

    /// The graph, when there is one.
    pub(crate) fn links(&self) -> Option<LinksView<'_>> {
        let (file, meta) = (self.graph_file.as_ref()?, self.graph.as_ref()?);
        let shape = meta.graph?;
        Some(LinksView {
            shape,
            base: file.numbers("base", self.rows * shape.base).ok()?,
            first_upper: file.numbers("first", self.rows).ok()?,
            upper: file.numbers("upper", meta.lists * shape.m).ok()?,
            orphans: file.numbers("orphans", meta.orphans).ok()?,
        })
    }

    /// The tree, when there is one.
    pub(crate) fn tree(&self) -> Option<TreeView<'_>> {
        let (file, meta) = (self.graph_file.as_ref()?, self.graph.as_ref()?);
        let shape = meta.tree?;
        Some(TreeView {
            nodes: file.numbers("nodes", shape.nodes).ok()?,
            volumes: file.numbers("volumes", shape.nodes * shape.width).ok()?,
            width: shape.width,
        })
    }

    /// The inverted lists, when there are any.
    pub(crate) fn lists(&self) -> Option<ListsView<'_, T>> {
        let (file, meta) = (self.graph_file.as_ref()?, self.graph.as_ref()?);
        view_lists(file, meta.inverted?, self.lanes).ok()
    }

    /// Whether a search can do without looking at every row.
    pub(crate) fn is_organised(&self) -> bool {
        self.has_graph() || self.tree().is_some() || self.lists().is_some()
    }

    /// A walk of the graph for a query row, when there is a graph.
    pub(crate) fn walk<'a>(&'a self, ranker: &'a Ranker<T>, query: &'a [T]) -> Option<Walk<'a, T>> {
        Some(Walk {
            links: self.links()?,
            rows: self.ranking(),
            codes: self.codes().map(|(codec, codes)| (codec.query(query), codes)),
            kernel: ranker.metric()?.kernel(),
            query,
            deadline: None,
            computed: 0,
        })
    }

    pub(crate) fn keys(&self) -> &[u64] {
        self.rows_file.numbers("keys", self.rows).unwrap_or_default()
    }

    pub(crate) fn key(&self, row: usize) -> Option<u64> {
        self.keys().get(row).copied()
    }

    pub(crate) fn id(&self, row: usize) -> Option<&str> {
        let ends: &[u64] = self.rows_file.numbers("idends", self.rows).ok()?;
        let start = match row.checked_sub(1) {
            Some(before) => *ends.get(before)?,
            None => 0,
        };
        let range = usize::try_from(start).ok()?..usize::try_from(*ends.get(row)?).ok()?;
        std::str::from_utf8(self.rows_file.section("ids").get(range)?).ok()
    }

    /// All stored vectors, one after the other.
    pub(crate) fn all_stored(&self) -> &[T] {
        self.rows_file.numbers("stored", self.rows * self.stored_len).unwrap_or_default()
    }

    pub(crate) fn stored(&self, row: usize) -> Option<&[T]> {
        let start = row.checked_mul(self.stored_len)?;
        self.all_stored().get(start..start + self.stored_len)
    }

    /// Looks at a stored vector, one of few that lie far apart. Reading one through the mapping
    /// would bring its surroundings, tens of kilobytes, into the process.
    pub(crate) fn with_stored<R>(&self, row: usize, look: impl FnOnce(&[T]) -> R) -> Option<R> {
        if self.frugal && row < self.rows {
            let mut copy = vec![T::ZERO; self.stored_len];
            let offset = row.checked_mul(self.stored_len * size_of::<T>())?;
            let bytes = bytemuck::cast_slice_mut(&mut copy);
            if self.rows_file.copy("stored", offset, bytes).is_some() {
                return Some(look(&copy));
            }
        }
        self.stored(row).map(look)
    }

    /// Lets go of what only the checks of opening have read.
    fn forget_checked(&self) {
        if self.frugal {
            self.rows_file.forget(None);
        }
        if let Some(file) = &self.graph_file {
            match self.ranking {
                // Searches read the copy.
                Ranking::Resident(_) if self.codec.is_some() => file.forget(Some("codes")),
                Ranking::Resident(_) => file.forget(Some("ranking")),
                Ranking::Mapped if self.frugal => file.forget(None),
                Ranking::Mapped => {}
            }
        }
    }

    /// Rows in the order of their keys.
    pub(crate) fn by_key(&self) -> &[u32] {
        self.rows_file.numbers("bykey", self.rows).unwrap_or_default()
    }

    /// The row of a key.
    pub(crate) fn find(&self, key: u64) -> Option<usize> {
        let (order, keys) = (self.by_key(), self.keys());
        let position = order
            .binary_search_by(|&row| keys.get(row as usize).copied().unwrap_or(0).cmp(&key))
            .ok()?;
        order.get(position).map(|&row| row as usize)
    }

    pub(crate) fn bytes_vectors(&self) -> u64 {
        (self.rows * self.stored_len * size_of::<T>()) as u64
    }

    pub(crate) fn bytes_graph(&self) -> u64 {
        self.graph_file.as_ref().map_or(0, |file| file.len() as u64)
    }

    pub(crate) fn bytes_ranking(&self) -> u64 {
        let row = self.codec.as_ref().map_or(self.lanes * size_of::<T>(), Codec::stride);
        (self.rows * row) as u64
    }

    pub(crate) fn bytes_ids(&self) -> u64 {
        (self.rows_file.section("ids").len() + self.rows_file.section("idends").len()) as u64
    }

    pub(crate) fn bytes_anonymous(&self) -> u64 {
        let resident = match &self.ranking {
            Ranking::Resident(map) => map.len() as u64,
            Ranking::Mapped => 0,
        };
        resident + self.rows as u64 / 8
    }

    pub(crate) fn entry(&self) -> SegmentEntry {
        SegmentEntry { number: self.number, rows: self.rows as u64, graph: self.has_graph() }
    }
}

fn view_lists<T: Lane>(
    file: &Sections,
    shape: ListsShape,
    lanes: usize,
) -> Result<ListsView<'_, T>, OpenError> {
    Ok(ListsView {
        centres: file.numbers("centres", shape.count.saturating_mul(lanes))?,
        starts: file.numbers("starts", shape.count.saturating_add(1))?,
        volumes: file.numbers("volumes", shape.count.saturating_mul(shape.width))?,
        width: shape.width,
    })
}
