//! Going through all rows of an index, to compare them with what it was made from.

use crate::{engine::VisitRow, metric::Lane, snapshot::Snapshot};

/// Every row that a search can return, in no order.
pub(crate) fn visit_live<T: Lane>(snapshot: &Snapshot<T>, visit: &mut VisitRow<'_>) {
    let mut wide = Vec::new();
    let mut widen = |stored: &[T], key: u64, id: &str| {
        wide.clear();
        wide.extend(stored.iter().map(|lane| lane.to_f64()));
        visit(key, id, &wide);
    };
    for segment in &snapshot.segments {
        for row in (0..segment.rows()).filter(|&row| !segment.dead.is_dead(row)) {
            let (key, id) = (segment.key(row).unwrap_or(u64::MAX), segment.id(row));
            widen(segment.stored(row).unwrap_or_default(), key, id.unwrap_or_default());
        }
    }
    for block in &snapshot.blocks {
        let rows = block.read();
        for (row, &key) in rows.keys().iter().enumerate() {
            if !block.dead.is_dead(row) {
                let id = rows.id(row).unwrap_or_default();
                widen(rows.stored(row).unwrap_or_default(), key, id);
            }
        }
    }
}
