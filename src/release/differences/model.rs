//! A host that is broken in many ways at once, and mended by what mends a real one: [`mend`] and [`compare`] are the
//! program's own, what a repair does to a host is the model's.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use proptest::prelude::*;

use super::mend::{Mendable, mend};
use super::*;
use crate::model::{
    AppSettings, ImageRef, InstanceName, Lane, ReleaseId, ServiceName, SlotPorts,
};
use crate::release::endings::Now;
use crate::release::route::route_of;
use crate::store::{AppFile, Running, RunningService};

/// Something that is wrong with the model's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Gone(usize),
    Stopped(usize),
    Paused(usize),
    NeverStarted(usize),
    /// It ends whenever it is started.
    Crashes(usize),
    Stray(u64),
    NoNetwork,
    NoRoute,
    OldRoute,
    OldProbes,
    OtherPorts,
    ProgramsFile,
    ProgramIsOld,
    PortTaken,
    PortLeftClosed,
    StateDamaged,
    StateLost,
    AppFileDamaged,
    RecordDamaged,
    OldRecordDamaged,
    OldRecordNewer,
    Orphan,
    GitLeftover,
    Out,
    DiskFull,
    Branch,
    Settings,
    Visitors,
}

/// A host with one app, and what it would be like were nothing wrong.
#[derive(Debug)]
struct Model {
    app: App,
    /// What state says when it can be read.
    state: AppState,
    app_file_is_damaged: bool,
    state_fault: Option<FileFault>,
    is_lost: bool,
    damaged: Vec<DamagedFile>,
    damaged_before: Vec<DamagedFile>,
    newer_before: Option<String>,
    unfinished: Vec<Unfinished>,
    host: Host,
    own: Own,
    crashing: BTreeSet<ContainerName>,
    port_is_taken: bool,
    looks: usize,
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

fn running(slot: Slot, release: u64, instances: u8, stopped: bool) -> Running {
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
    fn well(instances: u8, standby: Option<bool>) -> Self {
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

    fn engine(&mut self) -> &mut EngineSays {
        self.host.engine.as_mut().unwrap()
    }

    fn instance(&self, slot: Slot, running: &Running, name: &InstanceName) -> Seen {
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

    /// The `at`th instance of what runs.
    fn nth(&mut self, at: usize) -> &mut Seen {
        let all = &mut self.engine().instances;
        let number = all.iter().filter(|seen| seen.instance.release == ReleaseId(4)).count();
        let at = at % number.max(1);
        let mut of_green = all.iter_mut().filter(|seen| seen.instance.release == ReleaseId(4));
        of_green.nth(at).expect("an instance of green")
    }

    fn break_it(&mut self, fault: Fault) {
        let told = "it is not readable".to_owned();
        let file = |name: &str| DamagedFile {
            path: name.into(),
            told: told.clone(),
        };
        match fault {
            Fault::Gone(at) => {
                let id = self.nth(at).instance.id.clone();
                // One stays, so that the other faults have something to be of.
                if self.engine().instances.iter().filter(|it| it.instance.release == ReleaseId(4)).count() > 1 {
                    self.engine().instances.retain(|seen| seen.instance.id != id);
                } else {
                    self.break_it(Fault::Stopped(at));
                }
            }
            Fault::Stopped(at) => self.down(at, exited()),
            Fault::Paused(at) => self.down(at, Status::Paused),
            Fault::NeverStarted(at) => self.down(at, Status::Created),
            Fault::Crashes(at) => {
                let seen = self.nth(at);
                let (slot, name) = (seen.instance.slot, seen.instance.name.clone());
                seen.endings = Some(ended(&name, Now::Restarting, 9));
                seen.instance.running = false;
                self.crashing.insert((slot, name));
            }
            Fault::Stray(release) => {
                let running = running(Slot::Blue, 5 + release, 1, false);
                let name = running.endpoints().next().unwrap().0;
                let stray = self.instance(Slot::Blue, &running, &name);
                self.engine().instances.push(stray);
            }
            Fault::NoNetwork => {
                self.engine().network = Some(NetworkFault::Missing("deployer".to_owned()));
            }
            Fault::NoRoute => self.host.proxy.routes = Ok(Vec::new()),
            Fault::OldRoute => self.change_route(|route| route.live = Some(Slot::Blue)),
            Fault::OldProbes => self.change_route(|route| {
                let green = route.slots.get_mut(&Slot::Green).unwrap();
                green.target.as_mut().unwrap().probe = None;
            }),
            Fault::OtherPorts => self.change_route(|route| {
                route.slots.get_mut(&Slot::Green).unwrap().port = 9;
            }),
            Fault::ProgramsFile => self.host.proxy.mismatches.push(Mismatch::File {
                program: crate::model::Program::Nginx,
                file: "/etc/nginx".into(),
            }),
            Fault::ProgramIsOld => self.host.proxy.mismatches.push(Mismatch::Version {
                program: crate::model::Program::Nginx,
                listen: "127.0.0.1:80".parse().unwrap(),
            }),
            Fault::PortTaken | Fault::PortLeftClosed => {
                self.port_is_taken |= fault == Fault::PortTaken;
                let (port, reason) = (self.app.ports().green, "port 50100 is taken".to_owned());
                self.host.proxy.closed.push(ClosedPort { port, reason });
            }
            Fault::StateDamaged => self.state_fault = Some(FileFault::Damaged(told)),
            Fault::StateLost => self.is_lost = true,
            Fault::AppFileDamaged => self.app_file_is_damaged = true,
            Fault::RecordDamaged => self.damaged.push(file("releases/5/journal")),
            Fault::OldRecordDamaged => self.damaged_before.push(file("releases/1/record.json")),
            Fault::OldRecordNewer => self.newer_before = Some(told),
            Fault::Orphan => self.unfinished.push(Unfinished {
                release: ReleaseId(9),
                slot: Slot::Blue,
                has_worker: false,
            }),
            Fault::GitLeftover => self.own.leftovers.push("/git/tmp_pack".into()),
            Fault::Out => {
                let out = self.nth(0).instance.clone();
                self.host.proxy.out.push(OutInstance {
                    app: out.app,
                    slot: out.slot,
                    index: 0,
                    address: out.endpoints[0],
                    since: Timestamp::UNIX_EPOCH,
                    why: "refused".to_owned(),
                });
            }
            Fault::DiskFull => self.host.disks.push(FullDisk {
                whose: "Docker",
                path: "/".into(),
                room: crate::release::disks::Room {
                    bytes: (0, 9),
                    files: (1, 1),
                },
            }),
            Fault::Branch => self.own.branches.push(Branch {
                slot: Slot::Green,
                release: ReleaseId(4),
                name: "main".to_owned(),
                before: None,
                tip: None,
                released: Some("a".repeat(40).parse().unwrap()),
            }),
            Fault::Settings => self.host.settings = Some(SettingsDiffer::unknown("they differ")),
            Fault::Visitors => {
                let told = told::Told::new("a visitor is answered 200", "");
                let app = self.app.name.clone();
                self.host.visitors.insert(app, VisitorsSee::Problem(told));
            }
        }
    }

    fn down(&mut self, at: usize, status: Status) {
        let seen = self.nth(at);
        seen.instance.running = false;
        seen.endings = matches!(status, Status::Exited { .. })
            .then(|| ended(&seen.instance.name.clone(), Now::Ended, 1));
        seen.status = Some(status);
    }

    fn change_route(&mut self, change: impl FnOnce(&mut AppRoute)) {
        if let Some(route) = self.host.proxy.routes.as_mut().unwrap().first_mut() {
            change(route);
        }
    }

    fn should(&self) -> Should {
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

    fn differences(&self) -> Vec<Difference> {
        match self.app_file_is_damaged {
            true => vec![Difference::AppFile(FileFault::Damaged("it is".to_owned()))],
            false => compare(&self.should(), &self.host, &self.own),
        }
    }
}

fn up() -> Status {
    Status::Running {
        since: Timestamp::UNIX_EPOCH,
    }
}

fn exited() -> Status {
    Status::Exited {
        code: 1,
        oom: false,
        error: String::new(),
    }
}

fn ended(name: &InstanceName, state: Now, times: u64) -> InstanceEndings {
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
        let serves = matches!(repair, Repair::Start(_) | Repair::Remove(_) | Repair::Route | Repair::Wake);
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

fn mended(model: &mut Model) -> mend::Mended {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(mend(model))
}

fn faults() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (0..3_usize).prop_map(Fault::Gone),
        (0..3_usize).prop_map(Fault::Stopped),
        (0..3_usize).prop_map(Fault::Paused),
        (0..3_usize).prop_map(Fault::NeverStarted),
        (0..3_usize).prop_map(Fault::Crashes),
        (0..2_u64).prop_map(Fault::Stray),
        proptest::sample::select(vec![
            Fault::NoNetwork,
            Fault::NoRoute,
            Fault::OldRoute,
            Fault::OldProbes,
            Fault::OtherPorts,
            Fault::ProgramsFile,
            Fault::ProgramIsOld,
            Fault::PortTaken,
            Fault::PortLeftClosed,
            Fault::StateDamaged,
            Fault::StateLost,
            Fault::AppFileDamaged,
            Fault::RecordDamaged,
            Fault::OldRecordDamaged,
            Fault::OldRecordNewer,
            Fault::Orphan,
            Fault::GitLeftover,
            Fault::Out,
            Fault::DiskFull,
            Fault::Branch,
            Fault::Settings,
            Fault::Visitors,
        ]),
    ]
}

/// What `recover` says of a difference that is left; that it could mend it only where an instance ends at once.
fn may_be_left(model: &Model, left: &Difference) -> bool {
    match (left.mended_by(), left.kind()) {
        (MendedBy::Person | MendedBy::Itself, _) => true,
        (MendedBy::Recover, Kind::MissingInstances | Kind::EndedInstance) => !model.crashing.is_empty(),
        (MendedBy::Recover, _) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn after_recovery_nothing_is_left_but_what_it_cannot_mend(
        instances in 1..4_u8,
        standby in proptest::option::of(any::<bool>()),
        all in proptest::collection::vec(faults(), 0..7),
    ) {
        let mut model = Model::well(instances, standby);
        prop_assert_eq!(model.differences(), Vec::new());
        for fault in &all {
            model.break_it(*fault);
        }
        prop_assert_eq!(model.differences().is_empty(), all.is_empty());

        let first = mended(&mut model);

        prop_assert!(first.failed.is_none(), "{:?}", first.failed);
        prop_assert_eq!(&first.left, &model.differences());
        prop_assert!(model.looks <= 7);
        for left in &first.left {
            prop_assert!(may_be_left(&model, left), "{:?}", left);
        }
        let again = mended(&mut model);
        prop_assert_eq!(first.left, again.left);
    }
}

#[test]
fn every_fault_is_a_difference_of_its_own() {
    for (fault, kind) in [
        (Fault::Gone(0), Kind::MissingInstances),
        (Fault::Paused(0), Kind::PausedInstance),
        (Fault::NeverStarted(0), Kind::UnstartedInstance),
        (Fault::Stopped(0), Kind::EndedInstance),
        (Fault::Crashes(0), Kind::CrashingInstance),
        (Fault::Stray(0), Kind::StrayContainers),
        (Fault::NoNetwork, Kind::Network),
        (Fault::NoRoute, Kind::Route),
        (Fault::OldRoute, Kind::Route),
        (Fault::OtherPorts, Kind::Route),
        (Fault::OldProbes, Kind::Probes),
        (Fault::ProgramsFile, Kind::ProxyConfiguration),
        (Fault::ProgramIsOld, Kind::ProxyConfiguration),
        (Fault::PortTaken, Kind::ClosedPort),
        (Fault::StateDamaged, Kind::State),
        (Fault::StateLost, Kind::State),
        (Fault::AppFileDamaged, Kind::AppFile),
        (Fault::RecordDamaged, Kind::DamagedFile),
        (Fault::OldRecordDamaged, Kind::DamagedFile),
        (Fault::OldRecordNewer, Kind::NewerFile),
        (Fault::Orphan, Kind::UnfinishedRelease),
        (Fault::GitLeftover, Kind::Leftover),
        (Fault::Out, Kind::InstanceOut),
        (Fault::DiskFull, Kind::Disk),
        (Fault::Branch, Kind::Branch),
        (Fault::Settings, Kind::Settings),
        (Fault::Visitors, Kind::Visitors),
    ] {
        let mut model = Model::well(2, Some(false));
        model.break_it(fault);
        let kinds: Vec<Kind> = model.differences().iter().map(Difference::kind).collect();
        assert!(kinds.contains(&kind), "{fault:?}: {kinds:?}");
        for difference in model.differences() {
            let told = Problem::of(&model.app.name, &difference);
            assert!(!told.message.is_empty(), "{difference:?}");
            let is_recovers = told.mended_by == MendedBy::Recover;
            assert!(!is_recovers || told.to_string().contains("deployer recover"), "{told}");
            assert!(is_recovers || told.hint.is_some() || fault == Fault::OldRecordNewer || fault == Fault::Settings || fault == Fault::Visitors, "{told}");
        }
    }
}

#[test]
fn nothing_is_taken_for_too_much_while_it_may_be_what_serves() {
    let mut model = Model::well(1, None);
    model.break_it(Fault::Stray(0));
    let mut should = model.should();
    let strays = |should: &Should| {
        let found = compare(should, &model.host, &model.own);
        found.iter().any(|difference| difference.kind() == Kind::StrayContainers)
    };
    assert!(strays(&should));
    // It is what a release has started that somebody works on, or will finish.
    should.files.unfinished = vec![Unfinished {
        release: ReleaseId(5),
        slot: Slot::Blue,
        has_worker: true,
    }];
    assert!(!strays(&should));
    should.files.unfinished.clear();
    should.files.newer = Some("a newer deployer knows".to_owned());
    assert!(!strays(&should));
    should.files.newer = None;
    should.files.is_moving = true;
    assert!(!strays(&should));
    should.files.is_moving = false;
    should.files.state = Err(FileFault::Damaged("it is".to_owned()));
    assert!(!strays(&should));
    should.files.state = Ok(AppState::default());
    should.files.newest_good = Some(ReleaseId(4));
    assert!(!strays(&should));
}

#[test]
fn what_fails_keeps_nothing_else_from_being_mended() {
    struct Failing(Model);
    impl Mendable for Failing {
        async fn look(&mut self) -> Result<Vec<Difference>> {
            self.0.look().await
        }
        async fn mend(&mut self, repair: &Repair) -> Result<Vec<String>> {
            match repair {
                Repair::Start(Slot::Blue) => bail!("the image is gone"),
                repair => self.0.mend(repair).await,
            }
        }
    }
    let mut model = Model::well(1, Some(false));
    for fault in [Fault::Stopped(0), Fault::NoRoute, Fault::Stray(0)] {
        model.break_it(fault);
    }
    model.engine().instances.retain(|seen| seen.instance.release != ReleaseId(3));
    let mut failing = Failing(model);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mended = runtime.block_on(mend(&mut failing));
    assert_eq!(mended.failed.unwrap().to_string(), "the image is gone");
    let left: Vec<Kind> = mended.left.iter().map(Difference::kind).collect();
    assert_eq!(left, [Kind::MissingInstances]);
}

#[test]
fn every_kind_is_in_the_reference() {
    let page = include_str!("../../../docs/reference/json.md");
    for kind in Kind::ALL {
        let word = serde_json::to_value(kind).unwrap();
        let row = format!("| `{}` |", word.as_str().unwrap());
        assert!(page.contains(&row), "docs/reference/json.md has no row {row}");
    }
}
