# shellcheck shell=bash
# Around the story that script/demo tells: programs, configuration, and the removal of all that was made. Sourced by
# script/demo after script/world.sh, never run.

# --keep, and the traffic's process while it runs: with the demo's folder, once there is one, what clean_up goes by.
keep=no traffic=''

prepare() {
  script/setup
  find_cargo
  printf 'build      deployer (the dev profile: quicker to build, and quick enough for this)\n'
  cargo build --locked --bin deployer
  name=deployer-demo-$$ base_image=deployer-demo-$$-base
  choose_ports
  # From here on there is something to clean up.
  work=$(mktemp -d "${TMPDIR:-/tmp}/deployer-demo.XXXXXX")
  state=$work/state
  rustc --edition 2024 -O -C target-feature=+crt-static -C strip=symbols -o "$work/server" tests/app/app.rs
  rustc --edition 2024 -O -o "$work/traffic" script/traffic.rs
  write_configuration
  PATH=$(target_folder)/debug:$PATH
  export PATH DEPLOYER_CONFIG=$work/deployer.toml
  # Whatever git's own configuration on this machine says, the story stays the same.
  export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
  export GIT_AUTHOR_NAME=demo GIT_AUTHOR_EMAIL=demo@localhost GIT_COMMITTER_NAME=demo GIT_COMMITTER_EMAIL=demo@localhost
  unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
}

choose_ports() {
  local ports
  ports=$(free_ports 4)
  { read -r public && read -r green_port && read -r blue_port && read -r registry_address; } <<<"$ports"
  public=127.0.0.1:$public registry_address=127.0.0.1:$registry_address
}

write_configuration() {
  local subnet
  subnet=$(choose_subnet 22)
  cat >"$work/deployer.toml" <<END
state = "$state"

[engine]
host = "${DOCKER_HOST:-unix:///var/run/docker.sock}"
network = "$name"
subnet = "$subnet"

[registry]
address = "$registry_address"

[proxy]
listen = "$public"

[app.shop]
ports = { green = $green_port, blue = $blue_port }
probe = { kind = "http", path = "/healthz", deadline = "5s" }
END
}

# The app's server, and a shell for its tests: all that the demo's images are made of.
make_base_image() {
  local root=$work/base applet
  mkdir -p "$root/bin" "$root/tmp"
  cp "$work/server" "$root/bin/shop"
  cp "$(command -v busybox)" "$root/bin/busybox"
  for applet in sh cat grep ls; do ln -s busybox "$root/bin/$applet"; done
  tar -C "$root" -c . | docker import - "$base_image" >/dev/null
}

say_what_is_kept() {
  cat <<END

Kept: $work, with the configuration, the state and the working tree; http://$public/ answers.
  to look:   DEPLOYER_CONFIG=$work/deployer.toml $(command -v deployer) status
  to clean:  $PWD/script/demo --clean $work
END
}

# Takes up a kept demo, to remove it.
clean_kept() {
  work=$1
  [[ -f $work/deployer.toml ]] || fail "$work is not the folder of a kept demo"
  name=$(sed -n 's/^network = "\(.*\)"/\1/p' "$work/deployer.toml")
  registry_address=$(sed -n 's/^address = "\(.*\)"/\1/p' "$work/deployer.toml")
  [[ -n $name && -n $registry_address ]] || fail "$work/deployer.toml is not the demo's"
  base_image=$name-base
  clean_up
}

clean_up() {
  local code=$?
  trap '' EXIT INT TERM HUP
  [[ -n $work ]] || exit "$code"
  if [[ $keep == yes && $code != 130 ]]; then
    disown -a
    exit "$code"
  fi
  end "$traffic"
  remove_world
  remove_unnamed_images
  rm -rf "$work"
  exit "$code"
}

# What has no name goes when it was built on the demo's own base image, as the layers of the build that failed.
remove_unnamed_images() {
  local layer
  layer=$(docker image inspect --format '{{index .RootFS.Layers 0}}' "$base_image" 2>/dev/null) || return 0
  docker ps -aq --filter "ancestor=$base_image" | xargs -r docker rm -f >/dev/null 2>&1 || true
  docker images -aq --filter "since=$base_image" | xargs -r docker image inspect --format '{{.Id}} {{.RootFS.Layers}}' |
    grep -F "$layer" | cut -d' ' -f1 | xargs -r -n 1 docker rmi >/dev/null 2>&1 || true
  docker rmi "$base_image" >/dev/null 2>&1 || true
}
