//! Client of the HVS HTTP API.
//!
//! One [`Client`] holds a pool of kept-alive connections to one node; it is cheap to clone and may
//! be used from many tasks at once. Bodies travel as MessagePack. Every failure is a
//! [`ClientError`], of which [`ClientError::Problem`] carries the node's own words and its stable
//! code.
//!
//! What is safe to repeat is repeated: reads, and writes, each of which carries an idempotency key
//! (the caller's, or one made here), so that a repeated one takes effect once. The creation of a
//! namespace may be repeated by its nature. Deleting a namespace is repeated only where the node
//! said that it has not done it.

mod config;
mod error;
mod methods;
mod retry;
mod transport;

pub use config::ClientConfig;
pub use error::ClientError;
pub use methods::DeleteOptions;
pub use transport::Client;

/// A new idempotency key, unlike any other.
pub fn idempotency_key() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
