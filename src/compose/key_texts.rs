//! Reasons that several keys have in common: each is the end of a sentence.

pub(super) const HOST: &str = "it reaches for the host, which no pushed file may";
pub(super) const PRIVILEGE: &str = "it gives a container power over the host, which no pushed file may";
pub(super) const WALLS: &str = "it opens the wall between this app and the host or other apps";
pub(super) const EXTERNAL: &str = "it names what is not this app's";
pub(super) const NETWORK: &str = "names are answered by the app's own network";
pub(super) const ONE_NETWORK: &str = "the services of an app are in one network";
pub(super) const STANDS: &str = "memory, CPUs and processes are what is limited";
