# SPDX-License-Identifier: GPL-2.0
"""A soak's steps follow from the seed, and ask for nothing that would be wrong by itself."""

import pytest
from lab import plan

STEPS = 400


def steps(seed, **kwargs):
    one = plan.Plan(seed, **kwargs)
    return [one.step() for _ in range(STEPS)]


def test_same_seed_same_steps():
    """Deliberate break: a set is asked for its first element."""
    assert [str(step) for step in steps(7)] == [str(step) for step in steps(7)]
    assert [str(step) for step in steps(7)] != [str(step) for step in steps(8)]


def test_everything_happens():
    """All kinds of steps, resets, errors, and each function in each of them."""
    done = steps(1)
    assert {step.kind for step in done} == set(plan.KINDS)
    assert {step.error for step in done} == {"", *plan.ERRORS}
    kinds = {reset.kind for step in done for reset in step.resets}
    assert kinds == {"function", "locked", "try", "__locked", "flr", "pm", "bus", "hot",
                     "secondary", "subordinate", "bridge", "sysfs"}
    assert {bdf for step in done for bdf in step.made} == set(plan.PLACES)
    assert not [step for step in steps(1, can_replace=False) if "replace" in str(step)]


def test_going_vfs_are_reset_by_the_kernel_s_files():
    """A bare call may begin after the function has gone, and waits a minute for it then.

    Deliberate break: _going() has any kind for its targets.
    """
    going = [reset for step in steps(1) if step.kind in ("removal", "renewal")
             for reset in step.resets if reset.target in plan.VFS]
    assert going and {reset.kind for reset in going} == {"sysfs", "pm"}


class Kernel:
    """What the exerciser would say to each command."""

    def __init__(self):
        self.claimed, self.bound, self.attached = set(plan.PLACES), set(plan.PLACES), {}
        self.mapped = set()

    def run(self, command):
        what, *words = command.split()
        bdf = words[0]
        if what == "claim":
            assert bdf not in self.claimed
            self.claimed.add(bdf)
        elif what == "release":
            assert bdf in self.claimed and bdf not in self.attached
            self.claimed.discard(bdf)
        elif what == "attach":
            assert bdf in self.claimed and bdf not in self.attached
            self.attached[bdf] = words[1]
        elif what == "replace":
            assert bdf in self.attached
        elif what == "detach":
            del self.attached[bdf]
        elif what == "map":
            assert (bdf, words[1]) not in self.mapped
            self.mapped.add((bdf, words[1]))
        elif what == "unmap":
            self.mapped.remove((bdf, words[1]))
        elif command.startswith("swapstorm start"):
            assert words[1] in self.claimed
            self.attached[words[1]] = "either"
        elif what in ("bind", "unbind"):
            (self.bound.add if what == "bind" else self.bound.discard)(bdf)


@pytest.mark.parametrize("seed", range(5))
def test_nothing_that_is_wrong_by_itself(seed):
    """Deliberate break: _going() forgets to note that it detaches."""
    kernel = Kernel()
    for step in steps(seed):
        kernel.mapped = {one for one in kernel.mapped if one[0] != step.domain}
        for number, command in enumerate(step.commands):
            kernel.run(command)
            if number == sum(one.startswith("rgx ") for one in step.before) - 1:
                assert not step.error or step.recovering <= kernel.bound
        assert not [one for one in step.resets if one.hits & step.recovering]
        assert kernel.claimed == set(plan.PLACES)
        starts = [one.split()[3] for one in step.before if " start " in one]
        assert starts == [one.split()[3] for one in step.after]
