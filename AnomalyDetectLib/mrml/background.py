"""Work beside the event loop: a thread that is given its share of time, and whose result is fetched later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Background:
    """Runs a function in a thread; it may touch no node and no widget.

    In Slicer a Python thread runs only while the event loop is in Python, so `done` waits for a moment: call
    it from a timer.
    """

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def done(self, seconds: float = 0.02) -> bool:
        """Whether the work has ended, after giving it at most `seconds`."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self) -> Any:
        """What the function returned; raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # handed on by `result`
            self._error = error
