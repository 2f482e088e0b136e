//! A tree of volumes over the rows of a segment, for exact searches that leave most rows out.
//!
//! Rows are laid out in the order of the leaves, so that each node stands for consecutive ones.
//! Nodes are numbered in the order in which a walk from the left meets them: the left child of
//! node n is n + 1, and its `right` says where the other one is.

mod build;
#[cfg(test)]
mod tests;
pub(crate) mod volume;

pub(crate) use self::{
    build::build,
    volume::{VolumeQuery, width},
};

/// No node.
pub(crate) const NONE: u32 = u32::MAX;

/// One node. Files hold its numbers in this order, and a zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    /// The first row.
    pub(crate) start: u32,
    /// The row after the last.
    pub(crate) end: u32,
    /// The right child; [`NONE`] for a leaf.
    pub(crate) right: u32,
}

/// A tree in memory, while it is being built.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<[u32; 4]>,
    /// `width` numbers per node.
    pub(crate) volumes: Vec<f64>,
}

/// A tree as files or memory hold it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TreeView<'a> {
    pub(crate) nodes: &'a [[u32; 4]],
    pub(crate) volumes: &'a [f64],
    pub(crate) width: usize,
}

impl<'a> TreeView<'a> {
    pub(crate) fn node(&self, number: u32) -> Option<Node> {
        let &[start, end, right, _] = self.nodes.get(number as usize)?;
        Some(Node { start, end, right })
    }

    #[inline]
    pub(crate) fn volume(&self, number: u32) -> &'a [f64] {
        let start = number as usize * self.width;
        self.volumes.get(start..start + self.width).unwrap_or_default()
    }

    /// The leaf that holds a row.
    pub(crate) fn leaf_of(&self, row: u32) -> Option<u32> {
        let mut number = 0;
        loop {
            let node = self.node(number)?;
            if node.right == NONE {
                return (node.start..node.end).contains(&row).then_some(number);
            }
            number = if row < self.node(node.right)?.start { number + 1 } else { node.right };
        }
    }

    /// Whether nodes cover `rows` rows, each child a part of its parent.
    pub(crate) fn check(&self, rows: usize) -> Result<(), String> {
        if self.volumes.len() != self.nodes.len() * self.width {
            return Err("its volumes have another length than its nodes".into());
        }
        if self.volumes.iter().any(|figure| !figure.is_finite()) {
            return Err("a volume is not finite".into());
        }
        // Nodes come in the order in which this meets them.
        let mut open = vec![(0_u32, u32::try_from(rows).unwrap_or(u32::MAX))];
        let mut next = 0;
        for (number, &[start, end, right, _]) in (0_u32..).zip(self.nodes) {
            let node = Node { start, end, right };
            let Some(expected) = open.pop() else { return Err("it has nodes too many".into()) };
            if (node.start, node.end) != expected || node.start >= node.end {
                return Err(format!("node {number} does not hold the rows that it should"));
            }
            if node.right != NONE {
                let (left, right) = (self.node(number + 1), self.node(node.right));
                let (Some(left), Some(right)) = (left, right) else {
                    return Err(format!("node {number} has a child that does not exist"));
                };
                if node.right <= number + 1 || left.end != right.start {
                    return Err(format!("the children of node {number} do not join"));
                }
                open.push((right.start, node.end));
                open.push((node.start, left.end));
            }
            next = number + 1;
        }
        if !open.is_empty() {
            return Err(format!("it ends at node {next}"));
        }
        Ok(())
    }
}
