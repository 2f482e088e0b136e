//! Logs, spans and metrics. None of them ever holds vectors or metadata.

mod cache;
mod checkpoints;
mod ecs;
mod feed;
mod memory;
mod metrics;
mod prefetch;
mod process;
mod scale;
mod session;
mod trace;

use std::io::{self, IsTerminal};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tracing_subscriber::{EnvFilter, Layer, fmt, layer::SubscriberExt, util::SubscriberInitExt};

pub use metrics::{Metrics, MetricsError, StateSource};
pub use trace::TraceParent;
pub(crate) use trace::request_span;

use crate::config::{Config, LogFormat};

/// The name under which spans are made.
const TRACER: &str = "hvs-node";

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The log level is not understood.
    #[error(
        "log.level is {value:?}: {reason}; use a level such as info, or directives such as info,hvs_node=debug"
    )]
    Level {
        /// The setting.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Spans cannot be exported.
    #[error("otlp.endpoint is {endpoint:?}: {reason}")]
    Otlp {
        /// The setting.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something in this process set up logging before.
    #[error("logging is already set up in this process")]
    Twice,
}

/// Keeps the export of spans alive.
#[derive(Debug)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sets up logging and the export of spans for the whole process. To be called outside of the
    /// async runtime, because the exporter's client blocks.
    ///
    /// # Errors
    /// [`TelemetryError`]; nothing is set up then.
    pub fn start(config: &Config) -> Result<Self, TelemetryError> {
        let filter = level_filter(&config.log.level)
            .map_err(|reason| TelemetryError::Level { value: config.log.level.clone(), reason })?;
        let provider = provider(config)?;
        // Only the spans of requests are exported: below them are the exporter's own.
        //
        // With a filter per layer, `tracing::enabled!` must not be used anywhere in the process:
        // its answer for a layer sticks to the thread and holds for the next span as well, which
        // then is not exported.
        let spans = provider.as_ref().map(|provider| {
            tracing_opentelemetry::layer().with_tracer(provider.tracer(TRACER)).with_filter(
                tracing_subscriber::filter::filter_fn(|metadata| {
                    metadata.is_span() && metadata.target() == trace::TARGET
                }),
            )
        });
        tracing_subscriber::registry()
            .with(spans)
            .with(log_layer(config.log.format).with_filter(filter))
            .try_init()
            .map_err(|_| TelemetryError::Twice)?;
        Ok(Self { provider })
    }

    /// Sends the spans that are left.
    pub fn stop(self) {
        if let Some(provider) = self.provider
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }
}

/// Whether a start would take this level, and if not, why.
pub(crate) fn check_level(level: &str) -> Result<(), String> {
    level_filter(level).map(drop)
}

fn level_filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(directives(level)).map_err(|error| error.to_string())
}

/// A bare level is that of HVS; what the libraries below say is of use from warnings on.
fn directives(level: &str) -> String {
    const OWN: [&str; 5] = ["hvs_node", "hvs_shard", "hvs_index", "hvs_log", "hvs_kv"];
    if level.contains(['=', ',']) {
        return level.to_owned();
    }
    let own = OWN.map(|name| format!("{name}={level}"));
    format!("warn,{}", own.join(","))
}

fn provider(config: &Config) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    let otlp = &config.otlp;
    if otlp.endpoint.is_empty() {
        return Ok(None);
    }
    let base = otlp.endpoint.trim_end_matches('/');
    let endpoint =
        if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
    let exporter =
        SpanExporter::builder().with_http().with_endpoint(endpoint).build().map_err(|error| {
            TelemetryError::Otlp { endpoint: otlp.endpoint.clone(), reason: error.to_string() }
        })?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(otlp.ratio)));
    let resource = Resource::builder().with_service_name(otlp.service.clone()).build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(resource)
        .build();
    Ok(Some(provider))
}

type LogLayer<S> = Box<dyn Layer<S> + Send + Sync>;

fn log_layer<S>(format: LogFormat) -> LogLayer<S>
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    let terminal = io::stderr().is_terminal();
    let text = match format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    if text {
        fmt::layer().with_writer(io::stderr).with_ansi(terminal).boxed()
    } else {
        fmt::layer().with_writer(io::stderr).event_format(ecs::Ecs).boxed()
    }
}
