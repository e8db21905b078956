"""Short text for records that hold arrays, shapes and dtypes instead of values, and for errors."""

import dataclasses

import jax
import numpy as np

_LONGEST = 60  # characters of a value before it is cut
_LONGEST_LABEL = 200


def short_repr(self) -> str:
    """`Type(field=float32[3, 4], ...)`: a record in one line, whatever its arrays hold; records bind it as `__repr__`.

    Fields of a dataclass that are None by default, and are None, are left out.

    >>> short_repr({"weights": np.zeros((3, 4), np.float32)})
    '{weights: float32[3, 4]}'
    """
    if dataclasses.is_dataclass(self) and not isinstance(self, type):
        shown = (field for field in dataclasses.fields(self) if field.repr)
        fields = {f.name: value for f in shown if (value := getattr(self, f.name)) is not None or f.default is not None}
    elif isinstance(self, tuple) and hasattr(self, "_fields"):
        fields = dict(zip(self._fields, self, strict=True))  # pyright: ignore[reportAttributeAccessIssue]
    elif isinstance(self, dict):
        return "{" + ", ".join(f"{name}: {_short(value)}" for name, value in self.items()) + "}"
    else:
        return _short(self)
    return f"{type(self).__name__}({', '.join(f'{name}={_short(value)}' for name, value in fields.items())})"


def _short(value) -> str:
    if isinstance(value, jax.Array | np.ndarray) and value.ndim:
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return str(value)
    if isinstance(value, dict):
        return short_repr(value) if len(value) <= 4 else f"{{{len(value)} entries}}"
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return f"({', '.join(map(_short, value))}{',' * (len(value) == 1)})"
    if dataclasses.is_dataclass(value) or hasattr(value, "_fields"):
        return short_repr(value)
    if callable(value):
        name = getattr(value, "__qualname__", type(value).__name__)
        return getattr(value, "__module__", "").rpartition(".")[2] + "." + name
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def error_text(error: float) -> str:
    """A relative error in percent, for a label: "5.2 %"; "no error" where it is not finite, or there is none."""
    return f"{100 * error:.1f} %" if np.isfinite(error) else "no error"


def label_text(text: object) -> str:
    r"""A name as it stands in a picture: control characters are marked, and a long one is cut.

    >>> label_text("a\x07"), len(label_text("a" * 1000))
    ('a�', 200)
    """
    shown = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return shown if len(shown) <= _LONGEST_LABEL else f"{shown[: _LONGEST_LABEL - 1]}\N{HORIZONTAL ELLIPSIS}"


def reason(error: BaseException) -> str:
    r"""What an error says, for the brackets of a sentence: its first line, at most 200 letters, without a full stop.

    >>> reason(ValueError("Bad.\nWorse.")), reason(KeyError())
    ('Bad', 'KeyError')
    """
    lines = str(error).splitlines() or [type(error).__name__]
    return label_text(lines[0]).rstrip(".")
