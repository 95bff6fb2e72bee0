#!/usr/bin/env bash
# Runs PostgreSQL on a volume that may contain the data of an earlier pod or stack, with other passwords.
#
#   start.sh prepare         initialises an empty volume, then sets roles and passwords from the mounted files
#   start.sh serve [OPTION]  becomes the server; passes the options to `postgres`
#
# PGDATA               the data directory: <volume>/<major version>
# NEOBANK_CREDENTIALS  the folder with one file for each password (owner, application, application_previous, backup,
#                      metrics) and the rotation number of the application (application_number); only for prepare
# NEOBANK_TLS          the folder with tls.crt, tls.key and ca.crt; if it is set, all TCP connections must use TLS
#
# `prepare` and `serve` first wait for a lock on the volume; every process of the server inherits it. The lock is necessary,
# because two pods of one node can mount a ReadWriteOnce volume, the PID in postmaster.pid means nothing in another PID
# namespace, and two servers on one directory lose committed rows.
set -euo pipefail

refuse() {
    echo "start.sh: $1" >&2
    exit 1
}

require_own() {
    local owner
    owner=$(stat -c %u "$1")
    [ "$owner" = "$(id -u)" ] || refuse "$1 belongs to UID $owner and this image runs as $(id -u): see docs/postgresql-upgrade.md."
}

lock_volume() {
    [ ! -e "$volume/.lock" ] || require_own "$volume/.lock"
    [ -w "$volume" ] || refuse "the volume $volume is not writable for UID $(id -u): change its owner to that UID, or its group to one of $(id -G)."
    exec 9>>"$volume/.lock"
    flock -n 9 && return
    echo "start.sh: another server still uses $volume; waiting until it stops." >&2
    # flock runs in the background, because bash runs a trap only after a foreground command has ended.
    flock 9 &
    trap 'kill $!; exit 143' INT TERM
    wait $!
    trap 'exit 143' INT TERM
}

require_files() {
    local folder=$1 file
    for file in "${@:2}"; do
        [ -n "$(cat "$folder/$file" 2>/dev/null)" ] || refuse "the file $folder/$file is missing, empty or not readable."
    done
}

require_credentials() {
    require_files "$NEOBANK_CREDENTIALS" owner application application_previous application_number backup metrics
    [[ "$(cat "$NEOBANK_CREDENTIALS/application_number")" =~ ^[1-9][0-9]{0,6}$ ]] ||
        refuse "$NEOBANK_CREDENTIALS/application_number is not a whole number from 1 to 9999999."
}

refuse_incompatible_data() {
    local found
    for found in "$volume"/*/; do
        case "$found" in */lost+found/) continue ;; esac
        # A folder that cannot be entered may contain data.
        [ ! -d "$found" ] || [ -x "$found" ] ||
            refuse "$found belongs to UID $(stat -c %u "$found") and cannot be entered by UID $(id -u), which this image uses: see docs/postgresql-upgrade.md."
    done
    if [ -f "$PGDATA/PG_VERSION" ]; then
        require_own "$PGDATA"
        found=$(cat "$PGDATA/PG_VERSION")
        [ "$found" = "$major" ] || refuse "$PGDATA contains data of PostgreSQL $found, but this image is PostgreSQL $major: see docs/postgresql-upgrade.md."
        return
    fi
    [ "$(basename "$PGDATA")" = "$major" ] || refuse "the data directory is $PGDATA, but this image is PostgreSQL $major: set postgres.major and postgres.image to the same version."
    for found in "$volume/PG_VERSION" "$volume"/*/PG_VERSION "$volume"/*/*/PG_VERSION; do
        [ ! -f "$found" ] || refuse "the volume contains data of PostgreSQL $(cat "$found" 2>/dev/null || echo "?") in $(dirname "$found") but none of PostgreSQL $major: see docs/postgresql-upgrade.md."
    done
}

# Initialises in a temporary directory first, so that an interrupted initdb never looks like a database.
initialise() {
    local temporary="$volume/.initialising"
    [ ! -e "$PGDATA" ] || rmdir "$PGDATA" 2>/dev/null || refuse "$PGDATA is not empty and is not a database: move it elsewhere."
    rm -rf "$temporary"
    initdb --pgdata="$temporary" --username=postgres --encoding=UTF8 --locale=C --data-checksums \
        --auth-local=peer --auth-host=scram-sha-256 --no-instructions
    mv "$temporary" "$PGDATA"
    sync
}

# Corrects the mode, removes what an earlier server left, and writes pg_ident.conf and pg_hba.conf. The lock guarantees that
# no server uses the directory.
configure_data_directory() {
    chmod u=rwx,go=,g-s "$PGDATA"        # fsGroup sets 2770, which the server refuses
    rm -f "$PGDATA/postmaster.pid"
    : >"$PGDATA/postgresql.auto.conf"    # an earlier ALTER SYSTEM would override postgresql.conf
    printf 'superuser %s postgres\n' "$(id -un)" >"$PGDATA/pg_ident.conf"
    sed "s/^host /$tcp_entry /" "$files/pg_hba.conf" >"$PGDATA/pg_hba.conf"
}

# Runs a server without network until standard input ends. The shell that starts it holds the other end of the pipe: when
# that shell ends, even by SIGKILL, the server stops. It records no statements, which contain passwords.
serve_until_end_of_input() {
    local server
    postgres "${options[@]}" -c listen_addresses= -c unix_socket_directories="$private" \
        -c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic \
        -c pg_stat_statements.track=none </dev/null 2>&1 &
    server=$!
    { cat >/dev/null; kill -INT "$server"; } <&0 2>/dev/null &
    wait "$server" || true
    rm -rf "$private"
}

superuser() {
    psql --no-psqlrc --quiet --tuples-only --no-align --host="$private" --username=postgres --dbname=postgres "$@" 8>&-
}

# Creates the WAL files that min_wal_size keeps, as far as there is space. A server that needs a new WAL file on a full
# disk ends and can't start again; with them it rejects writes, and players can read.
reserve_wal() {
    local file
    for file in $(superuser --command="SELECT pg_walfile_name(pg_current_wal_insert_lsn() + file * 16777216)
            FROM pg_settings, generate_series(1, setting::int / 16 - 1) AS file WHERE name = 'min_wal_size'"); do
        file="$PGDATA/pg_wal/$file"
        [ -e "$file" ] || (umask 077 && fallocate -l 16777216 "$file" 2>/dev/null) || { rm -f "$file" && break; }
    done
}

# Runs roles.sql on a temporary server, then stops it.
synchronise_roles() {
    private=$(mktemp -d)
    mkfifo "$private/pipe"
    exec 8<>"$private/pipe"
    serve_until_end_of_input <"$private/pipe" 8>&- &
    keeper=$!
    trap 'exec 8>&-; pg_ctl stop --silent --mode=fast 2>/dev/null || true; wait "$keeper" || true' EXIT
    until pg_isready --quiet --host="$private" --username=postgres --dbname=postgres; do
        kill -0 "$keeper" 2>/dev/null || refuse "PostgreSQL did not start; the reason is in its log above."
        sleep 0.1
    done
    superuser --file="$files/roles.sql"
    reserve_wal
    pg_ctl stop --silent --wait --timeout=3600 --mode=fast
}

prepare() {
    require_credentials
    lock_volume
    refuse_incompatible_data
    [ -f "$PGDATA/PG_VERSION" ] || initialise
    configure_data_directory
    synchronise_roles
}

serve() {
    lock_volume
    refuse_incompatible_data
    [ -f "$PGDATA/PG_VERSION" ] || refuse "$PGDATA is not a database: run 'start.sh prepare' first."
    configure_data_directory
    exec postgres "${options[@]}" "$@"
}

trap 'exit 143' INT TERM   # process 1 of a container ignores these signals by default
export PGDATA
volume=$(dirname "$PGDATA")
files=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
options=(-c config_file="$files/postgresql.conf" -c hba_file="$PGDATA/pg_hba.conf" -c ident_file="$PGDATA/pg_ident.conf")
# Not every build of PostgreSQL contains pg_stat_statements.
programs=$(dirname "$(readlink -f "$(command -v postgres)")")
for library in "$programs"/../lib/{,postgresql/}pg_stat_statements.so; do
    [ ! -e "$library" ] || options+=(-c shared_preload_libraries=pg_stat_statements)
done
major=$(postgres --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
# A checkpoint writes a file for replication origins, and on a full disk that ends the server. The bank has none.
[ "$major" -lt 18 ] || options+=(-c max_active_replication_origins=0)
tcp_entry=host
if [ -n "${NEOBANK_TLS:-}" ]; then
    require_files "$NEOBANK_TLS" tls.crt tls.key ca.crt
    options+=(-c ssl=on -c ssl_cert_file="$NEOBANK_TLS/tls.crt" -c ssl_key_file="$NEOBANK_TLS/tls.key" -c ssl_min_protocol_version=TLSv1.3)
    tcp_entry=hostssl
fi

case "${1:-}" in
    prepare) prepare ;;
    serve) shift && serve "$@" ;;
    *) refuse "use 'start.sh prepare' or 'start.sh serve'." ;;
esac
