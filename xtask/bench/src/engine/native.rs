//! The bare native index, built by one thread.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use super::ingest::Set;
use crate::process;

/// What a build took.
pub(super) struct Built {
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
}

/// Adds all rows of a set to an empty index of 32-bit numbers.
///
/// L2 is the native index's own. Of a hyperboloid it knows nothing: rows get their time
/// coordinate, and the metric is the Minkowski form, as plainly as Rust can say it.
pub(super) fn build(set: &Set, m: u64, ef_construction: u64) -> Result<Built> {
    let is_hyperbolic = set.geometry == "hyperboloid";
    let rows: Vec<Vec<f32>> = if is_hyperbolic {
        set.rows.iter().map(|row| with_time(row)).collect()
    } else {
        set.rows.clone()
    };
    let lanes = rows.first().context("no rows")?.len();
    let mut index = Index::new(&IndexOptions {
        dimensions: lanes,
        metric: MetricKind::L2sq,
        quantization: ScalarKind::F32,
        connectivity: usize::try_from(m)?,
        expansion_add: usize::try_from(ef_construction)?,
        expansion_search: 64,
        multi: false,
    })?;
    index.reserve_capacity_and_threads(rows.len(), 1)?;
    if is_hyperbolic {
        index.change_metric::<f32>(Box::new(move |a: *const f32, b: *const f32| {
            #[allow(unsafe_code, reason = "the native index hands over bare pointers")]
            // SAFETY: usearch calls the metric with two of its vectors of `dimensions` f32.
            let (a, b) = unsafe {
                (std::slice::from_raw_parts(a, lanes), std::slice::from_raw_parts(b, lanes))
            };
            minkowski(a, b)
        }));
    }
    let cpu = process::cpu_time(std::process::id())?;
    let begun = Instant::now();
    for (key, row) in rows.iter().enumerate() {
        index.add(key as u64, row)?;
    }
    let wall = begun.elapsed();
    Ok(Built { wall, cpu: process::cpu_time(std::process::id())?.saturating_sub(cpu) })
}

fn with_time(row: &[f32]) -> Vec<f32> {
    let squares: f32 = row.iter().map(|x| x * x).sum();
    std::iter::once((1.0 + squares).sqrt()).chain(row.iter().copied()).collect()
}

/// The hyperbolic cosine of the distance.
fn minkowski(a: &[f32], b: &[f32]) -> f32 {
    let Some(((a_time, a), (b_time, b))) = a.split_first().zip(b.split_first()) else {
        return f32::MAX;
    };
    a_time * b_time - a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>()
}
