//! Records of hits, read before someone asks for them.
//!
//! Where a namespace has `prefetch`, who searches is expected to ask for the records of what was
//! found next. They are read in the background, so that their blocks are in memory by then. It is
//! a guess: what there is no room for in the queue is left out, and nothing waits for it.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};

use crate::catalogue::Loaded;

/// Hits of one shard whose records are to be read.
struct Guess {
    /// Not held: a namespace is closed or deleted without waiting for guesses.
    shards: Weak<Loaded>,
    shard: usize,
    ids: Vec<String>,
}

/// Reads records ahead, on a thread of its own that ends with this.
pub struct Prefetcher {
    queue: Option<SyncSender<Guess>>,
    figures: Arc<Figures>,
}

/// What was read ahead since the start.
#[derive(Default)]
pub struct Figures {
    read: AtomicU64,
    dropped: AtomicU64,
}

impl Figures {
    /// Records that were read.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Records that the queue had no room for.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Prefetcher {
    /// `queue` in answers of shards; with 0 nothing is read ahead. Nothing is either where there
    /// can be no more threads.
    pub fn new(queue: usize) -> Self {
        let figures = Arc::<Figures>::default();
        let start = || {
            let (sender, receiver) = mpsc::sync_channel(queue);
            let figures = Arc::clone(&figures);
            let run = move || read_all(&receiver, &figures);
            match thread::Builder::new().name("hvs-prefetch".to_owned()).spawn(run) {
                Ok(_) => Some(sender),
                Err(error) => {
                    tracing::warn!(%error, "nothing is read ahead: there is no thread for it");
                    None
                }
            }
        };
        Self { queue: (queue > 0).then(start).flatten(), figures }
    }

    /// Has records of a shard read. Never waits.
    pub(crate) fn guess(&self, shards: Weak<Loaded>, shard: usize, ids: Vec<String>) {
        let Some(queue) = self.queue.as_ref().filter(|_| !ids.is_empty()) else { return };
        let count = ids.len() as u64;
        if queue.try_send(Guess { shards, shard, ids }).is_err() {
            self.figures.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// What was read so far.
    pub fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }
}

fn read_all(queue: &Receiver<Guess>, figures: &Figures) {
    while let Ok(Guess { shards, shard, ids }) = queue.recv() {
        let Some(loaded) = shards.upgrade() else { continue };
        let Some(shard) = loaded.shard(shard) else { continue };
        for id in ids {
            // Whoever asks for it is told what is wrong with it.
            if shard.get(&id).is_ok() {
                figures.read.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_no_queue_does_nothing() {
        let (sender, receiver) = mpsc::sync_channel(1);
        let prefetcher = Prefetcher { queue: Some(sender), figures: Arc::default() };
        let guess = |ids: &[&str]| {
            prefetcher.guess(Weak::new(), 0, ids.iter().map(|id| (*id).to_owned()).collect());
        };
        guess(&["a", "b"]);
        assert_eq!(prefetcher.figures().dropped(), 0);
        guess(&["c", "d", "e"]);
        guess(&[]);
        assert_eq!(prefetcher.figures().dropped(), 3);
        assert_eq!(receiver.recv().unwrap().ids, ["a", "b"]);
        guess(&["f"]);
        assert_eq!(prefetcher.figures().dropped(), 3);
        let off = Prefetcher::new(0);
        off.guess(Weak::new(), 0, vec!["a".to_owned()]);
        assert_eq!((off.figures().read(), off.figures().dropped()), (0, 0));
    }

    #[test]
    fn what_is_closed_is_passed_over() {
        let (sender, receiver) = mpsc::sync_channel(1);
        sender.send(Guess { shards: Weak::new(), shard: 0, ids: vec!["a".to_owned()] }).unwrap();
        drop(sender);
        let figures = Figures::default();
        read_all(&receiver, &figures);
        assert_eq!(figures.read(), 0);
    }
}
