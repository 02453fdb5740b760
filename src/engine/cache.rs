//! BuildKit's cache, as far as deployer fills it: each build leaves its whole context there, which no later build
//! ever uses, because the next context is another one to BuildKit; and its layers, also when their image was pruned.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::query_parameters::PruneBuildOptions;
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;
use serde::Deserialize;

use super::connection::ANSWER;
use super::plain_http::EngineAddress;
use super::{Engine, EngineError};

/// What BuildKit calls a context that came with a request.
const CONTEXT: &str = "http url http://build-context-";
/// The first API that gives the build cache alone, without weighing every image and container.
const API_WITH_TYPES: (usize, usize) = (1, 42);
/// How many contexts one call removes, and for how long it starts another removal: the next call does the rest. An
/// Engine with 7,000 records took 0.6 s for each.
const AT_ONCE: usize = 100;
const WITHIN: Duration = Duration::from_secs(5);
/// The most bytes of an answer about the cache.
const ANSWER_MAX: usize = 64 << 20;

/// The Engine's answer about its disk, the build cache alone. bollard knows its newest form only.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DiskUsage {
    #[serde(default)]
    build_cache: Option<Vec<CacheRecord>>,
}

#[derive(Debug, Deserialize)]
struct CacheRecord {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Description", default)]
    description: String,
    #[serde(rename = "InUse", default)]
    in_use: bool,
    #[serde(rename = "CreatedAt")]
    created: Timestamp,
}

impl Engine {
    /// Removes contexts that no build uses and that were sent at least `age` ago from BuildKit's cache, as many as it
    /// can in a few seconds, and gives how many those were. What the builds made of them stays in the cache.
    ///
    /// # Errors
    /// The Engine's.
    pub async fn forget_contexts(&self, age: Duration) -> Result<usize, EngineError> {
        let until = Timestamp::now() - age;
        let records = self.build_cache().await?;
        let contexts = records.iter().filter(|record| {
            record.description.starts_with(CONTEXT) && !record.in_use && record.created <= until
        });
        let (began, mut forgotten) = (Instant::now(), 0);
        for context in contexts.take(AT_ONCE) {
            if began.elapsed() >= WITHIN {
                break;
            }
            let options = PruneBuildOptions {
                all: Some(true),
                filters: Some(HashMap::from([("id".to_owned(), vec![context.id.clone()])])),
                ..PruneBuildOptions::default()
            };
            let pruned = self.docker.prune_build(Some(options)).await;
            let pruned = pruned.map_err(|api| self.call("prune the build cache").error(api))?;
            forgotten += pruned.caches_deleted.map_or(0, |deleted| deleted.len());
        }
        Ok(forgotten)
    }

    /// Removes from BuildKit's cache what no build has used for `unused` and no image needs, whoever built it: BuildKit does
    /// not tell that apart. Gives up after a few seconds; what is left is for the next call.
    ///
    /// # Errors
    /// The Engine's.
    pub async fn forget_builds(&self, unused: Duration) -> Result<(), EngineError> {
        let until = vec![format!("{}s", unused.as_secs())];
        let options = PruneBuildOptions {
            filters: Some(HashMap::from([("until".to_owned(), until)])),
            ..PruneBuildOptions::default()
        };
        match tokio::time::timeout(WITHIN, self.docker.prune_build(Some(options))).await {
            Ok(Err(api)) => Err(self.call("prune the build cache").error(api)),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    async fn build_cache(&self) -> Result<Vec<CacheRecord>, EngineError> {
        let Some(address) = EngineAddress::of(&self.settings.host) else {
            return Ok(Vec::new());
        };
        let api = self.docker.client_version();
        let alone = (api.major_version, api.minor_version) >= API_WITH_TYPES;
        let path = format!(
            "/v{api}/system/df{}",
            if alone { "?type=build-cache" } else { "" }
        );
        let usage = tokio::time::timeout(ANSWER, ask(address, &path)).await;
        match usage.map_err(anyhow::Error::from).flatten() {
            Ok(usage) => Ok(usage.build_cache.unwrap_or_default()),
            Err(error) => Err(EngineError::other("look at the build cache", error)),
        }
    }
}

async fn ask(address: EngineAddress<'_>, path: &str) -> anyhow::Result<DiskUsage> {
    let answer = address.get(path).await?;
    anyhow::ensure!(
        answer.status().is_success(),
        "the Engine answered {}",
        answer.status()
    );
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!(error))?;
    Ok(serde_json::from_slice(&body.to_bytes())?)
}
