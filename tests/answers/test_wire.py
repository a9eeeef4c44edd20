"""Values survive the way through an archive, and nothing else comes along."""

import os
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.answers import wire

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


def same(a, b) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b or (a != a and b != b)


@given(plain)
def test_plain_values_come_back_with_their_types(value):
    assert same(wire.unpack(*wire.pack(value)), value)


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float64, torch.bfloat16, torch.uint8, torch.bool, torch.complex64],
)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3), (1, 2, 1)])
def test_tensors_keep_values_shape_and_dtype(tmp_path, dtype, shape):
    value = (torch.arange(2.0 * max(1, np.prod(shape)))[: int(np.prod(shape))] - 1).reshape(shape)
    value = value.to(dtype)
    wire.save(tmp_path / "a.npz", {"x": value.requires_grad_(dtype.is_floating_point)})
    back = wire.load(tmp_path / "a.npz")["x"]
    assert back.dtype == dtype and not back.requires_grad
    assert torch.equal(back, value)


def letter(content: bytes | None = None, size: int = 0) -> int:
    handle = os.memfd_create("letter")
    os.write(handle, content or b"")
    os.truncate(handle, size or len(content or b""))
    return handle


def test_what_is_sent_is_received():
    value = {"x": torch.arange(6.0).reshape(2, 3), "n": [1, "ä", None], "a": np.ones((2, 2))}
    handle = letter()
    wire.send(os.dup(handle), value)
    back = wire.receive(handle)
    assert torch.equal(back["x"], value["x"]) and back["n"] == value["n"]
    np.testing.assert_array_equal(back["a"], value["a"])


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda end: bytes(7) + b"\x03[1]" + end))
def test_what_anybody_wrote_is_received_or_refused_in_a_sentence(content):
    try:
        wire.receive(letter(content))
    except wire.WireError as error:
        assert str(error)


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff" * 8, b"\xff" * 8 + b"{}", bytes(8)])
def test_a_letter_that_holds_no_answer_is_refused(content):
    with pytest.raises(wire.WireError):
        wire.receive(letter(content))


def test_a_letter_that_is_too_large_is_refused():
    with pytest.raises(wire.WireError, match="larger than 64 MiB"):
        wire.receive(letter(size=2 * wire.MAX_BYTES + 1))


def test_bytes_of_an_array_that_look_like_an_archive_are_no_members(tmp_path):
    value = np.frombuffer(b"PK\1\2PK\5\6" * 20, np.uint8)
    wire.save(tmp_path / "a.npz", value)
    assert np.array_equal(wire.load(tmp_path / "a.npz"), value)


def test_views_and_transposes_come_back_as_they_look():
    value = torch.arange(12).reshape(3, 4).T[::2]
    assert torch.equal(wire.unpack(*wire.pack(value)), value)
    assert np.array_equal(wire.unpack(*wire.pack(value.numpy())), value.numpy())


def test_an_object_leaves_only_its_type_name_behind():
    class AlwaysEqual:
        def __eq__(self, other):
            return True

    assert wire.unpack(*wire.pack([AlwaysEqual()])) == [wire.Opaque("AlwaysEqual")]
    assert wire.unpack(*wire.pack(np.array([AlwaysEqual()]))) == wire.Opaque("ndarray")


@pytest.mark.parametrize(
    "value, reason",
    [
        (torch.zeros(1).expand(wire.MAX_BYTES), "larger than 64 MiB"),
        ("x" * wire.MAX_BYTES, "larger than 64 MiB"),
        ([0] * (wire.MAX_NODES + 1), "more than 100,000 elements"),
        (2**300, "more than 77 digits"),
    ],
)
def test_what_is_too_large_is_refused_before_it_is_copied(value, reason):
    with pytest.raises(wire.WireError, match=reason):
        wire.pack(value)


def test_what_arrives_can_be_written_down():
    half = chr(0xD83D)
    for value in (half, [half], {half: half}):
        repr(wire.unpack(*wire.pack(value))).encode()


def test_a_value_that_contains_itself_is_refused():
    value = []
    value.append(value)
    with pytest.raises(wire.WireError, match="nested"):
        wire.pack(value)


def test_reading_follows_no_link(tmp_path):
    wire.save(tmp_path / "secret.npz", "secret")
    (tmp_path / "link.npz").symlink_to(tmp_path / "secret.npz")
    with pytest.raises(wire.WireError, match="is not there"):
        wire.load(tmp_path / "link.npz")
    with pytest.raises(wire.WireError, match="is not there"):
        wire.load(tmp_path / "missing.npz")


def test_reading_does_not_wait_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(wire.WireError, match="not a regular file"):
        wire.load(tmp_path / "pipe.npz")


def test_reading_unpacks_no_pickle(tmp_path):
    np.savez(tmp_path / "p.npz", tree=np.array([{"is": "str"}], dtype=object), data=np.zeros(0))
    with pytest.raises(wire.WireError, match="cannot be read"):
        wire.load(tmp_path / "p.npz")


@pytest.mark.parametrize("descr", ["|V0", "|S0", "<U0", "<M8[s]", "<f8", [("a", "|V0")]])
def test_reading_takes_bytes_alone(tmp_path, descr):
    """A great many elements of no size are a file of 100 bytes, and copying them never ends."""
    header = {"descr": descr, "fortran_order": False, "shape": (10**9, 10**6)}
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for name in ("tree", "data"):
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(member, header)
    with pytest.raises(wire.WireError, match="not in the expected form|cannot be read"):
        wire.load(tmp_path / "x.npz")


def test_reading_unpacks_no_bomb(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tree.npy", b"\0" * (2 * wire.MAX_BYTES + 1))
        archive.writestr("data.npy", b"")
    assert (tmp_path / "bomb.npz").stat().st_size < 2**20
    with pytest.raises(wire.WireError, match="larger than"):
        wire.load(tmp_path / "bomb.npz")


def test_one_array_in_many_places_is_stored_once_and_cannot_fill_the_memory(tmp_path):
    image = torch.zeros(2**20)
    wire.save(tmp_path / "a.npz", [image, image.clone()])
    assert (tmp_path / "a.npz").stat().st_size < 5 * 2**20
    one, other = wire.load(tmp_path / "a.npz")
    assert torch.equal(one, other) and one.data_ptr() != other.data_ptr()
    tree, data = wire.pack(image)
    with pytest.raises(wire.WireError, match="larger than"):
        wire.unpack(b"[" + b",".join([tree] * 200) + b"]", data)


def forge(path, tree: bytes, data: bytes = b"") -> None:
    np.savez(path, tree=np.frombuffer(tree, np.uint8), data=np.frombuffer(data, np.uint8))


def test_reading_makes_no_lists_and_no_members_without_end(tmp_path):
    forge(tmp_path / "l.npz", b"[" + b"[]," * 2_000_000 + b"0]")
    with pytest.raises(wire.WireError, match="more than 100,000 elements"):
        wire.load(tmp_path / "l.npz")
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        for number in range(20_000):
            archive.writestr(str(number), b"")
    with pytest.raises(wire.WireError, match="not in the expected form"):
        wire.load(tmp_path / "m.npz")


@pytest.mark.parametrize(
    "tree",
    [
        b"{",
        b'{"tensor": "a0", "dtype": "float32"}',
        b'{"tensor": ["<f4", [2], 0], "dtype": "save"}',
        b'{"array": ["<f4", [2], -4]}',
        b'{"array": ["<f4", [-1], 0]}',
        b'{"array": ["<f4", [3], 0]}',
        b'{"array": ["<f4", [1], 8]}',
        b'{"array": ["<f4", [4611686018427387904, 4], 0]}',
        b'{"array": ["<f4", [1.0], 0]}',
        b'{"array": ["|O", [1], 0]}',
        b'{"array": ["<f4,<f4", [1], 0]}',
        b'{"array": ["<M8[s]", [1], 0]}',
        b'{"array": ["<f4", 2, 0]}',
        b'{"array": ["<f4", [2]]}',
        b'{"code": 3}',
        b'{"tuple": 3}',
        b'{"dict": [[[], 3]]}',
        b"9" * 5000,
    ],
)
def test_reading_refuses_a_forged_tree(tmp_path, tree):
    forge(tmp_path / "f.npz", tree, data=bytes(8))
    with pytest.raises(wire.WireError, match="form|unknown kind"):
        wire.load(tmp_path / "f.npz")
