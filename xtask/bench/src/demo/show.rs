//! What the demo prints.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use hvs_api::{
    DistanceResponse, Hit, PairRequest, RecordInfo, SearchRequest, SearchResponse, SpaceSpec,
};
use hvs_tests::http::{Connection, segment};
use xtask::wordnet::Nouns;

use super::NAMESPACE;
use crate::concepts;

/// Characters of a gloss that are shown.
const GLOSS: usize = 56;

pub(super) fn title(text: &str) {
    println!("\n{text}\n{}", "-".repeat(text.chars().count()));
}

pub(super) fn time(took: Duration) -> String {
    let seconds = took.as_secs_f64();
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

fn record(connection: &mut Connection, id: &str) -> Result<RecordInfo> {
    connection.get(&format!("{NAMESPACE}/vectors/{}", segment(id)))
}

/// Searches near a concept; the answer carries metadata.
fn near(
    connection: &mut Connection,
    id: &str,
    change: impl FnOnce(&mut SearchRequest),
) -> Result<Vec<Hit>> {
    let vector = record(connection, id)?.vector.context("a concept without a point")?;
    let vector = Some(vector);
    let mut request =
        SearchRequest { vector, include_metadata: Some(true), ..SearchRequest::default() };
    change(&mut request);
    let answer: SearchResponse =
        connection.call("POST", &format!("{NAMESPACE}/search"), &request)?;
    Ok(answer.hits)
}

fn print_hits(hits: &[Hit]) {
    for hit in hits {
        println!("  {:>7.3}  {:<28} {}", hit.distance.unwrap_or_default(), hit.id, gloss(hit));
    }
}

fn gloss(hit: &Hit) -> String {
    let text = hit.metadata.as_ref().and_then(|data| data.get("gloss")?.as_str()).unwrap_or("");
    let mut short: String = text.chars().take(GLOSS).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

/// The nearest concepts, whatever they are.
pub(super) fn nearest(connection: &mut Connection, id: &str, k: u64) -> Result<()> {
    println!("The nearest to {id}:");
    print_hits(&near(connection, id, |request| request.k = Some(k + 1))?);
    Ok(())
}

/// Near concepts that are closer to the origin: general concepts lie inside, special ones outside.
pub(super) fn ancestors(connection: &mut Connection, nouns: &Nouns, id: &str) -> Result<()> {
    println!(
        "\nThe way up from {id}: the nearest concept that lies further inside, then the nearest"
    );
    println!(
        "to that one, and so on (radius: the distance from the origin; *: truly an ancestor):"
    );
    let at = nouns.position(id).context("no such concept")?;
    let true_ancestors: Vec<&str> = nouns
        .ancestors_of(at)
        .into_iter()
        .filter_map(|at| nouns.concepts.get(at))
        .map(|concept| concept.id.as_str())
        .collect();
    let mut current = id.to_owned();
    let mut steps = 0;
    loop {
        let here = radius(&record(connection, &current)?)?;
        let hits = near(connection, &current, |request| {
            request.k = Some(500);
            request.include_vectors = Some(true);
        })?;
        let up = hits.iter().find_map(|hit| {
            let further_in = hit.vector.as_ref()?.first()?.acosh();
            (further_in < here - 1e-6).then_some((hit, further_in))
        });
        let Some((hit, further_in)) = up else { break };
        let mark = if true_ancestors.contains(&hit.id.as_str()) { '*' } else { ' ' };
        println!("  {further_in:>7.3} {mark} {:<28} {}", hit.id, gloss(hit));
        current.clone_from(&hit.id);
        steps += 1;
        if steps == 30 {
            break;
        }
    }
    Ok(())
}

/// The distance from the origin, which on the hyperboloid the time coordinate tells.
fn radius(record: &RecordInfo) -> Result<f64> {
    let time = record.vector.as_ref().and_then(|vector| vector.first().copied());
    Ok(time.context("a concept without a point")?.acosh())
}

/// Everything within the distance of the nth neighbour.
pub(super) fn within(connection: &mut Connection, id: &str, n: u64) -> Result<()> {
    let last = near(connection, id, |request| request.k = Some(n))?;
    let radius = last.last().and_then(|hit| hit.distance).context("nothing found")?;
    let hits = near(connection, id, |request| request.radius = Some(radius))?;
    println!("\nEverything within {radius:.3} of {id}:");
    let names: Vec<&str> = hits.iter().map(|hit| hit.id.as_str()).collect();
    println!("  {}", names.join(", "));
    Ok(())
}

/// The nearest concepts with a given value in their metadata.
pub(super) fn filtered(
    connection: &mut Connection,
    id: &str,
    field: &str,
    value: &str,
) -> Result<()> {
    println!("\nThe nearest to {id} whose {field} is {value:?}:");
    let filter = serde_json::json!({ field: value }).as_object().cloned();
    print_hits(&near(connection, id, |request| {
        request.k = Some(5);
        request.filter = filter;
    })?);
    Ok(())
}

/// Distances from one concept to others, computed by the node.
pub(super) fn distances<'a>(
    connection: &mut Connection,
    id: &str,
    others: impl Iterator<Item = &'a str>,
) -> Result<()> {
    println!("\nHow far from {id}:");
    let x = record(connection, id)?.vector.context("a concept without a point")?;
    for other in others {
        let y = record(connection, other)?.vector.context("a concept without a point")?;
        let request = PairRequest {
            space: SpaceSpec {
                geometry: Some(String::from("hyperboloid")),
                ..SpaceSpec::default()
            },
            x: x.clone(),
            y,
        };
        let answer: DistanceResponse =
            connection.call("POST", "/v1/geometry/distance", &request)?;
        println!("  {:>7.3}  {other}", answer.distance);
    }
    Ok(())
}

/// The mean radius of the concepts of each depth: the space grows outwards as a tree does.
pub(super) fn radii(connection: &mut Connection, nouns: &Nouns) -> Result<()> {
    println!("\nThe deeper in the hierarchy, the further out (mean distance from the origin):");
    let mut by_depth: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for (concept, depth) in nouns.concepts.iter().zip(concepts::depths(nouns)) {
        by_depth.entry(depth).or_default().push(&concept.id);
    }
    for (depth, ids) in by_depth {
        let step = ids.len().div_ceil(50);
        let mut sum = 0.0;
        let mut count = 0;
        for id in ids.iter().step_by(step) {
            sum += radius(&record(connection, id)?)?;
            count += 1;
        }
        let mean = sum / f64::from(count);
        println!("  depth {depth:>2}  {:>6} concepts  radius {mean:>6.3}", ids.len());
    }
    Ok(())
}
