//! `/metrics`: what Prometheus scrapes.

use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;

use super::exchange::Exchange;
use super::table::Answer;
use crate::negotiate;
use crate::telemetry::metrics::Format;

/// Returns all metrics as Prometheus' text, or as OpenMetrics for who prefers it.
///
/// A scraper that accepts neither gets the text all the same: it has nothing to choose from.
#[utoipa::path(
    get, path = "/metrics", tag = "gateway",
    responses((status = 200, description = "the metrics", body = String,
        content_type = "text/plain; version=0.0.4; charset=utf-8")),
)]
pub(super) async fn scrape(exchange: Exchange) -> Answer {
    let wanted = negotiate::accept(exchange.headers(), &Format::MEDIA_TYPES);
    let format = wanted.map_or(Format::Prometheus, Format::of);
    let text = exchange.admin.metrics.scrape(format);
    Ok(([(CONTENT_TYPE, format.content_type())], text).into_response())
}
