//! What is kept of the routes: each with the lanes that stand in the configuration, and what is chosen among them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

use crate::model::{AddressPlan, AppName, Lane, ReleaseId, Slot, Subnet};
use crate::proxy::answers::OutInstance;
use crate::proxy::error::ProxyError;
use crate::proxy::route::{AppRoute, Target};

/// The routes of a program that is not deployer's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The token for a check; stands in the configuration.
    pub(super) check: String,
    /// Where deployer asks the program; none where an older deployer wrote this.
    #[serde(default)]
    pub(super) door: Option<SocketAddrV4>,
    /// By the app's name.
    pub(super) apps: BTreeMap<AppName, KeptRoute>,
    /// Slot ports that are left out of the configuration, since somebody else has them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) closed: BTreeSet<u16>,
}

/// One app's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptRoute {
    pub(super) route: AppRoute,
    /// The upstreams of each lane, whether anything runs there or not.
    pub(super) lanes: BTreeMap<Slot, BTreeMap<Lane, Vec<SocketAddrV4>>>,
}

/// What is chosen for one app among the lanes that stand in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) app: AppName,
    /// The slot that the public port goes to; none: 503.
    pub(super) live: Option<Slot>,
    /// The lane that each slot's requests go to; a slot that is not here answers 503.
    pub(super) lanes: BTreeMap<Slot, Lane>,
}

/// An instance that the program itself has found to be down.
#[derive(Debug, Clone)]
pub(super) struct Down {
    pub(super) app: AppName,
    pub(super) address: SocketAddrV4,
    pub(super) since: jiff::Timestamp,
    pub(super) why: String,
}

impl Kept {
    /// No route.
    pub(super) fn new(check: String) -> Self {
        Self {
            check,
            door: None,
            apps: BTreeMap::new(),
            closed: BTreeSet::new(),
        }
    }

    /// Whether no app has a route.
    pub(super) fn is_new(&self) -> bool {
        self.apps.is_empty()
    }

    /// Every route, as deployer wants it.
    pub(super) fn routes(&self) -> impl Iterator<Item = &AppRoute> + Clone {
        self.apps.values().map(|kept| &kept.route)
    }

    /// Puts `route` in the place of its app's former one.
    ///
    /// # Errors
    /// When an upstream is not at a planned address.
    pub(super) fn put(&mut self, route: &AppRoute, subnet: Subnet) -> Result<(), ProxyError> {
        let former = self.apps.get(&route.app).map(|kept| &kept.lanes);
        let lanes = lanes(route, former, subnet)?;
        let route = route.clone();
        self.apps.insert(route.app.clone(), KeptRoute { route, lanes });
        Ok(())
    }

    /// Removes the route of `app`; false where there is none.
    pub(super) fn remove(&mut self, app: &AppName) -> bool {
        self.apps.remove(app).is_some()
    }

    /// Removes the routes of all apps but those that `stays` names.
    pub(super) fn retain(&mut self, stays: impl Fn(&AppName) -> bool) {
        self.apps.retain(|app, _| stays(app));
    }

    /// Every slot port that is routed.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.routes().flat_map(AppRoute::ports)
    }

    /// What the routes choose.
    pub(super) fn choices(&self) -> Vec<Choice> {
        self.apps.values().map(KeptRoute::choice).collect()
    }

    /// The routes as `chosen` has them.
    pub(super) fn routes_as(&self, chosen: &[Choice]) -> Vec<AppRoute> {
        let choice_of = |app: &AppName| chosen.iter().find(|choice| choice.app == *app);
        self.apps
            .values()
            .map(|kept| kept.route_as(choice_of(&kept.route.app)))
            .collect()
    }

    /// Which release of `app` it is that `APP/SLOT/LANE` tells of; none where it is another app's, or the lane is not
    /// the one that the slot's release is on.
    pub(super) fn release(&self, app: &AppName, told: &str) -> Option<(Slot, ReleaseId)> {
        let (slot, lane) = told
            .strip_prefix(app.as_str())?
            .strip_prefix('/')?
            .split_once('/')?;
        let (slot, kept): (Slot, _) = (slot.parse().ok()?, self.apps.get(app)?);
        let is_there = kept.lane_of(slot)?.to_string() == lane;
        let target = kept.route.slots.get(&slot)?.target.as_ref()?;
        is_there.then_some((slot, target.release))
    }

    /// Those of the instances that are down that requests go to.
    pub(super) fn routed_of(&self, down: Vec<Down>) -> Vec<OutInstance> {
        let routed = down.into_iter().filter_map(|down| {
            let (slot, index) = self.apps.get(&down.app)?.place_of(down.address)?;
            Some(OutInstance {
                app: down.app,
                slot,
                index,
                address: down.address,
                since: down.since,
                why: down.why,
            })
        });
        routed.collect()
    }
}

impl KeptRoute {
    fn choice(&self) -> Choice {
        let lanes = Slot::BOTH
            .into_iter()
            .filter_map(|slot| Some((slot, self.lane_of(slot)?)));
        let lanes: BTreeMap<Slot, Lane> = lanes.collect();
        Choice {
            app: self.route.app.clone(),
            live: self.route.live.filter(|live| lanes.contains_key(live)),
            lanes,
        }
    }

    /// The lane of what a slot runs.
    fn lane_of(&self, slot: Slot) -> Option<Lane> {
        let target = self.route.slots.get(&slot)?.target.as_ref()?;
        let lanes = self.lanes.get(&slot)?;
        let lane = lanes
            .iter()
            .find(|(_, upstreams)| **upstreams == target.upstreams)?;
        Some(*lane.0)
    }

    fn route_as(&self, chosen: Option<&Choice>) -> AppRoute {
        let mut route = self.route.clone();
        let wanted = self.choice();
        for (slot, of) in &mut route.slots {
            let chosen = chosen.and_then(|chosen| chosen.lanes.get(slot));
            if chosen != wanted.lanes.get(slot) {
                of.target = None;
            }
        }
        if wanted.live != chosen.and_then(|chosen| chosen.live) {
            route.live = chosen.and_then(|chosen| chosen.live);
        }
        route
    }

    /// The slot and number of the instance at `address`, where requests go to it.
    fn place_of(&self, address: SocketAddrV4) -> Option<(Slot, usize)> {
        self.route.slots.iter().find_map(|(slot, of)| {
            let upstreams = &of.target.as_ref()?.upstreams;
            Some((*slot, upstreams.iter().position(|upstream| *upstream == address)?))
        })
    }
}

/// The lanes of every slot that `route` has. A lane that nothing is known of is like its slot's other one, else like
/// the other slot's: so the next release finds its lane there, and needs no reload.
fn lanes(
    route: &AppRoute,
    former: Option<&BTreeMap<Slot, BTreeMap<Lane, Vec<SocketAddrV4>>>>,
    subnet: Subnet,
) -> Result<BTreeMap<Slot, BTreeMap<Lane, Vec<SocketAddrV4>>>, ProxyError> {
    let mut lanes: BTreeMap<Slot, BTreeMap<Lane, Vec<SocketAddrV4>>> = former.cloned().unwrap_or_default();
    let mut like = None;
    for (slot, of) in &route.slots {
        let Some(target) = &of.target else { continue };
        let (lane, index) = place(*slot, target, subnet)?;
        lanes
            .entry(*slot)
            .or_default()
            .insert(lane, target.upstreams.clone());
        if like.is_none() || route.live == Some(*slot) {
            like = Some((index, target));
        }
    }
    let Some((index, like)) = like else {
        return Ok(lanes);
    };
    let plan = AddressPlan::new(subnet, index).map_err(|error| ProxyError::refused(error.to_string()))?;
    let port = like.upstreams.first().map_or(0, SocketAddrV4::port);
    let count = u8::try_from(like.upstreams.len()).unwrap_or(u8::MAX);
    for slot in route.slots.keys() {
        let lanes = lanes.entry(*slot).or_default();
        for lane in [Lane::A, Lane::B] {
            let (count, port) = match lanes.get(&lane.other()) {
                Some(other) => (
                    u8::try_from(other.len()).unwrap_or(u8::MAX),
                    other.first().map_or(port, SocketAddrV4::port),
                ),
                None => (count, port),
            };
            let planned =
                || (0..count).map(|index| SocketAddrV4::new(plan.address(*slot, lane, index), port));
            lanes.entry(lane).or_insert_with(|| planned().collect());
        }
    }
    Ok(lanes)
}

/// The lane of a slot's target, and the index of its app.
fn place(slot: Slot, target: &Target, subnet: Subnet) -> Result<(Lane, u32), ProxyError> {
    let first = target.upstreams.first().map(|upstream| *upstream.ip());
    let place = first.and_then(|address| {
        let (of, lane, _) = AddressPlan::place_of(subnet, address)?;
        (of == slot).then_some((lane, AddressPlan::index_of(subnet, address)?))
    });
    place.ok_or_else(|| {
        ProxyError::refused(format!(
            "the instances of {slot} release {} are not at the addresses that are planned for it in {subnet}",
            target.release
        ))
    })
}

/// Everything that can be chosen for `app`.
#[cfg(test)]
pub(super) fn every_choice(app: &AppName) -> Vec<Choice> {
    let lanes = [None, Some(Lane::A), Some(Lane::B)];
    let mut choices = Vec::new();
    for live in [None, Some(Slot::Blue), Some(Slot::Green)] {
        for (blue, green) in lanes.iter().flat_map(|blue| lanes.map(|green| (*blue, green))) {
            let lanes: BTreeMap<Slot, Lane> = [(Slot::Blue, blue), (Slot::Green, green)]
                .into_iter()
                .filter_map(|(slot, lane)| Some((slot, lane?)))
                .collect();
            if live.is_none_or(|live| lanes.contains_key(&live)) {
                let app = app.clone();
                choices.push(Choice { app, live, lanes });
            }
        }
    }
    choices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::route::SlotRoute;

    fn subnet() -> Subnet {
        "10.213.0.0/16".parse().unwrap()
    }

    fn target(release: u64, slot: Slot, lane: Lane, count: u8) -> Target {
        let plan = AddressPlan::new(subnet(), 3).unwrap();
        Target {
            release: ReleaseId(release),
            upstreams: (0..count)
                .map(|index| SocketAddrV4::new(plan.address(slot, lane, index), 8080))
                .collect(),
            probe: None,
        }
    }

    fn route(live: Option<Slot>, blue: Option<Target>, green: Option<Target>) -> AppRoute {
        let slot = |port, target| SlotRoute { port, target };
        AppRoute {
            app: "shop".parse().unwrap(),
            hosts: Vec::new(),
            response_timeout: None,
            body_timeout: None,
            live,
            slots: [(Slot::Blue, slot(1, blue)), (Slot::Green, slot(2, green))].into(),
            trailers: false,
        }
    }

    fn kept(route: &AppRoute) -> Kept {
        let mut kept = Kept::new("token".to_owned());
        kept.put(route, subnet()).unwrap();
        kept
    }

    #[test]
    fn the_first_release_brings_every_lane_and_the_next_ones_change_none() {
        let mut kept = kept(&route(
            Some(Slot::Green),
            None,
            Some(target(1, Slot::Green, Lane::A, 2)),
        ));
        let lanes = kept.apps.values().next().unwrap().lanes.clone();
        assert_eq!(
            lanes[&Slot::Blue][&Lane::B],
            target(9, Slot::Blue, Lane::B, 2).upstreams
        );
        for (live, blue, green) in [
            (Slot::Green, (2, Lane::A), (1, Lane::A)),
            (Slot::Blue, (2, Lane::A), (3, Lane::B)),
            (Slot::Green, (4, Lane::B), (3, Lane::B)),
        ] {
            let blue = target(blue.0, Slot::Blue, blue.1, 2);
            let green = target(green.0, Slot::Green, green.1, 2);
            kept.put(&route(Some(live), Some(blue), Some(green)), subnet())
                .unwrap();
            assert_eq!(kept.apps.values().next().unwrap().lanes, lanes);
            assert_eq!(kept.choices()[0].live, Some(live));
        }
        assert_eq!(
            kept.choices()[0].lanes,
            [(Slot::Blue, Lane::B), (Slot::Green, Lane::B)].into()
        );
    }

    #[test]
    fn more_instances_change_the_lane_that_they_are_on_alone() {
        let one = target(1, Slot::Green, Lane::A, 1);
        let mut kept = kept(&route(Some(Slot::Green), None, Some(one.clone())));
        let three = target(2, Slot::Green, Lane::B, 3);
        kept.put(&route(Some(Slot::Green), None, Some(three.clone())), subnet())
            .unwrap();
        let lanes = &kept.apps.values().next().unwrap().lanes[&Slot::Green];
        assert_eq!(lanes[&Lane::A], one.upstreams);
        assert_eq!(lanes[&Lane::B], three.upstreams);
    }

    #[test]
    fn a_choice_that_is_another_one_is_seen_in_the_route() {
        let blue = target(1, Slot::Blue, Lane::A, 1);
        let green = target(2, Slot::Green, Lane::B, 1);
        let wanted = route(Some(Slot::Green), Some(blue), Some(green));
        let kept = kept(&wanted);
        let mut choice = kept.choices().remove(0);
        assert_eq!(
            kept.routes_as(std::slice::from_ref(&choice)),
            std::slice::from_ref(&wanted)
        );
        choice.live = Some(Slot::Blue);
        choice.lanes.insert(Slot::Green, Lane::A);
        let seen = kept.routes_as(&[choice]).remove(0);
        assert_eq!(seen.live, Some(Slot::Blue));
        assert_eq!(seen.slots[&Slot::Green].target, None);
        assert_eq!(seen.slots[&Slot::Blue], wanted.slots[&Slot::Blue]);
        assert_eq!(kept.routes_as(&[])[0].live, None);
    }

    #[test]
    fn an_answer_names_a_release_only_from_its_own_lane() {
        let kept = kept(&route(
            Some(Slot::Green),
            None,
            Some(target(7, Slot::Green, Lane::B, 1)),
        ));
        let shop = "shop".parse().unwrap();
        assert_eq!(
            kept.release(&shop, "shop/green/b"),
            Some((Slot::Green, ReleaseId(7)))
        );
        for other in [
            "shop/green/a",
            "shop/blue/b",
            "other/green/b",
            "shop",
            "shopgreen/b",
            "",
        ] {
            assert_eq!(kept.release(&shop, other), None, "{other:?}");
        }
    }

    #[test]
    fn an_address_that_is_not_planned_is_refused() {
        let mut stray = target(1, Slot::Blue, Lane::A, 1);
        stray.upstreams = vec!["192.0.2.1:80".parse().unwrap()];
        let mut kept = Kept::new(String::new());
        assert!(kept.put(&route(None, Some(stray), None), subnet()).is_err());
        let of_green = target(1, Slot::Green, Lane::A, 1);
        assert!(kept.put(&route(None, Some(of_green), None), subnet()).is_err());
    }
}
