//! How many indexes are built at once where more of them wait.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod kit;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
    mpsc,
};

use hvs_geometry::Precision;
use hvs_index::{Builders, IndexConfig, RestartState, VectorIndex};
use kit::{Model, Random, config, fill, hyperboloid};
use parking_lot::Mutex;

const LIMIT: usize = 2;
const INDEXES: usize = 6;
const ROWS: usize = 600;

/// Each build stays where it has published its segment, and has its slot, until it is let on.
#[test]
fn so_many_are_built_at_once_and_no_more() {
    let space = hyperboloid(3);
    let builders = Builders::new(LIMIT, 1);
    builders.pause();
    let inside = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (enters, entered) = mpsc::channel();
    let (lets_on, let_on) = mpsc::channel::<()>();
    let let_on = Arc::new(Mutex::new(let_on));
    let folders: Vec<_> = (0..=INDEXES).map(|_| tempfile::tempdir().unwrap()).collect();
    let open = |at: usize, builders: Builders| {
        let config =
            IndexConfig { builders, tail_limit: ROWS / 2, ..config(&space, Precision::F32) };
        VectorIndex::open(folders[at].path(), config, RestartState::default()).unwrap()
    };
    let fill = |at: usize, index: &VectorIndex| {
        let (mut model, mut random) = (Model::default(), Random(at as u64));
        fill(index, &mut model, &space, Precision::F32, &mut random, 1, ROWS);
    };
    let indexes: Vec<VectorIndex> = (0..INDEXES)
        .map(|at| {
            let index = open(at, builders.clone());
            let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
            let (enters, let_on) = (enters.clone(), Arc::clone(&let_on));
            index.on_covered(move |_| {
                most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                enters.send(()).unwrap();
                // Ends also when nobody lets on any more, after a failure.
                let _ = let_on.lock().recv();
                inside.fetch_sub(1, SeqCst);
            });
            fill(at, &index);
            index
        })
        .collect();
    // Gone before them, so that after a failure no build waits for it.
    let lets_on = lets_on;
    assert_eq!(builders.running(), 0);
    assert!(entered.try_recv().is_err());
    builders.resume();
    for _ in 0..LIMIT {
        entered.recv().unwrap();
    }
    // As much is built meanwhile by builders that are not theirs as each of the others waits for.
    let other = open(INDEXES, Builders::new(1, 1));
    fill(INDEXES, &other);
    other.flush().unwrap();
    assert_eq!((builders.running(), inside.load(SeqCst)), (LIMIT, LIMIT));
    assert!(entered.try_recv().is_err(), "one more than are allowed");
    assert_eq!(indexes.iter().filter(|index| index.stats().segments > 0).count(), LIMIT);
    // Each that ends lets another begin.
    for _ in LIMIT..INDEXES {
        lets_on.send(()).unwrap();
        entered.recv().unwrap();
    }
    for _ in 0..LIMIT {
        lets_on.send(()).unwrap();
    }
    for index in &indexes {
        index.flush().unwrap();
        assert_eq!((index.stats().segments, index.stats().tail), (1, 0));
    }
    assert_eq!(most.load(SeqCst), LIMIT);
}
