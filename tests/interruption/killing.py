"""Processes that are killed (SIGKILL) at a chosen event."""

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator

# Python's audit events of all that changes or opens files.
EVENTS = ('open', 'os.rename', 'os.mkdir', 'os.remove', 'os.rmdir', 'os.chmod')
EVENTS += ('tempfile.mkdtemp', 'tempfile.mkstemp', 'shutil.rmtree', 'shutil.move')


def in_a_child(work: Callable[[], object], prepare=lambda: None) -> int:
    """Starts a copy of this process that does some work; gives its id."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)  # of other threads
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setpgid(0, 0)
        prepare()
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def outcome(child: int) -> bool:
    """Waits for a child: true if it was killed, false if it came to its end."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert os.waitstatus_to_exitcode(status) == 0, 'the work itself failed'
    return False


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Kills work right ahead of its n-th event; false if it has not so many."""

    def prepare() -> None:
        left = number

        def hook(event: str, arguments: tuple) -> None:
            nonlocal left
            if event in EVENTS:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)

    return outcome(in_a_child(work, prepare))


def every_moment(work: Callable[[], object], step: int = 1) -> Iterator[int]:
    """Kills work ahead of every event in turn, with a stop after each."""
    number = 0
    while killed_at(number, work):
        yield number
        number += step
