//! Answering a filter from the index.

use std::ops::Bound::{self, Excluded, Included, Unbounded};

use roaring::RoaringTreemap;
use serde_json::Value;

use super::{KIND, Matching, PayloadIndex, REGION, field::Field};
use crate::{
    Bound as Operand, Comparison, Filter, Operator, Scalar, Subject, Test, operand::Exact,
    scalar::Kind,
};

type Range = (Bound<Scalar>, Bound<Scalar>);

impl PayloadIndex {
    /// Which records match a filter, as far as is known here.
    #[must_use]
    pub fn evaluate(&self, filter: &Filter) -> Matching {
        match filter {
            Filter::And(filters) => self.all(filters),
            Filter::Or(filters) => {
                let mut any = Matching::default();
                for matching in filters.iter().map(|filter| self.evaluate(filter)) {
                    any.sure |= matching.sure;
                    any.maybe |= matching.maybe;
                }
                any.maybe -= &any.sure;
                any
            }
            Filter::Not(filter) => {
                let Matching { sure, maybe } = self.evaluate(filter);
                Matching { sure: &self.live - (sure | &maybe), maybe }
            }
            Filter::Test(test) => self.test(test),
        }
    }

    fn all(&self, filters: &[Filter]) -> Matching {
        let (intervals, rest) = intervals(filters);
        let intervals = intervals.iter().map(|interval| self.interval(interval));
        let rest = rest.into_iter().map(|filter| self.evaluate(filter));
        let both = |a: Matching, b: Matching| {
            let sure = &a.sure & &b.sure;
            let maybe = ((a.sure | a.maybe) & (b.sure | b.maybe)) - &sure;
            Matching { sure, maybe }
        };
        intervals
            .chain(rest)
            .reduce(both)
            .unwrap_or_else(|| Matching { sure: self.live.clone(), maybe: RoaringTreemap::new() })
    }

    /// Tests on both sides of one field. A record with a single value must have it in between;
    /// one with several may pass each test with another value.
    fn interval(&self, interval: &Interval<'_>) -> Matching {
        let Some((field, unknown)) = self.field(interval.subject) else {
            return self.absent(interval.subject);
        };
        match field.range(&interval.range) {
            Some(sure) => self.matching(sure, field.several() | &unknown),
            None => self.matching(RoaringTreemap::new(), field.exists() | unknown),
        }
    }

    fn test(&self, test: &Test) -> Matching {
        if test.operator == Operator::Exists(false) {
            let exists = Test { subject: test.subject.clone(), operator: Operator::Exists(true) };
            return self.evaluate(&Filter::Not(Box::new(Filter::Test(exists))));
        }
        let Some((field, unknown)) = self.field(&test.subject) else {
            return self.absent(&test.subject);
        };
        let anywhere = || field.exists() | &unknown;
        let nothing = RoaringTreemap::new;
        match &test.operator {
            Operator::Exists(_) => self.matching(field.exists().clone(), unknown),
            Operator::Equal(value) => match Scalar::of(value) {
                Some(scalar) => self.matching(field.any_of([&scalar].into_iter()), unknown),
                None => self.matching(nothing(), anywhere()),
            },
            Operator::In(values) => {
                let scalars: Vec<Scalar> = values.iter().filter_map(Scalar::of).collect();
                let sure = field.any_of(scalars.iter());
                let is_whole = scalars.len() == values.len();
                self.matching(sure, if is_whole { unknown } else { anywhere() })
            }
            Operator::Compare(comparison, bound) => {
                match field.range(&half_line(*comparison, bound)) {
                    Some(sure) => self.matching(sure, unknown),
                    None => self.matching(nothing(), anywhere()),
                }
            }
            Operator::Contains(part) => {
                let maybe = match (part, Scalar::of(part)) {
                    (Value::String(part), _) => field.texts_with(part),
                    (_, Some(scalar)) => Some(field.any_of([&scalar].into_iter())),
                    (_, None) => None,
                };
                // Values and elements are not told apart here.
                self.matching(nothing(), maybe.map_or_else(anywhere, |maybe| maybe | &unknown))
            }
        }
    }

    /// A field, and the records of which not all values of it are indexed.
    pub(super) fn field(&self, subject: &Subject) -> Option<(&Field, RoaringTreemap)> {
        match subject {
            Subject::Kind => {
                let field = self.fields.get(KIND)?;
                Some((field, field.unindexed().clone()))
            }
            Subject::Region => {
                let field = self.fields.get(REGION)?;
                Some((field, field.unindexed().clone()))
            }
            Subject::Metadata(path) => {
                let field = self.fields.get(&path.join("."))?;
                // What is declared was always there, so that no record has overflowed from it.
                let unknown = if field.is_declared() {
                    field.unindexed().clone()
                } else {
                    field.unindexed() | &self.overflow
                };
                Some((field, unknown))
            }
        }
    }

    /// What is known of a field that is not here.
    fn absent(&self, subject: &Subject) -> Matching {
        let unknown = match subject {
            Subject::Kind | Subject::Region => RoaringTreemap::new(),
            Subject::Metadata(_) => self.overflow.clone(),
        };
        self.matching(RoaringTreemap::new(), unknown)
    }

    fn matching(&self, sure: RoaringTreemap, maybe: RoaringTreemap) -> Matching {
        let sure = sure & &self.live;
        let maybe = (maybe & &self.live) - &sure;
        Matching { sure, maybe }
    }
}

/// Bounds on both sides of one field.
struct Interval<'a> {
    subject: &'a Subject,
    range: Range,
}

/// Takes pairs of bounds out of filters that must all hold, one pair per field.
fn intervals(filters: &[Filter]) -> (Vec<Interval<'_>>, Vec<&Filter>) {
    let mut intervals: Vec<Interval<'_>> = Vec::new();
    let mut taken = vec![false; filters.len()];
    for (low, filter) in filters.iter().enumerate() {
        let Some((subject, true, range)) = bounded(filter) else { continue };
        if intervals.iter().any(|interval| interval.subject == subject) {
            continue;
        }
        let upper = filters.iter().enumerate().find_map(|(high, filter)| {
            let (other, is_lower, upper) = bounded(filter)?;
            let fits = other == subject && !is_lower && is_of_one_type(&range.0, &upper.1);
            fits.then_some((high, upper))
        });
        let Some((high, upper)) = upper else { continue };
        intervals.push(Interval { subject, range: (range.0, upper.1) });
        for index in [low, high] {
            if let Some(taken) = taken.get_mut(index) {
                *taken = true;
            }
        }
    }
    let rest = filters.iter().zip(taken).filter(|(_, taken)| !taken).map(|(filter, _)| filter);
    (intervals, rest.collect())
}

/// A test that bounds a field: of which, whether from below, and its half-line.
fn bounded(filter: &Filter) -> Option<(&Subject, bool, Range)> {
    let Filter::Test(Test { subject, operator: Operator::Compare(comparison, bound) }) = filter
    else {
        return None;
    };
    let is_lower = matches!(comparison, Comparison::Greater | Comparison::GreaterOrEqual);
    Some((subject, is_lower, half_line(*comparison, bound)))
}

fn is_of_one_type(low: &Bound<Scalar>, high: &Bound<Scalar>) -> bool {
    matches!(
        (low, high),
        (
            Included(Scalar(Kind::Number(_))) | Excluded(Scalar(Kind::Number(_))),
            Included(Scalar(Kind::Number(_))) | Excluded(Scalar(Kind::Number(_)))
        ) | (
            Included(Scalar(Kind::Text(_))) | Excluded(Scalar(Kind::Text(_))),
            Included(Scalar(Kind::Text(_))) | Excluded(Scalar(Kind::Text(_)))
        )
    )
}

/// The values on one side of a bound, of its type.
fn half_line(comparison: Comparison, bound: &Operand) -> Range {
    let (bound, lowest, above) = match bound {
        Operand::Number(number) => (
            Scalar(Kind::Number(Exact::of(number))),
            Excluded(Scalar(Kind::Bool(true))),
            Excluded(Scalar::text("")),
        ),
        Operand::Text(text) => (Scalar::text(text), Included(Scalar::text("")), Unbounded),
    };
    match comparison {
        Comparison::Greater => (Excluded(bound), above),
        Comparison::GreaterOrEqual => (Included(bound), above),
        Comparison::Less => (lowest, Excluded(bound)),
        Comparison::LessOrEqual => (lowest, Included(bound)),
    }
}
