//! Handing a graph over to usearch, to measure against: same rows, same links, its own walk.
//!
//! Its traps are handled here:
//! - The scalar kind and the metric's type are fixed by `T` together (its default kind, BF16,
//!   would hand an f32 metric other bytes).
//! - The metric is applied after the load, which replaces it, and asserted with a known pair.
//! - Capacity and one thread slot are reserved first.
//! - The metric cannot panic and never returns NaN; keys are row numbers, far from the reserved
//!   `u64::MAX`.
//! - Its file is a passing one. The layout written here is that of usearch 2.x.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
    sync::Arc,
};

use usearch::{Index, IndexOptions, MetricKind};

use super::{LinksView, NONE};
use crate::metric::{Lane, Metric};

/// What failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NativeError {
    #[error("usearch: {0}")]
    Call(String),
    #[error("usearch has loaded something else: {0}")]
    Layout(&'static str),
    #[error("the metric is not in effect: expected {expected}, got {found}")]
    Metric { expected: f32, found: f32 },
    #[error("{0} rows are too many for its file")]
    TooMany(usize),
    #[error("passing file: {0}")]
    Io(#[from] io::Error),
}

fn call<V, E: std::fmt::Display>(result: Result<V, E>) -> Result<V, NativeError> {
    result.map_err(|error| NativeError::Call(error.to_string()))
}

fn options<T: Lane>(lanes: usize, m: usize, ef: usize) -> IndexOptions {
    IndexOptions {
        dimensions: lanes,
        metric: MetricKind::L2sq,
        quantization: T::KIND,
        connectivity: m,
        expansion_add: ef,
        expansion_search: ef,
        multi: false,
    }
}

/// A whole native index, searched as its own library does. For comparison only.
pub(crate) struct Baseline<T> {
    index: Index,
    metric: Arc<Metric<T>>,
}

impl<T: Lane> Baseline<T> {
    /// Hands a graph over to the native index. `scratch` is a path for a passing file.
    pub(crate) fn load(
        metric: Arc<Metric<T>>,
        ef_search: usize,
        links: LinksView<'_>,
        rows: &[T],
        scratch: &Path,
    ) -> Result<Self, NativeError> {
        let lanes = metric.lanes();
        let index = call(Index::new(&options::<T>(lanes, links.shape.m, ef_search)))?;
        write_native::<T>(scratch, lanes, links, rows)?;
        let path = scratch.to_str().ok_or(NativeError::Layout("path is not UTF-8"));
        let loaded = path.and_then(|path| call(index.load(path)));
        fs::remove_file(scratch)?;
        loaded?;
        // Loading replaced the metric by the built-in one of the header and sized everything anew.
        call(index.reserve_capacity_and_threads(links.rows(), 1))?;
        let mut baseline = Self { index, metric };
        baseline.apply_metric();
        if baseline.index.size() != links.rows() {
            return Err(NativeError::Layout("another number of rows was loaded"));
        }
        if let Some(first) = rows.get(..lanes) {
            baseline.assert_metric(first)?;
        }
        baseline.index.change_expansion_search(ef_search);
        Ok(baseline)
    }

    /// One call of the native search: row numbers and ranks.
    pub(crate) fn search(&self, query: &[T], k: usize) -> Result<Vec<(u64, f32)>, NativeError> {
        let matches = call(self.index.search::<T>(query, k))?;
        Ok(matches.keys.into_iter().zip(matches.distances).collect())
    }

    fn apply_metric(&mut self) {
        let metric = Arc::clone(&self.metric);
        let lanes = metric.lanes();
        self.index.change_metric::<T>(Box::new(move |a: *const T, b: *const T| {
            #[allow(unsafe_code, reason = "the native index hands over bare pointers")]
            // SAFETY: usearch calls the metric with two of its vectors of `dimensions` scalars of
            // kind `T::KIND`, which this type fixed together; they outlive the call.
            let (a, b) = unsafe {
                (std::slice::from_raw_parts(a, lanes), std::slice::from_raw_parts(b, lanes))
            };
            native_rank(metric.kernel().pair(a, b))
        }));
    }

    /// Compares a distance that the native index computes with our own.
    fn assert_metric(&self, row: &[T]) -> Result<(), NativeError> {
        let matches = call(self.index.search::<T>(row, 1))?;
        let (Some(&key), Some(&found)) = (matches.keys.first(), matches.distances.first()) else {
            return Err(NativeError::Layout("a search found nothing"));
        };
        let mut other = vec![T::ZERO; self.metric.lanes()];
        call(self.index.get::<T>(key, &mut other))?;
        let expected = native_rank(self.metric.kernel().pair(row, &other));
        if (expected - found).abs() > f32::EPSILON * (1.0 + expected.abs()) {
            return Err(NativeError::Metric { expected, found });
        }
        Ok(())
    }
}

/// A rank as the native index takes it.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "clamped to the largest f32")]
fn native_rank<T: Lane>(rank: T) -> f32 {
    (rank.to_f64() as f32).min(f32::MAX)
}

/// Bytes of the native header between vectors and graph.
const DENSE_HEAD: usize = 64;

/// Writes a graph as a native file.
fn write_native<T: Lane>(
    path: &Path,
    lanes: usize,
    links: LinksView<'_>,
    rows: &[T],
) -> Result<(), NativeError> {
    let count = links.rows();
    if rows.len() != count * lanes {
        return Err(NativeError::Layout("rows and links differ in number"));
    }
    let too_many = |_| NativeError::TooMany(count);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    out.write_all(&u32::try_from(count).map_err(too_many)?.to_le_bytes())?;
    out.write_all(&u32::try_from(lanes * size_of::<T>()).map_err(too_many)?.to_le_bytes())?;
    out.write_all(bytemuck::cast_slice(rows))?;
    out.write_all(&native_head::<T>(lanes, links.shape.m)?)?;
    let shape = links.shape;
    for figure in [count, shape.m, shape.base, shape.top, shape.entry as usize] {
        out.write_all(&(figure as u64).to_le_bytes())?;
    }
    let row_numbers = 0..u32::try_from(count).map_err(too_many)?;
    let mut levels = Vec::with_capacity(count);
    for row in row_numbers.clone() {
        let level = i16::try_from(links.levels_of(row)).map_err(too_many)?;
        levels.push(level);
        out.write_all(&level.to_le_bytes())?;
    }
    for (row, level) in row_numbers.zip(levels) {
        out.write_all(&u64::from(row).to_le_bytes())?;
        out.write_all(&level.to_le_bytes())?;
        write_list(&mut out, links.base_of(row))?;
        for layer in 1..=usize::try_from(level).unwrap_or(0) {
            write_list(&mut out, links.upper_of(row, layer))?;
        }
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(())
}

fn write_list(out: &mut impl Write, links: &[u32]) -> io::Result<()> {
    let count = links.iter().take_while(|&&link| link != NONE).count();
    out.write_all(&u32::try_from(count).unwrap_or(0).to_le_bytes())?;
    for &link in links.iter().take(count) {
        out.write_all(&link.to_le_bytes())?;
    }
    // Unused room is zero in native files.
    for _ in count..links.len() {
        out.write_all(&[0; 4])?;
    }
    Ok(())
}

/// The 64 bytes between vectors and graph, as this very version of usearch writes them: taken
/// from a graph of one row, with no field of ours to keep in step.
fn native_head<T: Lane>(lanes: usize, m: usize) -> Result<Vec<u8>, NativeError> {
    let sample = call(Index::new(&options::<T>(lanes, m, 1)))?;
    call(sample.reserve_capacity_and_threads(1, 1))?;
    call(sample.add::<T>(0, &vec![T::ZERO; lanes]))?;
    let mut bytes = vec![0; sample.serialized_length()];
    call(sample.save_to_buffer(&mut bytes))?;
    let start = 8 + lanes * size_of::<T>();
    let head = bytes.get(start..start + DENSE_HEAD).ok_or(NativeError::Layout("no header"))?;
    Ok(head.to_vec())
}
