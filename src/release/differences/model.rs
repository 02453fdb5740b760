//! A host that is broken in many ways at once, and mended by what mends a real one: the loop and the comparison
//! are the program's own, what a repair does to a host is the model's.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::mend::Mendable;
use super::*;
use crate::model::{AppSettings, ImageRef, InstanceName, Lane, ServiceName, SlotPorts};
use crate::release::endings::Now;
use crate::release::route::route_of;
use crate::store::{AppFile, Running, RunningService};

/// A host with one app, and what it would be like were nothing wrong.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) app: App,
    /// What state says when it can be read.
    pub(super) state: AppState,
    pub(super) app_file_is_damaged: bool,
    pub(super) state_fault: Option<FileFault>,
    pub(super) is_lost: bool,
    pub(super) damaged: Vec<DamagedFile>,
    pub(super) damaged_before: Vec<DamagedFile>,
    pub(super) newer_before: Option<Told>,
    pub(super) unfinished: Vec<Unfinished>,
    pub(super) host: Host,
    pub(super) own: Own,
    pub(super) crashing: BTreeSet<ContainerName>,
    pub(super) port_is_taken: bool,
    pub(super) looks: usize,
}

type ContainerName = (Slot, InstanceName);

fn app() -> App {
    App {
        name: "shop".parse().unwrap(),
        settings: AppSettings::default(),
        file: AppFile {
            index: 1,
            ports: SlotPorts {
                green: 50_100,
                blue: 50_101,
            },
        },
    }
}

pub(super) fn running(slot: Slot, release: u64, instances: u8, stopped: bool) -> Running {
    let third = if slot == Slot::Green { 1 } else { 2 };
    let endpoints = (0..instances).map(|index| format!("10.9.{third}.{index}:80").parse().unwrap());
    let image = ImageRef {
        repository: "127.0.0.1:5000/shop".to_owned(),
        digest: format!("sha256:{release:064}").parse().unwrap(),
    };
    let service = RunningService {
        image,
        endpoints: endpoints.collect(),
    };
    Running {
        release: ReleaseId(release),
        lane: Lane::A,
        commit: None,
        stopped,
        services: [(ServiceName::web(), service)].into(),
    }
}

impl Model {
    /// Two slots, the second of which may be stopped or empty; everything as it should be.
    pub(super) fn well(instances: u8, standby: Option<bool>) -> Self {
        let app = app();
        let mut slots = BTreeMap::from([(Slot::Green, running(Slot::Green, 4, instances, false))]);
        slots.extend(standby.map(|stopped| (Slot::Blue, running(Slot::Blue, 3, instances, stopped))));
        let state = AppState {
            live: Some(Slot::Green),
            slots,
            flips: Vec::new(),
        };
        let proxy = ProxySays {
            routes: Ok(vec![route_of(&app, &state)]),
            out: Vec::new(),
            closed: Vec::new(),
            tries_again: false,
            mismatches: Vec::new(),
            kind: None,
        };
        let mut model = Self {
            app,
            state,
            app_file_is_damaged: false,
            state_fault: None,
            is_lost: false,
            damaged: Vec::new(),
            damaged_before: Vec::new(),
            newer_before: None,
            unfinished: Vec::new(),
            host: Host {
                settings: None,
                engine: Ok(EngineSays {
                    network: None,
                    instances: Vec::new(),
                }),
                proxy,
                disks: Vec::new(),
                visitors: BTreeMap::new(),
                seen: Timestamp::UNIX_EPOCH,
            },
            own: Own::default(),
            crashing: BTreeSet::new(),
            port_is_taken: false,
            looks: 0,
        };
        for slot in model.state.slots.keys().copied().collect::<Vec<_>>() {
            model.start(slot);
        }
        model
    }

    pub(super) fn engine(&mut self) -> &mut EngineSays {
        self.host.engine.as_mut().unwrap()
    }

    pub(super) fn instance(&self, slot: Slot, running: &Running, name: &InstanceName) -> Seen {
        let service = &running.services[&name.service];
        let instance = Instance {
            id: format!("{slot}-{}-{name}", running.release).into(),
            app: self.app.name.clone(),
            slot,
            lane: running.lane,
            name: name.clone(),
            release: running.release,
            image: service.image.clone(),
            commit: None,
            network: "deployer".to_owned(),
            installation: None,
            state: String::new(),
            endpoints: service.endpoints.clone(),
            address: *service.endpoints[usize::from(name.index)].ip(),
            running: !running.stopped,
        };
        let status = match running.stopped {
            true => exited(),
            false => up(),
        };
        Seen {
            instance,
            status: Some(status),
            endings: None,
        }
    }

    /// As recovery does: what is up stays, what is stopped is started, what is gone is made anew.
    fn start(&mut self, slot: Slot) {
        let running = self.state.slots[&slot].clone();
        self.engine().network = None;
        for (name, _) in running.endpoints() {
            let mut seen = self.instance(slot, &running, &name);
            if self.crashing.contains(&(slot, name.clone())) {
                seen.instance.running = false;
                seen.status = Some(exited());
                seen.endings = Some(ended(&name, Now::Ended, 1));
            }
            let id = seen.instance.id.clone();
            let all = &mut self.engine().instances;
            all.retain(|there| there.instance.id != id);
            all.push(seen);
        }
    }

    fn put_route(&mut self) {
        let route = route_of(&self.app, &self.state);
        let port_is_taken = self.port_is_taken;
        let proxy = &mut self.host.proxy;
        proxy.routes = Ok(vec![route]);
        proxy.out.clear();
        proxy.closed.retain(|_| port_is_taken);
        proxy.mismatches.clear();
    }

    pub(super) fn should(&self) -> Should {
        let state = match &self.state_fault {
            Some(fault) => Err(fault.clone()),
            None if self.is_lost => Ok(AppState::default()),
            None => Ok(self.state.clone()),
        };
        Should {
            app: self.app.clone(),
            files: Files {
                state,
                newest_good: self.is_lost.then_some(ReleaseId(4)),
                unfinished: self.unfinished.clone(),
                damaged: self.damaged.clone(),
                damaged_before: self.damaged_before.clone(),
                newer: None,
                newer_before: self.newer_before.clone(),
                is_moving: false,
            },
        }
    }

    pub(super) fn differences(&self) -> Vec<Difference> {
        match self.app_file_is_damaged {
            true => vec![Difference::AppFile(FileFault::Damaged("it is".into()))],
            false => compare(&self.should(), &self.host, &self.own),
        }
    }
}

fn up() -> Status {
    Status::Running {
        since: Timestamp::UNIX_EPOCH,
    }
}

pub(super) fn exited() -> Status {
    Status::Exited {
        code: 1,
        oom: false,
        error: String::new(),
    }
}

pub(super) fn ended(name: &InstanceName, state: Now, times: u64) -> InstanceEndings {
    InstanceEndings {
        name: name.clone(),
        instance: name.index,
        times,
        exact: true,
        last: Timestamp::UNIX_EPOCH,
        restarts: 0,
        oom: false,
        state,
        ways: Vec::new(),
    }
}

impl Mendable for Model {
    async fn look(&mut self) -> Result<Vec<Difference>> {
        self.looks += 1;
        Ok(self.differences())
    }

    async fn mend(&mut self, repair: &Repair) -> Result<Vec<String>> {
        let serves = matches!(
            repair,
            Repair::Start(_) | Repair::Remove(_) | Repair::Route | Repair::Wake
        );
        if serves && (self.app_file_is_damaged || self.state_fault.is_some() || self.is_lost) {
            bail!("{repair:?} goes by what cannot be gone by");
        }
        match repair {
            Repair::AppFile => self.app_file_is_damaged = false,
            Repair::State => (self.state_fault, self.is_lost) = (None, false),
            Repair::PutAside(file) => {
                self.damaged.retain(|damaged| damaged != file);
                self.damaged_before.retain(|damaged| damaged != file);
            }
            Repair::Finish => {
                let before = self.unfinished.len();
                self.unfinished.retain(|release| release.has_worker);
                if before == self.unfinished.len() {
                    return Ok(Vec::new());
                }
            }
            Repair::RemoveLeftovers => self.own.leftovers.clear(),
            Repair::Network => self.engine().network = None,
            Repair::Start(slot) => self.start(*slot),
            Repair::Configuration | Repair::Route | Repair::OpenPorts | Repair::Wake => self.put_route(),
            Repair::Remove(containers) => {
                for id in containers {
                    let is_run = self.state.slots.iter().any(|(slot, running)| {
                        let names = running.endpoints().map(|(name, _)| name);
                        names
                            .map(|name| self.instance(*slot, running, &name))
                            .any(|seen| seen.instance.id == *id)
                    });
                    assert!(!is_run, "{id} is run by a slot, and would be removed");
                }
                let instances = &mut self.engine().instances;
                instances.retain(|seen| !containers.contains(&seen.instance.id));
            }
        }
        Ok(vec![format!("{repair:?}")])
    }
}
