"""A bell beside a journal's file: who changes the file rings it, and the session looks.

It is a named pipe, which the operating system lets one process wait for and any other write
into, without a port or a file that grows. One that is left behind by a dead process is used
again. Where there are no named pipes, nobody is woken: the session asks the file itself,
with the next thing it writes after a minute.
"""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from stat import S_ISFIFO

import anyio


def bell_of(path: str) -> str:
    """Return where the bell of a journal's file is."""
    return f"{path}-bell"


def ring(path: str) -> None:
    """Wake the session that listens, if there is one.

    Args:
        path: Where the bell is.
    """
    # Nobody listens, it has been rung often enough, or there is no such thing here.
    with suppress(OSError, AttributeError):
        bell = _open(path, os.O_WRONLY)
        try:
            os.write(bell, b"!")
        finally:
            os.close(bell)


@asynccontextmanager
async def listening(path: str, told: Callable[[], object]) -> AsyncGenerator[None]:
    """Listen to a bell for the length of a block.

    Args:
        path: Where it is; it is made.
        told: Called on the event loop when it has been rung.

    Yields:
        Nothing.

    Cancellation:
        Nobody listens any more.
    """
    bell = _make(path)
    if bell is None:
        yield
        return
    # Without a writer of our own it would be readable for ever once another has gone.
    keeps_open = _open(path, os.O_WRONLY)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_listen, bell, told)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel("nobody listens any more")
    finally:
        for end in (bell, keeps_open):
            os.close(end)
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108 -- it does not take long


def _make(path: str) -> int | None:
    """Return the end to listen at; None if the system or the disk knows no such thing."""
    with suppress(OSError, AttributeError):
        with suppress(FileExistsError):
            os.mkfifo(path)
        return _open(path, os.O_RDONLY)
    return None


def _open(path: str, flags: int) -> int:
    """Open an end of a named pipe.

    Returns:
        Its file descriptor.

    Raises:
        FileExistsError: It is something else.
    """
    end = os.open(path, flags | os.O_NONBLOCK)
    if not S_ISFIFO(os.fstat(end).st_mode):
        os.close(end)
        raise FileExistsError(path)
    return end


async def _listen(bell: int, told: Callable[[], object]) -> None:
    while True:
        await anyio.wait_readable(bell)
        os.read(bell, 4096)
        told()
