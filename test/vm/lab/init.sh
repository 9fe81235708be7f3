#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# PID 1 of a lab guest: mounts, then the agent (test/lab/rgxagent.c) on the
# port of virtio-serial. The console stays evidence only.
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin:/lab HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mkdir -p /dev/pts /root
echo 0 > /proc/sys/kernel/printk_ratelimit
cd /lab || exit 1

# Modules on some kernels, built in on others.
modprobe -qa virtio_pci virtio_console
until port=$(ls /dev/vport*p1 2> /dev/null); do usleep 10000; done
exec rgxagent "$port"
