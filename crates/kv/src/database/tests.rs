use super::*;
use crate::{
    Durability, Kv as _,
    embedded::{Embedded, EmbeddedConfig, OpenError},
};

/// A database with tables and a journal.
fn filled(folder: &Path) {
    let config = EmbeddedConfig { memtable_bytes: 16 << 10, ..EmbeddedConfig::default() };
    let store = Embedded::open(folder, config).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for number in 0..400_u32 {
        let key = number.to_be_bytes();
        let value: Vec<u8> =
            key.repeat(100).iter().zip((0..=u8::MAX).cycle()).map(|(a, b)| a ^ b).collect();
        runtime.block_on(store.put_if_absent(&key, &value, Durability::Buffered)).unwrap();
    }
    runtime.block_on(store.sync()).unwrap();
    let begun = std::time::Instant::now();
    // Beside those of the database itself, which has the first keyspace.
    let is_own = |table: &Table| !table.path.starts_with(folder.join(KEYSPACES).join("0"));
    while !look(folder).is_ok_and(|tables| tables.iter().any(is_own)) {
        assert!(begun.elapsed().as_secs() < 60, "no tables were written");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn all_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn journals_reach_as_far_as_tables() {
    use fjall::PersistMode;
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let end = prepare(folder.path(), false).unwrap();
        let database = Database::builder(folder.path()).open().unwrap();
        let keyspaces = ["ahead", "behind"]
            .map(|name| database.keyspace(name, KeyspaceCreateOptions::default).unwrap());
        let checked = check_end(end, &keyspaces);
        (database, keyspaces, checked)
    };
    let (database, [ahead, behind], checked) = open();
    checked.unwrap();
    for number in 0..100_u8 {
        let mut batch = database.batch();
        batch.insert(&ahead, [number], [number; 100]);
        batch.insert(&behind, [number], [number; 100]);
        batch.commit().unwrap();
        if number == 79 {
            ahead.rotate_memtable_and_wait().unwrap();
        }
    }
    database.persist(PersistMode::SyncAll).unwrap();
    drop((ahead, behind, database));
    open().2.unwrap();
    let journal = journal::journals(folder.path()).unwrap().pop().unwrap();
    let whole = fs::read(&journal).unwrap();
    let last_byte = whole.iter().rposition(|&byte| byte != 0).unwrap();
    // What came after the tables may be missing, and nothing before.
    fs::write(&journal, &whole[..last_byte * 9 / 10]).unwrap();
    open().2.unwrap();
    fs::write(&journal, &whole[..last_byte * 7 / 10]).unwrap();
    let refused = open().2;
    assert!(matches!(&refused, Err(DatabaseError::Damaged { path, .. }) if *path == journal));
    fs::write(&journal, &whole).unwrap();
    open().2.unwrap();
}

/// What is only in journals is gone with its keyspace as much as what is in tables.
#[test]
fn a_keyspace_that_is_gone_is_noticed_before_anything_is_lost() {
    use fjall::PersistMode;
    const NAMES: [&str; 3] = ["one", "two", "empty"];
    let open = |folder: &Path| {
        let before = prepare(folder, true)?;
        let database = Database::builder(folder).open().unwrap();
        check_opened(&before, &database, &NAMES)?;
        let keyspaces =
            NAMES.map(|name| database.keyspace(name, KeyspaceCreateOptions::default).unwrap());
        check_end(before, &keyspaces)?;
        Ok::<_, DatabaseError>((database, keyspaces))
    };
    for (in_tables, is_closed_before) in [(false, false), (true, false), (true, true)] {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("made");
        let (database, [one, two, empty]) = open(&made).unwrap();
        for number in 0..20_u8 {
            let mut batch = database.batch();
            batch.insert(&one, [number], [number; 100]);
            batch.insert(&two, [number], [number; 100]);
            batch.commit().unwrap();
        }
        if in_tables {
            one.rotate_memtable_and_wait().unwrap();
            two.rotate_memtable_and_wait().unwrap();
        }
        database.persist(PersistMode::SyncAll).unwrap();
        drop((one, two, empty, database));
        if is_closed_before {
            drop(open(&made).unwrap());
        }
        for (number, entire) in [0, 1, 2].into_iter().flat_map(|n| [(n, false), (n, true)]) {
            let what = format!("{number} {entire} {in_tables} {is_closed_before}");
            let keyspace = made.join(KEYSPACES).join(number.to_string());
            let aside = folder.path().join("aside");
            let lost = if entire { keyspace } else { keyspace.join(CURRENT) };
            fs::rename(&lost, &aside).unwrap();
            // Nothing is made of what is left, however often it is tried.
            for _ in 0..2 {
                let refused = open(&made).map(drop).expect_err(&what);
                assert!(matches!(&refused, DatabaseError::Damaged { .. }), "{what}: {refused}");
                assert!(!lost.exists(), "{what}");
            }
            fs::rename(&aside, &lost).unwrap();
            let (_database, keyspaces) = open(&made).expect(&what);
            assert_eq!(keyspaces.map(|one| one.len().unwrap()), [20, 20, 0], "{what}");
        }
    }
}

/// One that was being made later says nothing of those that there were from the beginning.
#[test]
fn a_later_keyspace_that_was_not_finished_hides_none_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["one", "two"];
    let open = || {
        let before = prepare(folder.path(), true)?;
        let database = Database::builder(folder.path()).open().unwrap();
        check_opened(&before, &database, &names).map(|()| database)
    };
    let database = open().unwrap();
    let keyspaces = ["one", "two", "later"]
        .map(|name| database.keyspace(name, KeyspaceCreateOptions::default).unwrap());
    for keyspace in &keyspaces[..2] {
        keyspace.insert([1], [1]).unwrap();
        keyspace.rotate_memtable_and_wait().unwrap();
    }
    drop((keyspaces, database));
    // As when a journal was replaced because all of it is in tables.
    for journal in journal::journals(folder.path()).unwrap() {
        fs::write(journal, []).unwrap();
    }
    drop(open().unwrap());
    let keyspaces = folder.path().join(KEYSPACES);
    fs::remove_file(keyspaces.join("3").join(CURRENT)).unwrap();
    fs::rename(keyspaces.join("2"), folder.path().join("aside")).unwrap();
    let refused = open().map(drop).unwrap_err().to_string();
    assert!(refused.contains("\"two\" is missing"), "{refused}");
    fs::rename(folder.path().join("aside"), keyspaces.join("2")).unwrap();
    drop(open().unwrap());
}

#[test]
fn what_a_crash_leaves_of_making_keyspaces_is_completed() {
    let folder = tempfile::tempdir().unwrap();
    let before = prepare(folder.path(), true).unwrap();
    let database = Database::builder(folder.path()).open().unwrap();
    check_opened(&before, &database, &["one", "two"]).unwrap();
    drop(database.keyspace("one", KeyspaceCreateOptions::default).unwrap());
    drop(database);
    let before = prepare(folder.path(), true).unwrap();
    let database = Database::builder(folder.path()).open().unwrap();
    check_opened(&before, &database, &["one", "two"]).unwrap();
}

#[test]
fn what_the_database_writes_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    check_all(&folder.path().join("nothing")).unwrap();
    filled(folder.path());
    check_all(folder.path()).unwrap();
    Embedded::open(folder.path(), EmbeddedConfig::default()).unwrap();
    check_all(folder.path()).unwrap();
}

#[test]
fn every_change_of_what_says_which_tables_there_are_is_found_and_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    let mut files = Vec::new();
    all_files(folder.path(), &mut files);
    let is_table = |path: &Path| path.parent().unwrap().ends_with(TABLES);
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    // What was replaced meanwhile counts no more, and may be there still.
    let tables = look(folder.path()).unwrap();
    let counts = |path: &PathBuf| match name(path) {
        _ if is_table(path) => tables.iter().any(|table| table.path == *path),
        list if list.starts_with('v') && list != VERSION => {
            let current = fs::read(path.with_file_name(CURRENT)).unwrap();
            list == format!("v{}", decode_current(&current).unwrap().0)
        }
        other => other == CURRENT || other == VERSION,
    };
    files.retain(counts);
    let mut kinds = std::collections::BTreeSet::new();
    for path in files {
        let whole = fs::read(&path).unwrap();
        // Every bit of what is small, some of the rest: each change reads everything.
        let step = if whole.len() < 64 { 1 } else { whole.len() * 8 / 101 };
        let flips = (0..whole.len() * 8).step_by(step).map(|bit| {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        let cuts = (0..whole.len()).step_by(step).map(|end| whole[..end].to_vec());
        for bytes in flips.chain(cuts) {
            fs::write(&path, &bytes).unwrap();
            let error = check_all(folder.path()).unwrap_err().to_string();
            assert!(error.contains(path.parent().unwrap().to_str().unwrap()), "{error}");
            assert_eq!(check(folder.path()).is_ok(), is_table(&path), "{}", path.display());
        }
        fs::remove_file(&path).unwrap();
        assert!(check(folder.path()).is_err(), "{} may be missing", path.display());
        assert!(Embedded::open(folder.path(), EmbeddedConfig::default()).is_err());
        fs::write(&path, whole).unwrap();
        kinds.insert(if is_table(&path) { TABLES.to_owned() } else { name(&path) });
    }
    assert!(kinds.contains(TABLES) && kinds.contains(CURRENT) && kinds.contains(VERSION));
    check_all(folder.path()).unwrap();
    Embedded::open(folder.path(), EmbeddedConfig::default()).unwrap();
}

#[test]
fn a_newer_format_is_said_to_be_one_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    fs::write(folder.path().join(VERSION), b"FJL\x04").unwrap();
    let Err(OpenError::Files { source, .. }) =
        Embedded::open(folder.path(), EmbeddedConfig::default())
    else {
        panic!("it opened");
    };
    assert!(matches!(source, DatabaseError::Newer { found: 4, .. }));
    assert!(source.to_string().contains("newer version of HVS"));
    fs::write(folder.path().join(VERSION), b"FJL\x03").unwrap();
    check_all(folder.path()).unwrap();
}

#[test]
fn what_only_has_the_name_of_a_file_is_named_and_not_copied() {
    for (stray, is_folder) in [("7.jnl", true), ("keyspaces/1/tables/notes", false)] {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let path = folder.path().join(stray);
        if is_folder { fs::create_dir(&path) } else { fs::write(&path, "x") }.unwrap();
        let Err(OpenError::Files { source, .. }) =
            Embedded::open(folder.path(), EmbeddedConfig::default())
        else {
            panic!("{stray}: it opened");
        };
        assert!(matches!(&source, DatabaseError::Damaged { path: found, .. } if *found == path));
        let copies = tempfile::tempdir().unwrap();
        let copy = copies.path().join("copy");
        crate::copy::copy_database(folder.path(), &copy).unwrap();
        check_all(&copy).unwrap();
    }
}

#[test]
fn what_journals_have_is_read_without_the_lists() {
    let folders = tempfile::tempdir().unwrap();
    let [folder, empty] = ["filled", "empty"].map(|name| folders.path().join(name));
    let store = Embedded::open(&folder, EmbeddedConfig::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.put_if_absent(b"key", b"value", Durability::Sync)).unwrap();
    drop(store);
    drop(Embedded::open(&empty, EmbeddedConfig::default()).unwrap());
    fs::write(folder.join(VERSION), b"what").unwrap();
    for keyspace in ["0", "1"] {
        fs::write(folder.join(KEYSPACES).join(keyspace).join(CURRENT), b"what").unwrap();
    }
    assert_eq!(replace_lists(&folder, &empty).unwrap().len(), 3);
    assert!(replace_lists(&folder, &empty).unwrap().is_empty());
    let store = Embedded::open(&folder, EmbeddedConfig::default()).unwrap();
    assert_eq!(runtime.block_on(store.get(b"key")).unwrap(), Some(b"value".to_vec()));
}
