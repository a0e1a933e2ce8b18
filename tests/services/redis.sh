# shellcheck shell=bash disable=SC2154
# Redis for the tests; keeps nothing on disk.

redis_ready() {
  # shellcheck disable=SC2016 # the inner shell expands it
  port_is_open "$redis_port" && timeout 3 bash -c '
    exec 9<>"/dev/tcp/127.0.0.1/$1"
    printf "PING\r\n" >&9
    read -r answer <&9
    [ "${answer%$'"'\r'"'}" = +PONG ]' redis "$redis_port" 2>/dev/null
}

redis_install() {
  command -v redis-server >/dev/null || install_package redis-server
}

redis_start() {
  say "Redis: starting"
  redis-server --daemonize yes --bind 127.0.0.1 --port "$redis_port" --save '' --appendonly no --dir /tmp >/dev/null
}

redis_url() { printf 'redis://127.0.0.1:%s/' "$redis_port"; }
