//! A program that has the public port and sends everything to the embedded proxy, which takes the routes.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::embedded::Embedded;
use super::{Answer, Backend};
use crate::model::{AppName, ProxyKind};
use crate::proxy::answers::{Applied, Checked, ClosedPort, Drained, Mismatch, OutInstance};
use crate::proxy::error::ProxyError;
use crate::proxy::external::External;
use crate::proxy::in_use::Place;
use crate::proxy::route::AppRoute;
use crate::proxy::visit::{Visit, visit};

/// A program in front of the embedded proxy.
#[derive(Debug)]
pub(in crate::proxy) struct Front {
    program: External,
    embedded: Embedded,
}

impl Front {
    pub(in crate::proxy) fn new(program: External, embedded: Embedded) -> Self {
        Self { program, embedded }
    }

    fn keeps_program(&self, other: Place) -> bool {
        self.place().kind.program() == other.kind.program()
    }
}

impl Backend for Front {
    fn place(&self) -> Place {
        self.embedded.place()
    }

    fn listens(&self) -> Answer<'_, SocketAddr> {
        Box::pin(async { Ok(self.place().listen) })
    }

    fn ready(&self) -> Answer<'_, ()> {
        Box::pin(async {
            self.embedded.ready().await?;
            self.program.answers().await
        })
    }

    fn put_route<'a>(&'a self, route: &'a AppRoute) -> Answer<'a, Applied> {
        Box::pin(async {
            self.program.put_front().await?;
            self.embedded.put_route(route).await
        })
    }

    fn remove_route<'a>(&'a self, app: &'a AppName) -> Answer<'a, ()> {
        self.embedded.remove_route(app)
    }

    fn routes(&self) -> Answer<'_, Vec<AppRoute>> {
        self.embedded.routes()
    }

    fn out(&self) -> Answer<'_, Vec<OutInstance>> {
        self.embedded.out()
    }

    fn closed_ports(&self) -> Answer<'_, Vec<ClosedPort>> {
        self.embedded.closed_ports()
    }

    fn mismatches(&self) -> Answer<'_, Vec<Mismatch>> {
        Box::pin(self.program.mismatches())
    }

    fn drain<'a>(&'a self, upstreams: &'a [SocketAddrV4], deadline: Duration) -> Answer<'a, Drained> {
        self.embedded.drain(upstreams, deadline)
    }

    fn check<'a>(
        &'a self,
        app: &'a AppName,
        host: &'a str,
        path: &'a str,
        check: &'a str,
    ) -> Answer<'a, Checked> {
        Box::pin(async move {
            match self.embedded.socket().await? {
                Some(socket) => self.embedded.check_at(&socket, host, path, check).await,
                None => self.embedded.check(app, host, path, check).await,
            }
        })
    }

    fn visit<'a>(
        &'a self,
        app: &'a AppName,
        host: &'a str,
        path: &'a str,
        within: Duration,
    ) -> BoxFuture<'a, Option<Result<Visit, ProxyError>>> {
        Box::pin(async move {
            // Where it does not tell, nothing can be said.
            let check = self.embedded.token(app).await?;
            Some(visit(self.place().listen, host, path, &check, within).await)
        })
    }

    fn embedded_answers(&self) -> Answer<'_, ()> {
        self.embedded.embedded_answers()
    }

    fn can_leave(&self, other: Place) -> Answer<'_, ()> {
        Box::pin(async move {
            match self.keeps_program(other) {
                true => Ok(()),
                false => self.program.can_do_without().await,
            }
        })
    }

    fn prepare<'a>(&'a self, routes: &'a [AppRoute]) -> Answer<'a, ()> {
        Box::pin(async {
            self.embedded.prepare(routes).await?;
            self.program.try_configuration(routes).await
        })
    }

    fn rehearse<'a>(&'a self, routes: &'a [AppRoute]) -> Answer<'a, Option<Vec<Applied>>> {
        Box::pin(async {
            self.program.put_all_but_ports(routes).await?;
            Ok(None)
        })
    }

    fn take<'a>(&'a self, routes: &'a [AppRoute], slots: bool) -> Answer<'a, Vec<Applied>> {
        Box::pin(async move {
            let applied = self.embedded.put_all(routes).await?;
            // Before the program sends anything there; its slot ports may be the program's until it is reloaded.
            self.embedded.open(false).await?;
            self.program.put_all(routes).await?;
            self.embedded.open(slots).await?;
            Ok(applied)
        })
    }

    fn let_go(&self, other: Place, public: bool) -> Answer<'_, ()> {
        Box::pin(async move {
            self.embedded.let_go(other, public).await?;
            match public && !self.keeps_program(other) {
                true => self.program.remove().await,
                false => Ok(()),
            }
        })
    }

    fn leave(&self, other: Place, wanted: ProxyKind) -> Answer<'_, ()> {
        Box::pin(async move {
            if !self.keeps_program(other) {
                self.program.remove().await?;
            }
            self.embedded.leave(other, wanted).await
        })
    }
}
