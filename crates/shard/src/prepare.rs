//! Checking and encoding a request on the caller's side, so that the writer only copies.

use hvs_log::{ENTRY_OVERHEAD_BYTES, MAX_ENTRY_BYTES};

use crate::command::{BATCH_OVERHEAD_BYTES, RequestDigest, encode_operation};
use crate::config::ShardConfig;
use crate::content;
use crate::error::WriteError;
use crate::operation::{Durability, Operation, WriteRequest};
use crate::record::{InvalidRecord, check_id, check_optional};

/// Longest idempotency key, in bytes of UTF-8.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;

/// Bytes of operations that one log entry can hold, whatever surrounds them.
pub const MAX_OPERATIONS_BYTES: usize =
    MAX_ENTRY_BYTES - ENTRY_OVERHEAD_BYTES - BATCH_OVERHEAD_BYTES;

/// A request that is known to be acceptable, encoded.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) operations: Vec<Vec<u8>>,
    /// Size of the operations together.
    pub(crate) bytes: usize,
    pub(crate) atomic: bool,
    pub(crate) durability: Durability,
    pub(crate) idempotency: Option<(String, RequestDigest)>,
}

impl Prepared {
    pub(crate) fn empty(request: &WriteRequest) -> Self {
        Self {
            operations: Vec::with_capacity(request.operations.len()),
            bytes: 0,
            atomic: request.atomic,
            durability: request.durability,
            idempotency: None,
        }
    }
}

/// Checks a request against every limit and encodes it.
pub(crate) fn prepare(
    request: &WriteRequest,
    config: &ShardConfig,
) -> Result<Prepared, WriteError> {
    let operations = request.operations.len();
    if operations == 0 {
        return Err(WriteError::Empty);
    }
    if operations > config.max_operations {
        return Err(WriteError::TooMany { operations, limit: config.max_operations });
    }
    check_optional("key", request.idempotency_key.as_deref(), MAX_IDEMPOTENCY_KEY_BYTES)
        .map_err(|source| WriteError::InvalidIdempotencyKey { source })?;

    let mut prepared = Prepared::empty(request);
    for (index, operation) in request.operations.iter().enumerate() {
        let encoded =
            encode(operation, config).map_err(|source| WriteError::Invalid { index, source })?;
        let bytes = encoded.len();
        if bytes > MAX_OPERATIONS_BYTES {
            return Err(WriteError::TooLarge { index, bytes, limit: MAX_OPERATIONS_BYTES });
        }
        prepared.bytes += bytes;
        prepared.operations.push(encoded);
    }
    if request.atomic && prepared.bytes > MAX_OPERATIONS_BYTES {
        let (bytes, limit) = (prepared.bytes, MAX_OPERATIONS_BYTES);
        return Err(WriteError::AtomicTooLarge { bytes, limit });
    }
    prepared.idempotency = request.idempotency_key.clone().map(|key| (key, digest(&prepared)));
    Ok(prepared)
}

fn encode(operation: &Operation, config: &ShardConfig) -> Result<Vec<u8>, InvalidRecord> {
    match operation {
        Operation::Delete { id, .. } => {
            check_id(id)?;
            Ok(encode_operation(operation, None))
        }
        Operation::Put { record, .. } => {
            let mut encoded = Vec::with_capacity(256);
            content::encode(record, &config.vectors, &mut encoded)?;
            Ok(encode_operation(operation, Some(&encoded)))
        }
    }
}

/// Equal for equal operations with equal atomicity; the durability may differ in a repetition.
fn digest(prepared: &Prepared) -> RequestDigest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[u8::from(prepared.atomic)]);
    for operation in &prepared.operations {
        hasher.update(&(operation.len() as u64).to_le_bytes());
        hasher.update(operation);
    }
    let mut digest = RequestDigest::default();
    hasher.finalize_xof().fill(&mut digest);
    digest
}
