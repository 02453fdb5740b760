//! The words of the program as plain types: no input, no output, nothing that can fail but parsing.

mod address;
mod app;
mod by;
mod image;
mod key;
mod network;
mod ports;
mod release;
mod service;
mod service_settings;
mod settings;
mod slot;
mod source;
mod text;

pub use address::{AddressPlan, AddressPlanError, INSTANCES_MAX, Subnet};
pub use app::AppName;
pub use by::{By, Scope};
pub use image::{Commit, DOCKER_HUB, Digest, ImageRef, is_docker_hub, registry_and_path};
pub use key::{Grant, KeyName, Role};
pub use network::Network;
pub use ports::PortSet;
pub use release::{Asked, ReleaseId};
pub use service::{ByService, InstanceName, ServiceName};
pub use service_settings::{BuildSettings, Probe, ProbeKind, Restart, RunSettings, ServiceSettings, Volume};
pub use settings::{
    AppSettings, Builder, Credentials, EngineSettings, Gate, LoginSettings, Program, ProgramSettings,
    Promote, ProxyKind, ProxySettings, RegistrySettings, Settings, SlotPorts, SshSettings, Standby,
    is_loopback_registry, loopback_registry_port,
};
pub use slot::{Lane, Slot, SlotName};
pub use source::{Intent, Promotion, Source};
pub(crate) use text::hidden_told;
pub use text::{
    BYTE_ORDER_MARK, Hidden, NotText, escaped, hidden, is_hidden, is_utf16, printable, text_of_file,
};

/// A text that is not what its type wants: what was wanted, and the value that was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {wanted}{}", hidden_told(value))]
pub struct ParseError {
    /// What the value should have been, as the end of a sentence: "an app's name: …".
    pub wanted: &'static str,
    /// The value that was given, cut to 80 characters.
    pub value: String,
}

impl ParseError {
    /// An error for `value`, which should have been `wanted`.
    pub(crate) fn new(wanted: &'static str, value: &str) -> Self {
        Self {
            wanted,
            value: value.chars().take(80).collect(),
        }
    }
}

/// Serde by way of `Display` and `FromStr`, so that a value read from a file is checked like one typed.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;
