//! The links of an HNSW graph, in HVS's own layout.
//!
//! Graphs are built, kept and walked here. The base layer is a matrix of
//! 2m links per row (128 bytes for m = 16, two cache lines, where the native file has 142
//! unaligned ones), so a row's links are found without an index, and slots without a neighbour
//! hold [`NONE`]. Walking our own layout gives each search its own `ef`, filters, deadlines and
//! counts, takes no lock and no reader slot, and cannot lose the metric.

mod audit;
mod choose;
pub(crate) mod grow;
pub(crate) mod native;
pub(crate) mod order;
pub(crate) mod passing;
mod repair;
mod share;
pub(crate) mod walk;

pub(crate) use self::{audit::Auditor, repair::repair};

/// No link.
pub(crate) const NONE: u32 = u32::MAX;
/// The most rows in one graph: two bits of a slot are used while walking.
pub(crate) const MAX_ROWS: usize = 1 << 30;

/// A graph in memory, while it is being built.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Links {
    pub(crate) shape: GraphShape,
    /// `rows * shape.base` links.
    pub(crate) base: Vec<u32>,
    /// Per row, the number of its first list in `upper`; [`NONE`] for rows of the base layer only.
    pub(crate) first_upper: Vec<u32>,
    /// Lists of `shape.m` links: those of layers 1, 2, ... of a row one after the other.
    pub(crate) upper: Vec<u32>,
    /// Rows that no link leads to; every walk starts from them too.
    pub(crate) orphans: Vec<u32>,
}

/// The figures of a graph.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct GraphShape {
    /// Links per row on the upper layers.
    pub(crate) m: usize,
    /// Links per row on the base layer.
    pub(crate) base: usize,
    /// The row where walks start.
    pub(crate) entry: u32,
    /// The highest layer.
    pub(crate) top: usize,
}

/// A graph as files or memory hold it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinksView<'a> {
    pub(crate) shape: GraphShape,
    pub(crate) base: &'a [u32],
    pub(crate) first_upper: &'a [u32],
    pub(crate) upper: &'a [u32],
    pub(crate) orphans: &'a [u32],
}

impl Links {
    pub(crate) fn view(&self) -> LinksView<'_> {
        LinksView {
            shape: self.shape,
            base: &self.base,
            first_upper: &self.first_upper,
            upper: &self.upper,
            orphans: &self.orphans,
        }
    }

    /// A row's links on any layer, the base being the lowest.
    fn list_mut(&mut self, row: u32, layer: usize) -> Option<&mut [u32]> {
        let Some(above) = layer.checked_sub(1) else {
            let start = row as usize * self.shape.base;
            return self.base.get_mut(start..start + self.shape.base);
        };
        let first = self.first_upper.get(row as usize).copied().filter(|&first| first != NONE)?;
        let start = (first as usize + above) * self.shape.m;
        self.upper.get_mut(start..start + self.shape.m)
    }
}

impl<'a> LinksView<'a> {
    pub(crate) fn rows(&self) -> usize {
        self.first_upper.len()
    }

    /// A row's links on the base layer, [`NONE`] after the last.
    #[inline]
    pub(crate) fn base_of(&self, row: u32) -> &'a [u32] {
        let start = row as usize * self.shape.base;
        self.base.get(start..start + self.shape.base).unwrap_or_default()
    }

    /// A row's links on any layer, the base being the lowest.
    #[inline]
    pub(crate) fn list_of(&self, row: u32, layer: usize) -> &'a [u32] {
        if layer == 0 { self.base_of(row) } else { self.upper_of(row, layer) }
    }

    /// The number of layers above the base that a row is on.
    pub(crate) fn levels_of(&self, row: u32) -> usize {
        // Lists of one row are consecutive, so the next row that has any says where they end.
        let Some(&first) = self.first_upper.get(row as usize) else { return 0 };
        if first == NONE {
            return 0;
        }
        let later = self.first_upper.get(row as usize + 1..).unwrap_or_default();
        let lists = self.upper.len() / self.shape.m.max(1);
        let end = later.iter().find(|&&next| next != NONE).map_or(lists, |&next| next as usize);
        end.saturating_sub(first as usize)
    }

    /// A row's links on a layer above the base.
    #[inline]
    pub(crate) fn upper_of(&self, row: u32, layer: usize) -> &'a [u32] {
        let first = self.first_upper.get(row as usize).copied().unwrap_or(NONE);
        if first == NONE || layer == 0 {
            return &[];
        }
        let start = (first as usize + layer - 1) * self.shape.m;
        self.upper.get(start..start + self.shape.m).unwrap_or_default()
    }

    /// Whether every number is in its range, so that a walk stays inside the graph.
    pub(crate) fn check(&self) -> Result<(), String> {
        let rows = self.rows();
        let lists = self.upper.len() / self.shape.m.max(1);
        let known = |row: u32| (row as usize) < rows;
        if self.shape.m == 0 || self.shape.base == 0 || rows > MAX_ROWS {
            return Err("its figures are out of range".into());
        }
        if self.base.len() != rows * self.shape.base || self.upper.len() != lists * self.shape.m {
            return Err("its lists have another length than its figures say".into());
        }
        if rows > 0 && !known(self.shape.entry) {
            return Err(format!("the entry is row {} of {rows}", self.shape.entry));
        }
        let mut links = self.base.iter().chain(self.upper).chain(self.orphans);
        if let Some(link) = links.find(|&&link| link != NONE && !known(link)) {
            return Err(format!("a link leads to row {link} of {rows}"));
        }
        let mut next = 0;
        for &first in self.first_upper.iter().filter(|&&first| first != NONE) {
            if (first as usize) < next || first as usize >= lists {
                return Err("its upper layers are out of order".into());
            }
            next = first as usize + 1;
        }
        Ok(())
    }
}
