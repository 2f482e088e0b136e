//! What a newer version wrote is refused with what to do, and stays as it is.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use hvs_kv::{CompareAndSwap, Durability, Kv as _, ScanLimit};
use hvs_shard::{ChangesRequest, FeedPosition, Operation, WriteRequest};

mod support;
use support::{Home, put, record, write};

/// A shard with a record, a tombstone and an idempotency key, closed in order.
fn filled() -> Home {
    let home = Home::new();
    let shard = home.open();
    put(&shard, record("kept", 1));
    put(&shard, record("gone", 2));
    let delete = Operation::Delete { id: "gone".to_owned(), condition: None };
    write(&shard, WriteRequest { operations: vec![delete], ..WriteRequest::put(record("x", 1)) })
        .unwrap();
    write(&shard, with_key()).unwrap();
    shard.close().unwrap();
    home
}

fn with_key() -> WriteRequest {
    let request = WriteRequest::put(record("keyed", 3));
    WriteRequest { idempotency_key: Some("key".to_owned()), ..request }
}

/// The first refusal on the way from the start to what reads everything.
fn refusal(home: &Home) -> String {
    // Over a store of whose log alone a state is built.
    let shard = match home.open_committed() {
        Ok(shard) => shard,
        Err(error) => return error.to_string(),
    };
    let read = || -> Result<(), Box<dyn std::error::Error>> {
        shard.get("kept")?;
        write(&shard, with_key())?;
        shard.changes(&ChangesRequest {
            after: FeedPosition::START,
            epoch: None,
            limit: 100,
            max_bytes: 1 << 20,
            with_records: true,
        })?;
        write(&shard, WriteRequest::put(record("gone", 4)))?;
        Ok(())
    };
    read().err().unwrap_or_else(|| panic!("nothing was refused")).to_string()
}

fn is_said_to_be_newer(what: &str, said: &str) {
    let says = said.contains("made by a newer version of HVS") && said.contains("upgrade");
    assert!(says, "{what}: {said}");
}

#[test]
fn rows_of_the_state_of_a_newer_version_are_refused_and_kept() {
    type IsMeant = fn(&[u8]) -> bool;
    let kinds: [(&str, &str, IsMeant); 6] = [
        ("record", "records", |key| key == b"kept"),
        ("tombstone", "tombstones", |key| key == b"igone"),
        ("idempotency key", "idempotency", |key| key == b"kkey"),
        ("meta", "meta", |key| key == b"meta"),
        ("identity", "meta", |key| key == b"identity"),
        ("feed", "feed", |key| key.len() == 8),
    ];
    for (what, keyspace, is_meant) in kinds {
        let home = filled();
        let open = || {
            let path = home.shard_path().join("store");
            let database = fjall::Database::builder(path).open().unwrap();
            let rows = database.keyspace(keyspace, fjall::KeyspaceCreateOptions::default).unwrap();
            let mut found = rows.iter().map(|row| row.into_inner().unwrap());
            let row = found.find(|(key, _)| is_meant(key));
            let (key, value) = row.unwrap_or_else(|| panic!("there is no {what}"));
            (database, rows, key, value.to_vec())
        };
        let (database, rows, key, mut value) = open();
        // Of each there is format 1 alone, but for remembered answers.
        value[0] = 9;
        rows.insert(key, &value).unwrap();
        database.persist(fjall::PersistMode::SyncAll).unwrap();
        drop((rows, database));
        is_said_to_be_newer(what, &refusal(&home));
        assert!(open().3 == value, "{what}: it was changed");
    }
}

/// Replaces a value in the store of logs, found by how it is.
fn replace(home: &Home, what: &str, make: impl Fn(&[u8], Vec<u8>) -> Option<Vec<u8>>) -> Vec<u8> {
    let kv = home.kv();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let page = runtime.block_on(kv.scan(b"hvs/", b"hvs0", ScanLimit::default())).unwrap();
    assert!(page.next.is_none());
    let pairs = page.pairs.into_iter().rev();
    let mut changed = pairs.filter_map(|(key, old)| Some((make(&key, old.clone())?, key, old)));
    let (new, key, old) = changed.next().unwrap_or_else(|| panic!("there is no {what}"));
    let swap = kv.compare_and_swap(&key, Some(&old), &new, Durability::Sync);
    assert_eq!(runtime.block_on(swap).unwrap(), CompareAndSwap::Swapped);
    key
}

fn value(home: &Home, key: &[u8]) -> Option<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(home.kv().get(key)).unwrap()
}

/// With the checksum at its end that its bytes have.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - 4);
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn values_of_the_log_of_a_newer_version_are_refused_and_kept() {
    type Make = fn(&[u8], Vec<u8>) -> Option<Vec<u8>>;
    // An entry: magic, version. What is beside the entries: version.
    let entry: Make = |_, mut old| {
        old.starts_with(b"HVSL").then(|| {
            old[4] += 1;
            sealed(old)
        })
    };
    let leader: Make = |key, mut old| {
        key.starts_with(b"hvs/leader/").then(|| {
            old[0] += 1;
            sealed(old)
        })
    };
    for (what, make) in [("entry", entry), ("leader", leader)] {
        let home = filled();
        // So that the log is read from its beginning.
        std::fs::remove_dir_all(home.shard_path()).unwrap();
        let key = replace(&home, what, make);
        let before = value(&home, &key);
        is_said_to_be_newer(what, &refusal(&home));
        assert!(value(&home, &key) == before, "{what}: it was changed");
    }
}

#[test]
fn a_command_of_a_newer_version_is_refused_and_kept() {
    let home = filled();
    std::fs::remove_dir_all(home.shard_path()).unwrap();
    // The last entry with a payload, which begins with the version of the command. It is the last
    // entry, so that no other one has its hash.
    let key = replace(&home, "command", |_, mut old| {
        let payload = old.windows(5).position(|five| five == b"keyed")?;
        let node = 4 + 1 + 1 + 8 + 8 + 8 + 16 + 32;
        let command = node + 1 + usize::from(old[node]) + 4;
        assert!(command < payload && (1..=2).contains(&old[command]));
        old[command] = 9;
        Some(sealed(old))
    });
    let before = value(&home, &key);
    is_said_to_be_newer("command", &refusal(&home));
    assert!(value(&home, &key) == before, "it was changed");
}
