//! Faults of what a release works with: its registry, its disks, its own files, the clock.

mod clock;
mod disk;
mod proxy;
mod registry;
mod state;

/// Numbers that look random and follow from a seed: `SEED` in the environment, else one of this moment.
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    fn seeded() -> Self {
        let seed = match std::env::var("SEED") {
            Ok(seed) => seed.parse().expect("SEED is a number"),
            Err(_) => {
                u64::from(std::process::id()) ^ std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
            }
        };
        Self { seed, state: seed }
    }

    /// A number below `end` (splitmix64).
    fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = mixed ^ (mixed >> 31);
        usize::try_from(mixed % end as u64).expect("it is below a usize")
    }
}
