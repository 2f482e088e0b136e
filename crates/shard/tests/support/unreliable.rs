//! A store that fails on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use hvs_kv::{CompareAndSwap, Durability, Kv, KvError, PutIfAbsent, ScanLimit, ScanPage};

/// Passes everything on to another store, except for the next writes or syncs if told so.
pub(crate) struct Unreliable {
    inner: Arc<dyn Kv>,
    failing_writes: AtomicU32,
    failing_syncs: AtomicU32,
    /// Writes that succeed before all later ones fail.
    writes_left: AtomicU32,
    may_lose_buffered: bool,
}

impl Unreliable {
    /// One that commits every write, as others than the embedded one do.
    pub(crate) fn committing(inner: Arc<dyn Kv>) -> Self {
        Self { may_lose_buffered: false, ..Self::new(inner) }
    }

    pub(crate) fn new(inner: Arc<dyn Kv>) -> Self {
        Self {
            may_lose_buffered: inner.may_lose_buffered(),
            inner,
            failing_writes: AtomicU32::new(0),
            failing_syncs: AtomicU32::new(0),
            writes_left: AtomicU32::new(u32::MAX),
        }
    }

    /// Breaks for good after some more writes.
    pub(crate) fn break_after(&self, writes: u32) {
        self.writes_left.store(writes, Ordering::SeqCst);
    }

    pub(crate) fn fail_writes(&self, count: u32) {
        self.failing_writes.store(count, Ordering::SeqCst);
    }

    pub(crate) fn fail_syncs(&self, count: u32) {
        self.failing_syncs.store(count, Ordering::SeqCst);
    }
}

/// Counts down; false at zero.
fn take(counter: &AtomicU32) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn fail_if(failing: bool) -> Result<(), KvError> {
    if !failing {
        return Ok(());
    }
    Err(KvError::Backend {
        operation: "fail",
        key: (&b"on demand"[..]).into(),
        source: "a test asked for it".into(),
    })
}

#[async_trait]
impl Kv for Unreliable {
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.inner.get(key).await
    }

    async fn put_if_absent(
        &self,
        key: &[u8],
        value: &[u8],
        durability: Durability,
    ) -> Result<PutIfAbsent, KvError> {
        fail_if(take(&self.failing_writes) || !take(&self.writes_left))?;
        self.inner.put_if_absent(key, value, durability).await
    }

    async fn compare_and_swap(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
        durability: Durability,
    ) -> Result<CompareAndSwap, KvError> {
        self.inner.compare_and_swap(key, expected, value, durability).await
    }

    async fn scan(&self, start: &[u8], end: &[u8], limit: ScanLimit) -> Result<ScanPage, KvError> {
        self.inner.scan(start, end, limit).await
    }

    async fn delete(&self, key: &[u8], durability: Durability) -> Result<(), KvError> {
        self.inner.delete(key, durability).await
    }

    async fn delete_range(&self, start: &[u8], end: &[u8]) -> Result<(), KvError> {
        self.inner.delete_range(start, end).await
    }

    async fn sync(&self) -> Result<(), KvError> {
        fail_if(take(&self.failing_syncs))?;
        self.inner.sync().await
    }

    fn may_lose_buffered(&self) -> bool {
        self.may_lose_buffered
    }
}
