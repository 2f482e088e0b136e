//! Training a dictionary from the records of a shard.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Codec;
use super::dictionary::Dictionary;
use super::records::compressible;
use crate::store::Store;

/// Records from which a sample is taken.
const SAMPLES: u64 = 4_000;
/// Rows that are looked at, from the first id on.
const MOST_ROWS: u64 = 1_000_000;
/// What is taken of one record, and of all of them.
const MOST_SAMPLE_BYTES: usize = 4 << 10;
const MOST_SAMPLES_BYTES: usize = 2 << 20;
/// With less there is nothing to be learnt.
const LEAST_SAMPLES: usize = 100;
const LEAST_SAMPLES_BYTES: usize = 8 << 10;

/// The best sizes of dictionaries: one of zstd is prepared once, LZ4 looks through its own for
/// every record.
const fn dictionary_bytes(codec: Codec) -> usize {
    match codec {
        Codec::Lz4 => 4 << 10,
        Codec::Zstd => 32 << 10,
    }
}

/// Trains a dictionary and stores it. Returns whether there is one; not if records have too little
/// in common, or if it was told to stop.
pub(super) fn train(
    store: &Store,
    codec: Codec,
    records: u64,
    stop: &AtomicBool,
) -> Result<bool, String> {
    let samples = collect(store, records, stop).map_err(|error| error.to_string())?;
    let is_enough =
        samples.sizes.len() >= LEAST_SAMPLES && samples.bytes.len() >= LEAST_SAMPLES_BYTES;
    if !is_enough || stop.load(Ordering::Relaxed) {
        return Ok(false);
    }
    let bytes =
        zstd::dict::from_continuous(&samples.bytes, &samples.sizes, dictionary_bytes(codec));
    // It says so when there is too little in common.
    let Ok(bytes) = bytes else { return Ok(false) };
    let number = store.records.next_number();
    let dictionary =
        Dictionary::new(number, codec, records, bytes).map_err(|error| error.to_string())?;
    // Before any row refers to it.
    store
        .put_dictionary(number, &dictionary.encode())
        .and_then(|()| store.persist())
        .map_err(|error| error.to_string())?;
    store.records.add(dictionary);
    Ok(true)
}

#[derive(Default)]
struct Samples {
    bytes: Vec<u8>,
    sizes: Vec<usize>,
}

fn collect(store: &Store, records: u64, stop: &AtomicBool) -> fjall::Result<Samples> {
    let mut samples = Samples::default();
    let every = usize::try_from(records.min(MOST_ROWS) / SAMPLES).unwrap_or(1).max(1);
    let most = usize::try_from(MOST_ROWS).unwrap_or(usize::MAX);
    for (looked_at, row) in store.records.stored_from(&[]).take(most).enumerate() {
        if stop.load(Ordering::Relaxed) || samples.bytes.len() >= MOST_SAMPLES_BYTES {
            break;
        }
        let (_, row) = row?;
        if !looked_at.is_multiple_of(every) {
            continue;
        }
        let row = store.records.open(row)?;
        let part = compressible(&row).and_then(|part| row.get(part)).unwrap_or_default();
        let sample = part.get(..part.len().min(MOST_SAMPLE_BYTES)).unwrap_or_default();
        if !sample.is_empty() {
            samples.bytes.extend_from_slice(sample);
            samples.sizes.push(sample.len());
        }
    }
    Ok(samples)
}
