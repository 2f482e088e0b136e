//! Exact search by bounds (GEOMETRIC) beside a scan (FLAT), on the embedded nouns.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hvs_geometry::{
    Geometry, Precision, Space,
    hierarchy::{EmbedOptions, Hierarchy, embed},
};
use hvs_index::{IndexConfig, IndexKind, RestartState, SearchRequest, VectorIndex};
use tempfile::TempDir;
use xtask::report::Measure;

use crate::points::Sequence;

/// Intrinsic dimension, as the target has it.
const DIMENSION: usize = 10;
const QUERIES: usize = 500;
const K: usize = 10;
/// How far queries lie from a noun.
const MOVED: [f64; 2] = [0.1, 1.0];

/// An index with its folder.
struct Held {
    index: VectorIndex,
    _folder: TempDir,
}

/// What the searches of one index took, summed.
#[derive(Default)]
struct Cost {
    time: Duration,
    distances: usize,
}

/// Rows for the precision that is stored when nothing else is said, f32, and for f64.
///
/// # Errors
/// The nouns do not fit into the space, or an index fails.
pub(super) fn measure(hierarchy: &Hierarchy) -> Result<Vec<Measure>> {
    let mut rows = Vec::new();
    for precision in [Precision::F32, Precision::F64] {
        let mut options = EmbedOptions::new(DIMENSION);
        options.precision = precision;
        let points = embed(hierarchy, &options)?.points;
        let space = Space::new(Geometry::Hyperboloid, DIMENSION, -1.0)?;
        let flat = filled(&space, precision, IndexKind::Flat, &points)?;
        let geometric = filled(&space, precision, IndexKind::Geometric, &points)?;
        for moved in MOVED {
            let queries = queries(&space, &points, moved);
            let (mut by_scan, mut by_bounds) = (Cost::default(), Cost::default());
            let mut same = 0;
            for query in &queries {
                let scanned = ask(&flat, query, &mut by_scan)?;
                same += usize::from(scanned == ask(&geometric, query, &mut by_bounds)?);
            }
            rows.extend(judge(
                precision,
                moved,
                &by_scan,
                &by_bounds,
                same,
                points.len() / DIMENSION,
            ));
        }
    }
    Ok(rows)
}

/// In f64 nouns lie at radius 35, nearly all of them equally far from each other, so that there is
/// little to leave out: its time is shown and not held to the target.
fn judge(
    precision: Precision,
    moved: f64,
    by_scan: &Cost,
    by_bounds: &Cost,
    same: usize,
    count: usize,
) -> Vec<Measure> {
    let about = format!("{precision}, moved by {moved}");
    let of_scan = by_bounds.time.as_secs_f64() / by_scan.time.as_secs_f64() * 100.0;
    // Of the vectors: a scan counts those twice that it looks at again to prove their order.
    let compared = by_bounds.distances as f64 / (count * QUERIES) as f64 * 100.0;
    let micros = |cost: &Cost| cost.time.as_secs_f64() * 1e6 / QUERIES as f64;
    let (ids, distances, time) = (
        format!("GEOMETRIC, {about}: ids as FLAT's"),
        format!("GEOMETRIC, {about}: distances, of all"),
        format!("GEOMETRIC, {about}: time, of FLAT's"),
    );
    let times = format!("{:.0} and {:.0} µs a search", micros(by_bounds), micros(by_scan));
    let time = match precision {
        Precision::F32 => Measure::at_most(time, of_scan, "%", 100.0 / 3.0),
        Precision::F64 => Measure::plain(time, of_scan, "%"),
    };
    vec![
        Measure::at_least(ids, same as f64 / QUERIES as f64 * 100.0, "%", 100.0),
        Measure::at_most(distances, compared, "%", 20.0),
        time.against(times),
    ]
}

fn filled(space: &Space, precision: Precision, kind: IndexKind, points: &[f64]) -> Result<Held> {
    let folder = tempfile::tempdir().context("cannot create a folder for an index")?;
    let mut config = IndexConfig::new(space.clone());
    (config.kind, config.precision, config.tail_limit) = (kind, precision, 1 << 20);
    let index = VectorIndex::open(folder.path(), config, RestartState::default())?;
    for (key, point) in (1..).zip(points.chunks_exact(DIMENSION)) {
        index.insert(key, &format!("noun-{key}"), &stored(point, precision))?;
    }
    index.flush()?;
    ensure!(index.stats().tail == 0, "the tail is not empty");
    Ok(Held { index, _folder: folder })
}

#[expect(clippy::cast_possible_truncation, reason = "storing rounds")]
fn stored(point: &[f64], precision: Precision) -> Vec<f64> {
    match precision {
        Precision::F32 => point.iter().map(|x| f64::from(*x as f32)).collect(),
        Precision::F64 => point.to_vec(),
    }
}

/// Nouns, each moved so far in a direction of its own.
fn queries(space: &Space, points: &[f64], by: f64) -> Vec<Vec<f64>> {
    let mut sequence = Sequence::new(5);
    let all: Vec<&[f64]> = points.chunks_exact(DIMENSION).collect();
    let draw = |_| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in 0..1")]
        let row = (sequence.unit() * all.len() as f64) as usize;
        let at = space.from_storage(all.get(row).or(all.last()).copied().unwrap_or_default());
        let towards: Vec<f64> = (0..at.len()).map(|_| sequence.normal()).collect();
        moved(space, &at, &towards, by).unwrap_or(at)
    };
    (0..QUERIES).map(draw).collect()
}

/// None where a point lies too far out to be moved.
fn moved(space: &Space, at: &[f64], towards: &[f64], by: f64) -> Option<Vec<f64>> {
    let tangent = space.project_tangent(at, towards).ok()?;
    let length = space.inner(at, &tangent, &tangent).ok()?.sqrt();
    let step: Vec<f64> = tangent.iter().map(|x| x * by / length).collect();
    space.exp(at, &step).ok().filter(|point| point.iter().all(|x| x.is_finite()))
}

fn ask(held: &Held, query: &[f64], cost: &mut Cost) -> Result<Vec<u64>> {
    let begun = Instant::now();
    let answer = held.index.search(&SearchRequest::nearest(query, K))?;
    cost.time += begun.elapsed();
    cost.distances += answer.scanned;
    ensure!(answer.exact, "an answer is not exact");
    Ok(answer.hits.iter().map(|hit| hit.key).collect())
}
