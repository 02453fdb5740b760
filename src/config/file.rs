//! The file as it is written: every key optional, every value with its place.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// A key that may be absent.
pub(super) type Field<T> = Option<Spanned<T>>;

/// A table whose keys the user names.
pub(super) type Named<T> = BTreeMap<Spanned<String>, T>;

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) state: Field<String>,
    #[serde(default)]
    pub(super) engine: Engine,
    #[serde(default)]
    pub(super) registry: Registry,
    #[serde(default)]
    pub(super) registries: Named<Login>,
    #[serde(default)]
    pub(super) proxy: Proxy,
    #[serde(default)]
    pub(super) ssh: Ssh,
    #[serde(default)]
    pub(super) app: Named<App>,
}

#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Engine {
    pub(super) host: Field<String>,
    pub(super) network: Field<String>,
    pub(super) subnet: Field<String>,
    pub(super) builder: Field<String>,
}

#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Registry {
    pub(super) address: Field<String>,
    pub(super) prefix: Field<String>,
    pub(super) username: Field<String>,
    pub(super) password_file: Field<String>,
    pub(super) plain_http: Field<bool>,
    pub(super) transfer_timeout: Field<Scalar>,
    pub(super) collect: Field<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    pub(super) username: Field<String>,
    pub(super) password_file: Field<String>,
}

#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Proxy {
    pub(super) kind: Field<String>,
    pub(super) mode: Field<String>,
    pub(super) folder: Field<String>,
    pub(super) snippets: Field<String>,
    pub(super) socket: Field<String>,
    pub(super) listen: Field<String>,
    pub(super) slot_listen: Field<String>,
    #[serde(default)]
    pub(super) trusted: Vec<Spanned<String>>,
    pub(super) metrics_listen: Field<String>,
    pub(super) header_timeout: Field<Scalar>,
    pub(super) idle_timeout: Field<Scalar>,
    pub(super) body_timeout: Field<Scalar>,
    pub(super) response_timeout: Field<Scalar>,
    pub(super) nginx: Option<Nginx>,
    pub(super) haproxy: Option<Program>,
    pub(super) caddy: Option<Program>,
}

#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Nginx {
    pub(super) check: Field<Vec<String>>,
    pub(super) reload: Field<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Program {
    pub(super) check: Field<Vec<String>>,
    pub(super) reload: Field<Vec<String>>,
    pub(super) admin: Field<String>,
}

#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Ssh {
    pub(super) authorized_keys: Field<String>,
}

#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct App {
    pub(super) branch: Field<String>,
    #[serde(default)]
    pub(super) hosts: Vec<Spanned<String>>,
    pub(super) trailers: Field<bool>,
    pub(super) ports: Field<Ports>,
    pub(super) container_port: Field<i64>,
    pub(super) dockerfile: Field<String>,
    pub(super) context: Field<String>,
    #[serde(default)]
    pub(super) build_args: Named<Spanned<Secret>>,
    pub(super) target: Field<String>,
    pub(super) build_pull: Field<bool>,
    pub(super) build_deadline: Field<Scalar>,
    pub(super) instances: Field<i64>,
    #[serde(default)]
    pub(super) env: Named<Spanned<Secret>>,
    pub(super) env_file: Field<String>,
    #[serde(default)]
    pub(super) volumes: Vec<Spanned<String>>,
    pub(super) memory: Field<Scalar>,
    pub(super) cpus: Field<f64>,
    pub(super) pids: Field<i64>,
    pub(super) restart: Field<String>,
    pub(super) stop_grace: Field<Scalar>,
    pub(super) log_size: Field<Scalar>,
    #[serde(default)]
    pub(super) probe: Probe,
    pub(super) response_timeout: Field<Scalar>,
    pub(super) body_timeout: Field<Scalar>,
    pub(super) drain_deadline: Field<Scalar>,
    pub(super) promote: Field<String>,
    pub(super) standby: Field<String>,
    pub(super) keep: Field<i64>,
    pub(super) gate: Field<String>,
    pub(super) max_push: Field<Scalar>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Ports {
    pub(super) green: Field<i64>,
    pub(super) blue: Field<i64>,
}

#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Probe {
    pub(super) kind: Field<String>,
    pub(super) path: Field<String>,
    pub(super) status: Field<Scalar>,
    pub(super) host: Field<String>,
    pub(super) interval: Field<Scalar>,
    pub(super) timeout: Field<Scalar>,
    pub(super) deadline: Field<Scalar>,
}

/// A value that people write as a text or as a whole number, kept as the text.
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(from = "TextOrNumber")]
pub(super) struct Scalar(String);

impl Borrow<str> for Scalar {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text or a whole number")]
enum TextOrNumber {
    Text(String),
    Number(i64),
}

impl From<TextOrNumber> for Scalar {
    fn from(value: TextOrNumber) -> Self {
        match value {
            TextOrNumber::Text(text) => Scalar(text),
            TextOrNumber::Number(number) => Scalar(number.to_string()),
        }
    }
}

/// A value that may be secret: a text, or nothing where it is of another type. It is not refused while it is
/// read, because that error would show it.
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(from = "toml::Value")]
pub(super) struct Secret(Option<String>);

impl Secret {
    /// The text, unless the value is something else.
    pub(super) fn text(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl From<toml::Value> for Secret {
    fn from(value: toml::Value) -> Self {
        match value {
            toml::Value::String(text) => Secret(Some(text)),
            _ => Secret(None),
        }
    }
}
