"""A disk that fails, for the SQLite that the `sqlite3` module uses; needs no compiler.

``with faulty_disk("run.db", Fault("fsync", "eio")) as disk:`` registers a virtual file
system in SQLite, by ctypes, that hands everything to the real one and goes wrong when told
to. Only the files whose path begins with the given one are touched: the database and its
log. What fails is what SQLite sees fail, below all of our code:

- "eio" fails the call; "enospc" writes one half and says that the disk is full;
- "slow" does it late; "call" calls a function, before the call or after it ("after"),
  which may end the process at exactly that moment.

After an fsync that failed the operating system may drop what had been written since the
last good one, and say that all is well when it is asked again. `Fault.forgets` does that:
the old bytes are put back, and whoever trusted in a second fsync has lost them.
"""

import _sqlite3
import ctypes
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import attrs

Where = Literal["read", "write", "fsync"]
What = Literal["eio", "enospc", "slow", "call"]

OK, IOERR, FULL = 0, 10, 13
FAILS = {"read": IOERR | 1 << 8, "write": IOERR | 3 << 8, "fsync": IOERR | 4 << 8}

_P, _INT, _I64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_Open = ctypes.CFUNCTYPE(_INT, _P, _P, _P, _INT, _P)
_ReadWrite = ctypes.CFUNCTYPE(_INT, _P, _P, _INT, _I64)
_Sync = ctypes.CFUNCTYPE(_INT, _P, _INT)
_Truncate = ctypes.CFUNCTYPE(_INT, _P, _I64)
_Size = ctypes.CFUNCTYPE(_INT, _P, ctypes.POINTER(_I64))


class _Methods(ctypes.Structure):
    """sqlite3_io_methods; what comes after version 3 is not known, nor needed."""

    _fields_ = (
        ("version", _INT),
        ("close", _P),
        ("read", _P),
        ("write", _P),
        ("truncate", _P),
        ("sync", _P),
        ("size", _P),
        ("others", _P * 12),
    )


class _File(ctypes.Structure):
    _fields_ = (("methods", ctypes.POINTER(_Methods)),)


class _System(ctypes.Structure):
    """sqlite3_vfs, in version 3."""

    _fields_ = (
        ("version", _INT),
        ("file_size", _INT),
        ("longest", _INT),
        ("next", _P),
        ("name", ctypes.c_char_p),
        ("data", _P),
        ("open", _P),
        ("others", _P * 14),
    )


@attrs.define
class Fault:
    """What goes wrong, and when.

    Attributes:
        where: In which call.
        what: How.
        at: At which call of that kind, counted from 1.
        once: Whether only then; else at every one from then on.
        seconds: How slow.
        call: What to call; with `after`, when the real call has been made.
        after: See `call`.
        forgets: Whether a failed fsync drops what had been written since the last.
    """

    where: Where
    what: What = "eio"
    at: int = 1
    once: bool = False
    seconds: float = 0.0
    call: Callable[[], object] = int
    after: bool = False
    forgets: bool = False

    def hits(self, where: Where, count: int) -> bool:
        """Return whether a call is one that goes wrong."""
        return where == self.where and (
            count == self.at if self.once else count >= self.at
        )


@attrs.define
class Disk:
    """What happened on the disk.

    Attributes:
        fault: What goes wrong; may be changed at any time, None for nothing.
        calls: How many calls there were of each kind, since the fault was set.
        hits: How many went wrong.
    """

    fault: Fault | None
    calls: Counter[Where] = attrs.field(factory=Counter[Where])
    hits: int = 0

    def set(self, fault: Fault | None) -> None:
        """Change what goes wrong; calls are counted from here."""
        self.fault = fault
        self.calls = Counter[Where]()

    def next(self, where: Where) -> Fault | None:
        """Count a call, and return what goes wrong in it."""
        self.calls[where] += 1
        fault = self.fault
        if fault is None or not fault.hits(where, self.calls[where]):
            return None
        self.hits += 1
        return fault


def why_not() -> str:
    """Return why there can be no faulty disk here; empty if there can."""
    try:
        library = _library()
        library.sqlite3_vfs_find.restype = ctypes.POINTER(_System)
        system = library.sqlite3_vfs_find(None)
    except (AttributeError, OSError) as error:
        return f"SQLite cannot be reached by ctypes: {error}"
    return (
        "" if system and system.contents.version >= 1 else "SQLite has no file system"
    )


def _library() -> Any:
    """Return the very SQLite that `sqlite3` uses."""
    path = getattr(_sqlite3, "__file__", None)  # None: it is a part of the interpreter
    return ctypes.PyDLL(path) if path is None else ctypes.CDLL(path)


class _Shim:
    """The file system; everything that C holds on to is kept alive here."""

    def __init__(self, prefix: str, disk: Disk) -> None:
        self._prefix = prefix.encode()
        self._disk = disk
        self._library = _library()
        self._library.sqlite3_vfs_find.restype = ctypes.POINTER(_System)
        self._real = self._library.sqlite3_vfs_find(None)
        self._real_open = _Open(self._real.contents.open)
        self._own = _System.from_buffer_copy(self._real.contents)
        self._own.name = b"faulty disk"
        self._open_callback = _Open(self._open)
        self._own.open = ctypes.cast(self._open_callback, _P)
        self._tables: dict[int, tuple[_Methods, list[Any]]] = {}
        self._unsynced: dict[int, list[tuple[int, bytes]]] = {}
        self._old_sizes: dict[int, int] = {}

    def register(self) -> None:
        """Have new connections use it."""
        assert self._library.sqlite3_vfs_register(ctypes.byref(self._own), 1) == OK

    def unregister(self) -> None:
        """Have new connections use the real one."""
        assert self._library.sqlite3_vfs_unregister(ctypes.byref(self._own)) == OK

    def _open(
        self, _system: int, name: int | None, file: int, flags: int, out: int | None
    ) -> int:
        answer = int(self._real_open(self._real, name, file, flags, out))
        path = b"" if name is None else ctypes.string_at(name)  # None: a temporary file
        suffixes = (self._prefix, self._prefix + b"-wal")
        if answer == OK and path.endswith(suffixes):
            opened = ctypes.cast(file, ctypes.POINTER(_File)).contents
            table = opened.methods.contents
            address = ctypes.addressof(table)
            if address not in self._tables:
                self._tables[address] = self._wrapped(table)
            opened.methods = ctypes.pointer(self._tables[address][0])
            self._unsynced.pop(file, None)
        return answer

    def _wrapped(self, real: _Methods) -> tuple[_Methods, list[Any]]:
        """Return a table of methods that can go wrong, and what it needs to live."""
        calls = _Calls(
            read=_ReadWrite(real.read),
            write=_ReadWrite(real.write),
            sync=_Sync(real.sync),
            size=_Size(real.size),
            truncate=_Truncate(real.truncate),
        )
        own = _Methods.from_buffer_copy(real)
        callbacks = [
            _ReadWrite(partial(self._read, calls)),
            _ReadWrite(partial(self._write, calls)),
            _Sync(partial(self._sync, calls)),
        ]
        own.read, own.write, own.sync = (ctypes.cast(c, _P) for c in callbacks)
        return own, [*callbacks, calls]

    def _read(
        self, calls: "_Calls", file: int, data: int, amount: int, offset: int
    ) -> int:
        real = partial(calls.read, file, data, amount, offset)
        return _around(self._disk.next("read"), "read", real)

    def _write(
        self, calls: "_Calls", file: int, data: int, amount: int, offset: int
    ) -> int:
        fault = self._disk.next("write")
        self._note(calls, file, amount, offset)
        if fault is not None and fault.what == "enospc":
            calls.write(file, data, amount // 2, offset)
            return FULL
        return _around(fault, "write", partial(calls.write, file, data, amount, offset))

    def _sync(self, calls: "_Calls", file: int, flags: int) -> int:
        fault = self._disk.next("fsync")
        answer = _around(fault, "fsync", partial(calls.sync, file, flags))
        if answer == OK:
            self._unsynced.pop(file, None)
        elif fault is not None and fault.forgets:
            self._forget(calls, file)
        return answer

    def _note(self, calls: "_Calls", file: int, amount: int, offset: int) -> None:
        """Keep what a write is about to replace."""
        fault = self._disk.fault
        if fault is None or not fault.forgets:
            return
        length = _I64()
        calls.size(file, ctypes.byref(length))
        if file not in self._unsynced:
            self._unsynced[file] = []
            self._old_sizes[file] = length.value
        old = min(amount, max(0, length.value - offset))
        if old:
            buffer = ctypes.create_string_buffer(old)
            calls.read(file, ctypes.addressof(buffer), old, offset)
            self._unsynced[file].append((offset, buffer.raw))

    def _forget(self, calls: "_Calls", file: int) -> None:
        """Put back what there was at the last good fsync."""
        if file not in self._unsynced:
            return
        for offset, old in reversed(self._unsynced.pop(file)):
            calls.write(file, old, len(old), offset)
        calls.truncate(file, self._old_sizes.pop(file))


@attrs.frozen
class _Calls:
    """The real calls of one kind of file."""

    read: Any
    write: Any
    sync: Any
    size: Any
    truncate: Any


def _around(fault: Fault | None, where: Where, real: Callable[[], int]) -> int:
    """Make a call, unless it fails; and what else happens before and after it."""
    if fault is None:
        return int(real())
    if fault.what in {"eio", "enospc"}:
        return FAILS[where]
    if fault.what == "slow":
        time.sleep(fault.seconds)
    elif not fault.after:
        fault.call()
    answer = int(real())
    if fault.what == "call" and fault.after:
        fault.call()
    return answer


_KEPT: list[_Shim] = []
"""A connection may outlive the block, and goes on calling its methods."""


@contextmanager
def faulty_disk(path: object, fault: Fault | None = None) -> Generator[Disk]:
    """Put a faulty disk under one SQLite file for the length of a block.

    Args:
        path: The file, or the end of its path.
        fault: What goes wrong first.

    Yields:
        The disk.
    """
    disk = Disk(fault)
    shim = _Shim(str(path), disk)
    _KEPT.append(shim)
    shim.register()
    try:
        yield disk
    finally:
        shim.unregister()
