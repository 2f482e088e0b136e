//! [`Kv`] on TiKV, through its raw interface with atomic compare-and-swap.
//!
//! What the client library leaves open is closed here:
//! - Its calls have no time-out of their own that can be relied on, and give up or go on for long
//!   depending on how they fail. Every attempt has a time-out here, and every call another one,
//!   within which attempts are repeated with a growing, random pause.
//! - A reply can be lost after the write was applied, and the repeated write then looks like one
//!   that came too late. Every value is kept behind the random id of the call that wrote it
//!   (`frame`), by which a call knows its own value. A compare-and-swap is sent once in each
//!   attempt, and looked for before it is sent again.
//! - Its scan leaves the range, so pages are read by its batch scan and checked.
//!
//! A request that timed out may be applied later, after the call has ended, successful or not: a
//! value that was put if absent can then come back after it was deleted. Nothing here can prevent
//! that. Callers do not reuse keys, or compare with something that is only ever raised.

mod attempts;
mod frame;
mod on_runtime;
mod pages;

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tikv_client::{Backoff, Config, RawClient};
use tokio::sync::Mutex;

use crate::{
    CompareAndSwap, Durability, Kv, KvError, PrintableKey, PutIfAbsent, ScanLimit, ScanPage,
    check_key, check_pair,
};
use attempts::{Attempts, Outcome};
use frame::Frame;
use pages::PageSize;

pub use on_runtime::OnRuntime;

/// Longest prefix, in bytes: with it, the longest key of HVS is within TiKV's limit of 8 KiB.
pub const MAX_PREFIX_BYTES: usize = 1 << 10;
/// Largest answer that is taken, in bytes; TiKV sends at most 10 MiB unless told otherwise.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Where TiKV is, and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TikvConfig {
    /// Addresses of PD, `host:port`. One that answers is enough.
    pub endpoints: Vec<String>,
    /// What every key starts with, so that clusters can share a TiKV. At most
    /// [`MAX_PREFIX_BYTES`].
    pub prefix: Vec<u8>,
    /// How long one request may take before it is given up.
    pub attempt_timeout: Duration,
    /// How long a call may take, with all its attempts. One that fails then takes an attempt more, to
    /// connect anew.
    pub call_timeout: Duration,
    /// Certificates for TLS; without them connections are plain.
    pub tls: Option<TikvTls>,
}

impl TikvConfig {
    /// Plain connections; 1 s for an attempt and 4 s for a call, which is below the time after
    /// which a silent node counts as dead.
    pub fn new(endpoints: Vec<String>, prefix: Vec<u8>) -> Self {
        Self {
            endpoints,
            prefix,
            attempt_timeout: Duration::from_secs(1),
            call_timeout: Duration::from_secs(4),
            tls: None,
        }
    }
}

/// PEM files of a connection with mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TikvTls {
    /// What the certificates of PD and TiKV are checked against.
    pub ca: PathBuf,
    /// The own certificate, with its chain.
    pub certificate: PathBuf,
    /// The key of it.
    pub key: PathBuf,
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The settings do not say where PD is.
    #[error("no address of PD is given; name at least one, as host:port")]
    NoEndpoints,
    /// The prefix is too long.
    #[error("a prefix of {bytes} bytes is too long, at most {MAX_PREFIX_BYTES} are allowed")]
    PrefixTooLong {
        /// Its length.
        bytes: usize,
    },
    /// No PD answered as one.
    #[error(
        "no PD of TiKV at {}: {source}; check the addresses, that PD runs there, and the \
         certificates if it wants some",
        endpoints.join(", ")
    )]
    NotReached {
        /// The addresses.
        endpoints: Vec<String>,
        /// What went wrong.
        source: TikvError,
    },
}

/// What went wrong between here and TiKV.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TikvError {
    /// It did not answer.
    #[error("no answer within {} ms", after.as_millis())]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The client library, or TiKV, says so.
    #[error("{0}")]
    Client(Box<tikv_client::Error>),
    /// A request without an answer may have been applied, and something else is there by now.
    #[error("the key was written by another, and whether this write came before is not known")]
    Undetermined,
    /// A value that HVS did not write.
    #[error(
        "the key holds {bytes} bytes that HVS did not write; another program uses the same prefix"
    )]
    Foreign {
        /// Its length.
        bytes: usize,
    },
    /// The runtime that carries the connection has stopped, or the call panicked.
    #[error("the call was ended before it had an answer: {0}")]
    Ended(#[from] tokio::task::JoinError),
    /// A scan gave what is not in its range, or not in order.
    #[error("TiKV gave a key outside of the range, or out of order: {key}")]
    Disordered {
        /// The key.
        key: PrintableKey,
    },
}

impl TikvError {
    /// Whether the same may succeed later: nothing is wrong with what is stored.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::TimedOut { .. } | Self::Client(_) | Self::Undetermined)
    }
}

impl From<tikv_client::Error> for TikvError {
    fn from(error: tikv_client::Error) -> Self {
        Self::Client(Box::new(error))
    }
}

/// A connection to TiKV.
pub struct Tikv {
    config: TikvConfig,
    clients: ArcSwap<Clients>,
    /// Held by the one that connects anew.
    connecting: Mutex<()>,
    page_size: PageSize,
}

/// The handles that the library wants for its kinds of calls, on one set of connections.
struct Clients {
    /// Reads, and removes ranges. Repeats by itself what changes in the cluster ask for.
    reading: RawClient,
    /// Writes, each sent once.
    writing: RawClient,
}

impl Tikv {
    /// Connects.
    pub async fn connect(config: TikvConfig) -> Result<Self, ConnectError> {
        if config.endpoints.is_empty() {
            return Err(ConnectError::NoEndpoints);
        }
        if config.prefix.len() > MAX_PREFIX_BYTES {
            return Err(ConnectError::PrefixTooLong { bytes: config.prefix.len() });
        }
        let mut attempts = Attempts::new(config.call_timeout, config.attempt_timeout);
        let clients = loop {
            match attempts.limit(Clients::connect(&config)).await {
                Ok(clients) => break clients,
                Err(source) => {
                    if !attempts.pause().await {
                        let endpoints = config.endpoints.clone();
                        return Err(ConnectError::NotReached { endpoints, source });
                    }
                }
            }
        };
        Ok(Self {
            config,
            clients: ArcSwap::from_pointee(clients),
            connecting: Mutex::new(()),
            page_size: PageSize::default(),
        })
    }

    fn full_key(&self, key: &[u8]) -> Vec<u8> {
        [&self.config.prefix, key].concat()
    }

    fn attempts(&self) -> Attempts {
        Attempts::new(self.config.call_timeout, self.config.attempt_timeout)
    }

    /// Repeats what can be repeated until it succeeds, fails for good, or has taken too long.
    async fn repeat<T, F>(
        &self,
        attempts: &mut Attempts,
        operation: &'static str,
        key: &[u8],
        attempt: impl Fn(Arc<Clients>) -> F,
    ) -> Result<T, KvError>
    where
        F: Future<Output = Result<T, tikv_client::Error>>,
    {
        loop {
            match attempts.limit(attempt(self.clients.load_full())).await {
                Ok(value) => return Ok(value),
                Err(error) if attempts::is_final(&error) => {
                    return Err(failure(operation, key, error));
                }
                Err(error) => {
                    if !attempts.pause().await {
                        self.reconnect().await;
                        return Err(failure(operation, key, error));
                    }
                }
            }
        }
    }

    /// Makes new connections: old ones are known to stay broken after some faults. If that fails,
    /// the old ones stay.
    async fn reconnect(&self) {
        let Ok(_alone) = self.connecting.try_lock() else { return };
        let attempts = self.attempts();
        if let Ok(clients) = attempts.limit(Clients::connect(&self.config)).await {
            self.clients.store(Arc::new(clients));
        }
    }

    /// What TiKV holds at a key, as it holds it.
    async fn present(
        &self,
        attempts: &mut Attempts,
        operation: &'static str,
        key: &[u8],
    ) -> Result<Option<Frame>, KvError> {
        let full = self.full_key(key);
        let found = self
            .repeat(attempts, operation, key, |clients| {
                let full = full.clone();
                async move { clients.reading.get(full).await }
            })
            .await?;
        found
            .map(|bytes| Frame::parse(bytes).map_err(|error| failure(operation, key, error)))
            .transpose()
    }

    /// Stores the value if the key has the expected one.
    async fn swap(
        &self,
        operation: &'static str,
        key: &[u8],
        expected: Expected<'_>,
        value: &[u8],
    ) -> Result<CompareAndSwap, KvError> {
        let full = self.full_key(key);
        let new = Frame::new(value);
        let mut attempts = self.attempts();
        // Known before the first attempt, what was there all along is not taken for what came after
        // an attempt of unknown outcome. A slot is worth the shorter way.
        let mut present = match expected {
            Expected::Slot => None,
            Expected::Absent | Expected::Value(_) => {
                self.present(&mut attempts, operation, key).await?
            }
        };
        // Whether an earlier attempt may have been applied.
        let mut unknown = false;
        loop {
            if let Some(found) = present.as_ref().filter(|found| found.is_of(&new)) {
                // The reply was lost, not the write.
                debug_assert_eq!(found.value(), value);
                return Ok(CompareAndSwap::Swapped);
            }
            if !expected.is_met(present.as_ref()) {
                if unknown && expected != Expected::Slot {
                    return Err(failure(operation, key, TikvError::Undetermined));
                }
                return Ok(CompareAndSwap::Different(present.map(Frame::into_value)));
            }
            let clients = self.clients.load_full();
            let before = present.take().map(Frame::into_bytes);
            let (full, bytes) = (full.clone(), new.bytes().to_vec());
            let sent = attempts
                .limit(async move { clients.writing.compare_and_swap(full, before, bytes).await });
            let error = match sent.await {
                Ok((_, true)) => return Ok(CompareAndSwap::Swapped),
                Ok((found, false)) => {
                    // It is looked at, not given back: it may be this call's, or the expected
                    // value as another call wrote it.
                    present = found
                        .map(Frame::parse)
                        .transpose()
                        .map_err(|error| failure(operation, key, error))?;
                    continue;
                }
                Err(error) => error,
            };
            match attempts::outcome(&error) {
                Outcome::Final => return Err(failure(operation, key, error)),
                Outcome::NotApplied => {}
                Outcome::Unknown => unknown = true,
            }
            if !attempts.pause().await {
                self.reconnect().await;
                return Err(failure(operation, key, error));
            }
            // Also lets the library learn who answers for the key by now.
            present = self.present(&mut attempts, operation, key).await?;
        }
    }
}

/// What a compare-and-swap expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected<'a> {
    /// Nothing, and nobody overwrites what is put there: another's value means that this one was
    /// never there.
    Slot,
    /// Nothing.
    Absent,
    /// This value.
    Value(&'a [u8]),
}

impl Expected<'_> {
    fn is_met(self, present: Option<&Frame>) -> bool {
        match self {
            Self::Slot | Self::Absent => present.is_none(),
            Self::Value(expected) => present.is_some_and(|found| found.value() == expected),
        }
    }
}

impl Clients {
    async fn connect(config: &TikvConfig) -> Result<Self, tikv_client::Error> {
        let mut settings = Config::default()
            .with_timeout(config.attempt_timeout)
            .with_grpc_max_decoding_message_size(MAX_ANSWER_BYTES);
        if let Some(tls) = &config.tls {
            settings = settings.with_security(&tls.ca, &tls.certificate, &tls.key);
        }
        let client = RawClient::new_with_config(config.endpoints.clone(), settings).await?;
        Ok(Self {
            reading: client.with_backoff(Backoff::full_jitter_backoff(2, 50, 4)),
            // It would send again by itself what may have been applied.
            writing: client.with_atomic_for_cas().with_backoff(Backoff::no_backoff()),
        })
    }
}

#[async_trait]
impl Kv for Tikv {
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        check_key(key)?;
        Ok(self.present(&mut self.attempts(), "get", key).await?.map(Frame::into_value))
    }

    async fn put_if_absent(
        &self,
        key: &[u8],
        value: &[u8],
        _: Durability,
    ) -> Result<PutIfAbsent, KvError> {
        check_pair(key, value)?;
        match self.swap("put", key, Expected::Slot, value).await? {
            CompareAndSwap::Swapped => Ok(PutIfAbsent::Stored),
            CompareAndSwap::Different(Some(found)) => Ok(PutIfAbsent::Present(found)),
            // It says so of a key that is not absent.
            CompareAndSwap::Different(None) => Err(failure("put", key, TikvError::Undetermined)),
        }
    }

    async fn compare_and_swap(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
        _: Durability,
    ) -> Result<CompareAndSwap, KvError> {
        check_pair(key, value)?;
        let expected = expected.map_or(Expected::Absent, Expected::Value);
        self.swap("compare and swap", key, expected, value).await
    }

    async fn scan(&self, start: &[u8], end: &[u8], limit: ScanLimit) -> Result<ScanPage, KvError> {
        check_key(start)?;
        check_key(end)?;
        self.page(start, end, limit).await
    }

    async fn delete(&self, key: &[u8], _: Durability) -> Result<(), KvError> {
        check_key(key)?;
        let full = self.full_key(key);
        self.repeat(&mut self.attempts(), "delete", key, |clients| {
            let full = full.clone();
            async move {
                // The library learns who answers for the key by reading only.
                let deleted = clients.writing.delete(full.clone()).await;
                if deleted.is_err() {
                    clients.reading.get(full).await?;
                }
                deleted
            }
        })
        .await
    }

    async fn delete_range(&self, start: &[u8], end: &[u8]) -> Result<(), KvError> {
        check_key(start)?;
        check_key(end)?;
        if start >= end {
            return Ok(());
        }
        let range = self.full_key(start)..self.full_key(end);
        self.repeat(&mut self.attempts(), "delete the range from", start, |clients| {
            let range = range.clone();
            async move { clients.reading.delete_range(range).await }
        })
        .await
    }

    /// Every write is committed when its call returns.
    async fn sync(&self) -> Result<(), KvError> {
        Ok(())
    }

    fn may_lose_buffered(&self) -> bool {
        false
    }

    fn repeats(&self) -> bool {
        true
    }
}

fn failure(operation: &'static str, key: &[u8], source: impl Into<TikvError>) -> KvError {
    KvError::Backend { operation, key: PrintableKey::from(key), source: Box::new(source.into()) }
}
