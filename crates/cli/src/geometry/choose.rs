//! `hvs geometry choose`.

use std::path::PathBuf;

use clap::Args;
use hvs_geometry::choice::{
    Choice, Distances, Recommendation, Sample, SampleOptions, Traits, from_sample, from_traits,
};
use serde_json::{Map, json};

use super::space::points;
use crate::{args::Context, error::CliError, output::TextTable};

#[derive(Debug, Args)]
pub(crate) struct ChooseArgs {
    /// From 0 to 1: the data form a hierarchy.
    #[arg(long, default_value_t = 0.0, conflicts_with = "sample")]
    hierarchy: f64,
    /// From 0 to 1: they have an order in time, or of cause and effect.
    #[arg(long, default_value_t = 0.0, conflicts_with = "sample")]
    temporal: f64,
    /// From 0 to 1: they repeat.
    #[arg(long, default_value_t = 0.0, conflicts_with = "sample")]
    cyclic: f64,
    /// From 0 to 1: they are flat.
    #[arg(long, default_value_t = 0.0, conflicts_with = "sample")]
    flat: f64,
    /// Look at the data instead: vectors, one per line, in a file or `-`.
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,
    /// Quadruples of items to look at.
    #[arg(long, default_value_t = SampleOptions::default().quadruples, requires = "sample")]
    quadruples: usize,
    /// Which quadruples: the same seed gives the same answer.
    #[arg(long, default_value_t = 0, requires = "sample")]
    seed: u64,
}

pub(crate) fn run(context: &Context, args: &ChooseArgs) -> Result<(), CliError> {
    let choice = match &args.sample {
        None => {
            let traits = Traits {
                hierarchy: args.hierarchy,
                temporal: args.temporal,
                cyclic: args.cyclic,
                flat: args.flat,
            };
            from_traits(&traits).map_err(|error| CliError::Usage(error.to_string()))?
        }
        Some(path) => {
            let points = points(path)?;
            let dimension = points.first().map_or(0, Vec::len);
            if let Some(odd) = points.iter().position(|point| point.len() != dimension) {
                return Err(CliError::Content {
                    path: path.clone(),
                    detail: format!(
                        "point {} has {} coordinates, the first has {dimension}",
                        odd + 1,
                        points.get(odd).map_or(0, Vec::len)
                    ),
                });
            }
            let values = points.concat();
            let sample = Sample {
                distances: Some(Distances::Vectors { values: &values, dimension }),
                edges: None,
                times: None,
            };
            let options = SampleOptions { quadruples: args.quadruples, seed: args.seed };
            from_sample(&sample, &options).map_err(|error| CliError::Geometry(error.to_string()))?
        }
    };
    print(context, &choice)
}

fn print(context: &Context, choice: &Choice) -> Result<(), CliError> {
    if context.output.json {
        let components: Vec<&str> = match &choice.recommendation {
            Recommendation::Single(geometry) => vec![geometry.name()],
            Recommendation::Product(components) => {
                components.iter().map(|geometry| geometry.name()).collect()
            }
        };
        let evidence: Map<String, serde_json::Value> = choice
            .evidence
            .iter()
            .map(|evidence| (evidence.name.to_owned(), evidence.value.into()))
            .collect();
        return context.output.json(&json!({
            "recommendation": choice.recommendation.to_string(),
            "components": components,
            "reason": choice.reason,
            "evidence": evidence,
        }));
    }
    context.output.line(&choice.recommendation.to_string())?;
    context.output.line(&choice.reason)?;
    let mut table = TextTable::new(&["evidence", "#value"]);
    for evidence in &choice.evidence {
        table.row([evidence.name.to_owned(), format!("{:.4}", evidence.value)]);
    }
    context.output.line(&table.render())
}
