//! `depends_on` and `links`: what a service waits for.

use std::collections::BTreeMap;

use super::fault::shown;
use super::keys::DEPENDS_ON;
use super::model::{Condition, Dependency};
use super::node::{Map, Value};
use super::reading::Reading;

impl Reading<'_> {
    pub(super) fn depends_on(&mut self, service: &Map) -> BTreeMap<String, Dependency> {
        let mut depends = BTreeMap::new();
        let Some(node) = service.get("depends_on").filter(|node| !node.is_null()) else {
            return depends;
        };
        let Value::Map(map) = &node.value else {
            for (at, name) in self.texts(service, "depends_on") {
                let (condition, required) = (Condition::Started, true);
                depends.insert(
                    name,
                    Dependency {
                        at,
                        condition,
                        required,
                    },
                );
            }
            return depends;
        };
        for (key, node) in &map.0 {
            let mut dependency = Dependency {
                at: key.at,
                condition: Condition::Started,
                required: true,
            };
            if !node.is_null()
                && let Some(map) = self.fields(node, &DEPENDS_ON)
            {
                let wanted = "service_started, service_healthy or service_completed_successfully";
                let said = self.parsed(map, "condition", wanted, condition);
                dependency.condition = said.unwrap_or(Condition::Started);
                dependency.required = self.flag(map, "required").unwrap_or(true);
            }
            depends.insert(key.name.clone(), dependency);
        }
        depends
    }

    /// The services that are linked to, by the name that each has for this one.
    pub(super) fn links(&mut self, service: &Map) -> BTreeMap<String, String> {
        let mut links = BTreeMap::new();
        for (at, text) in self.texts(service, "links") {
            let (other, alias) = text.split_once(':').unwrap_or((&text, &text));
            if other.is_empty() || alias.is_empty() {
                self.fault(
                    at,
                    format!("links: {} is no link", shown(&text)),
                    Some("write SERVICE or SERVICE:NAME"),
                );
                continue;
            }
            links.insert(alias.to_owned(), other.to_owned());
        }
        links
    }
}

fn condition(text: &str) -> Option<Condition> {
    match text {
        "service_started" => Some(Condition::Started),
        "service_healthy" => Some(Condition::Healthy),
        "service_completed_successfully" => Some(Condition::Completed),
        _ => None,
    }
}
