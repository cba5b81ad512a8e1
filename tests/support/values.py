"""What an expression can be: infer.py works with sets of these."""

from typing import NamedTuple


class Value(NamedTuple):
    kind: str  # module, class, instance, function, method, many, tuple, lib, libinst, unknown
    what: object = None
    of: object = None

    def __repr__(self):
        return f"{self.kind}({self.what!r})"


UNKNOWN = Value("unknown")
NOTHING = frozenset([UNKNOWN])
