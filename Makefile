# SPDX-License-Identifier: GPL-2.0
# People's entry; the module itself is described in Kbuild.

NAME := resetgate
VERSION := $(shell sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' dkms.conf)
KVER ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build
SRCDIR := /usr/src/$(NAME)-$(VERSION)
# The lab's guests are x86_64 unless told otherwise: ARCH=arm64, which a cross build wants as well.
LAB_ARCH = $(if $(filter arm64,$(ARCH)),--arch arm64)

PREFIX ?= /usr/local
DESTDIR ?=
MANDIR := $(PREFIX)/share/man
COMPLETIONDIR := $(PREFIX)/share/bash-completion/completions

.PHONY: all cli man check check-red fuzz soak demo bench install install-module install-tools \
	deb deb-source rpm uninstall clean help

all: ## build resetgate.ko for the kernel KVER= (default: the running one) or KDIR=
	@test -d "$(KDIR)" || { echo "$(NAME): no kernel headers in $(KDIR): install linux-headers-$(KVER), or give KVER= or KDIR=" >&2; exit 1; }
	$(MAKE) -C "$(KDIR)" M="$(CURDIR)" modules

cli: ## build the command, src/cli/resetgate
	$(MAKE) -C src/cli

man: ## build its man pages
	$(MAKE) -C src/cli man

check: ## set up all that is needed and run the tests (root; about an hour on two cores; ARCH=arm64: about half an hour)
	test/vm/run check $(LAB_ARCH) $(ARGS)

check-red: ## break the module on purpose, one way at a time, and see the tests fail (root)
	test/vm/run red $(LAB_ARCH) $(ARGS)

fuzz: ## feed the readers of images and of BTF damaged ones: FUZZ_SECONDS=600 in all (needs clang)
	$(MAKE) -C test/fuzz run

soak: ## random resets and workloads for long: ARGS="--seconds 300 --seed 1 --kernels trixie" (root)
	test/vm/run soak $(LAB_ARCH) $(ARGS)

demo: ## the race without and with the module, side by side, on a stock kernel in QEMU (root)
	test/vm/run demo $(LAB_ARCH) $(ARGS)

bench: ## what it costs, in guest instructions (root)
	test/vm/run bench $(LAB_ARCH) $(ARGS)

install: install-module install-tools ## install the module and the command (root)

install-module: ## install through dkms for the running kernel and those to come (root)
	@command -v dkms > /dev/null || { echo "$(NAME): dkms is not installed: apt-get install dkms linux-headers-$$(uname -r)" >&2; exit 1; }
	@# dkms refuses to add what it knows: an earlier install of this version goes first.
	@! dkms status "$(NAME)/$(VERSION)" | grep -q . || dkms remove "$(NAME)/$(VERSION)" --all
	rm -rf "$(SRCDIR)"
	mkdir -p "$(SRCDIR)"
	cp -r Kbuild dkms.conf LICENSE src "$(SRCDIR)"
	rm -rf "$(SRCDIR)/src/cli"
	dkms add "$(NAME)/$(VERSION)"
	dkms install "$(NAME)/$(VERSION)" -k "$(KVER)"

install-tools: cli man ## install the command, its man pages and bash completion below PREFIX (root)
	install -D -m 755 src/cli/resetgate "$(DESTDIR)$(PREFIX)/sbin/resetgate"
	install -D -m 644 src/cli/resetgate.8 "$(DESTDIR)$(MANDIR)/man8/resetgate.8"
	install -D -m 644 src/cli/resetgate.conf.5 "$(DESTDIR)$(MANDIR)/man5/resetgate.conf.5"
	install -D -m 644 src/cli/completion.bash "$(DESTDIR)$(COMPLETIONDIR)/resetgate"

deb: ## build the Debian packages, into the directory above (debhelper, dh-dkms, scdoc)
	dpkg-buildpackage -us -uc -b

deb-source: ## build the source package of it, from a clean tree, into the directory above
	dpkg-buildpackage -us -uc -S

rpm: ## build resetgate-dkms.rpm, into rpms/ (rpmbuild)
	rpmbuild -bb --define "tree $(CURDIR)" --define "ver $(VERSION)" \
		--define "_topdir $(CURDIR)/rpms" --define "_rpmdir $(CURDIR)/rpms" dist/resetgate-dkms.spec

uninstall: ## remove both (root)
	rm -f "$(PREFIX)/sbin/resetgate" "$(MANDIR)/man8/resetgate.8" \
		"$(MANDIR)/man5/resetgate.conf.5" "$(COMPLETIONDIR)/resetgate"
	dkms remove "$(NAME)/$(VERSION)" --all
	rm -rf "$(SRCDIR)"

clean: ## remove what a build left here
	@if [ -d "$(KDIR)" ]; then $(MAKE) -C "$(KDIR)" M="$(CURDIR)" clean; \
	else find . -path ./.git -prune -o \( -name '*.o' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' -o -name '.*.cmd' \) -exec rm -f {} +; fi
	rm -f modules.order Module.symvers
	$(MAKE) -C src/cli clean
	$(MAKE) -C test/fuzz clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12
