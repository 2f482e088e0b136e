//! Places in the feed of changes, as clients pass them on.
//!
//! A token says which namespace it is of, by its uid, and how far each shard was read, with the
//! epoch of the entry there. It is opaque to clients, has a version, and carries a checksum.

use hvs_api::Code;
use hvs_shard::FeedPosition;
use uuid::Uuid;

use super::{
    failure::Failure,
    scroll::{DIGEST_BYTES, first_bytes, from_hexadecimal, to_hexadecimal},
};
use crate::catalogue::Namespace;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 16 + 4 + 4;
const PLACE_BYTES: usize = 8 + 4 + 8;
/// The shard of a token that is of all of them.
const ALL: u32 = u32::MAX;

/// How far a shard was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) after: FeedPosition,
    /// Of the entry there; 0 if it is not known.
    pub(super) epoch: u64,
}

/// How far a namespace was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    uid: Uuid,
    shard: Option<u32>,
    /// The shard that is read first next time, so that a busy one does not hold up the others.
    pub(super) turn: u32,
    /// Of that shard, or of all in their order.
    pub(super) places: Vec<Place>,
}

impl Cursor {
    /// Reads where to begin.
    pub(super) fn read(
        namespace: &Namespace,
        shard: Option<u32>,
        since: Option<&str>,
    ) -> Result<Self, Failure> {
        let count = namespace.shards().len();
        if let Some(shard) = shard
            && shard as usize >= count
        {
            let detail = format!("there is no shard {shard}; the namespace has {count}, from 0");
            return Err(Failure::new(Code::InvalidArgument, detail));
        }
        let mut cursor = Self { uid: namespace.entry.uid, shard, turn: 0, places: Vec::new() };
        let at = |seq| Place { after: FeedPosition::after(seq), epoch: 0 };
        match since {
            None => cursor.places = cursor.shards(count).map(|_| at(0)).collect(),
            Some("now") => {
                let newest = |number: usize| {
                    namespace.shards().get(number).map_or(0, |shard| *shard.follow().borrow())
                };
                cursor.places = cursor.shards(count).map(|number| at(newest(number))).collect();
            }
            Some(text) => match (text.parse::<u64>(), shard) {
                // No token is so short.
                (Ok(seq), Some(_)) if text.len() <= 20 => cursor.places = vec![at(seq)],
                _ => cursor.read_token(text, count)?,
            },
        }
        Ok(cursor)
    }

    /// The numbers of the shards that are read, of so many.
    pub(super) fn shards(&self, count: usize) -> std::ops::Range<usize> {
        match self.shard {
            Some(shard) => shard as usize..shard as usize + 1,
            None => 0..count,
        }
    }

    /// Whether it is of this namespace, and not of another one of its name.
    pub(super) fn is_of(&self, namespace: &Namespace) -> bool {
        self.uid == namespace.entry.uid
    }

    pub(super) fn token(&self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(self.uid.as_bytes());
        bytes.extend_from_slice(&self.shard.unwrap_or(ALL).to_be_bytes());
        bytes.extend_from_slice(&self.turn.to_be_bytes());
        for Place { after, epoch } in &self.places {
            bytes.extend_from_slice(&after.seq.to_be_bytes());
            bytes.extend_from_slice(&after.index.to_be_bytes());
            bytes.extend_from_slice(&epoch.to_be_bytes());
        }
        let checksum = first_bytes(&blake3::hash(&bytes));
        bytes.extend_from_slice(&checksum);
        to_hexadecimal(&bytes)
    }

    fn read_token(&mut self, token: &str, count: usize) -> Result<(), Failure> {
        let refuse = |detail: &str| Failure::new(Code::InvalidToken, detail);
        let expected = self.shards(count).len();
        // A token of another namespace may have other shards.
        let longest = 2 * (HEAD_BYTES + PLACE_BYTES * expected.max(4_096) + DIGEST_BYTES);
        let bytes = from_hexadecimal(token, longest).ok_or_else(|| {
            refuse("since is neither a token of this API, nor now, nor a seq beside a shard")
        })?;
        let (payload, checksum) = bytes
            .split_last_chunk::<DIGEST_BYTES>()
            .ok_or_else(|| refuse("the token is too short"))?;
        if first_bytes(&blake3::hash(payload)) != *checksum {
            return Err(refuse("the token was cut or changed"));
        }
        if payload.first() != Some(&VERSION) {
            return Err(refuse("the token is of another version of this API"));
        }
        let mut reader = Reader(payload.get(1..).unwrap_or_default());
        let short = || refuse("the token is too short");
        let uid = Uuid::from_bytes(reader.take().ok_or_else(short)?);
        let shard = u32::from_be_bytes(reader.take().ok_or_else(short)?);
        let turn = u32::from_be_bytes(reader.take().ok_or_else(short)?);
        if uid != self.uid {
            let detail = "the position is of another namespace: one that was deleted, or that this one was restored from";
            return Err(Failure::new(Code::HistoryGone, detail));
        }
        if shard != self.shard.unwrap_or(ALL) {
            return Err(refuse("the token is of other shards than the request"));
        }
        let mut places = Vec::with_capacity(expected);
        while let Some(seq) = reader.take() {
            let index = u32::from_be_bytes(reader.take().ok_or_else(short)?);
            let epoch = u64::from_be_bytes(reader.take().ok_or_else(short)?);
            let after = FeedPosition { seq: u64::from_be_bytes(seq), index };
            places.push(Place { after, epoch });
        }
        if places.len() != expected {
            return Err(refuse("the token is of another number of shards"));
        }
        (self.turn, self.places) = (turn, places);
        Ok(())
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn empty(shard: Option<u32>) -> Cursor {
        Cursor { uid: Uuid::from_u128(7), shard, turn: 0, places: Vec::new() }
    }

    fn code(mut cursor: Cursor, token: &str, count: usize) -> String {
        cursor.read_token(token, count).unwrap_err().problem.code.clone()
    }

    #[test]
    fn a_token_leads_where_it_was_made_and_nowhere_else() {
        let place = |seq, index| Place { after: FeedPosition { seq, index }, epoch: seq + 1 };
        for (shard, places) in [
            (None, vec![place(1, 2), place(u64::MAX - 1, FeedPosition::WHOLE)]),
            (Some(1), vec![place(9, 0)]),
        ] {
            let made = Cursor { turn: 1, places, ..empty(shard) };
            let token = made.token();
            let mut read = empty(shard);
            read.read_token(&token, 2).unwrap();
            assert_eq!(read, made);
            let other = Cursor { uid: Uuid::from_u128(8), ..empty(shard) };
            assert_eq!(code(other, &token, 2), "history_gone");
            assert_eq!(code(empty(Some(0)), &token, 2), "invalid_token");
            assert_eq!(code(empty(shard), &token[2..], 2), "invalid_token");
            assert_eq!(code(empty(shard), &token[..token.len() - 2], 2), "invalid_token");
        }
        let of_two = Cursor { places: vec![place(1, 1); 2], ..empty(None) };
        assert_eq!(code(empty(None), &of_two.token(), 3), "invalid_token");
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_a_token_panic(text in ".{0,80}|[0-9a-f]{0,200}") {
            prop_assert_eq!(code(empty(None), &text, 2), "invalid_token");
        }
    }
}
