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

/// One row of a source.
pub(crate) struct RowView<'a, T> {
    pub(crate) id: &'a str,
    pub(crate) stored: &'a [T],
}

impl<T: Lane> Source<T> {
    /// Looks at a row; `None` if there is no such row.
    pub(crate) fn with_row<R>(
        &self,
        row: u32,
        look: impl FnOnce(RowView<'_, T>) -> R,
    ) -> Option<R> {
        let row = row as usize;
        match self {
            Self::Segment(segment) => {
                Some(look(RowView { id: segment.id(row)?, stored: segment.stored(row)? }))
            }
            Self::Block(block) => {
                let rows = block.read();
                Some(look(RowView { id: rows.id(row)?, stored: rows.stored(row)? }))
            }
        }
    }
}
