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
    /// How long a request may take with all its repetitions and the pauses between them. Zero
    /// never repeats.
    pub patience: Duration,
    /// How long it may take to connect.
    pub connect_timeout: Duration,
    /// How long a connection is tried for while this client has never had an answer: nobody may
    /// ever listen there. Once the node has answered, `patience` counts, for it may restart.
    pub connect_patience: Duration,
    /// The pause before the first repetition where the node does not say one; it doubles from one
    /// to the next. A random part of up to a half is taken off, so that many clients do not
    /// return at once.
    pub first_pause: Duration,
    /// The longest pause where the node does not say one.
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
            patience: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            connect_patience: Duration::from_secs(3),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(2),
            answer_bytes: 256 << 20,
        }
    }
}
