# shellcheck shell=bash
# A deployer of one's own beside whatever runs on this machine: free ports and addresses, a registry, a proxy, and the
# removal of all of it. Sourced after script/lib.sh, never run.
#
# The caller sets the network's name, which marks all containers; a folder of its own; and two addresses with ports.
name='' work='' registry_address='' public=''

# $1 ports that are free, each on a line.
free_ports() {
  local found=0 port
  for ((port = 18080; port < 19080 && found < $1; port++)); do
    if is_free "$port"; then
      echo "$port"
      found=$((found + 1))
    fi
  done
  ((found == $1)) || fail "no $1 free ports between 18080 and 19080"
}

# Whether nothing listens on port $1, on whichever address.
is_free() {
  ! cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -qiE "^ *[0-9]+: [0-9A-F]+:$(printf %04X "$1") [0-9A-F]+:[0-9A-F]{4} 0A "
}

# A private subnet of prefix $1, 16 to 22, that overlaps no route of this machine and no network of the Engine.
choose_subnet() {
  local taken candidate
  taken=$(taken_subnets)
  for candidate in 10.{240..254}.0.0 172.{20..31}.240.0 192.168.{192,208}.0; do
    # Of a large subnet not each of these is the first address.
    (($(as_number "$candidate") % (1 << (32 - $1)) == 0)) || continue
    if ! overlaps_any "$candidate/$1" "$taken"; then
      echo "$candidate/$1"
      return
    fi
  done
  fail 'no free private subnet'
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

# Ends the processes, and removes containers, network and named images. Images go by name and never by id: an image of
# someone else's may be the same one.
remove_world() {
  local processes
  mapfile -t processes < <(find_processes)
  end "${processes[@]}"
  docker ps -aq --filter "label=deployer.network=$name" | xargs -r docker rm -f -v >/dev/null 2>&1 || true
  docker network rm "$name" >/dev/null 2>&1 || true
  docker images --digests --format '{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}' | grep -F "$registry_address/" |
    tr ' ' '\n' | xargs -r -n 1 docker rmi >/dev/null 2>&1 || true
}

# The proxy, the workers, the registry, and what is compared with them: no child of this script's, once they are
# detached or kept. The folder in their arguments or environment tells them from all others.
find_processes() {
  local process
  for process in /proc/[0-9]*; do
    if [[ $(readlink "$process/exe") =~ /(deployer|docker-registry|nginx|haproxy|caddy|server)( \(deleted\))?$ ]] &&
      grep -qsF "$work/" "$process"/{cmdline,environ}; then
      echo "${process##*/}"
    fi
  done
}

# Ends processes: politely, and after 5 seconds for good.
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
