//! Namespaces that are unloaded when nobody uses them, and loaded again.

use std::time::Duration;

use hvs_shard::{Expiry, NewRecord, Operation, WriteOutcome, WriteRequest};

use super::{
    super::slot::{Found, Unused},
    *,
};

const NOW: Unused = Unused::For(Duration::ZERO);

/// Unloads a namespace as soon as it has nothing to do.
async fn unload(catalogue: &Arc<Catalogue>, name: &str) {
    let begun = Instant::now();
    while !try_unload(catalogue, name).await {
        assert!(begun.elapsed() < Duration::from_mins(1), "{name} is never unloaded");
        tokio::task::yield_now().await;
    }
}

async fn try_unload(catalogue: &Arc<Catalogue>, name: &str) -> bool {
    let (catalogue, slot) = (Arc::clone(catalogue), catalogue.slot(name).unwrap());
    let unloading = tokio::task::spawn_blocking(move || catalogue.unload(&slot, NOW, "a test"));
    unloading.await.unwrap()
}

fn is_loaded(catalogue: &Catalogue, name: &str) -> bool {
    catalogue.overview(name).unwrap().is_loaded
}

/// Has it loaded as soon as there is room: what has just been opened may have something to do yet,
/// and stays until that is done.
async fn get(catalogue: &Arc<Catalogue>, name: &str) -> Arc<Namespace> {
    let begun = Instant::now();
    loop {
        match catalogue.get(name, soon()).await {
            Ok(namespace) => return namespace,
            Err(CatalogueError::Load { source: LoadError::Memory(exhausted), .. }) => {
                assert!(begun.elapsed() < Duration::from_mins(1), "{name}: {exhausted}");
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

/// With so much that what else a node holds is little beside it.
async fn filled_well(catalogue: &Arc<Catalogue>, name: &str) {
    filled(catalogue, name).await;
    let namespace = catalogue.get(name, soon()).await.unwrap();
    for part in 0..4_u32 {
        let put = |number: u32| {
            let vector = vec![1_000.0 + f64::from(number), 0.0];
            let record = NewRecord::new(format!("more-{number:05}"), vector);
            Operation::Put { record, condition: None }
        };
        let operations = (part * 1_000..(part + 1) * 1_000).map(put).collect();
        let first = WriteRequest::put(NewRecord::new("0", vec![0.0, 0.0]));
        namespace.shards()[0].write(WriteRequest { operations, ..first }).await.unwrap();
    }
}

async fn filled(catalogue: &Arc<Catalogue>, name: &str) {
    catalogue.create(name, &flat()).await.unwrap();
    fill(&catalogue.get(name, soon()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unloaded_is_known_and_the_next_request_loads_it() {
    let directory = tempfile::tempdir().unwrap();
    let catalogue = open(&surroundings(directory.path())).await;
    filled(&catalogue, "n").await;
    unload(&catalogue, "n").await;
    let overview = catalogue.overview("n").unwrap();
    assert!(!overview.is_loaded);
    assert_eq!(overview.stats[0].records, 50);
    assert_eq!(overview.stats[0].indexes[""].live, 50);
    assert_eq!(catalogue.residents(), (0, 1));
    // Its store can be opened by someone else: nothing of it is held any more.
    let shard = overview.description.entry.shards[0].to_string();
    let store = directory.path().join("shards").join(shard).join("store");
    std::fs::File::open(store.join("lock")).unwrap().try_lock().unwrap();
    let namespace = catalogue.get("n", soon()).await.unwrap();
    assert!(is_loaded(&catalogue, "n"));
    assert_eq!(nearest(&namespace), ["20", "21", "19"]);
    assert_eq!((catalogue.memory().loads(), catalogue.memory().unloads()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_ask_at_once_load_it_once() {
    let directory = tempfile::tempdir().unwrap();
    let catalogue = open(&surroundings(directory.path())).await;
    filled(&catalogue, "n").await;
    unload(&catalogue, "n").await;
    let asking = (0..32).map(|_| {
        let catalogue = Arc::clone(&catalogue);
        tokio::spawn(async move { nearest(&catalogue.get("n", soon()).await.unwrap()) })
    });
    for found in futures_util::future::join_all(asking).await {
        assert_eq!(found.unwrap(), ["20", "21", "19"]);
    }
    assert_eq!(catalogue.memory().loads(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_use_stays() {
    let directory = tempfile::tempdir().unwrap();
    let catalogue = open(&surroundings(directory.path())).await;
    filled(&catalogue, "n").await;
    let held = catalogue.get("n", soon()).await.unwrap();
    assert!(!try_unload(&catalogue, "n").await);
    // A follower of its changes.
    let pin = held.pin();
    drop(held);
    assert!(!try_unload(&catalogue, "n").await);
    drop(pin);
    unload(&catalogue, "n").await;
    // An index that is being built anew.
    let (_, rebuild) = catalogue.alter("n", &to_ivf(), soon()).await.unwrap();
    assert!(!try_unload(&catalogue, "n").await);
    drop(rebuild);
    unload(&catalogue, "n").await;
    // It has to have been unused for as long as asked.
    catalogue.get("n", soon()).await.unwrap();
    let slot = catalogue.slot("n").unwrap();
    let long = Duration::from_hours(1);
    assert!(slot.begin_unloading(Unused::For(long)).is_none());
    assert!(slot.begin_unloading(Unused::SinceOpenedOrFor(long)).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn records_in_memory_keep_it_loaded_until_they_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let catalogue = open(&surroundings(directory.path())).await;
    filled(&catalogue, "n").await;
    let namespace = catalogue.get("n", soon()).await.unwrap();
    let put = Operation::Put { record: NewRecord::new("m", vec![1.0, 1.0]), condition: None };
    let delete = Operation::Delete { id: "m".into(), condition: None };
    let write = |operation| WriteRequest {
        operations: vec![operation],
        durability: hvs_shard::Durability::Memory,
        ..WriteRequest::default()
    };
    namespace.shards()[0].write(write(put)).await.unwrap();
    drop(namespace);
    assert!(!try_unload(&catalogue, "n").await);
    let namespace = catalogue.get("n", soon()).await.unwrap();
    let answer = namespace.shards()[0].write(write(delete)).await.unwrap();
    assert!(matches!(answer.outcomes[0], WriteOutcome::Deleted { .. }));
    drop(namespace);
    unload(&catalogue, "n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_the_waiting_and_not_the_loading() {
    let directory = tempfile::tempdir().unwrap();
    let catalogue = open(&surroundings(directory.path())).await;
    filled(&catalogue, "n").await;
    unload(&catalogue, "n").await;
    // Held by the test in place of the thread that loads.
    let slot = catalogue.slot("n").unwrap();
    let Found::Unloaded(change, _) = slot.find() else { panic!("it is loaded") };
    let late = catalogue.get("n", Instant::now()).await;
    assert!(matches!(late, Err(CatalogueError::Loading { .. })));
    let waiting = tokio::spawn({
        let catalogue = Arc::clone(&catalogue);
        async move { catalogue.get("n", soon()).await.map(|namespace| nearest(&namespace)) }
    });
    // A thread that ends without having loaded it: whoever waits begins anew.
    drop(change);
    assert_eq!(waiting.await.unwrap().unwrap(), ["20", "21", "19"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_open_says_why_until_it_does() {
    let directory = tempfile::tempdir().unwrap();
    let catalogue = open(&surroundings(directory.path())).await;
    filled(&catalogue, "n").await;
    unload(&catalogue, "n").await;
    let shard = catalogue.describe("n").unwrap().entry.shards[0].to_string();
    let shard = directory.path().join("shards").join(shard);
    let aside = directory.path().join("aside");
    std::fs::rename(&shard, &aside).unwrap();
    std::fs::write(&shard, "not a directory").unwrap();
    let failed = catalogue.get("n", soon()).await;
    assert!(matches!(failed, Err(CatalogueError::Load { .. })));
    let overview = catalogue.overview("n").unwrap();
    assert!(!overview.is_loaded && overview.stopped().is_some());
    std::fs::remove_file(&shard).unwrap();
    std::fs::rename(&aside, &shard).unwrap();
    assert_eq!(nearest(&catalogue.get("n", soon()).await.unwrap()), ["20", "21", "19"]);
    assert_eq!(catalogue.overview("n").unwrap().stopped(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_deleted_changed_and_closed_while_it_is_unloaded() {
    let directory = tempfile::tempdir().unwrap();
    let surroundings = surroundings(directory.path());
    {
        let catalogue = open(&surroundings).await;
        for name in ["deleted", "changed", "left"] {
            filled(&catalogue, name).await;
            unload(&catalogue, name).await;
        }
        catalogue.delete("deleted").await.unwrap();
        assert!(matches!(
            catalogue.get("deleted", soon()).await,
            Err(CatalogueError::NamespaceNotFound { .. })
        ));
        assert_eq!(shard_directories(directory.path()), 3);
        let wider = hvs_api::AlterIndex { ef_search: Some(99), ..hvs_api::AlterIndex::default() };
        let wider =
            hvs_api::AlterNamespace { index: Some(wider), ..hvs_api::AlterNamespace::default() };
        let before = catalogue.describe("changed").unwrap().revision;
        let (overview, _) = catalogue.alter("changed", &wider, soon()).await.unwrap();
        assert_eq!(overview.description.entry.settings.vectors[""].index.ef_search, Some(99));
        assert_eq!(overview.description.revision, before + 1);
        catalogue.close().await.unwrap();
        let closed = catalogue.get("left", soon()).await;
        assert!(matches!(closed, Err(CatalogueError::Closed)));
    }
    let catalogue = open(&surroundings).await;
    let changed = catalogue.describe("changed").unwrap();
    assert_eq!(changed.entry.settings.vectors[""].index.ef_search, Some(99));
    assert_eq!(nearest(&catalogue.get("left", soon()).await.unwrap()), ["20", "21", "19"]);
}

/// Requests, unloading and changes of the index side by side: every request finds everything.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_sees_a_shard_that_is_half_closed() {
    let directory = tempfile::tempdir().unwrap();
    let catalogue = open(&surroundings(directory.path())).await;
    filled(&catalogue, "n").await;
    let until = Instant::now() + Duration::from_millis(1_500);
    let asking = (0..4).map(|number| {
        let catalogue = Arc::clone(&catalogue);
        tokio::spawn(async move {
            let mut asked = 0_u32;
            while Instant::now() < until {
                let namespace = catalogue.get("n", soon()).await.unwrap();
                assert_eq!(nearest(&namespace), ["20", "21", "19"]);
                let record = NewRecord::new(format!("w{number}"), vec![900.0, f64::from(asked)]);
                namespace.shards()[0].write(WriteRequest::put(record)).await.unwrap();
                let kept = namespace.shards()[0].get(&format!("w{number}")).unwrap().unwrap();
                assert_eq!(kept.version, u64::from(asked) + 1, "an acknowledged write is missing");
                drop(namespace);
                asked += 1;
                tokio::task::yield_now().await;
            }
            asked
        })
    });
    let asking: Vec<_> = asking.collect();
    while Instant::now() < until {
        try_unload(&catalogue, "n").await;
    }
    for asked in asking {
        assert!(asked.await.unwrap() > 0);
    }
    assert!(catalogue.memory().unloads() > 0, "it was never unloaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expires_meanwhile_is_in_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    let catalogue = open(&surroundings(directory.path())).await;
    filled(&catalogue, "n").await;
    let namespace = catalogue.get("n", soon()).await.unwrap();
    let record =
        NewRecord { expiry: Some(Expiry::After(1)), ..NewRecord::new("brief", vec![20.2, 0.0]) };
    namespace.shards()[0].write(WriteRequest::put(record)).await.unwrap();
    drop(namespace);
    unload(&catalogue, "n").await;
    let namespace = catalogue.get("n", soon()).await.unwrap();
    assert_eq!(nearest(&namespace), ["20", "21", "19"]);
    assert!(namespace.shards()[0].get("brief").unwrap().is_none());
    assert_eq!(namespace.shards()[0].count(None, None).unwrap(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_budget_the_longest_unused_goes_first_and_growth_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut surroundings = surroundings(directory.path());
    let mut config = Config::clone(&surroundings.config);
    config.memory.evict_idle_seconds = 0;
    surroundings.config = Arc::new(config);
    let (each, one);
    {
        let catalogue = open(&surroundings).await;
        for name in ["a", "b", "c"] {
            filled_well(&catalogue, name).await;
        }
        catalogue.look_after_memory();
        let (loaded, _) = catalogue.residents();
        assert_eq!(loaded, 3, "without a budget all stay");
        let slot = catalogue.slot("a").unwrap();
        each = slot.loaded().unwrap().memory().firm();
        assert!(each > 0);
        unload(&catalogue, "b").await;
        unload(&catalogue, "c").await;
        catalogue.look_after_memory();
        one = catalogue.memory().parts().total();
        catalogue.close().await.unwrap();
    }
    // Room for one and a half.
    let catalogue = open_with(&surroundings, one + each / 2).await;
    let loaded = |name: &str| is_loaded(&catalogue, name);
    assert_eq!(catalogue.residents().0, 1, "no more are open after the start than fit");
    for name in ["a", "b", "c", "a"] {
        let namespace = get(&catalogue, name).await;
        let found = nearest(&namespace);
        drop(namespace);
        assert_eq!(found, ["20", "21", "19"], "{name}");
        let names = ["a", "b", "c"].map(loaded);
        assert_eq!(names.iter().filter(|loaded| **loaded).count(), 1, "{names:?}");
        assert!(loaded(name));
    }
    // One that is in use does not go, and another does not fit beside it.
    let held = catalogue.get("a", soon()).await.unwrap();
    let refused = catalogue.get("b", soon()).await.err().unwrap();
    assert!(
        matches!(
            &refused,
            CatalogueError::Load { source: LoadError::Memory(exhausted), .. }
                if exhausted.wanted > each / 2
        ),
        "{refused}"
    );
    assert_eq!(nearest(&held), ["20", "21", "19"], "reads go on");
    assert!(catalogue.overview("b").unwrap().stopped().is_none(), "nothing is wrong with it");
    drop(held);
    get(&catalogue, "b").await;
    assert!(!loaded("a"));
}

/// Three namespaces, what is held with two of them loaded, and what each takes.
async fn three(surroundings: &Surroundings) -> (u64, u64) {
    {
        let catalogue = open(surroundings).await;
        for name in ["a", "b", "c"] {
            filled_well(&catalogue, name).await;
        }
        catalogue.close().await.unwrap();
    }
    // As they are when they have just been opened.
    let catalogue = open(surroundings).await;
    let each = catalogue.slot("a").unwrap().loaded().unwrap().memory().firm();
    unload(&catalogue, "c").await;
    catalogue.look_after_memory();
    let two = catalogue.memory().parts().total();
    catalogue.close().await.unwrap();
    (two, each)
}

fn evicting_at_once(directory: &std::path::Path) -> Surroundings {
    let mut surroundings = surroundings(directory);
    let mut config = Config::clone(&surroundings.config);
    config.memory.evict_idle_seconds = 0;
    surroundings.config = Arc::new(config);
    surroundings
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_the_one_goes_that_was_not_used_for_longer() {
    let directory = tempfile::tempdir().unwrap();
    let surroundings = evicting_at_once(directory.path());
    let (two, each) = three(&surroundings).await;
    let catalogue = open_with(&surroundings, two + each / 2).await;
    for (used, stays, goes) in [
        (["b", "a", "b", "c"], "b", "a"),
        (["b", "c", "b", "a"], "b", "c"),
        (["c", "b", "c", "a"], "c", "b"),
    ] {
        for name in used {
            get(&catalogue, name).await;
        }
        let [stays, goes] = [stays, goes].map(|name| is_loaded(&catalogue, name));
        assert!(stays && !goes, "{used:?}: {stays} {goes}");
    }
}

struct Answers(std::sync::atomic::AtomicU64);

impl crate::memory::Cache for Answers {
    fn bytes(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn give_up(&self, bytes: u64) {
        let left = self.bytes().saturating_sub(bytes);
        self.0.store(left, std::sync::atomic::Ordering::Relaxed);
    }

    fn recover(&self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_answers_goes_before_any_namespace() {
    let directory = tempfile::tempdir().unwrap();
    let surroundings = evicting_at_once(directory.path());
    let (two, each) = three(&surroundings).await;
    let answers = Arc::new(Answers((2 * each).into()));
    let catalogue = open_beside(&surroundings, two + each, Arc::clone(&answers) as _).await;
    for name in ["a", "b"] {
        get(&catalogue, name).await;
    }
    catalogue.look_after_memory();
    assert!(["a", "b"].iter().all(|name| is_loaded(&catalogue, name)));
    let left = crate::memory::Cache::bytes(&*answers);
    assert!(left < 2 * each, "{left} of {each}");
}
