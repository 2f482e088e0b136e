//! What an index of metadata takes where records have many fields: with all of them, and with those
//! that are filtered by.
//!
//! `cargo run --release -p hvs-filter --example memory [records] [fields]`
#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for measurements"
)]

use std::fs;
use std::time::Instant;

use hvs_filter::{
    FieldType, Fields, Filter, FilterLimits, PayloadIndex, PayloadLimits, PayloadSchema,
};
use serde_json::{Map, Value, json};

/// Fields by turns of few values, of a number for each record, and of a text for each record.
fn metadata(record: u64, fields: u64) -> Map<String, Value> {
    let values = (0..fields).map(|field| {
        let mixed = record.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left((field % 64) as u32);
        let value = match field % 4 {
            0 => json!(mixed % 20),
            1 => json!(mixed % 1_000_000),
            2 => json!(format!("{mixed:016x}")),
            _ => json!(mixed.is_multiple_of(2)),
        };
        (format!("field_{field:03}"), value)
    });
    values.collect()
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<u64>().unwrap());
    let (records, fields) = (numbers.next().unwrap_or(100_000), numbers.next().unwrap_or(60));
    let limits = PayloadLimits { bytes: usize::MAX, ..PayloadLimits::default() };
    let declared = [("field_000", FieldType::Integer), ("field_003", FieldType::Bool)];
    let declared = declared.map(|(path, of)| (path.to_owned(), of)).into();
    for (name, schema) in [
        ("declared", PayloadSchema { only_declared: true, declared }),
        ("all", PayloadSchema::default()),
    ] {
        let before = resident();
        let begun = Instant::now();
        let mut index = PayloadIndex::new(limits, &schema);
        for record in 0..records {
            let metadata = metadata(record, fields);
            let (kind, region, partition_key) = ("vector", None, None);
            index.insert(record, &Fields { kind, region, partition_key, metadata: &metadata });
        }
        let seconds = begun.elapsed().as_secs_f64();
        let filter = json!({"field_000": 7, "field_003": true});
        let filter = Filter::parse(filter.as_object().unwrap(), &FilterLimits::default()).unwrap();
        let begun = Instant::now();
        let matching = index.evaluate(&filter);
        let evaluated = begun.elapsed().as_secs_f64() * 1e6;
        let stats = index.stats();
        println!(
            "{name}: {} fields, {} values, estimated {} MiB, resident {} MiB, built in {seconds:.1} s, \
             a filter in {evaluated:.0} us finds {} and {} more to look at",
            stats.fields,
            stats.values,
            stats.bytes >> 20,
            (resident() - before) >> 20,
            matching.sure.len(),
            matching.maybe.len(),
        );
    }
}
