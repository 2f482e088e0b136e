//! How full nodes are.

use std::collections::BTreeMap;

use crate::cluster::{Cluster, NodeId, Shard};

/// What a replica takes beside its data, so that empty shards are spread as well.
const OVERHEAD: u64 = 1 << 20;

/// Bytes on each node that takes replicas.
pub(crate) struct Loads {
    by_node: BTreeMap<NodeId, Load>,
}

#[derive(Clone, Copy)]
struct Load {
    bytes: u64,
    capacity: u64,
}

/// What a replica of a shard takes.
pub(crate) fn size(shard: &Shard) -> u64 {
    shard.bytes.saturating_add(OVERHEAD)
}

impl Loads {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let empty = |(id, node): (&NodeId, &crate::cluster::Node)| {
            (id.clone(), Load { bytes: 0, capacity: node.capacity.max(1) })
        };
        Self { by_node: cluster.live().map(empty).collect() }
    }

    pub(crate) fn add(&mut self, node: &str, bytes: u64) {
        if let Some(load) = self.by_node.get_mut(node) {
            load.bytes = load.bytes.saturating_add(bytes);
        }
    }

    pub(crate) fn take(&mut self, node: &str, bytes: u64) {
        if let Some(load) = self.by_node.get_mut(node) {
            load.bytes = load.bytes.saturating_sub(bytes);
        }
    }

    /// The part of its capacity that a node would have used with so many bytes more.
    pub(crate) fn part(&self, node: &str, more: u64) -> f64 {
        self.by_node.get(node).map_or(f64::INFINITY, |load| {
            load.bytes.saturating_add(more) as f64 / load.capacity as f64
        })
    }

    /// The part that all of these would have used if they were equally full.
    pub(crate) fn mean(&self, nodes: &[&NodeId]) -> f64 {
        let loads = || nodes.iter().filter_map(|node| self.by_node.get(*node));
        let bytes: f64 = loads().map(|load| load.bytes as f64).sum();
        let capacity: f64 = loads().map(|load| load.capacity as f64).sum();
        if capacity > 0.0 { bytes / capacity } else { 0.0 }
    }

    /// By how much less uneven it is when so many bytes go from one node to another: the fall of the
    /// sum of bytes² over capacity, which is least where all are equally full.
    pub(crate) fn gain(&self, from: &str, to: &str, bytes: u64) -> f64 {
        let (Some(from), Some(to)) = (self.by_node.get(from), self.by_node.get(to)) else {
            return f64::NEG_INFINITY;
        };
        let cost = |bytes: u64, capacity: u64| bytes as f64 * (bytes as f64 / capacity as f64);
        let before = cost(from.bytes, from.capacity) + cost(to.bytes, to.capacity);
        let after = cost(from.bytes.saturating_sub(bytes), from.capacity)
            + cost(to.bytes.saturating_add(bytes), to.capacity);
        before - after
    }
}
