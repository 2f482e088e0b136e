//! `hvs ns`.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
};

use clap::{Args, Subcommand, ValueEnum};
use hvs_api::{
    ComponentSpec, CreateNamespace, IndexSpec, IndexType, NamespaceInfo, PayloadIndex, Precision,
    Profile, Quantisation, SwitchAliases, VectorSpec,
};

mod table;

use self::table::many;
pub(super) use self::table::one;
use super::alter::{self, AlterArgs};
use super::values::{
    CompressionArg, DurabilityArg, PayloadIndexingArg, compression_kind, durability_kind,
    payload_index,
};
use crate::{
    args::Context,
    error::CliError,
    output::{TextTable, grouped},
};

#[derive(Debug, Subcommand)]
pub(crate) enum NsCommand {
    /// Create a namespace; the same settings again are accepted.
    Create(Box<CreateArgs>),
    /// List namespaces.
    List,
    /// Settings and counts of a namespace.
    Get {
        /// Its name or an alias.
        name: String,
    },
    /// Change what is indexed, and how, while the namespace is in use.
    Alter(Box<AlterArgs>),
    /// Delete a namespace with all its records and aliases.
    Delete {
        /// Its name.
        name: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// Names that lead to namespaces.
    Alias {
        #[command(subcommand)]
        command: AliasCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AliasCommand {
    /// List aliases.
    List,
    /// Set an alias, or lead it elsewhere.
    Set {
        /// The alias.
        alias: String,
        /// The namespace that it is to lead to.
        namespace: String,
    },
    /// Remove an alias; the namespace stays.
    Delete {
        /// The alias.
        alias: String,
    },
    /// Change several aliases at once, all or none.
    Switch {
        /// `ALIAS=NAMESPACE`, or `ALIAS=` to remove it.
        #[arg(required = true, value_name = "ALIAS=NAMESPACE")]
        pairs: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name.
    name: String,
    /// poincare, hyperboloid, klein, euclidean, spherical or lorentzian.
    #[arg(long, short)]
    geometry: Option<String>,
    /// The intrinsic dimension n; hyperboloid, spherical and lorentzian points have n + 1
    /// coordinates.
    #[arg(long, short)]
    dimension: Option<u64>,
    /// Negative for hyperbolic models, 0 for euclidean, positive for spherical and lorentzian;
    /// left out: -1, 0 or 1.
    #[arg(long, short, allow_hyphen_values = true)]
    curvature: Option<f64>,
    /// A factor of a product space, in place of the three above; may be repeated.
    #[arg(long, value_name = "GEOMETRY:DIMENSION[:CURVATURE[:WEIGHT]]")]
    component: Vec<String>,
    /// Bits of a stored coordinate.
    #[arg(long)]
    precision: Option<PrecisionArg>,
    /// What the indexes are to be good at, where they are not given.
    #[arg(long)]
    profile: Option<ProfileArg>,
    /// The index of the default vector.
    #[arg(long)]
    index: Option<IndexArg>,
    /// HYBRID: where in the metadata the text is, as `title` or `author.name`; may be repeated. It
    /// chooses the type HYBRID.
    #[arg(long, value_name = "PATH")]
    text_field: Vec<String>,
    /// HYBRID: the language whose stems are searched by, such as english.
    #[arg(long)]
    language: Option<String>,
    /// HNSW: connections per node of the graph.
    #[arg(long)]
    m: Option<u64>,
    /// HNSW: how widely the graph is searched when it is built.
    #[arg(long)]
    ef_construction: Option<u64>,
    /// HNSW: how widely the graph is searched when a search does not say.
    #[arg(long)]
    ef_search: Option<u64>,
    /// IVF: lists per segment; left out, the square root of its vectors.
    #[arg(long)]
    nlist: Option<u64>,
    /// IVF: lists looked into when a search does not say; left out, one in eight.
    #[arg(long)]
    nprobe: Option<u64>,
    /// Bits of what is compared first.
    #[arg(long)]
    quantisation: Option<QuantisationArg>,
    /// Hold what is compared first in memory, or map it from its file.
    #[arg(long)]
    resident: Option<bool>,
    /// A named vector beside the default one; may be repeated. Without a space it has that of the
    /// default one.
    #[arg(long, value_name = "NAME[=GEOMETRY:DIMENSION[:CURVATURE]]")]
    vector: Vec<String>,
    /// How many shards.
    #[arg(long)]
    shards: Option<u64>,
    /// When writes are acknowledged that do not say it; left out, as the node has it.
    #[arg(long)]
    durability: Option<DurabilityArg>,
    /// After so many milliseconds records cease to exist that are put without a time of their own.
    #[arg(long, value_name = "MILLISECONDS")]
    ttl_ms: Option<u64>,
    /// Which metadata is indexed; left out, all of it, as far as the node's limits go.
    #[arg(long)]
    payload_indexing: Option<PayloadIndexingArg>,
    /// A field of metadata that is indexed in any case, such as `year:integer`; may be repeated.
    #[arg(long, value_name = "PATH:TYPE", value_parser = payload_index)]
    payload_index: Vec<PayloadIndex>,
    /// How labels and metadata are compressed at rest; left out, as the node has it.
    #[arg(long)]
    compression: Option<CompressionArg>,
    /// Whether records of hits are read before someone asks for them; left out, only with the
    /// profile `latency`.
    #[arg(long)]
    prefetch: Option<bool>,
    /// The settings as JSON, in the API's form, in place of all the above.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["geometry", "dimension", "curvature",
        "component", "precision", "profile", "index", "resident", "m", "ef_construction", "ef_search",
        "nlist", "nprobe", "quantisation", "vector", "shards", "durability", "ttl_ms",
        "text_field", "language", "payload_indexing", "payload_index", "compression", "prefetch"])]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PrecisionArg {
    F32,
    F64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum QuantisationArg {
    None,
    F16,
    I8,
    Pq,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProfileArg {
    Latency,
    Throughput,
    Memory,
    Accuracy,
}

impl ProfileArg {
    fn profile(self) -> Profile {
        match self {
            Self::Latency => Profile::Latency,
            Self::Throughput => Profile::Throughput,
            Self::Memory => Profile::Memory,
            Self::Accuracy => Profile::Accuracy,
        }
    }
}

impl QuantisationArg {
    pub(super) fn quantisation(self) -> Quantisation {
        match self {
            Self::None => Quantisation::None,
            Self::F16 => Quantisation::F16,
            Self::I8 => Quantisation::I8,
            Self::Pq => Quantisation::Pq,
        }
    }
}

impl IndexArg {
    pub(super) fn kind(self) -> IndexType {
        match self {
            Self::Hnsw => IndexType::Hnsw,
            Self::Flat => IndexType::Flat,
            Self::Geometric => IndexType::Geometric,
            Self::Ivf => IndexType::Ivf,
            Self::Hybrid => IndexType::Hybrid,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum IndexArg {
    Hnsw,
    Flat,
    Geometric,
    Ivf,
    Hybrid,
}

pub(crate) async fn run(context: &Context, command: NsCommand) -> Result<(), CliError> {
    let client = context.client()?;
    let output = context.output;
    match command {
        NsCommand::Create(args) => {
            let settings = settings(&args)?;
            let info = client.create_namespace(&args.name, &settings).await?;
            output.table_or_json(&one(&info), &info)
        }
        NsCommand::List => {
            let list = client.list_namespaces().await?;
            output.table_or_json(&many(&list.namespaces), &list)
        }
        NsCommand::Get { name } => {
            let info = client.get_namespace(&name).await?;
            output.table_or_json(&one(&info), &info)
        }
        NsCommand::Alter(args) => alter::run(context, &args).await,
        NsCommand::Delete { name, yes } => {
            if !yes {
                let info = client.get_namespace(&name).await?;
                confirm(&info)?;
            }
            let deleted = client.delete_namespace(&name).await?;
            if output.json {
                output.json(&deleted)
            } else {
                output.line(&format!("deleted {}", deleted.name))
            }
        }
        NsCommand::Alias { command } => alias(context, command).await,
    }
}

async fn alias(context: &Context, command: AliasCommand) -> Result<(), CliError> {
    let client = context.client()?;
    let output = context.output;
    let list = match command {
        AliasCommand::List => client.list_aliases().await?,
        AliasCommand::Set { alias, namespace } => {
            let info = client.set_alias(&alias, &namespace).await?;
            return if output.json {
                output.json(&info)
            } else {
                output.line(&format!("{} leads to {}", info.alias, info.namespace))
            };
        }
        AliasCommand::Delete { alias } => {
            let deleted = client.delete_alias(&alias).await?;
            return if output.json {
                output.json(&deleted)
            } else {
                output.line(&format!("removed {}", deleted.name))
            };
        }
        AliasCommand::Switch { pairs } => client.switch_aliases(&switch(&pairs)?).await?,
    };
    let mut table = TextTable::new(&["alias", "namespace"]);
    for info in &list.aliases {
        table.row([info.alias.clone(), info.namespace.clone()]);
    }
    output.table_or_json(&table, &list)
}

fn switch(pairs: &[String]) -> Result<SwitchAliases, CliError> {
    let mut aliases = BTreeMap::new();
    for pair in pairs {
        let Some((alias, namespace)) = pair.split_once('=') else {
            return Err(CliError::Usage(format!("{pair:?} is not of the form ALIAS=NAMESPACE")));
        };
        let target = (!namespace.is_empty()).then(|| namespace.to_owned());
        if aliases.insert(alias.to_owned(), target).is_some() {
            return Err(CliError::Usage(format!("alias {alias:?} is named twice")));
        }
    }
    Ok(SwitchAliases { aliases })
}

fn settings(args: &CreateArgs) -> Result<CreateNamespace, CliError> {
    if let Some(path) = &args.file {
        let text = fs::read_to_string(path)
            .map_err(|source| CliError::File { path: path.clone(), source })?;
        return serde_json::from_str(&text)
            .map_err(|error| CliError::Content { path: path.clone(), detail: error.to_string() });
    }
    let numbers = [args.m, args.ef_construction, args.ef_search, args.nlist, args.nprobe];
    let parameters = numbers.iter().any(Option::is_some)
        || args.quantisation.is_some()
        || args.resident.is_some();
    let text = !args.text_field.is_empty() || args.language.is_some();
    let index = (args.index.is_some() || parameters || text).then_some(IndexSpec {
        kind: match args.index {
            None if text => IndexType::Hybrid,
            kind => kind.map(IndexArg::kind).unwrap_or_default(),
        },
        m: args.m,
        ef_construction: args.ef_construction,
        ef_search: args.ef_search,
        nlist: args.nlist,
        nprobe: args.nprobe,
        quantisation: args.quantisation.map(QuantisationArg::quantisation),
        resident: args.resident,
        dense: None,
        text_fields: (!args.text_field.is_empty()).then(|| args.text_field.clone()),
        language: args.language.clone(),
    });
    let components: Vec<ComponentSpec> =
        args.component.iter().map(|text| component(text)).collect::<Result<_, _>>()?;
    Ok(CreateNamespace {
        geometry: args.geometry.clone(),
        dimension: args.dimension,
        curvature: args.curvature,
        components: (!components.is_empty()).then_some(components),
        precision: args.precision.map(|precision| match precision {
            PrecisionArg::F32 => Precision::F32,
            PrecisionArg::F64 => Precision::F64,
        }),
        index,
        vectors: args.vector.iter().map(|text| named_vector(text)).collect::<Result<_, _>>()?,
        shards: args.shards,
        profile: args.profile.map(ProfileArg::profile),
        durability: durability_kind(args.durability),
        ttl_ms: args.ttl_ms,
        payload_indexing: args.payload_indexing.map(PayloadIndexingArg::indexing),
        payload_indexes: (!args.payload_index.is_empty()).then(|| args.payload_index.clone()),
        compression: compression_kind(args.compression),
        prefetch: args.prefetch,
    })
}

/// `GEOMETRY:DIMENSION[:CURVATURE[:WEIGHT]]`.
pub(crate) fn component(text: &str) -> Result<ComponentSpec, CliError> {
    let wrong = || {
        CliError::Usage(format!(
            "{text:?} is not of the form GEOMETRY:DIMENSION[:CURVATURE[:WEIGHT]], such as \
             poincare:5:-1:2"
        ))
    };
    let mut parts = text.split(':');
    let geometry = parts.next().filter(|name| !name.is_empty()).ok_or_else(wrong)?.to_owned();
    let dimension = parts.next().and_then(|part| part.parse().ok()).ok_or_else(wrong)?;
    let mut number = || match parts.next() {
        None | Some("") => Ok(None),
        Some(part) => part.parse::<f64>().map(Some).map_err(|_| wrong()),
    };
    let (curvature, weight) = (number()?, number()?);
    if parts.next().is_some() {
        return Err(wrong());
    }
    Ok(ComponentSpec { geometry, dimension, curvature, weight })
}

fn named_vector(text: &str) -> Result<(String, VectorSpec), CliError> {
    let Some((name, space)) = text.split_once('=') else {
        return Ok((text.to_owned(), VectorSpec::default()));
    };
    let ComponentSpec { geometry, dimension, curvature, weight } = component(space)?;
    if weight.is_some() {
        return Err(CliError::Usage(format!("{text:?}: only a component has a weight")));
    }
    let spec = VectorSpec {
        geometry: Some(geometry),
        dimension: Some(dimension),
        curvature,
        ..VectorSpec::default()
    };
    Ok((name.to_owned(), spec))
}

fn confirm(info: &NamespaceInfo) -> Result<(), CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::Usage("nobody can be asked here; confirm with --yes".to_owned()));
    }
    let mut terminal = io::stderr();
    let records = grouped(info.records);
    write!(terminal, "Delete {} with {records} records for good? Type its name: ", info.name)
        .and_then(|()| terminal.flush())
        .map_err(CliError::Output)?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|error| CliError::System(format!("standard input: {error}")))?;
    if answer.trim() == info.name {
        Ok(())
    } else {
        Err(CliError::Wrong("nothing was deleted".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_read_with_what_may_be_left_out() {
        let spec = component("poincare:5:-0.5:2").unwrap();
        assert_eq!((spec.geometry.as_str(), spec.dimension), ("poincare", 5));
        assert_eq!((spec.curvature, spec.weight), (Some(-0.5), Some(2.0)));
        let spec = component("spherical:3::2").unwrap();
        assert_eq!((spec.curvature, spec.weight), (None, Some(2.0)));
        for text in ["", "poincare", ":3", "poincare:x", "poincare:3:y", "poincare:3:1:1:1"] {
            assert!(component(text).is_err(), "{text}");
        }
    }

    #[test]
    fn named_vectors_have_a_space_or_none() {
        assert_eq!(named_vector("title").unwrap(), ("title".into(), VectorSpec::default()));
        let (name, spec) = named_vector("title=euclidean:3").unwrap();
        assert_eq!((name.as_str(), spec.dimension), ("title", Some(3)));
        assert!(named_vector("title=euclidean:3:0:2").is_err());
    }

    #[test]
    fn aliases_are_set_and_removed() {
        let pairs = ["a=b".to_owned(), "c=".to_owned()];
        let aliases = switch(&pairs).unwrap().aliases;
        assert_eq!(aliases["a"].as_deref(), Some("b"));
        assert_eq!(aliases["c"], None);
        assert!(switch(&["a".to_owned()]).is_err());
        assert!(switch(&["a=b".to_owned(), "a=c".to_owned()]).is_err());
    }
}
