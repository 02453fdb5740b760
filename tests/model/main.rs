//! The release's way, model checked: commands given at any moment in any order, a kill anywhere, a step that fails, a
//! proxy that is killed. What comes next is decided by the program's own [`deployer::release::next`]; every state that
//! can be reached is looked at.

mod system;
mod world;

use std::time::Instant;

use deployer::model::Slot::{Blue, Green};
use stateright::{Checker, HasDiscoveries, Model as _, Property};

use system::{Command, Mutant, System};
use world::{Release, World};

/// What must hold, and that the model gets to where it matters.
fn properties() -> Vec<Property<System>> {
    vec![
        Property::always("something healthy is routed", |_, now: &World| {
            let live = now.route.live.and_then(|slot| now.route.slots[slot as usize]);
            live.is_some_and(|routed| now.is_healthy(routed))
        }),
        Property::always("a slot's own port has something healthy", |_, now: &World| {
            let mut routed = now.route.slots.iter().flatten();
            routed.all(|routed| now.is_healthy(*routed))
        }),
        Property::always("what runs or is routed is not pruned", |_, now: &World| {
            let mut runs = now.state.slots.iter().chain(&now.route.slots).flatten();
            runs.all(|one| now.images.contains(&now.image_of(one.release)))
        }),
        Property::always("what a rollback goes back to is not pruned", |_, now: &World| {
            let open = now.releases.iter().filter(|one| !one.has_ended());
            let mut targets = open.filter_map(Release::goes_back_to);
            targets.all(|target| now.images.contains(&target))
        }),
        Property::always("no lane is cleared that is routed", |_, now: &World| {
            !now.lane_was_routed
        }),
        Property::always("the last word about what is live holds", |_, now: &World| {
            !now.last_word_was_lost
        }),
        Property::always("in the end all agree", |_, now: &World| {
            !now.was_recovered || (now.route == now.state && now.runs_what_state_says())
        }),
        Property::eventually("every release ends", |system, now: &World| {
            now.given == system.commands.len() && now.releases.iter().all(Release::has_ended)
        }),
        Property::sometimes(
            "a push is superseded, where two go to one slot",
            |system, now: &World| now.any_ended("superseded") || !system.has_two_pushes_to_one_slot(),
        ),
        Property::sometimes(
            "a release goes live after its worker was killed",
            |_, now: &World| {
                let mut all = now.releases.iter();
                now.crashes > 0 && all.any(|one| one.was_resumed() && one.ended() == Some("live"))
            },
        ),
        Property::sometimes("a later decision overtakes a build", |_, now: &World| {
            now.releases.iter().any(Release::was_decided_later)
        }),
        Property::sometimes("a killed release is taken back", |_, now: &World| {
            now.any_ended("interrupted")
        }),
    ]
}

/// Looks at every state of the system, and says how many there are. A system with a fault is looked at until `found`.
fn check(system: System, found: Option<&'static str>) -> impl Checker<System> {
    let (began, told) = (Instant::now(), system.to_string());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut checker = system.checker().threads(threads);
    if let Some(found) = found {
        checker = checker.finish_when(HasDiscoveries::AllOf([found].into()));
    }
    let checked = checker.spawn_bfs().join();
    println!(
        "{told}: {} states, at most {} steps deep, in {:.1?}",
        checked.unique_state_count(),
        checked.max_depth(),
        began.elapsed()
    );
    checked
}

fn two_pushers_and_a_rollback() -> System {
    System::new([Command::Push(Green), Command::Push(Blue), Command::RollBack(Blue)])
}

#[test]
fn pushes_to_both_slots_and_a_rollback_keep_something_healthy_routed_whatever_is_killed() {
    check(two_pushers_and_a_rollback(), None).assert_properties();
}

#[test]
fn two_pushes_to_one_slot_and_a_rollback_keep_something_healthy_routed_whatever_is_killed() {
    let system = System::new([Command::Push(Blue), Command::Push(Blue), Command::RollBack(Blue)]);
    check(system, None).assert_properties();
}

#[test]
fn a_push_a_promotion_and_a_rollback_get_over_two_kills() {
    let commands = [
        Command::Push(Green),
        Command::Promote(Blue),
        Command::RollBack(Blue),
    ];
    let system = System {
        crashes: 2,
        failures: 0,
        ..System::new(commands)
    };
    check(system, None).assert_properties();
}

/// The properties notice what would go wrong: each of these faults leads to what must not be.
#[test]
fn every_fault_of_the_model_is_found() {
    let faults = [
        (Mutant::RetireBeforeFlip, "something healthy is routed"),
        (Mutant::ForgetTheIntent, "something healthy is routed"),
        (Mutant::ForgetTheLane, "something healthy is routed"),
        (Mutant::PruneWithoutSlots, "what runs or is routed is not pruned"),
        (Mutant::NoRecovery, "every release ends"),
        (
            Mutant::ForgetWhatWasDecided,
            "the last word about what is live holds",
        ),
    ];
    for (mutant, property) in faults {
        // None of them needs a proxy that is killed, or a step that fails.
        let system = System {
            failures: 0,
            proxy_kills: 0,
            ..two_pushers_and_a_rollback()
        };
        let checked = check(system.with(mutant), Some(property));
        checked.assert_any_discovery(property);
    }
}
