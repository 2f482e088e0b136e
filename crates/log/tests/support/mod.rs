//! A store that fails on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use hvs_kv::{CompareAndSwap, Durability, Kv, KvError, PutIfAbsent, ScanLimit, ScanPage};

/// Passes everything on to another store, except for the next calls that were chosen to fail.
pub(crate) struct Unreliable {
    inner: Arc<dyn Kv>,
    failing_writes: AtomicU32,
    lost_replies: AtomicU32,
    failing_deletes: AtomicU32,
    gappy_scans: AtomicU32,
}

impl Unreliable {
    pub(crate) fn new(inner: Arc<dyn Kv>) -> Self {
        Self {
            inner,
            failing_writes: AtomicU32::new(0),
            lost_replies: AtomicU32::new(0),
            failing_deletes: AtomicU32::new(0),
            gappy_scans: AtomicU32::new(0),
        }
    }

    /// The next writes fail and do nothing.
    pub(crate) fn fail_writes(&self, count: u32) {
        self.failing_writes.store(count, Ordering::SeqCst);
    }

    /// The next writes are done, but the caller is told that they failed, or, as a client that
    /// repeats by itself would, finds its own value there.
    pub(crate) fn lose_replies(&self, count: u32) {
        self.lost_replies.store(count, Ordering::SeqCst);
    }

    /// The next scans leave out the first pair, as one does that reads its range in parts and
    /// reads the first part before the pair was written.
    pub(crate) fn skip_in_scans(&self, count: u32) {
        self.gappy_scans.store(count, Ordering::SeqCst);
    }

    /// The next deletes fail and do nothing.
    pub(crate) fn fail_deletes(&self, count: u32) {
        self.failing_deletes.store(count, Ordering::SeqCst);
    }
}

fn take(counter: &AtomicU32) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn failure() -> KvError {
    KvError::Backend {
        operation: "fail",
        key: (&b"on demand"[..]).into(),
        source: "a test asked for it".into(),
    }
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
        if take(&self.failing_writes) {
            return Err(failure());
        }
        let result = self.inner.put_if_absent(key, value, durability).await;
        if take(&self.lost_replies) { Err(failure()) } else { result }
    }

    async fn compare_and_swap(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
        durability: Durability,
    ) -> Result<CompareAndSwap, KvError> {
        let result = self.inner.compare_and_swap(key, expected, value, durability).await?;
        if result == CompareAndSwap::Swapped && take(&self.lost_replies) {
            return Ok(CompareAndSwap::Different(Some(value.to_vec())));
        }
        Ok(result)
    }

    async fn scan(&self, start: &[u8], end: &[u8], limit: ScanLimit) -> Result<ScanPage, KvError> {
        let mut page = self.inner.scan(start, end, limit).await?;
        if !page.pairs.is_empty() && take(&self.gappy_scans) {
            page.pairs.remove(0);
        }
        Ok(page)
    }

    async fn delete(&self, key: &[u8], durability: Durability) -> Result<(), KvError> {
        self.inner.delete(key, durability).await
    }

    async fn delete_range(&self, start: &[u8], end: &[u8]) -> Result<(), KvError> {
        if take(&self.failing_deletes) {
            return Err(failure());
        }
        self.inner.delete_range(start, end).await
    }

    async fn sync(&self) -> Result<(), KvError> {
        self.inner.sync().await
    }

    fn may_lose_buffered(&self) -> bool {
        self.inner.may_lose_buffered()
    }
}
