#!/bin/sh
# What happens when a backend dies: three backends with heartbeats, and a balancer that is told when one is gone.
#
#   sh examples/backends.sh          needs noah in PATH, and python3 for the backends; ends all that it has started
#
# Each backend is a web server under `noah session run`: as long as that runs, the service web is up on it. The balancer
# waits until two of them are up (`noah block`), writes its list, and then listens for pokes: whenever one of the services
# changes it writes the list again. Then one backend is killed together with what keeps its session, as when its machine
# dies: nobody says goodbye. When its time to live is over, noah turns its service down, and pokes the balancer.
set -eu

TTL=${TTL:-2}                       # seconds that a dead backend is still believed in
DIRECTORY=$(mktemp -d)
PIDS=
now() { date +%H:%M:%S.%3N; }
say() { echo "$(now)  $*"; }

cleanup() {
    trap - EXIT INT TERM
    for pid in $PIDS; do kill "$pid" 2> /dev/null || true; done
    wait
    rm -rf "$DIRECTORY"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Waits until a file has a line with these words.
until_said() {
    for _ in $(seq 200); do
        if grep -q "$2" "$1" 2> /dev/null; then return 0; fi
        sleep 0.05
    done
    say "$1 never said $2:"
    cat "$1"
    exit 1
}

noah serve --listen 127.0.0.1:0 --store "sqlite:$DIRECTORY/noah.db" > "$DIRECTORY/serve" 2> "$DIRECTORY/serve.log" &
PIDS="$PIDS $!"
until_said "$DIRECTORY/serve" "listening on"
NOAH_URL=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$DIRECTORY/serve" | head -n 1)
export NOAH_URL

# The balancer writes the backends that are up, whatever it was told about.
cat > "$DIRECTORY/balance" << 'SCRIPT'
#!/bin/sh
list=$(noah list services --status up | awk '$1 == "web" { print $2 }' | tr '\n' ' ')
echo "$(date +%H:%M:%S.%3N)  balancer: ${NOAH_ACTION:-start}, backends are: $list" >> "$1"
SCRIPT
chmod +x "$DIRECTORY/balance"
LOG=$DIRECTORY/balancer.log
: > "$LOG"

say "balancer: waits for two backends"
noah block services/web --count 2 --status up --timeout 30 && "$DIRECTORY/balance" "$LOG" &
BALANCER=$!
PIDS="$PIDS $BALANCER"

for n in 1 2 3; do
    # setsid: so that it can be killed with all that it has started.
    setsid noah session run --ttl "${TTL}s" --name "backend$n" --put "services/web/backend$n=up" -- \
        python3 -m http.server --bind 127.0.0.1 --directory "$DIRECTORY" 0 > "$DIRECTORY/backend$n" 2>&1 &
    PIDS="$PIDS $!"
    eval "BACKEND$n=$!"
    say "backend$n: starts"
    noah block "services/web/backend$n" --data up --timeout 10
done
wait "$BALANCER"
cat "$LOG"

noah poke --listen 127.0.0.1:0 --log-level warn -- "$DIRECTORY/balance" "$LOG" > "$DIRECTORY/poke" 2>&1 &
PIDS="$PIDS $!"
until_said "$DIRECTORY/poke" "listening on"
POKE=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$DIRECTORY/poke" | head -n 1)
noah watch add //noah/services/web "$POKE/" --from current > /dev/null
until_said "$LOG" "backends are: backend1 backend2 backend3 $"
tail -n 1 "$LOG"

say "backend2: is killed, and what keeps its session as well"
KILLED=$(date +%s%3N)
pkill -9 -s "$BACKEND2"
until_said "$LOG" "expire, backends are: backend1 backend3 $"
TOOK=$(($(date +%s%3N) - KILLED))
tail -n 1 "$LOG"
say "the balancer knew after $TOOK ms; the time to live is $((TTL * 1000)) ms"
if [ "$TOOK" -gt $((TTL * 1000 + 1000)) ]; then
    say "that is too late"
    exit 1
fi
