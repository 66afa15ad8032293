#!/bin/sh
# Makes a virtual environment with pip in the folder $1, on a machine that may lack python3-venv.
# PYTHON=... names the interpreter; else the newest of 3.11 to 3.14 on PATH that starts is taken.
set -u

venv=$1

version_of() {
    # A name on PATH may be a stub of a version manager that starts nothing: it is asked, not trusted.
    "$1" -c 'import sys; v = sys.version_info[:2]; v < (3, 11) and sys.exit(1); print("%d%02d" % v)' 2>/dev/null
}

newest_python() {
    best=0
    for name in python3 python python3.14 python3.13 python3.12 python3.11; do
        version=$(version_of "$name") || continue
        if [ "$version" -gt "$best" ] && { [ "$version" -le 314 ] || [ "$best" -eq 0 ]; }; then
            best=$version
            found=$name
        fi
    done
    [ "$best" -gt 0 ] && printf '%s\n' "$found"
}

has_pip() {
    "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    version_of "$PYTHON" >/dev/null || {
        echo "error: PYTHON=$PYTHON is not a Python >= 3.11 that starts" >&2
        exit 1
    }
    python=$PYTHON
else
    python=$(newest_python) || {
        echo "error: no Python >= 3.11 on PATH (looked for python3, python and python3.11 to python3.14)" >&2
        echo "Install one, or name it: make PYTHON=/path/to/python3" >&2
        exit 1
    }
fi

has_pip && version_of "$venv/bin/python" >/dev/null && exit 0
mkdir -p "$(dirname "$venv")"

# Nothing here clears the folder: it is named by the user, and may hold other things.
# Debian ships venv without ensurepip: then the pip of the system, or virtualenv, does its part.
"$python" -m venv "$venv" >/dev/null 2>&1 && has_pip && exit 0
"$python" -m venv --without-pip "$venv" >/dev/null 2>&1 &&
    "$python" -m pip --python "$venv/bin/python" install --quiet pip >/dev/null 2>&1 && has_pip && exit 0
"$python" -m virtualenv --quiet "$venv" >/dev/null 2>&1 && has_pip && exit 0
virtualenv --quiet --python "$python" "$venv" >/dev/null 2>&1 && has_pip && exit 0
uv venv --quiet --allow-existing --seed --python "$python" "$venv" >/dev/null 2>&1 && has_pip && exit 0

echo "error: $python can make no environment with pip in $venv" >&2
echo "It needs one of: the ensurepip module (Debian, Ubuntu: apt install python3-venv), pip >= 22.3, virtualenv, uv" >&2
exit 1
