//! What becomes of each key of a compose file: one table, from which the reader works and docs/reference/compose.md is made.

use super::key_texts::{HOST, NETWORK, PRIVILEGE, STANDS, WALLS};

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Taken: as what.
    Taken(&'static str),
    /// Ignored: why.
    Ignored(&'static str),
    /// Refused where it says anything: why, and what to write instead.
    Refused(&'static str, &'static str),
}

use Fate::{Ignored, Refused, Taken};

mod parts;

pub(super) use parts::{
    BUILD, CONFIG, CONFIG_OF_SERVICE, DEPENDS_ON, DEPLOY, ENV_FILE, HEALTHCHECK, LIMITS, MOUNT,
    NETWORK_TABLE, PORT, RESERVATIONS, RESOURCES, SECRET, SECRET_OF_SERVICE, SERVICE_NETWORK, VOLUME,
};

/// A key and what becomes of it.
pub(super) type Row = (&'static str, Fate);

/// One mapping of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Table {
    /// Its name, as in `services.*.build`.
    pub(super) name: &'static str,
    pub(super) rows: &'static [Row],
}

#[cfg(test)]
pub(super) const ALL: [&Table; 20] = [
    &TOP,
    &SERVICE,
    &OWN,
    &BUILD,
    &HEALTHCHECK,
    &DEPENDS_ON,
    &DEPLOY,
    &RESOURCES,
    &LIMITS,
    &RESERVATIONS,
    &PORT,
    &MOUNT,
    &SERVICE_NETWORK,
    &SECRET_OF_SERVICE,
    &CONFIG_OF_SERVICE,
    &NETWORK_TABLE,
    &VOLUME,
    &SECRET,
    &CONFIG,
    &ENV_FILE,
];

pub(super) const TOP: Table = Table {
    name: "",
    rows: &[
        ("services", Taken("the services")),
        ("networks", Taken("the names that services may join")),
        ("volumes", Taken("the named volumes: one each for both slots")),
        ("secrets", Taken("files of the tree, or variables")),
        ("configs", Taken("files of the tree, variables, or their content")),
        ("version", Ignored("the format has no versions any more")),
        ("name", Ignored("the app's name is the server's")),
        (
            "include",
            Refused(
                "only one file is read",
                "the services of the other file, in this one",
            ),
        ),
        (
            "models",
            Refused("there is nothing that runs models", "a service that does"),
        ),
    ],
};

pub(super) const SERVICE: Table = Table {
    name: "services.*",
    rows: &[
        (
            "image",
            Taken("the image, pulled by digest; beside build it is only a name"),
        ),
        ("build", Taken("the image is built from the tree")),
        ("command", Taken("the arguments")),
        ("entrypoint", Taken("the program")),
        ("environment", Taken("variables")),
        (
            "env_file",
            Taken("variables, from files of the tree; environment goes before them"),
        ),
        (
            "ports",
            Taken("the first container port is where the service is asked; nothing is published"),
        ),
        ("expose", Taken("ports")),
        ("volumes", Taken("named volumes, and files of the tree")),
        (
            "depends_on",
            Taken("the order of the start, with its three conditions"),
        ),
        (
            "links",
            Taken("more names of other services; nothing waits for them"),
        ),
        ("healthcheck", Taken("when the service is ready")),
        ("restart", Taken("what happens when it ends by itself")),
        ("networks", Taken("names for the service, by aliases")),
        ("container_name", Taken("one more name for the service")),
        ("hostname", Taken("the name that it has for itself")),
        (
            "profiles",
            Taken("the service is left out unless COMPOSE_PROFILES in .env names one"),
        ),
        ("secrets", Taken("files that are copied in")),
        ("configs", Taken("files that are copied in")),
        ("scale", Taken("instances, as deploy.replicas")),
        ("deploy", Taken("instances and limits")),
        (
            "extends",
            Taken("what another service of this file says, beneath what this one says"),
        ),
        ("user", Taken("who runs it")),
        ("group_add", Taken("groups of the user")),
        ("working_dir", Taken("its folder")),
        ("init", Taken("an init process that reaps")),
        ("stop_signal", Taken("the signal that ends it")),
        ("stop_grace_period", Taken("the time from that signal to SIGKILL")),
        ("read_only", Taken("a root file system that is not written to")),
        ("tmpfs", Taken("folders in memory")),
        ("shm_size", Taken("the size of /dev/shm")),
        ("ulimits", Taken("limits of its processes")),
        ("cap_drop", Taken("capabilities that it does without")),
        ("platform", Taken("the platform of the image")),
        ("mem_limit", Taken("memory, as deploy.resources.limits.memory")),
        ("cpus", Taken("CPUs, as deploy.resources.limits.cpus")),
        ("pids_limit", Taken("processes, as deploy.resources.limits.pids")),
        (
            "mem_reservation",
            Taken("memory, as deploy.resources.reservations.memory"),
        ),
        ("extra_hosts", Taken("names of addresses")),
        (
            "security_opt",
            Taken("no-new-privileges alone: the others are refused"),
        ),
        ("dns", Ignored(NETWORK)),
        ("dns_opt", Ignored(NETWORK)),
        ("dns_search", Ignored(NETWORK)),
        ("domainname", Ignored(NETWORK)),
        ("mac_address", Ignored(NETWORK)),
        ("labels", Ignored("deployer's own labels say what a container is")),
        (
            "label_file",
            Ignored("deployer's own labels say what a container is"),
        ),
        (
            "annotations",
            Ignored("deployer's own labels say what a container is"),
        ),
        ("logging", Ignored("logs are kept by deployer, with a bound")),
        ("develop", Ignored("it is for a developer's machine")),
        ("attach", Ignored("it is for a developer's terminal")),
        ("stdin_open", Ignored("nobody types there")),
        ("tty", Ignored("nobody types there")),
        ("pull_policy", Ignored("a release pulls its images by digest")),
        ("cpu_count", Ignored(STANDS)),
        ("cpu_percent", Ignored(STANDS)),
        ("cpu_period", Ignored(STANDS)),
        ("cpu_quota", Ignored(STANDS)),
        ("cpu_shares", Ignored(STANDS)),
        ("cpu_rt_period", Ignored(STANDS)),
        ("cpu_rt_runtime", Ignored(STANDS)),
        ("cpuset", Ignored(STANDS)),
        ("memswap_limit", Ignored(STANDS)),
        ("mem_swappiness", Ignored(STANDS)),
        ("blkio_config", Ignored(STANDS)),
        ("oom_kill_disable", Refused(HOST, "a limit by mem_limit")),
        ("oom_score_adj", Refused(HOST, "a limit by mem_limit")),
        (
            "privileged",
            Refused(PRIVILEGE, "an image that needs no privilege"),
        ),
        ("cap_add", Refused(PRIVILEGE, "an image that needs no capability")),
        ("devices", Refused(HOST, "an image that needs no device")),
        (
            "device_cgroup_rules",
            Refused(HOST, "an image that needs no device"),
        ),
        ("gpus", Refused(HOST, "an image that needs no device")),
        (
            "network_mode",
            Refused(WALLS, "nothing: the services of an app reach each other by name"),
        ),
        ("pid", Refused(WALLS, "nothing")),
        (
            "ipc",
            Refused(WALLS, "nothing, or shm_size where it needs shared memory"),
        ),
        ("uts", Refused(WALLS, "nothing")),
        (
            "userns_mode",
            Refused(WALLS, "nothing, or user to run it as somebody else"),
        ),
        ("cgroup", Refused(WALLS, "nothing")),
        ("cgroup_parent", Refused(WALLS, "nothing, or mem_limit and cpus")),
        ("sysctls", Refused(HOST, "nothing: set it on the server")),
        (
            "runtime",
            Refused(HOST, "nothing: the Engine's default runtime is used"),
        ),
        ("isolation", Refused(HOST, "nothing")),
        ("credential_spec", Refused(HOST, "nothing, or secrets")),
        ("storage_opt", Refused(HOST, "nothing")),
        (
            "volumes_from",
            Refused(HOST, "a named volume, in volumes of both services"),
        ),
        (
            "external_links",
            Refused(WALLS, "a service of this file, or its host name in environment"),
        ),
        (
            "provider",
            Refused("nothing but containers is run", "a service with image or build"),
        ),
        ("use_api_socket", Refused(HOST, "nothing")),
        (
            "models",
            Refused("there is nothing that runs models", "a service that does"),
        ),
        (
            "post_start",
            Refused(
                "commands in a running service are not run",
                "a script that the image begins with",
            ),
        ),
        (
            "pre_stop",
            Refused(
                "commands in a running service are not run",
                "a program that ends well on SIGTERM",
            ),
        ),
        ("x-deployer", Taken("what only deployer reads")),
    ],
};

pub(super) const OWN: Table = Table {
    name: "services.*.x-deployer",
    rows: &[
        ("scope", Taken("slot, shared, background or job")),
        ("public", Taken("true for a service that visitors reach")),
    ],
};
