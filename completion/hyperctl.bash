# Completion of hyperctl for bash. Written by 'hyperctl completion bash'.
_hyperctl_ask() { hyperctl "${host[@]}" "$@" 2>/dev/null; }

_hyperctl() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	local command= words= i host=()
	local commands='run create start stop restart kill pause unpause rename rm wait list inspect logs attach exec top stats events cp diff export images load import save tag rmi history build commit pull push login logout network ports volume info version completion help'
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-H | --host) host=(-H "${COMP_WORDS[i + 1]}"); ((i++)) ;;
		-*) ;;
		*) command=${COMP_WORDS[i]}; break ;;
		esac
	done
	case $command in
	'') words="$commands --host -H --help --version" ;;
	run)
		case $before in
		--name) words="" ;;
		--env | -e) words="" ;;
		--env-file) words="$(compgen -f -- "$word")" ;;
		--entrypoint) words="" ;;
		--workdir | -w) words="" ;;
		--user | -u) words="" ;;
		--hostname | -h) words="" ;;
		--domainname) words="" ;;
		--label | -l) words="" ;;
		--memory | -m) words="" ;;
		--cpus) words="" ;;
		--ulimit) words="" ;;
		--sysctl) words="" ;;
		--restart) words="no always on-failure unless-stopped" ;;
		--log-driver) words="" ;;
		--log-opt) words="" ;;
		--cap-add) words="" ;;
		--cap-drop) words="" ;;
		--security-opt) words="" ;;
		--group-add) words="" ;;
		--stop-signal) words="HUP INT QUIT KILL TERM USR1 USR2 STOP CONT" ;;
		--stop-timeout) words="" ;;
		--volume | -v) words="" ;;
		--mount) words="" ;;
		--volumes-from) words="" ;;
		--volume-driver) words="" ;;
		--tmpfs) words="" ;;
		--shm-size) words="" ;;
		--dns) words="" ;;
		--dns-option) words="" ;;
		--dns-search) words="" ;;
		--add-host) words="" ;;
		--pids-limit) words="" ;;
		--network) words="" ;;
		--publish | -p) words="" ;;
		--network-alias) words="" ;;
		--link) words="" ;;
		--ip) words="" ;;
		--ip6) words="" ;;
		--mac-address) words="" ;;
		--pod) words="$(_hyperctl_ask list -a --format '{{.Pod}}')" ;;
		--isolation) words="vm namespace" ;;
		--hypervisor) words="auto qemu libvirt-qemu" ;;
		--machine) words="microvm q35" ;;
		--vcpus) words="" ;;
		--transport) words="auto serial disk" ;;
		--file | -f) words="$(compgen -f -- "$word")" ;;
		--detach-keys) words="" ;;
		*) words="$(_hyperctl_ask images --format '{{.Repository}}:{{.Tag}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --name --env -e --env-file --entrypoint --workdir -w --user -u --hostname -h --domainname --label -l --memory -m --cpus --read-only --ulimit --sysctl --restart --log-driver --log-opt --interactive -i --tty -t --rm --init --cap-add --cap-drop --security-opt --privileged --group-add --stop-signal --stop-timeout --volume -v --mount --volumes-from --volume-driver --tmpfs --shm-size --dns --dns-option --dns-search --add-host --pids-limit --network --publish -p --publish-all -P --network-alias --link --ip --ip6 --mac-address --pod --isolation --hypervisor --machine --vcpus --transport --file -f --detach -d --detach-keys --sig-proxy --timing'
		;;
	create)
		case $before in
		--name) words="" ;;
		--env | -e) words="" ;;
		--env-file) words="$(compgen -f -- "$word")" ;;
		--entrypoint) words="" ;;
		--workdir | -w) words="" ;;
		--user | -u) words="" ;;
		--hostname | -h) words="" ;;
		--domainname) words="" ;;
		--label | -l) words="" ;;
		--memory | -m) words="" ;;
		--cpus) words="" ;;
		--ulimit) words="" ;;
		--sysctl) words="" ;;
		--restart) words="no always on-failure unless-stopped" ;;
		--log-driver) words="" ;;
		--log-opt) words="" ;;
		--cap-add) words="" ;;
		--cap-drop) words="" ;;
		--security-opt) words="" ;;
		--group-add) words="" ;;
		--stop-signal) words="HUP INT QUIT KILL TERM USR1 USR2 STOP CONT" ;;
		--stop-timeout) words="" ;;
		--volume | -v) words="" ;;
		--mount) words="" ;;
		--volumes-from) words="" ;;
		--volume-driver) words="" ;;
		--tmpfs) words="" ;;
		--shm-size) words="" ;;
		--dns) words="" ;;
		--dns-option) words="" ;;
		--dns-search) words="" ;;
		--add-host) words="" ;;
		--pids-limit) words="" ;;
		--network) words="" ;;
		--publish | -p) words="" ;;
		--network-alias) words="" ;;
		--link) words="" ;;
		--ip) words="" ;;
		--ip6) words="" ;;
		--mac-address) words="" ;;
		--pod) words="$(_hyperctl_ask list -a --format '{{.Pod}}')" ;;
		--isolation) words="vm namespace" ;;
		--hypervisor) words="auto qemu libvirt-qemu" ;;
		--machine) words="microvm q35" ;;
		--vcpus) words="" ;;
		--transport) words="auto serial disk" ;;
		--file | -f) words="$(compgen -f -- "$word")" ;;
		*) words="$(_hyperctl_ask images --format '{{.Repository}}:{{.Tag}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --name --env -e --env-file --entrypoint --workdir -w --user -u --hostname -h --domainname --label -l --memory -m --cpus --read-only --ulimit --sysctl --restart --log-driver --log-opt --interactive -i --tty -t --rm --init --cap-add --cap-drop --security-opt --privileged --group-add --stop-signal --stop-timeout --volume -v --mount --volumes-from --volume-driver --tmpfs --shm-size --dns --dns-option --dns-search --add-host --pids-limit --network --publish -p --publish-all -P --network-alias --link --ip --ip6 --mac-address --pod --isolation --hypervisor --machine --vcpus --transport --file -f'
		;;
	start)
		case $before in
		--detach-keys) words="" ;;
		*) words="$(_hyperctl_ask list -a --format '{{.Names}} {{.Pod}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --attach -a --interactive -i --detach-keys --sig-proxy'
		;;
	stop)
		case $before in
		--time | -t) words="" ;;
		*) words="$(_hyperctl_ask list --format '{{.Names}} {{.Pod}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --time -t'
		;;
	restart)
		case $before in
		--time | -t) words="" ;;
		*) words="$(_hyperctl_ask list -a --format '{{.Names}} {{.Pod}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --time -t'
		;;
	kill)
		case $before in
		--signal | -s) words="HUP INT QUIT KILL TERM USR1 USR2 STOP CONT" ;;
		*) words="$(_hyperctl_ask list --format '{{.Names}} {{.Pod}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --signal -s'
		;;
	pause)
		case $before in
		*) words="$(_hyperctl_ask list --format '{{.Names}} {{.Pod}}')" ;;
		esac
		[[ $word == -* ]] && words='--help'
		;;
	unpause)
		case $before in
		*) words="$(_hyperctl_ask list --format '{{.Names}} {{.Pod}}')" ;;
		esac
		[[ $word == -* ]] && words='--help'
		;;
	rename)
		case $before in
		*) words="$(_hyperctl_ask list -a --format '{{.Names}} {{.Pod}}')" ;;
		esac
		[[ $word == -* ]] && words='--help'
		;;
	rm | remove)
		case $before in
		*) words="$(_hyperctl_ask list -a --format '{{.Names}} {{.Pod}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --force -f --volumes -v'
		;;
	wait)
		case $before in
		*) words="$(_hyperctl_ask list -a --format '{{.Names}} {{.Pod}}')" ;;
		esac
		[[ $word == -* ]] && words='--help'
		;;
	list | ps | ls)
		case $before in
		--filter | -f) words="" ;;
		--format) words="" ;;
		*) words="" ;;
		esac
		[[ $word == -* ]] && words='--help --all -a --quiet -q --no-trunc --filter -f --format'
		;;
	inspect)
		case $before in
		--format | -f) words="" ;;
		--type) words="container pod image" ;;
		*) words="$(_hyperctl_ask list -a --format '{{.Names}} {{.Pod}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --format -f --type --size -s'
		;;
	logs)
		case $before in
		--tail | -n) words="" ;;
		--since) words="" ;;
		--until) words="" ;;
		*) words="$(_hyperctl_ask list -a --format '{{.Names}} {{.Pod}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --follow -f --tail -n --since --until --timestamps -t --details'
		;;
	attach)
		case $before in
		--detach-keys) words="" ;;
		*) words="$(_hyperctl_ask list --format '{{.Names}} {{.Pod}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --no-stdin --detach-keys --sig-proxy'
		;;
	exec)
		case $before in
		--env | -e) words="" ;;
		--env-file) words="$(compgen -f -- "$word")" ;;
		--workdir | -w) words="" ;;
		--user | -u) words="" ;;
		--detach-keys) words="" ;;
		*) words="$(_hyperctl_ask list --format '{{.Names}} {{.Pod}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --detach -d --interactive -i --tty -t --env -e --env-file --workdir -w --user -u --privileged --detach-keys --vm'
		;;
	top)
		case $before in
		*) words="$(_hyperctl_ask list --format '{{.Names}} {{.Pod}}')" ;;
		esac
		[[ $word == -* ]] && words='--help'
		;;
	stats)
		case $before in
		--format) words="" ;;
		*) words="$(_hyperctl_ask list --format '{{.Names}} {{.Pod}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --all -a --no-stream --no-trunc --format'
		;;
	events)
		case $before in
		--since) words="" ;;
		--until) words="" ;;
		--filter | -f) words="" ;;
		--format) words="" ;;
		*) words="" ;;
		esac
		[[ $word == -* ]] && words='--help --since --until --filter -f --format'
		;;
	cp)
		case $before in
		*) words="" ;;
		esac
		[[ $word == -* ]] && words='--help --archive -a --follow-link -L'
		;;
	diff)
		case $before in
		*) words="" ;;
		esac
		[[ $word == -* ]] && words='--help'
		;;
	export)
		case $before in
		--output | -o) words="$(compgen -f -- "$word")" ;;
		*) words="" ;;
		esac
		[[ $word == -* ]] && words='--help --output -o'
		;;
	images)
		case $before in
		--filter | -f) words="" ;;
		--format) words="" ;;
		*) words="$(_hyperctl_ask images --format '{{.Repository}}:{{.Tag}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --all -a --quiet -q --digests --no-trunc --filter -f --format'
		;;
	load)
		case $before in
		--input | -i) words="$(compgen -f -- "$word")" ;;
		*) words="$(compgen -f -- "$word")" ;;
		esac
		[[ $word == -* ]] && words='--help --input -i --quiet -q'
		;;
	import)
		case $before in
		--change | -c) words="" ;;
		--message | -m) words="" ;;
		--platform) words="" ;;
		*) words="$(compgen -f -- "$word")" ;;
		esac
		[[ $word == -* ]] && words='--help --change -c --message -m --platform'
		;;
	save)
		case $before in
		--output | -o) words="$(compgen -f -- "$word")" ;;
		*) words="$(_hyperctl_ask images --format '{{.Repository}}:{{.Tag}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --output -o'
		;;
	tag)
		case $before in
		*) words="$(_hyperctl_ask images --format '{{.Repository}}:{{.Tag}}')" ;;
		esac
		[[ $word == -* ]] && words='--help'
		;;
	rmi)
		case $before in
		*) words="$(_hyperctl_ask images --format '{{.Repository}}:{{.Tag}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --force -f --no-prune'
		;;
	history)
		case $before in
		--format) words="" ;;
		*) words="$(_hyperctl_ask images --format '{{.Repository}}:{{.Tag}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --format --no-trunc --quiet -q'
		;;
	build)
		case $before in
		--add-host) words="" ;;
		--build-arg) words="" ;;
		--file | -f) words="$(compgen -f -- "$word")" ;;
		--isolation) words="vm namespace" ;;
		--label) words="" ;;
		--memory | -m) words="" ;;
		--network) words="" ;;
		--platform) words="" ;;
		--tag | -t) words="" ;;
		--target) words="" ;;
		*) words="$(compgen -f -- "$word")" ;;
		esac
		[[ $word == -* ]] && words='--help --add-host --build-arg --file -f --force-rm --isolation --label --memory -m --network --no-cache --platform --pull --quiet -q --rm --tag -t --target'
		;;
	commit)
		case $before in
		--author | -a) words="" ;;
		--change | -c) words="" ;;
		--message | -m) words="" ;;
		*) words="" ;;
		esac
		[[ $word == -* ]] && words='--help --author -a --change -c --message -m --pause -p'
		;;
	pull)
		case $before in
		--platform) words="" ;;
		*) words="$(_hyperctl_ask images --format '{{.Repository}}:{{.Tag}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --all-tags -a --platform --quiet -q'
		;;
	push)
		case $before in
		*) words="$(_hyperctl_ask images --format '{{.Repository}}:{{.Tag}}')" ;;
		esac
		[[ $word == -* ]] && words='--help --all-tags -a --quiet -q'
		;;
	login)
		case $before in
		--username | -u) words="" ;;
		--password | -p) words="" ;;
		*) words="" ;;
		esac
		[[ $word == -* ]] && words='--help --username -u --password -p --password-stdin'
		;;
	logout)
		case $before in
		*) words="" ;;
		esac
		[[ $word == -* ]] && words='--help'
		;;
	network | networks)
		case $before in
		--driver | -d) words="" ;;
		--subnet) words="" ;;
		--gateway) words="" ;;
		--ip-range) words="" ;;
		--opt | -o) words="" ;;
		--label | -l) words="" ;;
		--alias) words="" ;;
		--ip) words="" ;;
		--ip6) words="" ;;
		--filter) words="" ;;
		--format) words="" ;;
		*) words="" ;;
		esac
		[[ $word == -* ]] && words='--help --driver -d --subnet --gateway --ip-range --internal --ipv6 --opt -o --label -l --alias --ip --ip6 --filter --format --quiet -q --force -f'
		;;
	ports | port)
		case $before in
		*) words="" ;;
		esac
		[[ $word == -* ]] && words='--help'
		;;
	volume | volumes)
		case $before in
		--driver | -d) words="" ;;
		--opt | -o) words="" ;;
		--label | -l) words="" ;;
		--filter) words="" ;;
		--format) words="" ;;
		*) words="" ;;
		esac
		[[ $word == -* ]] && words='--help --driver -d --opt -o --label -l --filter --format --quiet -q --force -f --all -a'
		;;
	info)
		case $before in
		--format | -f) words="" ;;
		*) words="" ;;
		esac
		[[ $word == -* ]] && words='--help --format -f'
		;;
	version)
		case $before in
		--format | -f) words="" ;;
		*) words="" ;;
		esac
		[[ $word == -* ]] && words='--help --format -f'
		;;
	completion)
		case $before in
		*) words="" ;;
		esac
		[[ $word == -* ]] && words='--help'
		;;
	help)
		case $before in
		*) words="$commands" ;;
		esac
		[[ $word == -* ]] && words='--help'
		;;
	esac
	COMPREPLY=($(compgen -W "$words" -- "$word"))
	type __ltrim_colon_completions >/dev/null 2>&1 && __ltrim_colon_completions "$word"
	return 0
}
complete -F _hyperctl hyperctl
