#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# PID 1 of a lab guest: mounts, then an agent on the second serial port.
#
# One request is one line, "SEQ BASE64-OF-COMMAND"; one answer is one line,
# "RG SEQ EXIT-CODE BASE64-OF-OUTPUT", of gzip's output behind "gz:" where it
# would be long, for the port is slow. Empty lines are skipped. The console
# stays evidence only.
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

stty -F /dev/ttyS1 raw -echo 115200
exec 3<>/dev/ttyS1
echo "RG 0 0 $(uname -r | base64 -w0)" >&3
while read -r seq code <&3; do
	[ -n "$code" ] || continue
	echo "$code" | base64 -d > /run/request
	sh /run/request > /run/answer 2>&1 < /dev/null 3>&-
	rc=$?
	if [ "$(stat -c %s /run/answer)" -gt 600 ]; then
		echo "RG $seq $rc gz:$(gzip -c /run/answer | base64 -w0)" >&3
	else
		echo "RG $seq $rc $(base64 -w0 < /run/answer)" >&3
	fi
done
echo "resetgate lab: agent lost its port"
poweroff -f
