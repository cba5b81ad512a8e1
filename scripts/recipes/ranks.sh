# Sourced by the recipes. `train FLAGS..` and `ranks PROGRAM FLAGS..` run a program of this repository with one MPI rank
# on each GPU of this machine; with one GPU or none, in one process without mpirun.
#
#   GPUS=2          number of ranks (default: the number of GPUs that nvidia-smi lists)
#   HOSTFILE=file   distributes GPUS ranks over the machines in this file (a line is "host slots=4"); needs GPUS
#   MPIRUN=...      the command that starts ranks, for example "mpirun --oversubscribe" (default: mpirun)
#   VENV=folder     the Python environment (default: .venv of the repository; if it does not exist, `python` on PATH)
#
# Relative paths, ./dataset and ./snapshots for example, are relative to the current folder.
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

check_ranks() { # errors for what mpirun would refuse
  local allowed=${OMPI_ALLOW_RUN_AS_ROOT:-}${OMPI_ALLOW_RUN_AS_ROOT_CONFIRM:-}
  command -v ${MPIRUN%% *} >/dev/null ||
    refuse "${MPIRUN%% *} is not on PATH. Fix: set VENV to the folder of the prepared environment, or install Open MPI"
  [ -z "${HOSTFILE:-}" ] || [ -f "$HOSTFILE" ] || refuse "HOSTFILE=$HOSTFILE is not a file"
  case " $MPIRUN " in *" --allow-run-as-root "*) allowed=11 ;; esac
  [ "$(id -u)" != 0 ] || [ "$allowed" = 11 ] ||
    refuse "mpirun does not run as root by default. Fix, in a container for example:
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
}

ranks() { # ranks PROGRAM FLAGS..
  local program=$ROOT/$1 code=0 cores
  shift
  case $GPUS in
    '?') refuse "HOSTFILE needs GPUS=N, the total number of ranks on its machines" ;;
    *[!0-9]*) refuse "GPUS=$GPUS is not a number" ;;
  esac
  command -v python >/dev/null ||
    refuse "there is no python on PATH. Fix: scripts/demo.sh makes the environment .venv; or set VENV to another"
  if [ "$GPUS" -le 1 ] && [ -z "${HOSTFILE:-}" ]; then
    python "$program" "$@"
    return
  fi
  check_ranks
  $MPIRUN -np "$GPUS" ${HOSTFILE:+--hostfile "$HOSTFILE"} -x PATH python "$program" "$@" || code=$?
  cores=$(getconf _NPROCESSORS_ONLN)
  if [ $code = 1 ] && [ -z "${HOSTFILE:-}" ] && [ "$GPUS" -gt "$cores" ]; then
    echo "$(basename "$0"): $GPUS ranks on $cores cores." \
      "If mpirun reports too few slots: MPIRUN=\"mpirun --oversubscribe\"" >&2
  fi
  return $code
}

train() { ranks train.py "$@"; }
