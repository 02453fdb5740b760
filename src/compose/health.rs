//! `healthcheck` of a service.

use super::amounts::duration;
use super::fault::shown;
use super::keys::HEALTHCHECK;
use super::model::Healthcheck;
use super::node::{Map, Value};
use super::reading::Reading;

const DURATION: &str = "a duration, as 30s or 1m30s";

impl Reading<'_> {
    pub(super) fn healthcheck(&mut self, service: &Map) -> Option<Healthcheck> {
        let node = service.get("healthcheck").filter(|node| !node.is_null())?;
        let map = self.fields(node, &HEALTHCHECK)?;
        let test = match self.flag(map, "disable") {
            Some(true) => Some(vec!["NONE".to_owned()]),
            _ => self.test(map),
        };
        Some(Healthcheck {
            test,
            interval: self.parsed(map, "interval", DURATION, duration),
            timeout: self.parsed(map, "timeout", DURATION, duration),
            retries: self.parsed(map, "retries", "a number", |text| text.parse().ok()),
            start_period: self.parsed(map, "start_period", DURATION, duration),
            start_interval: self.parsed(map, "start_interval", DURATION, duration),
        })
    }

    fn test(&mut self, map: &Map) -> Option<Vec<String>> {
        let node = map.get("test").filter(|node| !node.is_null())?;
        let Value::List(_) = node.value else {
            return Some(vec!["CMD-SHELL".to_owned(), self.text(node, "test")?]);
        };
        let test: Vec<String> = self
            .texts(map, "test")
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        match test.first().map(String::as_str) {
            Some("NONE" | "CMD" | "CMD-SHELL") => Some(test),
            None => None,
            Some(first) => {
                let what = format!("healthcheck.test begins with {}", shown(first));
                self.fault(
                    node.at,
                    what,
                    Some("write CMD before the words of the program, or CMD-SHELL before one text"),
                );
                None
            }
        }
    }
}
