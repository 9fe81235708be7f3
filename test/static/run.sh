#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs the static gates: run.sh [checkpatch|rules|shellcheck|kernel-doc|indirect]...
#
# RG_CHECKPATCH  the kernel's scripts/checkpatch.pl
# RG_KERNEL_DOC  the kernel's scripts/kernel-doc
# RG_KO          built modules, space-separated, one per kernel
#
# Exits with 0 if all gates pass, 1 if one fails, 77 if one cannot run and none
# fails. Without arguments all gates run.
set -u
cd "$(dirname "$0")/../.." || exit 1

# The tree's own files among the given ones. Root may look at a clone of somebody
# else's (git would refuse), and a tree without a single source is no tree: a gate
# that sees nothing must not pass.
files() {
	git -c safe.directory='*' ls-files -co --exclude-standard -- "$@" | existing
}

sources() {
	files 'src/*.[ch]' 'test/lab/*.[ch]' 'test/unit/*.[ch]'
}

# A file that git still knows may be gone from the tree.
existing() {
	while read -r file; do
		[ -f "$file" ] && echo "$file"
	done
}

# $1: the variable; says why the gate is skipped.
have() {
	eval "value=\${$1:-}"
	[ -n "$value" ] && return 0
	echo "skipped: $1 is not set"
	return 1
}

gate_checkpatch() {
	have RG_CHECKPATCH || return 77
	# What checkpatch takes amiss although the kernel itself requires it.
	# shellcheck disable=SC2016 # the inner shell expands it
	sources | xargs -P "$(nproc)" -n 8 sh -c '
		failed=0
		for file; do
			case $file in
			*/compat.h) ignore=--ignore=LINUX_VERSION_CODE,CONSTANT_COMPARISON ;;
			*/trace.h) ignore=--ignore=COMPLEX_MACRO ;;
			*/events.c | */bench.c) ignore=--ignore=STATIC_CONST_CHAR_ARRAY ;;
			*) ignore= ;;
			esac
			"$RG_CHECKPATCH" --no-tree --quiet --terse --show-types \
				--no-summary $ignore -f "$file" || failed=1
		done
		exit $failed' checkpatch
}

gate_rules() {
	files src test | grep -E '\.(c|h|py|sh)$' | xargs python3 test/static/source_rules.py
}

gate_shellcheck() {
	command -v shellcheck >/dev/null || {
		echo "skipped: no shellcheck"
		return 77
	}
	files . | while read -r file; do
		case $file in
		*.sh) echo "$file" ;;
		*.*) ;;
		*) head -n 1 "$file" | grep -Eq '^#!.*[/ ](ba|da)?sh( |$)' && echo "$file" ;;
		esac
	done | xargs -r shellcheck
}

# That there is kernel-doc at all is one of the rules.
gate_kernel_doc() {
	have RG_KERNEL_DOC || return 77
	"$RG_KERNEL_DOC" -none -Werror src/*.c src/*/*.c
}

gate_indirect() {
	have RG_KO || return 77
	# Only together do the kernels show that an entry is of no more use.
	stale=
	case $RG_KO in
	*\ *) stale=--stale-fails ;;
	esac
	# shellcheck disable=SC2086 # it is a list
	python3 test/static/indirect_calls.py $stale $RG_KO
}

if [ -z "$(files src/main.c)" ]; then
	echo "git does not list src/main.c in $PWD: the gates need a clone" >&2
	exit 1
fi
[ $# -gt 0 ] || set -- checkpatch rules shellcheck kernel-doc indirect
status=0
for gate; do
	case $gate in
	checkpatch) gate_checkpatch ;;
	rules) gate_rules ;;
	shellcheck) gate_shellcheck ;;
	kernel-doc) gate_kernel_doc ;;
	indirect) gate_indirect ;;
	*)
		echo "no such gate: $gate" >&2
		exit 1
		;;
	esac
	case $? in
	0) echo "$gate: passed" ;;
	77)
		echo "$gate: skipped"
		[ $status -eq 0 ] && status=77
		;;
	*)
		echo "$gate: FAILED"
		status=1
		;;
	esac
done
exit $status
