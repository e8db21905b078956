"""Several processes that share a folder, of which none dies because another has."""

import contextlib
import socket
import time

import jax

_PATIENCE = 2.0  # seconds for whatever has connected to say which process it is


def initialize(coordinator: str, num_processes: int, process_id: int, *, seconds: float = 300.0) -> None:
    """Makes this process one of several that share a sweep, before JAX does anything else.

    The processes meet once, by `jax.distributed`, and learn who they are and that all are there. Then they part, since
    a sweep communicates by its folder alone. So JAX kills no process because another has died, and SIGTERM reaches
    Python, which the preemption service would swallow.

    Args:
      coordinator: ADDRESS:PORT of process 0.
      num_processes: how many there are.
      process_id: which one this is, from 0.
      seconds: how long to wait for the others.

    Raises:
      ValueError: `process_id` is not one of `num_processes`, or the coordinator is no ADDRESS:PORT.
      TimeoutError: the others did not come.
    """
    if not 0 <= process_id < num_processes:
        raise ValueError(f"process_id is {process_id}, of {num_processes} processes; they count from 0.")
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isdecimal()):
        raise ValueError(f"The coordinator is {coordinator!r}; give ADDRESS:PORT of process 0.")
    # Before JAX, which aborts the whole process, with a stack of C++, when one of them does not come.
    with contextlib.ExitStack() as connections:
        try:
            _meet(host, int(port), num_processes, process_id, time.monotonic() + seconds, connections)
        except TimeoutError:
            raise TimeoutError(
                f"Process {process_id} of {num_processes} waited {seconds:g} s for the others at {coordinator}; start "
                f"all of them, with the same coordinator."
            ) from None
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(coordinator, num_processes, process_id)
    jax.local_devices()  # the backend keeps the number of processes, and which this is
    jax.distributed.shutdown()


def _meet(host, port, num_processes, process_id, deadline, connections):
    """Waits until all processes have connected to process 0."""

    def remaining():
        return max(deadline - time.monotonic(), 1e-3)

    if process_id:
        while True:
            with contextlib.suppress(ConnectionError, socket.gaierror):  # process 0 is not there yet
                connection = connections.enter_context(socket.create_connection((host, port), remaining()))
                connection.sendall(b"%8d" % process_id)
                if connection.recv(1):
                    return
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.1)
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    others = {}
    with socket.create_server(("", port), family=family, dualstack_ipv6=dual) as server:
        while len(others) < num_processes - 1:
            server.settimeout(remaining())
            connection = connections.enter_context(server.accept()[0])
            connection.settimeout(min(remaining(), _PATIENCE))
            with contextlib.suppress(OSError, ValueError):  # whatever else connects, such as a scan of ports
                text = connection.makefile("rb").read(8)  # all 8 bytes; `recv` may return the first of them
                if len(text) == 8 and 0 < int(text) < num_processes:
                    others[int(text)] = connection
                    continue
            connection.close()  # a process that was too slow connects again
        for connection in others.values():
            connection.settimeout(remaining())
            connection.sendall(b"+")
            connection.recv(1)  # until the other closes, which leaves the port free for JAX
