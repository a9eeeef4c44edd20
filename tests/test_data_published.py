"""Downloads against a server of our own: whole, broken off, damaged, absent."""

import gzip
import hashlib
import http.server
import io
import pickle
import re
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from cnnlab.data import cache_folder, image_folder, load
from cnnlab.data.download import fetch

SPLITS = ("train", "validation", "test")


class Server:
    """Serves the files of a dict; ``break_off_after`` closes each answer after so many bytes."""

    def __init__(self, files: dict[str, bytes]):
        self.files, self.break_off_after, self.ranges, self.requests = files, None, True, []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append((self.path, self.headers.get("Range")))
                body = server.files.get(self.path.lstrip("/"))
                if body is None:
                    return self.send_error(404)
                wanted, start = self.headers.get("Range"), 0
                if wanted and server.ranges:
                    start = int(re.fullmatch(r"bytes=(\d+)-", wanted).group(1))
                    if start >= len(body):
                        return self.send_error(416)
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                self.wfile.write(body[start:][: server.break_off_after])

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def serve():
    servers = []

    def start(files):
        servers.append(Server(files))
        return servers[-1]

    yield start
    for server in servers:
        server.http.shutdown()
        server.http.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


BODY = bytes(range(256)) * 4000


def test_a_file_arrives_whole_and_is_not_fetched_twice(serve, tmp_path):
    server, path = serve({"a.bin": BODY}), tmp_path / "deep" / "a.bin"
    for _ in range(2):
        fetch(server.url + "a.bin", path, md5(BODY))
    assert path.read_bytes() == BODY
    assert len(server.requests) == 1
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def test_a_broken_download_is_taken_up_where_it_stopped(serve, tmp_path):
    server, path = serve({"a.bin": BODY}), tmp_path / "a.bin"
    server.break_off_after = 400_000
    fetch(server.url + "a.bin", path, md5(BODY))
    assert path.read_bytes() == BODY
    assert [wanted for _, wanted in server.requests] == [None, "bytes=400000-", "bytes=800000-"]


def test_what_came_is_kept_for_the_next_call(serve, tmp_path):
    server, path = serve({"a.bin": BODY}), tmp_path / "a.bin"
    server.break_off_after = 300_000
    with pytest.raises(ConnectionError, match=r"the 0\.9 MB that came are kept, call again"):
        fetch(server.url + "a.bin", path, md5(BODY))
    assert not path.exists()
    server.break_off_after = None
    fetch(server.url + "a.bin", path, md5(BODY))
    assert path.read_bytes() == BODY
    assert server.requests[-1][1] == "bytes=900000-"


def test_a_server_that_knows_no_ranges_starts_again(serve, tmp_path):
    server, path = serve({"a.bin": BODY}), tmp_path / "a.bin"
    server.ranges = False
    path.with_name("a.bin.part").write_bytes(BODY[:1000])
    fetch(server.url + "a.bin", path, md5(BODY))
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("stale", [b"x" * 1000, b"x" * len(BODY), b"x" * (len(BODY) + 5)])
def test_a_stale_beginning_is_thrown_away(serve, tmp_path, stale):
    path = tmp_path / "a.bin"
    path.with_name("a.bin.part").write_bytes(stale)
    fetch(serve({"a.bin": BODY}).url + "a.bin", path, md5(BODY))
    assert path.read_bytes() == BODY


def test_a_wrong_checksum_leaves_no_file_and_no_damage(serve, tmp_path):
    server, path = serve({"a.bin": b"damaged"}), tmp_path / "a.bin"
    path.write_bytes(b"an older edition")
    with pytest.raises(ValueError, match=rf"checksum {md5(b'damaged')} instead of {md5(BODY)}"):
        fetch(server.url + "a.bin", path, md5(BODY))
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    assert path.read_bytes() == b"an older edition"


def test_a_folder_that_cannot_be_written_is_named(serve, tmp_path, monkeypatch, tiny_mnist):
    serve_mnist(serve, monkeypatch, tiny_mnist)
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(RuntimeError, match=f"mnist could not be stored in {tmp_path / 'cache'}"):
        load("mnist")


def idx(array: np.ndarray) -> bytes:
    """An array in MNIST's file format, packed."""
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0)


@pytest.fixture
def tiny_mnist():
    random = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 40), ("t10k", 12)):
        arrays[f"{part}-images-idx3-ubyte.gz"] = random.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{part}-labels-idx1-ubyte.gz"] = np.arange(count, dtype=np.uint8) % 10
    return arrays


def serve_mnist(serve, monkeypatch, arrays) -> Server:
    files = {name: idx(array) for name, array in arrays.items()}
    server = serve(files)
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/", server.url])
    monkeypatch.setattr(datasets.MNIST, "resources", [(n, md5(files[n])) for n in files])
    return server


def test_mnist_comes_from_the_second_mirror_in_three_splits(serve, monkeypatch, tiny_mnist, cache):
    server = serve_mnist(serve, monkeypatch, tiny_mnist)
    images = tiny_mnist["train-images-idx3-ubyte.gz"]
    train, validation, test = (load("mnist", split) for split in SPLITS)
    assert (len(train), len(validation), len(test)) == (36, 4, 12)
    assert validation.labels.tolist() == [9, 9, 9, 9]
    assert torch.equal(train.images[9, 0], torch.tensor(images[10]).float() / 255)
    assert repr(test) == "mnist (test): 12 images 1×28×28, 10 classes"
    assert len(server.requests) == 4
    assert cache_folder() == cache and (cache / "MNIST").is_dir()


def test_a_file_damaged_in_the_cache_is_unpacked_again(serve, monkeypatch, tiny_mnist, cache):
    server = serve_mnist(serve, monkeypatch, tiny_mnist)
    whole = load("mnist")
    damaged = cache / "MNIST" / "raw" / "train-images-idx3-ubyte"
    damaged.write_bytes(damaged.read_bytes()[:5000])
    assert torch.equal(load("mnist").images, whole.images)
    assert len(server.requests) == 4  # the archives were still good


def test_cifar_is_unpacked_from_its_archive(serve, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 3072), np.uint8)
    members = {
        "data_batch_1": {"data": pixels, "labels": [i % 10 for i in range(20)]},
        "test_batch": {"data": pixels[:5], "labels": [0, 1, 2, 3, 4]},
        "batches.meta": {"label_names": list("abcdefghij")},
    }
    members = {name: pickle.dumps(member) for name, member in members.items()}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, member in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(member)
            tar.addfile(info, io.BytesIO(member))
    server = serve({"cifar-10-python.tar.gz": packed.getvalue()})
    kind = datasets.CIFAR10
    monkeypatch.setattr(kind, "url", server.url + "cifar-10-python.tar.gz")
    monkeypatch.setattr(kind, "tgz_md5", md5(packed.getvalue()))
    monkeypatch.setattr(kind, "train_list", [["data_batch_1", md5(members["data_batch_1"])]])
    monkeypatch.setattr(kind, "test_list", [["test_batch", md5(members["test_batch"])]])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(members["batches.meta"])})
    train, test = load("cifar10"), load("cifar10", "test")
    assert (len(train), len(test)) == (18, 5)
    assert train.classes == tuple("abcdefghij")
    assert torch.equal(test.images[3], torch.tensor(pixels[3].reshape(3, 32, 32)).float() / 255)


def test_with_no_network_the_sentence_names_an_alternative(monkeypatch, cache):
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(RuntimeError) as error:
        load("mnist")
    text = str(error.value)
    assert text.startswith(f"mnist is not in {cache} and http://127.0.0.1:9/train-images")
    assert 'With no network use cnnlab.data.load("mnist_5k")' in text


def test_the_sets_that_need_no_network_have_names_too():
    assert len(load("mnist_5k", "test")) == 1000
    assert len(load("patterns", "test", count=10)) == 10


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: load("imagenet"),
            "data set 'imagenet' is none of digits, patterns, mnist_5k, mnist",
        ),
        (lambda: load("mnist", "all"), "split 'all' is none of train, validation, test"),
        (lambda: load("mnist", size=32), "mnist takes no option size"),
    ],
)
def test_wrong_names_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_folder_of_images(tmp_path):
    for name, colour in (("cats", (255, 0, 0)), ("dogs", (0, 0, 255))):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 60), colour).save(tmp_path / name / "1.png")
    for augment in (False, True):
        data = image_folder(tmp_path, size=28, augment=augment)
        assert data.classes == ["cats", "dogs"]
        image, label = data[1]
        assert image.shape == (3, 28, 28) and label == 1
        assert torch.allclose(image.mean((1, 2)), torch.tensor([0.0, 0.0, 1.0]))


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing is not a folder"):
        image_folder(tmp_path / "missing")
    (tmp_path / "cats").mkdir()
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} has no images in sub-folders"):
        image_folder(Path(tmp_path))
