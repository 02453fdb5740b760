//! What `show stat` tells: who is down, and how much is in flight.

use std::net::SocketAddrV4;
use std::time::Duration;

use super::super::kept::Down;

/// One server, or a whole backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) backend: String,
    /// None: the whole backend.
    pub(super) server: Option<SocketAddrV4>,
    /// Requests and upgraded connections that it has now.
    current: u64,
    status: String,
    /// Seconds since the status changed.
    changed: u64,
    /// What the last check found, in HAProxy's own words.
    check: String,
    /// What the last check was told, in the kernel's words.
    told: String,
}

impl Stat {
    /// Those of deployer's backends and their servers in the answer to `show stat`.
    pub(super) fn parse(answer: &str) -> Vec<Self> {
        let mut lines = answer.lines();
        let head = lines.next().unwrap_or_default().trim_start_matches("# ");
        let names: Vec<&str> = head.split(',').collect();
        let at = |name: &str| names.iter().position(|known| *known == name);
        let columns = [
            "pxname",
            "svname",
            "scur",
            "status",
            "lastchg",
            "check_desc",
            "last_chk",
        ]
        .map(at);
        lines
            .filter_map(|line| {
                let fields = fields(line);
                let [backend, server, current, status, changed, check, told] =
                    columns.map(|column| fields.get(column?).map(String::as_str));
                // `deployer.again` and its like have no server that is an instance.
                let server = match server? {
                    "FRONTEND" => return None,
                    "BACKEND" => None,
                    server => Some(server.parse().ok()?),
                };
                let backend = backend?.strip_prefix("deployer.").and(backend)?;
                Some(Self {
                    backend: backend.to_owned(),
                    server,
                    current: current?.parse().ok()?,
                    status: status?.to_owned(),
                    changed: changed.and_then(|seconds| seconds.parse().ok()).unwrap_or(0),
                    check: check.unwrap_or_default().to_owned(),
                    told: told.unwrap_or_default().to_owned(),
                })
            })
            .collect()
    }

    /// Whether it is a server that gets no request because a check, or a connection, has failed.
    pub(super) fn is_down(&self) -> bool {
        self.server.is_some() && self.status.starts_with("DOWN")
    }

    /// The instance, where it gets no request.
    pub(super) fn down(&self) -> Option<Down> {
        let address = self.server?;
        let why = match self.status.as_str() {
            status if status.starts_with("MAINT") => "HAProxy was told that it is in maintenance".to_owned(),
            status if status.starts_with("DOWN") => match (self.check.as_str(), self.told.as_str()) {
                ("", "") => "a request could not be sent to it".to_owned(),
                (check, "") => check.to_owned(),
                (_, told) => told.to_owned(),
            },
            _ => return None,
        };
        let (app, _) = self.backend.strip_prefix("deployer.")?.split_once('.')?;
        let since = jiff::Timestamp::now();
        Some(Down {
            app: app.parse().ok()?,
            address,
            since: since
                .checked_sub(Duration::from_secs(self.changed))
                .unwrap_or(since),
            why,
        })
    }
}

/// What one worker has in flight on `upstreams`. What a backend has taken and not yet given to one of its servers may go
/// to any of them, and counts.
pub(super) fn in_flight(stats: &[Stat], upstreams: &[SocketAddrV4]) -> u64 {
    let backends = stats.iter().filter(|stat| stat.server.is_none());
    backends
        .map(|backend| in_flight_of(backend, stats, upstreams))
        .sum()
}

fn in_flight_of(backend: &Stat, stats: &[Stat], upstreams: &[SocketAddrV4]) -> u64 {
    let servers = stats.iter().filter(|stat| stat.backend == backend.backend);
    let servers = servers.filter_map(|stat| Some((stat.server?, stat.current)));
    let (wanted, others): (Vec<_>, Vec<_>) = servers.partition(|(server, _)| upstreams.contains(server));
    match wanted.is_empty() {
        true => 0,
        false => backend
            .current
            .saturating_sub(others.iter().map(|(_, current)| current).sum()),
    }
}

/// The fields of a line of CSV; one that holds a comma stands in quotes.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    for character in line.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            character => fields.last_mut().expect("there is one").push(character),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "\
# pxname,svname,scur,status,lastchg,last_chk,check_desc,
deployer,FRONTEND,9,OPEN,,,,
mine,10.213.1.1:8080,9,DOWN,1,,,
deployer.again,again,9,no check,5,,,
deployer.shop.green.a,10.213.1.1:8080,2,UP,5,,Layer7 check passed,
deployer.shop.green.a,10.213.1.2:8080,1,DOWN 1/3,90,\"Connection refused, twice\",Layer4 connection problem,
deployer.shop.green.a,BACKEND,4,UP,5,,,
deployer.shop.green.b,10.213.1.17:8080,0,DOWN,7,,Layer4 timeout,
deployer.shop.green.b,BACKEND,0,DOWN,7,,,
";

    fn address(last: u8) -> SocketAddrV4 {
        SocketAddrV4::new([10, 213, 1, last].into(), 8080)
    }

    #[test]
    fn an_instance_that_is_down_is_told_with_its_reason() {
        let stats = Stat::parse(ANSWER);
        let down: Vec<_> = stats.iter().filter_map(Stat::down).collect();
        let told: Vec<_> = down
            .iter()
            .map(|down| (down.address, down.why.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (address(2), "Connection refused, twice"),
                (address(17), "Layer4 timeout")
            ]
        );
        assert!(down[0].since < down[1].since);
        assert!(
            stats
                .iter()
                .filter(|stat| stat.is_down())
                .all(|stat| stat.down().is_some())
        );
    }

    #[test]
    fn in_flight_is_what_the_servers_have_and_what_waits_for_one() {
        let stats = Stat::parse(ANSWER);
        // Of the four of the backend one has no server yet.
        assert_eq!(in_flight(&stats, &[address(1), address(2)]), 4);
        assert_eq!(in_flight(&stats, &[address(1)]), 3);
        assert_eq!(in_flight(&stats, &[address(17)]), 0);
    }
}
