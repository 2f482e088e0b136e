//! The bare native index, to measure against.

use std::path::Path;

use hvs_geometry::Space;

use crate::{
    config::IndexKind,
    engine::Shared,
    error::FlushError,
    graph::native::Baseline,
    metric::{Lane, Metric},
};

/// usearch itself, with the rows, links, metric and `ef` of an index's largest segment: what a
/// benchmark compares the index with in the same process. One thread at a time.
pub struct RawSearch {
    inner: Box<dyn Raw>,
    space: Space,
}

trait Raw: Send + Sync {
    fn search(&self, stored: &[f64], k: usize) -> Option<Vec<(u64, f32)>>;
}

struct Typed<T> {
    baseline: Baseline<T>,
    metric: std::sync::Arc<Metric<T>>,
    keys: Vec<u64>,
}

impl<T: Lane> Raw for Typed<T> {
    fn search(&self, stored: &[f64], k: usize) -> Option<Vec<(u64, f32)>> {
        let query = self.metric.query(stored).ok()?;
        let mut found = self.baseline.search(&query.row, k).ok()?;
        for (row, _) in &mut found {
            *row = usize::try_from(*row).ok().and_then(|row| self.keys.get(row)).copied()?;
        }
        Some(found)
    }
}

impl RawSearch {
    pub(crate) fn of<T: Lane>(shared: &Shared<T>) -> Result<Option<Self>, FlushError> {
        let IndexKind::Hnsw { ef_search, .. } = shared.config.kind else { return Ok(None) };
        let snapshot = shared.snapshot.load();
        let largest = snapshot.segments.iter().max_by_key(|segment| segment.rows());
        let Some((segment, metric)) = largest.zip(shared.ranker.metric()) else { return Ok(None) };
        let Some(links) = segment.links() else { return Ok(None) };
        let scratch: &Path = &shared.dir.join("segment-raw.native.tmp");
        let baseline = Baseline::load(
            metric.clone(),
            ef_search,
            links,
            &segment.full_ranking(&shared.ranker),
            scratch,
        )
        .map_err(|error| FlushError::Build { reason: error.to_string() })?;
        let typed = Typed { baseline, metric: metric.clone(), keys: segment.keys().to_vec() };
        Ok(Some(Self { inner: Box::new(typed), space: shared.config.space.clone() }))
    }

    /// Keys and ranking keys (not distances) of the `k` nearest, best first, dead rows included;
    /// `None` if the native call failed.
    pub fn search(&self, query: &[f64], k: usize) -> Option<Vec<(u64, f32)>> {
        self.inner.search(&self.space.to_storage(query), k)
    }
}

impl std::fmt::Debug for RawSearch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawSearch").finish_non_exhaustive()
    }
}
