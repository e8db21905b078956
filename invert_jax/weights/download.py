"""Published weights by name: downloaded once, resumed after a break, and checked against a pinned hash.

The standard library does all of it: the packages that cache downloads do not resume them, or know one site only.
"""

import functools
import http.client
import os
import pathlib
import sys
import urllib.error
import urllib.request
from typing import NamedTuple

from invert_jax._util import checks, locks, paths
from invert_jax.types import Params
from invert_jax.weights import files, registry

_BLOCK = 1 << 20  # bytes
_ATTEMPTS = 5
_TIMEOUT = 30.0  # seconds without a byte


class Download(NamedTuple):
    """A published weight file.

    Attributes:
      url: where it is.
      sha256: its hash.
      size: bytes.
      license: what its publisher says.
    """

    url: str
    sha256: str
    size: int
    license: str

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]


_ZOO = "https://huggingface.co/onnxmodelzoo/legacy_models/resolve/main/validated/vision/classification"
_ZOO_LICENSE = "Apache-2.0 (ONNX Model Zoo), from Caffe's model zoo: unrestricted use"
DOWNLOADS = {
    "caffenet": Download(
        f"{_ZOO}/caffenet/model/caffenet-12.onnx",
        "ea563e5c47d1f58e1717cf1a2d8bf288b8adc07af0ad228b622096cd243aeecb",
        243_863_798,
        _ZOO_LICENSE,
    ),
    "caffenet_int8": Download(
        f"{_ZOO}/caffenet/model/caffenet-12-qdq.onnx",
        "ff1170e8123aa7b8d652bc43a9e9864ee6ba050653470f34dada9b6ad0731b40",
        61_009_797,
        _ZOO_LICENSE,
    ),
    "bvlc_alexnet": Download(
        f"{_ZOO}/alexnet/model/bvlcalexnet-12.onnx",
        "6b0da9510f27f234ee96a85dc3809dd210150fdefad87f6850f9788513216945",
        243_863_787,
        _ZOO_LICENSE,
    ),
    "alexnet": Download(
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        244_408_911,
        "BSD-3-Clause (torchvision)",
    ),
}
"""What `fetch_params` takes, by name."""


def fetch_params(name: str) -> Params:
    """The weights of a published network, downloaded the first time.

    The file is saved in `$INVERT_JAX_CACHE`, or `~/.cache/invert_jax`. A download that was cut is resumed, and nothing
    is read before its SHA-256 is that of the published file. Source and license are printed before a download.

    Args:
      name: `caffenet`, the paper's CNN-A (244 MB); `caffenet_int8`, the same rounded to 8 bits (61 MB); `bvlc_alexnet`
        (244 MB); or `alexnet`, torchvision's (244 MB).

    Returns:
      Params: nested dict of float32 NumPy arrays, as `load_params` returns.

    Raises:
      ValueError: an unknown name, or a file whose hash differs.
      OSError: no network, a server that fails or stalls, or no space.

    Source: the ONNX Model Zoo (Caffe's networks), torchvision.

    >>> fetch_params("resnet")
    Traceback (most recent call last):
    ValueError: Unknown download 'resnet'; choose one of: caffenet, caffenet_int8, bvlc_alexnet, alexnet.
    """
    checks.require_choice(name, DOWNLOADS, "download")
    return _read(fetch(DOWNLOADS[name]))


@functools.lru_cache(maxsize=2)  # for the layers of a table
def _read(path):
    return files.read(path).params


def cache_folder() -> pathlib.Path:
    """Where downloads are saved: `$INVERT_JAX_CACHE`, or `~/.cache/invert_jax`."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return paths.expand(os.environ.get("INVERT_JAX_CACHE") or os.path.join(base, "invert_jax"))


def fetch(file: Download, *, folder: pathlib.Path | None = None, timeout: float = _TIMEOUT) -> pathlib.Path:
    """The path of a published file, downloaded if it is not in the folder; see `fetch_params`."""
    folder = cache_folder() if folder is None else paths.expand(folder)
    path, partial = folder / file.file_name, folder / f"{file.file_name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locks.locked(folder / f".{file.file_name}.lock", wait=True):  # one process downloads, others wait for it
            if not (path.is_file() and registry.digest_of(path) == file.sha256):
                _say(f"Downloading {file.url} ({file.size / 1e6:.0f} MB, {file.license}) to {folder}")
                _complete(file, partial, timeout)
                _check(file, partial)
                os.replace(partial, path)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise OSError(
            f"{file.url} could not be downloaded ({str(error).strip('<>')}); try again, which resumes it, or save the "
            f"file as {path} yourself: its SHA-256 is {file.sha256}."
        ) from None
    except OSError as error:
        if error.strerror is None:
            raise
        raise OSError(
            f"{file.file_name} cannot be saved in {folder} ({error.strerror}); set INVERT_JAX_CACHE."
        ) from error
    return path


def _complete(file, partial, timeout):
    """Downloads what is missing of the partial file; tries again as long as that brings more of it."""
    attempts = 0
    while (have := partial.stat().st_size if partial.exists() else 0) < file.size:
        try:
            _append(file, partial, have, timeout)
        except urllib.error.HTTPError as error:  # the server has answered
            error.close()
            raise
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError):
            attempts = 0 if partial.exists() and partial.stat().st_size > have else attempts + 1
            if attempts == _ATTEMPTS:
                raise
        else:
            if partial.stat().st_size <= have:
                attempts += 1
                if attempts == _ATTEMPTS:
                    raise ConnectionError(f"the server ends the file after {have} of {file.size} bytes")


def _append(file, partial, have, timeout):
    """Requests a file from byte `have` on, and writes what comes."""
    request = urllib.request.Request(file.url, headers={"User-Agent": "invert_jax"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=timeout) as response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        with open(partial, "ab" if resumed else "wb") as out:  # a server may ignore the range
            size = out.tell()
            while block := response.read(_BLOCK):
                size += len(block)
                if size > file.size:
                    break
                out.write(block)
                _show(file, size)
    if size > file.size:
        partial.unlink()
        raise ValueError(f"{file.url} is longer than the {file.size} bytes that were published; it was not saved.")


def _check(file, partial):
    digest = registry.digest_of(partial)
    if digest != file.sha256:
        partial.unlink()
        raise ValueError(
            f"{file.url} has SHA-256 {digest}, but {file.sha256} was published; the download was deleted: try again, "
            "or look for the file elsewhere."
        )


def _show(file, size):
    """Progress on a terminal, in place."""
    if sys.stderr.isatty():
        end = "\n" if size == file.size else ""
        print(f"\r{file.file_name}: {size / 1e6:.0f} of {file.size / 1e6:.0f} MB", end=end, file=sys.stderr, flush=True)


def _say(text):
    print(text, file=sys.stderr, flush=True)
