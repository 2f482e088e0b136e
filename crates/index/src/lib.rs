//! Vector index: an exactly scanned flat tail and immutable HNSW segments.
