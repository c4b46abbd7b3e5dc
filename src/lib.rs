//! wampgate exposes the procedures and topics of any WAMP router as REST endpoints.
//!
//! Modules are listed bottom-up: each uses only those above it in this list.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod value;
pub mod uri;
pub mod diagnostic;
pub mod document;
pub mod problem;
pub mod negotiate;
pub mod telemetry;
pub mod listener;
pub mod store;
pub mod mops;
pub mod wamp;
pub mod spec;
pub mod realm;
pub mod catalog;
pub mod action;
pub mod devrouter;
pub mod gateway;
pub mod admin;
pub mod config;
pub mod app;
pub mod demo;
pub mod cli;
