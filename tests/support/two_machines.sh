#!/usr/bin/env bash
# Two machines in one: two network namespaces with names of their own, a cable between them, and something that stands in
# for ssh. Runs, as root:  tests/support/two_machines.sh MPIRUN COMMAND...   with one rank on each, over TCP. 77: not possible here.
set -euo pipefail
mpirun=$1
shift
id=ccnet$$
work=$(mktemp -d)
export HERE_NAME # Jittor keeps its compiled operators under the name of the machine: ranks take the real one again
HERE_NAME=$(hostname)
trap 'ip netns del ${id}a 2>/dev/null; ip netns del ${id}b 2>/dev/null; rm -rf "$work"' EXIT
{
  ip netns add ${id}a && ip netns add ${id}b &&
    ip link add ${id:0:12}a netns ${id}a type veth peer name ${id:0:12}b netns ${id}b &&
    unshare -u true
} 2>/dev/null || exit 77
for side in a b; do
  ip -n $id$side addr add 10.77.0.$([ $side = a ] && echo 1 || echo 2)/24 dev ${id:0:12}$side
  ip -n $id$side link set lo up
  ip -n $id$side link set ${id:0:12}$side up
done
printf '10.77.0.1 slots=1\n10.77.0.2 slots=1\n' >"$work/machines"
cat >"$work/ssh" <<EOF
#!/bin/bash
while [ "\${1#-}" != "\$1" ]; do shift; done
shift
mkdir -p $work/tmp
TMPDIR=$work/tmp exec ip netns exec ${id}b unshare -u /bin/sh -c "hostname second; \$*"
EOF
cat >"$work/rank" <<'EOF'
#!/bin/sh
echo "rank $OMPI_COMM_WORLD_RANK is on $(hostname)"
exec unshare -u /bin/sh -c 'hostname "$HERE_NAME"; exec "$@"' sh "$@"
EOF
chmod +x "$work/ssh" "$work/rank"
ip netns exec ${id}a "$mpirun" -np 2 --hostfile "$work/machines" --prtemca plm_ssh_agent "$work/ssh" \
  --mca pml ob1 --mca btl tcp,self --mca btl_tcp_if_include 10.77.0.0/24 \
  -x PATH -x OMP_NUM_THREADS -x HERE_NAME "$work/rank" "$@"
