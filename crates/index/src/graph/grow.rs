//! Building graphs, on several threads.
//!
//! Rows are linked in batches. Of each row of a batch the neighbours are looked for in the graph as
//! it was before the batch, and among the earlier rows of the batch, which are all compared. That
//! changes nothing, so threads share it. Then the rows are added, and the lists of their neighbours
//! get links back, each list by one thread. So the graph is the same however many threads there
//! are, and no row is lost between two of them.
//!
//! Neighbours are found and chosen as in HNSW (Malkov and Yashunin, "Efficient and robust
//! approximate nearest neighbor search using Hierarchical Navigable Small World graphs", 2018,
//! algorithms 1, 2 and 4).

use std::num::NonZero;

use super::{
    GraphShape, Links, LinksView, NONE, choose,
    share::share,
    walk::{Scratch, Seen, Walk},
};
use crate::{
    metric::{Lane, Metric},
    random::Random,
};

/// Rows linked at once. Each is compared with all earlier ones of its batch, which costs little
/// beside looking for neighbours in the graph.
const BATCH: usize = 256;
/// Lists that a thread takes at once.
const LISTS: usize = 16;
/// The highest layer: with lists of two links, one row in 65,536 is on it.
const TOP: usize = 16;

/// A graph under construction.
pub(crate) struct Builder<'a, T> {
    metric: &'a Metric<T>,
    /// Ranking rows of the whole graph, of which the first ones are linked.
    rows: &'a [T],
    ef_construction: usize,
    links: Links,
    /// One for each thread.
    scratches: Vec<Scratch<T>>,
}

/// The chosen neighbours of a row on each of its layers, the base first.
type Neighbours<T> = Vec<Vec<Seen<T>>>;

/// A link back to a new row.
#[derive(Clone, Copy)]
struct Back<T> {
    layer: usize,
    from: u32,
    to: Seen<T>,
}

impl<'a, T: Lane> Builder<'a, T> {
    /// For the ranking rows of a matrix, of which none are linked. A row has up to `m` links on the
    /// upper layers and twice as many on the base.
    pub(crate) fn new(
        metric: &'a Metric<T>,
        rows: &'a [T],
        m: usize,
        ef_construction: usize,
        threads: NonZero<usize>,
    ) -> Self {
        let shape = GraphShape { m, base: 2 * m, entry: 0, top: 0 };
        let links = Links { shape, ..Links::default() };
        Self::with(metric, rows, links, ef_construction, threads)
    }

    /// For the ranking rows of a matrix, of which the first ones are linked already.
    pub(crate) fn resume(
        metric: &'a Metric<T>,
        rows: &'a [T],
        linked: LinksView<'_>,
        ef_construction: usize,
        threads: NonZero<usize>,
    ) -> Self {
        let links = Links {
            shape: linked.shape,
            base: linked.base.to_vec(),
            first_upper: linked.first_upper.to_vec(),
            upper: linked.upper.to_vec(),
            // Which rows no walk finds is looked for anew.
            orphans: Vec::new(),
        };
        Self::with(metric, rows, links, ef_construction, threads)
    }

    fn with(
        metric: &'a Metric<T>,
        rows: &'a [T],
        links: Links,
        ef_construction: usize,
        threads: NonZero<usize>,
    ) -> Self {
        let scratches = (0..threads.get()).map(|_| Scratch::default()).collect();
        Self { metric, rows, ef_construction: ef_construction.max(1), links, scratches }
    }

    /// Links all rows; `None` once `stop` says so.
    pub(crate) fn build(mut self, stop: &dyn Fn() -> bool) -> Option<Links> {
        let count = self.rows.len() / self.metric.lanes().max(1);
        while self.linked() < count {
            if stop() {
                return None;
            }
            self.add(BATCH.min(count - self.linked()));
        }
        Some(self.links)
    }

    fn linked(&self) -> usize {
        self.links.first_upper.len()
    }

    /// Links the next rows.
    fn add(&mut self, count: usize) {
        let first = self.linked();
        let mut scratches = std::mem::take(&mut self.scratches);
        let found = share(&mut scratches, count, &|at, scratch: &mut Scratch<T>| {
            self.neighbours(first, first + at, scratch)
        });
        let mut backs = Vec::new();
        for (row, neighbours) in (first..).zip(&found) {
            let row = number(row);
            for (layer, list) in neighbours.iter().enumerate() {
                backs.extend(list.iter().map(|seen| Back {
                    layer,
                    from: seen.slot,
                    to: Seen { rank: seen.rank, slot: row },
                }));
            }
            self.append(neighbours);
            let level = neighbours.len().saturating_sub(1);
            if row == 0 || level > self.links.shape.top {
                (self.links.shape.top, self.links.shape.entry) = (level, row);
            }
        }
        backs.sort_unstable_by_key(|back| (back.layer, back.from, back.to.slot));
        let lists: Vec<&[Back<T>]> = backs
            .chunk_by(|one, other| (one.layer, one.from) == (other.layer, other.from))
            .collect();
        let parts: Vec<&[&[Back<T>]]> = lists.chunks(LISTS).collect();
        let changed = share(&mut scratches, parts.len(), &|at, scratch: &mut Scratch<T>| {
            let part = parts.get(at).copied().unwrap_or_default();
            part.iter().map(|list| self.linked_back(list, scratch)).collect::<Vec<_>>()
        });
        for (list, links) in lists.iter().zip(changed.into_iter().flatten()) {
            if let Some(back) = list.first()
                && let Some(old) = self.links.list_mut(back.from, back.layer)
            {
                old.fill(NONE);
                old.iter_mut().zip(links).for_each(|(old, new)| *old = new);
            }
        }
        self.scratches = scratches;
    }

    /// The neighbours of a row, chosen from the graph and from the rows from `first` on, up to it.
    fn neighbours(&self, first: usize, row: usize, scratch: &mut Scratch<T>) -> Neighbours<T> {
        let (lanes, kernel) = (self.metric.lanes(), self.metric.kernel());
        let own = self.rows.get(row * lanes..(row + 1) * lanes).unwrap_or_default();
        let level = self.level(row);
        let mut found: Neighbours<T> = vec![Vec::new(); level + 1];
        if first > 0 {
            let mut walk = Walk {
                links: self.links.view(),
                rows: self.rows,
                codes: None,
                kernel,
                query: own,
                deadline: None,
                computed: 0,
            };
            walk.nearest_on_layers(self.ef_construction, scratch, &mut found);
        }
        kernel.scan(
            own,
            self.rows.get(first * lanes..row * lanes).unwrap_or_default(),
            &mut scratch.ranks,
        );
        let base = found.first();
        let is_full = base.is_some_and(|base| base.len() >= self.ef_construction);
        let worst = base.and_then(|base| base.last()).filter(|_| is_full).map(|seen| seen.rank);
        for (other, &rank) in (first..).zip(&scratch.ranks) {
            let both = level.min(self.level(other));
            // Rows of upper layers are few, and too far away for the base only.
            if both == 0 && worst.is_some_and(|worst| rank >= worst) {
                continue;
            }
            for list in found.iter_mut().take(both + 1) {
                list.push(Seen { rank, slot: number(other) });
            }
        }
        let m = self.links.shape.m;
        for list in &mut found {
            choose::sort(list);
            list.truncate(self.ef_construction);
            choose::choose(kernel, self.rows, lanes, list, m);
        }
        found
    }

    /// The highest layer of a row: each has one row in `m` of the layer below.
    fn level(&self, row: usize) -> usize {
        let mut random = Random((row as u64).wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0x1E_4E15);
        let one_in = self.links.shape.m.max(2);
        (0..TOP).take_while(|_| random.below(one_in) == 0).count()
    }

    /// Adds a row with its lists.
    fn append(&mut self, neighbours: &[Vec<Seen<T>>]) {
        let Links { shape, base, first_upper, upper, .. } = &mut self.links;
        let lists = upper.len() / shape.m.max(1);
        first_upper.push(if neighbours.len() > 1 { number(lists) } else { NONE });
        for (layer, list) in neighbours.iter().enumerate() {
            let (links, width) =
                if layer == 0 { (&mut *base, shape.base) } else { (&mut *upper, shape.m) };
            let room = width.saturating_sub(list.len());
            links.extend(list.iter().map(|seen| seen.slot).take(width));
            links.extend(std::iter::repeat_n(NONE, room));
        }
    }

    /// The list of a row with links to new ones, chosen anew where they are too many.
    fn linked_back(&self, backs: &[Back<T>], scratch: &mut Scratch<T>) -> Vec<u32> {
        let Some(&Back { layer, from, .. }) = backs.first() else { return Vec::new() };
        let view = self.links.view();
        let list = view.list_of(from, layer);
        let had = list.iter().take_while(|&&link| link != NONE).count();
        let mut links: Vec<u32> = list.iter().copied().take(had).collect();
        if had + backs.len() <= list.len() {
            links.extend(backs.iter().map(|back| back.to.slot));
            return links;
        }
        let (lanes, kernel) = (self.metric.lanes(), self.metric.kernel());
        let start = from as usize * lanes;
        let own = self.rows.get(start..start + lanes).unwrap_or_default();
        kernel.gather(own, self.rows, &links, &mut scratch.ranks);
        let mut seen: Vec<Seen<T>> = links
            .iter()
            .zip(&scratch.ranks)
            .map(|(&slot, &rank)| Seen { rank, slot })
            .chain(backs.iter().map(|back| back.to))
            .collect();
        choose::sort(&mut seen);
        choose::choose(kernel, self.rows, lanes, &mut seen, list.len());
        seen.iter().map(|seen| seen.slot).collect()
    }
}

/// A row's number as links have it. Graphs have at most [`super::MAX_ROWS`] rows.
fn number(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(NONE)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hvs_geometry::{Precision, Space};

    use super::*;
    use crate::points::{Random as Points, metric_spaces, rounded};

    const ROWS: usize = 3_000;
    const K: usize = 10;

    fn threads(count: usize) -> NonZero<usize> {
        NonZero::new(count).unwrap()
    }

    fn never() -> bool {
        false
    }

    /// Ranking rows of random points.
    fn ranking(metric: &Metric<f32>, space: &Space, count: usize) -> Vec<f32> {
        let mut random = Points(9);
        let mut rows = Vec::new();
        for _ in 0..count {
            let stored = rounded(&random.stored(space, 2.0), Precision::F32);
            metric.encode(&stored, &mut rows).unwrap();
        }
        rows
    }

    /// What a walk finds from a row's own place, and what is nearest.
    fn found(
        metric: &Metric<f32>,
        rows: &[f32],
        links: &Links,
        row: usize,
    ) -> (Vec<u32>, Vec<u32>) {
        let lanes = metric.lanes();
        let query = &rows[row * lanes..(row + 1) * lanes];
        let mut scratch = Scratch::default();
        let mut walk = Walk {
            links: links.view(),
            rows,
            codes: None,
            kernel: metric.kernel(),
            query,
            deadline: None,
            computed: 0,
        };
        walk.nearest(64, None, &mut scratch).unwrap();
        let mut ranks = Vec::new();
        metric.kernel().scan(query, rows, &mut ranks);
        let mut all: Vec<u32> = (0..number(ranks.len())).collect();
        all.sort_by(|a, b| ranks[*a as usize].total_cmp(&ranks[*b as usize]).then(a.cmp(b)));
        (scratch.found().take(K).map(|(_, slot)| slot).collect(), all[..K].to_vec())
    }

    fn recall(metric: &Metric<f32>, rows: &[f32], links: &Links) -> f64 {
        let count = rows.len() / metric.lanes();
        let (mut hits, mut wanted) = (0, 0);
        for row in (0..count).step_by(count / 100) {
            let (found, truth) = found(metric, rows, links, row);
            hits += found.iter().filter(|slot| truth.contains(slot)).count();
            wanted += truth.len();
        }
        hits as f64 / wanted as f64
    }

    /// The share of rows with a link to the row that is nearest to them: it is the first to be
    /// chosen, whoever of the two came later.
    fn nearest_linked(metric: &Metric<f32>, rows: &[f32], links: &Links) -> f64 {
        let count = rows.len() / metric.lanes();
        let looked: Vec<usize> = (0..count).step_by(10).collect();
        let is_linked = |row: &&usize| {
            let (_, truth) = found(metric, rows, links, **row);
            links.view().base_of(number(**row)).contains(&truth[1])
        };
        looked.iter().filter(is_linked).count() as f64 / looked.len() as f64
    }

    #[test]
    fn a_graph_is_the_same_however_many_build_it_and_finds_what_is_near() {
        for space in metric_spaces() {
            let metric = Metric::<f32>::of(&space).unwrap();
            let rows = ranking(&metric, &space, ROWS);
            let build = |count| Builder::new(&metric, &rows, 16, 128, threads(count)).build(&never);
            let links = build(1).unwrap();
            assert_eq!(links, build(3).unwrap(), "{space}");
            links.view().check().unwrap();
            assert_eq!(links.view().rows(), ROWS);
            for row in 0..number(ROWS) {
                for layer in 0..=links.view().levels_of(row) {
                    let list = links.view().list_of(row, layer);
                    let list: Vec<u32> = list.iter().copied().take_while(|l| *l != NONE).collect();
                    let distinct: BTreeSet<u32> = list.iter().copied().collect();
                    assert_eq!(distinct.len(), list.len(), "{space}: a link twice");
                    assert!(!distinct.contains(&row), "{space}: a link to itself");
                    let is_there = |other: &u32| links.view().levels_of(*other) >= layer;
                    assert!(list.iter().all(is_there), "{space}: a link to a lower layer");
                }
            }
            let top = links.view().levels_of(links.shape.entry);
            assert_eq!(top, links.shape.top);
            let recall = recall(&metric, &rows, &links);
            assert!(recall > 0.95, "{space}: {recall}");
            let close = nearest_linked(&metric, &rows, &links);
            assert!(close > 0.9, "{space}: {close}");
        }
    }

    #[test]
    fn a_graph_is_added_to() {
        for space in metric_spaces() {
            let metric = Metric::<f32>::of(&space).unwrap();
            let rows = ranking(&metric, &space, ROWS);
            let half = &rows[..ROWS / 2 * metric.lanes()];
            let links = Builder::new(&metric, half, 16, 64, threads(2)).build(&never).unwrap();
            let added = Builder::resume(&metric, &rows, links.view(), 64, threads(2));
            let added = added.build(&never).unwrap();
            added.view().check().unwrap();
            assert_eq!(added.view().rows(), ROWS);
            let recall = recall(&metric, &rows, &added);
            assert!(recall > 0.95, "{space}: {recall}");
        }
    }

    #[test]
    fn nothing_and_little_can_be_built_and_a_build_can_be_stopped() {
        let space = &metric_spaces()[0];
        let metric = Metric::<f32>::of(space).unwrap();
        for count in [0, 1, 2, 300] {
            let rows = ranking(&metric, space, count);
            let links = Builder::new(&metric, &rows, 8, 64, threads(2)).build(&never).unwrap();
            links.view().check().unwrap();
            assert_eq!(links.view().rows(), count);
            if count >= K {
                assert_eq!(found(&metric, &rows, &links, 0).0[0], 0);
            }
        }
        let rows = ranking(&metric, space, 300);
        assert!(Builder::new(&metric, &rows, 8, 64, threads(2)).build(&|| true).is_none());
    }
}
