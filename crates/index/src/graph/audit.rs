//! Making sure that a walk finds every row.
//!
//! That a path of links leads to a row ([`super::repair()`]) is not enough: a walk follows the links
//! of the nearest rows that it knows, and stops when none of these leads nearer. Where groups of
//! rows lie apart, it can come to the wrong one first and stay there, because the rows that would
//! lead on are not among the nearest any more. So each row is looked for from its own place, and
//! where the walk ends elsewhere a link is added there: the same walk then takes it, and so do
//! those that look for what lies around the row.

use std::{num::NonZero, thread};

use super::{
    Links, NONE,
    share::give_way,
    walk::{Scratch, Walk},
};
use crate::metric::{Lane, kernel::Kernel};

/// Most rows are found with so few candidates. What is found with few is found with more, because
/// a walk with more follows the same rows, and then others.
const FEW: usize = 8;
/// A row must be found with one in so many of the candidates that searches have, so that what is
/// linked later, which can lead a walk astray, seldom loses it again.
const SPARE: usize = 2;
/// How often the rows that were not found with few candidates are looked for. The first time finds
/// nearly all, and links the others.
const PASSES: usize = 8;
/// Rows looked for between two looks at whether to stop.
const LOOK_EVERY: usize = 1_024;

/// What was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Audit {
    /// Rows that were not found at first.
    pub(crate) lost: usize,
    /// Rows that are still not found.
    pub(crate) left: usize,
}

/// A graph whose rows are looked for.
pub(crate) struct Auditor<'a, T> {
    pub(crate) kernel: &'a dyn Kernel<T>,
    /// The ranking rows of the graph.
    pub(crate) rows: &'a [T],
    /// Numbers in a row.
    pub(crate) lanes: usize,
    /// Candidates that a search has.
    pub(crate) ef: usize,
    /// Threads that look for rows. However many they are, the graph becomes the same.
    pub(crate) threads: NonZero<usize>,
}

impl<T: Lane> Auditor<'_, T> {
    /// Looks for every row that `wanted` names, and links those that are not found. Where no row
    /// has room for such a link, the lost row becomes one that every walk starts from. `None` once
    /// `stop` says so.
    pub(crate) fn audit(
        &self,
        links: &mut Links,
        wanted: &dyn Fn(u32) -> bool,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Option<Audit> {
        let count = u32::try_from(links.first_upper.len()).unwrap_or(u32::MAX);
        let mut scratch = Scratch::default();
        let mut done = Audit::default();
        let mut doubtful: Vec<u32> = (0..count).filter(|&row| wanted(row)).collect();
        for pass in 0..PASSES {
            let hard = self.not_found_with_few(links, &doubtful, stop)?;
            let mut lost = 0;
            for (looked, &row) in hard.iter().enumerate() {
                if looked.is_multiple_of(LOOK_EVERY) && stop() {
                    return None;
                }
                if !self.finds(links, row, self.ef / SPARE, &mut scratch) {
                    lost += 1;
                    attach(links, &scratch, row);
                }
            }
            if pass == 0 {
                done.lost = lost;
            }
            done.left = lost;
            doubtful = hard;
            if lost == 0 {
                break;
            }
        }
        Some(done)
    }

    /// Those of the rows that walks with few candidates do not find, in the same order. This is
    /// most of the work and changes nothing, so threads share it.
    fn not_found_with_few(
        &self,
        links: &Links,
        rows: &[u32],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Option<Vec<u32>> {
        let look = |part: &[u32]| {
            let mut scratch = Scratch::default();
            let mut hard = Vec::new();
            for (looked, &row) in part.iter().enumerate() {
                if looked.is_multiple_of(LOOK_EVERY) && stop() {
                    return None;
                }
                if !self.finds(links, row, FEW, &mut scratch) {
                    hard.push(row);
                }
            }
            Some(hard)
        };
        let share = rows.len().div_ceil(self.threads.get()).max(LOOK_EVERY);
        let mut parts = rows.chunks(share);
        let own = parts.next().unwrap_or_default();
        thread::scope(|scope| {
            let others: Vec<_> = parts
                .map(|part| {
                    let helper = thread::Builder::new().name("hvs-index-audit".to_owned());
                    // Without a thread for it, a part is looked at here.
                    let helped = move || {
                        give_way();
                        look(part)
                    };
                    (part, helper.spawn_scoped(scope, helped).ok())
                })
                .collect();
            let mut hard = look(own)?;
            for (part, helper) in others {
                hard.extend(match helper.map(thread::ScopedJoinHandle::join) {
                    Some(Ok(found)) => found,
                    None | Some(Err(_)) => look(part),
                }?);
            }
            Some(hard)
        })
    }

    /// Whether a walk finds a row, or one that is as near; leaves the walk in the scratch.
    fn finds(&self, links: &Links, row: u32, ef: usize, scratch: &mut Scratch<T>) -> bool {
        let start = row as usize * self.lanes;
        let Some(own) = self.rows.get(start..start + self.lanes) else { return true };
        let mut walk = Walk {
            links: links.view(),
            rows: self.rows,
            codes: None,
            kernel: self.kernel,
            query: own,
            deadline: None,
            computed: 0,
        };
        // Without a deadline no walk fails.
        let _ = walk.nearest(ef.max(1), None, scratch);
        let as_near = self.kernel.pair(own, own);
        scratch.found().next().is_some_and(|(rank, found)| found == row || rank <= as_near)
    }
}

/// Adds a link to `row` from the nearest row that the last walk found and that has room.
fn attach<T: Lane>(links: &mut Links, scratch: &Scratch<T>, row: u32) {
    let width = links.shape.base;
    let is_linked = scratch.found().any(|(_, end)| {
        let start = end as usize * width;
        let list = links.base.get_mut(start..start + width);
        let room = list.and_then(|list| list.iter_mut().find(|link| **link == NONE));
        room.map(|room| *room = row).is_some()
    });
    if !is_linked {
        links.orphans.push(row);
    }
}

#[cfg(test)]
mod tests {
    use hvs_geometry::{Geometry, Space};

    use super::*;
    use crate::{graph::GraphShape, metric::Metric};

    const CROWD: u32 = 20;
    const BRIDGE: u32 = CROWD;
    const FAR: u32 = CROWD + 1;

    /// A line: walks start in a crowd about 0. The only way to two rows about 10 leads over one at
    /// -5, which is farther from them than all of the crowd.
    fn crowded(width: usize, is_full: bool) -> (Links, Vec<f64>) {
        let mut places: Vec<f64> = (0..CROWD).map(|row| 0.01 * f64::from(row)).collect();
        places.extend([-5.0, 10.0, 10.5]);
        let mut lists: Vec<Vec<u32>> =
            (0..CROWD).map(|row| vec![row.saturating_sub(1), (row + 1).min(CROWD - 1)]).collect();
        lists[0] = vec![1, BRIDGE];
        lists.extend([vec![0, FAR], vec![BRIDGE, FAR + 1], vec![FAR]]);
        for list in &mut lists {
            let last = list[list.len() - 1];
            list.resize(width, if is_full { last } else { NONE });
        }
        let links = Links {
            shape: GraphShape { m: 1, base: width, entry: 0, top: 0 },
            base: lists.concat(),
            first_upper: vec![NONE; lists.len()],
            upper: Vec::new(),
            orphans: Vec::new(),
        };
        (links, places)
    }

    fn run(links: &mut Links, places: &[f64], wanted: &dyn Fn(u32) -> bool) -> Option<Audit> {
        run_with(1, links, places, wanted)
    }

    fn run_with(
        threads: usize,
        links: &mut Links,
        places: &[f64],
        wanted: &dyn Fn(u32) -> bool,
    ) -> Option<Audit> {
        let threads = NonZero::new(threads).unwrap();
        let metric = Metric::<f32>::of(&Space::new(Geometry::Euclidean, 1, 0.0).unwrap()).unwrap();
        let mut rows = Vec::new();
        for place in places {
            metric.encode(&[*place], &mut rows).unwrap();
        }
        let (kernel, lanes) = (metric.kernel(), metric.lanes());
        let auditor = Auditor { kernel, rows: &rows, lanes, ef: 16, threads };
        auditor.audit(links, wanted, &|| false)
    }

    #[test]
    fn a_row_that_walks_turn_away_from_is_linked_from_where_they_end() {
        let (mut links, places) = crowded(3, false);
        assert_eq!(run(&mut links, &places, &|_| true), Some(Audit { lost: 1, left: 0 }));
        assert_eq!(links.view().base_of(CROWD - 1).last(), Some(&FAR), "from the nearest");
        assert_eq!(run(&mut links, &places, &|_| true), Some(Audit::default()));
    }

    #[test]
    fn where_there_is_no_room_walks_start_from_the_row() {
        let (mut links, places) = crowded(2, true);
        let before = links.base.clone();
        assert_eq!(run(&mut links, &places, &|_| true), Some(Audit { lost: 1, left: 0 }));
        assert_eq!((links.base, links.orphans), (before, vec![FAR]));
    }

    #[test]
    fn only_wanted_rows_are_looked_for() {
        let (mut links, places) = crowded(3, false);
        assert_eq!(run(&mut links, &places, &|row| row < FAR), Some(Audit::default()));
        assert_eq!(links, crowded(3, false).0);
    }

    /// Crowds in a ring of single links that jumps about, so that walks end in the wrong one; more
    /// rows than one thread takes.
    fn islands(count: u32) -> (Links, Vec<f64>) {
        let width = 4;
        let rows = count * 4;
        let mut base = Vec::new();
        let mut places = Vec::new();
        for island in 0..count {
            let first = island * 4;
            places.extend((0..4).map(|row| f64::from(island) + 0.01 * f64::from(row)));
            for row in first..first + 4 {
                let near =
                    [first, first + 1, first + 2, first + 3].into_iter().filter(|at| *at != row);
                base.extend(near);
                base.push(if row == first { (first + 4 * 619) % rows } else { NONE });
            }
        }
        let links = Links {
            shape: GraphShape { m: 1, base: width, entry: 0, top: 0 },
            base,
            first_upper: vec![NONE; rows as usize],
            upper: Vec::new(),
            orphans: Vec::new(),
        };
        (links, places)
    }

    #[test]
    fn the_graph_is_the_same_however_many_threads_look() {
        let (links, places) = islands(1_500);
        let mut by_one = links.clone();
        let audit = run(&mut by_one, &places, &|_| true);
        assert!(audit.unwrap().lost > 100, "{audit:?}");
        assert_ne!(by_one, links);
        for threads in [2, 3, 64] {
            let mut by_many = links.clone();
            assert_eq!(run_with(threads, &mut by_many, &places, &|_| true), audit);
            assert_eq!(by_many, by_one, "{threads} threads");
        }
    }
}
