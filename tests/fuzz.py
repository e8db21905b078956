"""Damages files of every kind that the library reads, and counts what becomes of each: `python -m tests.fuzz`.

    python -m tests.fuzz --cases=10000 --seed=0
    python -m tests.fuzz --kinds=png,npz --cases=500

A case is one damaged file, read under a bound of time and of memory, in processes whose end is noticed. Good ends are
`read` (what came out is of the right type and range) and `refused` (one sentence with the name of the file). For sweeps
the end is `healed`, the sweep run again with the bits of the undamaged one, or `refused`, after which the run heals
once the file that the sentence names is deleted. Every other end is a bug, and the exit status is 1.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import functools
import io
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # the writers of the tests

IMAGES = ("png", "png16", "gif", "jpeg", "bmp", "tiff", "webp")
WEIGHTS = ("npz", "int8", "safetensors", "onnx", "pth", "caffemodel", "mat")
SWEEPS = ("manifest", "checkpoint", "forged")
OTHERS = ("dictionaries", "results")
KINDS = (*IMAGES, *WEIGHTS, *SWEEPS, *OTHERS)
GOOD = ("read", "refused", "healed")
SECONDS, GIGABYTES = 10, 2  # of a case
_BATCH = 250  # cases of a process


class TooLongError(BaseException):
    """The case took more than `SECONDS`."""


# --- damage ---


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes, damaged once to three times, more often near their start and end, where the structure is."""
    for _ in range(rng.integers(1, 4)):
        data = _damaged(bytearray(data), rng)
    return data


def _damaged(data, rng):
    if not data:
        return rng.bytes(5)
    at = int(rng.integers(len(data)) if rng.random() < 0.4 else min(rng.exponential(200), len(data) - 1))
    at = len(data) - 1 - at if rng.random() < 0.3 else at
    end = at + int(rng.integers(1, 64))
    match rng.integers(9):
        case 0:
            data[at] ^= 1 << int(rng.integers(8))
        case 1:
            del data[at:]
        case 2:
            data[at:end] = bytes(len(data[at:end]))
        case 3:
            data[at:end] = rng.bytes(len(data[at:end]))
        case 4:
            data[at:at] = rng.bytes(int(rng.integers(1, 9)))
        case 5:
            del data[at:end]
        case 6:
            data[at : at + 4] = rng.choice([b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\0\0\0\0"])
        case 7:
            other = int(rng.integers(len(data)))
            data[at:end] = data[other : other + end - at]
        case 8:
            return b"" if rng.random() < 0.1 else bytes(data) + bytes(data)
    return bytes(data)


VALUES = (
    None,
    True,
    0,
    -2,
    1.5,
    2**30,
    10**400,
    "",
    "x" * 1000,
    "\ud800",
    [],
    [0],
    [-2],
    [1.5],
    [2**30],
    {},
    {"a": [{}]},
)


def damage_json(data: bytes, rng: np.random.Generator) -> bytes:
    """A JSON text with another value, or without one, somewhere; or with its bytes damaged."""
    if rng.random() < 0.3:
        return damage(data, rng)
    tree = node = json.loads(data)
    while isinstance(node, dict | list) and node:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = keys[rng.integers(len(keys))]
        if not isinstance(node[key], dict | list) or not node[key] or rng.random() < 0.4:
            value = VALUES[rng.integers(len(VALUES))]
            if rng.random() < 0.2:
                del node[key]
            else:
                node[key] = value
            break
        node = node[key]
    return json.dumps(tree).encode()


def forge(data: bytes, rng: np.random.Generator) -> bytes:
    """A file of restarts that is whole, but of other arrays: shapes, types, numbers or names."""
    with np.load(io.BytesIO(data)) as file:
        found = dict(file)
    name = list(found)[rng.integers(len(found))]
    array = found[name]
    changes = [
        lambda: (
            array.astype([np.float64, np.int8, np.complex64, object][rng.integers(4)]) if array.ndim else array[None]
        ),
        lambda: array[:-1] if array.ndim else np.array(3),
        lambda: np.concatenate([array, array]) if array.ndim else np.array("another"),
        lambda: array[..., None],
        lambda: np.zeros((), np.float32),
        lambda: (
            np.full_like(array, np.nan) if array.dtype.kind == "f" else np.roll(array, 1) if array.ndim else array[None]
        ),
        lambda: array + 100 if array.dtype.kind in "if" and name == "restart" else array[None],
    ]
    found[name] = changes[rng.integers(len(changes))]()
    if rng.random() < 0.1:
        del found[name]
    stream = io.BytesIO()
    np.savez(stream, **found)
    return stream.getvalue()


# --- what is damaged, and what must become of it ---


@functools.cache
def good_file(kind: str) -> bytes:
    """An undamaged file of a kind."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "a")
        if kind in IMAGES:
            return _image(kind)
        if kind in WEIGHTS:
            _write_weights(kind, path)
        elif kind == "dictionaries":
            _write_dictionaries(path)
        elif kind == "results":
            texts = {
                "command": ["a.py", "--b=c"],
                "versions": {"invert_jax": "1", "jax": "1"},
                "device": {"kind": "cpu"},
            }
            path.write_text(json.dumps(texts | {"num_restarts": 3, "rows": [{"error": 0.5}]}))
        return next(pathlib.Path(folder).iterdir()).read_bytes()


def _image(kind):
    from PIL import Image

    rows, columns = np.mgrid[:21, :34]
    pixels = np.stack([rows * 12, columns * 7, rows + columns], axis=-1).astype(np.uint8)
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x112] = 6
    if kind == "png16":
        Image.fromarray((rows * 3000).astype(np.uint16)).save(stream, "PNG")
    else:
        options = {"exif": exif} if kind in ("jpeg", "webp") else {}
        Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def _write_weights(kind, path):
    import safetensors.numpy
    import scipy.io
    import weight_writers as write
    from networks import FOURS, random_params
    from test_weights import mat_contents

    from invert_jax import weights

    params = random_params(FOURS)
    if kind == "npz":
        weights.save_params(path.with_suffix(".npz"), params)
    elif kind == "int8":
        layer = {"fc8/q": np.ones((1, 1, 4, 4), np.int8), "fc8/s": np.ones(4, np.float32), "fc8/b": np.zeros(4)}
        np.savez_compressed(path.with_suffix(".npz"), **layer)
    elif kind == "safetensors":
        safetensors.numpy.save_file(write.state_dict(params), path)
    elif kind == "mat":
        scipy.io.savemat(path, mat_contents(params), do_compression=True, appendmat=False)
    else:
        {"onnx": write.onnx, "caffemodel": write.caffemodel, "pth": _write_torch}[kind](path, params)


def _write_torch(path, params):
    import weight_writers as write

    write.torch_zip(path, write.state_dict(params))


def _write_dictionaries(path):
    from invert_jax.baselines import hoggle

    arrays = map(np.ones, [(2, 8, 8), (2, 1, 1, 27), (8, 8), (1, 1, 27)])
    hoggle.save(path.with_suffix(".npz"), hoggle.Dictionaries(*arrays, 128.0, 0.1, digest="a name"))


def try_file(kind: str, data: bytes, folder: pathlib.Path) -> str:
    """How reading a damaged file ends."""
    import invert_jax as ij
    from invert_jax.baselines import hoggle
    from invert_jax.viz import report

    suffix = {"png16": "png", "int8": "npz", "dictionaries": "npz", "results": "json"}.get(kind, kind)
    path = folder / f"a.{suffix}"
    path.write_bytes(data)
    if kind in IMAGES:
        image = ij.load_image(path, size=16)
        is_right = image.shape == (16, 16, 3) and image.dtype == np.float32 and np.all((image >= 0) & (image <= 255))
    elif kind in WEIGHTS:
        file = ij.weights.read(path)
        leaves = [
            leaf for layer in file.params.values() for leaf in (layer.values() if isinstance(layer, dict) else [layer])
        ]
        is_right = all(leaf.dtype == np.float32 and leaf.ndim in (1, 3, 4) for leaf in leaves) and bool(leaves)
    elif kind == "dictionaries":
        is_right = isinstance(hoggle.load(path), hoggle.Dictionaries)
    else:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            results = report._read_results(path)
        is_right = bool(results) or (bool(caught) and str(path) in str(caught[0].message))
    return "read" if is_right else "wrong"


@functools.cache
def _small_sweep():
    """A sweep of two photographs, its folder, and what it found."""
    import invert_jax as ij

    images = {name: np.full((4, 4, 1), value, np.float32) for name, value in (("light", 200.0), ("dark", 20.0))}
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=0.0, stages=((1e-3, 4),))
    case = ij.sweeps.Case("identity", ij.from_function(_identity, ()), recipe, images)
    sweep = ij.sweeps.make_sweep([case], num_restarts=3)
    folder = pathlib.Path(tempfile.mkdtemp())
    return sweep, folder, _run(sweep, folder)


def _identity(_, image):
    return image


def _run(sweep, folder):
    import invert_jax as ij

    callbacks = ij.sweeps.Callbacks(on_message=lambda _: None)
    found = ij.sweeps.run(sweep, folder, chunk_size=4, callbacks=callbacks)
    return {pair: (found[pair].image, found[pair].error, found[pair].energy.total) for pair in found}


def try_sweep(kind: str, rng: np.random.Generator, folder: pathlib.Path) -> str:
    """How a sweep goes on in a folder with one damaged file."""
    sweep, good, expected = _small_sweep()
    copy = folder / "sweep"
    shutil.copytree(good, copy)
    name = "manifest.json" if kind == "manifest" else "restarts/identity/light.npz"
    change = {"manifest": damage_json, "checkpoint": damage, "forged": forge}[kind]
    (copy / name).write_bytes(change((good / name).read_bytes(), rng))
    if kind != "manifest" and rng.random() < 0.05:
        _replace_by_no_file(copy / name, rng)
    end = "healed"
    try:
        found = _run(sweep, copy)
    except ValueError as error:
        _require_sentence(error, copy)
        (copy / "manifest.json").unlink()  # which the sentence may name; other settings are refused as they should be
        end, found = "refused", _run(sweep, copy)
    same = found.keys() == expected.keys() and all(
        np.array_equal(a, b) for pair in expected for a, b in zip(found[pair], expected[pair], strict=True)
    )
    return end if same else "wrong"


def _replace_by_no_file(path, rng):
    path.unlink()
    match rng.integers(3):
        case 0:
            os.mkfifo(path)
        case 1:
            path.symlink_to("nothing")
        case 2:
            path.symlink_to("/dev/zero")


def _require_sentence(error, path):
    text = str(error)
    if "\n" in text.strip() or not 20 < len(text) < 2000 or str(path) not in text:
        raise AssertionError(f"no sentence that names {path.name}: {text!r}")


# --- cases, in processes ---


def try_case(kind: str, number: int, seed: int) -> tuple[str, str]:
    """How a case ends, and what was said where that is a bug."""
    rng = np.random.default_rng((seed, KINDS.index(kind), number))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = pathlib.Path(folder)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            if kind in SWEEPS:
                return try_sweep(kind, rng, path), ""
            change = damage_json if kind == "results" else damage
            return try_file(kind, change(good_file(kind), rng), path), ""
        except TooLongError:
            return "hang", ""
        except (ValueError, OSError) as error:
            try:
                _require_sentence(error, path)
            except AssertionError as reason:
                return "no sentence", str(reason)
            return "refused", ""
        except MemoryError as error:
            return "memory", str(error)
        except Exception as error:
            return "exception", f"{type(error).__name__}: {error}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _try_batch(kind, first, count, seed):
    """Runs cases in this process, and prints their ends as JSON."""

    def stop(*_):
        raise TooLongError

    signal.signal(signal.SIGALRM, stop)
    if kind in SWEEPS:
        _small_sweep()  # compiled before the clock runs
    else:
        good_file(kind)
    with open("/proc/self/statm") as file:
        in_use = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + GIGABYTES * 2**30,) * 2)
    ends, said = collections.Counter(), []
    for number in range(first, first + count):
        end, text = try_case(kind, number, seed)
        ends[end] += 1
        if end not in GOOD:
            said.append(f"{kind} {number}: {end}: {text[:300]}")
    with contextlib.suppress(Exception):
        shutil.rmtree(_small_sweep()[1]) if kind in SWEEPS else None
    print(json.dumps({"ends": ends, "said": said}))


def fuzz(kinds, cases: int, *, seed: int = 0, workers: int | None = None):
    """Runs cases of every kind: `({kind: {end: count}}, what was said of bugs)`."""
    share = -(-cases // len(kinds))
    batches = [(kind, first, min(_BATCH, share - first)) for kind in kinds for first in range(0, share, _BATCH)]
    counts, said = {kind: collections.Counter() for kind in kinds}, []

    def run(batch):
        kind, first, count = batch
        command = [sys.executable, "-m", "tests.fuzz", "--batch", kind, str(first), str(count), str(seed)]
        root = pathlib.Path(__file__).parents[1]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        timeout = 120 + SECONDS * count / 5
        try:
            return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            return None

    with concurrent.futures.ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for (kind, first, count), done in zip(batches, pool.map(run, batches), strict=True):
            if done is None or done.returncode:
                counts[kind]["crash" if done else "hang"] += 1
                said.append(f"{kind} {first} to {first + count}: {done.stderr[-500:] if done else 'no end'}")
            else:
                found = json.loads(done.stdout.splitlines()[-1])
                counts[kind].update(found["ends"])
                said += found["said"]
    return counts, said


def table(counts) -> str:
    """The counts as a Markdown table, with a row for each kind and one for all."""
    ends = [*GOOD, *sorted({end for row in counts.values() for end in row} - set(GOOD))]
    rows = [*counts.items(), ("all", sum(counts.values(), collections.Counter()))]
    lines = [["", "cases", *ends], ["---"] * (2 + len(ends))]
    lines += [[kind, str(sum(row.values())), *(str(row[end]) for end in ends)] for kind, row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Runs the cases that the arguments describe; the exit status is 1 if any ended badly."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000, help="files to damage, in equal shares")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"of {', '.join(KINDS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.batch:
        kind, *numbers = arguments.batch
        _try_batch(kind, *map(int, numbers))
        return 0
    start = time.monotonic()
    counts, said = fuzz(arguments.kinds.split(","), arguments.cases, seed=arguments.seed)
    print(table(counts), *said, f"{time.monotonic() - start:.0f} s", sep="\n")
    return int(any(end not in GOOD for row in counts.values() for end in row))


if __name__ == "__main__":
    sys.exit(main())
