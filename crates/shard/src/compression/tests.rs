//! Rows that are compressed and opened, damaged ones too.

use proptest::prelude::*;

use super::dictionary::Dictionary;
use super::row::{Layout, compress};
use super::*;

const CODECS: [Codec; 2] = [Codec::Lz4, Codec::Zstd];

fn metadata(number: usize) -> Vec<u8> {
    let text = format!(
        r#"{{"author":"person-{}","language":"en","title":"a title of number {number}","url":"https://example.com/pages/{number}"}}"#,
        number % 17
    );
    text.into_bytes()
}

/// A dictionary of what the metadata above have in common.
fn trained(codec: Codec) -> Dictionary {
    let samples: Vec<Vec<u8>> = (0..2_000).map(metadata).collect();
    let bytes = zstd::dict::from_samples(&samples, 4 << 10).unwrap();
    Dictionary::new(7, codec, 2_000, bytes).unwrap()
}

/// What is before and after a part that is compressed.
fn row(part: &[u8]) -> (Vec<u8>, std::ops::Range<usize>) {
    let (before, after) = ([1, 5, 9].as_slice(), [0xaa; 20].as_slice());
    let row = [before, part, after].concat();
    (row, 3..3 + part.len())
}

fn opened(stored: &[u8], dictionary: &Dictionary) -> Result<Vec<u8>, DamagedRow> {
    Layout::read(stored)?.open(dictionary)
}

#[test]
fn rows_come_back_with_and_without_a_dictionary() {
    for codec in CODECS {
        for dictionary in [Dictionary::empty(codec), trained(codec)] {
            for part in [metadata(1), metadata(1).repeat(50), vec![7; 4 << 20]] {
                let (row, range) = row(&part);
                let Some(stored) = compress(&row, range, &dictionary) else {
                    assert_eq!(dictionary.number, 0, "{codec:?} has gained nothing");
                    continue;
                };
                assert!(stored.len() < row.len());
                assert_eq!(opened(&stored, &dictionary).unwrap(), row, "{codec:?}");
            }
        }
    }
}

#[test]
fn short_records_that_are_much_alike_shrink_to_less_than_half() {
    for codec in CODECS {
        let (row, range) = row(&metadata(123_456));
        let alone = compress(&row, range.clone(), &Dictionary::empty(codec));
        let together = compress(&row, range.clone(), &trained(codec)).unwrap();
        let saved = row.len() - together.len();
        assert!(saved * 2 > range.len(), "{codec:?}: {saved} of {} bytes", range.len());
        assert!(alone.is_none_or(|alone| alone.len() > together.len()));
    }
}

#[test]
fn what_does_not_shrink_is_left_as_it_is() {
    let mut random = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        random.to_be_bytes()[0]
    })
    .take(1_000)
    .collect();
    for codec in CODECS {
        for part in [&noise[..], &metadata(1)[..40], &[]] {
            let (row, range) = row(part);
            assert_eq!(compress(&row, range, &trained(codec)), None, "{codec:?}");
        }
        let (row, range) = row(&vec![7; MAX_PLAIN_BYTES + 1]);
        assert_eq!(compress(&row, range, &trained(codec)), None, "{codec:?}");
    }
}

#[test]
fn a_row_that_claims_to_be_larger_than_possible_is_refused_unopened() {
    for codec in CODECS {
        let claims = |plain: u64| {
            let mut row = vec![row::COMPRESSED, codec.byte(), 0, 0];
            crate::codec::put_varint(&mut row, plain);
            crate::codec::put_varint(&mut row, 10);
            row.extend_from_slice(&[0; 10]);
            row
        };
        for bytes in [MAX_PLAIN_BYTES as u64 + 1, u64::MAX] {
            let refused = opened(&claims(bytes), &Dictionary::empty(codec));
            assert_eq!(refused, Err(DamagedRow::TooLong { bytes }));
        }
        // As large as possible, of ten bytes that do not give that much.
        let refused = opened(&claims(MAX_PLAIN_BYTES as u64), &Dictionary::empty(codec));
        assert!(matches!(refused, Err(DamagedRow::Content { .. })), "{refused:?}");
    }
}

#[test]
fn content_that_is_longer_than_it_says_is_refused() {
    for codec in CODECS {
        let mut compressed = Vec::new();
        let bomb = vec![0; 1 << 20];
        assert!(Dictionary::empty(codec).compress(&bomb, &mut compressed));
        let mut room = vec![0; 100];
        let refused = Dictionary::empty(codec).decompress(&compressed, &mut room);
        assert!(matches!(refused, Err(DamagedRow::Content { .. })), "{codec:?}: {refused:?}");
    }
}

#[test]
fn damage_is_an_error_or_another_row_and_never_a_panic() {
    for codec in CODECS {
        let dictionary = trained(codec);
        let (row, range) = row(&metadata(3));
        let stored = compress(&row, range, &dictionary).unwrap();
        for bit in 0..stored.len() * 8 {
            let mut damaged = stored.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(opened) = opened(&damaged, &dictionary) {
                assert!(opened.len() <= MAX_PLAIN_BYTES + damaged.len());
            }
        }
        for length in 0..stored.len() {
            let _ = opened(&stored[..length], &dictionary);
        }
    }
}

#[test]
fn a_dictionary_of_format_1_is_read() {
    for codec in CODECS {
        let dictionary = trained(codec);
        let encoded = dictionary.encode();
        assert_eq!(&encoded[..4], [1, codec.byte(), 0xd0, 0x0f], "version, codec, records");
        let read = Dictionary::decode(7, &encoded).unwrap();
        assert_eq!((read.number, read.codec, read.records), (7, codec, 2_000));
        let (row, range) = row(&metadata(9));
        let stored = compress(&row, range, &dictionary).unwrap();
        assert_eq!(opened(&stored, &read).unwrap(), row);
    }
    for damaged in [&[][..], &[2, 1, 0], &[1, 3, 0], &[1, 1]] {
        assert!(Dictionary::decode(7, damaged).is_err(), "{damaged:?}");
    }
}

#[test]
fn what_format_2_wrote_is_read() {
    // Without a dictionary, whose bytes depend on who trained it.
    let plain: Vec<u8> = [&[1_u8, 2, 3][..], &[b'x'; 200], &[9, 9]].concat();
    let lz4 = [2, 1, 0, 3, 0xc8, 1, 11, 1, 2, 3, 0x1f, b'x', 1, 0, 0xaf, 0x50];
    let lz4 = [&lz4[..], &[b'x'; 5], &[9, 9]].concat();
    assert_eq!(opened(&lz4, &Dictionary::empty(Codec::Lz4)).unwrap(), plain);
    let stored = compress(&plain, 3..203, &Dictionary::empty(Codec::Zstd)).unwrap();
    assert_eq!(stored[..7], [2, 2, 0, 3, 0xc8, 1, stored[6]]);
    assert_eq!(opened(&stored, &Dictionary::empty(Codec::Zstd)).unwrap(), plain);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for codec in CODECS {
            let row = [&[row::COMPRESSED, codec.byte()], &body[..]].concat();
            let _ = opened(&row, &Dictionary::empty(codec));
        }
        let _ = opened(&body, &Dictionary::empty(Codec::Zstd));
    }

    #[test]
    fn whatever_is_compressed_comes_back(
        part in proptest::collection::vec(0_u8..4, 0..3_000),
        before in 0_usize..50,
    ) {
        let row = [&vec![1; before][..], &part, b"after"].concat();
        for codec in CODECS {
            let dictionary = Dictionary::empty(codec);
            if let Some(stored) = compress(&row, before..before + part.len(), &dictionary) {
                prop_assert_eq!(opened(&stored, &dictionary).unwrap(), row.clone());
            }
        }
    }
}
