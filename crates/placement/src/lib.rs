//! Which node holds which replica of which shard.
//!
//! [`plan`] is a pure function of what is known of a cluster: it says where replicas and leaders are
//! to be, and by which moves. [`next_steps`] carries a plan out, one bounded step after the other,
//! from what is observed at each time; so a plan can be shown before, and given up at any moment.
//!
//! # Invariants
//! - *No shared host*: two replicas of a shard are never to be on one host.
//! - *Wanted regions only*: a replica is to be in a geo-region that its namespace wants.
//! - *Drained*: nothing is to be on a node that is draining or lost.
//! - *A plan of a plan is empty*: where a plan is carried out, the next one has no moves.
//! - *Never less*: no step takes a replica away that is in step with its leader, unless as many as
//!   are wanted are left that are.
//! - No IO, no clock, no randomness: the same cluster gives the same plan on every node.

mod balance;
mod cluster;
mod leaders;
mod load;
mod moves;
mod plan;
mod spread;
mod steps;

pub use cluster::{Cluster, Node, NodeId, NodeState, Place, Replicas, Shard};
pub use moves::Move;
pub use plan::{Plan, Rules, Unmet, plan};
pub use steps::{Limits, Observed, ReplicaState, Step, next_steps};
