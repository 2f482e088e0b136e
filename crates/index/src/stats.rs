//! What an index reports about itself.

/// Counts and sizes. `live + dead` is the number of rows held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexStats {
    /// Rows that searches can return.
    pub live: usize,
    /// Removed rows that still take space.
    pub dead: usize,
    /// Rows in the tail, dead ones included.
    pub tail: usize,
    /// Rows in the tail beyond its limit: what waits for a segment.
    pub tail_excess: usize,
    /// Segments.
    pub segments: usize,
    /// Rows in the largest segment.
    pub largest_segment: usize,
    /// Bytes of stored vectors.
    pub bytes_vectors: u64,
    /// Bytes of ranking rows and graph links.
    pub bytes_graph: u64,
    /// Bytes of ranking rows in segments, a part of `bytes_graph`: what quantisation makes less of.
    pub bytes_ranking: u64,
    /// Bytes of ids and their positions.
    pub bytes_ids: u64,
    /// Bytes that are in anonymous memory rather than mapped from files.
    pub bytes_anonymous: u64,
    /// Whether a segment is being built now, or waits for its turn.
    pub building: bool,
    /// Builds that were published since the index was opened.
    pub builds: u64,
    /// Builds that failed since the index was opened.
    pub failed_builds: u64,
}
