# SPDX-License-Identifier: GPL-2.0
"""The QEMU lab: stock Debian kernels, a real dkms build, QEMU's trace as the judge."""
