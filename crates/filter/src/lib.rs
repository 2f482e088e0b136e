//! Filters on records: the language, what it means, and indexes of metadata that answer it.
//!
//! [`Filter::parse`] reads the JSON form, [`Filter::matches`] says what it means for one record,
//! and a [`PayloadIndex`] answers it for all records at once, by their keys.
//!
//! # Invariants
//! - No IO, no clock, no threads.
//! - [`Filter::matches`] is the meaning. An index is allowed not to know, and says for which
//!   records; it never contradicts.

mod facet;
mod index;
mod matching;
mod operand;
mod parse;
mod scalar;
mod schema;

use serde_json::Value;

pub use facet::Facet;
pub use index::{Matching, OrderPart, OrderRequest, PayloadIndex, PayloadLimits, PayloadStats};
pub use matching::Fields;
pub use parse::{FilterError, FilterLimits};
pub use scalar::Scalar;
pub use schema::{FieldType, PayloadSchema};

/// What a record must be like to be part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// All must hold; true when there are none.
    And(Vec<Filter>),
    /// At least one must hold; false when there are none.
    Or(Vec<Filter>),
    /// Must not hold.
    Not(Box<Filter>),
    /// One property of a record.
    Test(Test),
}

/// What is asked of one property of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// Of which property.
    pub subject: Subject,
    /// What is asked.
    pub operator: Operator,
}

/// A property of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Its kind.
    Kind,
    /// Its region, which it may not have.
    Region,
    /// What its metadata holds at a path, keys from the outermost object inwards. Where an array
    /// is met on the way, each object in it is followed, so that there may be several values.
    Metadata(Vec<String>),
}

/// What is asked of the values of a property. Each holds if it holds for one of the values, or
/// for one element of a value that is an array.
#[derive(Debug, Clone, PartialEq)]
pub enum Operator {
    /// It is this value. Numbers compare by value: 1 equals 1.0.
    Equal(Value),
    /// It is one of these.
    In(Vec<Value>),
    /// It lies on this side of a bound.
    Compare(Comparison, Bound),
    /// There is a value, null included (true), or there is none (false).
    Exists(bool),
    /// It is an array that has this element, or a text that has this part.
    Contains(Value),
}

/// A side of a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Above it.
    Greater,
    /// Above it, or equal.
    GreaterOrEqual,
    /// Below it.
    Less,
    /// Below it, or equal.
    LessOrEqual,
}

/// What values are compared with. Numbers only compare with numbers and texts with texts, byte by
/// byte, which puts dates in their ISO 8601 form in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    /// A number.
    Number(serde_json::Number),
    /// A text.
    Text(String),
}

impl Filter {
    /// Nothing is asked for: every record matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::And(filters) if filters.is_empty())
    }

    /// Calls with every property that it asks for.
    pub fn properties(&self, visit: &mut dyn FnMut(&Subject)) {
        self.visit(&mut |test| visit(&test.subject));
    }

    /// Calls with every test in it.
    fn visit(&self, visit: &mut dyn FnMut(&Test)) {
        match self {
            Self::And(filters) | Self::Or(filters) => {
                for filter in filters {
                    filter.visit(visit);
                }
            }
            Self::Not(filter) => filter.visit(visit),
            Self::Test(test) => visit(test),
        }
    }

    /// Whether a record's metadata must be known to say whether it matches.
    #[must_use]
    pub fn needs_metadata(&self) -> bool {
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter().any(Self::needs_metadata),
            Self::Not(filter) => filter.needs_metadata(),
            Self::Test(test) => matches!(test.subject, Subject::Metadata(_)),
        }
    }
}
