# SPDX-License-Identifier: GPL-2.0
"""Errors that QEMU injects, and the kernel's last word on each."""

from .host import LabError

# The kernel says one of two lines when a recovery is over. /dev/kmsg gives a line when it is
# there: nothing is asked again and again.
_OVER = (r"timeout 15 sed -n '/{marker}$/,/device recovery/"
         r"{{s/.*\(device recovery [a-z]*\).*/\1/p;/device recovery/q}}' /dev/kmsg")


def inject(vm, error):
    """QEMU's pcie_aer_inject_error: "rp3 DLP" is fatal to all below that root port."""
    said = vm.hmp(f"pcie_aer_inject_error {error}")
    if "error" in said.lower() and "OK" not in said:
        raise LabError(f"QEMU does not inject {error}: {said}")


def over(marker):
    """Shell that waits for the end of the recovery after a line in the kernel log and says it.

    The line must be like no other.
    """
    return _OVER.format(marker=marker)
