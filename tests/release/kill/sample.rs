//! Chance that can be had again: a small generator whose seed is told.

/// A sequence of numbers that follows from its seed.
pub(super) struct Random(u64);

impl Random {
    /// By the seed of `DEPLOYER_KILL_SEED`, else by one of the clock's; says which.
    pub(super) fn of_this_run() -> Self {
        let given = std::env::var("DEPLOYER_KILL_SEED").ok();
        let seed = given.map_or_else(
            || {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                now.map_or(1, |now| now.as_micros() as u64)
            },
            |seed| seed.parse().expect("DEPLOYER_KILL_SEED is a number"),
        );
        println!("DEPLOYER_KILL_SEED={seed}");
        Self(seed)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    /// Puts `all` into a random order.
    pub(super) fn shuffle<T>(&mut self, all: &mut [T]) {
        for end in (1..all.len()).rev() {
            all.swap(end, self.below(end + 1));
        }
    }
}
