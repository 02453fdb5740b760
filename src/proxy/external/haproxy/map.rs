//! The map: which backend each door goes to.
//!
//! `shop` is the public port, `shop/green` and `shop/blue` are the slot ports; the value is a backend's name, such as
//! `deployer.shop.green.a`. A door that is not in it answers 503.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::super::kept::Choice;
use crate::ground::durable;
use crate::model::{AppName, Lane, Slot};

/// HAProxy reads it as root; who looks after the server may read it too.
const MODE: u32 = 0o644;

/// Backends by door.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Map {
    entries: BTreeMap<String, String>,
}

impl Map {
    /// The map of these choices.
    pub(super) fn of(choices: &[Choice]) -> Self {
        let mut entries = BTreeMap::new();
        for Choice { app, live, lanes } in choices {
            for (slot, lane) in lanes {
                let backend = format!("deployer.{app}.{slot}.{lane}");
                if *live == Some(*slot) {
                    entries.insert(app.to_string(), backend.clone());
                }
                entries.insert(format!("{app}/{slot}"), backend);
            }
        }
        Self { entries }
    }

    /// The map that lines of `DOOR BACKEND` tell of.
    pub(super) fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let entries = lines.filter_map(|line| {
            let (door, backend) = line.trim().split_once(char::is_whitespace)?;
            Some((door.to_owned(), backend.trim().to_owned()))
        });
        Self {
            entries: entries.collect(),
        }
    }

    /// Whether every door answers 503.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reads the file.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::parse(std::fs::read_to_string(path)?.lines()))
    }

    /// Whether the file is as it would be written.
    pub(super) fn is_in(&self, path: &Path) -> bool {
        std::fs::read_to_string(path).is_ok_and(|text| text == self.text())
    }

    /// Writes the file; when this returns it survives a crash.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        durable::replace(path, MODE, self.text().as_bytes())
    }

    fn text(&self) -> String {
        self.entries
            .iter()
            .fold(String::new(), |mut text, (door, backend)| {
                let _ = writeln!(text, "{door} {backend}");
                text
            })
    }

    /// The backends that doors go to.
    pub(super) fn backends(&self) -> impl Iterator<Item = &str> {
        self.entries.values().map(String::as_str)
    }

    /// The map with every door of this one and of `other` going to `backend`.
    pub(super) fn all_to(&self, backend: &str, other: &Self) -> Self {
        let doors = self.entries.keys().chain(other.entries.keys());
        Self {
            entries: doors.map(|door| (door.clone(), backend.to_owned())).collect(),
        }
    }

    /// The orders that make `self`, which is the map at `path` in a worker, into `wanted`. Each changes one door.
    pub(super) fn changes(&self, wanted: &Self, path: &Path) -> Vec<String> {
        let path = path.display();
        let mut orders = Vec::new();
        for (door, backend) in &wanted.entries {
            match self.entries.get(door) {
                Some(has) if has == backend => {}
                Some(_) => orders.push(format!("set map {path} {door} {backend}")),
                None => orders.push(format!("add map {path} {door} {backend}")),
            }
        }
        let gone = self
            .entries
            .keys()
            .filter(|door| !wanted.entries.contains_key(*door));
        orders.extend(gone.map(|door| format!("del map {path} {door}")));
        orders
    }

    /// Whether the doors of `app` go where they do in `other`.
    pub(super) fn is_for_like(&self, app: &AppName, other: &Self) -> bool {
        doors(app)
            .iter()
            .all(|door| self.entries.get(door) == other.entries.get(door))
    }

    /// What is chosen for `app`. A public port that goes to no lane of a slot that the slot's own port goes to has no
    /// live slot.
    pub(super) fn choice(&self, app: &AppName) -> Choice {
        let place = |door: &str| {
            let (slot, lane) = self
                .entries
                .get(door)?
                .strip_prefix(&format!("deployer.{app}."))?
                .split_once('.')?;
            let slot: Slot = slot.parse().ok()?;
            let lane = [Lane::A, Lane::B]
                .into_iter()
                .find(|known| known.to_string() == lane)?;
            Some((slot, lane))
        };
        let lanes: BTreeMap<Slot, Lane> = Slot::BOTH
            .into_iter()
            .filter_map(|slot| place(&format!("{app}/{slot}")).filter(|(of, _)| *of == slot))
            .collect();
        let live = place(app.as_str()).filter(|(slot, lane)| lanes.get(slot) == Some(lane));
        Choice {
            app: app.clone(),
            live: live.map(|(slot, _)| slot),
            lanes,
        }
    }
}

fn doors(app: &AppName) -> [String; 3] {
    let [blue, green] = Slot::BOTH.map(|slot| format!("{app}/{slot}"));
    [app.to_string(), blue, green]
}

#[cfg(test)]
mod tests {
    use super::super::super::kept::every_choice;
    use super::*;

    fn shop() -> AppName {
        "shop".parse().unwrap()
    }

    /// A worker that does what it is told.
    fn told(map: &Map, orders: &[String]) -> Map {
        let mut map = map.clone();
        for order in orders {
            let words: Vec<&str> = order.split(' ').collect();
            let done = match words.as_slice() {
                ["set", "map", "/m", door, to] => map.entries.insert((*door).into(), (*to).into()).is_some(),
                ["add", "map", "/m", door, to] => map.entries.insert((*door).into(), (*to).into()).is_none(),
                ["del", "map", "/m", door] => map.entries.remove(*door).is_some(),
                _ => false,
            };
            assert!(done, "{order}");
        }
        map
    }

    #[test]
    fn a_choice_is_read_as_it_was_written_and_every_change_leads_to_it() {
        for before in every_choice(&shop()) {
            let former = Map::of(std::slice::from_ref(&before));
            assert_eq!(former.choice(&shop()), before);
            assert_eq!(Map::parse(former.text().lines()), former);
            for after in every_choice(&shop()) {
                let wanted = Map::of(std::slice::from_ref(&after));
                let orders = former.changes(&wanted, Path::new("/m"));
                assert_eq!(told(&former, &orders), wanted);
                assert_eq!(former.is_for_like(&shop(), &wanted), before == after);
            }
            assert_eq!(former.changes(&former, Path::new("/m")), [""; 0]);
        }
    }

    #[test]
    fn a_map_that_no_choice_makes_has_nothing_live() {
        for lines in [
            "shop deployer.shop.green.a",
            "shop deployer.shop.green.a\nshop/green deployer.shop.green.b",
            "shop deployer.other.green.a\nshop/green deployer.shop.green.a",
            "shop nonsense\nshop/green deployer.shop.green.a",
        ] {
            assert_eq!(Map::parse(lines.lines()).choice(&shop()).live, None, "{lines}");
        }
        let crossed = Map::parse("shop/green deployer.shop.blue.a".lines());
        assert!(crossed.choice(&shop()).lanes.is_empty());
    }
}
