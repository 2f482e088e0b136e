//! Who follows the changes of a namespace: how many there are, and how far behind.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::watch;

/// All followers of a node, up to a limit.
#[derive(Debug)]
pub struct Followers {
    limit: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    all: HashMap<u64, Arc<Progress>>,
}

/// How far one has come in each of its shards.
#[derive(Debug)]
struct Progress {
    newest: Vec<watch::Receiver<u64>>,
    read: Vec<AtomicU64>,
}

/// The place of a follower, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Follower {
    number: u64,
    progress: Arc<Progress>,
    followers: Arc<Followers>,
}

impl Followers {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, open: Mutex::default() })
    }

    /// The most at once.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.open.lock().all.len()
    }

    /// By how many entries the last of them is behind.
    pub fn lag(&self) -> u64 {
        self.open.lock().all.values().map(|progress| progress.lag()).max().unwrap_or(0)
    }

    /// A place, unless there are as many as may be.
    pub(crate) fn join(self: &Arc<Self>, newest: Vec<watch::Receiver<u64>>) -> Option<Follower> {
        let mut open = self.open.lock();
        if open.all.len() >= self.limit {
            return None;
        }
        let read = newest.iter().map(|seq| AtomicU64::new(*seq.borrow())).collect();
        let progress = Arc::new(Progress { newest, read });
        let number = open.next;
        open.next += 1;
        open.all.insert(number, Arc::clone(&progress));
        Some(Follower { number, progress, followers: Arc::clone(self) })
    }
}

impl Progress {
    fn lag(&self) -> u64 {
        let behind = self
            .newest
            .iter()
            .zip(&self.read)
            .map(|(newest, read)| newest.borrow().saturating_sub(read.load(Ordering::Relaxed)));
        behind.sum()
    }
}

impl Follower {
    /// Notes how far it has come.
    pub(crate) fn has_read(&self, seqs: impl Iterator<Item = u64>) {
        for (read, seq) in self.progress.read.iter().zip(seqs) {
            read.store(seq, Ordering::Relaxed);
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.followers.open.lock().all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_given_back_and_know_their_lag() {
        let followers = Followers::new(2);
        let (shard, newest) = watch::channel(5);
        let first = followers.join(vec![newest.clone()]).unwrap();
        let second = followers.join(vec![newest.clone()]).unwrap();
        assert!(followers.join(vec![newest.clone()]).is_none());
        shard.send_replace(9);
        first.has_read([9].into_iter());
        assert_eq!((followers.count(), followers.lag()), (2, 4));
        drop(second);
        assert_eq!((followers.count(), followers.lag()), (1, 0));
        assert!(followers.join(vec![newest]).is_some());
    }
}
