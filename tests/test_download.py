"""Downloads from a server on this machine that serves well, stalls, cuts, lies and is not there."""

import contextlib
import hashlib
import http.server
import socket
import threading
import time

import numpy as np
import pytest
from refusals import refused

import invert_jax as ij
from invert_jax.weights import download

DATA = np.random.default_rng(0).bytes(3 * (1 << 20) + 7)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves DATA as the server's `faults`, one for each request, say; then well."""

    def do_GET(self):
        self.server.ranges.append(self.headers.get("Range"))
        fault = self.server.faults.pop(0) if self.server.faults else None
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        data = {"lie": DATA[:-1] + b"x", "more": DATA + b"more"}.get(fault, DATA)
        if fault in (404, 503):
            self.send_error(fault)
            return
        if start and fault != "no ranges":
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            data = data[start:]
        else:
            self.send_response(200)
        if fault != "short":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if fault in ("cut", "stall", "short"):
            data = data[: len(data) // 2]
        with contextlib.suppress(ConnectionError):
            self.wfile.write(data)
        if fault == "stall":
            self.server.released.wait(5)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.faults, server.ranges, server.released = [], [], threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def published(server, **changes):
    url = f"http://127.0.0.1:{server.server_port}/weights/net.onnx"
    file = download.Download(url, hashlib.sha256(DATA).hexdigest(), len(DATA), "public domain")
    return file._replace(**changes)


@pytest.mark.parametrize(
    ("faults", "ranges"),
    [
        ([], 0),
        (["cut"], 1),
        (["short", "cut", "cut"], 3),
        (["stall"], 1),
        (["cut", "no ranges"], 1),  # starts again
        (["cut", "cut", "cut", "cut", "cut", "cut"], 6),  # each brings more
    ],
    ids=str,
)
def test_what_breaks_is_resumed(server, tmp_path, capsys, faults, ranges):
    server.faults = list(faults)
    path = download.fetch(published(server), folder=tmp_path / "new", timeout=0.3)
    assert path == tmp_path / "new" / "net.onnx" and path.read_bytes() == DATA
    assert not list(tmp_path.rglob("*.part"))
    assert len(server.ranges) == ranges + 1 and all(server.ranges[1:])
    said = capsys.readouterr().err
    assert "public domain" in said and published(server).url in said
    assert download.fetch(published(server), folder=tmp_path / "new") == path  # without the server
    assert len(server.ranges) == ranges + 1 and not capsys.readouterr().err


def test_a_later_call_resumes(server, tmp_path):
    server.faults = ["cut", 503]
    with refused("503", OSError):
        download.fetch(published(server), folder=tmp_path)
    assert (tmp_path / "net.onnx.part").stat().st_size == len(DATA) // 2 and not (tmp_path / "net.onnx").exists()
    assert download.fetch(published(server), folder=tmp_path).read_bytes() == DATA
    assert server.ranges[-1] == f"bytes={len(DATA) // 2}-"


def test_a_damaged_file_in_the_cache_is_downloaded_again(server, tmp_path):
    (tmp_path / "net.onnx").write_bytes(DATA[:-1])
    assert download.fetch(published(server), folder=tmp_path).read_bytes() == DATA


WRONG = [("lie", "SHA-256", ValueError), ("more", "longer", ValueError), (404, "404", OSError)]


@pytest.mark.parametrize(("fault", "noun", "error"), WRONG)
def test_what_a_server_does_wrong_is_a_sentence_and_leaves_nothing(server, tmp_path, fault, noun, error):
    server.faults = [fault] * 9
    with refused(noun, error):
        download.fetch(published(server), folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".net.onnx.lock"]


def test_a_server_that_only_stalls(server, tmp_path):
    server.faults = ["stall"] * 2 + ["short"] * 99
    data = published(server, size=10 * len(DATA))  # never complete
    started = time.monotonic()
    with refused("resumes", OSError):
        download.fetch(data, folder=tmp_path, timeout=0.1)
    assert time.monotonic() - started < 5


def test_no_server_names_the_file_its_hash_and_where_to_put_it(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    file = download.Download(f"http://127.0.0.1:{port}/net.onnx", "0" * 64, 5, "public domain")
    for noun in (file.url, file.sha256, str(tmp_path / "net.onnx")):
        with refused(noun, OSError):
            download.fetch(file, folder=tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with refused("INVERT_JAX_CACHE", OSError):
        download.fetch(download.DOWNLOADS["caffenet"], folder=tmp_path / "file" / "cache")


def test_several_processes_download_once(server, tmp_path):
    paths, file = [], published(server)
    threads = [threading.Thread(target=lambda: paths.append(download.fetch(file, folder=tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 4 and len(server.ranges) == 1 and paths[0].read_bytes() == DATA


def test_cached_weights_are_read_by_name(tmp_path, monkeypatch):
    import weight_writers as write
    from networks import NARROW, assert_same, random_params

    params = random_params(NARROW)
    file = download.DOWNLOADS["bvlc_alexnet"]
    write.onnx(tmp_path / file.file_name, params, "bvlc_alexnet")
    digest = hashlib.sha256((tmp_path / file.file_name).read_bytes()).hexdigest()
    monkeypatch.setitem(download.DOWNLOADS, "bvlc_alexnet", file._replace(sha256=digest))
    monkeypatch.setenv("INVERT_JAX_CACHE", str(tmp_path))
    assert_same(ij.fetch_params("bvlc_alexnet"), params)
    phi = ij.pretrained("bvlc_alexnet", layer="norm1")
    assert phi.apply == ij.alexnet(params, layer="norm1", architecture="bvlc_alexnet").apply
