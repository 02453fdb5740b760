# shellcheck shell=bash
# What several scripts use. Sourced, never run; the caller stands in the repository's folder.

# The comment at the top of script $1, as its help.
print_help() {
  sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$1"
}

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# True once `"$@"` succeeds; false when that takes more than $1 seconds.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

# Rust as rustup installs it is found also where the shell's profile does not name it.
find_cargo() {
  if ! command -v cargo >/dev/null && [[ -x ${CARGO_HOME:-$HOME/.cargo}/bin/cargo ]]; then
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  fi
  command -v cargo >/dev/null
}

# The folder that cargo builds into.
target_folder() {
  printf '%s\n' "${CARGO_TARGET_DIR:-$PWD/target}"
}

engine_answers() {
  docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}
