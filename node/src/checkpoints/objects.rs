//! Objects of rows, made and fetched while the rows are read and used.
//!
//! Reading a state and compressing it take about as long, and so do fetching an object and using
//! its rows. Each pair runs on two threads, with little between them.

use std::{collections::HashMap, sync::mpsc, thread};

use bytes::Bytes;
use hvs_checkpoint::{
    CheckpointStore, Chunk, ChunkWriter, Finished, Link, ObjectRef, Packer, Sizes, StoreError,
    WriteError,
};
use tokio::task::JoinHandle;

use super::{CheckpointError, tasks::Work};

/// Chunks that wait to be compressed.
const CHUNKS_AHEAD: usize = 2;

/// Why no objects were made of rows.
pub(super) enum Interrupted<E> {
    /// Of the rows, or of what takes the objects.
    Failed(E),
    /// What takes the rows ended before; its own error says why.
    Gone,
}

impl<E: From<CheckpointError>> Interrupted<E> {
    fn into_error(self) -> E {
        match self {
            Self::Failed(error) => error,
            Self::Gone => CheckpointError::Lost.into(),
        }
    }
}

impl<E: From<CheckpointError>> From<WriteError> for Interrupted<E> {
    fn from(error: WriteError) -> Self {
        Self::Failed(CheckpointError::from(error).into())
    }
}

/// Where rows are put, in order of their keys.
pub(super) struct Rows {
    chunks: ChunkWriter,
    /// `None` is the end: without it, something has failed.
    full: mpsc::SyncSender<Option<Chunk>>,
    used: mpsc::Receiver<Chunk>,
}

impl Rows {
    pub(super) fn push<E: From<CheckpointError>>(
        &mut self,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Interrupted<E>> {
        if let Some(chunk) = self.chunks.push(key, value)? {
            self.full.send(Some(chunk)).map_err(|_| Interrupted::Gone)?;
            if let Ok(used) = self.used.try_recv() {
                self.chunks.reuse(used);
            }
        }
        Ok(())
    }

    fn finish<E>(self) -> Result<(), Interrupted<E>> {
        let Self { chunks, full, .. } = self;
        let last = chunks.finish().map(Some);
        last.into_iter()
            .chain([None])
            .try_for_each(|end| full.send(end))
            .map_err(|_| Interrupted::Gone)
    }
}

/// Makes objects of the rows that `read` gives, and gives them to `take`, which runs on another
/// thread.
pub(super) fn write<T, E>(
    sizes: Sizes,
    read: impl FnOnce(&mut Rows) -> Result<T, Interrupted<E>>,
    take: impl FnMut(Finished) -> Result<(), E> + Send,
) -> Result<T, E>
where
    E: From<CheckpointError> + Send,
{
    let packer = Packer::new(sizes).map_err(CheckpointError::from)?;
    let (full, chunks) = mpsc::sync_channel(CHUNKS_AHEAD);
    let (give_back, used) = mpsc::channel();
    thread::scope(|scope| {
        let packing = thread::Builder::new()
            .name("hvs-task-pack".to_owned())
            .spawn_scoped(scope, move || pack(packer, &chunks, &give_back, take))
            .map_err(CheckpointError::Thread)?;
        let mut rows = Rows { chunks: ChunkWriter::new(sizes), full, used };
        let read = read(&mut rows).and_then(|read| rows.finish().map(|()| read));
        let packed = packing.join().unwrap_or_else(|_| Err(CheckpointError::Lost.into()));
        match (read, packed) {
            (Ok(read), Ok(())) => Ok(read),
            (Err(Interrupted::Failed(error)), _) | (_, Err(error)) => Err(error),
            (Err(stop @ Interrupted::Gone), Ok(())) => Err(stop.into_error()),
        }
    })
}

fn pack<E: From<CheckpointError>>(
    mut packer: Packer,
    chunks: &mpsc::Receiver<Option<Chunk>>,
    give_back: &mpsc::Sender<Chunk>,
    mut take: impl FnMut(Finished) -> Result<(), E>,
) -> Result<(), E> {
    let failed = CheckpointError::from;
    loop {
        match chunks.recv() {
            Ok(Some(chunk)) => {
                if let Some(object) = packer.push(&chunk).map_err(failed)? {
                    take(object)?;
                }
                // Nobody may need it any more.
                let _ = give_back.send(chunk);
            }
            Ok(None) => return packer.finish().map_or(Ok(()), take),
            // Whoever reads the rows has failed, and says so.
            Err(mpsc::RecvError) => return Ok(()),
        }
    }
}

/// Fetches the objects of links; of one of them the next object while the last one is used.
pub(super) struct Ahead<'a> {
    store: &'a CheckpointStore,
    work: &'a Work,
    /// The object after each.
    following: HashMap<&'a str, &'a ObjectRef>,
    coming: Option<(&'a str, JoinHandle<Result<Bytes, StoreError>>)>,
}

impl<'a> Ahead<'a> {
    pub(super) fn new(store: &'a CheckpointStore, links: &'a [Link], work: &'a Work) -> Self {
        let following = links.iter().flat_map(|link| {
            let names = link.objects.iter().map(|object| object.name.as_str());
            names.zip(link.objects.iter().skip(1))
        });
        Self { store, work, following: following.collect(), coming: None }
    }

    /// The bytes of an object, which have the size and hash that its reference says.
    pub(super) fn get(&mut self, object: &ObjectRef) -> Result<Bytes, CheckpointError> {
        let bytes = match self.coming.take_if(|(name, _)| *name == object.name) {
            Some((_, coming)) => self.work.wait_for(async {
                match coming.await {
                    Ok(fetched) => fetched.map_err(CheckpointError::from),
                    Err(_) => Err(CheckpointError::Lost),
                }
            })?,
            None => self.work.wait_for(self.store.get(object))?,
        };
        self.work.bytes(bytes.len() as u64);
        if self.coming.is_none()
            && let Some(next) = self.following.get(object.name.as_str())
        {
            let (store, next_object) = (self.store.clone(), (*next).clone());
            let fetch = async move { store.get(&next_object).await };
            self.coming = Some((next.name.as_str(), self.work.spawn(fetch)));
        }
        Ok(bytes)
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        if let Some((_, coming)) = self.coming.take() {
            coming.abort();
        }
    }
}
