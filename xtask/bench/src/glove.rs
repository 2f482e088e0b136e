//! GloVe word vectors, some of them as queries with their true neighbours.

use std::{fs::File, io::Read, path::Path, thread};

use anyhow::{Context, Result, ensure};

/// Queries: the vectors right after those that are stored.
pub(crate) const QUERIES: usize = 1_000;
/// Vectors after these, for writes that are timed.
pub(crate) const SPARE: usize = 1_000;

pub(crate) const DIMENSION: usize = 50;

/// Rows of `DIMENSION` numbers.
pub(crate) struct Rows(Vec<f32>);

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.0.len() / DIMENSION
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.0.chunks_exact(DIMENSION)
    }
}

pub(crate) struct Workload {
    pub(crate) stored: Rows,
    pub(crate) queries: Rows,
    pub(crate) spare: Rows,
    /// For each query the numbers of its nearest rows.
    pub(crate) truth: Vec<Vec<usize>>,
}

impl Workload {
    /// The first rows of the file are stored, those after them are the queries.
    ///
    /// # Errors
    /// The file is another one or too short.
    pub(crate) fn read(file: &Path, count: usize, k: usize) -> Result<Self> {
        let numbers = read_npy(file).with_context(|| format!("reading {}", file.display()))?;
        let mut rows = numbers.chunks_exact(DIMENSION);
        let mut take = |count: usize| -> Result<Rows> {
            let part: Vec<f32> = rows.by_ref().take(count).flatten().copied().collect();
            ensure!(part.len() == count * DIMENSION, "the file has too few rows");
            Ok(Rows(part))
        };
        let (stored, queries, spare) = (take(count)?, take(QUERIES)?, take(SPARE)?);
        eprintln!("{count} vectors; the true neighbours of {QUERIES} others");
        let truth = nearest(&stored, &queries, k);
        Ok(Self { stored, queries, spare, truth })
    }
}

/// The first rows of an `.npy` file of f32.
///
/// # Errors
/// The file is another one or too short.
pub(crate) fn read(file: &Path, count: usize) -> Result<Rows> {
    let mut numbers = read_npy(file).with_context(|| format!("reading {}", file.display()))?;
    ensure!(numbers.len() >= count * DIMENSION, "the file has too few rows");
    numbers.truncate(count * DIMENSION);
    Ok(Rows(numbers))
}

/// The numbers of an `.npy` file in version 1 of its format, row by row.
fn read_npy(file: &Path) -> Result<Vec<f32>> {
    let mut bytes = Vec::new();
    File::open(file)?.read_to_end(&mut bytes)?;
    ensure!(bytes.starts_with(b"\x93NUMPY\x01"), "not an .npy file of version 1");
    let length = bytes.get(8..10).context("no header")?;
    let length = length.iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    let header = String::from_utf8_lossy(bytes.get(10..10 + length).context("a short header")?);
    ensure!(header.contains("'<f4'"), "other numbers than f32: {header}");
    let (numbers, _) = bytes.get(10 + length..).unwrap_or_default().as_chunks::<4>();
    let numbers: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
    if header.contains("'fortran_order': False") {
        return Ok(numbers);
    }
    // Column by column.
    let rows = numbers.len() / DIMENSION;
    let columns: Vec<&[f32]> = numbers.chunks_exact(rows.max(1)).collect();
    let row = |at: usize| columns.iter().filter_map(move |column| column.get(at).copied());
    Ok((0..rows).flat_map(row).collect())
}

fn nearest(stored: &Rows, queries: &Rows, k: usize) -> Vec<Vec<usize>> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let all: Vec<&[f32]> = queries.iter().collect();
    let share = all.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let workers: Vec<_> = all
            .chunks(share)
            .map(|part| {
                scope.spawn(move || part.iter().map(|query| nearest_to(stored, query, k)).collect())
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or(Vec::new())).collect()
    })
}

fn nearest_to(stored: &Rows, query: &[f32], k: usize) -> Vec<usize> {
    let mut best: Vec<(f64, usize)> = Vec::with_capacity(k + 1);
    for (at, row) in stored.iter().enumerate() {
        let differences = row.iter().zip(query).map(|(a, b)| f64::from(*a) - f64::from(*b));
        let squared: f64 = differences.map(|difference| difference * difference).sum();
        if best.len() < k || best.last().is_some_and(|(worst, _)| squared < *worst) {
            let place = best.partition_point(|(other, _)| *other <= squared);
            best.insert(place, (squared, at));
            best.truncate(k);
        }
    }
    best.into_iter().map(|(_, at)| at).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_of_numbers_is_split_into_stored_queries_and_spare() {
        let count = 1_000;
        let rows = count + QUERIES + SPARE;
        // Row r lies at (r mod count, 0, ...), so that query q is nearest to row q.
        let first: Vec<f32> = (0..rows).map(|at| (at % count) as f32).collect();
        for order in ["False", "True"] {
            let header = format!(
                "{{'descr': '<f4', 'fortran_order': {order}, 'shape': ({rows}, {DIMENSION}), }}\n"
            );
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
            bytes.extend(header.as_bytes());
            if order == "True" {
                bytes.extend(first.iter().flat_map(|number| number.to_le_bytes()));
                bytes.resize(bytes.len() + 4 * rows * (DIMENSION - 1), 0);
            } else {
                for number in &first {
                    bytes.extend(number.to_le_bytes());
                    bytes.resize(bytes.len() + 4 * (DIMENSION - 1), 0);
                }
            }
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&bytes).unwrap();
            check(file.path(), count);
        }
    }

    fn check(file: &Path, count: usize) {
        let workload = Workload::read(file, count, 10).unwrap();
        assert_eq!((workload.stored.len(), workload.queries.len()), (count, QUERIES));
        assert_eq!(workload.truth[17][0], 17);
        assert_eq!(workload.truth[0], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert!(Workload::read(file, count + 1, 10).is_err());
    }
}
