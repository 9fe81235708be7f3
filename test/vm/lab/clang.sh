#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# clang for the headers of a kernel that gcc has built: without the options that only gcc knows.
# The headers name gcc themselves, so this has to be CC= on make's command line.
for option; do
	shift
	case $option in
	-fmin-function-alignment=* | -fconserve-stack | -mrecord-mcount | \
		-fno-allow-store-data-races | -mharden-sls=* | -mpreferred-stack-boundary=* | \
		-mindirect-branch* | -mfunction-return=* | -mskip-rax-setup | \
		-fzero-init-padding-bits=* | -fno-var-tracking* | -Wimplicit-fallthrough=*) ;;
	*) set -- "$@" "$option" ;;
	esac
done
exec clang -Qunused-arguments "$@" -Wno-unknown-warning-option
