//! From candidates to hits: true distances, ids, no id twice.

use super::Run;
use crate::{metric::Lane, nearest::Nearest, ranker::Ranker, request::Hit};

/// The candidates as hits in order of their true distance, those beyond the radius left out, each
/// id once; and how many candidates were given up because a newer row has their id.
pub(super) fn gather<T: Lane>(
    ranker: &Ranker<T>,
    run: &Run<'_, T>,
    nearest: Nearest<T>,
) -> (Vec<Hit>, usize) {
    let radius = run.request.radius.unwrap_or(f64::INFINITY);
    let mut wide = Vec::new();
    let mut hits = Vec::with_capacity(nearest.len());
    for candidate in nearest.into_sorted() {
        let Some(source) = run.sources.get(candidate.source as usize) else { continue };
        let hit = source.with_row(candidate.row, |row| {
            wide.clear();
            wide.extend(row.stored.iter().map(|lane| lane.to_f64()));
            let distance = ranker.true_distance(&run.prepared, &wide);
            (distance <= radius && distance.is_finite()).then(|| Hit {
                key: candidate.key,
                id: row.id.to_owned(),
                distance,
                vector: run.request.with_vectors.then(|| wide.clone()),
            })
        });
        hits.extend(hit.flatten());
    }
    hits.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then(a.key.cmp(&b.key)));
    let before = hits.len();
    drop_superseded(&mut hits);
    let missing = before - hits.len();
    (hits, missing)
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
