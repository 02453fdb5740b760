# shellcheck shell=bash
# Around the story that script/demo tells: programs, ports, daemons, and the removal of all that was made. Sourced by
# script/demo, never run.

# --keep, the demo's folder once there is one, and the traffic's process while it runs: what clean_up goes by.
keep=no work='' traffic=''

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
  local ports=() port
  for ((port = 18080; port < 19080 && ${#ports[@]} < 4; port++)); do
    is_free "$port" && ports+=("$port")
  done
  ((${#ports[@]} == 4)) || fail 'no four free ports between 18080 and 19080'
  public=127.0.0.1:${ports[0]} green_port=${ports[1]} blue_port=${ports[2]} registry_address=127.0.0.1:${ports[3]}
}

# Whether nothing listens on port $1, on whichever address.
is_free() {
  ! cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -qiE "^ *[0-9]+: [0-9A-F]+:$(printf %04X "$1") [0-9A-F]+:[0-9A-F]{4} 0A "
}

write_configuration() {
  local subnet
  subnet=$(choose_subnet)
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

# A private subnet that overlaps no route of this machine and no network of the Engine.
choose_subnet() {
  local taken candidate
  taken=$(taken_subnets)
  for candidate in 10.{240..254}.0.0/22 172.{20..31}.240.0/22 192.168.{200,204,208,212,216}.0/22; do
    if ! overlaps_any "$candidate" "$taken"; then
      echo "$candidate"
      return
    fi
  done
  fail 'no free private subnet for the demo'
}

taken_subnets() {
  docker network ls -q | xargs -r docker network inspect --format '{{range .IPAM.Config}}{{.Subnet}}{{"\n"}}{{end}}' | grep -F . || true
  # Destination and mask as the kernel writes them: hexadecimal, the lowest byte first.
  local destination mask bits
  while read -r _ destination _ _ _ _ _ mask _; do
    [[ $mask == Mask || $mask == 00000000 ]] && continue
    bits=0
    for ((mask = 16#$mask; mask > 0; mask >>= 1)); do bits=$((bits + (mask & 1))); done
    printf '%d.%d.%d.%d/%d\n' "0x${destination:6:2}" "0x${destination:4:2}" "0x${destination:2:2}" "0x${destination:0:2}" "$bits"
  done </proc/net/route
}

overlaps_any() {
  local other shift
  while read -r other; do
    [[ $other == *.*/* ]] || continue
    shift=$((32 - (${1#*/} < ${other#*/} ? ${1#*/} : ${other#*/})))
    (($(as_number "${1%/*}") >> shift == $(as_number "${other%/*}") >> shift)) && return 0
  done <<<"$2"
  return 1
}

as_number() {
  local a b c d
  IFS=. read -r a b c d <<<"$1"
  echo $((a << 24 | b << 16 | c << 8 | d))
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

start_registry() {
  mkdir "$work/registry"
  cat >"$work/registry.yml" <<END
version: 0.1
log: { level: error, accesslog: { disabled: true } }
storage:
  filesystem: { rootdirectory: $work/registry }
  delete: { enabled: true }
http: { addr: "$registry_address" }
END
  setsid docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 </dev/null &
  wait_until 20 curl -sf "http://$registry_address/v2/" || fail "the registry did not start: $(tail -n 3 "$work/registry.log")"
}

start_proxy() {
  setsid deployer proxy run >"$work/proxy.log" 2>&1 </dev/null &
  wait_until 20 curl -s -o /dev/null "http://$public/" || fail "the proxy did not start: $(tail -n 3 "$work/proxy.log")"
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
  local processes
  mapfile -t processes < <(find_processes)
  end "$traffic" "${processes[@]}"
  docker ps -aq --filter "label=deployer.network=$name" | xargs -r docker rm -f >/dev/null 2>&1 || true
  docker network rm "$name" >/dev/null 2>&1 || true
  remove_images
  rm -rf "$work"
  exit "$code"
}

# Tags go by name and never by id: an image of someone else's may be the same one. What has no name goes when it was
# built on the demo's own base image, as the layers of the build that failed.
remove_images() {
  local layer
  docker images --digests --format '{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}' | grep -F "$registry_address/" |
    tr ' ' '\n' | xargs -r -n 1 docker rmi >/dev/null 2>&1 || true
  layer=$(docker image inspect --format '{{index .RootFS.Layers 0}}' "$base_image" 2>/dev/null) || return 0
  docker ps -aq --filter "ancestor=$base_image" | xargs -r docker rm -f >/dev/null 2>&1 || true
  docker images -aq --filter "since=$base_image" | xargs -r docker image inspect --format '{{.Id}} {{.RootFS.Layers}}' |
    grep -F "$layer" | cut -d' ' -f1 | xargs -r -n 1 docker rmi >/dev/null 2>&1 || true
  docker rmi "$base_image" >/dev/null 2>&1 || true
}

# The proxy, the workers and the registry: no child of this script's, once they are detached or kept. The demo's folder
# in their arguments or environment tells them from all others.
find_processes() {
  local process
  for process in /proc/[0-9]*; do
    if [[ $(readlink "$process/exe") =~ /(deployer|docker-registry)( \(deleted\))?$ ]] &&
      grep -qsF "$work/" "$process"/{cmdline,environ}; then
      echo "${process##*/}"
    fi
  done
}

# Ends processes of this demo: politely, and after 5 seconds for good.
end() {
  local process
  for process; do
    if [[ -z $process ]] || ! kill "$process" 2>/dev/null; then
      continue
    fi
    wait_until 5 is_gone "$process" || kill -9 "$process" 2>/dev/null || true
  done
}

is_gone() {
  [[ ! -e /proc/$1 || $(cut -d' ' -f3 "/proc/$1/stat") == Z ]]
}
