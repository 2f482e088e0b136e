//! What a search sees: segments and the blocks of the tail, published together.

use std::sync::Arc;

use crate::{metric::Lane, segment::Segment, tail::Block};

/// One consistent set of segments and blocks. Every row is in exactly one of them.
pub(crate) struct Snapshot<T> {
    pub(crate) segments: Vec<Arc<Segment<T>>>,
    /// In order of their numbers, without gaps; only the last one still grows.
    pub(crate) blocks: Vec<Arc<Block<T>>>,
}

/// A place where candidates come from.
pub(crate) enum Source<T> {
    Segment(Arc<Segment<T>>),
    Block(Arc<Block<T>>),
}

impl<T: Lane> Source<T> {
    /// Looks at the stored vector of a row; `None` if there is no such row.
    pub(crate) fn with_stored<R>(&self, row: u32, look: impl FnOnce(&[T]) -> R) -> Option<R> {
        let row = row as usize;
        match self {
            Self::Segment(segment) => segment.with_stored(row, look),
            Self::Block(block) => block.read().stored(row).map(look),
        }
    }

    /// The id of a row; `None` if there is no such row.
    pub(crate) fn id(&self, row: u32) -> Option<String> {
        let row = row as usize;
        match self {
            Self::Segment(segment) => segment.id(row).map(str::to_owned),
            Self::Block(block) => block.read().id(row).map(str::to_owned),
        }
    }
}
