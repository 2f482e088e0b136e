//! The `traceparent` header of W3C Trace Context, and the span of a request.

use std::fmt;

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of the spans that are exported.
pub(super) const TARGET: &str = "hvs_node::request";

/// A `traceparent`: which trace the request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    parent: u64,
    flags: u8,
}

impl TraceParent {
    /// Reads the header's value. As the recommendation asks, a value that is not well-formed
    /// counts as absent, and a later version is read by its known part.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version = hexadecimal(parts.next()?, 2)?;
        let trace = hexadecimal(parts.next()?, 32)?;
        let parent = u64::try_from(hexadecimal(parts.next()?, 16)?).ok()?;
        let flags = u8::try_from(hexadecimal(parts.next()?, 2)?).ok()?;
        let unexpected_rest = version == 0 && parts.next().is_some();
        if version == 0xff || trace == 0 || parent == 0 || unexpected_rest {
            return None;
        }
        Some(Self { trace, parent, flags })
    }

    /// The id of the trace, 32 hexadecimal digits.
    pub fn trace_id(&self) -> impl fmt::Display + use<> {
        TraceIdText(self.trace)
    }

    fn context(self) -> Context {
        let context = SpanContext::new(
            TraceId::from_bytes(self.trace.to_be_bytes()),
            SpanId::from_bytes(self.parent.to_be_bytes()),
            TraceFlags::new(self.flags),
            true,
            TraceState::default(),
        );
        Context::new().with_remote_span_context(context)
    }
}

struct TraceIdText(u128);

impl fmt::Display for TraceIdText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// Exactly `digits` lower-case hexadecimal digits.
fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let lower_case = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() != digits || !lower_case {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// The span of one request, as the semantic conventions for HTTP servers name its fields.
pub(crate) fn request_span(
    method: &str,
    route: &str,
    request_id: &str,
    parent: Option<TraceParent>,
) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        otel.name = format_args!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.request.id = request_id,
        http.response.status_code = tracing::field::Empty,
    );
    if let Some(parent) = parent {
        // Without a layer that exports spans there is nobody to tell.
        let _ = span.set_parent(parent.context());
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_values_are_read() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::parse(text).unwrap();
        assert_eq!(parent.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let context = parent.context();
        let span = context.span();
        assert!(span.span_context().is_sampled() && span.span_context().is_remote());
        // A later version may append fields.
        assert!(TraceParent::parse(&format!("01{}-what-ever", &text[2..])).is_some());
    }

    #[test]
    fn anything_else_counts_as_absent() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
    }
}
