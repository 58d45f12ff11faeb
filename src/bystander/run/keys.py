"""Keys typed while a stream runs -> what they ask for. Pure: one character in, a ``Control`` changed, a line out.

``p`` panic on and off, a number and ``k`` keep that face, a number and ``c`` cover it, ``r`` forget all choices, ``q``
quit.
"""

from __future__ import annotations

from bystander.run.control import Control

HELP = "keys: p panic (cover all)   3k keep face 3   3c cover face 3   r forget choices   q quit"
MOST_DIGITS = 9


class Keys:
    def __init__(self, control: Control) -> None:
        self.control, self.number = control, ""

    def press(self, key: str) -> str:
        """Do what the key says; returns a line for the person, empty when there is nothing to tell."""
        if key.isascii() and key.isdigit():
            self.number = (self.number + key)[-MOST_DIGITS:]
            return ""
        number, self.number = self.number, ""
        if key == "p":
            self.control.panic = not self.control.panic
            return "PANIC: everything is covered; p again to go on" if self.control.panic else "panic is over"
        if key in ("k", "c"):
            return self.choose(key, number)
        if key == "r":
            self.control.choose(frozenset(), frozenset())
            return "all choices are forgotten: only --keep keeps anybody now"
        if key == "q":
            self.control.stop()
            return "ending"
        return HELP if key.isprintable() else ""

    def choose(self, key: str, number: str) -> str:
        if not number:
            return "type the face's number first, e.g. 3k"
        if key == "k":
            self.control.keep(int(number))
            return f"face {number} is kept"
        self.control.cover(int(number))
        return f"face {number} is covered"
