//! The stored formats, byte by byte: files that no later version may fail to read. They were
//! written by another program from the descriptions in the modules.

use std::collections::BTreeMap;

use hvs_geometry::{Geometry, Precision, Space};
use hvs_index::IndexConfig;
use hvs_log::{EntryHash, Position};
use serde_json::json;

use crate::command::{
    Command, EncodedRequest, LoggedChange, LoggedKey, LoggedOperation, LoggedRequest, encode_batch,
    encode_expire,
};
use crate::config::IdempotencyLimits;
use crate::meta::Meta;
use crate::operation::{Condition, WriteOutcome};
use crate::patch::Patched;
use crate::record::{Etag, Record, Timestamp, Vectors};
use crate::remembered::{Part, Remembered};
use crate::stored::{Header, StoredRecord, encode_record};

const RECORD: &[u8] = include_bytes!("../golden/record_v1.bin");
const TOMBSTONE: &[u8] = include_bytes!("../golden/tombstone_v1.bin");
const BATCH: &[u8] = include_bytes!("../golden/batch_v1.bin");
const BATCH_2: &[u8] = include_bytes!("../golden/batch_v2.bin");
const EXPIRE_2: &[u8] = include_bytes!("../golden/expire_v2.bin");
const REMEMBERED_2: &[u8] = include_bytes!("../golden/remembered_v2.bin");
const META: &[u8] = include_bytes!("../golden/meta_v1.bin");
const REMEMBERED: &[u8] = include_bytes!("../golden/remembered_v1.bin");

const ETAG: Etag = Etag { epoch: 5, seq: 1000, index: 7 };

fn timestamp() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000).plus(3)
}

fn header() -> Header {
    Header { key: 300, version: 2, etag: ETAG, timestamp: timestamp() }
}

fn configs() -> BTreeMap<String, IndexConfig> {
    let plane = |dimension, precision| {
        let space = Space::new(Geometry::Euclidean, dimension, 0.0).unwrap();
        IndexConfig { precision, ..IndexConfig::new(space) }
    };
    BTreeMap::from([
        (String::new(), plane(3, Precision::F32)),
        ("flat".to_owned(), plane(2, Precision::F64)),
    ])
}

/// After the header of 16 bytes and the content hash.
fn content() -> &'static [u8] {
    &RECORD[48..]
}

#[test]
fn a_record_of_format_1_is_read() {
    let stored = StoredRecord::decode(RECORD).unwrap();
    assert_eq!(stored.header, header());
    let record = stored.into_record("id-1", &configs()).unwrap();
    let expected = Record {
        id: "id-1".into(),
        partition_key: Some("mailbox-1".into()),
        vectors: Vectors::from([
            (String::new(), vec![0.5, -0.25, 2.0]),
            ("flat".to_owned(), vec![0.1, -3.5]),
        ]),
        metadata: json!({"a": 1, "b": [true, null]}).as_object().unwrap().clone(),
        region: Some("region-a".into()),
        kind: "message".into(),
        version: 2,
        etag: ETAG,
        timestamp: timestamp(),
        content_hash: [0xab; 32],
        expires_at: Some(1_700_000_000_000),
    };
    assert_eq!(record, expected);
    assert_eq!(encode_record(&header(), &[0xab; 32], content()), RECORD);
}

#[test]
fn a_tombstone_of_format_1_is_read() {
    let expected = Header {
        key: 0,
        version: 3,
        etag: Etag { epoch: 5, seq: 1001, index: 0 },
        timestamp: Timestamp::from_millis(1_700_000_000_001),
    };
    assert_eq!(Header::decode(TOMBSTONE), Ok(expected));
    let mut encoded = Vec::new();
    expected.encode(&mut encoded);
    assert_eq!(encoded, TOMBSTONE);
}

#[test]
fn a_batch_of_format_1_is_read() {
    let key = LoggedKey { key: "key-1", digest: [0xcd; 16], total: 300, offset: 150 };
    let put = LoggedOperation {
        id: "id-1",
        condition: Some(Condition::IfMatch(ETAG)),
        change: LoggedChange::Put { content_hash: [0xab; 32], content: content() },
    };
    let delete = |id, condition| LoggedOperation { id, condition, change: LoggedChange::Delete };
    let expected = Command::Batch {
        first: timestamp(),
        requests: vec![
            LoggedRequest {
                atomic: true,
                idempotency: Some(key),
                operations: vec![put, delete("id-2", Some(Condition::IfAbsent))],
            },
            LoggedRequest {
                atomic: false,
                idempotency: None,
                operations: vec![delete("id-ä", None)],
            },
        ],
    };
    assert_eq!(Command::decode(BATCH), Ok(expected));

    // The lengths of the last operation, and of what is before and after the first two.
    let last = 2 + "-id-ä".len();
    let (before, between) = (2 + 8 + 1 + (1 + 6 + 16 + 2 + 2 + 1), 2);
    let second = 2 + "-id-2".len();
    let first = BATCH.len() - before - second - between - last;
    let operation = |start: usize, length: usize| BATCH[start..start + length].to_vec();
    let of_first = [operation(before, first), operation(before + first, second)];
    let of_second = [operation(BATCH.len() - last, last)];
    let requests = [
        EncodedRequest { atomic: true, idempotency: Some(key), operations: &of_first },
        EncodedRequest { atomic: false, idempotency: None, operations: &of_second },
    ];
    assert_eq!(encode_batch(timestamp(), requests.into_iter(), 0), BATCH);
}

#[test]
fn a_patch_of_format_2_is_read_and_carried_out() {
    let Ok(Command::Batch { first, requests }) = Command::decode(BATCH_2) else { panic!() };
    assert_eq!(first, timestamp());
    let operation = &requests[0].operations[0];
    assert_eq!((operation.id, operation.condition), ("id-1", None));
    let LoggedChange::Patch(patch) = &operation.change else { panic!() };
    let Ok(Patched::Content(bytes)) = patch.apply(content()) else { panic!() };
    let row = encode_record(&header(), &[0; 32], &bytes);
    let record = StoredRecord::decode(&row).unwrap().into_record("id-1", &configs()).unwrap();
    assert_eq!(record.metadata, *json!({"b": [true, null], "c": [1]}).as_object().unwrap());
    assert_eq!(record.region.as_deref(), Some("region-b"));
    assert_eq!(
        (record.kind.as_str(), record.partition_key.as_deref()),
        ("message", Some("mailbox-1"))
    );
    assert_eq!(record.expires_at, Some(1_800_000_000_000));
    assert_eq!(
        (&record.vectors[""][..], &record.vectors["flat"][..]),
        (&[0.5, -0.25, 2.0][..], &[4.0, -0.5][..])
    );

    let operations = [BATCH_2[2 + 8 + 3..].to_vec()];
    let request = EncodedRequest { atomic: false, idempotency: None, operations: &operations };
    assert_eq!(encode_batch(timestamp(), [request].into_iter(), 0), BATCH_2);
    // What is of version 2 is not read in a batch of version 1.
    let older = [&[1], &BATCH_2[1..]].concat();
    assert!(Command::decode(&older).is_err());
}

#[test]
fn an_expiry_of_format_2_is_read() {
    assert_eq!(Command::decode(EXPIRE_2), Ok(Command::Expire { at: timestamp() }));
    assert_eq!(encode_expire(timestamp()), EXPIRE_2);
    let older = [&[1], &EXPIRE_2[1..]].concat();
    assert!(Command::decode(&older).is_err());
}

#[test]
fn a_remembered_request_of_format_2_is_read() {
    let outcomes = vec![WriteOutcome::TooLarge { bytes: 70_000, limit: 65_536 }];
    let parts = vec![Part { first: ETAG, timestamp: timestamp(), outcomes }];
    let remembered = Remembered { digest: [0xcd; 16], total: 1, parts };
    assert_eq!(Remembered::decode(REMEMBERED_2), Ok(remembered.clone()));
    assert_eq!(remembered.encode(), REMEMBERED_2);
}

#[test]
fn the_meta_row_of_format_1_is_read() {
    let meta = Meta {
        applied: Position { seq: 1000, hash: EntryHash([0xef; 32]) },
        epoch: 5,
        logged_bytes: 123_456,
        clock: Timestamp::from_millis(1_700_000_000_000).plus(9),
        next_key: 301,
        records: 42,
        tombstones: 3,
        first_remembered: 7,
        next_remembered: 19,
        idempotency: IdempotencyLimits { keys: 100_000, age_millis: 86_400_000 },
    };
    assert_eq!(Meta::decode(META), Ok(meta));
    assert_eq!(meta.encode(), META);
}

#[test]
fn a_remembered_request_of_format_1_is_read() {
    let etag = |index: u32| Etag { index: 7 + index, ..ETAG };
    let at = |offset| timestamp().plus(offset);
    let remembered = Remembered {
        digest: [0xcd; 16],
        total: 8,
        parts: vec![
            Part {
                first: ETAG,
                timestamp: timestamp(),
                outcomes: vec![
                    WriteOutcome::Put {
                        etag: etag(0),
                        version: 1,
                        timestamp: at(0),
                        created: true,
                    },
                    WriteOutcome::Put {
                        etag: etag(1),
                        version: 2,
                        timestamp: at(1),
                        created: false,
                    },
                    WriteOutcome::Deleted { etag: etag(2), version: 3, timestamp: at(2) },
                    WriteOutcome::NotFound,
                    WriteOutcome::ConditionFailed { current: None },
                    WriteOutcome::ConditionFailed {
                        current: Some(Etag { epoch: 1, seq: 2, index: 3 }),
                    },
                    WriteOutcome::NotApplied,
                ],
            },
            Part {
                first: Etag { epoch: 5, seq: 1001, index: 0 },
                timestamp: Timestamp::from_millis(1_700_000_000_001),
                outcomes: vec![WriteOutcome::NotFound],
            },
        ],
    };
    assert_eq!(Remembered::decode(REMEMBERED), Ok(remembered.clone()));
    assert_eq!(remembered.encode(), REMEMBERED);
    let answer = remembered.answer().unwrap();
    assert_eq!((answer.outcomes.len(), answer.seq, answer.repeated), (8, 1001, true));
}

/// Whatever is cut off or changed, reading says so or reads something; it never panics.
#[test]
fn damaged_golden_bytes_never_panic() {
    fn read(bytes: &[u8]) {
        if let Ok(Command::Batch { requests, .. }) = Command::decode(bytes) {
            for operation in requests.iter().flat_map(|request| &request.operations) {
                if let LoggedChange::Patch(patch) = &operation.change {
                    let _ = patch.apply(content());
                }
            }
        }
        let _ = Meta::decode(bytes);
        let _ = Remembered::decode(bytes);
        let _ = Header::decode(bytes);
        if let Ok(stored) = StoredRecord::decode(bytes) {
            let _ = stored.content.vector("flat");
            let _ = stored.into_record("id", &configs());
        }
    }
    for golden in [RECORD, TOMBSTONE, BATCH, BATCH_2, EXPIRE_2, META, REMEMBERED, REMEMBERED_2] {
        for length in 0..golden.len() {
            read(&golden[..length]);
        }
        for at in 0..golden.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, golden[at] ^ 1, golden[at].wrapping_add(1)] {
                let mut damaged = golden.to_vec();
                damaged[at] = value;
                read(&damaged);
            }
        }
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;
    use crate::command::{encode_operation, encode_purge};
    use crate::content;
    use crate::operation::Operation;
    use crate::record::NewRecord;

    fn new_records() -> impl Strategy<Value = NewRecord> {
        let text = "[a-zäß犬]{1,12}";
        (
            text,
            proptest::option::of(text),
            proptest::option::of(text),
            text,
            proptest::option::of(proptest::array::uniform3(-1e3_f32..1e3)),
            proptest::option::of(proptest::array::uniform2(-1e9_f64..1e9)),
            proptest::collection::btree_map(".{0,8}", any::<Option<i64>>(), 0..4),
        )
            .prop_map(|(id, partition_key, region, kind, curved, flat, metadata)| {
                let mut vectors = Vectors::new();
                if let Some(curved) = curved {
                    vectors.insert(String::new(), curved.map(f64::from).to_vec());
                }
                if let Some(flat) = flat {
                    vectors.insert("flat".to_owned(), flat.to_vec());
                }
                let metadata = metadata.into_iter().map(|(key, value)| (key, value.into()));
                NewRecord {
                    id,
                    partition_key,
                    vectors,
                    metadata: metadata.collect(),
                    region,
                    kind,
                    expiry: None,
                }
            })
    }

    proptest! {
        #[test]
        fn a_record_comes_back_as_it_was_put(new in new_records()) {
            let mut bytes = Vec::new();
            content::encode(&new, None, &configs(), &mut bytes).unwrap();
            let row = encode_record(&header(), &[1; 32], &bytes);
            let stored = StoredRecord::decode(&row).unwrap();
            prop_assert_eq!(stored.header, header());
            for name in ["", "flat"] {
                prop_assert_eq!(&stored.content.vector(name).unwrap(), &new.vectors.get(name).cloned());
            }
            let record = stored.into_record(&new.id, &configs()).unwrap();
            prop_assert_eq!(record.vectors, new.vectors);
            prop_assert_eq!(record.metadata, new.metadata);
            prop_assert_eq!(record.region, new.region);
            prop_assert_eq!(record.partition_key, new.partition_key);
            prop_assert_eq!(record.kind, new.kind);
        }

        #[test]
        fn operations_come_back_from_a_batch(new in new_records(), other: u64) {
            let mut bytes = Vec::new();
            content::encode(&new, None, &configs(), &mut bytes).unwrap();
            let condition = Some(Condition::IfMatch(Etag { epoch: other, seq: 1, index: 2 }));
            let id = new.id.clone();
            let put = Operation::Put { record: new, condition };
            let operations = [encode_operation(&put, &bytes)];
            let request = EncodedRequest { atomic: true, idempotency: None, operations: &operations };
            let payload = encode_batch(Timestamp(other), [request].into_iter(), 0);
            let Ok(Command::Batch { first, requests }) = Command::decode(&payload) else {
                panic!("not a batch");
            };
            prop_assert_eq!(first, Timestamp(other));
            let operation = &requests[0].operations[0];
            prop_assert_eq!(operation.id, &id);
            prop_assert_eq!(operation.condition, condition);
            let LoggedChange::Put { content, .. } = operation.change else { panic!("not a put") };
            prop_assert_eq!(content, &bytes[..]);
            let purge = encode_purge(first);
            prop_assert_eq!(Command::decode(&purge), Ok(Command::Purge { before: first }));
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            tag in 0_u8..4,
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let versioned = [&[1, tag][..], &bytes].concat();
            for bytes in [&bytes[..], &versioned[..], &versioned[..1]] {
                let _ = Command::decode(bytes);
                let _ = Meta::decode(bytes);
                if let Ok(remembered) = Remembered::decode(bytes) {
                    prop_assert_eq!(remembered.encode(), bytes);
                }
                if let Ok(stored) = StoredRecord::decode(bytes) {
                    let _ = stored.into_record("id", &configs());
                }
            }
        }
    }
}
