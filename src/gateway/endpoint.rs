//! An operation as the gateway serves it: with what can be known before the first request.

use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;

use crate::gateway::context::RequestFields;
use crate::spec::Operation;
use crate::telemetry::metrics::{Requests, RouteLabels, RouteSeries};

/// An operation, what its templates need of a request, and its version's limit.
#[derive(Debug)]
pub struct Endpoint {
    /// What to do.
    pub operation: Arc<Operation>,
    /// The fields of `request` that its templates name.
    pub fields: RequestFields,
    /// One permit for each action that the version may have in flight; absent without a limit.
    pub in_flight: Option<Arc<Semaphore>>,
    series: OnceLock<Arc<RouteSeries>>,
}

impl Endpoint {
    /// Builds the endpoint of `operation`; `in_flight` is shared by its whole API version.
    pub fn new(operation: Arc<Operation>, in_flight: Option<Arc<Semaphore>>) -> Self {
        let mut fields = RequestFields::default();
        operation.visit_templates(&mut |template| fields = fields.and(RequestFields::of(template)));
        Self {
            operation,
            fields,
            in_flight,
            series: OnceLock::new(),
        }
    }

    /// Returns what is counted of its route. Found when the table is installed, so that no request
    /// looks for it.
    pub fn series(&self, requests: &Requests) -> &RouteSeries {
        self.series.get_or_init(|| {
            let version = &self.operation.version;
            requests.route(&RouteLabels {
                api: version.api_id.clone(),
                version: version.name.clone(),
                realm: version.realm.to_string(),
                route: self.operation.pattern.clone(),
            })
        })
    }
}
