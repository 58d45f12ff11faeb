"""The one asyncio loop of all WebRTC, in a thread of its own. Coroutines in from any thread, their results out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
WAIT_S = 30.0  # longer than any answer takes


class Loop:
    """Runs from the first use until ``close``."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: threading.Thread | None = None

    def running(self) -> asyncio.AbstractEventLoop:
        with self.lock:
            if self.loop is None:
                self.loop = asyncio.new_event_loop()
                self.thread = threading.Thread(target=self._work, args=(self.loop,), name="bystander-rtc", daemon=True)
                self.thread.start()
            return self.loop

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, or its exception. TimeoutError after ``WAIT_S``."""
        future = asyncio.run_coroutine_threadsafe(work, self.running())
        try:
            return future.result(WAIT_S)
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the loop; what still runs in it is cancelled."""
        with self.lock:
            loop, thread, self.loop, self.thread = self.loop, self.thread, None, None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(cancel_all(), loop)
        thread.join(5)
        if not thread.is_alive():
            loop.close()


async def cancel_all() -> None:
    """Cancel every task but this one, then stop the loop."""
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    others = [t for t in asyncio.all_tasks() if t is not me]
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=3)
    loop.stop()
