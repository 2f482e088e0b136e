//! A half-precision number or one of 256 levels for each lane, each lane with its own scale.

use half::{f16, slice::HalfBitsSliceExt, slice::HalfFloatSliceExt};

use crate::{
    config::Quantisation,
    metric::{Lane, Metric, POLAR_EXTRA},
};

/// Consecutive lanes that are treated alike.
#[derive(Debug, Clone, Copy)]
struct Run {
    lanes: usize,
    is_coded: bool,
}

/// How the rows of one segment are coded.
#[derive(Debug)]
pub(crate) struct Scalar {
    quantisation: Quantisation,
    runs: Vec<Run>,
    lanes: usize,
    stride: usize,
    /// What a lane's code is multiplied with, and what is added: `lanes` of each.
    scales: Vec<f32>,
    offsets: Vec<f32>,
}

impl Scalar {
    /// A codec for rows that lie between the given bounds of each lane; of an unknown scale where
    /// the bounds are missing.
    fn with<T: Lane>(metric: &Metric<T>, quantisation: Quantisation) -> Self {
        let mut runs = Vec::new();
        for (shape, _) in metric.parts() {
            let radial = if shape.is_hyperbolic() { POLAR_EXTRA } else { 0 };
            runs.push(Run { lanes: shape.lanes() - radial, is_coded: true });
            runs.push(Run { lanes: radial, is_coded: false });
        }
        runs.retain(|run| run.lanes > 0);
        let size = match quantisation {
            Quantisation::I8 => 1,
            _ => 2,
        };
        let bytes = |run: &Run| run.lanes * if run.is_coded { size } else { size_of::<T>() };
        let stride = runs.iter().map(bytes).sum();
        let lanes = metric.lanes();
        Self { quantisation, runs, lanes, stride, scales: Vec::new(), offsets: Vec::new() }
    }

    /// The codec that suits the rows of a matrix.
    #[expect(clippy::cast_possible_truncation, reason = "scales are f32")]
    pub(crate) fn fit<T: Lane>(
        metric: &Metric<T>,
        quantisation: Quantisation,
        ranking: &[T],
    ) -> Self {
        let mut codec = Self::with(metric, quantisation);
        let mut bounds = vec![(f64::INFINITY, f64::NEG_INFINITY); codec.lanes];
        for row in ranking.chunks_exact(codec.lanes.max(1)) {
            for ((low, high), lane) in bounds.iter_mut().zip(row) {
                *low = low.min(lane.to_f64());
                *high = high.max(lane.to_f64());
            }
        }
        for (low, high) in bounds {
            let (scale, offset) = match quantisation {
                Quantisation::I8 => ((high - low) / f64::from(u8::MAX), low),
                _ => (low.abs().max(high.abs()), 0.0),
            };
            let usable = scale.is_finite() && scale > f64::from(f32::MIN_POSITIVE);
            codec.scales.push(if usable { scale as f32 } else { 1.0 });
            codec.offsets.push(if offset.is_finite() { offset as f32 } else { 0.0 });
        }
        codec
    }

    /// From what a file holds: `parameters` are those of `parameters()`.
    pub(crate) fn read<T: Lane>(
        metric: &Metric<T>,
        quantisation: Quantisation,
        parameters: &[f32],
    ) -> Option<Self> {
        let mut codec = Self::with(metric, quantisation);
        let (scales, offsets) = parameters.split_at_checked(codec.lanes)?;
        let fits = offsets.len() == codec.lanes && parameters.iter().all(|x| x.is_finite());
        codec.scales.extend_from_slice(scales);
        codec.offsets.extend_from_slice(offsets);
        fits.then_some(codec)
    }

    pub(crate) fn parameters(&self) -> Vec<f32> {
        self.scales.iter().chain(&self.offsets).copied().collect()
    }

    pub(crate) fn quantisation(&self) -> Quantisation {
        self.quantisation
    }

    /// Bytes of a row.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Appends the code of a row.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded into the range of a code"
    )]
    pub(crate) fn encode<T: Lane>(&self, row: &[T], codes: &mut Vec<u8>) {
        let mut lanes = row.iter().zip(&self.scales).zip(&self.offsets);
        for run in &self.runs {
            for ((lane, &scale), &offset) in lanes.by_ref().take(run.lanes) {
                if !run.is_coded {
                    codes.extend_from_slice(bytemuck::bytes_of(lane));
                    continue;
                }
                let code = (lane.to_f64() - f64::from(offset)) / f64::from(scale);
                match self.quantisation {
                    Quantisation::I8 => codes.push(code.round().clamp(0.0, 255.0) as u8),
                    _ => codes.extend_from_slice(&f16::from_f64(code).to_le_bytes()),
                }
            }
        }
    }

    /// Appends the rows that codes stand for.
    pub(crate) fn decode<T: Lane>(&self, codes: &[u8], rows: &mut Vec<T>) {
        let mut halves = Vec::new();
        for code in codes.chunks_exact(self.stride.max(1)) {
            let (mut rest, mut first) = (code, 0);
            for run in &self.runs {
                let range = first..first + run.lanes;
                let scales = self.scales.get(range.clone()).unwrap_or_default();
                let offsets = self.offsets.get(range).unwrap_or_default();
                let scaled = |code: f32, scale: f32, offset: f32| {
                    T::from_f64(f64::from(offset + scale * code))
                };
                let size = match (run.is_coded, self.quantisation) {
                    (true, Quantisation::I8) => 1,
                    (true, _) => 2,
                    (false, _) => size_of::<T>(),
                };
                let Some((own, others)) = rest.split_at_checked(run.lanes * size) else { return };
                if !run.is_coded {
                    rows.extend(own.chunks_exact(size).map(bytemuck::pod_read_unaligned::<T>));
                } else if size == 1 {
                    let codes = own.iter().zip(scales).zip(offsets);
                    rows.extend(codes.map(|((&code, &s), &o)| scaled(f32::from(code), s, o)));
                } else {
                    halves.resize(run.lanes, 0.0);
                    if let Ok(bits) = bytemuck::try_cast_slice::<u8, u16>(own) {
                        bits.reinterpret_cast::<f16>().convert_to_f32_slice(&mut halves);
                    }
                    let codes = halves.iter().zip(scales).zip(offsets);
                    rows.extend(codes.map(|((&code, &s), &o)| scaled(code, s, o)));
                }
                rest = others;
                first += run.lanes;
            }
        }
    }
}
