# Sourced by the commands beside it: goes to the top of the checkout, finds a Python and lets it prepare .venv.
# POSIX sh, so that a machine without bash is told what is missing too.

cd "$(dirname "$0")/.." || exit 1

is_recent() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Sets `python`: PYTHON if set, else the one that .venv was made with, else the first that will do.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        python=$PYTHON
        is_recent "$python" && return
        echo "ditto: PYTHON=$PYTHON is not a Python 3.11 or later" >&2
        exit 2
    fi
    for python in .venv/bin/python python3 python3.14 python3.13 python3.12 python3.11; do
        is_recent "$python" && return
    done
    cat >&2 <<'END'
ditto: no Python 3.11 or later (looked for python3, python3.14 ... python3.11). Install one, or name one with PYTHON=/path/to/python3
  Debian 12, Ubuntu 24.04 and later:  apt-get install python3
  Ubuntu 22.04:                       apt-get install python3.11
  Fedora:                             dnf install python3
  Alpine:                             apk add python3
  macOS:                              brew install python
END
    exit 2
}

# prepare EXTRA: .venv holds Ditto, its extension and that extra's packages and comes first in PATH (cython-lint looks
# for pycodestyle there), or the command ends here.
prepare() {
    find_python
    "$python" -m scripts.prepare "$1" || exit
    PATH=$PWD/.venv/bin:$PATH
    export PATH
    # The tests start Ditto hundreds of times. Where images of containers forbid Python to keep bytecode, each start
    # compiled every module anew: a quarter of its CPU time.
    unset PYTHONDONTWRITEBYTECODE
}
