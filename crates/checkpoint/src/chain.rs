//! Reading a chain: the rows of a base and its deltas, as one.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use bytes::Bytes;

use crate::{
    manifest::{Link, ObjectRef},
    object::{DamagedObject, ObjectReader, Row},
    store::StoreError,
};

/// Why a chain cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// An object cannot be had, or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object's rows do not come after those of the object before it, or are of another
    /// number than the manifest says.
    #[error("the object {name} is damaged: {reason}")]
    Object {
        /// Which.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
}

impl ChainError {
    fn from_object(object: &ObjectRef, source: DamagedObject) -> Self {
        Self::Store(StoreError::Object { name: object.name.clone(), source })
    }
}

/// The rows of a chain in order of their keys. Of rows with one key it has the newest.
pub struct Chain<'a, F> {
    fetch: F,
    links: Vec<LinkReader<'a>>,
    heads: BinaryHeap<Reverse<Head>>,
    started: bool,
}

struct LinkReader<'a> {
    objects: std::slice::Iter<'a, ObjectRef>,
    open: Option<(&'a ObjectRef, ObjectReader)>,
    rows: u64,
    last: Bytes,
}

/// The next row of a link. Of equal keys the one of the newest link comes first.
struct Head {
    row: Row,
    link: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.row.key.cmp(&other.row.key).then_with(|| other.link.cmp(&self.link))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl<'a, F, E> Chain<'a, F>
where
    F: FnMut(&ObjectRef) -> Result<Bytes, E>,
    E: From<ChainError>,
{
    /// The rows of the links, the base first. `fetch` gets an object whose size and hash are
    /// right; one object of each link is held at a time.
    pub fn new(links: &'a [Link], fetch: F) -> Self {
        let links = links.iter().map(|link| LinkReader {
            objects: link.objects.iter(),
            open: None,
            rows: 0,
            last: Bytes::new(),
        });
        Self { fetch, links: links.collect(), heads: BinaryHeap::new(), started: false }
    }

    fn advance(&mut self, number: usize) -> Result<(), E> {
        let Some(link) = self.links.get_mut(number) else { return Ok(()) };
        if let Some(row) = link.next(&mut self.fetch)? {
            self.heads.push(Reverse(Head { row, link: number }));
        }
        Ok(())
    }

    fn next_row(&mut self) -> Result<Option<Row>, E> {
        if !self.started {
            self.started = true;
            (0..self.links.len()).try_for_each(|number| self.advance(number))?;
        }
        let Some(Reverse(newest)) = self.heads.pop() else { return Ok(None) };
        self.advance(newest.link)?;
        while self.heads.peek().is_some_and(|Reverse(head)| head.row.key == newest.row.key) {
            if let Some(Reverse(older)) = self.heads.pop() {
                self.advance(older.link)?;
            }
        }
        Ok(Some(newest.row))
    }
}

impl<F, E> Iterator for Chain<'_, F>
where
    F: FnMut(&ObjectRef) -> Result<Bytes, E>,
    E: From<ChainError>,
{
    type Item = Result<Row, E>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_row().transpose()
    }
}

impl LinkReader<'_> {
    fn next<E: From<ChainError>>(
        &mut self,
        fetch: &mut impl FnMut(&ObjectRef) -> Result<Bytes, E>,
    ) -> Result<Option<Row>, E> {
        loop {
            let Some((object, reader)) = &mut self.open else {
                let Some(object) = self.objects.next() else { return Ok(None) };
                let reader = ObjectReader::new(&fetch(object)?)
                    .map_err(|source| ChainError::from_object(object, source))?;
                self.open = Some((object, reader));
                self.rows = 0;
                continue;
            };
            let name = &object.name;
            let row = reader.next().map_err(|source| ChainError::from_object(object, source))?;
            let damaged = |reason| ChainError::Object { name: name.clone(), reason };
            let Some(row) = row else {
                if self.rows != object.rows {
                    return Err(
                        damaged("it has another number of rows than the manifest says").into()
                    );
                }
                self.open = None;
                continue;
            };
            if !self.last.is_empty() && row.key <= self.last {
                return Err(damaged("its rows are not in order").into());
            }
            self.rows += 1;
            self.last = row.key.clone();
            return Ok(Some(row));
        }
    }
}
