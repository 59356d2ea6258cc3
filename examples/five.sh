#!/usr/bin/env bash
# Chat over the five messages. Run: bash five.sh HOST PORT NAME. Then type; the end of input leaves.
exec 3<> "/dev/udp/$1/$2" || exit 1

# Print the reply to a request. A join or a poll may be sent again without harm; anything else is sent once.
ask() {
    local tries=1 reply
    [[ $1 == [15]* ]] && tries=5
    while ((tries-- > 0)); do
        printf '%s' "$1" | dd bs=65507 iflag=fullblock status=none >&3        # one write is one datagram
        reply=$(timeout 2 dd bs=65507 count=1 status=none <&3) || continue    # and one read is one, too
        [[ -z $reply ]] || printf '%s\n' "$reply"
        return
    done
    echo "no reply" >&2
    exit 1
}

names=$(ask "1 $3") || exit 1
printf '%s\n' "$names"
[[ $names != "Illegal message" ]] || exit 1
while true; do
    if IFS= read -r -t 1 line; then
        ask "${line:+2 }${line:-5}"
    elif (($? > 128)); then # nothing was typed for a second
        ask 5
    else
        [[ -z $line ]] || ask "2 $line"
        break
    fi
done
ask 4
