# Sourced by the scripts beside it: makes a virtual environment in .venv, once, and puts it on the PATH.
# usage: environment EXTRAS   (such as "" or "[test,examples]")

environment() {
    python=${PYTHON:-python3}
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "distfd needs Python 3.11 or newer; set PYTHON to one" >&2
        exit 2
    fi
    if [ ! -x .venv/bin/python ]; then
        # Debian keeps venv in a package of its own.
        "$python" -m venv .venv || {
            rm -rf .venv
            [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || {
                echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2
                exit 2
            }
            apt-get update -qq && apt-get install -y -qq python3-venv && "$python" -m venv .venv
        }
    fi
    PATH="$PWD/.venv/bin:$PATH"
    export PATH
    # uv takes a fifth of pip's time. It does not read pip's settings: where it finds no packages, pip does.
    python -m pip install --quiet --disable-pip-version-check uv 2>/dev/null &&
        VIRTUAL_ENV="$PWD/.venv" python -m uv pip install --quiet --compile-bytecode --editable ".$1" ||
        python -m pip install --quiet --disable-pip-version-check --editable ".$1"
    # Where PYTHONDONTWRITEBYTECODE is set, each of the many processes would compile distfd anew.
    python -m compileall -q distfd
}
