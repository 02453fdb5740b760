//! The engine edge against a real Docker Engine and a real registry.

mod build;
mod context;
mod ignore;
mod instances;
mod network;
mod registry;
mod support;
