//! Bytes that are made while a log entry is applied, kept until it is.

use std::cell::OnceCell;

/// Hands out bytes that live as long as the arena.
///
/// It is a list, each of whose elements has the next one within it: what was handed out never
/// moves.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    cells: Vec<OnceCell<Vec<u8>>>,
    used: std::cell::Cell<usize>,
    more: OnceCell<Box<Arena>>,
}

impl Arena {
    fn with_room(room: usize) -> Self {
        Self {
            cells: std::iter::repeat_with(OnceCell::new).take(room).collect(),
            ..Self::default()
        }
    }

    pub(crate) fn keep(&self, bytes: Vec<u8>) -> &[u8] {
        let mut arena = self;
        loop {
            let used = arena.used.get();
            if let Some(cell) = arena.cells.get(used) {
                arena.used.set(used + 1);
                return cell.get_or_init(|| bytes);
            }
            let room = (arena.cells.len() * 2).max(16);
            arena = arena.more.get_or_init(|| Box::new(Self::with_room(room)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_stays_as_it_is() {
        let arena = Arena::default();
        let kept: Vec<&[u8]> = (0..1_000_u32).map(|n| arena.keep(n.to_le_bytes().into())).collect();
        for (n, bytes) in (0_u32..).zip(kept) {
            assert_eq!(bytes, n.to_le_bytes());
        }
    }
}
