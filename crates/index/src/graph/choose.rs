//! Choosing a row's neighbours among candidates.

use super::walk::Seen;
use crate::metric::{Lane, kernel::Kernel};

/// Puts candidates in order, nearest first; equally near ones by their numbers, so that the result
/// does not depend on where they came from.
pub(super) fn sort<T: Lane>(candidates: &mut [Seen<T>]) {
    candidates.sort_unstable_by(|one, other| {
        let by_rank = one.rank.partial_cmp(&other.rank).unwrap_or(std::cmp::Ordering::Equal);
        by_rank.then(one.slot.cmp(&other.slot))
    });
}

/// Keeps at most `most` of the candidates, which are in order: those that are nearer to the row
/// than to any neighbour that is kept before, so that links lead in all directions. All are kept
/// where there are no more than that.
pub(super) fn choose<T: Lane>(
    kernel: &dyn Kernel<T>,
    rows: &[T],
    lanes: usize,
    candidates: &mut Vec<Seen<T>>,
    most: usize,
) {
    if candidates.len() <= most {
        return;
    }
    let row = |slot: u32| {
        let start = slot as usize * lanes;
        rows.get(start..start + lanes).unwrap_or_default()
    };
    let mut kept = 0;
    for at in 0..candidates.len() {
        if kept == most {
            break;
        }
        let Some(&candidate) = candidates.get(at) else { break };
        let own = row(candidate.slot);
        let is_between = |other: &Seen<T>| kernel.pair(own, row(other.slot)) < candidate.rank;
        if !candidates.get(..kept).unwrap_or_default().iter().any(is_between) {
            candidates.swap(kept, at);
            kept += 1;
        }
    }
    candidates.truncate(kept);
}
