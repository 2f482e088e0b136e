//! Points, distances, maps and means on curved spaces, without any IO.
