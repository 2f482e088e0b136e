//! What holds for plans of any cluster, and for their steps.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};

use hvs_placement::{
    Cluster, Limits, Node, NodeState, Observed, Place, Plan, ReplicaState, Replicas, Rules, Shard,
    Step, Unmet, next_steps, plan,
};
use proptest::prelude::*;
use uuid::Uuid;

const REGIONS: [&str; 3] = ["eu", "us", "asia"];

fn node() -> impl Strategy<Value = Node> {
    // Few places, so that hosts, racks and zones are shared.
    let place = (0..3_usize, 0..2_u8, 0..2_u8, 0..2_u8);
    let state = prop_oneof![
        6 => Just(NodeState::Live),
        1 => Just(NodeState::Draining),
        1 => Just(NodeState::Lost),
    ];
    let capacity = prop_oneof![Just(100_u64 << 20), Just(200 << 20), Just(0), 1..1_u64 << 30];
    (place, state, capacity).prop_map(|((region, zone, rack, host), state, capacity)| Node {
        place: Place {
            region: REGIONS[region].to_owned(),
            zone: format!("z{zone}"),
            rack: format!("r{rack}"),
            host: format!("h{host}"),
        },
        state,
        capacity,
    })
}

fn name(number: usize) -> String {
    format!("n{number:02}")
}

fn shard() -> impl Strategy<Value = Shard> {
    // One region that has no nodes, and nodes that are not known.
    let region = prop_oneof![Just("eu"), Just("us"), Just("asia"), Just("moon")];
    let regions = prop::collection::vec(region.prop_map(str::to_owned), 0..4);
    let nodes = prop::collection::vec((0..14_usize).prop_map(name), 0..5);
    (0..5_usize, regions, 0..100_u64 << 20, nodes, any::<bool>()).prop_map(
        |(replication, regions, bytes, nodes, leads)| {
            let nodes: BTreeSet<String> = nodes.into_iter().collect();
            let nodes: Vec<String> = nodes.into_iter().collect();
            let leader = nodes.first().filter(|_| leads).cloned();
            Shard { replication, regions, bytes, replicas: Replicas { nodes, leader } }
        },
    )
}

fn cluster() -> impl Strategy<Value = Cluster> {
    let nodes = prop::collection::vec(node(), 0..12);
    let shards = prop::collection::vec(shard(), 0..16);
    (nodes, shards).prop_map(|(nodes, shards)| Cluster {
        nodes: nodes.into_iter().enumerate().map(|(number, node)| (name(number), node)).collect(),
        shards: (1..).map(Uuid::from_u128).zip(shards).collect(),
    })
}

/// The cluster when a plan is carried out.
fn after(cluster: &Cluster, plan: &Plan) -> Cluster {
    let mut cluster = cluster.clone();
    for (uid, shard) in &mut cluster.shards {
        shard.replicas = plan.replicas[uid].clone();
    }
    cluster
}

fn check(cluster: &Cluster, plan: &Plan) {
    for (uid, shard) in &cluster.shards {
        let Replicas { nodes, leader } = &plan.replicas[uid];
        let places: Vec<&Place> = nodes.iter().map(|id| &cluster.nodes[id].place).collect();
        let hosts: BTreeSet<&Place> = places.iter().copied().collect();
        assert_eq!(hosts.len(), nodes.len(), "two on one host: {nodes:?}");
        for id in nodes {
            assert_eq!(cluster.nodes[id].state, NodeState::Live, "{id}");
        }
        let wanted = &shard.regions;
        assert!(wanted.is_empty() || places.iter().all(|place| wanted.contains(&place.region)));
        // As many as there are hosts for, and it is said how many are missing.
        let able = cluster.nodes.values().filter(|node| {
            node.state == NodeState::Live
                && (wanted.is_empty() || wanted.contains(&node.place.region))
        });
        let able: BTreeSet<&Place> = able.map(|node| &node.place).collect();
        assert_eq!(nodes.len(), shard.replication.min(able.len()));
        let missing = plan.unmet.iter().find_map(|unmet| match unmet {
            Unmet::Replicas { shard, placed, .. } if shard == uid => Some(*placed),
            _ => None,
        });
        assert_eq!(missing, (nodes.len() < shard.replication).then_some(nodes.len()));
        let lacking: BTreeSet<&String> = plan
            .unmet
            .iter()
            .filter_map(|unmet| match unmet {
                Unmet::Region { shard, region } if shard == uid => Some(region),
                _ => None,
            })
            .collect();
        let is_lacking = |region: &&String| !able.iter().any(|place| place.region == **region);
        assert_eq!(lacking, wanted.iter().filter(is_lacking).collect());
        // Each region has its share, as far as it has hosts.
        let count = |region: &String| places.iter().filter(|p| p.region == *region).count();
        let regions: BTreeSet<&String> = wanted.iter().collect();
        for region in &regions {
            let hosts = able.iter().filter(|place| place.region == **region).count();
            assert!(count(region) >= (shard.replication / regions.len()).min(hosts));
        }
        match leader {
            None => assert!(nodes.is_empty()),
            Some(leader) => {
                assert!(nodes.contains(leader));
                let first = wanted.iter().find(|region| count(region) > 0);
                let region = &cluster.nodes[leader].place.region;
                assert!(first.is_none_or(|first| first == region), "led from {region}");
            }
        }
        // No zone has two more than another one that has a free host.
        for (from, place) in nodes.iter().zip(&places) {
            let zone = |p: &Place| (p.region.clone(), p.zone.clone());
            let used = |p: &Place| places.iter().filter(|q| zone(q) == zone(p)).count();
            for free in able.iter().filter(|p| p.region == place.region || wanted.is_empty()) {
                let is_free = !places.contains(free);
                assert!(!is_free || used(place) < used(free) + 2, "{from} could be in {free:?}");
            }
        }
    }
}

/// Carries a plan out, with what is built finishing in some order.
fn carry_out(
    cluster: &Cluster,
    plan: &Plan,
    limits: Limits,
    mut order: u64,
) -> BTreeMap<Uuid, Observed> {
    let mut observed: BTreeMap<Uuid, Observed> = BTreeMap::new();
    for (uid, shard) in &cluster.shards {
        let state = |id: &String| match cluster.nodes.get(id).map(|node| node.state) {
            None | Some(NodeState::Lost) => ReplicaState::Lost,
            Some(NodeState::Live | NodeState::Draining) => ReplicaState::InStep,
        };
        let replicas: BTreeMap<_, _> =
            shard.replicas.nodes.iter().map(|id| (id.clone(), state(id))).collect();
        // Another one leads already where the leader was lost.
        let leads = |id: &&String| replicas[*id] == ReplicaState::InStep;
        let leader = shard.replicas.leader.as_ref().filter(leads);
        let leader = leader.or_else(|| replicas.keys().find(leads)).cloned();
        observed.insert(*uid, Observed { replicas, leader });
    }
    let in_step = |shard: &Observed| {
        shard.replicas.values().filter(|state| **state == ReplicaState::InStep).count()
    };
    let before: BTreeMap<Uuid, usize> =
        observed.iter().map(|(uid, shard)| (*uid, in_step(shard))).collect();
    for round in 0.. {
        assert!(round < 1_000, "it does not end");
        let steps = next_steps(cluster, plan, &observed, limits);
        for step in &steps {
            let (Step::Add { shard, .. } | Step::Lead { shard, .. } | Step::Remove { shard, .. }) =
                step;
            let now = observed.get_mut(shard).unwrap();
            match step {
                Step::Add { node, .. } => {
                    assert_eq!(now.replicas.insert(node.clone(), ReplicaState::Building), None);
                }
                Step::Lead { node, .. } => {
                    assert_eq!(now.replicas[node], ReplicaState::InStep);
                    now.leader = Some(node.clone());
                }
                Step::Remove { node, .. } => {
                    assert_ne!(now.leader.as_ref(), Some(node), "the leader goes");
                    let wanted = cluster.shards[shard].replication.max(1);
                    let gone = now.replicas.remove(node).unwrap();
                    // One that is lost may come back, and be what is needed then.
                    assert!(gone == ReplicaState::Building || in_step(now) >= wanted);
                }
            }
        }
        let mut building: Vec<(Uuid, String)> = Vec::new();
        for (uid, shard) in &observed {
            let wanted = cluster.shards[uid].replication;
            assert!(in_step(shard) >= before[uid].min(wanted), "{uid} has lost one");
            for (node, state) in &shard.replicas {
                if *state == ReplicaState::Building {
                    building.push((*uid, node.clone()));
                }
            }
        }
        assert!(building.len() <= limits.building);
        let mut on: BTreeMap<&String, usize> = BTreeMap::new();
        for (_, node) in &building {
            *on.entry(node).or_default() += 1;
        }
        assert!(on.values().all(|count| *count <= limits.building_per_node));
        if building.is_empty() && steps.is_empty() {
            return observed;
        }
        if !building.is_empty() {
            order = order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = usize::try_from(order >> 33).unwrap() % building.len();
            let (uid, node) = &building[at];
            let shard = observed.get_mut(uid).unwrap();
            shard.replicas.insert(node.clone(), ReplicaState::InStep);
            // The first one of all leads by itself.
            if shard.leader.is_none() {
                shard.leader = Some(node.clone());
            }
        }
    }
    unreachable!()
}

fn adds(plan: &Plan) -> usize {
    plan.moves.iter().filter(|step| matches!(step, Step::Add { .. })).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn plans_keep_the_rules_and_a_plan_of_a_plan_is_empty(cluster in cluster()) {
        let first = plan(&cluster, Rules::default());
        check(&cluster, &first);
        let again = plan(&after(&cluster, &first), Rules::default());
        prop_assert_eq!(&again.moves, &[]);
        prop_assert_eq!(&again.replicas, &first.replicas);
    }

    #[test]
    fn steps_lead_to_the_plan_and_take_nothing_away_too_early(
        cluster in cluster(),
        building in 1..4_usize,
        building_per_node in 1..3_usize,
        order in any::<u64>(),
    ) {
        let plan = plan(&cluster, Rules::default());
        let limits = Limits { building, building_per_node };
        for (uid, shard) in carry_out(&cluster, &plan, limits, order) {
            let Replicas { nodes, leader } = &plan.replicas[&uid];
            for node in nodes {
                prop_assert_eq!(shard.replicas.get(node), Some(&ReplicaState::InStep));
            }
            if leader.is_some() {
                prop_assert_eq!(&shard.leader, leader);
            }
            // What is left beside it is left because there are too few others.
            let wanted = cluster.shards[&uid].replication;
            if nodes.len() == wanted && wanted > 0 {
                prop_assert_eq!(shard.replicas.len(), nodes.len());
            }
        }
    }

    /// Nothing else moves when a node goes: only what was on it is placed anew.
    #[test]
    fn a_node_that_goes_moves_only_what_was_on_it(cluster in cluster(), which in 0..12_usize) {
        let rules = Rules { tolerance: f64::INFINITY };
        let mut settled = after(&cluster, &plan(&cluster, rules));
        let live = settled.nodes.iter().filter(|(_, node)| node.state == NodeState::Live);
        let live: Vec<String> = live.map(|(id, _)| id.clone()).collect();
        if live.is_empty() {
            return Ok(());
        }
        let id = live[which % live.len()].clone();
        let held = settled.shards.values().filter(|s| s.replicas.nodes.contains(&id)).count();
        settled.nodes.get_mut(&id).unwrap().state = NodeState::Draining;
        let drained = plan(&settled, rules);
        check(&settled, &drained);
        prop_assert!(adds(&drained) <= held, "{} for {held}", adds(&drained));
        // And nothing moves when it comes back, as long as nothing was done.
        settled.nodes.get_mut(&id).unwrap().state = NodeState::Live;
        prop_assert_eq!(&plan(&settled, rules).moves, &[]);
    }
}

fn spread_out(nodes: usize, shards: u128) -> Cluster {
    let node = |number: usize| Node {
        place: Place {
            region: "eu".to_owned(),
            zone: format!("z{}", number % 3),
            rack: "r".to_owned(),
            host: format!("h{number}"),
        },
        state: NodeState::Live,
        capacity: 1 << 40,
    };
    let shard = Shard {
        replication: 3,
        regions: vec!["eu".to_owned()],
        bytes: 1 << 30,
        replicas: Replicas::default(),
    };
    Cluster {
        nodes: (0..nodes).map(|number| (name(number), node(number))).collect(),
        shards: (1..=shards).map(|uid| (Uuid::from_u128(uid), shard.clone())).collect(),
    }
}

fn held(plan: &Plan) -> BTreeMap<&String, usize> {
    let mut held = BTreeMap::new();
    for node in plan.replicas.values().flat_map(|replicas| &replicas.nodes) {
        *held.entry(node).or_default() += 1;
    }
    held
}

#[test]
fn replicas_and_leaders_are_spread_evenly_and_a_new_node_gets_its_share() {
    let mut cluster = spread_out(6, 60);
    let first = plan(&cluster, Rules::default());
    assert_eq!(first.unmet, []);
    assert!(held(&first).values().all(|count| (28..=32).contains(count)), "{:?}", held(&first));
    let mut leads: BTreeMap<&String, usize> = BTreeMap::new();
    for leader in first.replicas.values().filter_map(|replicas| replicas.leader.as_ref()) {
        *leads.entry(leader).or_default() += 1;
    }
    assert!(leads.values().all(|count| (9..=11).contains(count)), "{leads:?}");
    // Where one node leads most of what it has, others take over what they have as well.
    cluster = after(&cluster, &first);
    for shard in cluster.shards.values_mut() {
        let first = shard.replicas.nodes[0].clone();
        shard.replicas.leader = Some(first);
    }
    let led = plan(&cluster, Rules::default());
    assert_eq!(adds(&led), 0);
    let mut leads: BTreeMap<&String, usize> = BTreeMap::new();
    for leader in led.replicas.values().filter_map(|replicas| replicas.leader.as_ref()) {
        *leads.entry(leader).or_default() += 1;
    }
    assert!(leads.len() == 6 && leads.values().all(|count| (8..=12).contains(count)), "{leads:?}");
    // Three more nodes: 20 replicas each, and only those move that have to.
    cluster.nodes = spread_out(9, 0).nodes;
    let grown = plan(&cluster, Rules::default());
    check(&cluster, &grown);
    assert!(held(&grown).values().all(|count| (15..=25).contains(count)), "{:?}", held(&grown));
    assert!(adds(&grown) <= 60, "{} moves", adds(&grown));
    let text = grown.to_string();
    assert!(text.contains("a replica on n08") && text.ends_with("moves of 60 shards\n"), "{text}");
}

#[test]
fn what_cannot_be_is_said() {
    let mut cluster = spread_out(2, 1);
    let uid = Uuid::from_u128(1);
    let shard = cluster.shards.get_mut(&uid).unwrap();
    shard.regions = vec!["eu".to_owned(), "moon".to_owned()];
    let plan = plan(&cluster, Rules::default());
    let region = Unmet::Region { shard: uid, region: "moon".to_owned() };
    let few = Unmet::Replicas { shard: uid, wanted: 3, placed: 2 };
    assert_eq!(plan.unmet, [region, few]);
    let text = plan.to_string();
    assert!(text.contains("geo-region \"moon\"") && text.contains("hosts for 2"), "{text}");
    // The one that a drained node has stays until there is another.
    let nodes = vec![name(0), name(1)];
    cluster.shards.get_mut(&uid).unwrap().replicas = Replicas { nodes, leader: Some(name(0)) };
    cluster.nodes.get_mut(&name(0)).unwrap().state = NodeState::Draining;
    let drained = hvs_placement::plan(&cluster, Rules::default());
    let ended = carry_out(&cluster, &drained, Limits::default(), 1);
    assert_eq!(ended[&uid].replicas.len(), 2);
    assert_eq!(ended[&uid].leader, Some(name(1)));
}
