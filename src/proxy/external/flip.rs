//! A program that flips by itself as what takes routes.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use super::door::{self, CHECK, RELEASE};
use super::{External, slot_ports};
use crate::model::{AppName, ProxyKind};
use crate::proxy::answers::{Applied, Checked, ClosedPort, Drained, Mismatch, OutInstance};
use crate::proxy::backend::{Answer, Backend};
use crate::proxy::error::ProxyError;
use crate::proxy::in_use::Place;
use crate::proxy::route::AppRoute;
use crate::proxy::visit::{Visit, visit};

/// How often in-flight counts are looked at while a drain waits.
const LOOK: Duration = Duration::from_millis(50);

impl External {
    fn keeps_program(&self, other: Place) -> bool {
        other.kind.program() == Some(self.program)
    }

    /// The same for each of `routes`.
    fn each(routes: &[AppRoute], applied: &Applied) -> Vec<Applied> {
        routes.iter().map(|_| applied.clone()).collect()
    }
}

impl Backend for External {
    fn place(&self) -> Place {
        Place::wanted(&self.settings)
    }

    fn listens(&self) -> Answer<'_, SocketAddr> {
        Box::pin(async { Ok(self.settings.listen) })
    }

    fn ready(&self) -> Answer<'_, ()> {
        Box::pin(self.answers())
    }

    fn put_route<'a>(&'a self, route: &'a AppRoute) -> Answer<'a, Applied> {
        Box::pin(async {
            let _changing = self.lock().await?;
            let mut kept = self.kept_with_door().await?;
            route
                .check(kept.routes(), self.settings.listen.port())
                .map_err(ProxyError::refused)?;
            kept.put(route, self.subnet)?;
            let own: Vec<u16> = route.ports().collect();
            self.leave_out_taken(&mut kept, |port| own.contains(&port), slot_ports::AT_A_FLIP)
                .await?;
            self.put_in_force(&kept).await?;
            let closed = slot_ports::told(&kept, self.settings.slot_listen);
            Ok(Applied {
                closed: closed
                    .into_iter()
                    .filter(|closed| own.contains(&closed.port))
                    .collect(),
                check: kept.check,
            })
        })
    }

    fn remove_route<'a>(&'a self, app: &'a AppName) -> Answer<'a, ()> {
        Box::pin(async {
            let _changing = self.lock().await?;
            let mut kept = self.kept_with_door().await?;
            if kept.remove(app) {
                self.put_in_force(&kept).await?;
            }
            Ok(())
        })
    }

    /// As the program really routes: a slot that it does not send where deployer wants it has no target.
    fn routes(&self) -> Answer<'_, Vec<AppRoute>> {
        Box::pin(async {
            let kept = self.kept()?;
            let chosen = self.way.chosen(&self.view(&kept)).await?;
            Ok(kept.routes_as(&chosen))
        })
    }

    fn out(&self) -> Answer<'_, Vec<OutInstance>> {
        Box::pin(async {
            let kept = self.kept()?;
            let view = self.view(&kept);
            Ok(kept.routed_of(self.way.out(&view).await?))
        })
    }

    fn closed_ports(&self) -> Answer<'_, Vec<ClosedPort>> {
        Box::pin(async {
            let kept = self.kept_already()?;
            Ok(kept.map_or_else(Vec::new, |kept| {
                slot_ports::told(&kept, self.settings.slot_listen)
            }))
        })
    }

    fn mismatches(&self) -> Answer<'_, Vec<Mismatch>> {
        Box::pin(self.mismatches())
    }

    /// Nothing is broken off: what is left ends with its instance.
    fn drain<'a>(&'a self, upstreams: &'a [SocketAddrV4], deadline: Duration) -> Answer<'a, Drained> {
        Box::pin(async move {
            let began = Instant::now();
            let view = self.view(&self.kept()?);
            let before = self.way.in_flight(&view, upstreams).await?;
            let mut left = before;
            while left > 0 && began.elapsed() < deadline {
                tokio::time::sleep(LOOK.min(deadline.saturating_sub(began.elapsed()))).await;
                left = self.way.in_flight(&view, upstreams).await?;
            }
            Ok(Drained {
                finished: before.saturating_sub(left),
                cut: left,
                closed: 0,
            })
        })
    }

    /// By the choice that the public port goes by.
    fn check<'a>(
        &'a self,
        app: &'a AppName,
        host: &'a str,
        path: &'a str,
        check: &'a str,
    ) -> Answer<'a, Checked> {
        Box::pin(async move {
            let kept = self.kept()?;
            let headers = [(CHECK, check)];
            let asked = door::ask(kept.door, self.settings.listen, host, path, &headers).await;
            let (status, headers) = asked?;
            let told = headers.get(RELEASE).and_then(|value| value.to_str().ok());
            Ok(Checked {
                status: status.as_u16(),
                release: told.and_then(|told| kept.release(app, told)),
            })
        })
    }

    fn visit<'a>(
        &'a self,
        _app: &'a AppName,
        host: &'a str,
        path: &'a str,
        within: Duration,
    ) -> BoxFuture<'a, Option<Result<Visit, ProxyError>>> {
        Box::pin(async move {
            let kept = self.kept().ok()?;
            Some(visit(self.settings.listen, host, path, &kept.check, within).await)
        })
    }

    fn embedded_answers(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn can_leave(&self, other: Place) -> Answer<'_, ()> {
        Box::pin(async move {
            match self.keeps_program(other) {
                true => Ok(()),
                false => self.can_do_without().await,
            }
        })
    }

    fn prepare<'a>(&'a self, routes: &'a [AppRoute]) -> Answer<'a, ()> {
        Box::pin(self.try_configuration(routes))
    }

    fn rehearse<'a>(&'a self, routes: &'a [AppRoute]) -> Answer<'a, Option<Vec<Applied>>> {
        Box::pin(async {
            let applied = self.put_all_but_ports(routes).await?;
            Ok(Some(Self::each(routes, &applied)))
        })
    }

    fn take<'a>(&'a self, routes: &'a [AppRoute], _slots: bool) -> Answer<'a, Vec<Applied>> {
        Box::pin(async {
            let applied = self.put_all(routes).await?;
            Ok(Self::each(routes, &applied))
        })
    }

    fn let_go(&self, other: Place, public: bool) -> Answer<'_, ()> {
        Box::pin(async move {
            match public && !self.keeps_program(other) {
                true => self.remove().await,
                false => Ok(()),
            }
        })
    }

    fn leave(&self, other: Place, _wanted: ProxyKind) -> Answer<'_, ()> {
        self.let_go(other, true)
    }
}
