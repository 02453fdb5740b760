//! The comparison.

use super::{Difference, Host, Own, Should, containers, files, routes, state_fault};

/// What differs between what should be of an app and what is.
pub(in crate::release) fn compare(should: &Should, host: &Host, own: &Own) -> Vec<Difference> {
    let mut found: Vec<Difference> = host
        .settings
        .clone()
        .map(Difference::Settings)
        .into_iter()
        .collect();
    let fault = state_fault(&should.app, &should.files, host.proxy.routes.as_deref().ok());
    // Whoever went by such a state would take what serves for too much.
    let state = should.files.state.as_ref().ok().filter(|_| fault.is_none());
    found.extend(fault.map(Difference::State));
    found.extend(files::compare(&should.files));
    found.extend(
        own.leftovers
            .iter()
            .map(|path| Difference::Leftover { path: path.clone() }),
    );
    found.extend(containers::compare(should, state, host, own));
    found.extend(routes::compare(should, state, host, own));
    found.extend(host.disks.iter().cloned().map(Difference::Disk));
    found
}
