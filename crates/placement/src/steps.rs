//! Carrying a plan out, one bounded step after the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    cluster::{Cluster, NodeId},
    moves::Move,
    plan::Plan,
};

/// What is to be done now. The same kinds as those of a whole plan.
pub type Step = Move;

/// How far a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// It gets its first state.
    Building,
    /// It follows its leader, or is it.
    InStep,
    /// Its node is not to be had.
    Lost,
}

/// A shard as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Its replicas.
    pub replicas: BTreeMap<NodeId, ReplicaState>,
    /// Which of them leads.
    pub leader: Option<NodeId>,
}

/// How much happens at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Replicas that are built at once in the whole cluster.
    pub building: usize,
    /// Replicas that are built at once on one node.
    pub building_per_node: usize,
}

impl Default for Limits {
    /// Eight, two on a node.
    fn default() -> Self {
        Self { building: 8, building_per_node: 2 }
    }
}

/// The steps that a plan allows now, from what is observed. None are left when it is carried out, or
/// waits for what is being built. Nothing is remembered between two calls: whoever gives a plan up asks
/// no more, and another plan goes on from where this one was.
pub fn next_steps(
    cluster: &Cluster,
    plan: &Plan,
    observed: &BTreeMap<Uuid, Observed>,
    limits: Limits,
) -> Vec<Step> {
    let mut building: BTreeMap<&NodeId, usize> = BTreeMap::new();
    for shard in observed.values() {
        for (node, state) in &shard.replicas {
            *building.entry(node).or_default() += usize::from(*state == ReplicaState::Building);
        }
    }
    let mut all: usize = building.values().sum();
    let mut steps = Vec::new();
    let nothing = Observed::default();
    for (&shard, then) in &plan.replicas {
        let now = observed.get(&shard).unwrap_or(&nothing);
        for node in then.nodes.iter().filter(|node| !now.replicas.contains_key(*node)) {
            let here = building.entry(node).or_default();
            if all < limits.building && *here < limits.building_per_node {
                *here += 1;
                all += 1;
                steps.push(Move::Add { shard, node: node.clone() });
            }
        }
        let is_in_step = |node: &NodeId| now.replicas.get(node) == Some(&ReplicaState::InStep);
        if let Some(node) = then.leader.as_ref().filter(|node| is_in_step(node))
            && now.leader.as_ref() != Some(node)
        {
            // It hands over before anything of this shard is taken away.
            steps.push(Move::Lead { shard, node: node.clone() });
            continue;
        }
        let wanted = cluster.shards.get(&shard).map_or(usize::MAX, |shard| shard.replication);
        if let Some(node) = superfluous(now, &then.nodes, wanted) {
            steps.push(Move::Remove { shard, node });
        }
    }
    steps
}

/// A replica that can go: one a step, never the leader, and one in step only if as many as are wanted
/// are left.
fn superfluous(now: &Observed, wanted: &[NodeId], count: usize) -> Option<NodeId> {
    let in_step = now.replicas.values().filter(|state| **state == ReplicaState::InStep).count();
    let can_go = |(node, state): &(&NodeId, &ReplicaState)| {
        if wanted.contains(node) || now.leader.as_ref() == Some(*node) {
            return false;
        }
        match state {
            ReplicaState::Building => true,
            // Its node may come back, and be what is left.
            ReplicaState::Lost => in_step >= count.max(1),
            ReplicaState::InStep => in_step > count.max(1),
        }
    };
    now.replicas.iter().find(can_go).map(|(node, _)| node.clone())
}
