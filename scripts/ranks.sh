# To be sourced by the recipes: `ranks COMMAND` runs it on every GPU of this machine, one MPI rank each, or alone.
# GPUS=2 takes two; HOSTFILE=file spreads GPUS ranks over the machines it names ("host slots=4" a line).
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -d "${VENV:-.venv}/bin" ] && PATH="$(cd "${VENV:-.venv}/bin" && pwd):$PATH"
GPUS=${GPUS:-$( (nvidia-smi -L 2>/dev/null || true) | wc -l)}

ranks() {
  if [ "$GPUS" -gt 1 ]; then
    mpirun -np "$GPUS" ${HOSTFILE:+--hostfile "$HOSTFILE"} -x PATH "$@"
  else
    "$@"
  fi
}
