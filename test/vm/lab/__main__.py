# SPDX-License-Identifier: GPL-2.0
"""The lab's commands: see `test/vm/run help`."""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from . import arch, bench, build, demo, host, kernels, machines, offered, red, roots, soak, vm
from .host import LabError

# What a command does where no mode is named.
_MODES = {
    arch.X86_64: {"boot": "legacy", "demo": "legacy", "bench": "legacy,sm-ss,sm-fs",
                  "soak": "legacy,sm-fs"},
    arch.ARM64: {"boot": "smmu", "demo": "smmu", "bench": "smmu", "soak": "smmu,smmu-s2"},
}


def setup(keys):
    """Both roots and these kernels; the roots are made at the same time."""
    with ThreadPoolExecutor(2) as pool:
        packages = {name for key in keys for name in kernels.arch_of(key).qemu_packages}
        qemu = pool.submit(roots.ensure, roots.QEMU, tuple(sorted(packages)))
        found = [kernels.ensure(key) for key in keys]
        qemu.result()
    return found


def _boot(args):
    """Boot one kernel, run commands, print what they say and where the logs are."""
    kernel, = setup([args.kernel])
    quick = build.variant(kernel, "tree") if args.quick else None
    files = build.agent(kernel) if args.stock else build.guest_files(kernel, quick)
    files += [(f"lab/{path.rsplit('/', 1)[-1]}", path) for path in args.file]
    guest = vm.VM(kernel, args.mode, args.machine, cmdline=args.cmdline, icount=args.icount,
                  files=files, name="boot")
    host.say(f"console and trace: {guest.dir}")
    rc = 0
    try:
        with guest:
            for command in args.command:
                result = guest.sh(command, timeout=args.timeout, check=False)
                print(result.out, end="", flush=True)
                rc = rc or result.rc
    finally:
        if args.console:
            print(guest.console())
    return rc


def _setup(args):
    for kernel in setup(args.kernels.split(",")):
        print(f"{kernel.key}: {kernel.release} ({kernel.version})")
    return 0


def _build(args):
    for kernel in setup(args.kernels.split(",")):
        print(f"{kernel.key}: {build.module(kernel)}")
        for name, path in build.lab(kernel).items():
            print(f"{kernel.key}: {name} {path}")
    return 0


def _demo(args):
    kernel, = setup([args.kernel])
    return demo.run(kernel, args.mode)


def _bench(args):
    return bench.run(setup(args.kernels.split(",")), args.modes.split(","), args.json)


def _clean(_args):
    """Forget everything the lab has made; it is made again when needed."""
    for path in host.LAB.iterdir():
        host.remove_tree(path)
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="test/vm/run", description="The QEMU lab of resetgate.")
    commands = parser.add_subparsers(dest="what", required=True)
    for name, call, text in (("setup", _setup, "make the roots, install kernels"),
                             ("build", _build, "dkms build and the exerciser, per kernel")):
        sub = commands.add_parser(name, help=text)
        sub.add_argument("--kernels")
        sub.set_defaults(call=call)
    sub = commands.add_parser("boot", help="boot one kernel and run shell commands in it")
    sub.add_argument("--kernel", choices=kernels.KEYS)
    sub.add_argument("--mode", choices=machines.MODES)
    sub.add_argument("--machine", default="virtio-ats", choices=machines.MACHINES)
    sub.add_argument("--cmdline", default="")
    sub.add_argument("--timeout", type=float, default=60, help="seconds per command")
    sub.add_argument("--icount", action="store_true", help="guest time counts instructions")
    sub.add_argument("--stock", action="store_true", help="build and bring none of our modules")
    sub.add_argument("--quick", action="store_true", help="kbuild instead of dkms")
    sub.add_argument("--console", action="store_true", help="print the console at the end")
    sub.add_argument("--file", action="append", default=[], help="bring a file as /lab/NAME")
    sub.add_argument("command", nargs="+")
    sub.set_defaults(call=_boot)
    commands.add_parser("clean", help="delete everything the lab has made").set_defaults(call=_clean)
    sub = commands.add_parser("demo", help="the race, without and with the module")
    demo.arguments(sub)
    sub.set_defaults(call=_demo)
    sub = commands.add_parser("bench", help="what it costs, in guest instructions")
    bench.arguments(sub)
    sub.set_defaults(call=_bench)
    sub = commands.add_parser("red", help="break the module on purpose, see the cases go red")
    red.arguments(sub)
    sub.set_defaults(call=red.main)
    sub = commands.add_parser("images", help="resetgate check over every kernel that Debian offers")
    offered.arguments(sub)
    sub.set_defaults(call=offered.main)
    sub = commands.add_parser("soak", help="random resets for long, then workloads for long")
    soak.arguments(sub)
    sub.set_defaults(call=soak.main)
    for sub in commands.choices.values():
        sub.add_argument("--arch", default=arch.X86_64.name, choices=arch.ARCHES,
                         help="the guests' architecture, for kernels that are not named")
    return parser


def _fill_in(args):
    """The architecture's kernels and modes where none are named."""
    target = arch.ARCHES[args.arch]
    if "kernel" in args:
        args.kernel = args.kernel or next(key for key in kernels.keys(target)
                                          if kernels.suite_of(key) == "trixie")
        target = kernels.arch_of(args.kernel)
    if "kernels" in args:
        args.kernels = args.kernels or ",".join(kernels.keys(target))
        target = kernels.arch_of(args.kernels.split(",")[0])
    for name in {"mode", "modes"} & set(vars(args)):
        setattr(args, name, getattr(args, name) or _MODES[target][args.what])
    return args


def main():
    """Run one command; what is wrong with the machine is said in one line."""
    args = _parser().parse_args()
    try:
        _fill_in(args)
        host.check_machine()
        return args.call(args)
    except (LabError, vm.LostVM, AssertionError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; run it again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
