#!/bin/bash
# Runs a program where only control groups of one version are mounted, in a mount namespace of its own.
#
#	cgroup_layout.sh v1|v2 PROGRAM [ARGUMENT...]
#
# v2: the host's tree alone; where the host has its controllers in v1 hierarchies, it has none, and limits are left out.
# v1: the hierarchies without the tree.
set -euo pipefail
layout=$1
shift
skip() { echo "SKIPPED: $*"; exit 77; }
[[ $(id -u) == 0 ]] || skip "mounting needs root"
if [[ -z ${HYPER_CGROUP_LAYOUT-} ]]; then
	export HYPER_CGROUP_LAYOUT=$layout
	exec unshare --mount --propagation private "$0" "$layout" "$@"
fi
points() { awk -v kind="$1" '$3 == kind { print $2 }' /proc/self/mounts; }
case $layout in
v1)
	[[ $(points cgroup) ]] || skip "this host has no v1 hierarchies"
	for point in $(points cgroup2); do umount "$point"; done
	;;
v2)
	umount -R /sys/fs/cgroup
	mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null || skip "this host has no v2 tree"
	;;
esac
"$@"
