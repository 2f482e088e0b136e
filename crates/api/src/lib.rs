//! Wire types, problem errors and the OpenAPI description of the HVS HTTP API.
