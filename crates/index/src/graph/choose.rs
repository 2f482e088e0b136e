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

#[cfg(test)]
mod tests {
    use hvs_geometry::{Geometry, Space};

    use super::*;
    use crate::metric::Metric;

    /// The places on a line that are chosen for a row at 0, of which the kernel knows squares.
    fn chosen(places: &[f64], most: usize) -> Vec<f64> {
        let space = Space::new(Geometry::Euclidean, 1, 0.0).unwrap();
        let metric = Metric::<f64>::of(&space).unwrap();
        let mut rows = Vec::new();
        for place in places {
            metric.encode(&[*place], &mut rows).unwrap();
        }
        let mut candidates: Vec<Seen<f64>> =
            (0..).zip(places).map(|(slot, place)| Seen { rank: place * place, slot }).collect();
        sort(&mut candidates);
        choose(metric.kernel(), &rows, metric.lanes(), &mut candidates, most);
        candidates.iter().map(|seen| places[seen.slot as usize]).collect()
    }

    #[test]
    fn links_lead_in_all_directions_and_the_nearest_come_first() {
        // Behind 1 lie 2 and 5; -3 is nearer to 0 than to 1.
        assert_eq!(chosen(&[5.0, 2.0, -3.0, 1.0, -4.0], 4), [1.0, -3.0]);
        assert_eq!(chosen(&[5.0, 2.0, -3.0, 1.0], 1), [1.0]);
        assert_eq!(chosen(&[2.0, 1.0, 3.0], 3), [1.0, 2.0, 3.0], "there is room for all");
        assert_eq!(chosen(&[], 3), [0.0; 0]);
    }

    #[test]
    fn of_copies_one_is_chosen_and_equally_near_ones_are_in_order_of_their_numbers() {
        assert_eq!(chosen(&[1.0, 1.0, -1.0, 1.0], 2), [1.0, -1.0]);
        let mut candidates = [3, 1, 2].map(|slot| Seen { rank: 0.5_f32, slot });
        sort(&mut candidates);
        assert_eq!(candidates.map(|seen| seen.slot), [1, 2, 3]);
    }
}
