# shellcheck shell=bash disable=SC2154
# RabbitMQ for the tests, with the login guest/guest that every new broker has for callers of its own machine.

# Logs in with the bytes of AMQP 0-9-1 itself, for which neither a client nor the broker's cookie is needed: the
# protocol header is answered by Connection.Start, and Connection.StartOk by Connection.Tune (class 10, method 30).
rabbitmq_ready() {
  # shellcheck disable=SC2016 # the inner shell expands it
  port_is_open "$rabbitmq_port" && timeout 5 bash -c '
    exec 9<>"/dev/tcp/127.0.0.1/$1"
    bytes() { head -c "$1" <&9 | od -An -v -tx1 | tr -d " \n"; }
    printf "AMQP\0\0\x09\x01" >&9
    header=$(bytes 7)
    head -c $((16#${header:6:8} + 1)) <&9 >/dev/null
    printf "\x01\0\0\0\0\0\x24\0\x0a\0\x0b\0\0\0\0\x05PLAIN\0\0\0\x0c\0guest\0guest\x05en_US\xce" >&9
    tune=$(bytes 11)
    [ "${tune:14:8}" = 000a001e ]' rabbitmq "$rabbitmq_port" 2>/dev/null
}

rabbitmq_install() {
  [ -x /usr/sbin/rabbitmq-server ] || install_package rabbitmq-server
}

# Without systemd: a node of our own name, which needs no resolvable host name and no other broker's queues.
rabbitmq_start() {
  say "RabbitMQ: starting"
  if has_systemd && [ "$rabbitmq_port" = 5672 ]; then
    as_root systemctl start rabbitmq-server
  else
    as_root env RABBITMQ_NODENAME="orchestrator-test-$rabbitmq_port@localhost" RABBITMQ_NODE_PORT="$rabbitmq_port" \
      RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 /usr/sbin/rabbitmq-server -detached </dev/null
  fi
}

rabbitmq_url() { printf 'amqp://guest:guest@127.0.0.1:%s/%%2f' "$rabbitmq_port"; }
