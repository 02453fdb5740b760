//! The registries that images are in: the configured one, and those that were configured before. An image says itself
//! which one has it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::Context;
use crate::registry::{Registry, RegistryError};

/// How long a registry of before may take for one request: nobody waits for it, and it may be gone for good.
const FORMER_ANSWERS: Duration = Duration::from_secs(3);

/// Requests that a registry may refuse one by one before it is left alone.
const REFUSALS_MAX: u32 = 3;

/// Registries that are asked one after another. One that does not answer is asked once, however much there was to ask.
pub(super) struct Registries<'a> {
    context: &'a Context,
    known: BTreeMap<String, Known>,
}

#[derive(Default)]
struct Known {
    registry: Option<Registry>,
    refusals: u32,
    /// Why it is asked no more.
    given_up: Option<String>,
}

/// A registry did not do what it was asked, or was not asked any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unanswered {
    /// `HOST[:PORT]`.
    pub(super) registry: String,
    /// Why.
    pub(super) reason: String,
}

impl<'a> Registries<'a> {
    /// Those that the configuration of `context` lets one speak to.
    pub(super) fn of(context: &'a Context) -> Self {
        Self {
            context,
            known: BTreeMap::new(),
        }
    }

    /// Asks the registry at `address`.
    ///
    /// # Errors
    /// Why it did not do so, now or when it was asked before.
    pub(super) async fn ask<T>(
        &mut self,
        address: &str,
        what: impl AsyncFnOnce(&Registry) -> Result<T, RegistryError>,
    ) -> Result<T, Unanswered> {
        let context = self.context;
        let known = self.known.entry(address.to_owned()).or_default();
        let unanswered = |reason: String| Unanswered {
            registry: address.to_owned(),
            reason,
        };
        if let Some(reason) = &known.given_up {
            return Err(unanswered(reason.clone()));
        }
        let asked = async {
            let registry = match known.registry.take() {
                Some(registry) => registry,
                None => context.registry(address)?,
            };
            let answer = what(&registry).await;
            known.registry = Some(registry);
            answer
        };
        let answer = match address == context.settings.registry.address {
            true => asked.await,
            false => match tokio::time::timeout(FORMER_ANSWERS, asked).await {
                Ok(answer) => answer,
                Err(_) => Err(RegistryError::Timeout {
                    address: address.to_owned(),
                    seconds: FORMER_ANSWERS.as_secs(),
                }),
            },
        };
        answer.map_err(|error| {
            let reason = error.to_string();
            known.refusals += 1;
            if !error.is_of_one_request() || known.refusals == REFUSALS_MAX {
                known.given_up = Some(reason.clone());
            }
            unanswered(reason)
        })
    }
}
