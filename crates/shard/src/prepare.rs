//! Checking and encoding a request on the caller's side, so that the writer only copies.

use hvs_log::{ENTRY_OVERHEAD_BYTES, MAX_ENTRY_BYTES};

use crate::command::{BATCH_OVERHEAD_BYTES, RequestDigest, encode_operation};
use crate::config::ShardConfig;
use crate::content;
use crate::error::WriteError;
use crate::operation::{Durability, Operation, WriteRequest};
use crate::patch;
use crate::record::{Expiry, InvalidRecord, Timestamp, check_id, check_optional};

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

/// Checks a request against every limit and encodes it. Times to live begin now.
pub(crate) fn prepare(
    request: &WriteRequest,
    config: &ShardConfig,
    now: Timestamp,
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
    let mut digest = Digest::new(request);
    for (index, operation) in request.operations.iter().enumerate() {
        let encoded = encode(operation, config, now)
            .map_err(|source| WriteError::Invalid { index, source })?;
        if request.idempotency_key.is_some() {
            digest
                .push(operation, &encoded, config)
                .map_err(|source| WriteError::Invalid { index, source })?;
        }
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
    prepared.idempotency = request.idempotency_key.clone().map(|key| (key, digest.finish()));
    Ok(prepared)
}

fn encode(
    operation: &Operation,
    config: &ShardConfig,
    now: Timestamp,
) -> Result<Vec<u8>, InvalidRecord> {
    let expires_at = operation.expiry().map(|expiry| expiry.at(now));
    let mut body = Vec::new();
    match operation {
        Operation::Delete { id, .. } => check_id(id)?,
        Operation::Put { record, .. } => {
            body.reserve(256);
            content::encode(record, expires_at, &config.vectors, &mut body)?;
        }
        Operation::Patch { id, patch, .. } => {
            check_id(id)?;
            let limit = config.max_metadata_bytes;
            patch::encode(patch, expires_at, &config.vectors, limit, &mut body)?;
        }
    }
    Ok(encode_operation(operation, &body))
}

/// Equal for equal operations with equal atomicity; the durability may differ in a repetition, and
/// so may what a time to live comes to.
struct Digest(blake3::Hasher);

impl Digest {
    fn new(request: &WriteRequest) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[u8::from(request.atomic)]);
        Self(hasher)
    }

    fn push(
        &mut self,
        operation: &Operation,
        encoded: &[u8],
        config: &ShardConfig,
    ) -> Result<(), InvalidRecord> {
        let mut update = |bytes: &[u8]| {
            self.0.update(&(bytes.len() as u64).to_le_bytes());
            self.0.update(bytes);
        };
        if let Some(Expiry::After(_)) = operation.expiry() {
            update(b"ttl");
            update(&encode(operation, config, Timestamp::default())?);
        } else {
            update(encoded);
        }
        Ok(())
    }

    fn finish(&self) -> RequestDigest {
        let mut digest = RequestDigest::default();
        self.0.finalize_xof().fill(&mut digest);
        digest
    }
}
