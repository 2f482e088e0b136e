//! Going through records in the order of a property.

use std::ops::Bound;

use roaring::RoaringTreemap;

use super::PayloadIndex;
use crate::{Scalar, Subject};

/// Which part of an order is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderRequest<'a> {
    /// By which property.
    pub subject: &'a Subject,
    /// From the largest value to the smallest.
    pub descending: bool,
    /// From which value on, in that direction.
    pub from: Bound<Scalar>,
    /// Only these records.
    pub keys: &'a RoaringTreemap,
    /// It ends with the value by which it has so many records.
    pub records: u64,
    /// It ends when it has looked at so many values.
    pub values: usize,
}

/// A part of an order.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderPart {
    /// Each value with the records that have it, in order. A record is there once for each of its
    /// values.
    pub values: Vec<(Scalar, RoaringTreemap)>,
    /// Where the next part begins; none if this is the last one.
    pub next: Option<Bound<Scalar>>,
}

impl PayloadIndex {
    /// A part of the records in the order of the values of a property. None if it is not indexed.
    #[must_use]
    pub fn order(&self, request: &OrderRequest<'_>) -> Option<OrderPart> {
        let (field, _) = self.field(request.subject)?;
        let mut part = OrderPart { values: Vec::new(), next: None };
        let mut records = 0;
        let values = field.from(request.from.as_ref(), request.descending);
        for (looked_at, (scalar, postings)) in values.enumerate() {
            if records >= request.records || looked_at >= request.values {
                part.next = Some(Bound::Included(scalar.clone()));
                break;
            }
            let keys = postings.among(request.keys);
            if !keys.is_empty() {
                records += keys.len();
                part.values.push((scalar.clone(), keys));
            }
        }
        Some(part)
    }

    /// The records of which not all values of a property are indexed. None if it is not indexed.
    #[must_use]
    pub fn unordered(&self, subject: &Subject) -> Option<RoaringTreemap> {
        match self.field(subject) {
            Some((_, unknown)) => Some(unknown & &self.live),
            // Nobody has it.
            None if !self.only_declared && self.overflow.is_disjoint(&self.live) => {
                Some(RoaringTreemap::new())
            }
            None => None,
        }
    }
}
