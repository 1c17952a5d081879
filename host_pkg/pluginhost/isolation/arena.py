"""Memory that host and child share, one piece for each channel, for bodies too large for its socket."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

_SEALS: Final = ("F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_SEAL")


class Arena:
    """A piece of shared memory. A channel carries one call at a time, so one body at a time is in it.

    A body is copied in and out, never read in place: what the other side may still write to is not looked at.
    """

    __slots__ = ("_memory", "fd")

    def __init__(self, fd: int, size: int) -> None:
        """Maps what a descriptor stands for.

        Args:
            fd: The descriptor, which is the arena's own from then on.
            size: How many bytes there are.

        Raises:
            OSError: It cannot be mapped.
            ValueError: There are not so many.
        """
        self._memory = mmap.mmap(fd, size)
        self.fd = fd

    @classmethod
    def make(cls, size: int) -> Arena:
        """Returns a new one, of which only what is written to takes memory.

        Its size is sealed: were the child to shrink it, the host would be killed when it reads.

        Raises:
            OSError: The system has none.
        """
        import fcntl  # only a host needs it, and not every system has it

        fd = os.memfd_create("pluginhost", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, size)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, sum(getattr(fcntl, seal) for seal in _SEALS))
            return cls(fd, size)
        except BaseException:
            os.close(fd)
            raise

    def write(self, body: bytes) -> None:
        """Puts a body in."""
        self._memory[: len(body)] = body

    def read(self, length: int) -> bytes:
        """Returns the body of a length that is in it; fewer bytes when the arena has fewer."""
        return self._memory[:length]

    def keep_private(self) -> None:
        """Gives the descriptor back, once the other side has it; the memory stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def close(self) -> None:
        """Gives the memory back; done twice, it does nothing more."""
        self.keep_private()
        self._memory.close()
