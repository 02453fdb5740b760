//! The engine edge: images, instances and deployer's network, through the Docker Engine's API.
//!
//! Labels are the truth about what runs: an instance carries its app, slot, lane, release and image, and
//! [`Engine::instances`] reads them back.

mod about;
mod arguments;
mod base_images;
mod build;
mod build_context;
mod build_hint;
mod cache;
mod connection;
mod endings;
mod env_file;
mod error;
mod error_mapping;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod ids;
mod ignore;
mod images;
mod instance;
mod instance_spec;
mod lines;
mod logs;
mod network;
mod plain_http;
mod progress;
mod published;
mod sockets;

pub use about::BuilderKind;
pub use build::BuildRequest;
pub use build_context::ContextError;
pub use connection::Engine;
pub use endings::{Endings, OwnEnding};
pub use env_file::check_env_file;
pub use error::EngineError;
pub use ids::{ContainerId, ImageId, NetworkId};
pub use images::{Healthcheck, ImageFacts, Removed, Transfer};
pub use instance::{Ending, Health, HealthStatus, Instance, InstanceState, Status};
pub use instance_spec::InstanceSpec;
pub use logs::LogRange;
pub use network::NetworkEnd;
pub use published::Published;
