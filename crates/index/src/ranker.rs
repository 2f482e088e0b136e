//! One face for spaces that have a metric and for those that only have intervals.

use std::sync::Arc;

use hvs_geometry::Space;

use crate::metric::{Interval, Lane, Metric, OutOfRange, Query};

/// How an index compares vectors.
pub(crate) enum Ranker<T> {
    Metric(Arc<Metric<T>>),
    Interval(Interval),
}

/// A query ready to be compared.
pub(crate) enum Prepared<T> {
    Metric(Query<T>),
    Interval(Vec<f64>),
}

impl<T: Lane> Ranker<T> {
    /// `None` for a product with a component that has no metric.
    pub(crate) fn of(space: &Space) -> Option<Self> {
        if let Some(metric) = Metric::of(space) {
            return Some(Self::Metric(Arc::new(metric)));
        }
        space.geometry().is_some().then(|| Self::Interval(Interval::of(space, T::PRECISION)))
    }

    pub(crate) fn metric(&self) -> Option<&Arc<Metric<T>>> {
        match self {
            Self::Metric(metric) => Some(metric),
            Self::Interval(_) => None,
        }
    }

    /// Numbers in a ranking row; 0 when there are no rows.
    pub(crate) fn lanes(&self) -> usize {
        self.metric().map_or(0, |metric| metric.lanes())
    }

    /// Coordinates in storage form.
    pub(crate) fn stored(&self) -> usize {
        match self {
            Self::Metric(metric) => metric.stored(),
            Self::Interval(interval) => interval.stored(),
        }
    }

    /// Appends the ranking row of a vector in storage form.
    pub(crate) fn encode(&self, stored: &[f64], row: &mut Vec<T>) -> Result<(), OutOfRange> {
        match self {
            Self::Metric(metric) => metric.encode(stored, row),
            Self::Interval(_) => Ok(()),
        }
    }

    pub(crate) fn prepare(&self, stored: &[f64]) -> Result<Prepared<T>, OutOfRange> {
        Ok(match self {
            Self::Metric(metric) => Prepared::Metric(metric.query(stored)?),
            Self::Interval(_) => Prepared::Interval(stored.to_vec()),
        })
    }

    /// Keys of consecutive rows, given in both forms. Rows that cannot be ranked get infinity.
    pub(crate) fn scan(&self, query: &Prepared<T>, ranking: &[T], stored: &[T], keys: &mut Vec<T>) {
        match (self, query) {
            (Self::Metric(metric), Prepared::Metric(query)) => {
                metric.kernel().scan(&query.row, ranking, keys);
            }
            (Self::Interval(interval), Prepared::Interval(query)) => {
                keys.clear();
                let mut wide = Vec::with_capacity(interval.stored());
                keys.extend(stored.chunks_exact(interval.stored()).map(|row| {
                    wide.clear();
                    wide.extend(row.iter().map(|lane| lane.to_f64()));
                    T::from_f64(interval.magnitude(query, &wide))
                }));
            }
            _ => keys.clear(),
        }
    }

    /// The distance in f64 as the geometry defines it, infinite for rows that cannot be ranked.
    pub(crate) fn true_distance(&self, query: &Prepared<T>, stored: &[f64]) -> f64 {
        match (self, query) {
            (Self::Metric(metric), Prepared::Metric(query)) => metric.true_distance(query, stored),
            (Self::Interval(interval), Prepared::Interval(query)) => {
                interval.magnitude(query, stored)
            }
            _ => f64::INFINITY,
        }
    }

    /// The largest key that a row within `radius` of the query can have been computed to have.
    pub(crate) fn key_limit(&self, query: &Prepared<T>, radius: f64, reach: &[f64]) -> f64 {
        match (self, query) {
            (Self::Metric(metric), Prepared::Metric(query)) => {
                metric.key_limit(query, radius, reach)
            }
            _ => radius * (1.0 + 4.0 * T::EPSILON),
        }
    }

    /// A distance that every row with a computed key of at least `key` truly has.
    pub(crate) fn at_least(&self, query: &Prepared<T>, key: f64, reach: &[f64]) -> f64 {
        match (self, query) {
            (Self::Metric(metric), Prepared::Metric(query)) => metric.at_least(query, key, reach),
            _ => key * (1.0 - 4.0 * T::EPSILON),
        }
    }

    /// Raises `reach`, the largest size per component, to cover a row.
    pub(crate) fn extend_reach(&self, row: &[T], reach: &mut Vec<f64>) {
        if let Self::Metric(metric) = self {
            metric.extend_reach(row, reach);
        }
    }
}
