//! Reading all of a checkpoint.

use hvs_checkpoint::{Chain, Checkpoint, CheckpointStore, Hash, Link, ObjectRef, Row};
use hvs_shard::checkpoint::StateRows;

use super::{CheckpointError, objects::Ahead, tasks::Work};

/// Checks every object, every row, and that what they add up to is the state that was there.
pub(super) fn run(
    store: &CheckpointStore,
    checkpoint: &Checkpoint,
    work: &Work,
) -> Result<(), CheckpointError> {
    work.expect_rows(checkpoint.objects().map(|object| object.rows).sum());
    for (shard, part) in checkpoint.shards.iter().enumerate() {
        let mut state = StateRows::default();
        for row in rows(store, &part.links, work) {
            let Row { key, value } = row?;
            state.push(&key, &value).map_err(|source| CheckpointError::State { shard, source })?;
        }
        let summary = state.finish().map_err(|source| CheckpointError::State { shard, source })?;
        if Hash(summary.digest) != part.digest {
            return Err(CheckpointError::Digest { shard });
        }
        if summary.seq != part.seq {
            let (expected, found) = (part.seq, summary.seq);
            return Err(CheckpointError::OtherSeq { shard, expected, found });
        }
    }
    Ok(())
}

/// The rows of a chain.
pub(super) fn rows<'a>(
    store: &'a CheckpointStore,
    links: &'a [Link],
    work: &'a Work,
) -> impl Iterator<Item = Result<Row, CheckpointError>> + 'a {
    let mut ahead = Ahead::new(store, links, work);
    Chain::new(links, move |object: &ObjectRef| ahead.get(object)).map(|row| {
        work.row()?;
        row
    })
}
