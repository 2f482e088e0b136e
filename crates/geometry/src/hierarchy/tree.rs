//! The tree along which a hierarchy is laid out.

use std::collections::HashSet;

use super::graph::{Adjacency, Hierarchy};

/// The mark of a node that has no parent in the layout tree.
pub(super) const NONE: u32 = u32::MAX;

/// A tree over the nodes of a hierarchy.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) parents: Vec<u32>,
    pub(super) children: Adjacency,
    /// Parents before their children.
    pub(super) order: Vec<u32>,
    /// A node's place in a depth-first walk, and the place after its last descendant's.
    spans: Vec<(u32, u32)>,
}

impl Tree {
    pub(super) fn new(parents: Vec<u32>) -> Self {
        let pairs = (0u32..).zip(&parents).filter(|(_, parent)| **parent != NONE);
        let children = Adjacency::new(parents.len(), pairs.map(|(node, &parent)| (parent, node)));
        let mut order: Vec<u32> = (0u32..)
            .zip(&parents)
            .filter(|(_, parent)| **parent == NONE)
            .map(|(node, _)| node)
            .collect();
        let mut next = 0;
        while let Some(&node) = order.get(next) {
            order.extend_from_slice(children.row(node));
            next += 1;
        }
        let mut sizes = vec![1u32; parents.len()];
        for &node in order.iter().rev() {
            let parent = get(&parents, node, NONE);
            let sum = get(&sizes, parent, 0) + get(&sizes, node, 0);
            set(&mut sizes, parent, sum);
        }
        let mut spans = vec![(0u32, 0u32); parents.len()];
        let mut free_at_top = 0;
        for &node in &order {
            if get(&parents, node, NONE) == NONE {
                let end = free_at_top + get(&sizes, node, 0);
                set(&mut spans, node, (free_at_top, end));
                free_at_top = end;
            }
            let mut free = get(&spans, node, (0, 0)).0 + 1;
            for &child in children.row(node) {
                let end = free + get(&sizes, child, 0);
                set(&mut spans, child, (free, end));
                free = end;
            }
        }
        Self { parents, children, order, spans }
    }

    pub(super) fn roots(&self) -> impl Iterator<Item = u32> {
        self.order.iter().copied().take_while(|&node| get(&self.parents, node, NONE) == NONE)
    }

    /// Whether `node` lies below `above`, or is it.
    pub(super) fn holds(&self, above: u32, node: u32) -> bool {
        let (first, end) = get(&self.spans, above, (0, 0));
        let place = get(&self.spans, node, (0, 0)).0;
        (first..end).contains(&place)
    }

    /// How many nodes the tree below `node` has, with itself.
    pub(super) fn size(&self, node: u32) -> u32 {
        let (first, end) = get(&self.spans, node, (0, 0));
        end - first
    }

    /// Every node below its deepest parent, so that the chain above it is long.
    pub(super) fn deepest(hierarchy: &Hierarchy) -> Self {
        let mut depths = vec![0u32; hierarchy.len()];
        let mut parents = vec![NONE; hierarchy.len()];
        for &node in hierarchy.order() {
            let mut best = (NONE, 0);
            for &parent in hierarchy.parents(node) {
                let depth = get(&depths, parent, 0) + 1;
                if depth > best.1 {
                    best = (parent, depth);
                }
            }
            set(&mut parents, node, best.0);
            set(&mut depths, node, best.1);
        }
        Self::new(parents)
    }

    /// The tree whose chains hold the ancestors that would be missed most.
    ///
    /// Where nodes have several parents, one chain cannot hold all ancestors. First, nodes that
    /// share descendants with another are offered a place inside it: WordNet's "causal agent"
    /// consists almost wholly of persons, so it goes between organism and person. Then each node
    /// hangs below the parent, or such a host, whose chain costs least by `prices`.
    pub(super) fn choose(hierarchy: &Hierarchy, sizes: &[u32], prices: Prices) -> Self {
        Chooser {
            hierarchy,
            sizes,
            prices,
            deepest: Self::deepest(hierarchy),
            seen: vec![0; hierarchy.len()],
            stamp: 0,
            counts: vec![0; hierarchy.len()],
            work: 0,
        }
        .run()
    }
}

/// What goes wrong in ranking a node's ancestors, in ranks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prices {
    /// A missed ancestor, whatever its size.
    pub(super) missed: f64,
    /// A missed ancestor, per share of all nodes that it has: the fewer descendants it has, the
    /// smaller its cap, and the more strangers come before it.
    pub(super) missed_small: f64,
    /// A stranger among the ancestors.
    pub(super) stranger: f64,
}

impl Prices {
    /// What it costs a node to miss an ancestor that has `descendants`, of `nodes`.
    pub(super) fn missed(&self, descendants: u32, nodes: usize) -> f64 {
        self.missed + self.missed_small * nodes as f64 / f64::from(descendants.max(1))
    }
}

/// How many descendants each node has; nothing if that takes more than `limit` steps.
pub(super) fn descendant_counts(hierarchy: &Hierarchy, limit: usize) -> Option<Vec<u32>> {
    let mut counts = vec![0u32; hierarchy.len()];
    let mut seen = vec![0u32; hierarchy.len()];
    let mut found = Vec::new();
    let mut steps = 0;
    for (stamp, &node) in (1u32..).zip(hierarchy.order()) {
        found.clear();
        hierarchy.ancestors(node, &mut seen, stamp, &mut found);
        for &ancestor in &found {
            let count = get(&counts, ancestor, 0);
            set(&mut counts, ancestor, count + 1);
        }
        steps += found.len();
        if steps > limit {
            return None;
        }
    }
    Some(counts)
}

/// How many steps the choice may take; what is left then keeps its deepest parent.
const WORK_LIMIT: usize = 100_000_000;

/// The smallest share of its descendants that a node must have in common with a host.
const SHARED: f64 = 0.1;

/// How many hosts a node is offered, those with the fewest descendants first.
const HOSTS: usize = 60;

struct Chooser<'a> {
    hierarchy: &'a Hierarchy,
    sizes: &'a [u32],
    prices: Prices,
    deepest: Tree,
    seen: Vec<u32>,
    stamp: u32,
    /// How many of the nodes in question lie below each node.
    counts: Vec<u32>,
    work: usize,
}

impl Chooser<'_> {
    fn run(mut self) -> Tree {
        let nodes = self.hierarchy.len();
        let mut candidates: Vec<Vec<u32>> =
            (0u32..).take(nodes).map(|node| self.hierarchy.parents(node).to_vec()).collect();
        for node in self.missed() {
            if self.work > WORK_LIMIT {
                break;
            }
            let hosts = self.hosts(node);
            if let Some(place) = candidates.get_mut(node as usize) {
                place.extend(hosts);
            }
        }
        self.assign(&candidates)
    }

    fn descendants(&mut self, node: u32) -> Vec<u32> {
        let mut found = Vec::new();
        self.stamp += 1;
        self.hierarchy.descendants(node, &mut self.seen, self.stamp, &mut found);
        self.work += found.len();
        found
    }

    fn ancestors(&mut self, node: u32) -> Vec<u32> {
        let mut found = Vec::new();
        self.stamp += 1;
        self.hierarchy.ancestors(node, &mut self.seen, self.stamp, &mut found);
        self.work += found.len();
        found
    }

    /// The nodes that some descendant's chain in the deepest tree misses.
    fn missed(&mut self) -> Vec<u32> {
        let mut missed = vec![false; self.hierarchy.len()];
        for node in (0u32..).take(self.hierarchy.len()) {
            for ancestor in self.ancestors(node) {
                if !self.deepest.holds(ancestor, node) {
                    set(&mut missed, ancestor, true);
                }
            }
        }
        (0u32..).zip(missed).filter(|(_, missed)| *missed).map(|(node, _)| node).collect()
    }

    /// Counts, for every node, how many of `members` lie below it. Returns the counted nodes;
    /// [`forget`](Self::forget) clears them.
    fn count_ancestors(&mut self, members: &[u32]) -> Vec<u32> {
        let mut counted = Vec::new();
        for &member in members {
            for ancestor in self.ancestors(member) {
                let count = get(&self.counts, ancestor, 0);
                if count == 0 {
                    counted.push(ancestor);
                }
                set(&mut self.counts, ancestor, count + 1);
            }
        }
        counted
    }

    fn forget(&mut self, counted: &[u32]) {
        for &node in counted {
            set(&mut self.counts, node, 0);
        }
    }

    fn hosts(&mut self, node: u32) -> Vec<u32> {
        let members = self.descendants(node);
        let counted = self.count_ancestors(&members);
        let related: HashSet<u32> =
            self.ancestors(node).into_iter().chain(members.iter().copied()).chain([node]).collect();
        let least = SHARED * members.len() as f64;
        let own_size = get(self.sizes, node, 0);
        // A host has more descendants, and so has a parent: that rules out cycles.
        let mut hosts: Vec<u32> = counted
            .iter()
            .copied()
            .filter(|&other| {
                f64::from(get(&self.counts, other, 0)) >= least
                    && get(self.sizes, other, 0) > own_size
                    && !related.contains(&other)
            })
            .collect();
        self.forget(&counted);
        hosts.sort_unstable_by_key(|&host| (get(self.sizes, host, 0), host));
        hosts.truncate(HOSTS);
        hosts
    }

    /// Gives every node one of its candidates, from the top down so that the chain above each
    /// candidate is known.
    fn assign(mut self, candidates: &[Vec<u32>]) -> Tree {
        let down = Adjacency::new(
            candidates.len(),
            (0u32..)
                .zip(candidates)
                .flat_map(|(node, row)| row.iter().map(move |&above| (above, node))),
        );
        let mut waiting: Vec<usize> = candidates.iter().map(Vec::len).collect();
        let mut order: Vec<u32> = (0u32..)
            .zip(&waiting)
            .filter(|(_, count)| **count == 0)
            .map(|(node, _)| node)
            .collect();
        let mut parents = vec![NONE; candidates.len()];
        let mut next = 0;
        while let Some(&node) = order.get(next) {
            next += 1;
            let parent = match candidates.get(node as usize).map_or(&[][..], Vec::as_slice) {
                [] => NONE,
                [only] => *only,
                several => self.cheapest(node, several, &parents),
            };
            set(&mut parents, node, parent);
            for &child in down.row(node) {
                let count = get(&waiting, child, 1) - 1;
                set(&mut waiting, child, count);
                if count == 0 {
                    order.push(child);
                }
            }
        }
        Tree::new(parents)
    }

    fn cheapest(&mut self, node: u32, several: &[u32], parents: &[u32]) -> u32 {
        if self.work > 2 * WORK_LIMIT {
            return get(&self.deepest.parents, node, NONE);
        }
        let mut members = self.descendants(node);
        members.push(node);
        let counted = self.count_ancestors(&members);
        let all = members.len() as f64;
        let mut best = (NONE, f64::NEG_INFINITY);
        for &candidate in several {
            let mut saved = 0.0;
            let mut above = candidate;
            while above != NONE {
                let share = f64::from(get(&self.counts, above, 0)) / all;
                let missed = self.prices.missed(get(self.sizes, above, 0), self.sizes.len());
                saved += share * missed - (1.0 - share) * self.prices.stranger;
                above = get(parents, above, NONE);
                self.work += 1;
            }
            if saved > best.1 {
                best = (candidate, saved);
            }
        }
        self.forget(&counted);
        best.0
    }
}

pub(super) fn get<T: Copy>(values: &[T], node: u32, otherwise: T) -> T {
    values.get(node as usize).copied().unwrap_or(otherwise)
}

pub(super) fn set<T>(values: &mut [T], node: u32, value: T) {
    if let Some(place) = values.get_mut(node as usize) {
        *place = value;
    }
}
