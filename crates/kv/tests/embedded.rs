//! The embedded backend passes the suite that every backend passes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use async_trait::async_trait;
use hvs_kv::Kv;
use hvs_kv::conformance::{Fixture, run};
use hvs_kv::embedded::{Embedded, EmbeddedConfig};

struct Directory(tempfile::TempDir);

#[async_trait]
impl Fixture for Directory {
    async fn open(&self) -> Arc<dyn Kv> {
        Arc::new(Embedded::open(self.0.path(), EmbeddedConfig::default()).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn embedded_conforms() {
    run(&Directory(tempfile::tempdir().unwrap()), "test/conformance").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tiny_memtable_conforms_too() {
    // Forces what is otherwise rare: sorted files while the suite runs.
    struct Tiny(tempfile::TempDir);

    #[async_trait]
    impl Fixture for Tiny {
        async fn open(&self) -> Arc<dyn Kv> {
            let config = EmbeddedConfig {
                cache_bytes: 1 << 16,
                memtable_bytes: 1 << 12,
                ..EmbeddedConfig::default()
            };
            Arc::new(Embedded::open(self.0.path(), config).unwrap())
        }
    }

    run(&Tiny(tempfile::tempdir().unwrap()), "t").await;
}
