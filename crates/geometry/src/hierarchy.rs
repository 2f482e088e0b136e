//! Hierarchies.
mod directions;
mod embed;
mod graph;
mod layout;
mod packing;
mod reconstruction;
mod tree;

pub use embed::{EmbedError, EmbedOptions, EmbedReport, Embedding, embed};
pub use graph::{Hierarchy, HierarchyBuilder, HierarchyError, NAMED_IN_CYCLE};
pub use reconstruction::{
    Reconstruction, ReconstructionError, ReconstructionOptions, RelationScore, reconstruction,
};
