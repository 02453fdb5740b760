//! Known databases, queues and stores: what keeps data is one for both slots.

use super::dockerfile::Dockerfile;
use super::model::{Service, Source};

/// A program that keeps data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// Its name, for messages.
    pub(super) name: &'static str,
    /// The last part of its images' names.
    pub(super) images: &'static [&'static str],
    /// Ports that nothing else is known for.
    pub(super) ports: &'static [u16],
    /// Where it keeps its data, and all below.
    pub(super) targets: &'static [&'static str],
}

const fn known(
    name: &'static str,
    images: &'static [&'static str],
    ports: &'static [u16],
    targets: &'static [&'static str],
) -> Known {
    Known {
        name,
        images,
        ports,
        targets,
    }
}

pub(super) const KNOWN: [Known; 37] = [
    known(
        "PostgreSQL",
        &[
            "postgres",
            "postgresql",
            "postgis",
            "timescaledb",
            "timescaledb-ha",
            "pgvector",
            "pgvecto-rs",
            "citus",
            "pgautoupgrade",
        ],
        &[5432],
        &["/var/lib/postgresql", "/bitnami/postgresql"],
    ),
    known(
        "MySQL or MariaDB",
        &["mysql", "mysql-server", "mariadb", "percona", "percona-server"],
        &[3306],
        &["/var/lib/mysql", "/bitnami/mysql", "/bitnami/mariadb"],
    ),
    known(
        "MongoDB",
        &[
            "mongo",
            "mongodb",
            "mongodb-community-server",
            "percona-server-mongodb",
        ],
        &[27017],
        &["/data/db", "/bitnami/mongodb"],
    ),
    known(
        "Redis",
        &[
            "redis",
            "redis-stack",
            "redis-stack-server",
            "redismod",
            "valkey",
            "keydb",
            "dragonfly",
            "kvrocks",
            "garnet",
        ],
        &[6379],
        &["/bitnami/redis", "/bitnami/valkey", "/var/lib/redis"],
    ),
    known("Memcached", &["memcached"], &[11211], &[]),
    known(
        "RabbitMQ",
        &["rabbitmq"],
        &[5672],
        &["/var/lib/rabbitmq", "/bitnami/rabbitmq"],
    ),
    known(
        "Kafka",
        &["kafka", "cp-kafka", "kafka-native", "redpanda"],
        &[9092],
        &["/var/lib/kafka", "/bitnami/kafka", "/var/lib/redpanda"],
    ),
    known(
        "ZooKeeper",
        &["zookeeper", "cp-zookeeper"],
        &[2181],
        &["/var/lib/zookeeper", "/bitnami/zookeeper"],
    ),
    known("NATS", &["nats", "nats-streaming"], &[4222], &[]),
    known("Pulsar", &["pulsar"], &[6650], &["/pulsar/data"]),
    known(
        "ActiveMQ",
        &["activemq", "activemq-artemis", "activemq-classic"],
        &[61616],
        &["/var/lib/artemis-instance"],
    ),
    known(
        "Mosquitto",
        &["eclipse-mosquitto", "mosquitto", "emqx"],
        &[1883],
        &["/mosquitto/data"],
    ),
    known(
        "Elasticsearch or OpenSearch",
        &["elasticsearch", "opensearch"],
        &[9200],
        &[
            "/usr/share/elasticsearch/data",
            "/usr/share/opensearch/data",
            "/bitnami/elasticsearch",
        ],
    ),
    known("Meilisearch", &["meilisearch"], &[7700], &["/meili_data"]),
    known("Typesense", &["typesense"], &[8108], &[]),
    known("Solr", &["solr"], &[8983], &["/var/solr"]),
    known("Manticore", &["manticore"], &[9306], &["/var/lib/manticore"]),
    known(
        "ClickHouse",
        &["clickhouse", "clickhouse-server"],
        &[8123],
        &["/var/lib/clickhouse"],
    ),
    known(
        "Cassandra or ScyllaDB",
        &["cassandra", "scylla"],
        &[9042],
        &["/var/lib/cassandra", "/var/lib/scylla"],
    ),
    known("CouchDB", &["couchdb"], &[5984], &["/opt/couchdb/data"]),
    known("Couchbase", &["couchbase"], &[8091], &["/opt/couchbase/var"]),
    known(
        "InfluxDB",
        &["influxdb"],
        &[8086],
        &["/var/lib/influxdb", "/var/lib/influxdb2"],
    ),
    known(
        "VictoriaMetrics",
        &["victoria-metrics"],
        &[8428],
        &["/victoria-metrics-data"],
    ),
    known("Neo4j", &["neo4j"], &[7687], &[]),
    known("ArangoDB", &["arangodb"], &[8529], &["/var/lib/arangodb3"]),
    known("RethinkDB", &["rethinkdb"], &[28015], &[]),
    known(
        "CockroachDB",
        &["cockroach"],
        &[26257],
        &["/cockroach/cockroach-data"],
    ),
    known(
        "SQL Server",
        &["mssql", "azure-sql-edge"],
        &[1433],
        &["/var/opt/mssql"],
    ),
    known(
        "Oracle Database",
        &["oracle-xe", "oracle-free"],
        &[1521],
        &["/opt/oracle/oradata"],
    ),
    known("Db2", &["db2", "db2_community"], &[50000], &["/database"]),
    known("SurrealDB", &["surrealdb"], &[], &[]),
    known("etcd", &["etcd"], &[2379], &["/bitnami/etcd", "/etcd-data"]),
    known("MinIO", &["minio"], &[], &["/bitnami/minio"]),
    known("Qdrant", &["qdrant"], &[6333], &["/qdrant/storage"]),
    known("Weaviate", &["weaviate"], &[], &["/var/lib/weaviate"]),
    known("Milvus", &["milvus"], &[19530], &["/var/lib/milvus"]),
    known("Chroma", &["chroma"], &[], &["/chroma/chroma"]),
];

/// Which of them a service is, and by what one sees it.
pub(super) fn which(service: &Service, dockerfile: Option<&Dockerfile>) -> Option<(&'static Known, String)> {
    let image = match dockerfile {
        Some(dockerfile) => dockerfile.from.as_deref(),
        None => service.image.as_deref(),
    };
    let by_image = image.and_then(|image| {
        let known = KNOWN
            .iter()
            .find(|known| known.images.contains(&base_name(image)))?;
        Some((known, format!("its image {image}")))
    });
    by_image
        .or_else(|| by_target(service))
        .or_else(|| by_port(service, dockerfile))
}

fn by_target(service: &Service) -> Option<(&'static Known, String)> {
    let kept = service
        .mounts
        .iter()
        .filter(|mount| !matches!(mount.source, Source::Memory { .. }));
    let mut targets = kept.map(|mount| mount.target.as_str());
    targets.find_map(|target| {
        let is_below = |folder: &str| {
            target
                .strip_prefix(folder)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let known = KNOWN
            .iter()
            .find(|known| known.targets.iter().any(|folder| is_below(folder)))?;
        Some((known, format!("its volume at {target}")))
    })
}

/// By the ports that it is asked at: those of the file before those of the Dockerfile, and `ports` before `expose`.
fn by_port(service: &Service, dockerfile: Option<&Dockerfile>) -> Option<(&'static Known, String)> {
    let exposed = || {
        dockerfile
            .into_iter()
            .flat_map(|dockerfile| dockerfile.ports.iter().copied())
    };
    let asked_at: Vec<u16> = match (&service.ports[..], &service.expose[..]) {
        ([], []) => exposed().collect(),
        ([], ports) | (ports, _) => ports.iter().map(|port| port.target).collect(),
    };
    asked_at.into_iter().find_map(|port| {
        let known = KNOWN.iter().find(|known| known.ports.contains(&port))?;
        Some((known, format!("its port {port}")))
    })
}

/// The last part of an image's name: of `docker.io/library/postgres:16@sha256:…` it is `postgres`.
fn base_name(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split(':').next().unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::super::model::Port;
    use super::*;

    fn name(service: &Service, dockerfile: Option<&Dockerfile>) -> Option<&'static str> {
        which(service, dockerfile).map(|(known, _)| known.name)
    }

    #[test]
    fn a_database_is_known_by_its_image_its_port_or_its_volume() {
        let image = |image: &str| Service {
            image: Some(image.to_owned()),
            ..Service::default()
        };
        for (reference, wanted) in [
            ("postgres", Some("PostgreSQL")),
            ("docker.io/library/postgres:16-alpine", Some("PostgreSQL")),
            ("registry:5000/a/redis@sha256:00", Some("Redis")),
            ("bitnami/mariadb:11", Some("MySQL or MariaDB")),
            ("prom/mysqld-exporter", None),
            ("rediscommander/redis-commander", None),
            ("mongo-express", None),
        ] {
            assert_eq!(name(&image(reference), None), wanted, "{reference}");
        }
        let from = Dockerfile::parse("FROM redis\n", None);
        assert_eq!(name(&image("own:1"), Some(&from)), Some("Redis"));
        let exposes = Dockerfile::parse("FROM debian\nEXPOSE 5432\n", None);
        assert_eq!(name(&image("redis"), Some(&exposes)), Some("PostgreSQL"));
        let port = |target| Port {
            target,
            protocol: "tcp".to_owned(),
            published: None,
            host_ip: None,
        };
        let mut asked = image("x");
        asked.expose = vec![port(3306)];
        assert_eq!(name(&asked, None), Some("MySQL or MariaDB"));
        asked.ports = vec![port(3000)];
        assert_eq!(name(&asked, Some(&exposes)), None);
    }

    #[test]
    fn no_port_and_no_image_stands_for_two_programs() {
        let mut seen = std::collections::BTreeSet::new();
        for known in &KNOWN {
            for word in known.images.iter().chain(known.targets).map(ToString::to_string) {
                assert!(seen.insert(word.clone()), "{word}");
            }
            for port in known.ports {
                assert!(seen.insert(port.to_string()), "{port}");
            }
        }
    }
}
