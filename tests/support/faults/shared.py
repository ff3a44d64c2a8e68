"""What a recording child leaves for the server that killed it, in memory that outlives the child."""

import json
import mmap
from typing import Any

STARTED, CREATED, CLOSING, DONE = 1, 2, 3, 4


class Shared:
    """Numbers and one message that a child leaves for the server, whatever becomes of the child."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 1 << 16)
        self.words = memoryview(self.memory).cast("q")

    phase = property(lambda self: self.words[0], lambda self, value: self.words.__setitem__(0, value))
    captured = property(lambda self: self.words[1], lambda self, value: self.words.__setitem__(1, value))
    attempted = property(lambda self: self.words[2], lambda self, value: self.words.__setitem__(2, value))
    waiting = property(lambda self: self.words[3], lambda self, value: self.words.__setitem__(3, value))

    # One more than the last durable step.
    durable = property(lambda self: self.words[5], lambda self, value: self.words.__setitem__(5, value))

    def say(self, message: object) -> None:
        data = json.dumps(message).encode()[: (1 << 16) - 64]
        self.memory[64 : 64 + len(data)] = data
        self.words[4] = len(data)

    def said(self) -> Any:
        return json.loads(self.memory[64 : 64 + self.words[4]]) if self.words[4] else None
