//! A node in a process of its own.
