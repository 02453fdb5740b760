//! What can be wrong with the hosts of [`super::model`].

use super::model::{Model, ended, exited, running};
use super::*;
use crate::model::Program;
use crate::release::disks::Room;
use crate::release::endings::Now;

/// Something that is wrong with the model's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
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

impl Model {
    pub(super) fn break_it(&mut self, fault: Fault) {
        match fault {
            Fault::Gone(_)
            | Fault::Stopped(_)
            | Fault::Paused(_)
            | Fault::NeverStarted(_)
            | Fault::Crashes(_)
            | Fault::Stray(_)
            | Fault::NoNetwork => self.break_containers(fault),
            Fault::NoRoute
            | Fault::OldRoute
            | Fault::OldProbes
            | Fault::OtherPorts
            | Fault::ProgramsFile
            | Fault::ProgramIsOld
            | Fault::PortTaken
            | Fault::PortLeftClosed
            | Fault::Out => self.break_proxy(fault),
            Fault::DiskFull | Fault::Branch | Fault::Settings | Fault::Visitors => self.break_host(fault),
            _ => self.break_files(fault),
        }
    }

    fn break_containers(&mut self, fault: Fault) {
        match fault {
            Fault::Gone(at) => {
                let id = self.nth(at).instance.id.clone();
                let of_green = |seen: &&Seen| seen.instance.release == ReleaseId(4);
                // One stays, so that the other faults have something to be of.
                match self.engine().instances.iter().filter(of_green).count() {
                    1 => self.down(at, exited()),
                    _ => self.engine().instances.retain(|seen| seen.instance.id != id),
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
            _ => panic!("{fault:?} is none of containers"),
        }
    }

    fn break_proxy(&mut self, fault: Fault) {
        match fault {
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
                program: Program::Nginx,
                file: "/etc/nginx".into(),
            }),
            Fault::ProgramIsOld => self.host.proxy.mismatches.push(Mismatch::Version {
                program: Program::Nginx,
                listen: "127.0.0.1:80".parse().unwrap(),
            }),
            Fault::PortTaken | Fault::PortLeftClosed => {
                self.port_is_taken |= fault == Fault::PortTaken;
                let (port, reason) = (self.app.ports().green, "port 50100 is taken".to_owned());
                self.host.proxy.closed.push(ClosedPort { port, reason });
            }
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
            _ => panic!("{fault:?} is none of the proxy"),
        }
    }

    fn break_files(&mut self, fault: Fault) {
        let told = "it is not readable".to_owned();
        let file = |name: &str| DamagedFile {
            path: name.into(),
            told: told.clone(),
        };
        match fault {
            Fault::StateDamaged => self.state_fault = Some(FileFault::Damaged(told.into())),
            Fault::StateLost => self.is_lost = true,
            Fault::AppFileDamaged => self.app_file_is_damaged = true,
            Fault::RecordDamaged => self.damaged.push(file("releases/5/journal")),
            Fault::OldRecordDamaged => self.damaged_before.push(file("releases/1/record.json")),
            Fault::OldRecordNewer => self.newer_before = Some(told.into()),
            Fault::Orphan => self.unfinished.push(Unfinished {
                release: ReleaseId(9),
                slot: Slot::Blue,
                has_worker: false,
            }),
            Fault::GitLeftover => self.own.leftovers.push("/git/tmp_pack".into()),
            _ => panic!("{fault:?} is none of files"),
        }
    }

    fn break_host(&mut self, fault: Fault) {
        match fault {
            Fault::DiskFull => self.host.disks.push(FullDisk {
                whose: "Docker",
                path: "/".into(),
                room: Room {
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
            Fault::Settings => {
                self.host.settings = Some(SettingsDiffer::unknown(&anyhow::anyhow!("they differ")))
            }
            Fault::Visitors => {
                let told = Told::new("a visitor is answered 200");
                let app = self.app.name.clone();
                self.host.visitors.insert(app, VisitorsSee::Problem(told));
            }
            _ => panic!("{fault:?} is none of the host"),
        }
    }

    /// The `at`th instance of what runs.
    fn nth(&mut self, at: usize) -> &mut Seen {
        let all = &mut self.engine().instances;
        let number = all
            .iter()
            .filter(|seen| seen.instance.release == ReleaseId(4))
            .count();
        let at = at % number.max(1);
        let mut of_green = all
            .iter_mut()
            .filter(|seen| seen.instance.release == ReleaseId(4));
        of_green.nth(at).expect("an instance of green")
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
}
