//! Compose files: what deployer reads against what `docker compose config` says, what a file may cost, and `deployer check`.

mod bounds;
mod check;
mod corpus;
mod oracle;
mod ours;
