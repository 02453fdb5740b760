//! deployer's own network: one bridge, with addresses planned by the configuration's subnet.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest};
use bollard::query_parameters::{InspectNetworkOptions, ListNetworksOptions};
use tokio::time::{Instant, sleep};

use super::instance_spec::LABEL_NETWORK;
use super::{Engine, EngineError, NetworkId};
use crate::ground::failpoint;
use crate::model::Subnet;

/// Prefix of the part of the subnet that the Engine may give to strangers: the first 256 addresses, which no app
/// has.
const STRANGERS_PREFIX: u8 = 24;
/// How long the network is looked for after it could not be made.
const MADE_BY_ANOTHER: Duration = Duration::from_secs(2);

/// What became of deployer's network once it was to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkEnd {
    /// There is none.
    None,
    /// It is removed.
    Removed,
    /// These containers are on it, so it stays.
    Used(Vec<String>),
}

impl Engine {
    /// deployer's network, made when it is not there. May be called by several processes at once.
    ///
    /// # Errors
    /// [`EngineError::NetworkDiffers`], [`EngineError::NetworkClash`] with another network or a route of the host,
    /// [`EngineError::NetworkAmbiguous`].
    pub async fn ensure_network(&self) -> Result<NetworkId, EngineError> {
        if let Some(id) = self.find_network().await? {
            return Ok(id);
        }
        failpoint::at("network.create");
        let created = self.create_network().await;
        failpoint::at("network.created");
        match created {
            Ok(id) => self.keep_or_give_way(id).await,
            Err(error) => self.made_by_another().await?.ok_or(error),
        }
    }

    /// The network was just made as `id`. Should another configuration have made one of the same name at the same
    /// moment, ours gives way.
    async fn keep_or_give_way(&self, id: NetworkId) -> Result<NetworkId, EngineError> {
        match self.find_network().await {
            Ok(found) => Ok(found.unwrap_or(id)),
            Err(error) => {
                let _ = self.docker.remove_network(id.as_str()).await;
                Err(error)
            }
        }
    }

    /// The network, when another process is making it right now. Only one network can have the subnet, so the
    /// second one to ask is refused, a moment before the first one's is listed.
    async fn made_by_another(&self) -> Result<Option<NetworkId>, EngineError> {
        let deadline = Instant::now() + MADE_BY_ANOTHER;
        loop {
            if let Some(id) = self.find_network().await? {
                return Ok(Some(id));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Removes deployer's network, unless a container is on it. One of that name that deployer did not make is left alone.
    /// With `dry`, tells what would become of it.
    ///
    /// # Errors
    /// The Engine's.
    pub async fn remove_network(&self, dry: bool) -> Result<NetworkEnd, EngineError> {
        let name = &self.settings.network;
        let is_ours = |network: &&Network| {
            let labels = network.labels.as_ref();
            network.name.as_ref() == Some(name)
                && labels.is_some_and(|labels| labels.contains_key(LABEL_NETWORK))
        };
        let networks = self.networks().await?;
        let Some(id) = networks
            .iter()
            .find(is_ours)
            .and_then(|network| network.id.as_deref())
        else {
            return Ok(NetworkEnd::None);
        };
        let looked = self
            .docker
            .inspect_network(id, None::<InspectNetworkOptions>)
            .await;
        let looked = looked.map_err(|api| self.call("look at deployer's network").error(api))?;
        let containers = looked.containers.unwrap_or_default();
        let mut on_it: Vec<String> = containers
            .into_iter()
            .map(|(id, container)| container.name.unwrap_or(id))
            .collect();
        if !on_it.is_empty() {
            on_it.sort();
            return Ok(NetworkEnd::Used(on_it));
        }
        if !dry {
            let removed = self.docker.remove_network(id).await;
            removed.map_err(|api| self.call("remove deployer's network").error(api))?;
        }
        Ok(NetworkEnd::Removed)
    }

    /// The subnet of the network that is called `name`; none where there is none.
    ///
    /// # Errors
    /// The Engine's.
    pub async fn subnet_of(&self, name: &str) -> Result<Option<Subnet>, EngineError> {
        let networks = self.networks().await?;
        let named = networks
            .iter()
            .find(|network| network.name.as_deref() == Some(name));
        Ok(named.and_then(|network| subnets(network).iter().find_map(|subnet| subnet.parse().ok())))
    }

    async fn networks(&self) -> Result<Vec<Network>, EngineError> {
        let listed = self.docker.list_networks(None::<ListNetworksOptions>).await;
        listed.map_err(|api| self.call("list the networks").error(api))
    }

    /// deployer's network, when it is there and as it should be.
    ///
    /// # Errors
    /// [`EngineError::NetworkDiffers`], [`EngineError::NetworkAmbiguous`], or the Engine's.
    pub async fn find_network(&self) -> Result<Option<NetworkId>, EngineError> {
        let networks = self.networks().await?;
        let name = &self.settings.network;
        let ours: Vec<&Network> = networks
            .iter()
            .filter(|n| n.name.as_ref() == Some(name))
            .collect();
        let found = match ours.as_slice() {
            [] => return Ok(None),
            [one] => *one,
            several => {
                return Err(EngineError::NetworkAmbiguous {
                    name: name.clone(),
                    ids: several.iter().filter_map(|n| n.id.clone()).collect(),
                });
            }
        };
        let subnet = self.settings.subnet.to_string();
        let differs = |has: String, wants: String| EngineError::NetworkDiffers {
            name: name.clone(),
            has,
            wants,
        };
        if found.driver.as_deref() != Some("bridge") {
            let driver = found.driver.as_deref().unwrap_or("none");
            return Err(differs(
                format!("the driver {driver}"),
                "the driver bridge".to_owned(),
            ));
        }
        let subnets = subnets(found);
        if !subnets.contains(&subnet) {
            return Err(differs(format!("the subnet {}", subnets.join(", ")), subnet));
        }
        Ok(found.id.clone().map(NetworkId::from))
    }

    async fn check_subnet_is_free(&self) -> Result<(), EngineError> {
        let subnet = self.settings.subnet;
        let networks = self.networks().await?;
        let clash = |with: String| EngineError::NetworkClash { subnet, with };
        for network in &networks {
            for taken in subnets(network) {
                if overlaps(subnet, &taken) {
                    let name = network.name.as_deref().unwrap_or_default();
                    return Err(clash(format!("the network {name} ({taken})")));
                }
            }
        }
        // The routes are the Engine's own only where it runs on this host.
        if self.settings.host.starts_with("unix:") {
            let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
            if let Some((interface, route)) = route_into(subnet, &routes) {
                return Err(clash(format!(
                    "a route of this host ({route} through {interface})"
                )));
            }
        }
        Ok(())
    }

    async fn create_network(&self) -> Result<NetworkId, EngineError> {
        self.check_subnet_is_free().await?;
        let (name, subnet) = (&self.settings.network, self.settings.subnet);
        let config = IpamConfig {
            subnet: Some(subnet.to_string()),
            gateway: Some(subnet.gateway().to_string()),
            ip_range: Some(format!("{}/{STRANGERS_PREFIX}", subnet.first())),
            ..IpamConfig::default()
        };
        let request = NetworkCreateRequest {
            name: name.clone(),
            driver: Some("bridge".to_owned()),
            ipam: Some(Ipam {
                config: Some(vec![config]),
                ..Ipam::default()
            }),
            labels: Some(HashMap::from([(LABEL_NETWORK.to_owned(), name.clone())])),
            ..NetworkCreateRequest::default()
        };
        let what = format!("create the network {name} ({subnet})");
        let created = self.docker.create_network(request).await;
        created
            .map(|network| NetworkId(network.id))
            .map_err(|api| self.call(&what).error(api))
    }
}

fn subnets(network: &Network) -> Vec<String> {
    let configs = network.ipam.as_ref().and_then(|ipam| ipam.config.as_ref());
    configs
        .into_iter()
        .flatten()
        .filter_map(|config| config.subnet.clone())
        .collect()
}

/// Whether `subnet` shares an address with `other`, which may be of any size or family.
fn overlaps(subnet: Subnet, other: &str) -> bool {
    let parsed = other
        .split_once('/')
        .and_then(|(first, prefix)| Some((first.parse::<Ipv4Addr>().ok()?, prefix.parse::<u8>().ok()?)));
    parsed.is_some_and(|(first, prefix)| shares(subnet, u32::from(first), prefix))
}

fn shares(subnet: Subnet, first: u32, prefix: u8) -> bool {
    let shorter = u32::from(prefix.min(subnet.prefix()).min(32));
    let mask = u32::MAX.checked_shl(32 - shorter).unwrap_or(0);
    first & mask == u32::from(subnet.first()) & mask
}

/// The first route of `/proc/net/route` that leads into `subnet`: its interface and its destination.
///
/// Routes shorter than /8 are ways out (a default route, or the two halves that a VPN puts in its place).
fn route_into(subnet: Subnet, routes: &str) -> Option<(String, String)> {
    routes.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        // The kernel prints both as they lie in memory: swapped where the machine is little-endian.
        let (first, mask) = (u32::from_be(number(1)?), u32::from_be(number(7)?));
        let prefix = u8::try_from(mask.leading_ones()).ok()?;
        let destination = format!("{}/{prefix}", Ipv4Addr::from(first));
        (prefix >= 8 && shares(subnet, first, prefix)).then(|| (fields[0].to_owned(), destination))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_into_the_subnet_is_found_and_a_way_out_is_none() {
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                      eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                      tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n\
                      docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
                      tun0\t00E0DC0A\t00000000\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0\n";
        let found = |subnet: &str| route_into(subnet.parse().unwrap(), routes);
        assert_eq!(found("10.213.0.0/16"), None);
        assert_eq!(
            found("172.17.0.0/22"),
            Some(("docker0".into(), "172.17.0.0/16".into()))
        );
        assert_eq!(
            found("10.0.0.0/8"),
            Some(("tun0".into(), "10.220.224.0/20".into()))
        );
    }

    #[test]
    fn subnets_of_any_size_and_family_are_compared() {
        let subnet: Subnet = "10.213.0.0/16".parse().unwrap();
        for (other, wanted) in [
            ("10.213.7.0/24", true),
            ("10.0.0.0/8", true),
            ("0.0.0.0/0", true),
            ("10.213.9.9/32", true),
            ("10.214.0.0/16", false),
            ("fd00::/64", false),
            ("", false),
        ] {
            assert_eq!(overlaps(subnet, other), wanted, "{other}");
        }
    }
}
