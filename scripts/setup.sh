# Sourced by train.sh and test.sh: makes .venv and installs a requirements file, unless
# that very file is installed already. Sets $root and $python. From the environment:
# PYTHON, the interpreter that .venv is made with, and REQUIREMENTS, a file instead of the
# pinned one, for example tests/requirements-newest.txt; .venv must be deleted to change
# its interpreter.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python

set_up() {
  local requirements=$root/${REQUIREMENTS:-$1} stamp
  stamp=$root/.venv/installed-$(cat "$root/requirements.txt" "$requirements" | cksum | tr ' ' -)
  [ -e "$stamp" ] && [ -x "$python" ] && return
  local base=${PYTHON:-python3}
  if ! "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: $base is older than Python 3.11: set PYTHON=/path/to/python3.11" >&2
    return 2
  fi
  [ -x "$python" ] || "$base" -m venv "$root/.venv"
  echo "installing ${requirements#"$root"/} into .venv (about a minute, once)" >&2
  (cd "$root" && "$python" -m pip install --quiet --disable-pip-version-check -r "$requirements")
  touch "$stamp"
}
