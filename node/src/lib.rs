//! The HVS node: edge, router and replica runtime.
