"""One worker, several requests: each hears the answers to its own."""

from __future__ import annotations

from typing import Any, Protocol

Message = dict[str, Any]
# What ends every request, because the process is gone.
FOR_ALL = ("crashed", "cancelled")


class Client(Protocol):
    """The worker's client, `worker_client.WorkerClient`."""

    def submit(self, request: Message) -> None:
        """Send a request."""

    def poll(self) -> list[Message]:
        """What was answered since the last call."""

    def cancel(self) -> None:
        """End the process."""


class PostOffice:
    """Shares a client among requests by their `id`."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._boxes: dict[str, list[Message]] = {}

    def submit(self, identity: str, request: Message) -> None:
        """Send a request whose answers `poll` gives under `identity`."""
        self._boxes[identity] = []
        self.client.submit(request | {"id": identity})

    def poll(self, identity: str) -> list[Message]:
        """What was answered to a request since the last call."""
        self._sort()
        waiting = self._boxes.get(identity, [])
        answers = list(waiting)
        waiting.clear()
        return answers

    def cancel(self) -> None:
        """End the process; all who wait now hear of it, and nobody who comes later."""
        self.client.cancel()
        self._sort()

    def forget(self, identity: str) -> None:
        """Hear no more of a request."""
        self._boxes.pop(identity, None)

    def _sort(self) -> None:
        for message in self.client.poll():
            owner = message.get("id")
            if message["type"] in FOR_ALL:
                for box in self._boxes.values():
                    box.append(message)
            elif owner in self._boxes:
                self._boxes[owner].append(message)
