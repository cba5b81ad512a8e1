"""Reads a pickle without executing it: an interpreter for the opcodes that files of weights consist of.

It creates numbers, strings, tuples, lists, dicts and sets, and nothing else. A global is looked up in the caller's
table {"module.name": function or value}; any other is refused, by name, before anything is done with it. Python's own
unpickler is not used: even with imports forbidden it allocates whatever a damaged length or memo index asks for.

Every step creates at most one small object, lengths are checked against the size of the file, and the number of steps
is limited, so the memory used is proportional to the size of the file. Bytes are returned as views of the file, without
a copy.
"""

import struct

STEPS = 2_000_000  # opcodes: a checkpoint of a thousand tensors with its optimizer has about 150 000
PYTHON2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
SCALARS = (str, int, float, bool, bytes, type(None))


class Unreadable(ValueError):
    """The file cannot be read; the message states the reason for the user."""


class Built:
    """Base class of results of the caller's functions that a BUILD opcode completes: `build(state)`."""


class Attributes(dict, Built):
    """An object that consists of its attributes alone, such as argparse.Namespace: returned as a dict."""

    def build(self, state):
        if type(state) is not dict:
            raise Unreadable("a Namespace without a dict of attributes")
        self.update(state)


def hashable(key):
    if type(key) not in SCALARS:  # hashing deep tuples recurses in C
        raise Unreadable(f"a dict key or set member that is a {type(key).__name__}; expected strings and numbers")
    return key


class Machine:
    """The stack, marks and memo of one pickle in `data`, read from `position` on."""

    def __init__(self, data, position, table, persistent):
        self.data, self.position, self.table, self.persistent = data, position, table, persistent
        self.stack, self.marks, self.memo = [], [], {}

    def take(self, count):
        first, self.position = self.position, self.position + count
        if self.position > len(self.data):
            raise Unreadable(f"the pickle ends early: {count} bytes expected at {first}, {len(self.data) - first} left")
        return self.data[first : self.position]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self):
        start = self.position
        while self.take(1) != b"\n":
            if self.position - start > 1000:
                raise Unreadable("a global's name of over 1000 bytes")
        return str(self.data[start : self.position - 1], "utf-8")

    def since_mark(self):
        items, self.stack = self.stack, self.marks.pop()
        return items

    def find(self, module, name):
        full = f"{PYTHON2.get(module, module)}.{name}"
        if full not in self.table:
            raise Unreadable(
                f"it refers to {full[:80]!r}, which is no tensor, number, string or plain container; nothing was "
                "executed. If you trust the file, use the code that it comes from to save its state_dict() alone"
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
        """Execute opcodes up to STOP; -> the object."""
        for _ in range(STEPS):
            opcode = self.take(1).tobytes()
            if opcode == b".":
                return self.stack.pop()
            method, *arguments = OPCODES.get(opcode, (Machine.refuse, opcode))
            method(self, *arguments)
        raise Unreadable(f"a pickle of more than {STEPS:,} steps")

    # The opcodes. `form`: the struct format of the number that follows the opcode.

    def refuse(self, opcode):
        raise Unreadable(f"opcode {opcode!r} at byte {self.position - 1}, which files of weights do not use")

    def push(self, value):
        self.stack.append(value)

    def push_new(self, container):
        self.push(container())

    def push_number(self, form):
        self.push(self.number(form))

    def push_long(self, form):
        count = self.number(form)
        if not 0 <= count <= 32:
            raise Unreadable(f"an integer of {count} bytes")
        self.stack.append(int.from_bytes(self.take(count), "little", signed=True))

    def push_text(self, form):
        self.push(str(self.take(self.number(form)), "utf-8"))

    def push_bytes(self, form):
        self.push(self.take(self.number(form)))

    def push_python2_string(self, form):
        data = self.take(self.number(form))
        try:
            self.push(str(data, "utf-8"))
        except UnicodeDecodeError:  # data, not a name
            self.push(data)

    def get(self, form):
        self.push(self.memo[self.number(form)])

    def put(self, form):
        self.memo[self.number(form)] = self.stack[-1]

    def memoize(self):
        self.memo[len(self.memo)] = self.stack[-1]

    def mark(self):
        self.marks.append(self.stack)
        self.stack = []

    def make_tuple(self):
        self.push(tuple(self.since_mark()))

    def make_short_tuple(self, count):
        if len(self.stack) < count:
            raise IndexError
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def make_frozenset(self):
        self.push(frozenset(map(hashable, self.since_mark())))

    def append_one(self):
        self.append([self.stack.pop()])

    def append_all(self):
        self.append(self.since_mark())

    def set_one(self):
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def set_all(self):
        self.set_items(self.since_mark())

    def push_global(self):
        module = self.line()
        self.push(self.find(module, self.line()))

    def push_instance(self):
        self.push_global()  # refuses an unknown one by name
        raise Unreadable("opcode INST, of pickle protocol 0")

    def push_stack_global(self):
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise Unreadable("a global whose name is not a string")
        self.push(self.find(module, name))

    def reduce(self):
        arguments, function = self.stack.pop(), self.stack.pop()
        self.push(self.call(function, arguments))

    def build(self):
        state = self.stack.pop()
        if isinstance(self.stack[-1], Built):
            self.call(self.stack[-1].build, (state,))
        elif type(self.stack[-1]) is not dict:  # the attributes of an OrderedDict (`_metadata`) are ignored
            raise Unreadable(f"attributes for a {type(self.stack[-1]).__name__}")

    def push_persistent(self):
        if not self.persistent:
            self.refuse(b"Q")
        self.push(self.call(self.persistent, (self.stack.pop(),)))


OPCODES = {
    **{code: (Machine.push, value) for code, value in ((b"N", None), (b"\x88", True), (b"\x89", False), (b")", ()))},
    **{code: (Machine.push_new, container) for code, container in ((b"}", dict), (b"]", list), (b"\x8f", set))},
    **{code: (Machine.push_number, form) for code, form in ((b"J", "<i"), (b"K", "B"), (b"M", "<H"), (b"G", ">d"))},
    **{code: (Machine.push_long, form) for code, form in ((b"\x8a", "B"), (b"\x8b", "<i"))},
    **{code: (Machine.push_text, form) for code, form in ((b"X", "<I"), (b"\x8c", "B"), (b"\x8d", "<Q"))},
    **{
        code: (Machine.push_bytes, form) for code, form in ((b"B", "<I"), (b"C", "B"), (b"\x8e", "<Q"), (b"\x96", "<Q"))
    },
    **{code: (Machine.push_python2_string, form) for code, form in ((b"T", "<I"), (b"U", "B"))},
    **{code: (Machine.get, form) for code, form in ((b"h", "B"), (b"j", "<I"))},
    **{code: (Machine.put, form) for code, form in ((b"q", "B"), (b"r", "<I"))},
    **{code: (Machine.make_short_tuple, count) for code, count in ((b"\x85", 1), (b"\x86", 2), (b"\x87", 3))},
    **{code: (Machine.number, form) for code, form in ((b"\x80", "B"), (b"\x95", "<Q"))},  # PROTO, FRAME: skipped
    b"\x94": (Machine.memoize,),
    b"(": (Machine.mark,),
    b"t": (Machine.make_tuple,),
    b"\x91": (Machine.make_frozenset,),
    b"a": (Machine.append_one,),  # APPEND
    **dict.fromkeys((b"e", b"\x90"), (Machine.append_all,)),  # APPENDS, ADDITEMS
    b"s": (Machine.set_one,),  # SETITEM
    b"u": (Machine.set_all,),  # SETITEMS
    b"c": (Machine.push_global,),
    b"i": (Machine.push_instance,),  # INST
    b"\x93": (Machine.push_stack_global,),
    **dict.fromkeys((b"R", b"\x81"), (Machine.reduce,)),  # REDUCE, NEWOBJ
    b"b": (Machine.build,),
    b"Q": (Machine.push_persistent,),  # BINPERSID
}


def load(data, table, position=0, persistent=None):
    """The pickle in `data` (a memoryview) from `position` on -> (object, the position after it)."""
    machine = Machine(data, position, table, persistent)
    try:
        return machine.run(), machine.position
    except (IndexError, KeyError, UnicodeError, OverflowError, struct.error):
        raise Unreadable(f"the pickle is damaged near byte {machine.position}") from None
