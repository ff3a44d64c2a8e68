"""The client of a Dask cluster, where a scheduler answers."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client


def client_at(address: str, *, seconds: float, set_as_default: bool = True) -> "Client":
    """A client of the scheduler at an address.

    Args:
        address: such as ``tcp://host:8786``.
        seconds: that it may take to answer.
        set_as_default: whether other code of this process that asks Dask for a client gets it.

    Raises:
        OSError: nobody is there, or whoever is there says nothing.
        TimeoutError: likewise.
        ValueError: it is no address.
    """
    from distributed import Client  # noqa: PLC0415 - an extra, and heavy
    from distributed.comm.core import connect  # noqa: PLC0415
    from distributed.security import Security  # noqa: PLC0415

    async def ask() -> None:
        connection = await connect(address, timeout=seconds, **Security().get_connection_args("client"))
        await connection.close()

    async def ask_in_time() -> None:
        # A client waits for ever where somebody takes the connection and then says nothing.
        try:
            await asyncio.wait_for(ask(), 2 * seconds)
        except TimeoutError as error:
            raise TimeoutError(str(error) or "it takes the connection and says nothing") from error

    # In a thread: a notebook has an event loop in its own already.
    with ThreadPoolExecutor(1, "embevo-asking") as asking:
        asking.submit(lambda: asyncio.run(ask_in_time())).result()
    return Client(address, timeout=seconds, set_as_default=set_as_default)
