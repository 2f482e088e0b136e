//! Ranking rows in fewer bits.
//!
//! A lane becomes a half-precision number or one of 256 levels ([`scalar`]), or a few lanes
//! together become the number of one of 256 points that stand for all of them ([`subspaces`]).
//! Ranks are coarse then, so that more candidates are kept, and their distances are computed from
//! stored vectors.
//!
//! A hyperbolic row is already split into a direction and the numbers of its radius. Coordinates
//! grow with cosh r and have no scale that suits all of them; a direction has, and what a rounding
//! of it does to a distance grows with sinh r. Half precision keeps the order of neighbours that
//! matter; 256 levels do not, nor do 256 points for several lanes, so they are refused there. The
//! numbers of the radius are kept as they are.

mod scalar;
mod subspaces;

use hvs_geometry::{Geometry, Space};

use self::{
    scalar::Scalar,
    subspaces::{Subspaces, Tables},
};
use crate::{
    config::Quantisation,
    metric::{Lane, Metric, kernel::Kernel},
};

/// Why a space or an index cannot be quantised so.
pub(crate) fn refusal(space: &Space, quantisation: Quantisation) -> Option<String> {
    if quantisation == Quantisation::None {
        return None;
    }
    if !space.is_metric() {
        return Some(format!(
            "quantisation {quantisation}: {space} has no ranking rows, because its intervals are no metric"
        ));
    }
    let is_hyperbolic = |space: &Space| space.geometry().is_some_and(Geometry::is_hyperbolic);
    let any = is_hyperbolic(space)
        || space.components().iter().any(|component| is_hyperbolic(&component.space));
    let steps = match quantisation {
        Quantisation::I8 => "256 levels of a direction",
        Quantisation::Pq => "256 points for several coordinates of a direction",
        Quantisation::None | Quantisation::F16 => return None,
    };
    any.then(|| {
        format!(
            "quantisation {quantisation}: {steps} cannot tell neighbours in {space}, where distances grow with sinh r of it; f16 can"
        )
    })
}

/// How the rows of one segment are coded.
#[derive(Debug)]
pub(crate) enum Codec {
    Scalar(Scalar),
    Subspaces(Subspaces),
}

impl Codec {
    /// The codec that suits the rows of a matrix; `None` once `stop` says so.
    pub(crate) fn fit<T: Lane>(
        metric: &Metric<T>,
        quantisation: Quantisation,
        ranking: &[T],
        stop: &dyn Fn() -> bool,
    ) -> Option<Self> {
        if quantisation == Quantisation::Pq {
            return Subspaces::fit(metric, ranking, stop).map(Self::Subspaces);
        }
        Some(Self::Scalar(Scalar::fit(metric, quantisation, ranking)))
    }

    /// How many numbers `parameters()` gives.
    pub(crate) fn parameter_count<T: Lane>(
        metric: &Metric<T>,
        quantisation: Quantisation,
    ) -> usize {
        match quantisation {
            Quantisation::Pq => Subspaces::parameter_count(metric),
            _ => 2 * metric.lanes(),
        }
    }

    /// From what a file holds: `parameters` are those of `parameters()`. `None` if they are not.
    pub(crate) fn read<T: Lane>(
        metric: &Metric<T>,
        quantisation: Quantisation,
        parameters: &[f32],
    ) -> Option<Self> {
        if quantisation == Quantisation::Pq {
            return Subspaces::read(metric, parameters).map(Self::Subspaces);
        }
        Scalar::read(metric, quantisation, parameters).map(Self::Scalar)
    }

    pub(crate) fn parameters(&self) -> Vec<f32> {
        match self {
            Self::Scalar(codec) => codec.parameters(),
            Self::Subspaces(codec) => codec.parameters().to_vec(),
        }
    }

    pub(crate) fn quantisation(&self) -> Quantisation {
        match self {
            Self::Scalar(codec) => codec.quantisation(),
            Self::Subspaces(_) => Quantisation::Pq,
        }
    }

    /// Bytes of a row.
    pub(crate) fn stride(&self) -> usize {
        match self {
            Self::Scalar(codec) => codec.stride(),
            Self::Subspaces(codec) => codec.stride(),
        }
    }

    /// Appends the code of a row.
    pub(crate) fn encode<T: Lane>(&self, row: &[T], codes: &mut Vec<u8>) {
        match self {
            Self::Scalar(codec) => codec.encode(row, codes),
            Self::Subspaces(codec) => codec.encode(row, codes),
        }
    }

    /// Prepares a query row for comparisons with codes.
    pub(crate) fn query<T: Lane>(&self, row: &[T]) -> CodedQuery<'_, T> {
        let form = match self {
            Self::Scalar(codec) => Form::Decoded { codec, row: row.to_vec(), rows: Vec::new() },
            Self::Subspaces(codec) => Form::Tables(codec.tables(row)),
        };
        CodedQuery { stride: self.stride(), form }
    }
}

/// A query that is compared with codes.
pub(crate) struct CodedQuery<'a, T> {
    stride: usize,
    form: Form<'a, T>,
}

enum Form<'a, T> {
    /// Codes are turned back into rows.
    Decoded { codec: &'a Scalar, row: Vec<T>, rows: Vec<T> },
    /// Keys are put together from what is known of each number of a code.
    Tables(Tables<'a>),
}

impl<T: Lane> CodedQuery<'_, T> {
    /// Keys against consecutive rows.
    pub(crate) fn scan(&mut self, kernel: &dyn Kernel<T>, codes: &[u8], keys: &mut Vec<T>) {
        match &mut self.form {
            Form::Decoded { codec, row, rows } => {
                rows.clear();
                codec.decode(codes, rows);
                kernel.scan(row, rows, keys);
            }
            Form::Tables(tables) => {
                keys.clear();
                let rows = codes.chunks_exact(self.stride.max(1));
                keys.extend(rows.map(|code| tables.key::<T>(code)));
            }
        }
    }

    /// Keys against the rows at `slots` of all codes. Slots outside have none, so there must be
    /// none.
    pub(crate) fn gather(
        &mut self,
        kernel: &dyn Kernel<T>,
        codes: &[u8],
        slots: &[u32],
        keys: &mut Vec<T>,
    ) {
        let code = |slot: u32| {
            let start = slot as usize * self.stride;
            codes.get(start..start + self.stride).unwrap_or_default()
        };
        match &mut self.form {
            Form::Decoded { codec, row, rows } => {
                rows.clear();
                for &slot in slots {
                    codec.decode(code(slot), rows);
                }
                kernel.scan(row, rows, keys);
            }
            Form::Tables(tables) => {
                keys.clear();
                keys.extend(slots.iter().map(|&slot| tables.key::<T>(code(slot))));
            }
        }
    }
}
