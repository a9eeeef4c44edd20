"""What the compiler's debug information (DWARF) says of a kernel's arrays and structures."""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

__all__ = ["Variable", "structure", "variables"]

_MOST = 100_000  # entries read: a student's templates decide how many there are


@dataclass(frozen=True)
class Variable:
    """An array (or a plain variable, of shape ``()``) as declared.

    ``space`` is ``"shared"`` or ``"static"`` (``__constant__``, ``__device__``), where ``address``
    is its place in the object, else ``"local"``.
    """

    name: str
    type: str
    itemsize: int
    shape: tuple[int, ...]
    space: str
    address: int
    line: int


def _entries(built: Path) -> Iterator:
    from elftools.elf.elffile import ELFFile

    elf = ELFFile(io.BytesIO(built.read_bytes()))
    dwarf = elf.get_dwarf_info(relocate_dwarf_sections=False)
    yield from (die for unit in dwarf.iter_CUs() for die in unit.iter_DIEs())


@lru_cache(maxsize=64)
def variables(built: Path) -> tuple[Variable, ...]:
    """Every variable of a built object."""
    found = {}
    for _, die in zip(range(_MOST), _entries(built), strict=False):
        if die.tag == "DW_TAG_variable":
            variable = _variable(die)
            if variable and variable.name and not variable.name.startswith("_"):
                found[variable] = None
    return tuple(found)


def structure(built: Path, name: str) -> tuple[int, list[tuple[int, str, str]]]:
    """A structure's size, and offset, name and type of each number or pointer in it.

    Also of an enumeration, as the one number that it is. Empty where there is no such type.
    """
    kinds = (*_RECORDS, "DW_TAG_typedef", "DW_TAG_enumeration_type")
    wanted = name.split("::")[-1].encode()
    for _, die in zip(range(_MOST), _entries(built), strict=False):
        if die.tag in kinds and _attribute(die, "DW_AT_name")[1] == wanted:
            _, base, kind = _stripped(die)
            if kind is not None and _size(kind):
                return _size(kind), list(_leaves(kind, base, "", 0))
    return 0, []


_RECORDS = ("DW_TAG_structure_type", "DW_TAG_class_type")


def _leaves(kind, base: str, path: str, at: int) -> Iterator[tuple[int, str, str]]:
    if kind.tag == "DW_TAG_pointer_type":
        yield at, path, f"{_stripped(kind.get_DIE_from_attribute('DW_AT_type'), const=True)[1]}*"
    elif kind.tag not in _RECORDS or base in ("__half", "__nv_bfloat16"):
        yield at, path, "int" if kind.tag == "DW_TAG_enumeration_type" else base
    else:
        for part in kind.iter_children():
            if part.tag not in ("DW_TAG_member", "DW_TAG_inheritance"):
                continue
            if (start := part.attributes.get("DW_AT_data_member_location")) is None:
                continue  # it belongs to all of them
            shape, base, inner = _stripped(part.get_DIE_from_attribute("DW_AT_type"))
            base = "a bit field" if "DW_AT_bit_size" in part.attributes else base
            _, name = _attribute(part, "DW_AT_name")
            for i, index in enumerate(product(*map(range, shape))):
                inside = path + (f".{name.decode()}" if name else "")
                inside += "".join(f"[{n}]" for n in index)
                yield from _leaves(inner, base, inside, at + start.value + i * _size(inner))


def _attribute(die, name: str, links: int = 4):
    """An attribute and whose it is, also of the declaration that the entry completes."""
    if name in die.attributes:
        return die, die.attributes[name].value
    for link in ("DW_AT_specification", "DW_AT_abstract_origin"):
        if links and link in die.attributes:
            return _attribute(die.get_DIE_from_attribute(link), name, links - 1)
    return die, None


def _stripped(kind, const: bool = False):
    """The shape, the element's name, and its entry (or None), of a type behind other names."""
    shape, base, said = (), "", ""
    wrappers = ("const_type", "volatile_type", "array_type", "typedef", "restrict_type")
    while kind.tag[7:] in wrappers:
        if kind.tag == "DW_TAG_array_type":
            for part in kind.iter_children():
                _, last = _attribute(part, "DW_AT_upper_bound")
                shape += (last + 1 if isinstance(last, int) else 0,)
        said = "const " if const and kind.tag == "DW_TAG_const_type" else said
        base = _attribute(kind, "DW_AT_name")[1] or base
        if "DW_AT_type" not in kind.attributes:
            return shape, said + "void", None
        kind = kind.get_DIE_from_attribute("DW_AT_type")
    base = _attribute(kind, "DW_AT_name")[1] or base
    return shape, said + (base.decode(errors="replace") if base else ""), kind


def _size(kind) -> int:
    size = kind.attributes.get("DW_AT_byte_size")
    return size.value if size else 8 * (kind.tag == "DW_TAG_pointer_type")


def _variable(die) -> Variable | None:
    _, name = _attribute(die, "DW_AT_name")
    owner, kind = _attribute(die, "DW_AT_type")
    if kind is None or not isinstance(name, bytes):
        return None
    shape, base, kind = _stripped(owner.get_DIE_from_attribute("DW_AT_type"))
    if kind is None:
        return None
    where = die.attributes.get("DW_AT_location")
    code = bytes(where.value) if where and isinstance(where.value, list) else b""
    # DW_OP_addr; DW_OP_const8u, and then: in thread-local storage
    space = {b"\x03": "static", b"\x0e": "shared"}.get(code[:1], "local")
    address = int.from_bytes(code[1:9], "little") if space != "local" else 0
    _, line = _attribute(die, "DW_AT_decl_line")
    known = not shape or math.prod(shape) > 0
    name = name.decode(errors="replace")
    return Variable(name, base, _size(kind), shape if known else (), space, address, line or 0)
