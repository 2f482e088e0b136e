//! Calls from threads that have no runtime.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::runtime::Handle;

use super::{Tikv, failure};
use crate::{CompareAndSwap, Durability, Kv, KvError, PutIfAbsent, ScanLimit, ScanPage};

/// A connection whose calls are carried out on the runtime that it was made on, wherever they are
/// waited for: shards write from threads of their own, which poll and have neither timers nor IO.
pub struct OnRuntime {
    tikv: Arc<Tikv>,
    runtime: Handle,
}

impl OnRuntime {
    /// On this runtime, which must not be one that blocks while a call is waited for.
    pub fn new(tikv: Tikv, runtime: Handle) -> Self {
        Self { tikv: Arc::new(tikv), runtime }
    }

    async fn run<T, F>(
        &self,
        operation: &'static str,
        key: &[u8],
        call: impl FnOnce(Arc<Tikv>) -> F,
    ) -> Result<T, KvError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, KvError>> + Send + 'static,
    {
        let carried_out = self.runtime.spawn(call(Arc::clone(&self.tikv))).await;
        carried_out.unwrap_or_else(|error| Err(failure(operation, key, error)))
    }
}

#[async_trait]
impl Kv for OnRuntime {
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let owned = key.to_vec();
        self.run("get", key, |tikv| async move { tikv.get(&owned).await }).await
    }

    async fn put_if_absent(
        &self,
        key: &[u8],
        value: &[u8],
        durability: Durability,
    ) -> Result<PutIfAbsent, KvError> {
        let (owned, value) = (key.to_vec(), value.to_vec());
        let call =
            |tikv: Arc<Tikv>| async move { tikv.put_if_absent(&owned, &value, durability).await };
        self.run("put", key, call).await
    }

    async fn compare_and_swap(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
        durability: Durability,
    ) -> Result<CompareAndSwap, KvError> {
        let (owned, value) = (key.to_vec(), value.to_vec());
        let expected = expected.map(<[u8]>::to_vec);
        let call = |tikv: Arc<Tikv>| async move {
            tikv.compare_and_swap(&owned, expected.as_deref(), &value, durability).await
        };
        self.run("compare and swap", key, call).await
    }

    async fn scan(&self, start: &[u8], end: &[u8], limit: ScanLimit) -> Result<ScanPage, KvError> {
        let (first, end) = (start.to_vec(), end.to_vec());
        let call = |tikv: Arc<Tikv>| async move { tikv.scan(&first, &end, limit).await };
        self.run("scan from", start, call).await
    }

    async fn delete(&self, key: &[u8], durability: Durability) -> Result<(), KvError> {
        let owned = key.to_vec();
        let call = |tikv: Arc<Tikv>| async move { tikv.delete(&owned, durability).await };
        self.run("delete", key, call).await
    }

    async fn delete_range(&self, start: &[u8], end: &[u8]) -> Result<(), KvError> {
        let (first, end) = (start.to_vec(), end.to_vec());
        let call = |tikv: Arc<Tikv>| async move { tikv.delete_range(&first, &end).await };
        self.run("delete the range from", start, call).await
    }

    /// Every write is committed when its call returns.
    async fn sync(&self) -> Result<(), KvError> {
        self.tikv.sync().await
    }

    fn may_lose_buffered(&self) -> bool {
        self.tikv.may_lose_buffered()
    }

    fn repeats(&self) -> bool {
        self.tikv.repeats()
    }
}
