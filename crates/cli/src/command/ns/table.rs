//! Namespaces as tables.

use hvs_api::{
    IndexSpec, IndexType, NamespaceInfo, PayloadIndexing, Precision, Quantisation, SpaceInfo,
};

use crate::output::{TextTable, grouped};

pub(super) fn many(namespaces: &[NamespaceInfo]) -> TextTable {
    let mut table = TextTable::new(&[
        "name",
        "space",
        "#dimension",
        "precision",
        "index",
        "#records",
        "aliases",
    ]);
    for info in namespaces {
        let Some(vector) = info.vectors.get("").or_else(|| info.vectors.values().next()) else {
            continue;
        };
        table.row([
            info.name.clone(),
            space(&vector.space),
            vector.space.dimension.to_string(),
            precision(vector.precision).to_owned(),
            index(&vector.index),
            grouped(info.records),
            info.aliases.join(", "),
        ]);
    }
    table
}

pub(in crate::command) fn one(info: &NamespaceInfo) -> TextTable {
    let mut table = TextTable::new(&["", "value"]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("name", info.name.clone());
    row("uid", info.uid.clone());
    row("records", grouped(info.records));
    if !info.loaded {
        row("  not loaded", "the next request loads it".to_owned());
    }
    if info.memory_records > 0 {
        row("  in memory", grouped(info.memory_records));
    }
    row("shards", info.shards.to_string());
    if let Some(profile) = info.profile {
        row("profile", format!("{profile:?}").to_lowercase());
    }
    row("durability", format!("{:?}", info.durability).to_lowercase());
    row("compression", format!("{:?}", info.storage.compression).to_lowercase());
    if info.prefetch {
        row("prefetch", "records of hits are read ahead".to_owned());
    }
    row("bytes of records", grouped(info.storage.bytes));
    if let Some(ttl) = info.ttl_ms {
        row("time to live (ms)", ttl.to_string());
    }
    if !info.aliases.is_empty() {
        row("aliases", info.aliases.join(", "));
    }
    for (name, vector) in &info.vectors {
        let title = if name.is_empty() { "vector".to_owned() } else { format!("vector {name:?}") };
        row(&title, space(&vector.space));
        let coordinates = format!(
            "{} ({} coordinates, {})",
            vector.space.dimension,
            vector.space.ambient,
            precision(vector.precision)
        );
        row("  dimension", coordinates);
        row("  index", index(&vector.index));
        let state = &vector.state;
        let building = if state.building { ", building" } else { "" };
        row(
            "  state",
            format!(
                "{} live, {} dead, {} in the tail, {} segments{building}",
                grouped(state.live),
                grouped(state.dead),
                grouped(state.tail),
                state.segments
            ),
        );
        let total = state.bytes_vectors + state.bytes_graph + state.bytes_ids;
        row("  bytes", grouped(total));
    }
    if let Some(text) = &info.text {
        let state = if text.ready { "" } else { ", being built" };
        row("text", format!("{} documents{state}", grouped(text.documents)));
    }
    metadata(info, &mut row);
    table
}

fn metadata(info: &NamespaceInfo, row: &mut impl FnMut(&str, String)) {
    let indexing = match info.payload_indexing {
        PayloadIndexing::Auto => "all, as far as the limits go",
        PayloadIndexing::Declared => "what is declared",
    };
    row("metadata indexed", indexing.to_owned());
    if !info.payload_indexes.is_empty() {
        let declared = info.payload_indexes.iter().map(|index| {
            format!("{}: {}", index.field, format!("{:?}", index.kind).to_lowercase())
        });
        row("  declared", declared.collect::<Vec<_>>().join(", "));
    }
    let state = &info.payload;
    let building = if state.ready { "" } else { ", being built" };
    row(
        "  state",
        format!(
            "{} fields, {} values, {} bytes, {} records in part{building}",
            grouped(state.fields),
            grouped(state.values),
            grouped(state.bytes),
            grouped(state.partial)
        ),
    );
}

fn space(space: &SpaceInfo) -> String {
    let factor = |name: &str, curvature: Option<f64>| match curvature {
        Some(curvature) => format!("{name} (curvature {curvature})"),
        None => name.to_owned(),
    };
    if space.components.is_empty() {
        return factor(&space.geometry, space.curvature);
    }
    let parts: Vec<String> = space
        .components
        .iter()
        .map(|part| {
            let name = format!("{}^{}", part.geometry, part.dimension);
            match part.weight {
                Some(weight) => format!("{weight} * {}", factor(&name, part.curvature)),
                None => factor(&name, part.curvature),
            }
        })
        .collect();
    parts.join(" x ")
}

fn precision(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::F64 => "f64",
    }
}

fn index(index: &IndexSpec) -> String {
    let quantisation = match index.quantisation.unwrap_or_default() {
        Quantisation::None => "",
        Quantisation::F16 => ", f16",
        Quantisation::I8 => ", i8",
        Quantisation::Pq => ", pq",
    };
    let place = match index.resident {
        Some(true) => ", resident",
        Some(false) => ", mapped",
        None => "",
    };
    index_kind(index) + quantisation + place
}

fn index_kind(index: &IndexSpec) -> String {
    match index.kind {
        IndexType::Hybrid => {
            let dense = IndexSpec { kind: index.dense.unwrap_or_default(), ..index.clone() };
            let fields = index.text_fields.as_deref().unwrap_or_default().join(", ");
            let language = index.language.as_deref().unwrap_or("none");
            // The type of the vector's index is never HYBRID again.
            let dense = match dense.kind {
                IndexType::Hybrid => String::new(),
                _ => index_kind(&dense),
            };
            format!("HYBRID: {dense}, text of {fields} ({language})")
        }
        IndexType::Flat => "FLAT".to_owned(),
        IndexType::Geometric => "GEOMETRIC".to_owned(),
        IndexType::Ivf => {
            let show =
                |value: Option<u64>| value.map_or("auto".to_owned(), |value| value.to_string());
            format!("IVF (lists {}, probes {})", show(index.nlist), show(index.nprobe))
        }
        IndexType::Hnsw => {
            let show = |value: Option<u64>| value.map_or("?".to_owned(), |value| value.to_string());
            format!(
                "HNSW (m {}, ef {} / {})",
                show(index.m),
                show(index.ef_construction),
                show(index.ef_search)
            )
        }
    }
}
