# SPDX-License-Identifier: GPL-2.0
# People's entry; the module itself is described in Kbuild.

NAME := resetgate
VERSION := $(shell sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' dkms.conf)
KVER ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build
SRCDIR := /usr/src/$(NAME)-$(VERSION)

.PHONY: all check check-red soak demo bench install uninstall clean help

all: ## build resetgate.ko for the kernel KVER= (default: the running one) or KDIR=
	@test -d "$(KDIR)" || { echo "$(NAME): no kernel headers in $(KDIR): install linux-headers-$(KVER), or give KVER= or KDIR=" >&2; exit 1; }
	$(MAKE) -C "$(KDIR)" M="$(CURDIR)" modules

check: ## set up all that is needed and run the tests (root; about 50 minutes on two cores)
	test/vm/run check $(ARGS)

check-red: ## break the module on purpose, one way at a time, and see the tests fail (root)
	test/vm/run red $(ARGS)

soak: ## random resets and workloads for long: ARGS="--seconds 300 --seed 1 --kernels trixie" (root)
	test/vm/run soak $(ARGS)

demo: ## the race without and with the module, side by side, on a stock kernel in QEMU (root)
	test/vm/run demo $(ARGS)

bench: ## what it costs, in guest instructions (root)
	test/vm/run bench $(ARGS)

install: ## install through dkms for the running kernel and those to come (root)
	@command -v dkms > /dev/null || { echo "$(NAME): dkms is not installed: apt-get install dkms linux-headers-$$(uname -r)" >&2; exit 1; }
	@# dkms refuses to add what it knows: an earlier install of this version goes first.
	@! dkms status "$(NAME)/$(VERSION)" | grep -q . || dkms remove "$(NAME)/$(VERSION)" --all
	rm -rf "$(SRCDIR)"
	mkdir -p "$(SRCDIR)"
	cp -r Kbuild dkms.conf LICENSE src "$(SRCDIR)"
	dkms add "$(NAME)/$(VERSION)"
	dkms install "$(NAME)/$(VERSION)" -k "$(KVER)"

uninstall: ## remove it from every kernel (root)
	dkms remove "$(NAME)/$(VERSION)" --all
	rm -rf "$(SRCDIR)"

clean: ## remove what a build left here
	@if [ -d "$(KDIR)" ]; then $(MAKE) -C "$(KDIR)" M="$(CURDIR)" clean; \
	else find . -path ./.git -prune -o \( -name '*.o' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' -o -name '.*.cmd' \) -exec rm -f {} +; fi
	rm -f modules.order Module.symvers

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12
