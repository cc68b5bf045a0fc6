"""Named places where a test ends the process as a power cut would: `INGRAIN_FAILPOINT=name` or `name:3` (third pass).

Free when the variable is unset: the plan is read once.
"""

import os
import signal

_name, _, _pass = os.environ.get("INGRAIN_FAILPOINT", "").partition(":")
_left = int(_pass or 1)


def failpoint(name: str) -> None:
    global _left
    if name != _name:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
