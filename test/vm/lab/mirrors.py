# SPDX-License-Identifier: GPL-2.0
"""Where this machine gets Debian from, read from its own apt configuration."""

import os
import subprocess
from pathlib import Path

from .host import LabError

_FORMAT = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def _codename():
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.split("=", 1)[1].strip('"')
    return ""


def _first_of_list(uri):
    """Cloud images name a file with mirrors instead of a mirror."""
    if not uri.startswith("mirror+file:"):
        return uri
    for line in Path(uri[len("mirror+file:"):]).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            return line.split()[0]
    return uri


def _configured(release):
    """URIs of one release's main component, those that say they are Debian first."""
    out = subprocess.run(["apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages"],
                         text=True, stdout=subprocess.PIPE, check=False).stdout
    rows = [line.split("|") for line in out.splitlines() if line.count("|") == 3]
    rows = [row for row in rows if row[1] == release and row[2] == "main"]
    rows.sort(key=lambda row: row[3] != "Debian")
    return [_first_of_list(row[0]).rstrip("/") for row in rows]


def find():
    """Return (mirror, security mirror)."""
    name = _codename()
    main = os.environ.get("RESETGATE_MIRROR") or next(iter(_configured(name)), None)
    if not main:
        raise LabError("apt here has no Debian mirror configured: set RESETGATE_MIRROR=URI "
                       "of a Debian archive (and RESETGATE_SECURITY_MIRROR)")
    security = (os.environ.get("RESETGATE_SECURITY_MIRROR")
                or next(iter(_configured(f"{name}-security")), None) or f"{main}-security")
    return main.rstrip("/"), security.rstrip("/")


def keyring():
    if not _KEYRING.exists():
        raise LabError("apt-get install debian-archive-keyring: the archive's keys are missing")
    return _KEYRING


def sources(suites):
    """The text of a sources.list for these suites."""
    main, security = find()
    lines = []
    for suite in suites:
        uri = security if suite.endswith("-security") else main
        lines.append(f"deb [signed-by={keyring()}] {uri} {suite} main")
    return "\n".join(lines) + "\n"


def apt_settings():
    """How this machine's apt reaches the archive (proxies, date checks), for the roots' apt."""
    dump = subprocess.run(["apt-config", "dump", "--format", "%F \"%v\";%n", "Acquire"],
                          text=True, stdout=subprocess.PIPE, check=True).stdout
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")
    return "\n".join(line for line in dump.splitlines() if line.startswith(wanted)) + "\n"


def proxy_environment():
    """debootstrap fetches with wget, which knows only the environment."""
    settings = {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
    for line in apt_settings().splitlines():
        for scheme in ("http", "https"):
            if line.startswith(f"Acquire::{scheme}::Proxy "):
                settings.setdefault(f"{scheme}_proxy", line.split('"')[1])
    return settings
