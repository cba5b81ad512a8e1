"""One possible value of an expression; infer.py works with sets of these."""

from typing import NamedTuple


class Value(NamedTuple):
    tag: str  # module, class, instance, function, method, many, tuple, lib, libinst, unknown
    what: object = None
    of: object = None

    def __repr__(self):
        return f"{self.tag}({self.what!r})"


UNKNOWN = Value("unknown")
NOTHING = frozenset([UNKNOWN])
