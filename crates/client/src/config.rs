//! What a client needs to know.

use std::time::Duration;

/// Where the node is and how patient the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// The node's address, such as `http://127.0.0.1:9001`.
    pub url: String,
    /// How long one attempt may take, from the first byte sent to the last received. The node is
    /// told, and stops working on what nobody waits for.
    pub timeout: Duration,
    /// How long it may take to connect.
    pub connect_timeout: Duration,
    /// How often a request is tried in all; 1 never repeats.
    pub attempts: u32,
    /// The pause before the first repetition where the node does not say one; it doubles from one
    /// to the next. A random part of up to a half is taken off, so that many clients do not
    /// return at once.
    pub first_pause: Duration,
    /// The longest pause. A node that asks for a longer one is not asked again.
    pub longest_pause: Duration,
    /// No answer is read beyond this many bytes.
    pub answer_bytes: usize,
}

impl ClientConfig {
    /// The defaults for the node at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            attempts: 4,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(10),
            answer_bytes: 256 << 20,
        }
    }
}
