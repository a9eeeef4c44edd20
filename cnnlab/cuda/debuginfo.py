"""What the compiler's debug information (DWARF) says of a kernel's arrays: names, shapes, types."""

import io
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["Variable", "variables"]

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


@lru_cache(maxsize=64)
def variables(built: Path) -> tuple[Variable, ...]:
    """Every variable of a built object."""
    from elftools.elf.elffile import ELFFile

    found, count = {}, 0
    elf = ELFFile(io.BytesIO(built.read_bytes()))
    for unit in elf.get_dwarf_info(relocate_dwarf_sections=False).iter_CUs():
        for die in unit.iter_DIEs():
            count += 1
            if count > _MOST:
                return tuple(found)
            if die.tag == "DW_TAG_variable":
                variable = _variable(die)
                if variable and variable.name and not variable.name.startswith("_"):
                    found[variable] = None
    return tuple(found)


def _attribute(die, name: str):
    """An attribute, also of the declaration that the entry completes."""
    for _ in range(4):
        if name in die.attributes:
            return die, die.attributes[name].value
        for link in ("DW_AT_specification", "DW_AT_abstract_origin"):
            if link in die.attributes:
                die = die.get_DIE_from_attribute(link)
                break
        else:
            break
    return die, None


def _variable(die) -> Variable | None:
    _, name = _attribute(die, "DW_AT_name")
    owner, kind = _attribute(die, "DW_AT_type")
    if kind is None or not isinstance(name, bytes):
        return None
    shape, kind = (), owner.get_DIE_from_attribute("DW_AT_type")
    while kind.tag in ("DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_array_type"):
        if kind.tag == "DW_TAG_array_type":
            for part in kind.iter_children():
                _, last = _attribute(part, "DW_AT_upper_bound")
                shape += (last + 1 if isinstance(last, int) else 0,)
        if "DW_AT_type" not in kind.attributes:
            return None
        kind = kind.get_DIE_from_attribute("DW_AT_type")
    _, base = _attribute(kind, "DW_AT_name")
    while kind.tag == "DW_TAG_typedef" and "DW_AT_type" in kind.attributes:
        kind = kind.get_DIE_from_attribute("DW_AT_type")
        base = _attribute(kind, "DW_AT_name")[1] or base
    size = kind.attributes.get("DW_AT_byte_size")
    where = die.attributes.get("DW_AT_location")
    code = bytes(where.value) if where and isinstance(where.value, list) else b""
    space, address = "local", 0
    if code[:1] == b"\x03":  # DW_OP_addr
        space, address = "static", int.from_bytes(code[1:9], "little")
    elif code[:1] == b"\x0e":  # DW_OP_const8u, and then: in thread-local storage
        space, address = "shared", int.from_bytes(code[1:9], "little")
    _, line = _attribute(die, "DW_AT_decl_line")
    text = base.decode(errors="replace") if isinstance(base, bytes) else ""
    itemsize = size.value if size else 8 if kind.tag == "DW_TAG_pointer_type" else 0
    known = not shape or math.prod(shape) > 0
    return Variable(
        name.decode(errors="replace"), text, itemsize, shape if known else (), space, address,
        line or 0,
    )  # fmt: skip
