# shellcheck shell=bash disable=SC2154
# What the three services have in common: messages, root, packages, ports and waiting. Sourced by `up`.

say() { printf '[services] %s\n' "$*" >&2; }

die() {
  say "$*"
  exit 1
}

can_be_root() { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "needs root (or sudo) for: $*"
  fi
}

# as_user USER COMMAND…: runs it as that system user, from a folder that every user may enter.
as_user() {
  local user=$1
  shift
  (cd / && as_root runuser -u "$user" -- "$@")
}

apt_updated=no
install_package() {
  local package=$1 log
  command -v apt-get >/dev/null \
    || die "no apt-get here: install $package by hand, or name running services with TEST_DATABASE_URL, TEST_RABBITMQ_URL and TEST_REDIS_URL"
  say "installing $package"
  log=$(mktemp)
  if [ "$apt_updated" = no ]; then
    as_root apt-get -qq update >"$log" 2>&1 || say "apt-get update failed; trying with the package lists that are there"
    apt_updated=yes
  fi
  if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$package" \
    </dev/null >"$log" 2>&1; then
    cat "$log"
    die "apt-get could not install $package"
  fi
  rm -f "$log"
}

has_systemd() { [ -d /run/systemd/system ]; }

port_is_open() { (exec 9<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# wait_until SECONDS COMMAND NAME: asks COMMAND until it succeeds; fails when the time is over.
wait_until() {
  local seconds=$1 ready=$2 name=$3 started=$SECONDS told=$SECONDS
  until "$ready"; do
    [ $((SECONDS - started)) -lt "$seconds" ] || return 1
    if [ $((SECONDS - told)) -ge 10 ]; then
      told=$SECONDS
      say "$name: waiting for it ($((SECONDS - started)) of $seconds s)"
    fi
    sleep 0.5
  done
}
