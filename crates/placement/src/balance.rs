//! Moving replicas from nodes that are too full to others.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::{
    cluster::{Cluster, NodeId},
    load::{Loads, size},
    spread::{crowding, free, is_in, region_of},
};

/// A gain below this part of what is moved is rounding.
const LEAST_GAIN: f64 = 1e-6;

/// One replica that is to go elsewhere.
struct Shift {
    shard: Uuid,
    from: NodeId,
    to: NodeId,
    gain: f64,
}

/// Moves replicas while a node is fuller, or emptier, than the mean of its geo-region by more than the
/// tolerance, and that makes it more even. Says whether anything was moved. It ends, because each move
/// makes it more even, and none makes the replicas of a shard more crowded.
pub(crate) fn rebalance(
    cluster: &Cluster,
    chosen: &mut BTreeMap<Uuid, Vec<NodeId>>,
    loads: &mut Loads,
    tolerance: f64,
) -> bool {
    let mut has_moved = false;
    while let Some(Shift { shard, from, to, .. }) = best(cluster, chosen, loads, tolerance) {
        let (Some(nodes), Some(known)) = (chosen.get_mut(&shard), cluster.shards.get(&shard))
        else {
            break;
        };
        nodes.retain(|id| *id != from);
        nodes.push(to.clone());
        loads.take(&from, size(known));
        loads.add(&to, size(known));
        has_moved = true;
    }
    has_moved
}

fn best(
    cluster: &Cluster,
    chosen: &BTreeMap<Uuid, Vec<NodeId>>,
    loads: &Loads,
    tolerance: f64,
) -> Option<Shift> {
    let mut found: Option<Shift> = None;
    for (uid, nodes) in chosen {
        let Some(shard) = cluster.shards.get(uid) else { continue };
        let bytes = size(shard);
        for from in nodes {
            let region = region_of(cluster, shard, from);
            let there: Vec<&NodeId> =
                cluster.live().filter(|(_, node)| is_in(node, region)).map(|(id, _)| id).collect();
            let mean = loads.mean(&there);
            let is_too_full = loads.part(from, 0) > mean * (1.0 + tolerance);
            let rest: Vec<NodeId> = nodes.iter().filter(|id| *id != from).cloned().collect();
            let now = crowding(cluster, nodes);
            for to in free(cluster, region, &rest) {
                let is_too_empty = loads.part(to, 0) < mean * (1.0 - tolerance);
                if to == from || !(is_too_full || is_too_empty) {
                    continue;
                }
                let gain = loads.gain(from, to, bytes);
                let least = bytes as f64 * loads.part(from, 0) * LEAST_GAIN;
                let is_best = found.as_ref().is_none_or(|best| gain > best.gain);
                if gain > least && is_best && crowding(cluster, rest.iter().chain([to])) <= now {
                    found = Some(Shift { shard: *uid, from: from.clone(), to: to.clone(), gain });
                }
            }
        }
    }
    found
}
