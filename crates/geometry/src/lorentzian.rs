//! De Sitter space `⟨x,x⟩ = 1/c` with `⟨x,y⟩ = -x0·y0 + Σ xi·yi`: intervals and causal order
//! instead of a distance.

use crate::space::Model;

/// `asinh(√c·|x0|)/√c`: how far in time a point is from the waist of the space.
pub(crate) fn rapidity(model: &Model, x: &[f64]) -> f64 {
    let time = x.first().copied().unwrap_or(0.0);
    (model.scale * time.abs()).asinh() / model.scale
}

/// `√(1/c + x0²)`: what the norm of the spatial coordinates must be.
pub(crate) fn spatial_norm(model: &Model, x: &[f64]) -> f64 {
    (1.0 / model.scale).hypot(x.first().copied().unwrap_or(0.0))
}
