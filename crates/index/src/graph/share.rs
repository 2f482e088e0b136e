//! Work that threads share.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// How much lower the priority of a helping thread is, in the steps of `nice`.
#[cfg(target_os = "linux")]
const LATER: i32 = 10;

/// Does so many pieces of work, each on whichever thread is free, and answers with what they came
/// to, in their order. There is one thread for each scratch, this one among them.
pub(super) fn share<S: Send, R: Send>(
    scratches: &mut [S],
    count: usize,
    work: &(dyn Fn(usize, &mut S) -> R + Sync),
) -> Vec<R> {
    let Some((own, others)) = scratches.split_first_mut() else { return Vec::new() };
    let next = AtomicUsize::new(0);
    let run = |scratch: &mut S| {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return done;
            }
            done.push((at, work(at, scratch)));
        }
    };
    let mut results: Vec<Option<R>> = Vec::new();
    results.resize_with(count, || None);
    let mut put = |done: Vec<(usize, R)>| {
        for (at, result) in done {
            if let Some(place) = results.get_mut(at) {
                *place = Some(result);
            }
        }
    };
    thread::scope(|scope| {
        let run = &run;
        // A thread for less than two pieces would cost more than it saves.
        let helpers = others.iter_mut().take(count / 2);
        let helpers: Vec<_> = helpers
            .filter_map(|scratch| {
                let thread = thread::Builder::new().name("hvs-index-build".to_owned());
                // Without a thread, the others do what it would have done.
                let helped = move || {
                    give_way();
                    run(scratch)
                };
                thread.spawn_scoped(scope, helped).ok()
            })
            .collect();
        put(run(own));
        for helper in helpers {
            // What a thread leaves undone that has panicked is done here.
            put(helper.join().unwrap_or_default());
        }
    });
    let rest = results.into_iter().enumerate();
    rest.map(|(at, result)| result.unwrap_or_else(|| work(at, own))).collect()
}

/// Lets this thread run after those that answer requests, when both want the same processor. On
/// Linux that is a property of the thread, elsewhere of the whole process.
pub(super) fn give_way() {
    #[cfg(target_os = "linux")]
    // Where it is not allowed, all are equal.
    let _ = rustix::process::nice(LATER);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_done_once_in_order() {
        for threads in 1..4 {
            for count in [0, 1, 2, 100] {
                let mut scratches = vec![0_usize; threads];
                let squares = share(&mut scratches, count, &|at, done: &mut usize| {
                    *done += 1;
                    at * at
                });
                assert!(squares.into_iter().eq((0..count).map(|at| at * at)));
                assert_eq!(scratches.iter().sum::<usize>(), count);
            }
        }
    }

    #[test]
    fn what_a_thread_leaves_undone_is_done_here() {
        let main = thread::current().id();
        let mut scratches = [(), (), ()];
        let results = share(&mut scratches, 100, &|at, (): &mut ()| {
            assert_eq!(thread::current().id(), main, "this thread ends early");
            at
        });
        assert!(results.into_iter().eq(0..100));
    }
}
