# Sourced by train.sh and test.sh: makes .venv and installs a pinned requirements file,
# unless that very file is installed already. Sets $root and $python.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python

set_up() {
  local requirements=$root/$1 stamp
  stamp=$root/.venv/installed-$(cat "$root/requirements.txt" "$requirements" | cksum | tr ' ' -)
  [ -e "$stamp" ] && [ -x "$python" ] && return
  local base=${PYTHON:-python3}
  if ! "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: $base is older than Python 3.11: set PYTHON=/path/to/python3.11" >&2
    return 2
  fi
  [ -x "$python" ] || "$base" -m venv "$root/.venv"
  echo "installing $1 into .venv (about a minute, once)" >&2
  (cd "$root" && "$python" -m pip install --quiet --disable-pip-version-check -r "$1")
  touch "$stamp"
}
