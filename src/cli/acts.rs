//! Which commands change what runs: they are refused where the configuration says something else than what is in force.
//! One table, in which a new command has no place until somebody gives it one.

use super::{Command, app, config, hook, proxy};

impl Command {
    /// Whether it changes what runs, or what is known of it.
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
            // A worker's release was let in: it goes by what is in force, whatever was edited meanwhile.
            Command::Worker(_)
            // What serves goes on serving.
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
