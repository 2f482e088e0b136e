//! Every node a slot on a circle, every node's descendants a few arcs of it.

use super::graph::Hierarchy;
use super::tree::{Prices, Tree, get, set};

/// Slots in a row: from the first up to, but without, the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Arc {
    pub(super) first: u32,
    pub(super) end: u32,
}

impl Arc {
    pub(super) fn width(self) -> u32 {
        self.end - self.first
    }
}

/// The slots of all nodes.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    slots: Vec<u32>,
    spans: Vec<Arc>,
}

/// From how many arcs on the narrowest gaps are filled without weighing the costs.
const MANY_ARCS: usize = 1_024;

/// What a cap over more than one arc costs, in ranks for each node that may have such a cap: they
/// are wide, so their centres gather near the origin, where each hides the others' ancestors.
const SEVERAL_ARCS: f64 = 0.06;

impl Slots {
    /// Orders the nodes along the tree. A node's own slot is in the middle of its span with small
    /// children around it and large ones outside, so that no cap of a child covers the centre of
    /// the node's cap if that can be avoided.
    pub(super) fn new(tree: &Tree) -> Self {
        let count = tree.parents.len();
        let mut slots = vec![0; count];
        let mut spans = vec![Arc { first: 0, end: 0 }; count];
        let mut top = 0;
        for root in tree.roots() {
            let end = top + tree.size(root);
            set(&mut spans, root, Arc { first: top, end });
            top = end;
        }
        for &node in &tree.order {
            let span = get(&spans, node, Arc { first: 0, end: 0 });
            let mut children = tree.children.row(node).to_vec();
            children.sort_by_key(|&child| (std::cmp::Reverse(tree.size(child)), child));
            let (mut left, mut right) = (span.first, span.end);
            for child in children {
                let size = tree.size(child);
                if left - span.first <= span.end - right {
                    set(&mut spans, child, Arc { first: left, end: left + size });
                    left += size;
                } else {
                    set(&mut spans, child, Arc { first: right - size, end: right });
                    right -= size;
                }
            }
            set(&mut slots, node, left);
        }
        Self { slots, spans }
    }

    /// For every node, the arcs that its cap is to hold: those of itself and its descendants, and
    /// where these are more than `most`, a cheaper choice that leaves some out and fills gaps.
    pub(super) fn arcs(
        &self,
        hierarchy: &Hierarchy,
        tree: &Tree,
        sizes: &[u32],
        prices: Prices,
        most: usize,
    ) -> Vec<Vec<Arc>> {
        let mut seen = vec![0; hierarchy.len()];
        let mut found = Vec::new();
        let scattered = scattered(hierarchy, tree, sizes);
        let rivals = scattered.iter().filter(|scattered| **scattered).count();
        let several = SEVERAL_ARCS * rivals as f64;
        let nodes = (0u32..).zip(1u32..).zip(scattered);
        nodes
            .map(|((node, stamp), scattered)| {
                if !scattered {
                    return vec![get(&self.spans, node, Arc { first: 0, end: 0 })];
                }
                found.clear();
                hierarchy.descendants(node, &mut seen, stamp, &mut found);
                found.push(node);
                let mut slots: Vec<u32> =
                    found.iter().map(|&member| get(&self.slots, member, 0)).collect();
                slots.sort_unstable();
                let missed = prices.missed(get(sizes, node, 0), sizes.len());
                reduce(runs(&slots), most, &Costs { missed, stranger: prices.stranger, several })
            })
            .collect()
    }
}

/// Which nodes' descendants are not just the nodes below them in the tree.
fn scattered(hierarchy: &Hierarchy, tree: &Tree, sizes: &[u32]) -> Vec<bool> {
    let mut held = vec![0u32; hierarchy.len()];
    let mut seen = vec![0; hierarchy.len()];
    let mut found = Vec::new();
    for (node, stamp) in (0u32..).zip(1u32..).take(hierarchy.len()) {
        found.clear();
        hierarchy.ancestors(node, &mut seen, stamp, &mut found);
        for &ancestor in found.iter().filter(|&&ancestor| tree.holds(ancestor, node)) {
            let count = get(&held, ancestor, 0);
            set(&mut held, ancestor, count + 1);
        }
    }
    (0u32..)
        .zip(held.iter().zip(sizes))
        .map(|(node, (held, size))| held != size || held + 1 != tree.size(node))
        .collect()
}

/// The arcs of sorted slots.
fn runs(slots: &[u32]) -> Vec<Arc> {
    let mut arcs: Vec<Arc> = Vec::new();
    for &slot in slots {
        match arcs.last_mut() {
            Some(last) if last.end == slot => last.end += 1,
            _ => arcs.push(Arc { first: slot, end: slot + 1 }),
        }
    }
    arcs
}

/// What the arcs of a cap cost, in ranks.
struct Costs {
    /// Leaving out a slot.
    missed: f64,
    /// Taking in a slot that does not belong to it.
    stranger: f64,
    /// Having more than one arc.
    several: f64,
}

/// Leaves out arcs and fills gaps, cheapest first, until at most `most` are left and the next step
/// would cost more than several arcs do. The widest arc always stays.
fn reduce(mut arcs: Vec<Arc>, most: usize, costs: &Costs) -> Vec<Arc> {
    if arcs.len() > MANY_ARCS {
        arcs = fill_narrow_gaps(&arcs);
    }
    while arcs.len() > 1 {
        let widest = arcs.iter().map(|arc| arc.width()).max().unwrap_or(0);
        let keep = arcs.iter().position(|arc| arc.width() == widest);
        let drop = arcs
            .iter()
            .enumerate()
            .filter(|(place, _)| Some(*place) != keep)
            .map(|(place, arc)| (f64::from(arc.width()) * costs.missed, place))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        let fill = arcs
            .iter()
            .zip(arcs.iter().skip(1))
            .enumerate()
            .map(|(place, (arc, next))| (f64::from(next.first - arc.end) * costs.stranger, place))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        let (Some(drop), Some(fill)) = (drop, fill) else { break };
        if arcs.len() <= most && drop.0.min(fill.0) > costs.several {
            break;
        }
        if drop.0 <= fill.0 {
            arcs.remove(drop.1);
        } else {
            let next = arcs.remove(fill.1 + 1);
            if let Some(arc) = arcs.get_mut(fill.1) {
                arc.end = next.end;
            }
        }
    }
    arcs
}

fn fill_narrow_gaps(arcs: &[Arc]) -> Vec<Arc> {
    let gap = |pair: &[Arc]| match pair {
        [arc, next] => next.first - arc.end,
        _ => 0,
    };
    let mut gaps: Vec<u32> = arcs.windows(2).map(gap).collect();
    gaps.sort_unstable_by(|a, b| b.cmp(a));
    let widest_filled = gaps.get(MANY_ARCS - 1).copied().unwrap_or(0);
    let mut filled: Vec<Arc> = Vec::new();
    for arc in arcs {
        match filled.last_mut() {
            Some(last) if arc.first - last.end <= widest_filled => last.end = arc.end,
            _ => filled.push(*arc),
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arc(first: u32, end: u32) -> Arc {
        Arc { first, end }
    }

    fn costs(missed: f64, stranger: f64) -> Costs {
        Costs { missed, stranger, several: 100.0 }
    }

    #[test]
    fn runs_join_neighbouring_slots() {
        assert_eq!(runs(&[1, 2, 3, 7, 9, 10]), [arc(1, 4), arc(7, 8), arc(9, 11)]);
    }

    #[test]
    fn reducing_fills_narrow_gaps_and_leaves_out_what_is_cheaper_to_miss() {
        let arcs = vec![arc(0, 100), arc(101, 120), arc(5_000, 5_001), arc(9_000, 9_300)];
        assert_eq!(reduce(arcs, 2, &costs(10.0, 3.0)), [arc(0, 120), arc(9_000, 9_300)]);
    }

    #[test]
    fn reducing_keeps_to_the_limit_whatever_it_costs() {
        let arcs = vec![arc(0, 500), arc(10_000, 10_400), arc(20_000, 20_300)];
        assert_eq!(reduce(arcs.clone(), 1, &costs(1e6, 1e6)).len(), 1);
        assert_eq!(reduce(arcs, 3, &costs(1e6, 1e6)).len(), 3);
    }

    #[test]
    fn many_arcs_become_few_along_the_narrowest_gaps() {
        let mut arcs: Vec<Arc> = (0..2_000).map(|i| arc(3 * i, 3 * i + 1)).collect();
        arcs.push(arc(10_000, 10_001));
        assert_eq!(fill_narrow_gaps(&arcs), [arc(0, 5_998), arc(10_000, 10_001)]);
    }
}
