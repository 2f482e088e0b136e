//! Distances of single vectors that no index holds, as the index would compute them.

use hvs_geometry::{Precision, Space};

use crate::{
    error::SearchError,
    ranker::{Prepared, Ranker},
};

/// A point to measure distances from. What it answers for a stored vector is the very number that
/// a search answers for a hit with this vector, so that both can be put into one order.
pub struct Measure(Typed);

enum Typed {
    F32(Ranker<f32>, Prepared<f32>),
    F64(Ranker<f64>, Prepared<f64>),
}

impl Measure {
    /// From `query`, in ambient coordinates, which the caller has validated, to vectors that are
    /// stored in `precision`.
    ///
    /// # Errors
    /// [`SearchError::OutOfRange`] where a search would say so.
    pub fn new(space: &Space, precision: Precision, query: &[f64]) -> Result<Self, SearchError> {
        let stored = space.to_storage(query);
        let refuse = || SearchError::OutOfRange;
        Ok(Self(match precision {
            Precision::F32 => {
                let ranker = Ranker::<f32>::of(space).ok_or_else(refuse)?;
                let prepared = ranker.prepare(&stored).map_err(|_| refuse())?;
                Typed::F32(ranker, prepared)
            }
            Precision::F64 => {
                let ranker = Ranker::<f64>::of(space).ok_or_else(refuse)?;
                let prepared = ranker.prepare(&stored).map_err(|_| refuse())?;
                Typed::F64(ranker, prepared)
            }
        }))
    }

    /// The distance to a vector in storage form; `None` if a search would never return it.
    #[must_use]
    pub fn distance(&self, stored: &[f64]) -> Option<f64> {
        let distance = match &self.0 {
            Typed::F32(ranker, prepared) => ranker.true_distance(prepared, stored),
            Typed::F64(ranker, prepared) => ranker.true_distance(prepared, stored),
        };
        distance.is_finite().then_some(distance)
    }
}
