//! Inverted lists: rows grouped by the centre that they are nearest to.
//!
//! Rows are laid out list by list, so that each list stands for consecutive ones. A search ranks
//! the centres, and compares the rows of the nearest lists only. Each list also has a volume that
//! holds its rows, which tells what a radius cannot reach.

mod centres;
#[cfg(test)]
mod tests;

use self::centres::Clustering;
use crate::{
    metric::{Lane, Metric},
    random::Random,
    tree::{VolumeQuery, volume},
};

/// Rows per list, the square root of all, where the configuration names no number.
pub(crate) fn automatic_lists(rows: usize) -> usize {
    rows.isqrt().max(1)
}

/// Lists in memory, while they are being built.
#[derive(Debug, Default)]
pub(crate) struct Lists<T> {
    /// One ranking row per list.
    pub(crate) centres: Vec<T>,
    /// Where each list begins, and where the last one ends.
    pub(crate) starts: Vec<u32>,
    /// `tree::width` numbers per list.
    pub(crate) volumes: Vec<f64>,
}

/// Lists as files hold them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListsView<'a, T> {
    pub(crate) centres: &'a [T],
    pub(crate) starts: &'a [u32],
    pub(crate) volumes: &'a [f64],
    pub(crate) width: usize,
}

impl<T: Lane> ListsView<'_, T> {
    pub(crate) fn count(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The rows of a list.
    pub(crate) fn rows(&self, list: usize) -> std::ops::Range<usize> {
        let bound = |at: usize| self.starts.get(at).map_or(0, |&row| row as usize);
        bound(list)..bound(list + 1)
    }

    /// How far a list is at least, as a measure.
    pub(crate) fn least(&self, query: &VolumeQuery, list: usize) -> f64 {
        let start = list * self.width;
        self.volumes.get(start..start + self.width).map_or(0.0, |volume| query.least(volume))
    }

    /// Whether the lists cover `rows` rows and have a centre and a volume each.
    pub(crate) fn check(&self, rows: usize, lanes: usize) -> Result<(), String> {
        let count = self.count();
        if self.centres.len() != count * lanes || self.volumes.len() != count * self.width {
            return Err("its centres or volumes have another length than its lists".into());
        }
        let ends = (self.starts.first(), self.starts.last());
        let (first, last) = (ends.0.copied(), ends.1.map(|&row| row as usize));
        if first != Some(0) || last != Some(rows) || !self.starts.is_sorted() {
            return Err("its lists do not hold the rows that they should".into());
        }
        if self.volumes.iter().any(|figure| !figure.is_finite())
            || self.centres.iter().any(|lane| !lane.to_f64().is_finite())
        {
            return Err("a centre or a volume is not finite".into());
        }
        Ok(())
    }
}

/// The order in which rows are to be laid out, and `count` lists over them in that order. `stored`
/// gives the vector of a row in the order that `ranking` has now. `None` if a vector lies off its
/// space, or `stop` asks to give up.
pub(crate) fn build<'a, T: Lane>(
    metric: &Metric<T>,
    count: usize,
    ranking: &[T],
    stored: &dyn Fn(usize) -> &'a [T],
    stop: &dyn Fn() -> bool,
) -> Option<(Vec<u32>, Lists<T>)> {
    let lanes = metric.lanes().max(1);
    let rows = ranking.len() / lanes;
    let clustering = Clustering { metric, ranking, stored, stop };
    let centres = clustering.centres(count.clamp(1, rows.max(1)), &mut Random(0x5EED))?;
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); centres.len() / lanes];
    let mut keys = Vec::new();
    for (row, own) in (0_u32..).zip(ranking.chunks_exact(lanes)) {
        if row % 1_024 == 0 && stop() {
            return None;
        }
        let (nearest, _) = centres::nearest(metric, own, &centres, &mut keys);
        members.get_mut(nearest)?.push(row);
    }
    let mut order = Vec::with_capacity(rows);
    let mut lists = Lists { centres: Vec::new(), starts: vec![0], volumes: Vec::new() };
    // A centre that no row is nearest to has no list.
    for (list, centre) in members.iter().zip(centres.chunks_exact(lanes)) {
        if list.is_empty() {
            continue;
        }
        if stop() {
            return None;
        }
        order.extend_from_slice(list);
        lists.centres.extend_from_slice(centre);
        lists.starts.push(u32::try_from(order.len()).ok()?);
        let wide = std::cell::RefCell::new(Vec::new());
        volume::enclose(
            metric,
            4,
            &|look| {
                let mut wide = wide.borrow_mut();
                for &row in list {
                    wide.clear();
                    wide.extend(stored(row as usize).iter().map(|lane| lane.to_f64()));
                    look(wide.as_slice());
                }
            },
            &mut lists.volumes,
        )?;
    }
    Some((order, lists))
}
