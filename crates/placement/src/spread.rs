//! Where the replicas of one shard are to be: on different hosts, in the wanted geo-regions, over
//! zones and then racks, and as many as possible where they are.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    cluster::{Cluster, Node, NodeId, Place, Shard},
    load::{Loads, size},
};

/// Replicas that share a zone and replicas that share a rack, as sums of squares: the less the
/// better, zones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Crowding {
    zones: usize,
    racks: usize,
}

/// How crowded the replicas on these nodes are.
pub(crate) fn crowding<'a>(
    cluster: &Cluster,
    nodes: impl IntoIterator<Item = &'a NodeId>,
) -> Crowding {
    let places: Vec<&Place> = nodes.into_iter().filter_map(|id| cluster.place(id)).collect();
    let mut zones: BTreeMap<[&str; 2], usize> = BTreeMap::new();
    let mut racks: BTreeMap<[&str; 3], usize> = BTreeMap::new();
    for place in places {
        *zones.entry(place.zone()).or_default() += 1;
        *racks.entry(place.rack()).or_default() += 1;
    }
    let squares = |counts: &mut dyn Iterator<Item = usize>| counts.map(|count| count * count).sum();
    Crowding {
        zones: squares(&mut zones.values().copied()),
        racks: squares(&mut racks.values().copied()),
    }
}

/// How many replicas of a shard are to be in each geo-region: as evenly as the hosts there allow,
/// the first regions first. Without wanted regions all nodes are one. Also how many fit nowhere.
pub(crate) fn quotas(cluster: &Cluster, shard: &Shard) -> (Vec<(Option<String>, usize)>, usize) {
    let mut regions: Vec<Option<String>> = Vec::new();
    for region in &shard.regions {
        let region = Some(region.clone());
        // One that is named twice is no second place.
        if !regions.contains(&region) {
            regions.push(region);
        }
    }
    if regions.is_empty() {
        regions.push(None);
    }
    let hosts = |region: &Option<String>| {
        let hosts = cluster.live().filter(|(_, node)| is_in(node, region.as_ref()));
        hosts.map(|(_, node)| node.place.host()).collect::<BTreeSet<_>>().len()
    };
    let mut quotas: Vec<(Option<String>, usize, usize)> =
        regions.into_iter().map(|region| (region.clone(), 0, hosts(&region))).collect();
    let mut left = shard.replication;
    // One after the other, so that what one lacks falls to the others.
    while left > 0 {
        let before = left;
        for (_, quota, hosts) in &mut quotas {
            if left > 0 && *quota < *hosts {
                *quota += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    (quotas.into_iter().map(|(region, quota, _)| (region, quota)).collect(), left)
}

/// Whether a node is in a geo-region; in no particular one, every node is.
pub(crate) fn is_in(node: &Node, region: Option<&String>) -> bool {
    region.is_none_or(|region| node.place.region == *region)
}

/// Chooses the nodes of a shard. What can stay where it is does. `loads` has those of shards that were
/// chosen before, and is told of these.
pub(crate) fn choose(cluster: &Cluster, shard: &Shard, loads: &mut Loads) -> Vec<NodeId> {
    let (quotas, _) = quotas(cluster, shard);
    let mut chosen = Vec::new();
    for (region, quota) in quotas {
        let mut here = kept(cluster, shard, region.as_ref(), quota, loads);
        while here.len() < quota {
            let Some(next) = best(cluster, region.as_ref(), &here, size(shard), loads) else {
                break;
            };
            here.push(next);
        }
        chosen.append(&mut here);
    }
    for node in &chosen {
        loads.add(node, size(shard));
    }
    chosen
}

/// Those of a geo-region that can stay, at most so many: of one host one, the leader first.
fn kept(
    cluster: &Cluster,
    shard: &Shard,
    region: Option<&String>,
    quota: usize,
    loads: &Loads,
) -> Vec<NodeId> {
    let is_leader = |id: &NodeId| shard.replicas.leader.as_ref() == Some(id);
    let mut all: Vec<&NodeId> = shard
        .replicas
        .nodes
        .iter()
        .filter(|id| {
            let node = cluster.nodes.get(*id);
            node.is_some_and(|node| node.is_live() && is_in(node, region))
        })
        .collect();
    all.sort_by_key(|id| (!is_leader(id), (*id).clone()));
    let mut hosts = BTreeSet::new();
    all.retain(|id| cluster.place(id).is_some_and(|place| hosts.insert(place.host())));
    let mut kept: Vec<NodeId> = all.into_iter().cloned().collect();
    while kept.len() > quota {
        // The one without which the rest is spread best; of equals the fullest, and never the leader
        // while there is another.
        let without = |gone: &NodeId| {
            let rest: Vec<&NodeId> = kept.iter().filter(|id| *id != gone).collect();
            crowding(cluster, rest)
        };
        let worst = kept.iter().min_by(|a, b| {
            is_leader(a)
                .cmp(&is_leader(b))
                .then_with(|| without(a).cmp(&without(b)))
                .then_with(|| loads.part(b, 0).total_cmp(&loads.part(a, 0)))
                .then_with(|| b.cmp(a))
        });
        let Some(worst) = worst.cloned() else { break };
        kept.retain(|id| *id != worst);
    }
    kept
}

/// The node that is best for one more replica beside those chosen: in the least crowded zone and rack,
/// then the one that would be the least full.
fn best(
    cluster: &Cluster,
    region: Option<&String>,
    chosen: &[NodeId],
    bytes: u64,
    loads: &Loads,
) -> Option<NodeId> {
    free(cluster, region, chosen)
        .min_by(|a, b| {
            crowding(cluster, chosen.iter().chain([*a]))
                .cmp(&crowding(cluster, chosen.iter().chain([*b])))
                .then_with(|| loads.part(a, bytes).total_cmp(&loads.part(b, bytes)))
                .then_with(|| a.cmp(b))
        })
        .cloned()
}

/// Nodes of a geo-region whose host has none of these.
pub(crate) fn free<'a>(
    cluster: &'a Cluster,
    region: Option<&'a String>,
    chosen: &[NodeId],
) -> impl Iterator<Item = &'a NodeId> {
    let hosts: BTreeSet<[String; 4]> = chosen
        .iter()
        .filter_map(|id| cluster.place(id))
        .map(|place| place.host().map(str::to_owned))
        .collect();
    cluster.live().filter_map(move |(id, node)| {
        let is_free = !hosts.contains(&node.place.host().map(str::to_owned));
        (is_in(node, region) && is_free).then_some(id)
    })
}

/// Moves replicas to less crowded zones and racks of their geo-region while that is possible, and
/// says whether it was. It ends, because each move makes them less crowded.
pub(crate) fn spread(
    cluster: &Cluster,
    shard: &Shard,
    chosen: &mut Vec<NodeId>,
    loads: &mut Loads,
) -> bool {
    let mut has_moved = false;
    while let Some((from, to)) = less_crowded(cluster, shard, chosen, loads) {
        chosen.retain(|id| *id != from);
        chosen.push(to.clone());
        loads.take(&from, size(shard));
        loads.add(&to, size(shard));
        has_moved = true;
    }
    has_moved
}

/// A move after which replicas are less crowded: the one after which they are least, rather not of
/// the leader, to the node that would be the least full.
fn less_crowded(
    cluster: &Cluster,
    shard: &Shard,
    chosen: &[NodeId],
    loads: &Loads,
) -> Option<(NodeId, NodeId)> {
    let now = crowding(cluster, chosen);
    let mut found: Option<(Crowding, bool, f64, NodeId, NodeId)> = None;
    for from in chosen {
        let rest: Vec<NodeId> = chosen.iter().filter(|id| *id != from).cloned().collect();
        let region = region_of(cluster, shard, from);
        for to in free(cluster, region, &rest) {
            let then = crowding(cluster, rest.iter().chain([to]));
            if to == from || then >= now {
                continue;
            }
            let leads = shard.replicas.leader.as_ref() == Some(from);
            let part = loads.part(to, size(shard));
            let is_better = found.as_ref().is_none_or(|(best, leader, full, ..)| {
                then.cmp(best).then(leads.cmp(leader)).then_with(|| part.total_cmp(full)).is_lt()
            });
            if is_better {
                found = Some((then, leads, part, from.clone(), to.clone()));
            }
        }
    }
    found.map(|(.., from, to)| (from, to))
}

/// The geo-region in which a replica has to stay, if its shard wants any.
pub(crate) fn region_of<'a>(cluster: &'a Cluster, shard: &Shard, node: &str) -> Option<&'a String> {
    let place = cluster.place(node).filter(|_| !shard.regions.is_empty());
    place.map(|place| &place.region)
}
