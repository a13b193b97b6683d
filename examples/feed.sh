#!/bin/sh
# Feeds examples/dashboard.rs: this machine's load and free memory, each second, with nothing but XADD.
# Arguments go to redis-cli: examples/feed.sh -h redis.example.net --user feeder --pass secret
# What stands in `data` is what the official adapter writes: an event for the clients of a room.
figure() {
  redis-cli "$@" XADD 'socket.io#/#' MAXLEN '~' 1000000 '*' nsp / type 3 data \
    '{"packet":{"type":2,"data":["figure",{"name":"'"$name"'","value":"'"$value"'"}]},"opts":{"rooms":["figures"],"except":[],"flags":{}}}'
}

while :; do
  read -r value _ </proc/loadavg
  name=load figure "$@" || exit
  value=$(awk '/MemAvailable/ { printf "%d MiB", $2 / 1024 }' /proc/meminfo)
  name="free memory" figure "$@" || exit
  sleep "${EVERY:-1}"
done
