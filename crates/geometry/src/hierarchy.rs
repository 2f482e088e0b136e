//! Hierarchies: from an edge list to points in hyperbolic space and back, without training.
//!
//! A node u far out in direction θ sees a point a at distance r(u) + b, where
//! b = ln(a₀ − ⟨aₛ, θ⟩) is the Busemann function of its direction (a in hyperboloid coordinates).
//! The root, at the origin, has b = 0. So u finds its ancestors before all strangers if b ≤ 0 for
//! the ancestors alone: the directions with b ≤ 0 form a spherical cap around a, of half-angle ρ
//! with cos ρ = tanh(r(a)/2), and every hierarchy becomes a question of caps that hold the
//! directions of all descendants and of nobody else. [`embed`] answers it in one of two ways, see
//! [`Construction`].
//!
//! [`reconstruction`] measures the result as the literature does.

mod arcs;
mod balls;
mod curve;
mod directions;
mod embed;
mod graph;
mod packing;
mod reconstruction;
mod report;
#[cfg(test)]
mod tests;
mod tree;

pub use embed::{
    Construction, EmbedError, EmbedOptions, Embedding, MAX_EMBED_DIMENSION, MIN_EMBED_DIMENSION,
    embed,
};
pub use graph::{Hierarchy, HierarchyBuilder, HierarchyError, NAMED_IN_CYCLE};
pub use reconstruction::{
    Reconstruction, ReconstructionError, ReconstructionOptions, RelationScore, reconstruction,
};
pub use report::EmbedReport;
