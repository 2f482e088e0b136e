//! Making sure that a walk can reach every row.

use super::{Links, NONE};

/// Finds rows that no path from the entry leads to and links them; those that no neighbour has
/// room for become orphans, which every walk starts from. Returns how many there were.
///
/// Pruning can leave a row without a link towards it, even with a single writer.
pub(crate) fn repair(links: &mut Links) -> usize {
    let rows = links.first_upper.len();
    let mut reached = vec![false; rows];
    let mut queue = Vec::new();
    spread(links, links.shape.entry, &mut reached, &mut queue);
    let mut found = 0;
    for row in 0..rows {
        if reached.get(row).copied().unwrap_or(true) {
            continue;
        }
        let Ok(row) = u32::try_from(row) else { break };
        found += 1;
        if !attach(links, row, &reached) {
            links.orphans.push(row);
        }
        spread(links, row, &mut reached, &mut queue);
    }
    found
}

/// Marks what a row leads to on the base layer.
fn spread(links: &Links, start: u32, reached: &mut [bool], queue: &mut Vec<u32>) {
    queue.push(start);
    while let Some(row) = queue.pop() {
        let Some(mark) = reached.get_mut(row as usize) else { continue };
        if std::mem::replace(mark, true) {
            continue;
        }
        let next = links.view().base_of(row).iter().take_while(|&&link| link != NONE);
        queue.extend(next.filter(|&&link| !reached.get(link as usize).copied().unwrap_or(true)));
    }
}

/// Adds a link to `row` from one of its reached neighbours that has room.
fn attach(links: &mut Links, row: u32, reached: &[bool]) -> bool {
    let neighbours: Vec<u32> = links.view().base_of(row).to_vec();
    let width = links.shape.base;
    for neighbour in neighbours.into_iter().take_while(|&link| link != NONE) {
        if !reached.get(neighbour as usize).copied().unwrap_or(false) {
            continue;
        }
        let start = neighbour as usize * width;
        let room = links
            .base
            .get_mut(start..start + width)
            .and_then(|list| list.iter_mut().find(|link| **link == NONE));
        if let Some(room) = room {
            *room = row;
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphShape;

    fn links(base: Vec<u32>, width: usize) -> Links {
        let rows = base.len() / width;
        Links {
            shape: GraphShape { m: 1, base: width, entry: 0, top: 0 },
            base,
            first_upper: vec![NONE; rows],
            upper: Vec::new(),
            orphans: Vec::new(),
        }
    }

    #[test]
    fn links_a_row_that_nothing_led_to() {
        let mut links = links(vec![1, NONE, 0, NONE, 0, NONE], 2);
        assert_eq!(repair(&mut links), 1);
        assert_eq!(links.base, vec![1, 2, 0, NONE, 0, NONE]);
        assert!(links.orphans.is_empty());
    }

    #[test]
    fn keeps_a_row_that_nobody_has_room_for_as_an_orphan() {
        let mut links = links(vec![1, 0, 0], 1);
        assert_eq!(repair(&mut links), 1);
        assert_eq!(links.orphans, vec![2]);
    }
}
