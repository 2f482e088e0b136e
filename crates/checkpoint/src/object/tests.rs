//! Objects as they are written and read, damaged ones too.

use proptest::prelude::*;

use super::*;

fn small() -> Sizes {
    Sizes { chunk: 64, object: 300, level: 1 }
}

fn encode(rows: &[(Vec<u8>, Vec<u8>)], sizes: Sizes) -> Vec<Finished> {
    let mut writer = ObjectWriter::new(sizes).unwrap();
    let mut objects = Vec::new();
    for (key, value) in rows {
        objects.extend(writer.push(key, value).unwrap());
    }
    objects.extend(writer.finish().unwrap());
    objects
}

fn decode(bytes: &Bytes) -> Result<Vec<Row>, DamagedObject> {
    let mut reader = ObjectReader::new(bytes)?;
    let mut rows = Vec::new();
    while let Some(row) = reader.next()? {
        rows.push(row);
    }
    assert_eq!(reader.next(), Ok(None), "the end stays the end");
    Ok(rows)
}

fn sample() -> Vec<(Vec<u8>, Vec<u8>)> {
    (0..40_u8).map(|n| (vec![b'a', n], vec![n ^ 0x5a; usize::from(n) * 3])).collect()
}

#[test]
fn rows_come_back_in_order_over_several_objects() {
    let rows = sample();
    let objects = encode(&rows, small());
    assert!(objects.len() > 2, "{}", objects.len());
    assert_eq!(objects.iter().map(|object| object.rows).sum::<u64>(), 40);
    let read: Vec<_> = objects.iter().flat_map(|o| decode(&o.bytes).unwrap()).collect();
    assert_eq!(read.len(), rows.len());
    for (row, (key, value)) in read.iter().zip(&rows) {
        assert_eq!((&row.key[..], &row.value[..]), (&key[..], &value[..]));
    }
    assert!(encode(&[], small()).is_empty());
}

#[test]
fn rows_out_of_order_and_fields_beyond_the_limit_are_refused() {
    let mut writer = ObjectWriter::new(small()).unwrap();
    writer.push(b"b", b"").unwrap();
    assert!(matches!(writer.push(b"b", b""), Err(WriteError::Order { row: 1 })));
    assert!(matches!(writer.push(b"a", b""), Err(WriteError::Order { row: 1 })));
    let longest = vec![0; MAX_FIELD_BYTES];
    writer.push(b"c", &longest).unwrap();
    let longer = vec![0; MAX_FIELD_BYTES + 1];
    assert!(matches!(writer.push(b"d", &longer), Err(WriteError::TooLong { .. })));
}

/// Without the hash, which finds all of it: the checksums alone.
#[test]
fn every_flipped_bit_and_every_truncation_is_found_by_the_format_itself() {
    let bytes = encode(&sample(), Sizes { object: 1 << 20, ..small() })[0].bytes.clone();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&damaged.into()).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(decode(&bytes.slice(..length)).is_err(), "length {length}");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert_eq!(decode(&longer.into()), Err(DamagedObject::Trailing { bytes: 1 }));
}

#[test]
fn what_version_1_wrote_is_read() {
    let golden = "485653430112000000090000000200000028b52ffd200949000001610178016202000058b2\
                  e1a1000000000200000000000000134f18b9";
    let bytes: Vec<u8> = (0..golden.len() / 2)
        .map(|at| u8::from_str_radix(&golden[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let row = |key: &'static [u8], value: &'static [u8]| Row {
        key: Bytes::from_static(key),
        value: Bytes::from_static(value),
    };
    let expected = vec![row(b"a", b"x"), row(b"b", &[0, 0])];
    assert_eq!(decode(&bytes.into()), Ok(expected));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [&MAGIC[..], &[FORMAT_VERSION], &body].concat();
        let _ = decode(&bytes.into());
        let _ = decode(&body.into());
    }
}

#[test]
fn what_a_newer_version_wrote_is_said_to_be_so() {
    let object = encode(&sample(), Sizes::default()).remove(0);
    let mut bytes = object.bytes.to_vec();
    let version = bytes.get_mut(MAGIC.len()).unwrap();
    *version += 1;
    let error = decode(&bytes.into()).unwrap_err();
    assert_eq!(error, DamagedObject::Version { found: FORMAT_VERSION + 1 });
    let said = error.to_string();
    assert!(said.contains("a newer version of HVS") && said.contains("upgrade"), "{said}");
}
