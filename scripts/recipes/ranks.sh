# To be sourced by the recipes: `train FLAGS..` and `ranks PROGRAM FLAGS..` run a program of this repository on every GPU
# of this machine, one MPI rank each; with one GPU or none, in one process.
#
#   GPUS=2          number of ranks (default: the GPUs that nvidia-smi lists)
#   HOSTFILE=file   spreads GPUS ranks over the machines that it names ("host slots=4" a line); needs GPUS
#   MPIRUN=...      the command to start ranks with (default: mpirun), as MPIRUN="mpirun --oversubscribe"
#   VENV=folder     the Python environment (default: .venv of the repository; without it, the `python` on PATH)
#
# The current folder stays the user's: relative paths, ./dataset and ./snapshots among them, start there.
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
VENV=${VENV:-$ROOT/.venv}
[ -d "$VENV/bin" ] && PATH="$(cd "$VENV/bin" && pwd):$PATH"
GPUS=${GPUS:-${HOSTFILE:+?}}
GPUS=${GPUS:-$( (nvidia-smi -L 2>/dev/null || true) | wc -l)}
MPIRUN=${MPIRUN:-mpirun}

refuse() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

check_ranks() { # what mpirun would refuse, in a few words
  local asked=${OMPI_ALLOW_RUN_AS_ROOT:-}${OMPI_ALLOW_RUN_AS_ROOT_CONFIRM:-}
  command -v ${MPIRUN%% *} >/dev/null ||
    refuse "${MPIRUN%% *} is not on PATH. Fix: VENV=folder of the prepared environment, or install Open MPI"
  [ -z "${HOSTFILE:-}" ] || [ -f "$HOSTFILE" ] || refuse "HOSTFILE=$HOSTFILE is not a file"
  case " $MPIRUN " in *" --allow-run-as-root "*) asked=11 ;; esac
  [ "$(id -u)" != 0 ] || [ "$asked" = 11 ] ||
    refuse "mpirun does not run as root unless told to. In a container, where that is usual, first:
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
}

ranks() { # ranks PROGRAM FLAGS..
  local program=$ROOT/$1 code=0 cores
  shift
  case $GPUS in
    '?') refuse "HOSTFILE needs GPUS=N, the number of ranks on all its machines together" ;;
    *[!0-9]*) refuse "GPUS=$GPUS is not a number" ;;
  esac
  command -v python >/dev/null ||
    refuse "there is no python on PATH. Fix: scripts/demo.sh makes the environment .venv; or VENV=folder of another"
  if [ "$GPUS" -le 1 ] && [ -z "${HOSTFILE:-}" ]; then
    python "$program" "$@"
    return
  fi
  check_ranks
  $MPIRUN -np "$GPUS" ${HOSTFILE:+--hostfile "$HOSTFILE"} -x PATH python "$program" "$@" || code=$?
  cores=$(getconf _NPROCESSORS_ONLN)
  if [ $code = 1 ] && [ -z "${HOSTFILE:-}" ] && [ "$GPUS" -gt "$cores" ]; then
    echo "$(basename "$0"): $GPUS ranks were asked for on $cores cores." \
      "If mpirun reports too few slots: MPIRUN=\"mpirun --oversubscribe\"" >&2
  fi
  return $code
}

train() { ranks train.py "$@"; }
