//! Spaces and points of the command line.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use clap::Args;
use hvs_geometry::{Geometry, Precision, Space};

use crate::{command::coordinates, error::CliError, read::parse_coordinates};

/// The space that points are on.
#[derive(Debug, Args)]
pub(crate) struct SpaceArgs {
    /// poincare, hyperboloid, klein, euclidean, spherical or lorentzian.
    #[arg(long, short)]
    geometry: String,
    /// The curvature; -1, 0 or 1 when left out, as the geometry has it.
    #[arg(long, short, allow_hyphen_values = true)]
    curvature: Option<f64>,
}

impl SpaceArgs {
    /// The space whose points have so many coordinates.
    pub(crate) fn of(&self, coordinates: usize) -> Result<Space, CliError> {
        let geometry = parse_geometry(&self.geometry)?;
        let dimension = match geometry {
            Geometry::Hyperboloid | Geometry::Spherical | Geometry::Lorentzian => {
                coordinates.saturating_sub(1)
            }
            _ => coordinates,
        };
        let curvature = self.curvature.unwrap_or_else(|| geometry.default_curvature());
        Space::new(geometry, dimension, curvature)
            .map_err(|error| CliError::Usage(error.to_string()))
    }
}

/// Another space of the same dimension. Between models of hyperbolic space the curvature is
/// kept.
pub(crate) fn another_space(
    from: &Space,
    name: &str,
    curvature: Option<f64>,
) -> Result<Space, CliError> {
    let geometry = parse_geometry(name)?;
    let is_kept = geometry.is_hyperbolic() && from.geometry().is_some_and(Geometry::is_hyperbolic);
    let default = if is_kept { from.curvature() } else { geometry.default_curvature() };
    Space::new(geometry, from.dimension(), curvature.unwrap_or(default))
        .map_err(|error| CliError::Usage(error.to_string()))
}

fn parse_geometry(name: &str) -> Result<Geometry, CliError> {
    name.parse().map_err(|error: hvs_geometry::UnknownGeometry| CliError::Usage(error.to_string()))
}

/// `f32` or `f64`.
pub(crate) fn precision(text: &str) -> Result<Precision, String> {
    text.parse().map_err(|error: hvs_geometry::UnknownPrecision| error.to_string())
}

/// Reads the numbers of arguments, of which one may be `-`, the standard input.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// The argument that took the standard input.
    taken_by: Option<String>,
}

impl Numbers {
    /// The numbers of the argument called `name`.
    ///
    /// # Errors
    /// When they are none, or another argument was read from the standard input already.
    pub(crate) fn read(&mut self, name: &str, text: &str) -> Result<Vec<f64>, CliError> {
        if text == "-" {
            self.take(name)?;
        }
        coordinates(name, text)
    }

    /// The points of the file that is the argument called `name`.
    ///
    /// # Errors
    /// As [`points`], or when another argument was read from the standard input already.
    pub(crate) fn points(&mut self, name: &str, path: &Path) -> Result<Vec<Vec<f64>>, CliError> {
        if path == Path::new("-") {
            self.take(name)?;
        }
        points(path)
    }

    fn take(&mut self, name: &str) -> Result<(), CliError> {
        match self.taken_by.replace(name.to_owned()) {
            None => Ok(()),
            Some(other) => Err(CliError::Usage(format!(
                "{other} and {name} cannot both be read from the standard input"
            ))),
        }
    }
}

/// The points of a file, one per line; blank lines are passed over.
pub(crate) fn points(path: &Path) -> Result<Vec<Vec<f64>>, CliError> {
    let text = text_of(path)?;
    let mut points = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let point = parse_coordinates(line).map_err(|error| CliError::Content {
            path: path.to_owned(),
            detail: format!("line {}: {error}", number + 1),
        })?;
        points.push(point);
    }
    Ok(points)
}

/// The content of a file, or of the standard input for `-`.
pub(crate) fn text_of(path: &Path) -> Result<String, CliError> {
    let failed = |source: io::Error| CliError::File { path: path.to_owned(), source };
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(failed)?;
        return Ok(text);
    }
    fs::read_to_string(path).map_err(failed)
}
