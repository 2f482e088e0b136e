//! An immutable piece of the index: rows on disk, and what makes them fast to search.
//!
//! `segment-N.rows` is what cannot be computed: keys, ids and stored vectors, with an order by key.
//! `segment-N.graph` is what can: ranking rows and the links of a graph, the
//! volumes of a tree, or inverted lists. Both are mapped and checked
//! in full when opened. Keys within a segment are in no order, because rows are laid out so that
//! near ones are neighbours.

use std::{
    borrow::Cow,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use memmap2::{Advice, Mmap, MmapMut};
use serde::{Deserialize, Serialize};

use crate::{
    bits::DeadRows,
    codec::Codec,
    config::Quantisation,
    error::OpenError,
    files::{
        damaged, io_error, manifest::SegmentEntry, publish, remove_if_there, sections::Sections,
        sections::Writer,
    },
    graph::{GraphShape, Links, LinksView, walk::Scratch, walk::Walk},
    lists::{Lists, ListsView},
    metric::{Lane, Metric},
    ranker::{Prepared, Ranker},
    tree::{self, Tree, TreeView, VolumeQuery},
};

pub(crate) const ROWS_KIND: [u8; 4] = *b"ROWS";
pub(crate) const GRAPH_KIND: [u8; 4] = *b"GRPH";
/// Rows that are checked against their vectors, and found by a walk, when a segment is opened.
const SELF_TESTS: usize = 8;
const SELF_TEST_EF: usize = 128;

/// The `meta` section of a rows file.
#[derive(Debug, Serialize, Deserialize)]
struct RowsMeta {
    rows: usize,
    stored: usize,
    precision: String,
}

/// The `meta` section of a graph file.
#[derive(Debug, Serialize, Deserialize)]
struct GraphMeta {
    rows: usize,
    lanes: usize,
    lists: usize,
    orphans: usize,
    /// The largest size of a row per component.
    reach: Vec<f64>,
    graph: Option<GraphShape>,
    /// Since format 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tree: Option<TreeShape>,
    /// Since format 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inverted: Option<ListsShape>,
    /// Since format 2: there are codes instead of ranking rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quantisation: Option<Quantisation>,
}

/// The figures of inverted lists.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct ListsShape {
    count: usize,
    /// Numbers per volume.
    width: usize,
}

/// The figures of a tree.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct TreeShape {
    nodes: usize,
    /// Numbers per volume.
    width: usize,
}

/// What is made of a segment's ranking rows so that searches look at fewer of them.
#[derive(Debug)]
pub(crate) enum Structure<T> {
    /// Nothing: they are scanned.
    None,
    Graph(Links),
    Tree(Tree),
    Lists(Lists<T>),
}

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
    pub(crate) dead: DeadRows,
    lane: std::marker::PhantomData<T>,
}

/// The content of a segment that is about to be written, row by row in its final order.
pub(crate) trait Content<T> {
    fn rows(&self) -> usize;
    fn key(&self, row: usize) -> u64;
    fn id(&self, row: usize) -> &str;
    fn stored(&self, row: usize) -> &[T];
}

pub(crate) fn rows_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("segment-{number}.rows"))
}

pub(crate) fn graph_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("segment-{number}.graph"))
}

/// Removes a segment's files.
pub(crate) fn remove_files(dir: &Path, number: u64) -> io::Result<()> {
    remove_if_there(&rows_path(dir, number))?;
    remove_if_there(&graph_path(dir, number))
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
    let format = if tree.is_some() || lists.is_some() || codec.is_some() { 2 } else { 1 };
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
            dead: DeadRows::none(rows),
            lane: std::marker::PhantomData,
        };
        if ranker.metric().is_some() {
            segment.open_graph(dir, entry, ranker, resident)?;
        }
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
                let parameters = file.numbers("codec", 2 * self.lanes)?;
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

    /// Checks that rows are what this metric makes of their vectors, and that walks find them.
    fn self_test(&self, ranker: &Ranker<T>) -> Result<(), String> {
        let mut scratch = Scratch::default();
        let (mut tried, mut found) = (0, 0);
        for row in (0..self.rows).step_by((self.rows / SELF_TESTS).max(1)).take(SELF_TESTS) {
            let stored: Vec<f64> =
                self.stored(row).unwrap_or_default().iter().map(|lane| lane.to_f64()).collect();
            let Ok(prepared) = ranker.prepare(&stored) else {
                return Err(format!("the vector of row {row} does not lie on the space"));
            };
            let Prepared::Metric(query) = &prepared else { return Ok(()) };
            let start = row * self.lanes;
            let is_same = if let Some((codec, codes)) = self.codes() {
                let (start, mut code) = (row * codec.stride(), Vec::new());
                codec.encode(&query.row, &mut code);
                codes.get(start..start + codec.stride()) == Some(code.as_slice())
            } else {
                self.ranking().get(start..start + self.lanes) == Some(query.row.as_slice())
            };
            if !is_same {
                return Err(format!("row {row} was made by another metric"));
            }
            if let (Some(tree), Some(metric)) = (self.tree(), ranker.metric()) {
                self_test_tree(tree, metric, row, query.stored())?;
            }
            let Some(mut walk) = self.walk(ranker, &query.row) else { continue };
            tried += 1;
            let mut decoded = Vec::new();
            if let Some((codec, codes)) = self.codes() {
                let code = codes.get(row * codec.stride()..(row + 1) * codec.stride());
                codec.decode(code.unwrap_or_default(), &mut decoded);
            }
            let itself = if decoded.is_empty() { &query.row } else { &decoded };
            let own = ranker.metric().map(|metric| metric.kernel().pair(&query.row, itself));
            if walk.nearest(SELF_TEST_EF.min(self.rows), None, &mut scratch).is_ok()
                && scratch.found().next().map(|(rank, _)| rank) <= own
            {
                found += 1;
            }
        }
        // A graph may miss a row now and then; half of them it does not.
        if found * 2 < tried {
            return Err(format!("walks found {found} of {tried} rows themselves"));
        }
        Ok(())
    }

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
            codes: self.codes(),
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

/// Checks that the volumes that should hold a row do.
fn self_test_tree<T: Lane>(
    tree: TreeView<'_>,
    metric: &Metric<T>,
    row: usize,
    stored: &[f64],
) -> Result<(), String> {
    let query = VolumeQuery::of(metric, stored);
    let leaf = u32::try_from(row).ok().and_then(|row| tree.leaf_of(row));
    let (Some(query), Some(leaf)) = (query, leaf) else {
        return Err(format!("the tree has no leaf for row {row}"));
    };
    for number in [0, leaf] {
        let least = query.at_least(tree.volume(number));
        if least > 0.0 {
            return Err(format!("row {row} lies {least} outside its volume"));
        }
    }
    Ok(())
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
