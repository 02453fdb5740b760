//! What visitors of an app see, beside what deployer sees of it.

use std::time::Duration;

use super::context::{App, Context};
use super::messages::{self, VisitorsSee};
use super::route::asked_for;
use crate::proxy::Backend;

/// Looks at the public port of `proxy` as a visitor of `app` does, `within` that time; none where the app answers, and
/// where the public port is the embedded proxy's own.
pub(super) async fn sees(
    context: &Context,
    proxy: &dyn Backend,
    app: &App,
    within: Duration,
) -> Option<VisitorsSee> {
    let program = proxy.place().kind.program()?.name();
    let address = context.address_at(&app.settings, proxy.place().listen);
    let (host, path) = asked_for(&app.settings);
    match proxy.visit(&app.name, &host, path, within).await? {
        Ok(visit) => messages::visitors_see(&address, program, &visit),
        Err(error) => Some(messages::visitors_wait(&address, &error.to_string())),
    }
}
