//! `hvs geometry check`: reference cases against what HVS computes.

use std::path::PathBuf;

use clap::Args;
use hvs_geometry::golden::{Case, Fields, evaluate, summarise};
use serde_json::{Value, json};

use super::space::text_of;
use crate::{args::Context, error::CliError, output::TextTable};

/// Cases beyond their bound that are shown one by one.
const SHOWN: usize = 20;

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A file of cases, as docs/geometry.md describes it. To check a library, put what it computes
    /// into each case's `out`.
    file: PathBuf,
}

pub(crate) fn run(context: &Context, args: &CheckArgs) -> Result<(), CliError> {
    let bad = |detail: String| CliError::Content { path: args.file.clone(), detail };
    let file: Value = serde_json::from_str(&text_of(&args.file)?)
        .map_err(|error| bad(format!("this is not JSON: {error}")))?;
    let cases = file.get("cases").unwrap_or(&file).as_array();
    let cases = cases.ok_or_else(|| bad("there is no list of cases".to_owned()))?;
    if cases.is_empty() {
        return Err(bad("the list of cases is empty".to_owned()));
    }
    let mut parsed = Vec::with_capacity(cases.len());
    let mut malformed = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        match fields(case).and_then(|fields| Case::new(fields).map_err(|error| error.to_string())) {
            Ok(case) => parsed.push((index, case)),
            Err(error) => malformed.push(format!("case {index}: {error}")),
        }
    }
    if !malformed.is_empty() {
        let more = malformed.len().saturating_sub(SHOWN);
        malformed.truncate(SHOWN);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        return Err(bad(format!("{}{more}", malformed.join("; "))));
    }
    let outcomes: Vec<_> = parsed.iter().map(|(_, case)| evaluate(case)).collect();
    let summaries = summarise(parsed.iter().map(|(_, case)| case).zip(&outcomes));
    let mut failures = Vec::new();
    for ((index, case), outcome) in parsed.iter().zip(&outcomes) {
        let reason = match outcome {
            Ok(outcome) if outcome.passes() => continue,
            Ok(outcome) => format!("error {:.3e}, allowed {:.3e}", outcome.error, outcome.bound),
            Err(error) => error.to_string(),
        };
        failures.push(format!("case {index}, {} {}: {reason}", case.geometry, case.operation));
    }
    if context.output.json {
        let rows: Vec<Value> = summaries
            .iter()
            .map(|row| {
                json!({
                    "geometry": row.geometry.name(), "operation": row.operation.name(),
                    "cases": row.cases, "failed": row.failed, "worst_error": row.worst_error,
                    "bound": row.bound, "worst_share_of_bound": row.worst_share,
                })
            })
            .collect();
        context.output.json(&json!({ "operations": rows, "failures": failures }))?;
    } else {
        let columns =
            ["geometry", "operation", "#cases", "#worst error", "#its bound", "#share", "result"];
        let mut table = TextTable::new(&columns);
        for row in &summaries {
            table.row([
                row.geometry.to_string(),
                row.operation.to_string(),
                row.cases.to_string(),
                format!("{:.1e}", row.worst_error),
                format!("{:.1e}", row.bound),
                format!("{:.2}", row.worst_share),
                if row.failed == 0 { "ok".to_owned() } else { format!("{} failed", row.failed) },
            ]);
        }
        context.output.line(&table.render())?;
        for failure in failures.iter().take(SHOWN) {
            context.output.line(failure)?;
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    Err(CliError::Wrong(format!(
        "{} of {} cases are beyond what conditioning allows",
        failures.len(),
        parsed.len()
    )))
}

/// The fields of a case; numbers are decimal strings or JSON numbers.
fn fields(case: &Value) -> Result<Fields, String> {
    let get = |name: &str| case.get(name).filter(|value| !value.is_null());
    let scalar = |name: &str| get(name).map(|value| number(name, value)).transpose();
    let list = |name: &str| get(name).map(|value| vector(name, value)).transpose();
    let text = |name: &str| {
        get(name)
            .map(|value| {
                value.as_str().map(str::to_owned).ok_or_else(|| format!("{name:?} is not a text"))
            })
            .transpose()
    };
    let lists = |name: &str| {
        get(name)
            .map(|value| {
                let items =
                    value.as_array().ok_or_else(|| format!("{name:?} is not a list of points"))?;
                items.iter().map(|item| vector(name, item)).collect::<Result<Vec<_>, String>>()
            })
            .transpose()
    };
    let (out_number, out_vector) = match get("out") {
        None => (None, None),
        Some(value) if value.is_array() => (None, Some(vector("out", value)?)),
        Some(value) => (Some(number("out", value)?), None),
    };
    Ok(Fields {
        geometry: text("geometry")?.ok_or("\"geometry\" is missing")?,
        op: text("op")?.ok_or("\"op\" is missing")?,
        c: scalar("c")?,
        x: list("x")?,
        y: list("y")?,
        v: list("v")?,
        x_spatial: list("x_spatial")?,
        y_spatial: list("y_spatial")?,
        v_spatial: list("v_spatial")?,
        x0: scalar("x0")?,
        y0: scalar("y0")?,
        x_dir: list("x_dir")?,
        y_dir: list("y_dir")?,
        t: scalar("t")?,
        points: lists("points")?,
        points_spatial: lists("points_spatial")?,
        weights: list("weights")?,
        normalize: get("normalize").and_then(Value::as_bool).unwrap_or(false),
        inner: scalar("inner")?,
        kind: text("kind")?,
        out_number,
        out_vector,
    })
}

fn number(name: &str, value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        _ => value.as_f64(),
    };
    number
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| format!("{name:?} holds {value}, which is not a finite number"))
}

fn vector(name: &str, value: &Value) -> Result<Vec<f64>, String> {
    let items = value.as_array().ok_or_else(|| format!("{name:?} is not a list of numbers"))?;
    items.iter().map(|item| number(name, item)).collect()
}
