//! What the next build does: which blocks and segments become one segment.
//!
//! A search looks at every segment, so there should be one large one and few small ones; but
//! rewriting the large one for every tail would write each row hundreds of times. Small segments
//! therefore join like the digits of a counter: a build takes the tail and every small segment
//! that is at most twice as large as what it has so far. Once that is an eighth of the largest
//! segment it is added to its graph, which costs what is added, not what is there.

use std::sync::Arc;

use crate::{
    config::{IndexConfig, IndexKind},
    engine::{Shared, Writer},
    metric::Lane,
    segment::Segment,
    tail::Block,
};

/// Fewer dead rows than this are not worth a build of their own.
const FEWEST_DEAD: usize = 256;
/// A segment with more than one dead row in so many is built anew.
const DEAD_PART: usize = 5;
/// The largest segment is added to by what is at least one part in so many of it.
const LARGEST_PART: usize = 8;

/// The input of one build.
pub(crate) struct Plan<T> {
    /// Closed blocks whose live rows are taken.
    pub(crate) blocks: Vec<Arc<Block<T>>>,
    /// The number of the first block that is not taken.
    pub(crate) next_block: u64,
    /// Segments that end with this build, `base` included.
    pub(crate) replaced: Vec<Arc<Segment<T>>>,
    /// The segment whose rows and graph are extended; without one all is built anew.
    pub(crate) base: Option<Arc<Segment<T>>>,
    pub(crate) covered_below: u64,
}

/// Whether too much of a segment is dead.
fn has_too_many_dead<T: Lane>(segment: &Segment<T>) -> bool {
    let dead = segment.dead.count();
    dead == segment.rows() || dead > FEWEST_DEAD.max(segment.rows() / DEAD_PART)
}

/// Whether some segment must be built anew for its dead rows.
pub(crate) fn is_due<T: Lane>(segments: &[Arc<Segment<T>>]) -> bool {
    segments.iter().any(|segment| has_too_many_dead(segment))
}

impl<T: Lane> Plan<T> {
    /// What is due, `None` if nothing is. Closes the blocks that it takes.
    pub(crate) fn make(shared: &Shared<T>, writer: &mut Writer) -> Option<Self> {
        let wants_tail = writer.tail_rows >= shared.config.tail_limit
            || (writer.flush_below > writer.covered_below && writer.tail_rows > 0);
        let before = shared.snapshot.load_full();
        if !wants_tail && !is_due(&before.segments) {
            return None;
        }
        let (blocks, next_block, covered_below) = if wants_tail {
            let next_block = writer.next_block;
            let blocks = before.blocks.clone();
            shared.new_block(writer);
            let below = writer.newest.map_or(0, |newest| newest.saturating_add(1));
            (blocks, next_block, below)
        } else {
            let first = before.blocks.first().map_or(writer.next_block, |block| block.number);
            (Vec::new(), first, writer.covered_below)
        };
        let tail = blocks.iter().map(|block| block.read().len() - block.dead.count()).sum();
        let replaced = choose(&before.segments, tail, &shared.config);
        let base = base_of(&replaced, &shared.config);
        Some(Self { blocks, next_block, replaced, base, covered_below })
    }

    /// Rows that leave the tail.
    pub(crate) fn tail_rows(&self) -> usize {
        self.blocks.iter().map(|block| block.read().len()).sum()
    }

    pub(crate) fn replaces(&self, segment: &Segment<T>) -> bool {
        self.replaced.iter().any(|replaced| replaced.number == segment.number)
    }
}

/// The segments that join `tail` live rows.
fn choose<T: Lane>(
    segments: &[Arc<Segment<T>>],
    tail: usize,
    config: &IndexConfig,
) -> Vec<Arc<Segment<T>>> {
    let mut by_size: Vec<_> = segments.to_vec();
    by_size.sort_by_key(|segment| segment.live());
    let largest = by_size.pop();
    let mut together = tail;
    let mut replaced = Vec::new();
    let mut left = by_size.len();
    for segment in by_size {
        let is_small = tail > 0 && segment.live() <= together.saturating_mul(2);
        let are_many = tail > 0 && left > config.small_segments;
        if is_small || are_many || has_too_many_dead(&segment) {
            together += segment.live();
            replaced.push(segment);
        }
        left -= 1;
    }
    if let Some(largest) = largest
        && (has_too_many_dead(&largest)
            || (together > 0 && together.saturating_mul(LARGEST_PART) >= largest.live()))
    {
        replaced.push(largest);
    }
    replaced
}

/// The segment whose graph is worth extending.
fn base_of<T: Lane>(replaced: &[Arc<Segment<T>>], config: &IndexConfig) -> Option<Arc<Segment<T>>> {
    let IndexKind::Hnsw { m, .. } = config.kind else { return None };
    replaced
        .iter()
        .filter(|segment| !has_too_many_dead(segment) && segment.rows() >= config.graph_from)
        .filter(|segment| segment.links().is_some_and(|links| links.shape.m == m))
        .max_by_key(|segment| segment.live())
        .cloned()
}
