# SPDX-License-Identifier: GPL-2.0
"""Makes the part of sysfs and procfs that the command reads, in a folder."""

import shutil

TARGETS = """\
ftrace_location core found - 0
pci_reset_function reset found armed 12
pci_dev_reset_iommu_prepare native absent - 0 not in this kernel; where it is: Both gates close.
pcie_do_recovery recovery absent - 0 lost: Resets in the recovery from errors are not gated.
qi_submit_sync vtd found armed 1234567
"""
STATUS = """\
armed: yes
set core: on
set reset: on
set bus: on
set recovery: off
set native: on
set endpoint: on
set vtd: on
set amd: idle
functions: {functions}
closed: {closed}
parked: {parked}
close_timeouts: 0
closed_late: 0
"""
PARAMS = {"policy": "record", "wait_timeout_ms": "60000", "scope": "ats", "on_failed_reset": "park", "park_timeout_s": "180",
          "close_timeout_ms": "1000", "disarm": "N", "allow_untested": "N", "btf": ""}
FUNCTION = {"state": "open", "mode": "auto", "reason": "function_reset", "depth": "0",
            "windows": "3", "last_window_us": "104321", "recorded": "7", "dropped": "471",
            "last_error": "0"}


class Tree:
    """A root directory; files are text, written with their last newline."""

    def __init__(self, root):
        self.root, self.functions, self.status = root, {}, STATUS

    def write(self, path, text):
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text if text.endswith("\n") or not text else text + "\n")
        return file

    def read(self, path):
        return (self.root / path.lstrip("/")).read_text()

    def function(self, bdf, **files):
        """A covered function."""
        self.functions[bdf] = FUNCTION | files
        for name, text in self.functions[bdf].items():
            self.write(f"/sys/bus/pci/devices/{bdf}/resetgate/{name}", text)
        if (self.root / "sys/kernel/resetgate").exists():
            self.count()
        return f"/sys/bus/pci/devices/{bdf}/resetgate"

    def bare(self, bdf):
        """A function that is not covered."""
        (self.root / f"sys/bus/pci/devices/{bdf}").mkdir(parents=True)

    def load(self, release="6.12.118+deb13-amd64", tested="tested", status=STATUS, targets=TARGETS):
        """The module is there."""
        self.status, base = status, "/sys/kernel/resetgate"
        self.write(f"{base}/version", "0.1.0")
        self.write(f"{base}/kernel", f"{release} {tested}")
        self.write(f"{base}/backends", "vtd on\namd off")
        self.write(f"{base}/targets", targets)
        self.count()
        for name, text in PARAMS.items():
            self.write(f"/sys/module/resetgate/parameters/{name}", text)
        return self

    def count(self):
        """The module's own figures are those of the functions."""
        states = [files["state"] for files in self.functions.values()]
        self.write("/sys/kernel/resetgate/status", self.status.format(
            functions=len(states), closed=states.count("closed"), parked=states.count("parked")))

    def unload(self):
        shutil.rmtree(self.root / "sys/kernel/resetgate")
        return self
