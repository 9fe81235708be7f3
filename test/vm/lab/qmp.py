# SPDX-License-Identifier: GPL-2.0
"""QEMU's monitor, over a socket that was handed to QEMU when it started."""

import json


class MonitorError(Exception):
    """QEMU refused a command."""


class Monitor:
    """Synchronous QMP; events are ignored."""

    def __init__(self, sock, timeout=60):
        sock.settimeout(timeout)
        self._file = sock.makefile("rw", encoding="utf-8", newline="\n")
        self._read()
        self.execute("qmp_capabilities")

    def _read(self):
        line = self._file.readline()
        if not line:
            raise MonitorError("QEMU has closed its monitor")
        return json.loads(line)

    def execute(self, command, **arguments):
        request = {"execute": command}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value
                                    for key, value in arguments.items()}
        self._file.write(json.dumps(request) + "\n")
        self._file.flush()
        while True:
            answer = self._read()
            if "error" in answer:
                raise MonitorError(f"{command}: {answer['error'].get('desc', answer)}")
            if "return" in answer:
                return answer["return"]

    def human(self, line):
        """A command of the human monitor, its output as text."""
        return self.execute("human-monitor-command", command_line=line)
