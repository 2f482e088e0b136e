use hvs_kv::embedded::{Embedded, EmbeddedConfig};

use std::time::Instant;

use super::*;

mod residence;

fn surroundings(directory: &std::path::Path) -> Surroundings {
    let mut config = Config::default();
    config.storage.data_dir = directory.into();
    std::fs::create_dir_all(directory.join("shards")).unwrap();
    let kv = Embedded::open(&directory.join("kv"), EmbeddedConfig::default()).unwrap();
    let writer = Writer { node: "test".into(), incarnation: 1 };
    Surroundings {
        config: Arc::new(config),
        kv: Arc::new(kv),
        writer,
        lease: None,
        builders: Builders::new(1, 1),
    }
}

fn flat() -> CreateNamespace {
    CreateNamespace {
        geometry: Some("euclidean".into()),
        dimension: Some(2),
        ..CreateNamespace::default()
    }
}

fn entry(surroundings: &Surroundings) -> Entry {
    let settings = Settings::resolve(&flat(), None, &surroundings.config).unwrap();
    Entry { uid: Uuid::new_v4(), created_at_ms: 0, shards: vec![Uuid::new_v4()], settings }
}

fn shard_directories(directory: &std::path::Path) -> usize {
    std::fs::read_dir(directory.join("shards")).unwrap().count()
}

async fn open(surroundings: &Surroundings) -> Arc<Catalogue> {
    open_with(surroundings, u64::MAX).await
}

/// With a budget of memory.
async fn open_with(surroundings: &Surroundings, budget: u64) -> Arc<Catalogue> {
    open_beside(surroundings, budget, Arc::new(())).await
}

/// With something else that takes of it.
async fn open_beside(
    surroundings: &Surroundings,
    budget: u64,
    cache: Arc<dyn crate::memory::Cache>,
) -> Arc<Catalogue> {
    let Surroundings { config, kv, writer, .. } = surroundings.clone();
    let scale = Arc::new(crate::scale::Scale::new(config.scale.clone()));
    let memory = Arc::new(Memory::new(budget, scale, cache));
    Arc::new(Catalogue::open(config, kv, writer, memory, None).await.unwrap())
}

fn soon() -> Instant {
    Instant::now() + std::time::Duration::from_mins(1)
}

/// A process that ends while it creates or deletes leaves a record that says so, and shards.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_half_created_or_deleted_is_removed_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let surroundings = surroundings(directory.path());
    {
        let catalogue = open(&surroundings).await;
        catalogue.create("whole", &flat()).await.unwrap();
        for (name, state) in [("half", State::Creating), ("doomed", State::Deleting)] {
            let entry = entry(&surroundings);
            catalogue.store.put(name, state, &entry).await.unwrap();
            let description = surroundings.describe(name, entry).unwrap();
            let (loaded, _) = surroundings.open(&description).unwrap();
            close(name, Arc::new(loaded)).await.unwrap();
        }
        catalogue.close().await.unwrap();
    }
    // The system shard, the whole namespace, and the two others.
    assert_eq!(shard_directories(directory.path()), 4);
    let catalogue = open(&surroundings).await;
    assert_eq!(shard_directories(directory.path()), 2);
    let names: Vec<_> =
        catalogue.overviews().iter().map(|open| open.description.name.clone()).collect();
    assert_eq!(names, ["whole"]);
    assert_eq!(catalogue.store.read().unwrap().namespaces.len(), 1);
    catalogue.create("half", &flat()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_waits_for_whoever_still_reads() {
    let directory = tempfile::tempdir().unwrap();
    let surroundings = surroundings(directory.path());
    let catalogue = open(&surroundings).await;
    let (_, is_new) = catalogue.create("n", &flat()).await.unwrap();
    assert!(is_new);
    let held = catalogue.get("n", soon()).await.unwrap();
    let mut deletion = tokio::spawn({
        let catalogue = Arc::clone(&catalogue);
        async move { catalogue.delete("n").await }
    });
    // Gone for new requests, and its name not yet free.
    while catalogue.describe("n").is_ok() {
        tokio::task::yield_now().await;
    }
    let busy = catalogue.create("n", &flat()).await;
    assert!(matches!(busy, Err(CatalogueError::Busy { .. })));
    // Correct code waits for ever here; this is only how long wrong code is given to show itself.
    let a_while = std::time::Duration::from_millis(200);
    assert!(tokio::time::timeout(a_while, &mut deletion).await.is_err());
    assert!(held.shards()[0].get("a").is_ok());
    assert_eq!(shard_directories(directory.path()), 2);
    drop(held);
    deletion.await.unwrap().unwrap();
    assert_eq!(shard_directories(directory.path()), 1);
    assert!(catalogue.create("n", &flat()).await.unwrap().1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_creations_of_one_name_make_one_namespace() {
    let directory = tempfile::tempdir().unwrap();
    let catalogue = open(&surroundings(directory.path())).await;
    let creations = (0..8).map(|_| {
        let catalogue = Arc::clone(&catalogue);
        tokio::spawn(async move { catalogue.create("n", &flat()).await.map(|(_, new)| new) })
    });
    let mut made = 0;
    for outcome in futures_util::future::join_all(creations).await {
        match outcome.unwrap() {
            Ok(is_new) => made += u32::from(is_new),
            Err(CatalogueError::Busy { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(made, 1);
    assert_eq!(shard_directories(directory.path()), 2);
}

#[test]
fn names_need_no_quoting() {
    for name in ["a", "A-1_b.c", "0"] {
        assert_eq!(check_name(name, 8), Ok(()));
    }
    for name in ["", "-a", ".a", "_a", "a b", "a/b", "ä", "123456789", "a\0"] {
        assert!(check_name(name, 8).is_err(), "{name:?}");
    }
}

fn to_ivf() -> hvs_api::AlterNamespace {
    let index = hvs_api::AlterIndex {
        kind: Some(hvs_api::IndexType::Ivf),
        ..hvs_api::AlterIndex::default()
    };
    hvs_api::AlterNamespace { index: Some(index), ..hvs_api::AlterNamespace::default() }
}

async fn fill(namespace: &Namespace) {
    for number in 0..50_u32 {
        let record = hvs_shard::NewRecord::new(number.to_string(), vec![f64::from(number), 0.0]);
        let request = hvs_shard::WriteRequest::put(record);
        namespace.shards()[0].write(request).await.unwrap();
    }
}

fn nearest(namespace: &Namespace) -> Vec<String> {
    let request = hvs_shard::SearchRequest::nearest(vec![20.2, 0.0], 3);
    let answer = namespace.shards()[0].search(&request).unwrap();
    answer.hits.into_iter().map(|hit| hit.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_are_changed_by_one_at_a_time_and_a_deletion_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let catalogue = open(&surroundings(directory.path())).await;
    catalogue.create("n", &flat()).await.unwrap();
    let namespace = catalogue.get("n", soon()).await.unwrap();
    fill(&namespace).await;
    let (_, rebuild) = catalogue.alter("n", &to_ivf(), soon()).await.unwrap();
    let again = catalogue.alter("n", &to_ivf(), soon()).await;
    assert!(matches!(again, Err(CatalogueError::Altering { .. })));
    // Given up, it may be begun again.
    drop(rebuild);
    let (_, rebuild) = catalogue.alter("n", &to_ivf(), soon()).await.unwrap();
    let runtime = tokio::runtime::Handle::current();
    let cancelled = tokio::task::spawn_blocking({
        let runtime = runtime.clone();
        move || rebuild.unwrap().run(&|_| false, &|| false, |put| runtime.block_on(put))
    });
    assert!(matches!(cancelled.await.unwrap(), Err(RebuildError::Cancelled)));
    let (_, rebuild) = catalogue.alter("n", &to_ivf(), soon()).await.unwrap();
    drop(namespace);
    let deletion = tokio::spawn({
        let catalogue = Arc::clone(&catalogue);
        async move { catalogue.delete("n").await }
    });
    while catalogue.describe("n").is_ok() {
        tokio::task::yield_now().await;
    }
    let ended = tokio::task::spawn_blocking(move || {
        rebuild.unwrap().run(&|_| true, &|| false, |put| runtime.block_on(put))
    });
    assert!(ended.await.unwrap().is_err());
    deletion.await.unwrap().unwrap();
    assert_eq!(shard_directories(directory.path()), 1);
    assert!(catalogue.alterations.lock().is_empty());
}

/// The catalogue names the new index, and the process ends before it answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_ends_after_it_was_written_down_is_there_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let surroundings = surroundings(directory.path());
    {
        let catalogue = open(&surroundings).await;
        catalogue.create("n", &flat()).await.unwrap();
        let namespace = catalogue.get("n", soon()).await.unwrap();
        fill(&namespace).await;
        let mut entry = namespace.entry.clone();
        let vector = entry.settings.vectors.get_mut("").unwrap();
        vector.generation = 1;
        vector.index =
            hvs_api::IndexSpec { kind: hvs_api::IndexType::Ivf, ..hvs_api::IndexSpec::default() };
        catalogue.store.put("n", State::Ready, &entry).await.unwrap();
        catalogue.close().await.unwrap();
    }
    let catalogue = open(&surroundings).await;
    let namespace = catalogue.get("n", soon()).await.unwrap();
    let index = &namespace.entry.settings.vectors[""].index;
    assert_eq!(index.kind, hvs_api::IndexType::Ivf);
    assert_eq!(nearest(&namespace), ["20", "21", "19"]);
    let shard = namespace.entry.shards[0].to_string();
    let indexes = directory.path().join("shards").join(shard).join("index");
    assert_eq!(std::fs::read_dir(indexes).unwrap().count(), 1);
}
