# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Completion of resetgate for bash.

_resetgate_functions() {
	local path
	for path in /sys/bus/pci/devices/*/resetgate; do
		[ -d "$path" ] && path=${path%/resetgate} && echo "${path##*/}"
	done
}

_resetgate_backends() {
	cut -d ' ' -f 1 /sys/kernel/resetgate/backends 2> /dev/null
	echo all
}

_resetgate() {
	local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD - 1]} command='' words='' i

	# Readline splits at colons, of which an address has two.
	if declare -F _get_comp_words_by_ref > /dev/null; then
		_get_comp_words_by_ref -n : -c word -p last
	fi
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		status | watch | check | report | open | mode | policy | timeline)
			command=${COMP_WORDS[i]}
			break
			;;
		esac
	done
	case $last in
	--kernel | --from | --output | timeline)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		[[ $last != timeline || $word != -* ]] && return
		;;
	--iommu)
		mapfile -t COMPREPLY < <(compgen -W "$(_resetgate_backends)" -- "$word")
		return
		;;
	--count | --seconds)
		return
		;;
	esac
	case $command in
	'') words="status watch check report open mode policy timeline --help --version --json" ;;
	status) words="$(_resetgate_functions) --targets --json --help" ;;
	watch) words="--each --count --seconds --from --json --help" ;;
	check) words="--kernel --all-installed --in-charge --iommu --json --help" ;;
	report) words="--output --json --help" ;;
	open) words="$(_resetgate_functions) --json --help" ;;
	mode) words="$(_resetgate_functions) auto off on --json --help" ;;
	policy) words="$(_resetgate_functions) record busy wait default --json --help" ;;
	timeline) words="- --json --help" ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
	if declare -F __ltrim_colon_completions > /dev/null; then
		__ltrim_colon_completions "$word"
	fi
}

complete -F _resetgate resetgate
