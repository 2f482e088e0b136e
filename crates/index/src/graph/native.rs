//! Building graphs with usearch.
//!
//! usearch links rows; everything else (rows at rest, walking, deletion, files) is HVS's. Its
//! traps are handled here, and nowhere else knows them:
//! - Its file is read into [`Links`] right after the build and is never kept, so its format, which
//!   has no checksums and loses a custom metric, is not part of ours. The layout read here is that
//!   of usearch 2.x; what does not add up is an error.
//! - The scalar kind and the metric's type are fixed by `T` together (its default kind, BF16,
//!   would hand an f32 metric other bytes).
//! - The metric is applied after every load, and asserted with a known pair before use.
//! - One thread adds. Adding from several leaves rows that no link leads to.
//! - Capacity and one thread slot are reserved before the first add, exclusively.
//! - Nothing is ever removed from a native index: its tombstones are never reclaimed.
//! - The metric cannot panic and never returns NaN; keys are row numbers, far from the reserved
//!   `u64::MAX`.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use memmap2::Mmap;
use usearch::{Index, IndexOptions, MetricKind};

use super::{GraphShape, Links, LinksView, MAX_ROWS, NONE};
use crate::metric::{Lane, Metric};

/// What failed while building.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NativeError {
    #[error("usearch: {0}")]
    Call(String),
    #[error("usearch wrote an unexpected file: {0}")]
    Layout(&'static str),
    #[error("the metric is not in effect: expected {expected}, got {found}")]
    Metric { expected: f32, found: f32 },
    #[error("{} rows, one graph holds at most {MAX_ROWS}", .0)]
    TooMany(usize),
    #[error("scratch file: {0}")]
    Io(#[from] io::Error),
}

fn call<V, E: std::fmt::Display>(result: Result<V, E>) -> Result<V, NativeError> {
    result.map_err(|error| NativeError::Call(error.to_string()))
}

/// A graph under construction. Only its owner can add.
pub(crate) struct Builder<T> {
    index: Index,
    metric: Arc<Metric<T>>,
    scratch: PathBuf,
    rows: usize,
}

impl<T: Lane> Builder<T> {
    /// An empty graph for up to `capacity` rows. `scratch` is a path for a passing file.
    pub(crate) fn new(
        metric: Arc<Metric<T>>,
        m: usize,
        ef_construction: usize,
        capacity: usize,
        scratch: &Path,
    ) -> Result<Self, NativeError> {
        if capacity > MAX_ROWS {
            return Err(NativeError::TooMany(capacity));
        }
        let index = call(Index::new(&IndexOptions {
            dimensions: metric.lanes(),
            metric: MetricKind::L2sq,
            quantization: T::KIND,
            connectivity: m,
            expansion_add: ef_construction,
            expansion_search: ef_construction,
            multi: false,
        }))?;
        let mut builder = Self { index, metric, scratch: scratch.to_owned(), rows: 0 };
        call(builder.index.reserve_capacity_and_threads(capacity, 1))?;
        builder.apply_metric();
        Ok(builder)
    }

    /// A graph that starts with existing rows and links, with room for `capacity` rows in all.
    pub(crate) fn resume(
        metric: Arc<Metric<T>>,
        ef_construction: usize,
        capacity: usize,
        links: LinksView<'_>,
        rows: &[T],
        scratch: &Path,
    ) -> Result<Self, NativeError> {
        let m = links.shape.m;
        let mut builder = Self::new(metric, m, ef_construction, capacity, scratch)?;
        write_native::<T>(scratch, builder.metric.lanes(), links, rows)?;
        let loaded = builder.load();
        fs::remove_file(scratch)?;
        loaded?;
        // Loading replaced the metric by the built-in one of the header and sized everything anew.
        call(builder.index.reserve_capacity_and_threads(capacity, 1))?;
        builder.apply_metric();
        builder.rows = links.rows();
        if builder.index.size() != builder.rows {
            return Err(NativeError::Layout("another number of rows was loaded"));
        }
        if let Some(first) = rows.get(..builder.metric.lanes()) {
            builder.assert_metric(first)?;
        }
        Ok(builder)
    }

    fn load(&self) -> Result<(), NativeError> {
        let path = self.scratch.to_str().ok_or(NativeError::Layout("path is not UTF-8"))?;
        call(self.index.load(path))
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

    /// Appends a row; its number is the count of rows before it.
    pub(crate) fn add(&mut self, row: &[T]) -> Result<(), NativeError> {
        call(self.index.add::<T>(self.rows as u64, row))?;
        self.rows += 1;
        Ok(())
    }

    /// The finished graph.
    pub(crate) fn finish(self, m: usize) -> Result<Links, NativeError> {
        if self.rows == 0 {
            return Ok(Links {
                shape: GraphShape { m, base: 2 * m, entry: 0, top: 0 },
                ..Links::default()
            });
        }
        let path = self.scratch.to_str().ok_or(NativeError::Layout("path is not UTF-8"))?;
        call(self.index.save(path))?;
        // Free the builder before the links are made: both are large.
        let (scratch, rows, lanes) = (self.scratch.clone(), self.rows, self.metric.lanes());
        drop(self);
        let read = File::open(&scratch).map_err(NativeError::from).and_then(|file| {
            #[allow(unsafe_code, reason = "mapping a file has no safe form")]
            // SAFETY: only this builder knows the passing file, and it is not changed any more.
            let map = unsafe { Mmap::map(&file) }?;
            read_native(&map, rows, lanes * size_of::<T>()).map_err(NativeError::Layout)
        });
        fs::remove_file(&scratch)?;
        read
    }
}

/// A rank as the native index takes it.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "clamped to the largest f32")]
fn native_rank<T: Lane>(rank: T) -> f32 {
    (rank.to_f64() as f32).min(f32::MAX)
}

/// Bytes before a node's first list: its key and its level.
const NODE_HEAD: usize = 8 + 2;
/// Bytes of the native header between vectors and graph.
const DENSE_HEAD: usize = 64;

/// Reads fields one after the other.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("it is too short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("it is too short")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        self.fixed().map(u32::from_le_bytes)
    }

    fn size(&mut self) -> Result<usize, &'static str> {
        usize::try_from(u64::from_le_bytes(self.fixed()?)).map_err(|_| "a figure is too large")
    }

    /// A counted list with room for `room` links; the links are appended, padded with [`NONE`].
    fn list(&mut self, room: usize, links: &mut Vec<u32>) -> Result<(), &'static str> {
        let count = self.u32()? as usize;
        let slots = self.bytes(room * 4)?;
        if count > room {
            return Err("a list is longer than its room");
        }
        let (slots, _) = slots.as_chunks::<4>();
        links.extend(slots.iter().take(count).map(|slot| u32::from_le_bytes(*slot)));
        links.extend(std::iter::repeat_n(NONE, room - count));
        Ok(())
    }
}

/// The links in a native file.
fn read_native(file: &[u8], rows: usize, row_bytes: usize) -> Result<Links, &'static str> {
    let mut cursor = Cursor(file);
    if cursor.u32()? as usize != rows || cursor.u32()? as usize != row_bytes {
        return Err("another matrix");
    }
    cursor.bytes(rows * row_bytes)?;
    let head = cursor.bytes(DENSE_HEAD)?;
    if !head.starts_with(b"usearch") {
        return Err("no header");
    }
    let (count, m, base) = (cursor.size()?, cursor.size()?, cursor.size()?);
    let (top, entry) = (cursor.size()?, cursor.size()?);
    if count != rows || m == 0 || base == 0 || entry >= rows {
        return Err("its figures are out of range");
    }
    let shape = GraphShape { m, base, entry: u32::try_from(entry).map_err(|_| "entry")?, top };
    let (levels, _) = cursor.bytes(rows * 2)?.as_chunks::<2>();
    let mut links = Links {
        shape,
        base: Vec::with_capacity(rows * base),
        first_upper: Vec::with_capacity(rows),
        upper: Vec::new(),
        orphans: Vec::new(),
    };
    for (row, level) in levels.iter().enumerate() {
        let level =
            usize::try_from(i16::from_le_bytes(*level)).map_err(|_| "a level is below 0")?;
        let mut head = Cursor(cursor.bytes(NODE_HEAD)?);
        if head.size()? != row {
            return Err("a key is not its row's number");
        }
        cursor.list(base, &mut links.base)?;
        let first = links.upper.len() / m;
        links.first_upper.push(if level == 0 {
            NONE
        } else {
            u32::try_from(first).map_err(|_| "too many lists")?
        });
        for _ in 0..level {
            cursor.list(m, &mut links.upper)?;
        }
    }
    if !cursor.0.is_empty() {
        return Err("bytes are left over");
    }
    Ok(links)
}

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
    let sample = call(Index::new(&IndexOptions {
        dimensions: lanes,
        metric: MetricKind::L2sq,
        quantization: T::KIND,
        connectivity: m,
        expansion_add: 1,
        expansion_search: 1,
        multi: false,
    }))?;
    call(sample.reserve_capacity_and_threads(1, 1))?;
    call(sample.add::<T>(0, &vec![T::ZERO; lanes]))?;
    let mut bytes = vec![0; sample.serialized_length()];
    call(sample.save_to_buffer(&mut bytes))?;
    let start = 8 + lanes * size_of::<T>();
    let head = bytes.get(start..start + DENSE_HEAD).ok_or(NativeError::Layout("no header"))?;
    Ok(head.to_vec())
}

/// A whole native index, searched as its own library does. For comparison only.
pub(crate) struct Baseline<T> {
    builder: Builder<T>,
}

impl<T: Lane> Baseline<T> {
    /// Hands a graph over to the native index.
    pub(crate) fn load(
        metric: Arc<Metric<T>>,
        ef_search: usize,
        links: LinksView<'_>,
        rows: &[T],
        scratch: &Path,
    ) -> Result<Self, NativeError> {
        let builder = Builder::resume(metric, 1, links.rows(), links, rows, scratch)?;
        builder.index.change_expansion_search(ef_search);
        Ok(Self { builder })
    }

    /// One call of the native search: row numbers and ranks.
    pub(crate) fn search(&self, query: &[T], k: usize) -> Result<Vec<(u64, f32)>, NativeError> {
        let matches = call(self.builder.index.search::<T>(query, k))?;
        Ok(matches.keys.into_iter().zip(matches.distances).collect())
    }
}
