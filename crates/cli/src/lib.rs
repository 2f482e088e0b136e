//! The `hvs` command line: what its commands do, apart from the parsing of arguments.

pub mod read;
