//! An operation as the gateway serves it: with what can be known before the first request.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::gateway::context::RequestFields;
use crate::spec::Operation;

/// An operation, what its templates need of a request, and its version's limit.
#[derive(Debug)]
pub struct Endpoint {
    /// What to do.
    pub operation: Arc<Operation>,
    /// The fields of `request` that its templates name.
    pub fields: RequestFields,
    /// One permit for each action that the version may have in flight; absent without a limit.
    pub in_flight: Option<Arc<Semaphore>>,
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
        }
    }
}
