"""Read the arrays in a pickle file without unpickling it, so that nothing in the file can cause a function call.

CIFAR is distributed as pickles that Python 2 wrote: dictionaries of strings, lists and NumPy arrays. `pickletools`
splits such a file into its opcodes and executes none of them; the few that these files need are interpreted here. A
callable is never more than a name: the two that arrays need (NumPy's `_reconstruct` and `dtype`) are recognised and
not called.
"""

import pickletools
from typing import Any

import numpy as np

_MARK = object()
_PUSH = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT", "BINSTRING", "STRING",
         "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "UNICODE", "BINBYTES", "SHORT_BINBYTES"}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_RECONSTRUCT = {f"numpy.{core}.multiarray _reconstruct" for core in ("core", "_core")}
_KNOWN = {*_RECONSTRUCT, "numpy ndarray", "numpy dtype"}
_TYPES = {"u1": np.uint8, "i4": np.int32, "i8": np.int64}


class _Name(str):
    """The name of a callable, which is never looked up."""


class _Array:
    """An array whose dtype and bytes follow later in the file."""

    value: np.ndarray


class _Type(str):
    """A dtype as NumPy writes it, such as "u1"; its byte order follows later in the file."""


def read_pickle(data: bytes) -> Any:
    """The dictionaries, lists, tuples, strings, numbers and plain arrays in a pickle. Python 2 strings are Latin-1.

    Raises:
        ValueError: not a pickle, a truncated one, or one that holds anything else.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                return _finished(stack.pop())
            _step(opcode.name, argument, stack, memo)
    except (IndexError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a pickle of plain arrays ({type(error).__name__})") from error
    raise ValueError("a truncated pickle")


def _step(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    """Interpret one opcode."""
    if name in _PUSH:
        stack.append(argument)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"):
        stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[name]())
    elif name == "MARK":
        stack.append(_MARK)
    elif name in ("TUPLE", "LIST"):
        stack.append((tuple if name == "TUPLE" else list)(_to_mark(stack)))
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        size = int(name[-1])
        stack[-size:] = [tuple(stack[-size:])]
    elif name == "APPEND":
        item = stack.pop()
        stack[-1].append(item)
    elif name == "APPENDS":
        items = _to_mark(stack)
        stack[-1].extend(items)
    elif name == "SETITEM":
        value, key = stack.pop(), stack.pop()
        stack[-1][key] = value
    elif name == "SETITEMS":
        items = _to_mark(stack)
        stack[-1].update(zip(items[::2], items[1::2], strict=True))
    elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
        memo[argument] = stack[-1]
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo[argument])
    elif name == "GLOBAL":
        if argument not in _KNOWN:
            raise ValueError(f"a pickle that names {argument!r}; only plain NumPy arrays are read")
        stack.append(_Name(argument))
    elif name == "REDUCE":
        arguments, what = stack.pop(), stack.pop()
        stack.append(_Type(arguments[0]) if what == "numpy dtype" else _array(what))
    elif name == "BUILD":
        state = stack.pop()
        _build(stack[-1], state)
    elif name not in ("PROTO", "FRAME"):
        raise ValueError(f"a pickle with the opcode {name}; only plain NumPy arrays are read")


def _to_mark(stack: list[Any]) -> list[Any]:
    """Take everything above the last mark off the stack, and the mark itself."""
    start = len(stack) - 1
    while stack[start] is not _MARK:
        start -= 1
    items = stack[start + 1 :]
    del stack[start:]
    return items


def _array(what: Any) -> _Array:
    if not isinstance(what, _Name) or what not in _RECONSTRUCT:
        raise ValueError("a pickle that calls something; only plain NumPy arrays are read")
    return _Array()


def _build(what: Any, state: tuple) -> None:
    """Set the state of an array (version, shape, dtype, whether in Fortran order, bytes), or check that of a dtype.

    The second item of a dtype's state is its byte order.
    """
    if isinstance(what, _Type):
        if what not in _TYPES or state[1] not in ("|", "<"):
            raise ValueError(f"an array of type {what!r}; only {', '.join(_TYPES)} are read")
        return
    if not isinstance(what, _Array):
        raise ValueError("a pickle of objects; only plain NumPy arrays are read")
    _, shape, dtype, fortran, raw = state
    raw = raw.encode("latin-1") if isinstance(raw, str) else raw
    what.value = np.frombuffer(raw, dtype=_TYPES[dtype]).reshape(shape, order="F" if fortran else "C")


def _finished(value: Any) -> Any:
    """The value, with arrays in place of their descriptions."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _finished(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_finished(item) for item in value)
    return value
