#!/bin/sh
# xinetd's own echo service at a port of 127.0.0.1:  sh xinetd_echo.sh PORT [tcp|udp]
#
# xinetd takes its services from a file alone: a pipe with a name, gone once it has been read.
set -eu
port=$1
protocol=${2:-tcp}
case $protocol in
    tcp) kind=stream waits=no ;;
    udp) kind=dgram waits=yes ;;
esac
folder=$(mktemp -d)
mkfifo "$folder/conf"
(
    { cat >"$folder/conf"; rm -r "$folder"; } <<EOF &
defaults
{
    log_type  = FILE /dev/stderr
    instances = UNLIMITED
    cps       = 100000 1
}
service echo
{
    id          = echo-$kind
    type        = INTERNAL UNLISTED
    socket_type = $kind
    protocol    = $protocol
    port        = $port
    bind        = 127.0.0.1
    wait        = $waits
    user        = $(id -un)
    disable     = no
}
EOF
)
exec xinetd -dontfork -f "$folder/conf"
