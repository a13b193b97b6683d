# What the scripts share. They begin with: . "$(dirname "$0")/lib.sh"
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

# need_command COMMAND [DEBIAN_PACKAGE…]: the command is there afterwards. Root gets the packages (by default the one
# named like the command); anybody else is told in one line what to install.
need_command() {
  command -v "$1" >/dev/null && return
  local command=$1 packages=("${@:2}")
  [ ${#packages[@]} -gt 0 ] || packages=("$command")
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # A fresh machine knows no package until it has read the lists; once per script is enough.
    [ -n "${apt_lists_read:-}" ] || apt-get update -qq >&2 || true
    apt_lists_read=1
    install_packages "${packages[@]}"
  fi
  command -v "$command" >/dev/null || die "The command $command is missing: install the Debian package(s) ${packages[*]}."
}

# Debian starts a service that it installs; the tests start their own, on ports of their own. (A subshell, for its trap.)
install_packages() (
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 || true
)

# Debian's cargo is older than the project needs, so this one is never installed behind the user's back.
need_cargo() {
  PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin # a shell that never read the login profile lacks it
  command -v cargo >/dev/null || die "The command cargo is missing: install Rust ($(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml") or newer) with rustup."
}

# npm_packages DIR: DIR/node_modules is what DIR/package-lock.json says. No package's install script runs.
npm_packages() {
  need_command npm
  need_command node nodejs
  # The lock: two scripts that start together must not install into one folder at once.
  (
    flock 9
    cmp -s "$1/package-lock.json" "$1/node_modules/.installed-lock" && exit
    npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel=error >&2 || die "npm ci failed in $1."
    cp "$1/package-lock.json" "$1/node_modules/.installed-lock"
  ) 9<"$1/package-lock.json"
}

# pip_packages DIR: DIR/.venv holds what DIR/requirements.txt says.
pip_packages() {
  need_command python3 python3 python3-venv
  (
    flock 9
    cmp -s "$1/requirements.txt" "$1/.venv/installed-requirements" && exit
    # On Debian, python3 is there but makes no venv before python3-venv is.
    python3 -c 'import ensurepip' 2>/dev/null || [ "$(id -u)" != 0 ] || apt-get install -y -qq --no-install-recommends python3-venv >&2
    python3 -m venv --clear "$1/.venv" >&2 || die "python3 can't make a virtual environment: install the Debian package python3-venv."
    "$1/.venv/bin/pip" install --quiet --disable-pip-version-check -r "$1/requirements.txt" >&2 || die "pip install failed in $1."
    cp "$1/requirements.txt" "$1/.venv/installed-requirements"
  ) 9<"$1/requirements.txt"
}

# port_answers PORT [HOST]: does something listen there? (localhost: on either address family)
port_answers() {
  (exec 3<>"/dev/tcp/${2:-127.0.0.1}/$1") 2>/dev/null
}

# free_port: prints one. It lies below the range that the kernel gives to outgoing connections, of which a test opens
# thousands: a port from that range may be taken again before the server binds it.
free_port() {
  local port
  for _ in {1..100}; do
    port=$((20000 + RANDOM % 10000))
    port_answers "$port" || { echo "$port" && return; }
  done
  die "No free port between 20000 and 30000."
}

# wait_for_port PORT [PID] [SECONDS]: returns when something listens on 127.0.0.1:PORT; fails when PID ended or the time is over.
wait_for_port() {
  local end=$((SECONDS + ${3:-10}))
  until port_answers "$1"; do
    [ -z "${2:-}" ] || kill -0 "$2" 2>/dev/null || return 1
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.05
  done
}
