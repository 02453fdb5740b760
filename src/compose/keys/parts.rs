//! Keys of the parts of a service, and of what stands beside the services.

use super::super::key_texts::{EXTERNAL, HOST, ONE_NETWORK, PRIVILEGE, STANDS, WALLS};
use super::Fate::{Ignored, Refused, Taken};
use super::{Row, Table};

pub(in crate::compose) const BUILD: Table = Table {
    name: "services.*.build",
    rows: &[
        ("context", Taken("a folder of the tree")),
        ("dockerfile", Taken("a file, relative to the context")),
        ("dockerfile_inline", Taken("the Dockerfile itself")),
        ("args", Taken("build arguments")),
        ("target", Taken("the stage")),
        ("labels", Ignored("images have deployer's labels")),
        ("tags", Ignored("images are tagged by deployer")),
        ("cache_from", Ignored("the server has a cache of its own")),
        ("cache_to", Ignored("the server has a cache of its own")),
        ("no_cache", Ignored("the server has a cache of its own")),
        (
            "pull",
            Ignored("the configuration says whether base images are asked for anew"),
        ),
        (
            "platforms",
            Ignored("an image is built for the server that runs it"),
        ),
        ("shm_size", Ignored(STANDS)),
        ("ulimits", Ignored(STANDS)),
        ("provenance", Ignored("images are in your registry alone")),
        ("sbom", Ignored("images are in your registry alone")),
        (
            "additional_contexts",
            Refused(
                "one folder is sent to a build",
                "COPY from a folder of the context",
            ),
        ),
        (
            "secrets",
            Refused("builds get no secrets", "what the build needs, in the tree"),
        ),
        (
            "ssh",
            Refused("builds get no keys", "what the build needs, in the tree"),
        ),
        ("network", Refused(WALLS, "nothing")),
        ("extra_hosts", Refused(WALLS, "nothing")),
        ("privileged", Refused(PRIVILEGE, "nothing")),
        ("entitlements", Refused(PRIVILEGE, "nothing")),
        ("isolation", Refused(HOST, "nothing")),
    ],
};

pub(in crate::compose) const HEALTHCHECK: Table = Table {
    name: "services.*.healthcheck",
    rows: &[
        ("test", Taken("the command")),
        ("interval", Taken("the time between two runs")),
        ("timeout", Taken("the time that one may take")),
        ("retries", Taken("failures in a row that count")),
        ("start_period", Taken("the time in which failures do not count")),
        ("start_interval", Taken("the interval in that time")),
        ("disable", Taken("true: the image's own is not run either")),
    ],
};

pub(in crate::compose) const DEPENDS_ON: Table = Table {
    name: "services.*.depends_on.*",
    rows: &[
        (
            "condition",
            Taken("service_started, service_healthy or service_completed_successfully"),
        ),
        ("required", Taken("false: it may be left out by its profile")),
        ("restart", Ignored("a restart of one service is none of another")),
    ],
};

pub(in crate::compose) const DEPLOY: Table = Table {
    name: "services.*.deploy",
    rows: &[
        ("replicas", Taken("instances, 60 at most")),
        ("resources", Taken("limits, capped by the configuration")),
        ("mode", Ignored("there is one server")),
        ("placement", Ignored("there is one server")),
        ("endpoint_mode", Ignored(ONE_NETWORK)),
        ("labels", Ignored("deployer's own labels say what a container is")),
        ("restart_policy", Ignored("restart says it")),
        (
            "update_config",
            Ignored("a release starts beside what runs, and one flip moves all"),
        ),
        ("rollback_config", Ignored("a rollback is one flip")),
    ],
};

pub(in crate::compose) const RESOURCES: Table = Table {
    name: "services.*.deploy.resources",
    rows: &[
        ("limits", Taken("the most that it may have")),
        ("reservations", Taken("memory that is kept for it")),
    ],
};

pub(in crate::compose) const LIMITS: Table = Table {
    name: "services.*.deploy.resources.limits",
    rows: &[
        ("cpus", Taken("CPUs")),
        ("memory", Taken("bytes")),
        ("pids", Taken("processes")),
        ("devices", Refused(HOST, "an image that needs no device")),
        ("generic_resources", Refused(HOST, "nothing")),
    ],
};

pub(in crate::compose) const RESERVATIONS: Table = Table {
    name: "services.*.deploy.resources.reservations",
    rows: &[
        ("memory", Taken("bytes")),
        ("cpus", Ignored("CPUs are limited, and none are kept")),
        ("pids", Ignored("processes are limited, and none are kept")),
        ("devices", Refused(HOST, "an image that needs no device")),
        ("generic_resources", Refused(HOST, "nothing")),
    ],
};

pub(in crate::compose) const PORT: Table = Table {
    name: "services.*.ports.*",
    rows: &[
        ("target", Taken("the port in the container")),
        ("published", Taken("nothing: the proxy's port is the server's")),
        ("host_ip", Taken("nothing: the proxy's port is the server's")),
        ("protocol", Taken("tcp, or udp, which no proxy passes on")),
        ("mode", Ignored("nothing is published")),
        ("name", Ignored("nothing is published")),
        ("app_protocol", Ignored("nothing is published")),
    ],
};

pub(in crate::compose) const MOUNT: Table = Table {
    name: "services.*.volumes.*",
    rows: &[
        ("type", Taken("volume, bind or tmpfs")),
        ("source", Taken("a named volume, or a path of the tree")),
        ("target", Taken("the path in the container")),
        ("read_only", Taken("whether it cannot be written to")),
        ("volume", Taken("nocopy and subpath")),
        ("tmpfs", Taken("size and mode")),
        ("bind", Ignored("files of the tree are copied in")),
        ("consistency", Ignored("it is for a developer's machine")),
    ],
};

pub(in crate::compose) const SERVICE_NETWORK: Table = Table {
    name: "services.*.networks.*",
    rows: &[
        ("aliases", Taken("more names for the service")),
        ("priority", Ignored(ONE_NETWORK)),
        ("interface_name", Ignored(ONE_NETWORK)),
        ("gw_priority", Ignored(ONE_NETWORK)),
        (
            "ipv4_address",
            Refused(
                "deployer gives the addresses",
                "the service's name, where it is asked",
            ),
        ),
        (
            "ipv6_address",
            Refused(
                "deployer gives the addresses",
                "the service's name, where it is asked",
            ),
        ),
        (
            "link_local_ips",
            Refused(
                "deployer gives the addresses",
                "the service's name, where it is asked",
            ),
        ),
        (
            "mac_address",
            Refused(
                "deployer gives the addresses",
                "the service's name, where it is asked",
            ),
        ),
        ("driver_opts", Refused(HOST, "nothing")),
    ],
};

const FILE_USE: &[Row] = &[
    ("source", Taken("the name at the top of the file")),
    ("target", Taken("the path in the container")),
    ("uid", Taken("its owner")),
    ("gid", Taken("its group")),
    ("mode", Taken("its mode")),
];

pub(in crate::compose) const SECRET_OF_SERVICE: Table = Table {
    name: "services.*.secrets.*",
    rows: FILE_USE,
};

pub(in crate::compose) const CONFIG_OF_SERVICE: Table = Table {
    name: "services.*.configs.*",
    rows: FILE_USE,
};

pub(in crate::compose) const NETWORK_TABLE: Table = Table {
    name: "networks.*",
    rows: &[
        ("driver", Taken("bridge alone")),
        ("name", Ignored("networks are named by deployer")),
        ("labels", Ignored("networks have deployer's labels")),
        ("attachable", Ignored(ONE_NETWORK)),
        ("internal", Ignored(ONE_NETWORK)),
        ("enable_ipv4", Ignored(ONE_NETWORK)),
        ("enable_ipv6", Ignored(ONE_NETWORK)),
        (
            "external",
            Refused(EXTERNAL, "nothing: a network of this file's own"),
        ),
        ("driver_opts", Refused(HOST, "nothing")),
        ("ipam", Refused("deployer gives the addresses", "nothing")),
    ],
};

pub(in crate::compose) const VOLUME: Table = Table {
    name: "volumes.*",
    rows: &[
        ("driver", Taken("local alone")),
        ("name", Ignored("a volume is named for its app")),
        ("labels", Ignored("volumes have deployer's labels")),
        (
            "external",
            Refused(EXTERNAL, "nothing: a volume of this file's own"),
        ),
        (
            "driver_opts",
            Refused(HOST, "nothing: a volume of the Engine's own"),
        ),
    ],
};

const FILE: &[Row] = &[
    ("file", Taken("a file of the tree")),
    ("environment", Taken("the value of a variable")),
    ("content", Taken("the content itself; of configs alone")),
    ("name", Ignored("its name here is enough")),
    ("labels", Ignored("it is a file and no object of the Engine")),
    ("external", Refused(EXTERNAL, "file, or environment")),
    ("driver", Refused(HOST, "file, or environment")),
    ("driver_opts", Refused(HOST, "file, or environment")),
    ("template_driver", Refused(HOST, "file, or environment")),
];

pub(in crate::compose) const SECRET: Table = Table {
    name: "secrets.*",
    rows: FILE,
};

pub(in crate::compose) const CONFIG: Table = Table {
    name: "configs.*",
    rows: FILE,
};

pub(in crate::compose) const ENV_FILE: Table = Table {
    name: "services.*.env_file.*",
    rows: &[
        ("path", Taken("a file of the tree")),
        ("required", Taken("false: it may be missing")),
        (
            "format",
            Refused(
                "one format is read",
                "nothing: $ and quotes are read as Compose does",
            ),
        ),
    ],
};
