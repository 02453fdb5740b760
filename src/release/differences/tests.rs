//! What holds of the comparison and of mending, on the hosts of [`super::model`].

use anyhow::{Result, bail};
use proptest::prelude::*;

use super::faults::Fault;
use super::mend::{Mendable, mend};
use super::model::Model;
use super::*;
use crate::model::InstanceName;
use crate::release::route::route_of;
use crate::store::Running;

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

/// Whether the host serves what its state says and nothing else, looked at without the comparison.
fn serves(model: &Model) -> bool {
    let instances = &model.host.engine.as_ref().unwrap().instances;
    let runs = |slot: Slot, name: InstanceName| {
        let mut seen = instances.iter().filter(|seen| {
            let instance = &seen.instance;
            (instance.slot, &instance.name) == (slot, &name) && instance.release < ReleaseId(5)
        });
        seen.any(|seen| seen.instance.running) || model.crashing.contains(&(slot, name.clone()))
    };
    let slots = || model.state.slots.iter().filter(|(_, running)| !running.stopped);
    let all_run = slots().all(|(slot, running)| running.endpoints().all(|(name, _)| runs(*slot, name)));
    let wanted: usize = model.state.slots.values().map(Running::instances).sum();
    let route = route_of(&model.app, &model.state);
    all_run && instances.len() == wanted && model.host.proxy.routes == Ok(vec![route])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

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
        prop_assert!(serves(&model), "{:?}", model);
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
            assert!(
                !is_recovers || told.to_string().contains("deployer recover"),
                "{told}"
            );
            assert!(
                is_recovers
                    || !told.hints.is_empty()
                    || fault == Fault::OldRecordNewer
                    || fault == Fault::Settings
                    || fault == Fault::Visitors,
                "{told}"
            );
        }
    }
}

#[test]
fn nothing_is_taken_for_too_much_while_it_may_be_what_serves() {
    let mut model = Model::well(1, None);
    model.break_it(Fault::Stray(0));
    let mut should = model.should();
    let strays_of = |should: &Should, own: &Own| {
        let found = compare(should, &model.host, own);
        found
            .iter()
            .any(|difference| difference.kind() == Kind::StrayContainers)
    };
    let strays = |should: &Should| strays_of(should, &model.own);
    assert!(strays(&should));
    // It is what a release has started that somebody works on, or will finish.
    should.files.unfinished = vec![Unfinished {
        release: ReleaseId(5),
        slot: Slot::Blue,
        has_worker: true,
    }];
    assert!(!strays(&should));
    should.files.unfinished.clear();
    let at_work = Own {
        at_work: [ReleaseId(5)].into(),
        ..Own::default()
    };
    assert!(!strays_of(&should, &at_work));
    should.files.newer = Some("a newer deployer knows".into());
    assert!(!strays(&should));
    should.files.newer = None;
    should.files.is_moving = true;
    assert!(!strays(&should));
    should.files.is_moving = false;
    should.files.state = Err(FileFault::Damaged("it is".into()));
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
    model
        .engine()
        .instances
        .retain(|seen| seen.instance.release != ReleaseId(3));
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
