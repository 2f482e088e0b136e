//! `hvs geometry`: points, maps and means, computed here without a node.

mod check;
mod choose;
mod space;

use clap::{Args, Subcommand};
use hvs_geometry::{Precision, transform};
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use self::space::precision;
use self::space::{Numbers, SpaceArgs, another_space};
use crate::{args::Context, error::CliError};

#[derive(Debug, Subcommand)]
pub(crate) enum GeometryCommand {
    /// The distance of two points.
    Distance(PairArgs),
    /// Where the geodesic from a point with a tangent vector ends.
    Exp(TangentArgs),
    /// The tangent vector at X that leads to Y.
    Log(PairArgs),
    /// A tangent vector at X, moved in parallel to Y.
    Transport(TransportArgs),
    /// A point on the way from X to Y.
    Geodesic(GeodesicArgs),
    /// The point half-way from X to Y.
    Midpoint(PairArgs),
    /// The mean of points: JSON arrays in a file, one per line, or `-` for the standard input.
    Mean(MeanArgs),
    /// Whether coordinates are a point, and if not, what is wrong.
    Validate(PointArgs),
    /// The point of the space that coordinates stand for.
    Project(PointArgs),
    /// A point of one space in another.
    Transform(TransformArgs),
    /// The interval of two Lorentzian points and their causal relation.
    Interval(PairArgs),
    /// Which geometry suits data, by declared traits or by a sample.
    Choose(choose::ChooseArgs),
    /// Compares reference cases with what HVS computes; exits 1 where one is beyond its bound.
    Check(check::CheckArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PairArgs {
    #[command(flatten)]
    space: SpaceArgs,
    /// The first point: `0.1,0.2` or `[0.1, 0.2]`, or `-` to read it from the standard input.
    #[arg(allow_hyphen_values = true)]
    x: String,
    /// The second point.
    #[arg(allow_hyphen_values = true)]
    y: String,
}

#[derive(Debug, Args)]
pub(crate) struct TangentArgs {
    #[command(flatten)]
    space: SpaceArgs,
    /// The point.
    #[arg(allow_hyphen_values = true)]
    x: String,
    /// The tangent vector.
    #[arg(allow_hyphen_values = true)]
    v: String,
}

#[derive(Debug, Args)]
pub(crate) struct TransportArgs {
    #[command(flatten)]
    space: SpaceArgs,
    /// From here.
    #[arg(allow_hyphen_values = true)]
    x: String,
    /// To here.
    #[arg(allow_hyphen_values = true)]
    y: String,
    /// The tangent vector at X.
    #[arg(allow_hyphen_values = true)]
    v: String,
}

#[derive(Debug, Args)]
pub(crate) struct GeodesicArgs {
    #[command(flatten)]
    space: SpaceArgs,
    /// From here.
    #[arg(allow_hyphen_values = true)]
    x: String,
    /// To here.
    #[arg(allow_hyphen_values = true)]
    y: String,
    /// The share of the way; beyond 0 to 1 the geodesic goes on.
    #[arg(allow_hyphen_values = true)]
    t: f64,
}

#[derive(Debug, Args)]
pub(crate) struct MeanArgs {
    #[command(flatten)]
    space: SpaceArgs,
    /// The file.
    file: std::path::PathBuf,
    /// One weight per point.
    #[arg(long)]
    weights: Option<String>,
    /// Which mean.
    #[arg(long, value_enum, default_value_t = Mean::Frechet)]
    kind: Mean,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Mean {
    /// The point that minimises the weighted sum of squared distances.
    Frechet,
    /// Hyperbolic: the normalised weighted sum on the hyperboloid.
    LorentzCentroid,
    /// Hyperbolic: the gyro-midpoint.
    GyroMidpoint,
}

#[derive(Debug, Args)]
pub(crate) struct PointArgs {
    #[command(flatten)]
    space: SpaceArgs,
    /// The coordinates.
    #[arg(allow_hyphen_values = true)]
    x: String,
    /// What they are stored with: f32 or f64.
    #[arg(long, default_value = "f64", value_parser = precision)]
    precision: Precision,
}

#[derive(Debug, Args)]
pub(crate) struct TransformArgs {
    #[command(flatten)]
    space: SpaceArgs,
    /// The other geometry.
    #[arg(long)]
    to: String,
    /// Its curvature; the same where it can be, else -1, 0 or 1 as the geometry has it.
    #[arg(long, allow_hyphen_values = true)]
    to_curvature: Option<f64>,
    /// The point.
    #[arg(allow_hyphen_values = true)]
    x: String,
}

pub(crate) fn run(context: &Context, command: GeometryCommand) -> Result<(), CliError> {
    let mut numbers = Numbers::default();
    match command {
        GeometryCommand::Distance(args) => {
            let (x, y) = pair(&args)?;
            let space = args.space.of(x.len())?;
            print(context, "distance", space.distance(&x, &y).map_err(failed)?)
        }
        GeometryCommand::Exp(args) => {
            let (x, v) = (numbers.read("X", &args.x)?, numbers.read("V", &args.v)?);
            print(context, "point", args.space.of(x.len())?.exp(&x, &v).map_err(failed)?)
        }
        GeometryCommand::Log(args) => {
            let (x, y) = pair(&args)?;
            print(context, "vector", args.space.of(x.len())?.log(&x, &y).map_err(failed)?)
        }
        GeometryCommand::Transport(args) => {
            let (x, y) = (numbers.read("X", &args.x)?, numbers.read("Y", &args.y)?);
            let v = numbers.read("V", &args.v)?;
            let space = args.space.of(x.len())?;
            print(context, "vector", space.transport(&x, &y, &v).map_err(failed)?)
        }
        GeometryCommand::Geodesic(args) => {
            let (x, y) = (numbers.read("X", &args.x)?, numbers.read("Y", &args.y)?);
            let space = args.space.of(x.len())?;
            print(context, "point", space.geodesic(&x, &y, args.t).map_err(failed)?)
        }
        GeometryCommand::Midpoint(args) => {
            let (x, y) = pair(&args)?;
            print(context, "point", args.space.of(x.len())?.midpoint(&x, &y).map_err(failed)?)
        }
        GeometryCommand::Mean(args) => mean(context, &args),
        GeometryCommand::Validate(args) => {
            let x = numbers.read("X", &args.x)?;
            let space = args.space.of(x.len())?;
            match space.validate(&x, args.precision) {
                Ok(()) => print(context, "valid", true),
                Err(error) => {
                    let reason = error.to_string();
                    if context.output.json {
                        context.output.json(&json!({ "valid": false, "reason": reason }))?;
                    }
                    Err(CliError::Wrong(reason))
                }
            }
        }
        GeometryCommand::Project(args) => {
            let x = numbers.read("X", &args.x)?;
            let space = args.space.of(x.len())?;
            print(context, "point", space.project(&x, args.precision).map_err(failed)?)
        }
        GeometryCommand::Transform(args) => {
            let x = numbers.read("X", &args.x)?;
            let from = args.space.of(x.len())?;
            let to = another_space(&from, &args.to, args.to_curvature)?;
            print(context, "point", transform(&from, &to, &x).map_err(failed)?)
        }
        GeometryCommand::Interval(args) => interval(context, &args),
        GeometryCommand::Choose(args) => choose::run(context, &args),
        GeometryCommand::Check(args) => check::run(context, &args),
    }
}

fn pair(args: &PairArgs) -> Result<(Vec<f64>, Vec<f64>), CliError> {
    let mut numbers = Numbers::default();
    Ok((numbers.read("X", &args.x)?, numbers.read("Y", &args.y)?))
}

fn mean(context: &Context, args: &MeanArgs) -> Result<(), CliError> {
    let mut numbers = Numbers::default();
    let points = numbers.points("FILE", &args.file)?;
    let weights =
        args.weights.as_deref().map(|text| numbers.read("--weights", text)).transpose()?;
    let weights = weights.as_deref();
    let space = args.space.of(points.first().map_or(0, Vec::len))?;
    match args.kind {
        Mean::Frechet => {
            let mean = space.frechet_mean(&points, weights).map_err(failed)?;
            if !context.output.json {
                return print(context, "point", mean.point);
            }
            context.output.json(&json!({
                "point": mean.point, "iterations": mean.iterations,
                "residual": mean.residual, "unique": mean.is_unique,
            }))
        }
        Mean::LorentzCentroid => {
            print(context, "point", space.lorentz_centroid(&points, weights).map_err(failed)?)
        }
        Mean::GyroMidpoint => {
            print(context, "point", space.gyro_midpoint(&points, weights).map_err(failed)?)
        }
    }
}

fn interval(context: &Context, args: &PairArgs) -> Result<(), CliError> {
    let (x, y) = pair(args)?;
    let space = args.space.of(x.len())?;
    let interval = space.interval(&x, &y, Precision::F64).map_err(failed)?;
    let relation = space.causal_relation(&x, &y, Precision::F64).map_err(failed)?;
    if context.output.json {
        return context.output.json(&json!({
            "kind": interval.kind.name(), "length": interval.length,
            "inner": interval.inner, "relation": relation.name(),
        }));
    }
    let length = interval.length.map_or_else(
        || "no geodesic joins the points".to_owned(),
        |length| format!("length {length}"),
    );
    context.output.line(&format!("{}, {length}; {}", interval.kind.name(), relation.name()))
}

/// One value: bare for people, named for scripts.
fn print(context: &Context, name: &str, value: impl Serialize) -> Result<(), CliError> {
    let value = serde_json::to_value(value)
        .map_err(|error| CliError::System(format!("cannot write the result: {error}")))?;
    if context.output.json {
        let mut object = serde_json::Map::new();
        object.insert(name.to_owned(), value);
        return context.output.json(&Value::Object(object));
    }
    context.output.line(&value.to_string())
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::Geometry(error.to_string())
}
