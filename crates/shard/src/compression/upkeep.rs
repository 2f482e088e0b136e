//! What goes on beside writing so that records are compressed as they should be: dictionaries are
//! trained, and rows that were written otherwise are written anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::dictionary::Dictionary;
use super::row::{COMPRESSED, Layout};
use super::train::train;
use super::{Codec, FIRST_RECORDS};
use crate::codec::{DecodeError, Decoder};
use crate::config::Compression;
use crate::store::Store;

const UNIFORM_VERSION: u8 = 1;

/// A dictionary is succeeded by another one when there are so many times the records.
const GROWTH: u64 = 8;
/// Rows that are looked at in one step, and their bytes.
const ROWS_AT_ONCE: usize = 2_000;
const BYTES_AT_ONCE: usize = 2 << 20;

/// How all rows of a store are compressed, or are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Uniform {
    pub(crate) compression: Compression,
    pub(crate) with_dictionary: bool,
}

impl Uniform {
    pub(crate) fn encode(self) -> Vec<u8> {
        let with_dictionary = u8::from(self.with_dictionary);
        vec![UNIFORM_VERSION, super::compression_byte(self.compression), with_dictionary]
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        decoder.version(UNIFORM_VERSION)?;
        let compression = super::compression_from_byte(decoder.u8("compression")?);
        let compression = compression.ok_or(DecodeError::Field { field: "compression" })?;
        let with_dictionary = decoder.u8("dictionary")? != 0;
        decoder.finish()?;
        Ok(Self { compression, with_dictionary })
    }
}

/// Done by the thread that writes, so that no row changes between reading it and writing it anew.
pub(crate) struct Upkeep {
    /// How all rows are compressed, as was written down last.
    is: Uniform,
    /// How they are to be, and where the pass goes on that makes them so.
    pass: Option<(Uniform, Vec<u8>)>,
    training: Option<JoinHandle<Result<bool, String>>>,
    stop: Arc<AtomicBool>,
    /// With so many records there was nothing to be learnt.
    futile: Option<(Codec, u64)>,
    asked: Option<(Codec, u64)>,
}

impl Upkeep {
    pub(crate) fn new(store: &Store) -> Self {
        Self {
            // At worst all rows are looked at once more.
            is: store.load_uniform().unwrap_or_default(),
            pass: None,
            training: None,
            stop: Arc::default(),
            futile: None,
            asked: None,
        }
    }

    /// One step. Returns whether there is more to do.
    pub(crate) fn step(&mut self, store: &Store, live_records: u64) -> fjall::Result<bool> {
        self.train(store, live_records);
        let current = store.records.current();
        let wanted = Uniform {
            compression: store.records.compression(),
            with_dictionary: current.as_ref().is_some_and(|current| current.number != 0),
        };
        let is_training = self.training.is_some();
        if self.is == wanted || is_training && current.is_some() {
            // Rows are not written anew without a dictionary that will soon be there.
            if !is_training {
                self.pass = None;
            }
            store.records.set_changing(is_training);
            return Ok(is_training);
        }
        store.records.set_changing(true);
        let from = match self.pass.take() {
            Some((of, from)) if of == wanted => from,
            _ => Vec::new(),
        };
        let next = rewrite(store, current.as_deref(), &from)?;
        if let Some(next) = next {
            self.pass = Some((wanted, next));
        } else {
            store.put_uniform(wanted)?;
            self.is = wanted;
        }
        // Even after the last row a dictionary may be due.
        Ok(true)
    }

    /// Begins to train a dictionary if one is due, and hears of the end of it.
    fn train(&mut self, store: &Store, live_records: u64) {
        if let Some(training) = self.training.take_if(|training| training.is_finished()) {
            let trained = training.join();
            if let Ok(Err(reason)) = &trained {
                tracing::warn!(reason, "no dictionary can be trained for compression");
            }
            self.futile = if matches!(trained, Ok(Ok(true))) { None } else { self.asked };
        }
        let Some(current) = store.records.current() else { return };
        let train_at = self.train_at(&current);
        if self.training.is_some() || live_records < train_at {
            store.records.set_train_at(train_at);
            return;
        }
        let asked = (current.codec, live_records);
        let (store, stop) = (store.clone(), Arc::clone(&self.stop));
        let spawned = std::thread::Builder::new()
            .name("hvs-train".to_owned())
            .spawn(move || train(&store, asked.0, asked.1, &stop));
        self.asked = Some(asked);
        match spawned {
            Ok(training) => self.training = Some(training),
            Err(_) => self.futile = Some(asked),
        }
    }

    /// From how many live records the next dictionary is due.
    fn train_at(&self, current: &Dictionary) -> u64 {
        let least = match self.futile {
            Some((codec, records)) if codec == current.codec => records.saturating_mul(2),
            _ => 0,
        };
        least.max(FIRST_RECORDS).max(current.records.saturating_mul(GROWTH))
    }
}

impl Drop for Upkeep {
    /// Nothing of the store is in use when its shard has been closed.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(training) = self.training.take() {
            let _ = training.join();
        }
    }
}

/// Writes the next rows anew that are compressed otherwise. Returns where to go on; none after the
/// last one.
fn rewrite(
    store: &Store,
    current: Option<&Dictionary>,
    from: &[u8],
) -> fjall::Result<Option<Vec<u8>>> {
    let mut batch = store.batch(ROWS_AT_ONCE);
    let (mut looked_at, mut bytes) = (0, 0);
    let mut next = None;
    for row in store.records.stored_from(from) {
        let (id, row) = row?;
        if looked_at >= ROWS_AT_ONCE || bytes >= BYTES_AT_ONCE {
            next = Some(id.to_vec());
            break;
        }
        looked_at += 1;
        bytes += row.len();
        if row.first() != Some(&COMPRESSED) {
            store.records.insert_if_shorter(&mut batch, &id, &row);
        } else if is_other(&row, current)? {
            store.records.insert(&mut batch, &id, &store.records.open(row)?);
        }
    }
    batch.commit()?;
    Ok(next)
}

/// Whether a compressed row is to be compressed in another way, or not at all.
fn is_other(row: &[u8], current: Option<&Dictionary>) -> fjall::Result<bool> {
    let Some(current) = current else { return Ok(true) };
    let layout = Layout::read(row)?;
    Ok(layout.codec != current.codec || layout.dictionary == 0 && current.number != 0)
}
