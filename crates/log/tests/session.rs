//! Sessions over a store whose requests and replies are slow and get lost, with clocks that differ:
//! whoever fences a node finds that it no longer serves.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use hvs_kv::{
    CompareAndSwap, Durability, Kv,
    embedded::{Embedded, EmbeddedConfig},
};
use hvs_log::{
    Fenced, Liveness, Renewal, Session, SessionError, SessionLost, SessionRecord, SessionState,
    SessionTimes, Watch, begin_incarnation, fence, session_key,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// What happens, at a true time.
enum Event {
    /// The holder's heartbeat.
    Renew,
    /// A renewal reaches the store; whether its reply is lost.
    Stored(Renewal, bool),
    /// The reply reaches the holder.
    Renewed(Renewal, CompareAndSwap),
    /// The watcher's heartbeat.
    Look,
    /// A read that was sent at this time of the watcher's clock is answered.
    Seen(Duration, Option<Vec<u8>>),
    /// A fence of this value reaches the store.
    Fence(Vec<u8>),
}

/// What one run came to.
#[derive(Default)]
struct Run {
    /// The holder served when its fence was set.
    is_violated: bool,
    is_fenced: bool,
    knows: bool,
    lost_replies: u32,
}

/// Mostly short, and at times longer than anything else.
fn delay(random: &mut StdRng) -> Duration {
    let longest = if random.random_bool(0.05) { 9000 } else { 300 };
    Duration::from_millis(random.random_range(0..longest))
}

/// `rates`: how fast the clocks of holder and watcher go. The holder is paused once, or never.
fn run(seed: u64, rates: [f64; 2]) -> Run {
    let random = &mut StdRng::seed_from_u64(seed);
    let times = SessionTimes::default();
    let [holder, watcher] =
        rates.map(|rate| move |now: Duration| now.mul_f64(rate) + Duration::from_secs(1000));
    let mut session = Session::new(times, 1, None);
    let mut watch = Watch::new(times);
    let mut stored: Option<Vec<u8>> = None;
    let mut queue = BinaryHeap::new();
    let mut events = BTreeMap::new();
    let mut number = 0_u64;
    let mut at = |queue: &mut BinaryHeap<_>, events: &mut BTreeMap<_, _>, when: Duration, what| {
        number += 1;
        queue.push(Reverse((when, number)));
        events.insert(number, what);
    };
    let pause = Duration::from_millis(random.random_range(5_000..40_000));
    let until = pause + Duration::from_millis(random.random_range(0..20_000));
    at(&mut queue, &mut events, Duration::ZERO, Event::Renew);
    at(&mut queue, &mut events, Duration::ZERO, Event::Look);
    let mut outcome = Run::default();
    while let Some(Reverse((now, number))) = queue.pop() {
        if now > Duration::from_mins(2) {
            break;
        }
        match events.remove(&number).unwrap() {
            // It notices nothing while it is paused.
            Event::Renew | Event::Renewed(..) if (pause..until).contains(&now) => {
                at(&mut queue, &mut events, until, Event::Renew);
            }
            Event::Renew => {
                let renewal = session.renew(holder(now), b"about".to_vec());
                let is_reply_lost = random.random_bool(0.1);
                if random.random_bool(0.9) {
                    let arrives = now + delay(random);
                    at(&mut queue, &mut events, arrives, Event::Stored(renewal, is_reply_lost));
                }
                let next = now + times.heartbeat.div_f64(rates[0]);
                at(&mut queue, &mut events, next, Event::Renew);
            }
            Event::Stored(renewal, is_reply_lost) => {
                let swap = if stored == renewal.expected {
                    stored = Some(renewal.bytes.clone());
                    CompareAndSwap::Swapped
                } else {
                    CompareAndSwap::Different(stored.clone())
                };
                if is_reply_lost {
                    outcome.lost_replies += 1;
                } else {
                    let arrives = now + delay(random);
                    at(&mut queue, &mut events, arrives, Event::Renewed(renewal, swap));
                }
            }
            Event::Renewed(renewal, swap) => {
                if session.renewed(&renewal, swap).is_err() {
                    outcome.knows = true;
                    assert!(!session.is_valid(holder(now)));
                    break;
                }
            }
            Event::Look => {
                if random.random_bool(0.95) {
                    // It is read at some time between.
                    let sent = watcher(now);
                    let answered = now + delay(random);
                    at(&mut queue, &mut events, answered, Event::Seen(sent, stored.clone()));
                }
                let next = now + times.heartbeat.div_f64(rates[1]);
                at(&mut queue, &mut events, next, Event::Look);
            }
            Event::Seen(sent, value) => {
                if let Liveness::Dead(seen) = watch.saw(sent, watcher(now), value.as_deref()) {
                    at(&mut queue, &mut events, now + delay(random), Event::Fence(seen));
                }
            }
            Event::Fence(seen) => {
                if stored.as_ref() == Some(&seen) && !outcome.is_fenced {
                    outcome.is_fenced = true;
                    outcome.is_violated = session.is_valid(holder(now));
                    let record = SessionRecord::decode(&seen).unwrap();
                    assert_eq!(record.state, SessionState::Live);
                    stored = Some(fenced(record));
                }
            }
        }
    }
    outcome
}

/// As the store has it after a fence.
fn fenced(record: SessionRecord) -> Vec<u8> {
    SessionRecord { state: SessionState::Fenced, ..record }.encode()
}

#[test]
fn a_node_that_is_fenced_has_stopped_to_serve() {
    let (mut fenced, mut knew, mut lost) = (0, 0, 0);
    for seed in 0..3000 {
        let random = &mut StdRng::seed_from_u64(seed);
        let rates = [random.random_range(0.9..1.1), random.random_range(0.9..1.1)];
        let outcome = run(seed, rates);
        assert!(!outcome.is_violated, "seed {seed}: it served when it was fenced");
        fenced += u32::from(outcome.is_fenced);
        knew += u32::from(outcome.knows);
        lost += outcome.lost_replies;
    }
    println!("{fenced} fenced, {knew} of them learned it, {lost} replies lost");
    assert!(fenced > 500 && knew > 300 && lost > 1000, "hardly anything happened");
}

/// Else the test above would show nothing.
#[test]
fn clocks_that_differ_by_more_than_is_allowed_are_found_out() {
    let violated = (0..3000).filter(|seed| run(*seed, [0.5, 1.5]).is_violated).count();
    assert!(violated > 0, "a clock three times as fast does no harm");
}

#[test]
fn a_node_begins_at_once_only_where_nobody_else_can_run() {
    let record = |incarnation, state| SessionRecord {
        incarnation,
        counter: 1,
        state,
        attempt: hvs_log::AttemptId([1; 16]),
        about: Vec::new(),
    };
    assert_eq!(begin_incarnation(None, 4), Some(5));
    assert_eq!(begin_incarnation(Some(&record(4, SessionState::Live)), 4), Some(5), "its own");
    assert_eq!(begin_incarnation(Some(&record(9, SessionState::Fenced)), 4), Some(10));
    assert_eq!(begin_incarnation(Some(&record(9, SessionState::Live)), 4), None, "another may run");
    assert_eq!(begin_incarnation(Some(&record(3, SessionState::Live)), 4), None);
}

/// Sends a renewal.
async fn renew(kv: &Embedded, session: &mut Session, now: u64) -> Result<(), SessionLost> {
    let renewal = session.renew(Duration::from_secs(now), Vec::new());
    let (key, expected) = (session_key("hvs", "a"), renewal.expected.as_deref());
    let swap = kv.compare_and_swap(&key, expected, &renewal.bytes, Durability::Sync).await;
    session.renewed(&renewal, swap.unwrap())
}

#[tokio::test]
async fn a_fence_needs_what_was_observed_and_ends_the_incarnation() {
    let directory = tempfile::tempdir().unwrap();
    let kv = Embedded::open(directory.path(), EmbeddedConfig::default()).unwrap();
    let key = session_key("hvs", "a");
    let mut session = Session::new(SessionTimes::default(), 1, None);
    renew(&kv, &mut session, 0).await.unwrap();
    let old = kv.get(&key).await.unwrap().unwrap();
    renew(&kv, &mut session, 1).await.unwrap();
    let Fenced::Changed(record) = fence(&kv, &key, &old).await.unwrap() else {
        panic!("a session was fenced that had been renewed")
    };
    assert_eq!((record.counter, record.state), (2, SessionState::Live));

    let observed = kv.get(&key).await.unwrap().unwrap();
    assert_eq!(fence(&kv, &key, &observed).await.unwrap(), Fenced::Yes);
    assert_eq!(fence(&kv, &key, &observed).await.unwrap(), Fenced::Yes, "by whomever");
    assert!(session.is_valid(Duration::from_secs(2)), "it does not know yet");
    assert_eq!(renew(&kv, &mut session, 2).await, Err(SessionLost::Fenced));
    assert!(!session.is_valid(Duration::from_secs(2)));

    // It begins anew, and the earlier incarnation stays dead.
    let present = kv.get(&key).await.unwrap();
    let found = SessionRecord::decode(present.as_deref().unwrap()).unwrap();
    let incarnation = begin_incarnation(Some(&found), 1).unwrap();
    let mut next = Session::new(SessionTimes::default(), incarnation, present);
    renew(&kv, &mut next, 3).await.unwrap();
    assert_eq!(fence(&kv, &key, &observed).await.unwrap(), Fenced::Yes);
    assert!(next.is_valid(Duration::from_secs(4)));
    let replaced = renew(&kv, &mut session, 4).await;
    assert_eq!(replaced, Err(SessionLost::Replaced { incarnation: 2 }));
    renew(&kv, &mut next, 4).await.unwrap();

    let last = kv.get(&key).await.unwrap().unwrap();
    kv.delete(&key, Durability::Sync).await.unwrap();
    assert!(matches!(fence(&kv, &key, &last).await, Err(SessionError::Gone)));
    assert_eq!(renew(&kv, &mut next, 5).await, Err(SessionLost::Gone));
}

#[test]
fn a_late_reply_does_not_make_the_next_renewal_expect_what_was_replaced() {
    let mut session = Session::new(SessionTimes::default(), 1, None);
    let first = session.renew(Duration::from_secs(0), Vec::new());
    let second = session.renew(Duration::from_secs(1), Vec::new());
    session.renewed(&second, CompareAndSwap::Different(Some(first.bytes.clone()))).unwrap();
    let third = session.renew(Duration::from_secs(2), Vec::new());
    assert_eq!(third.expected.as_ref(), Some(&first.bytes));
    session.renewed(&third, CompareAndSwap::Swapped).unwrap();
    session.renewed(&first, CompareAndSwap::Swapped).unwrap();
    assert_eq!(session.renew(Duration::from_secs(3), Vec::new()).expected, Some(third.bytes));
    assert!(session.is_valid(Duration::from_millis(5900)));
    assert!(!session.is_valid(Duration::from_secs(6)));
}
