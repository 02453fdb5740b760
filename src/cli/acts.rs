//! Which commands change what runs: they are refused while the configuration differs from the settings in force. One
//! table, which does not compile until a new command is in it.

use super::arguments::Command;
use super::{app, config, hook, proxy};

impl Command {
    /// Whether it changes what runs, or what deployer knows about it.
    pub(super) fn acts(&self) -> bool {
        match self {
            Command::App(app::Command::Create { .. } | app::Command::Remove { .. })
            | Command::Hook(
                hook::Command::PreReceive { .. }
                | hook::Command::Update { .. }
                | hook::Command::PostReceive { .. },
            )
            | Command::Redeploy(_)
            | Command::Promote(_)
            | Command::Rollback(_)
            | Command::Recover(_)
            | Command::Prune(_)
            | Command::Proxy(proxy::Command::Switch { .. }) => true,
            // A worker's release was accepted already: it uses the settings in force, not a later edit.
            Command::Worker(_)
            // The proxy keeps serving.
            | Command::Proxy(
                proxy::Command::Run { .. } | proxy::Command::BeforeStart { .. } | proxy::Command::Routes { .. },
            )
            | Command::App(app::Command::List { .. } | app::Command::Show { .. })
            | Command::Status(_)
            | Command::Releases(_)
            | Command::Audit(_)
            | Command::Log(_)
            | Command::Logs(_)
            | Command::Cancel(_)
            | Command::Check(_)
            | Command::Key(_)
            | Command::Config(config::Command::Check)
            | Command::Install(_)
            | Command::Uninstall(_)
            | Command::Completions(_)
            | Command::Files(_)
            | Command::Ssh(_) => false,
        }
    }
}
