"""Reads a pickle without executing it: a small machine for the opcodes that files of weights are made of.

It makes numbers, strings, tuples, lists, dicts and sets, and nothing else. A global is looked up in the caller's table
{"module.name": function or value}; any other is refused by name before anything could be done with it. Python's own
unpickler is not used: told not to import, it still allocates what a damaged length or memo index says.

Every step makes at most a small object, lengths are checked against what is there, and the number of steps is limited,
so a file costs memory in proportion to its size. Bytes come back as views of the file, without a copy.
"""

import struct

STEPS = 2_000_000  # opcodes: a checkpoint of a thousand tensors with its optimiser has about 150 000
PYTHON2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
SCALARS = (str, int, float, bool, bytes, type(None))


class Unreadable(ValueError):
    """What is wrong with the file, in words for its user."""


class Built:
    """Base of what the caller's functions return if a BUILD step completes it: `build(state)`."""


class Attributes(dict, Built):
    """An object that is nothing but its attributes, such as argparse.Namespace: they come back as a dict."""

    def build(self, state):
        if type(state) is not dict:
            raise Unreadable("a Namespace without a dict of attributes")
        self.update(state)


def hashable(key):
    if type(key) not in SCALARS:  # hashing deep tuples recurses in C
        raise Unreadable(f"a dict key or set member that is a {type(key).__name__}; expected strings and numbers")
    return key


class Machine:
    def __init__(self, data, position, table, persistent):
        self.data, self.position, self.table, self.persistent = data, position, table, persistent
        self.stack, self.marks, self.memo = [], [], {}

    def take(self, count):
        first, self.position = self.position, self.position + count
        if self.position > len(self.data):
            raise Unreadable(f"the pickle ends early: {count} bytes wanted at {first}, {len(self.data) - first} there")
        return self.data[first : self.position]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self):
        start = self.position
        while self.take(1) != b"\n":
            if self.position - start > 1000:
                raise Unreadable("a global's name of over 1000 bytes")
        return str(self.data[start : self.position - 1], "utf-8")

    def text(self, count):
        return str(self.take(count), "utf-8")

    def since_mark(self):
        items, self.stack = self.stack, self.marks.pop()
        return items

    def find(self, module, name):
        full = f"{PYTHON2.get(module, module)}.{name}"
        if full not in self.table:
            raise Unreadable(
                f"it refers to {full[:80]!r}, which is no tensor, number, string or plain container; nothing was "
                "executed. If you trust the file, let the code that it comes from save its state_dict() alone"
            )
        return self.table[full]

    def call(self, function, arguments):
        if not callable(function) or type(arguments) is not tuple:
            raise Unreadable(f"a call of {type(function).__name__}")
        try:
            return function(*arguments)
        except Unreadable:
            raise
        except (TypeError, ValueError, AttributeError, LookupError, OverflowError) as error:
            raise Unreadable(f"the pickle is damaged: wrong arguments ({type(error).__name__})") from None

    def append(self, items):
        if type(self.stack[-1]) is list:
            self.stack[-1].extend(items)
        elif type(self.stack[-1]) is set:
            self.stack[-1].update(map(hashable, items))
        else:
            raise Unreadable(f"items for a {type(self.stack[-1]).__name__}")

    def set_items(self, items):
        if not isinstance(self.stack[-1], dict) or len(items) % 2:
            raise Unreadable(f"keys and values for a {type(self.stack[-1]).__name__}")
        for key, value in zip(items[::2], items[1::2]):
            self.stack[-1][hashable(key)] = value

    def run(self):
        """Up to the STOP opcode; -> the object."""
        for _ in range(STEPS):
            op = self.take(1).tobytes()
            stack = self.stack
            if op in CONSTANTS:
                stack.append(CONSTANTS[op])
            elif op in NUMBERS:
                stack.append(self.number(NUMBERS[op]))
            elif op in STRINGS:
                stack.append(self.text(self.number(STRINGS[op])))
            elif op in BYTES:
                stack.append(self.take(self.number(BYTES[op])))
            elif op in PYTHON2_STRINGS:
                raw = self.take(self.number(PYTHON2_STRINGS[op]))
                try:
                    stack.append(str(raw, "utf-8"))
                except UnicodeDecodeError:  # data, not a name
                    stack.append(raw)
            elif op in GETS:
                stack.append(self.memo[self.number(GETS[op])])
            elif op in PUTS:
                self.memo[self.number(PUTS[op])] = stack[-1]
            elif op == b"\x94":  # MEMOIZE
                self.memo[len(self.memo)] = stack[-1]
            elif op in EMPTY:
                stack.append(EMPTY[op]())
            elif op == b"(":
                self.marks.append(stack)
                self.stack = []
            elif op == b"t":
                items = self.since_mark()
                self.stack.append(tuple(items))
            elif op in TUPLES:
                if len(stack) < TUPLES[op]:
                    raise IndexError
                stack[-TUPLES[op] :] = [tuple(stack[-TUPLES[op] :])]
            elif op == b"a":  # APPEND
                item = stack.pop()
                self.append([item])
            elif op in (b"e", b"\x90"):  # APPENDS, ADDITEMS
                self.append(self.since_mark())
            elif op == b"s":  # SETITEM
                value, key = stack.pop(), stack.pop()
                self.set_items([key, value])
            elif op == b"u":  # SETITEMS
                self.set_items(self.since_mark())
            elif op == b"\x91":  # FROZENSET
                items = self.since_mark()
                self.stack.append(frozenset(map(hashable, items)))
            elif op in (b"c", b"i"):  # GLOBAL, INST
                module = self.line()
                stack.append(self.find(module, self.line()))
                if op == b"i":
                    raise Unreadable("an opcode of an ancient pickle, INST")
            elif op == b"\x93":  # STACK_GLOBAL
                name, module = stack.pop(), stack.pop()
                if type(name) is not str or type(module) is not str:
                    raise Unreadable("a global whose name is no string")
                stack.append(self.find(module, name))
            elif op in (b"R", b"\x81"):  # REDUCE, NEWOBJ: what the table holds has nothing but functions
                arguments, function = stack.pop(), stack.pop()
                stack.append(self.call(function, arguments))
            elif op == b"b":  # BUILD
                state = stack.pop()
                if isinstance(stack[-1], Built):
                    self.call(stack[-1].build, (state,))
                elif type(stack[-1]) is not dict:  # an OrderedDict's attributes (`_metadata`) are let go
                    raise Unreadable(f"attributes for a {type(stack[-1]).__name__}")
            elif op == b"Q" and self.persistent:  # BINPERSID
                name = stack.pop()
                stack.append(self.call(self.persistent, (name,)))
            elif op in (b"\x8a", b"\x8b"):  # LONG1, LONG4
                count = self.number("B" if op == b"\x8a" else "<i")
                if not 0 <= count <= 32:
                    raise Unreadable(f"a whole number of {count} bytes")
                stack.append(int.from_bytes(self.take(count), "little", signed=True))
            elif op in SKIPPED:  # PROTO, FRAME
                self.number(SKIPPED[op])
            elif op == b".":
                return stack.pop()
            else:
                raise Unreadable(f"opcode {op!r} at byte {self.position - 1}, which files of weights do not use")
        raise Unreadable(f"a pickle of more than {STEPS:,} steps")


CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False, b")": ()}
NUMBERS = {b"J": "<i", b"K": "B", b"M": "<H", b"G": ">d"}
STRINGS = {b"X": "<I", b"\x8c": "B", b"\x8d": "<Q"}
BYTES = {b"B": "<I", b"C": "B", b"\x8e": "<Q", b"\x96": "<Q"}
PYTHON2_STRINGS = {b"T": "<I", b"U": "B"}
GETS = {b"h": "B", b"j": "<I"}
PUTS = {b"q": "B", b"r": "<I"}
TUPLES = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
EMPTY = {b"}": dict, b"]": list, b"\x8f": set}
SKIPPED = {b"\x80": "B", b"\x95": "<Q"}


def load(data, table, position=0, persistent=None):
    """A pickle in `data` (a memoryview) from `position` on -> (object, the position behind it)."""
    machine = Machine(data, position, table, persistent)
    try:
        return machine.run(), machine.position
    except Unreadable:
        raise
    except (IndexError, KeyError, UnicodeError, OverflowError, struct.error):
        raise Unreadable(f"the pickle is damaged near byte {machine.position}") from None
