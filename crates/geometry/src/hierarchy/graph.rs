//! The hierarchy itself: named nodes and child → parent edges without cycles.

use std::collections::HashMap;
use std::sync::Arc;

/// A tree, a forest or any directed acyclic graph of named nodes.
///
/// Nodes are numbered in the order in which they were first named. An edge leads from a child to
/// one of its parents; a node without parents is a root.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    parents: Adjacency,
    children: Adjacency,
    order: Vec<u32>,
    duplicates: usize,
}

/// Why an edge list is not a hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HierarchyError {
    /// There is neither an edge nor a node.
    #[error("the edge list is empty: a hierarchy needs at least one node")]
    Empty,
    /// A node names itself as its parent.
    #[error("{node:?} is given as its own parent: remove that edge")]
    SelfLoop {
        /// The node's name.
        node: String,
    },
    /// Following parents leads back to the start.
    #[error(
        "following the parents leads in a circle of {length} nodes: {}{}",
        .nodes.join(" -> "),
        if .nodes.len() < *.length { " -> ..." } else { "" }
    )]
    Cycle {
        /// The nodes of the circle, each followed by its parent; at most
        /// [`NAMED_IN_CYCLE`](super::NAMED_IN_CYCLE) of them.
        nodes: Vec<String>,
        /// How many nodes the whole circle has.
        length: usize,
    },
    /// More nodes or edges than 32-bit numbers can tell apart.
    #[error("more than {limit} nodes or edges")]
    TooLarge {
        /// The largest supported number of nodes, and of edges.
        limit: usize,
    },
}

/// How many nodes of a cycle its error names.
pub const NAMED_IN_CYCLE: usize = 20;

const LIMIT: usize = u32::MAX as usize - 1;

/// Collects nodes and edges; [`build`](Self::build) checks them.
#[derive(Debug, Clone, Default)]
pub struct HierarchyBuilder {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    edges: Vec<(u32, u32)>,
    overflow: bool,
}

impl HierarchyBuilder {
    /// A builder without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node that may have no edge at all. A name already known is not added again.
    pub fn node(&mut self, name: &str) -> &mut Self {
        self.number(name);
        self
    }

    /// Adds the edge from `child` to its `parent`, and both nodes where they are new.
    pub fn edge(&mut self, child: &str, parent: &str) -> &mut Self {
        let edge = (self.number(child), self.number(parent));
        self.edges.push(edge);
        self
    }

    /// Checks the edges and orders the nodes.
    ///
    /// # Errors
    /// An empty list, a node that is its own parent, a cycle, or more than 2^32 − 2 nodes.
    pub fn build(self) -> Result<Hierarchy, HierarchyError> {
        if self.overflow || self.edges.len() > LIMIT {
            return Err(HierarchyError::TooLarge { limit: LIMIT });
        }
        if self.names.is_empty() {
            return Err(HierarchyError::Empty);
        }
        if let Some((node, _)) = self.edges.iter().find(|(child, parent)| child == parent) {
            return Err(HierarchyError::SelfLoop { node: name_of(&self.names, *node) });
        }
        let count = self.names.len();
        let mut parents = Adjacency::new(count, self.edges.iter().copied());
        let listed = parents.len();
        parents.deduplicate();
        let duplicates = listed - parents.len();
        let children =
            Adjacency::new(count, parents.pairs().map(|(child, parent)| (parent, child)));
        let order = topological_order(&parents, &children);
        if order.len() < count {
            return Err(cycle_error(&self.names, &parents, &order));
        }
        Ok(Hierarchy {
            names: self.names,
            numbers: self.numbers,
            parents,
            children,
            order,
            duplicates,
        })
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        if number as usize >= LIMIT {
            self.overflow = true;
            return 0;
        }
        let shared: Arc<str> = Arc::from(name);
        self.names.push(Arc::clone(&shared));
        self.numbers.insert(shared, number);
        number
    }
}

impl Hierarchy {
    /// Reads an edge list of (child, parent) names.
    ///
    /// An edge that is listed again counts once; [`duplicates`](Self::duplicates) says how often
    /// that happened.
    ///
    /// # Errors
    /// See [`HierarchyBuilder::build`].
    pub fn from_edges<C, P>(edges: impl IntoIterator<Item = (C, P)>) -> Result<Self, HierarchyError>
    where
        C: AsRef<str>,
        P: AsRef<str>,
    {
        let mut builder = HierarchyBuilder::new();
        for (child, parent) in edges {
            builder.edge(child.as_ref(), parent.as_ref());
        }
        builder.build()
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Never true: an empty hierarchy is refused.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The number of distinct edges.
    pub fn edges(&self) -> usize {
        self.parents.len()
    }

    /// How many edges were listed again.
    pub fn duplicates(&self) -> usize {
        self.duplicates
    }

    /// A node's name.
    pub fn name(&self, node: u32) -> Option<&str> {
        self.names.get(node as usize).map(AsRef::as_ref)
    }

    /// The node with that name.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The names in the order of the nodes' numbers.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    /// A node's parents; none for a root and for an unknown number.
    pub fn parents(&self, node: u32) -> &[u32] {
        self.parents.row(node)
    }

    /// A node's children; none for a leaf and for an unknown number.
    pub fn children(&self, node: u32) -> &[u32] {
        self.children.row(node)
    }

    /// The nodes without parents.
    pub fn roots(&self) -> impl Iterator<Item = u32> {
        self.order.iter().copied().take_while(|&node| self.parents.row(node).is_empty())
    }

    /// All nodes, each after all of its parents.
    pub fn order(&self) -> &[u32] {
        &self.order
    }

    /// Appends to `found` each ancestor of `node` once, nearest first. `seen` must hold one entry
    /// per node, none equal to `stamp`.
    pub(super) fn ancestors(&self, node: u32, seen: &mut [u32], stamp: u32, found: &mut Vec<u32>) {
        collect(&self.parents, node, seen, stamp, found);
    }

    /// As [`ancestors`](Self::ancestors), downwards.
    pub(super) fn descendants(
        &self,
        node: u32,
        seen: &mut [u32],
        stamp: u32,
        found: &mut Vec<u32>,
    ) {
        collect(&self.children, node, seen, stamp, found);
    }
}

/// Breadth-first walk along `edges`, without the start itself.
fn collect(edges: &Adjacency, start: u32, seen: &mut [u32], stamp: u32, found: &mut Vec<u32>) {
    let mut next = found.len();
    let mut node = start;
    loop {
        for &other in edges.row(node) {
            let Some(mark) = seen.get_mut(other as usize) else { continue };
            if *mark != stamp {
                *mark = stamp;
                found.push(other);
            }
        }
        let Some(&following) = found.get(next) else { return };
        node = following;
        next += 1;
    }
}

fn name_of(names: &[Arc<str>], node: u32) -> String {
    names.get(node as usize).map(ToString::to_string).unwrap_or_default()
}

/// Kahn's algorithm, roots first; shorter than the number of nodes if there is a cycle.
fn topological_order(parents: &Adjacency, children: &Adjacency) -> Vec<u32> {
    let mut waiting: Vec<usize> = parents.rows().map(<[u32]>::len).collect();
    let mut order: Vec<u32> =
        (0u32..).zip(&waiting).filter(|(_, count)| **count == 0).map(|(node, _)| node).collect();
    let mut next = 0;
    while let Some(&node) = order.get(next) {
        next += 1;
        for &child in children.row(node) {
            let Some(count) = waiting.get_mut(child as usize) else { continue };
            *count -= 1;
            if *count == 0 {
                order.push(child);
            }
        }
    }
    order
}

fn cycle_error(names: &[Arc<str>], parents: &Adjacency, order: &[u32]) -> HierarchyError {
    let mut ordered = vec![false; names.len()];
    for &node in order {
        if let Some(flag) = ordered.get_mut(node as usize) {
            *flag = true;
        }
    }
    let stuck = |node: u32| ordered.get(node as usize) == Some(&false);
    // Every node that could not be ordered has a parent that could not be ordered either, so
    // this walk must meet a node for the second time.
    let mut step_of: HashMap<u32, usize> = HashMap::new();
    let mut path: Vec<u32> = Vec::new();
    let mut current = (0u32..).take(names.len()).find(|&node| stuck(node));
    while let Some(node) = current {
        if let Some(&start) = step_of.get(&node) {
            path.drain(..start);
            break;
        }
        step_of.insert(node, path.len());
        path.push(node);
        current = parents.row(node).iter().copied().find(|&parent| stuck(parent));
    }
    HierarchyError::Cycle {
        nodes: path.iter().take(NAMED_IN_CYCLE).map(|&node| name_of(names, node)).collect(),
        length: path.len(),
    }
}

/// For each node a list of other nodes, in one block of memory.
#[derive(Debug, Clone)]
pub(super) struct Adjacency {
    starts: Vec<usize>,
    targets: Vec<u32>,
}

impl Adjacency {
    /// Lists keep the order in which the pairs (node, other) come.
    pub(super) fn new(count: usize, pairs: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut starts = vec![0; count + 1];
        for (node, _) in pairs.clone() {
            if let Some(start) = starts.get_mut(node as usize + 1) {
                *start += 1;
            }
        }
        let mut total = 0;
        for start in &mut starts {
            total += *start;
            *start = total;
        }
        let mut targets = vec![0; total];
        let mut free = starts.clone();
        for (node, other) in pairs {
            let Some(place) = free.get_mut(node as usize) else { continue };
            if let Some(target) = targets.get_mut(*place) {
                *target = other;
            }
            *place += 1;
        }
        Self { starts, targets }
    }

    pub(super) fn row(&self, node: u32) -> &[u32] {
        let node = node as usize;
        let (Some(&start), Some(&end)) = (self.starts.get(node), self.starts.get(node + 1)) else {
            return &[];
        };
        self.targets.get(start..end).unwrap_or(&[])
    }

    fn rows(&self) -> impl Iterator<Item = &[u32]> {
        self.starts.windows(2).map(|ends| match ends {
            [start, end] => self.targets.get(*start..*end).unwrap_or(&[]),
            _ => &[],
        })
    }

    fn pairs(&self) -> impl Iterator<Item = (u32, u32)> + Clone {
        (0u32..).zip(self.starts.windows(2)).flat_map(|(node, ends)| {
            let row = match ends {
                [start, end] => self.targets.get(*start..*end).unwrap_or(&[]),
                _ => &[],
            };
            row.iter().map(move |&other| (node, other))
        })
    }

    fn len(&self) -> usize {
        self.targets.len()
    }

    fn deduplicate(&mut self) {
        let mut kept = Vec::with_capacity(self.targets.len());
        let mut starts = Vec::with_capacity(self.starts.len());
        for row in self.rows() {
            let first = kept.len();
            starts.push(first);
            let mut sorted: Vec<u32> = row.to_vec();
            sorted.sort_unstable();
            if sorted.windows(2).any(|pair| pair.first() == pair.last()) {
                let mut seen = std::collections::HashSet::new();
                kept.extend(row.iter().copied().filter(|other| seen.insert(*other)));
            } else {
                kept.extend_from_slice(row);
            }
        }
        starts.push(kept.len());
        self.starts = starts;
        self.targets = kept;
    }
}
