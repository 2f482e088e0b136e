//! Which replica leads.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::cluster::{Cluster, NodeId, Shard};

/// The leader of each shard that has replicas: one in the first of the wanted geo-regions that has any.
/// Whoever leads goes on if it may, unless another node that may has fewer shards to lead by two.
pub(crate) fn choose(
    cluster: &Cluster,
    chosen: &BTreeMap<Uuid, Vec<NodeId>>,
) -> BTreeMap<Uuid, NodeId> {
    let mut counts: BTreeMap<&NodeId, usize> = BTreeMap::new();
    let mut leaders: BTreeMap<Uuid, (&NodeId, Vec<&NodeId>)> = BTreeMap::new();
    let mut open = Vec::new();
    for (uid, nodes) in chosen {
        let Some(shard) = cluster.shards.get(uid) else { continue };
        let able = able(cluster, shard, nodes);
        match able.iter().find(|id| shard.replicas.leader.as_ref() == Some(**id)) {
            Some(leader) => {
                *counts.entry(leader).or_default() += 1;
                leaders.insert(*uid, (leader, able));
            }
            None => open.push((*uid, shard, able)),
        }
    }
    for (uid, shard, able) in open {
        let count = |id: &NodeId| counts.get(id).copied().unwrap_or(0);
        // One that is there already need not be waited for.
        let is_new = |id: &NodeId| !shard.replicas.nodes.contains(id);
        let next = able.iter().min_by_key(|id| (is_new(id), count(id), **id));
        let Some(next) = next.copied() else { continue };
        *counts.entry(next).or_default() += 1;
        leaders.insert(uid, (next, able));
    }
    even_out(&mut leaders, &mut counts);
    leaders.into_iter().map(|(uid, (leader, _))| (uid, leader.clone())).collect()
}

/// It ends, because the sum of the squares of the counts falls by each change.
fn even_out<'a>(
    leaders: &mut BTreeMap<Uuid, (&'a NodeId, Vec<&'a NodeId>)>,
    counts: &mut BTreeMap<&'a NodeId, usize>,
) {
    let mut is_even = false;
    while !is_even {
        is_even = true;
        for (leader, able) in leaders.values_mut() {
            let count = |id: &NodeId| counts.get(id).copied().unwrap_or(0);
            let Some(least) = able.iter().min_by_key(|id| (count(id), **id)).copied() else {
                continue;
            };
            if count(leader) >= count(least) + 2 {
                *counts.entry(leader).or_default() -= 1;
                *counts.entry(least).or_default() += 1;
                *leader = least;
                is_even = false;
            }
        }
    }
}

/// Those that may lead, in the order of their ids.
fn able<'a>(cluster: &Cluster, shard: &Shard, nodes: &'a [NodeId]) -> Vec<&'a NodeId> {
    let of = |region: &String| -> Vec<&'a NodeId> {
        let is_there =
            |id: &&NodeId| cluster.place(id).is_some_and(|place| place.region == *region);
        nodes.iter().filter(is_there).collect()
    };
    let first = shard.regions.iter().map(of).find(|able| !able.is_empty());
    let mut able = first.unwrap_or_else(|| nodes.iter().collect());
    able.sort_unstable();
    able
}
