"""Copies are found under new names and comments; independent work is not."""

from cnnlab.grading.similarity import alike, fingerprints

RELEASE = {"x": 'def f(image, kernel):\n    """Slide."""\n    raise NotImplementedError("Write")\n'}
ONE = """
def f(image, kernel):
    rows = image.shape[0] - kernel.shape[0] + 1
    cols = image.shape[1] - kernel.shape[1] + 1
    out = torch.zeros(rows, cols)
    for i in range(rows):
        for j in range(cols):
            window = image[i : i + kernel.shape[0], j : j + kernel.shape[1]]
            out[i, j] = (window * kernel).sum()
    return out
"""
RENAMED = """
# all my own work
def f(img, k):
    n = img.shape[0] - k.shape[0] + 1   # how many
    m = img.shape[1] - k.shape[1] + 1
    result = torch.zeros(n, m)

    for a in range(n):
        for b in range(m):
            part = img[a:a + k.shape[0], b:b + k.shape[1]]
            result[a, b] = (part * k).sum()
    return result
"""
OTHERS = [
    "def f(image, kernel):\n    h, w = kernel.shape\n"
    "    return (image.unfold(0, h, 1).unfold(1, w, 1) * kernel).sum((-2, -1))\n",
    "def f(a, b):\n    def one(i, j):\n        total = 0\n        for y, row in enumerate(b):\n"
    "            for x, v in enumerate(row):\n                total += a[i + y][j + x] * v\n"
    "        return total\n    return torch.tensor([[one(i, j) for j in range(a.shape[1] -"
    " b.shape[1] + 1)] for i in range(a.shape[0] - b.shape[0] + 1)])\n",
    "import numpy as np\ndef f(image, kernel):\n    w = np.lib.stride_tricks\n"
    "    v = w.sliding_window_view(image.numpy(), kernel.shape)\n"
    "    return torch.from_numpy(np.einsum('ijkl,kl->ij', v, kernel.numpy()))\n",
    "def f(image, kernel):\n    out = None\n    while out is None:\n        out = []\n"
    "    for y in range(len(image)):\n        if y + len(kernel) > len(image): break\n"
    "        out.append([])\n    return out\n",
]


def pairs(answers: dict, release: dict) -> list:
    given = fingerprints("\n".join(release.values()))
    return alike({s: fingerprints("\n".join(code.values())) - given for s, code in answers.items()})


def test_a_renamed_copy_is_found_and_nothing_else():
    answers = {f"student {i}": {"x": code} for i, code in enumerate(OTHERS)}
    answers |= {"ada": {"x": ONE}, "eve": {"x": RENAMED}}
    ((share, *pair),) = pairs(answers, RELEASE)
    assert pair == ["ada", "eve"] and share > 0.9


def test_what_was_handed_out_counts_for_nothing():
    answers = {name: {"x": ONE} for name in ("ada", "eve")}
    assert pairs(answers, {"x": ONE}) == []


def test_what_the_whole_class_writes_is_no_copy():
    answers = {f"student {i}": {"x": ONE} for i in range(10)}
    assert pairs(answers, RELEASE) == []


def test_code_that_does_not_parse_is_compared_as_far_as_it_goes():
    answers = {"ada": {"x": ONE + "\n'''"}, "eve": {"x": RENAMED + "\n)("}}
    assert pairs(answers, RELEASE)[0][0] > 0.8
