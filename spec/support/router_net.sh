#!/bin/sh
# Runs a command in a network of its own with a host behind a router: router_net.sh COMMAND...
#
#   the command  10.9.1.1 ---- 10.9.1.2  router  10.9.2.2 ---- 10.9.2.1  far
#
# The command reaches the other two as `ip -n router ...` and `ip netns exec far ...`. What the router does not forward is
# not acknowledged, as on a real link that is broken. Unix sockets are the same as outside, and nothing is left behind:
# all of it, processes too, goes with the command, for which there are 60 s. Exit code 77: that cannot be had here.
set -u

if [ "${1:-}" != --inside ]; then
    user=r
    [ "$(id -u)" != 0 ] || user=
    command -v ip >/dev/null || exit 77
    unshare "-${user}nmpf" --mount-proc --kill-child true 2>/dev/null || exit 77
    exec unshare "-${user}nmpf" --mount-proc --kill-child "$0" --inside "$@"
fi
shift
{
    mount -t tmpfs none /run && mkdir /run/netns && ip netns add router && ip netns add far &&
        ip link add near0 type veth peer name near1 netns router &&
        ip -n router link add far1 type veth peer name far0 netns far &&
        ip addr add 10.9.1.1/24 dev near0 && ip -n router addr add 10.9.1.2/24 dev near1 &&
        ip -n router addr add 10.9.2.2/24 dev far1 && ip -n far addr add 10.9.2.1/24 dev far0 &&
        ip link set lo up && ip link set near0 up && ip -n router link set lo up && ip -n router link set near1 up &&
        ip -n router link set far1 up && ip -n far link set lo up && ip -n far link set far0 up &&
        ip netns exec router sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward' &&
        ip route add default via 10.9.1.2 && ip -n far route add default via 10.9.2.2
} 2>/dev/null || exit 77
exec timeout -k 5 60 "$@"
