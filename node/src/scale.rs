//! How large the node has become, held against what it is meant for.
//!
//! Each figure has two bounds. At the first the node says that it is near its limit: in its log,
//! in its metrics, and in a header of its answers. The second is the most that there may be: what
//! would make the figure larger than it is refused. Vectors and bytes are measured now and then, so
//! they can pass the bound by what arrives between two measurements; searches are counted as they
//! come, and no namespace is made with a larger dimension.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{catalogue::Catalogue, config::Scale as Limits};

/// How often vectors are counted, and every how many of these the disk is looked at.
const EVERY: Duration = Duration::from_secs(1);
const DISK_EVERY: u32 = 10;

/// A figure that has bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Vectors that can be found, in all namespaces.
    Vectors,
    /// Bytes of everything below the data directory.
    StorageBytes,
    /// Searches begun in one second.
    Queries,
    /// Bytes of memory, as [`crate::memory`] counts them and refuses what is too much.
    Memory,
    /// The largest dimension of all namespaces.
    Dimension,
}

impl Figure {
    const ALL: [Self; 5] =
        [Self::Vectors, Self::StorageBytes, Self::Queries, Self::Memory, Self::Dimension];

    /// Its name in metrics, headers and log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vectors => "vectors",
            Self::StorageBytes => "storage_bytes",
            Self::Queries => "queries_per_second",
            Self::Memory => "memory_bytes",
            Self::Dimension => "dimension",
        }
    }

    /// The setting of the bound that refuses.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Vectors => "scale.vectors_refuse",
            Self::StorageBytes => "scale.storage_bytes_refuse",
            Self::Queries => "scale.queries_refuse",
            Self::Memory => "memory.budget_bytes",
            Self::Dimension => "limits.dimension",
        }
    }
}

/// From where the node warns, and the most that it takes; 0 for neither.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    warn: u64,
    refuse: u64,
}

/// The second bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {} reached the limit of {limit} ({})", .figure.as_str(), .used, .figure.setting())]
pub struct Exceeded {
    /// Of what.
    pub figure: Figure,
    /// How much there is.
    pub used: u64,
    /// How much there may be.
    pub limit: u64,
}

/// A figure as it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Of what.
    pub figure: Figure,
    /// How much there is.
    pub used: u64,
    /// Where warnings begin; 0 for nowhere.
    pub warn: u64,
    /// The most that there may be; 0 for no limit.
    pub refuse: u64,
}

/// The figures of a node.
#[derive(Debug)]
pub struct Scale {
    limits: Limits,
    vectors: Gauge,
    bytes: Gauge,
    queries: Gauge,
    memory: Gauge,
    memory_bounds: Bounds,
    dimension: Gauge,
    dimension_limit: u64,
    /// Counts seconds for `window`.
    started: Instant,
    /// The second that searches are counted in, from 1.
    second: AtomicU64,
    /// Searches of that second.
    window: AtomicU64,
    /// Whether any figure is beyond its first bound: all that an answer has to look at.
    near: AtomicBool,
}

#[derive(Debug, Default)]
struct Gauge {
    used: AtomicU64,
    is_near: AtomicBool,
}

impl Scale {
    /// Nothing is used yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            vectors: Gauge::default(),
            bytes: Gauge::default(),
            queries: Gauge::default(),
            memory: Gauge::default(),
            memory_bounds: Bounds { warn: 0, refuse: 0 },
            dimension: Gauge::default(),
            dimension_limit: 0,
            started: Instant::now(),
            second: AtomicU64::new(0),
            window: AtomicU64::new(0),
            near: AtomicBool::new(false),
        }
    }

    /// Warns of memory as well, and knows where it is refused.
    #[must_use]
    pub fn with_memory(self, warn: u64, refuse: u64) -> Self {
        Self { memory_bounds: Bounds { warn, refuse }, ..self }
    }

    /// Knows the largest dimension that a space may have.
    #[must_use]
    pub fn with_dimension(self, limit: usize) -> Self {
        Self { dimension_limit: limit as u64, ..self }
    }

    /// Whether a figure is beyond its first bound.
    pub(crate) fn is_near(&self, figure: Figure) -> bool {
        self.of(figure).0.is_near.load(Ordering::Relaxed)
    }

    /// Whether records may be stored.
    ///
    /// # Errors
    /// [`Exceeded`] for vectors or bytes.
    pub fn admit_records(&self) -> Result<(), Exceeded> {
        for figure in [Figure::Vectors, Figure::StorageBytes] {
            let Reading { used, refuse, .. } = self.reading(figure);
            if refuse > 0 && used >= refuse {
                return Err(Exceeded { figure, used, limit: refuse });
            }
        }
        Ok(())
    }

    /// Counts searches, and says whether they may be made. Those of one request are taken or
    /// refused together.
    ///
    /// # Errors
    /// [`Exceeded`]; they are not counted then.
    pub fn admit_queries(&self, count: usize) -> Result<(), Exceeded> {
        self.admit_queries_at(self.started.elapsed().as_secs() + 1, count as u64)
    }

    fn admit_queries_at(&self, second: u64, count: u64) -> Result<(), Exceeded> {
        let before = self.second.load(Ordering::Relaxed);
        if before != second
            && self
                .second
                .compare_exchange(before, second, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            // Whoever counts between these two lines loses a search, which no one misses.
            let last = self.window.swap(0, Ordering::Relaxed);
            let is_recent = before + 1 == second;
            self.see(Figure::Queries, if is_recent { last } else { 0 });
        }
        let used = self.window.fetch_add(count, Ordering::Relaxed);
        let Bounds { warn, refuse } = self.of(Figure::Queries).1;
        // A request that alone is larger than the limit would never be taken: the first one is.
        if refuse > 0 && used > 0 && used + count > refuse {
            self.window.fetch_sub(count, Ordering::Relaxed);
            self.see(Figure::Queries, used);
            return Err(Exceeded { figure: Figure::Queries, used, limit: refuse });
        }
        if warn > 0 && used + count >= warn {
            self.see(Figure::Queries, used + count);
        }
        Ok(())
    }

    /// Takes note of a figure, and tells the log when it passes its first bound.
    pub(crate) fn see(&self, figure: Figure, used: u64) {
        let (gauge, bounds) = self.of(figure);
        gauge.used.store(used, Ordering::Relaxed);
        let is_near = bounds.warn > 0 && used >= bounds.warn;
        if gauge.is_near.swap(is_near, Ordering::Relaxed) == is_near {
            return;
        }
        let near =
            Figure::ALL.iter().any(|figure| self.of(*figure).0.is_near.load(Ordering::Relaxed));
        self.near.store(near, Ordering::Relaxed);
        let (name, warn, refuse) = (figure.as_str(), bounds.warn, bounds.refuse);
        if is_near {
            tracing::warn!(figure = name, used, warn, refuse, "near a limit of scale");
        } else {
            tracing::info!(figure = name, used, warn, refuse, "no longer near a limit of scale");
        }
    }

    fn of(&self, figure: Figure) -> (&Gauge, Bounds) {
        let limits = &self.limits;
        let (gauge, warn, refuse) = match figure {
            Figure::Vectors => (&self.vectors, limits.vectors_warn, limits.vectors_refuse),
            Figure::StorageBytes => {
                (&self.bytes, limits.storage_bytes_warn, limits.storage_bytes_refuse)
            }
            Figure::Queries => (&self.queries, limits.queries_warn, limits.queries_refuse),
            Figure::Memory => return (&self.memory, self.memory_bounds),
            Figure::Dimension => {
                (&self.dimension, limits.dimension_warn as u64, self.dimension_limit)
            }
        };
        (gauge, Bounds { warn, refuse })
    }

    fn reading(&self, figure: Figure) -> Reading {
        let (gauge, Bounds { warn, refuse }) = self.of(figure);
        Reading { figure, used: gauge.used.load(Ordering::Relaxed), warn, refuse }
    }

    /// Every figure.
    pub fn readings(&self) -> [Reading; 5] {
        Figure::ALL.map(|figure| self.reading(figure))
    }

    /// What answers say about figures beyond their first bound; `None` where there are none.
    pub fn warning(&self) -> Option<String> {
        if !self.near.load(Ordering::Relaxed) {
            return None;
        }
        let near =
            Figure::ALL.iter().filter(|figure| self.of(**figure).0.is_near.load(Ordering::Relaxed));
        let parts: Vec<String> = near
            .map(|figure| {
                let Reading { used, warn, refuse, .. } = self.reading(*figure);
                format!("{}; used={used}; warn={warn}; refuse={refuse}", figure.as_str())
            })
            .collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// Looks at the dimensions of all namespaces.
    pub(crate) fn see_dimensions(&self, catalogue: &Catalogue) {
        self.see(Figure::Dimension, catalogue.largest_dimension() as u64);
    }

    /// Counts vectors and bytes, and looks at dimensions.
    pub async fn measure(&self, catalogue: &Catalogue, data_dir: &Path) {
        self.see(Figure::Vectors, vectors(catalogue));
        self.see_dimensions(catalogue);
        let folder = data_dir.to_owned();
        match tokio::task::spawn_blocking(move || size_of(&folder)).await {
            Ok(Ok(bytes)) => self.see(Figure::StorageBytes, bytes),
            Ok(Err(error)) => tracing::warn!(%error, "the data directory cannot be measured"),
            // The node stops.
            Err(_) => {}
        }
    }

    /// Measures again and again, for as long as the node runs.
    pub async fn watch(self: Arc<Self>, catalogue: Arc<Catalogue>, data_dir: PathBuf) {
        for round in 1_u32.. {
            tokio::time::sleep(EVERY).await;
            if round.is_multiple_of(DISK_EVERY) {
                self.measure(&catalogue, &data_dir).await;
            } else {
                self.see(Figure::Vectors, vectors(&catalogue));
                self.see_dimensions(&catalogue);
            }
            // A second without searches closes the window before it.
            let _ = self.admit_queries_at(self.started.elapsed().as_secs() + 1, 0);
        }
    }
}

fn vectors(catalogue: &Catalogue) -> u64 {
    let shards = catalogue.overviews().into_iter().flat_map(|overview| overview.stats);
    shards.flat_map(|stats| stats.indexes.into_values().map(|index| index.live as u64)).sum()
}

/// Bytes of the files below a folder. Files that go away meanwhile count nothing.
fn size_of(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(found) if found.is_dir() => bytes += size_of(&entry.path()).unwrap_or_default(),
            Ok(found) => bytes += found.len(),
            Err(_) => {}
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale() -> Scale {
        Scale::new(Limits {
            vectors_warn: 10,
            vectors_refuse: 20,
            storage_bytes_warn: 1_000,
            storage_bytes_refuse: 2_000,
            queries_warn: 5,
            queries_refuse: 8,
            dimension_warn: 1_024,
        })
    }

    #[test]
    fn a_figure_warns_at_its_first_bound_and_refuses_at_its_second() {
        let scale = scale();
        scale.see(Figure::Vectors, 9);
        assert_eq!(scale.warning(), None);
        scale.see(Figure::Vectors, 10);
        assert_eq!(scale.warning().unwrap(), "vectors; used=10; warn=10; refuse=20");
        scale.see(Figure::Vectors, 19);
        assert_eq!(scale.admit_records(), Ok(()));
        scale.see(Figure::Vectors, 20);
        let refused = scale.admit_records().unwrap_err();
        assert_eq!((refused.figure, refused.used, refused.limit), (Figure::Vectors, 20, 20));
        scale.see(Figure::Vectors, 3);
        assert_eq!((scale.admit_records(), scale.warning()), (Ok(()), None));
        scale.see(Figure::StorageBytes, 2_000);
        assert_eq!(scale.admit_records().unwrap_err().figure, Figure::StorageBytes);
    }

    #[test]
    fn the_dimension_is_a_figure_like_the_others() {
        let scale = scale().with_dimension(4_096);
        scale.see(Figure::Dimension, 1_023);
        assert_eq!(scale.warning(), None);
        scale.see(Figure::Dimension, 1_024);
        assert_eq!(scale.warning().unwrap(), "dimension; used=1024; warn=1024; refuse=4096");
        // What is stored is not refused because of it.
        scale.see(Figure::Dimension, 4_096);
        assert_eq!(scale.admit_records(), Ok(()));
        scale.see(Figure::Vectors, 10);
        let both =
            "vectors; used=10; warn=10; refuse=20, dimension; used=4096; warn=1024; refuse=4096";
        assert_eq!(scale.warning().unwrap(), both);
        scale.see(Figure::Dimension, 0);
        assert_eq!(scale.warning().unwrap(), "vectors; used=10; warn=10; refuse=20");
    }

    #[test]
    fn searches_are_limited_in_each_second() {
        let scale = scale();
        for _ in 0..4 {
            scale.admit_queries_at(1, 1).unwrap();
        }
        assert_eq!(scale.warning(), None);
        scale.admit_queries_at(1, 4).unwrap();
        assert!(scale.warning().unwrap().starts_with("queries_per_second; used=8"));
        assert_eq!(scale.admit_queries_at(1, 1).unwrap_err().figure, Figure::Queries);
        scale.admit_queries_at(2, 3).unwrap();
        assert!(scale.warning().is_some(), "the second before was a busy one");
        scale.admit_queries_at(3, 0).unwrap();
        assert_eq!(scale.warning(), None);
        scale.admit_queries_at(9, 100).unwrap();
        assert!(
            scale.admit_queries_at(9, 1).is_err(),
            "only the first may be as large as it likes"
        );
    }

    #[test]
    fn without_bounds_nothing_is_refused() {
        let scale = Scale::new(Limits {
            vectors_warn: 0,
            vectors_refuse: 0,
            storage_bytes_warn: 0,
            storage_bytes_refuse: 0,
            queries_warn: 0,
            queries_refuse: 0,
            dimension_warn: 0,
        });
        scale.see(Figure::Vectors, u64::MAX);
        assert_eq!((scale.admit_records(), scale.warning()), (Ok(()), None));
        assert_eq!(scale.admit_queries_at(1, 1_000_000), Ok(()));
        assert_eq!(scale.admit_queries_at(1, 1_000_000), Ok(()));
    }

    #[test]
    fn the_size_of_a_folder_is_that_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("a"), [0; 100]).unwrap();
        fs::write(folder.path().join("inner/b"), [0; 23]).unwrap();
        assert_eq!(size_of(folder.path()).unwrap(), 123);
        assert!(size_of(&folder.path().join("none")).is_err());
    }
}
