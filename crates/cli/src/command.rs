//! The commands that are one or two requests.

mod alter;
pub(crate) mod changes;
pub(crate) mod checkpoint;
pub(crate) mod maintenance;
pub(crate) mod ns;
pub(crate) mod patch;
pub(crate) mod query;
pub(crate) mod records;
pub(crate) mod repair;
pub(crate) mod search;
mod values;

pub(crate) use values::{
    CoordinatesArg, DurabilityArg, coordinates, coordinates_kind, durability_kind, filter,
    metadata, vector,
};
