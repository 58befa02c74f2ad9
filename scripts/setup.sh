#!/bin/sh
# Makes .venv exactly as uv.lock says, with a private uv where there is none, and sees that the system libraries that
# draw PDFs are there. Run again, it does nothing. Called by `make setup`; `setup.sh lock` writes uv.lock again.
#
# PYTHON     the Python to start with (default: python3); UV_PYTHON chooses the one inside .venv
set -eu
cd "$(dirname "$0")/.."

LIBRARIES="libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 libfontconfig1" # names of the packages in Debian
STAMP=.venv/made-from
export UV_PROJECT_ENVIRONMENT=.venv
unset VIRTUAL_ENV
# Trust whom the machine trusts (a company's own certificates, say), where it has a list.
if [ -s /etc/ssl/certs/ca-certificates.crt ] || [ -s /etc/pki/tls/certs/ca-bundle.crt ]; then
    export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
fi

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }
can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

install() {
    export DEBIAN_FRONTEND=noninteractive
    say "installing $*"
    apt-get install -qq -y --no-install-recommends "$@" >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -qq -y --no-install-recommends "$@" >/dev/null; }
}

# A uv that knows dependency groups; one by the name of a shim, without a uv behind it, does not count.
find_uv() {
    for uv in "${UV:-}" .venv-uv/bin/uv uv; do
        if [ -n "$uv" ] && "$uv" sync --help 2>/dev/null | grep -q -- --all-groups; then return; fi
    done
    return 1
}

# pip reads the machine's own settings (index, certificates, proxy); --target needs no venv module and is not refused
# where the system's Python is managed by packages.
fetch_uv() {
    python=${PYTHON:-python3}
    command -v "$python" >/dev/null || die "Python 3.11, 3.12 or 3.13 is needed; PYTHON=... names one that is not 'python3'."
    say "fetching uv into .venv-uv"
    rm -rf .venv-uv
    { "$python" -m venv .venv-uv && .venv-uv/bin/python -m pip install -q uv; } >.venv-uv.log 2>&1 ||
        { rm -rf .venv-uv && "$python" -m pip install -q --target .venv-uv uv; } >>.venv-uv.log 2>&1 ||
        { cat .venv-uv.log >&2; rm -f .venv-uv.log; die "uv could not be fetched. Install it, or python3-venv and pip."; }
    rm -f .venv-uv.log
    echo '*' >.venv-uv/.gitignore
}

# Whether a Python serves, and was not built as a shared library without optimisation, as pyenv does unless told
# otherwise: that makes all that follows a quarter slower.
is_quick() {
    "$1" - 2>/dev/null <<'END'
import sys, sysconfig
from pathlib import Path
maps = Path("/proc/self/maps")
shared = maps.exists() and "/libpython" in maps.read_text()
optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
sys.exit(not (3, 11) <= sys.version_info < (3, 14) or shared and not optimised)
END
}

# Where nobody says which, a quick one goes before uv's own choice.
choose_python() {
    if [ -n "${UV_PYTHON:-}" ]; then return; fi
    for each in ${PYTHON:-python3 python3.13 python3.12 python3.11 /usr/bin/python3 /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11}; do
        if is_quick "$each"; then UV_PYTHON=$(command -v "$each"); export UV_PYTHON; return; fi
    done
}

quiet() { [ -t 2 ] || echo --quiet; }

# The same versions and hashes through pip, for machines where pip is told of an index and uv is not.
sync_by_pip() {
    say "uv could not fetch the packages; trying pip, with its own settings"
    python=
    for each in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
        if "$each" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then python=$each; break; fi
    done
    [ -n "$python" ] || die "Python 3.11, 3.12 or 3.13 is needed; PYTHON=... names one."
    "$python" -m venv --clear .venv
    "$uv" export --quiet --frozen --all-groups --no-emit-project --output-file .venv/requirements.txt >/dev/null
    .venv/bin/python -m pip install -q --require-hashes -r .venv/requirements.txt
    .venv/bin/python -m pip install -q --no-deps -e .
}

made_from() { { pwd && cat uv.lock pyproject.toml; } | cksum; }

make_venv() {
    if [ -x .venv/bin/python ] && [ "$(cat $STAMP 2>/dev/null)" = "$(made_from)" ]; then return; fi
    find_uv || { fetch_uv && find_uv; } || die "the uv that was fetched does not run."
    say "making .venv (about 1.5 GB; a minute or two the first time)"
    choose_python
    # Compiled once here, where some environments would compile anew in every process.
    # shellcheck disable=SC2046  # no word at all where a terminal shows the progress
    "$uv" sync --frozen --all-groups --compile-bytecode $(quiet) || sync_by_pip
    made_from >$STAMP
    if ! command -v pdftoppm >/dev/null; then
        { can_install && install poppler-utils; } ||
            say "note: without pdftoppm (package poppler-utils), tests that look at pages are skipped."
    fi
    if ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null; then
        { can_install && install chromium; } ||
            say "note: without chromium, tests that use the pages in a browser are skipped."
    fi
}

libraries_are_there() {
    .venv/bin/python - <<'END'
import ctypes, ctypes.util, sys

NAMES = {"pango-1.0": 0, "pangoft2-1.0": 0, "harfbuzz-subset": 0, "fontconfig": 1}
for name, version in NAMES.items():
    try:
        ctypes.CDLL(f"lib{name}.so.{version}" if sys.platform == "linux" else ctypes.util.find_library(name) or name)
    except OSError:
        sys.exit(1)
END
}

check_libraries() {
    if libraries_are_there; then return; fi
    # shellcheck disable=SC2086  # one word a package
    if can_install && install $LIBRARIES && libraries_are_there; then return; fi
    say "PDFs need these system libraries: $LIBRARIES."
    die "Install them (Debian, Ubuntu: sudo apt-get install $LIBRARIES; macOS: brew install pango), then run this again."
}

if [ "${1:-}" = lock ]; then
    find_uv || { fetch_uv && find_uv; } || die "the uv that was fetched does not run."
    "$uv" lock
    if grep -oE 'https?://[^/"]+' uv.lock | grep -vE '^https://(pypi\.org|files\.pythonhosted\.org)$' | sort -u | grep .; then
        die "uv.lock names these hosts, which others may not reach: lock again with UV_DEFAULT_INDEX unset."
    fi
else
    make_venv
    check_libraries
fi
