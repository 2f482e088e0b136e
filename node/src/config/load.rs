//! Where the configuration comes from.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use serde_yaml::{Mapping, Value};

use super::{Config, ConfigProblem};

/// The prefix of environment variables.
const PREFIX: &str = "HVS_";

/// What a configuration is read from; each source overrides those before it.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A YAML file.
    pub file: Option<PathBuf>,
    /// Environment variables. `limits.body_bytes` is `HVS_LIMITS_BODY_BYTES`; others are ignored,
    /// because container platforms set variables of their own with any prefix.
    pub environment: BTreeMap<String, String>,
    /// Flags: settings by path, such as `limits.body_bytes`.
    pub flags: Vec<(String, String)>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The file is not YAML, or holds what no setting takes.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What does not fit, and where.
        source: serde_yaml::Error,
    },
    /// A flag names no setting.
    #[error("there is no setting {name:?}; `hvs-node config show` prints all of them")]
    UnknownSetting {
        /// The name.
        name: String,
    },
    /// A variable or flag has a value that its setting does not take.
    #[error("{origin} is {value:?}: {source}")]
    Value {
        /// The variable or flag.
        origin: String,
        /// The value.
        value: String,
        /// What does not fit.
        source: serde_yaml::Error,
    },
    /// Values that fit each for itself, but not the node.
    #[error("{}", list(.problems))]
    Unusable {
        /// All of them.
        problems: Vec<ConfigProblem>,
    },
}

fn list(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl Sources {
    /// The environment of this process and nothing else.
    pub fn from_environment() -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        Self { environment, ..Self::default() }
    }

    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// [`ConfigError`], which names the file, variable or flag and what it would take.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let mut config = match &self.file {
            Some(path) => read_file(path)?,
            None => Config::default(),
        };
        for path in settings() {
            let variable = format!("{PREFIX}{}", path.replace('.', "_").to_ascii_uppercase());
            if let Some(value) = self.environment.get(&variable) {
                config = set(&config, &path, value, &variable)?;
            }
        }
        for (name, value) in &self.flags {
            if !settings().contains(name) {
                return Err(ConfigError::UnknownSetting { name: name.clone() });
            }
            config = set(&config, name, value, &format!("--set {name}"))?;
        }
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Unusable { problems }) }
    }
}

fn read_file(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Io { path: path.to_owned(), source })?;
    // An empty file, or one of comments alone, is a null in YAML and means the defaults.
    let config: Option<Config> = serde_yaml::from_str(&text)
        .map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
    Ok(config.unwrap_or_default())
}

/// The path of every setting, such as `limits.body_bytes`.
pub(super) fn settings() -> Vec<String> {
    let mut paths = Vec::new();
    let defaults = serde_yaml::to_value(Config::default()).unwrap_or_default();
    let Value::Mapping(sections) = defaults else { return paths };
    for (section, fields) in &sections {
        let (Some(section), Value::Mapping(fields)) = (section.as_str(), fields) else { continue };
        for name in fields.keys().filter_map(Value::as_str) {
            paths.push(format!("{section}.{name}"));
        }
    }
    paths
}

/// The configuration with one setting replaced.
fn set(config: &Config, path: &str, text: &str, origin: &str) -> Result<Config, ConfigError> {
    let refuse =
        |source| ConfigError::Value { origin: origin.to_owned(), value: text.to_owned(), source };
    let mut tree = serde_yaml::to_value(config).map_err(refuse)?;
    let section_and_field = path
        .split_once('.')
        .and_then(|(section, field)| Some((tree.get_mut(section)?.as_mapping_mut()?, field)));
    let Some((section, field)) = section_and_field else {
        return Err(ConfigError::UnknownSetting { name: path.to_owned() });
    };
    let value = scalar(section, field, text).map_err(refuse)?;
    section.insert(Value::from(field), value);
    serde_yaml::from_value(tree).map_err(refuse)
}

/// Text settings take the text as it is; what looks like a number there is text all the same.
fn scalar(section: &Mapping, field: &str, text: &str) -> Result<Value, serde_yaml::Error> {
    if section.get(field).is_some_and(Value::is_string) {
        return Ok(Value::from(text));
    }
    serde_yaml::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_environment(pairs: &[(&str, &str)]) -> Sources {
        let environment =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sources { environment, ..Sources::default() }
    }

    #[test]
    fn later_sources_override_earlier_ones() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("hvs.yaml");
        std::fs::write(&file, "limits: {k: 1, page: 2, searches: 3}\nlog: {level: debug}\n")
            .unwrap();
        let mut sources = with_environment(&[
            ("HVS_LIMITS_PAGE", "20"),
            ("HVS_LIMITS_SEARCHES", "30"),
            ("HVS_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
            ("HVS_PORT", "tcp://10.0.0.1:9001"),
        ]);
        sources.file = Some(file);
        sources.flags = vec![("limits.searches".into(), "300".into())];
        let config = sources.load().unwrap();
        assert_eq!((config.limits.k, config.limits.page, config.limits.searches), (1, 20, 300));
        assert_eq!(config.otlp.endpoint, "http://127.0.0.1:4318");
        assert_eq!(config.log.level, "debug");
        assert_eq!(config.limits.ef, Config::default().limits.ef);
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("hvs.yaml");
        std::fs::write(&file, "# nothing yet\n").unwrap();
        let sources = Sources { file: Some(file), ..Sources::default() };
        assert_eq!(sources.load().unwrap(), Config::default());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = with_environment(&[("HVS_LIMITS_K", "many")]).load().unwrap_err().to_string();
        assert!(error.contains("HVS_LIMITS_K") && error.contains("many"), "{error}");

        let flags = vec![("limits.kk".to_owned(), "1".to_owned())];
        let error = Sources { flags, ..Sources::default() }.load().unwrap_err().to_string();
        assert!(error.contains("limits.kk"), "{error}");

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("hvs.yaml");
        std::fs::write(&file, "limits:\n  body_byte: 1\n").unwrap();
        let sources = Sources { file: Some(file), ..Sources::default() };
        let error = sources.load().unwrap_err().to_string();
        assert!(error.contains("hvs.yaml") && error.contains("body_byte"), "{error}");

        let missing = Sources { file: Some("no/such/file".into()), ..Sources::default() };
        assert!(missing.load().unwrap_err().to_string().contains("no/such/file"));
    }

    #[test]
    fn every_setting_can_be_set_by_its_variable_to_its_default() {
        let defaults = serde_yaml::to_value(Config::default()).unwrap();
        for path in settings() {
            let (section, field) = path.split_once('.').unwrap();
            let value = &defaults[section][field];
            let text = value.as_str().map_or_else(
                || serde_yaml::to_string(value).unwrap().trim().to_owned(),
                str::to_owned,
            );
            let variable = format!("HVS_{}", path.replace('.', "_").to_uppercase());
            let config = with_environment(&[(&variable, &text)]).load().unwrap();
            assert_eq!(config, Config::default(), "{path}");
        }
    }

    #[test]
    fn the_documentation_names_every_setting_and_its_default() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let document = std::fs::read_to_string(path).unwrap();
        let defaults = serde_yaml::to_value(Config::default()).unwrap();
        for path in settings() {
            let (section, field) = path.split_once('.').unwrap();
            let value = &defaults[section][field];
            let text = value.as_str().map_or_else(
                || serde_yaml::to_string(value).unwrap().trim().to_owned(),
                str::to_owned,
            );
            let row = format!("| `{path}` | `{text}` |");
            assert!(document.contains(&row), "docs/configuration.md lacks {row}");
        }
    }
}
