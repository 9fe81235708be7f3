# SPDX-License-Identifier: GPL-2.0
"""Errors that QEMU injects, and the kernel's last word on each."""

from .host import LabError

# The kernel says one of two lines when a recovery is over; where it failed parking follows.
_OVER = """( said() {{ dmesg | tail -n 200 | sed -n '/{marker}$/,$p' | grep -o 'device recovery [a-z]*'; }}
i=0; until said > /dev/null; do i=$((i+1)); [ $i -lt 150 ] || exit 1; usleep 100000; done
case "$(said)" in *failed*) usleep 500000 ;; esac; said )"""


def inject(vm, error):
    """QEMU's pcie_aer_inject_error: "rp3 DLP" is fatal to all below that root port."""
    said = vm.hmp(f"pcie_aer_inject_error {error}")
    if "error" in said.lower() and "OK" not in said:
        raise LabError(f"QEMU does not inject {error}: {said}")


def over(marker):
    """Shell that waits for the end of the recovery after a line in the kernel log and says it."""
    return _OVER.format(marker=marker)
