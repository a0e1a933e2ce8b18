# shellcheck shell=bash disable=SC2154
# PostgreSQL for the tests. Where nobody trusts `postgres` over TCP, the tests get a role of their own.

postgresql_role=orchestrator_test
postgresql_logins=("postgres" "$postgresql_role:$postgresql_role")

# The first login that works, as the beginning of an address; fails when none does.
postgresql_server() {
  local login server
  for login in "${postgresql_logins[@]}"; do
    server="postgres://$login@127.0.0.1:$postgres_port"
    if PGCONNECT_TIMEOUT=3 psql -wqAtX "$server/postgres" -c 'select 1' >/dev/null 2>&1; then
      printf '%s' "$server"
      return
    fi
  done
  return 1
}

postgresql_as_superuser() {
  as_user postgres psql -wqAtX -p "$postgres_port" -d postgres -v ON_ERROR_STOP=1 "$@"
}

# Makes the tests' own role, through the local socket, on a server that asks for a password over TCP.
postgresql_admit() {
  can_be_root && postgresql_as_superuser -c 'select 1' >/dev/null 2>&1 || return 1
  say "PostgreSQL: creating the role $postgresql_role"
  [ "$(postgresql_as_superuser -c "select 1 from pg_roles where rolname = '$postgresql_role'")" = 1 ] \
    || postgresql_as_superuser -c "create role $postgresql_role"
  postgresql_as_superuser -c "alter role $postgresql_role login createdb password '$postgresql_role'"
}

# Whether the tests can log in, if need be after giving them a role.
postgresql_ready() {
  port_is_open "$postgres_port" || return 1
  command -v psql >/dev/null || install_package postgresql-client
  postgresql_server >/dev/null || { postgresql_admit && postgresql_server >/dev/null; }
}

postgresql_install() {
  [ -d /usr/lib/postgresql ] && command -v pg_ctlcluster >/dev/null || install_package postgresql
}

# Starts the cluster of the wanted port, which is created when there is none.
postgresql_start() {
  local version name
  if [ -z "$(postgresql_cluster)" ]; then
    version=$(find /usr/lib/postgresql -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -V | tail -n 1)
    say "PostgreSQL: creating a cluster"
    as_root pg_createcluster --port "$postgres_port" "$version" "orchestrator-test-$postgres_port" >/dev/null
  fi
  read -r version name < <(postgresql_cluster)
  say "PostgreSQL: starting $version/$name"
  if has_systemd; then
    as_root systemctl start "postgresql@$version-$name"
  else
    as_root pg_ctlcluster "$version" "$name" start
  fi
}

# Version and name of the cluster that is configured for the wanted port; nothing when there is none.
postgresql_cluster() {
  pg_lsclusters --no-header | awk -v port="$postgres_port" '$3 == port && !found {print $1, $2; found = 1}'
}

# Address of the database `test`, or of one of our own when `test` is missing or somebody else's.
postgresql_url() {
  local server database
  server=$(postgresql_server)
  if [ "$(psql -wqAtX "$server/test" -c "select has_database_privilege('test', 'create')" 2>/dev/null)" = t ]; then
    database=test
  else
    database=$postgresql_role
    [ "$(psql -wqAtX "$server/postgres" -c "select 1 from pg_database where datname = '$database'")" = 1 ] \
      || psql -wqAtX "$server/postgres" -c "create database $database"
  fi
  printf '%s/%s' "$server" "$database"
}
