//! Whether the node of a shard may lead it.

use std::fmt;
use std::sync::Arc;

/// Tells whether the session of this node is valid at this moment. It is what makes sure that
/// nobody else leads, where other nodes have the same store of logs.
#[derive(Clone)]
pub struct Lease(Arc<dyn Fn() -> bool + Send + Sync>);

impl Lease {
    /// One that is read by a function.
    pub fn new(is_valid: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_valid))
    }

    /// Whether the node may lead now.
    pub fn is_valid(&self) -> bool {
        (self.0)()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Lease").field(&self.is_valid()).finish()
    }
}
