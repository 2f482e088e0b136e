//! From candidates to hits: true distances, ids, no id twice.

use super::{Run, closest::Settled};
use crate::{
    metric::Lane,
    nearest::{Candidate, Nearest},
    ranker::Ranker,
    request::Hit,
};

/// What became of the candidates.
pub(super) struct Gathered {
    /// At most k, in order of their true distance, each id once.
    pub(super) hits: Vec<Hit>,
    /// How many candidates lie within the radius, those given up left out.
    pub(super) in_reach: usize,
    /// How many candidates were given up because a newer row has their id.
    pub(super) superseded: usize,
}

/// A candidate with its true distance.
struct Measured<T> {
    distance: f64,
    candidate: Candidate<T>,
}

/// The k nearest candidates as hits. Ids lie far apart in memory, so only those of hits are read.
///
/// Two rows of one id are both alive only while the newer is being written and the older not yet
/// removed; where only one of them is among the hits, either is right.
pub(super) fn gather<T: Lane>(
    ranker: &Ranker<T>,
    run: &Run<'_, T>,
    nearest: Nearest<T>,
    k: usize,
) -> Gathered {
    let radius = run.request.radius.unwrap_or(f64::INFINITY);
    let mut wide = Vec::new();
    let mut measured = Vec::with_capacity(nearest.len() + run.closest.len());
    let settled = run.closest.iter().map(|&Settled { key, source, row, .. }| Candidate {
        rank: T::ZERO,
        key,
        source,
        row,
    });
    for candidate in nearest.into_candidates().into_iter().chain(settled) {
        let Some(source) = run.sources.get(candidate.source as usize) else { continue };
        let distance = source.with_stored(candidate.row, |stored| {
            wide.clear();
            wide.extend(stored.iter().map(|lane| lane.to_f64()));
            ranker.true_distance(&run.prepared, &wide)
        });
        let within = distance.filter(|distance| *distance <= radius && distance.is_finite());
        measured.extend(within.map(|distance| Measured { distance, candidate }));
    }
    measured.sort_unstable_by(|a, b| {
        a.distance.total_cmp(&b.distance).then(a.candidate.key.cmp(&b.candidate.key))
    });
    let found = measured.len();
    let mut superseded = 0;
    let mut hits = Vec::with_capacity(k.min(found));
    let mut rest = measured.into_iter();
    loop {
        let wanted = k.saturating_sub(hits.len());
        hits.extend(rest.by_ref().filter_map(|measured| hit_of(run, &measured)).take(wanted));
        let before = hits.len();
        drop_superseded(&mut hits);
        superseded += before - hits.len();
        if hits.len() == before || rest.len() == 0 {
            return Gathered { hits, in_reach: found - superseded, superseded };
        }
    }
}

fn hit_of<T: Lane>(run: &Run<'_, T>, measured: &Measured<T>) -> Option<Hit> {
    let Measured { distance, candidate } = measured;
    let source = run.sources.get(candidate.source as usize)?;
    let wide = |stored: &[T]| stored.iter().map(|lane| lane.to_f64()).collect();
    let vector = if run.request.with_vectors {
        Some(source.with_stored(candidate.row, wide)?)
    } else {
        None
    };
    Some(Hit { key: candidate.key, id: source.id(candidate.row)?, distance: *distance, vector })
}

/// Keeps the newest of the hits that share an id.
fn drop_superseded(hits: &mut Vec<Hit>) {
    let mut order: Vec<usize> = (0..hits.len()).collect();
    let by_id = |&a: &usize, &b: &usize| match (hits.get(a), hits.get(b)) {
        (Some(a), Some(b)) => a.id.cmp(&b.id).then(b.key.cmp(&a.key)),
        _ => std::cmp::Ordering::Equal,
    };
    order.sort_unstable_by(by_id);
    let mut keep = vec![true; hits.len()];
    let mut any = false;
    for pair in order.windows(2) {
        let [newer, older] = pair else { continue };
        if let (Some(newer), Some(older_hit)) = (hits.get(*newer), hits.get(*older))
            && newer.id == older_hit.id
            && let Some(keep) = keep.get_mut(*older)
        {
            *keep = false;
            any = true;
        }
    }
    if any {
        let mut keep = keep.into_iter();
        hits.retain(|_| keep.next().unwrap_or(true));
    }
}
