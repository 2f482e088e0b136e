//! What the project's chores share: where things are, how programs are run, how real data is
//! obtained and read, and how measures are reported.

pub mod data;
pub mod places;
pub mod report;
pub mod shell;
pub mod wordnet;
