"""Bank two: NumPy, MATLAB and TensorFlow people, makers of classes, the over-clever, the tired, the copier of idioms."""

from answer import Bank

ANSWERS = Bank()
right, wrong = ANSWERS.right, ANSWERS.wrong

# ---------------------------------------------------------------- a1

right("a1-window", "a class with __call__", "the entry is an instance of a class", r'''
class Window:
    def __init__(self, reduce=torch.sum):
        self.reduce = reduce

    def __call__(self, image, kernel, row, col):
        h, w = kernel.shape
        return self.reduce(torch.mul(image.narrow(0, row, h).narrow(1, col, w), kernel))


window_response = Window()
''')
right("a1-window", "NumPy vdot", "through NumPy, returns a float", r'''
import numpy as np


def window_response(image, kernel, row, col):
    k = np.asarray(kernel, dtype=np.float64)
    patch = np.asarray(image, dtype=np.float64)[row:row + k.shape[0], col:col + k.shape[1]]
    return float(np.vdot(patch, k))
''')
wrong("a1-window", "matrix product", "MATLAB's * : a matrix product's sum", r'''
def window_response(image, kernel, row, col):
    h, w = kernel.shape
    return torch.sum(image[row:row + h, col:col + w].T @ kernel)
''')
wrong("a1-window", "inclusive slices", "counts from one and ends inclusively, as MATLAB does", r'''
def window_response(image, kernel, row, col):
    h, w = kernel.shape
    r, c = max(row - 1, 0), max(col - 1, 0)
    return (image[r:r + h, c:c + w] * kernel).sum()
''')
right("a1-output-size", "divmod", "divmod and its first part", r'''
def output_size(n, k, padding=0, stride=1):
    steps, _rest = divmod(n - k + padding + padding, stride)
    return steps + 1
''')
wrong("a1-output-size", "TensorFlow's VALID", "ceil((n - k + 1) / s), the padding added afterwards: right without padding only", r'''
import math


def output_size(n, k, padding=0, stride=1):
    return math.ceil((n - k + 1) / stride) + padding
''')
wrong("a1-output-size", "padding on one end", "n + padding", r'''
def output_size(n, k, padding=0, stride=1):
    return (n + padding - k) // stride + 1
''')
right("a1-loops", "itertools and dict of places", "itertools.product, torch.tensor of a list, reshape", r'''
import itertools


def conv2d_loops(image, kernel):
    rows = image.shape[0] - kernel.shape[0] + 1
    cols = image.shape[1] - kernel.shape[1] + 1
    sums = [
        float((image[i:i + kernel.shape[0], j:j + kernel.shape[1]] * kernel).sum())
        for i, j in itertools.product(range(rows), range(cols))
    ]
    return torch.tensor(sums, dtype=image.dtype).reshape(rows, cols)
''')
wrong("a1-loops", "one row and column short", "range(H - h): the last place is left at 0", r'''
def conv2d_loops(image, kernel):
    H, W = image.shape
    h, w = kernel.shape
    out = torch.zeros(H - h + 1, W - w + 1)
    for i in range(H - h):
        for j in range(W - w):
            out[i, j] = torch.sum(image[i:i + h, j:j + w] * kernel)
    return out
''')
wrong("a1-loops", "a layer of PyTorch's", "nn.functional.conv3d: PyTorch's convolution by another door", r'''
from torch.nn.functional import conv3d as slide


def conv2d_loops(image, kernel):
    for _ in range(1):
        result = slide(image[None, None, None], kernel[None, None, None])
    return result.squeeze(0).squeeze(0).squeeze(0)
''')
right("a1-loops", "SciPy's correlate2d", "ambiguous: 'Do not use PyTorch's own convolution here' does not name SciPy's, but 'the point is to see what it does'", r'''
import numpy as np
from scipy.signal import correlate2d


def conv2d_loops(image, kernel):
    return torch.from_numpy(correlate2d(image.numpy(), kernel.numpy(), mode="valid"))
''', ambiguous=True)
right("a1-flip", "torch.rot90 twice", "half a turn by rot90(k=2), windows by unfold", r'''
def conv2d_loops(image, kernel):
    h, w = kernel.shape
    return torch.stack([
        (image[i:i + h].unfold(1, w, 1).transpose(0, 1) * kernel).sum((1, 2)) for i in range(image.shape[0] - h + 1)
    ])


def true_convolution(image, kernel):
    return conv2d_loops(image, torch.rot90(kernel, 2))
''')
right("a1-flip", "Fourier", "the convolution theorem in double precision, cut to the valid part", r'''
def true_convolution(image, kernel):
    (H, W), (h, w) = image.shape, kernel.shape
    size = (H + h - 1, W + w - 1)
    spectrum = torch.fft.rfft2(image.double(), s=size) * torch.fft.rfft2(kernel.double(), s=size)
    full = torch.fft.irfft2(spectrum, s=size)
    return full[h - 1:H, w - 1:W].to(image.dtype)
''')
wrong("a1-flip", "a quarter turn", "rot90 once", r'''
def true_convolution(image, kernel):
    kernel = torch.rot90(kernel)
    h, w = kernel.shape
    return (image.unfold(0, h, 1).unfold(1, w, 1) * kernel).sum((-1, -2))
''')
wrong("a1-flip", "flips the image", "turns the image, so the result comes out turned", r'''
def true_convolution(image, kernel):
    image = image.flip(0, 1)
    h, w = kernel.shape
    return torch.einsum("ijab,ab->ij", image.unfold(0, h, 1).unfold(1, w, 1), kernel)
''')
right("a1-vectorized", "index grids", "row and column numbers by broadcasting, advanced indexing", r'''
def conv2d_fast(image, kernel):
    (H, W), (h, w) = image.shape, kernel.shape
    rows = torch.arange(H - h + 1)[:, None, None, None] + torch.arange(h)[:, None]
    cols = torch.arange(W - w + 1)[:, None, None] + torch.arange(w)
    return (image[rows, cols] * kernel).flatten(2).sum(-1)
''')
right("a1-vectorized", "sliding_window_view", "NumPy's sliding windows, back to a tensor", r'''
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def conv2d_fast(image, kernel):
    windows = sliding_window_view(image.numpy(), tuple(kernel.shape))
    return torch.from_numpy(np.einsum("ijkl,kl->ij", windows, kernel.numpy()))
''')
wrong("a1-vectorized", "np.vectorize", "np.vectorize is a loop in disguise, as its documentation says; the letter ('without any loop or comprehension') does not name it", r'''
import numpy as np


def conv2d_fast(image, kernel):
    H, W = image.shape
    h, w = kernel.shape
    i, j = np.mgrid[:H - h + 1, :W - w + 1]
    f = np.vectorize(lambda a, b: float((image[a:a + h, b:b + w] * kernel).sum()))
    return torch.from_numpy(f(i, j)).to(image.dtype)
''', ambiguous=True)
wrong("a1-vectorized", "sums one axis", "sum(-1) only, and then the mean over the other", r'''
def conv2d_fast(image, kernel):
    h, w = kernel.shape
    return (image.unfold(0, h, 1).unfold(1, w, 1) * kernel).sum(-1).mean(-1)
''')
wrong("a1-vectorized", "F.conv2d", "PyTorch's own", r'''
def conv2d_fast(image, kernel):
    return torch.conv2d(image[None, None], kernel[None, None])[0, 0]
''')
right("a1-padding", "im2col", "F.unfold as MATLAB's im2col, then a matrix product", r'''
import torch.nn.functional as F


def conv2d(image, kernel, padding=0, stride=1):
    kernel_size = tuple(kernel.shape)
    columns = F.unfold(image[None, None], kernel_size, padding=padding, stride=stride)
    rows = (image.shape[0] + 2 * padding - kernel_size[0]) // stride + 1
    return (kernel.reshape(1, -1) @ columns[0]).reshape(rows, -1)
''')
right("a1-padding", "everything, then every stride-th", "stride 1 first, then [::stride, ::stride]", r'''
import torch.nn.functional as F


def conv2d(image, kernel, padding=0, stride=1):
    image = F.pad(image, [padding] * 4)
    h, w = kernel.shape
    dense = torch.stack([torch.stack([(image[i:i + h, j:j + w] * kernel).sum() for j in range(image.shape[1] - w + 1)])
                         for i in range(image.shape[0] - h + 1)])
    return dense[::stride, ::stride]
''')
wrong("a1-padding", "edge padding", "np.pad with mode='edge' instead of zeros", r'''
import numpy as np


def conv2d(image, kernel, padding=0, stride=1):
    padded = torch.from_numpy(np.pad(image.numpy(), padding, mode="edge"))
    h, w = kernel.shape
    return (padded.unfold(0, h, stride).unfold(1, w, stride) * kernel).sum((-1, -2))
''')
wrong("a1-padding", "output larger for stride 3", "sizes rounded up, what does not fit is a shorter window: right where it goes in evenly", r'''
import torch.nn.functional as F


def conv2d(image, kernel, padding=0, stride=1):
    x = F.pad(image, (padding,) * 4)
    h, w = kernel.shape
    rows = -(-(x.shape[0] - h) // stride) + 1
    cols = -(-(x.shape[1] - w) // stride) + 1
    out = torch.zeros(rows, cols)
    for i in range(rows):
        for j in range(cols):
            part = x[i * stride:i * stride + h, j * stride:j * stride + w]
            out[i, j] = (part * kernel[:part.shape[0], :part.shape[1]]).sum()
    return out
''')
wrong("a1-padding", "F.conv2d", "ambiguous: part 6 itself forbids nothing; only part 8 says that PyTorch's own convolution is allowed 'from here on'", r'''
import torch.nn.functional as F


def conv2d(image, kernel, padding=0, stride=1):
    return F.conv2d(image[None, None], kernel[None, None], padding=padding, stride=stride)[0, 0]
''', ambiguous=True)
right("a1-channels", "map over the channels", "a helper named conv2d, summed over zip(image, filter), torch.stack", r'''
def conv2d(image, kernel):
    h, w = kernel.shape
    return torch.tensordot(image.unfold(0, h, 1).unfold(1, w, 1), kernel, 2)


def conv_layer(image, filters, bias):
    return torch.stack([sum(map(conv2d, image, one)) + b for one, b in zip(filters, bias)])
''')
wrong("a1-channels", "mean of the biases", "every map gets the mean of all biases: right for one filter only", r'''
def conv_layer(image, filters, bias):
    F_, C, h, w = filters.shape
    windows = image.unfold(1, h, 1).unfold(2, w, 1)
    out = torch.einsum("cijab,fcab->ijf", windows, filters)
    out = out.permute(2, 0, 1)
    return out + bias.mean()
''')
wrong("a1-channels", "first channel's kernel for all", "sums the channels first and uses filters[f, 0]: right for one channel only", r'''
def conv_layer(image, filters, bias):
    maps = []
    for f in range(len(filters)):
        h, w = filters.shape[2:]
        windows = image.sum(0).unfold(0, h, 1).unfold(1, w, 1)
        maps.append((windows * filters[f, 0]).sum((-1, -2)) + bias[f])
    return torch.stack(maps)
''')
right("a1-edges", "separable Sobel in NumPy", "smoothing times difference by slices, np.hypot", r'''
import numpy as np


def edge_strength(photo):
    g = photo.numpy().mean(axis=0)
    across = g[:, :-2] - g[:, 2:]
    down = g[:-2] - g[2:]
    gx = across[:-2] + 2 * across[1:-1] + across[2:]
    gy = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    return torch.from_numpy(np.hypot(gx, gy))
''')
wrong("a1-edges", "SciPy's padded Sobel", "scipy.ndimage keeps the size: (H, W) instead of (H - 2, W - 2)", r'''
import numpy as np
from scipy import ndimage


def edge_strength(photo):
    g = photo.mean(0).numpy()
    return torch.from_numpy(np.hypot(ndimage.sobel(g, 0), ndimage.sobel(g, 1)))
''')
wrong("a1-edges", "channels apart", "strength of each channel, then the mean: not the grey picture's", r'''
import torch.nn.functional as F


def edge_strength(photo):
    s = torch.tensor([[1., 0., -1.], [2., 0., -2.], [1., 0., -1.]])
    x = photo[:, None]
    return (F.conv2d(x, s[None, None]) ** 2 + F.conv2d(x, s.T[None, None]) ** 2).sqrt().mean(0)[0]
''')
right("a1-match", "namedtuple", "returns a NamedTuple of score, row and col, found by max() over the places", r'''
from typing import NamedTuple


class Match(NamedTuple):
    score: float
    row: int
    col: int


def best_match(image, feature):
    h, w = feature.shape
    places = [Match((image[i:i + h, j:j + w] * feature).mean().item(), i, j)
              for i in range(image.shape[0] - h + 1) for j in range(image.shape[1] - w + 1)]
    return max(places, key=lambda m: m.score)
''')
wrong("a1-match", "normalized correlation", "divides by the norms (template matching of OpenCV), not by the number of pixels", r'''
def best_match(image, feature):
    h, w = feature.shape
    windows = image.unfold(0, h, 1).unfold(1, w, 1)
    score = (windows * feature).sum((2, 3)) / (windows.norm(dim=(2, 3)) * feature.norm() + 1e-8)
    best = score.argmax()
    return score.max().item(), int(best // score.shape[1]), int(best % score.shape[1])
''')
wrong("a1-match", "smallest difference", "the window with the smallest squared difference: another window where contrasts differ", r'''
def best_match(image, feature):
    h, w = feature.shape
    windows = image.unfold(0, h, 1).unfold(1, w, 1)
    where = ((windows - feature) ** 2).sum((2, 3)).argmin()
    row, col = divmod(int(where), windows.shape[1])
    return (windows[row, col] * feature).mean().item(), row, col
''')
right("a1-counts", "PyTorch counts", "the numbers asked of real layers", r'''
from torch import nn

with torch.device("meta"):
    _fc, _conv = nn.Linear(200 * 150 * 3, 64), nn.Conv2d(3, 64, 5)
    _maps = _conv(torch.empty(1, 3, 150, 200))
counts = {
    "fc parameters": sum(p.numel() for p in _fc.parameters()),
    "conv parameters": sum(p.numel() for p in _conv.parameters()),
    "conv outputs": _maps.numel(),
    "conv MACs": _maps.numel() * _conv.weight[0].numel(),
}
''')
wrong("a1-counts", "grey image", "a photograph of one channel for the fully connected layer", r'''
counts = {
    "fc parameters": 200 * 150 * 64 + 64,
    "conv parameters": 64 * (5 * 5 * 3 + 1),
    "conv outputs": 64 * 196 * 146,
    "conv MACs": 64 * 196 * 146 * 5 * 5 * 3,
}
''')

# ---------------------------------------------------------------- a2

right("a2-memory", "NumPy's itemsize", "np.dtype('float32').itemsize, pow for the kilobyte", r'''
import numpy as np


def kilobytes(channels, height, width):
    return np.prod([channels, height, width]) * np.dtype("float32").itemsize / 2 ** 10
''')
wrong("a2-memory", "round", "rounds to two digits", r'''
def kilobytes(channels, height, width):
    return round(channels * height * width * 4 / 1024, 2)
''')
wrong("a2-memory", "bits", "32 bits a number, divided by 1024, are kilobits", r'''
def kilobytes(channels, height, width):
    return channels * height * width * 32 / 1024
''')
right("a2-side", "one line per rule", "negated floor division for the ceiling, min for the drop", r'''
def side(n, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    span = n + 2 * padding - (dilation * (kernel_size - 1) + 1)
    full = span // stride + 1
    if not ceil_mode:
        return full
    last_begin_allowed = n + padding - 1
    return min(-(-span // stride) + 1, last_begin_allowed // stride + 1)
''')
wrong("a2-side", "drop compares with both paddings", "the last window may begin in the right padding: n + 2p instead of n + p", r'''
import math


def side(n, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    effective = kernel_size + (kernel_size - 1) * (dilation - 1)
    x = (n + 2 * padding - effective) / stride
    out = (math.ceil(x) if ceil_mode else math.floor(x)) + 1
    if ceil_mode and (out - 1) * stride >= n + 2 * padding:
        out -= 1
    return out
''')
wrong("a2-side", "dilation ignored in ceil mode", "a pool has no dilation, one thinks", r'''
def side(n, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    if ceil_mode:
        out = -(-(n + 2 * padding - kernel_size) // stride) + 1
        return out - 1 if (out - 1) * stride >= n + padding else out
    return (n + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1
''')
right("a2-parameters", "asks nn.Conv2d", "builds the layer on the meta device and counts", r'''
import torch


def conv_parameters(in_channels, filters, kernel_size, groups=1, bias=True):
    layer = torch.nn.Conv2d(in_channels, filters, tuple(kernel_size), groups=groups, bias=bias, device="meta")
    return sum(map(torch.Tensor.numel, layer.parameters()))
''')
wrong("a2-parameters", "square kernel", "kernel_size[0] ** 2", r'''
def conv_parameters(in_channels, filters, kernel_size, groups=1, bias=True):
    k = kernel_size[0]
    return filters * (in_channels // groups * k ** 2 + bias)
''')
wrong("a2-parameters", "divides both by the groups", "filters / g of in_channels / g: one group's count only, with all biases", r'''
def conv_parameters(in_channels, filters, kernel_size, groups=1, bias=True):
    a, b = kernel_size
    return (in_channels // groups) * (filters // groups) * a * b + (filters if bias else 0)
''')
right("a2-macs", "group by group", "sums over groups, sides by len(range())", r'''
def conv_macs(in_channels, height, width, filters, kernel_size, stride=1, padding=0, groups=1):
    def places(n):
        return len(range(-padding, n + padding - kernel_size + 1, stride))

    total = 0
    for _ in range(groups):
        total += places(height) * places(width) * (filters // groups) * (in_channels // groups) * kernel_size ** 2
    return total
''')
wrong("a2-macs", "twice", "counts a multiplication and an addition as two", r'''
def conv_macs(in_channels, height, width, filters, kernel_size, stride=1, padding=0, groups=1):
    oh = (height + 2 * padding - kernel_size) // stride + 1
    ow = (width + 2 * padding - kernel_size) // stride + 1
    return 2 * oh * ow * filters * (in_channels // groups) * kernel_size ** 2
''')
wrong("a2-macs", "float sides", "true division: fractions of positions where the stride does not go in evenly", r'''
def conv_macs(in_channels, height, width, filters, kernel_size, stride=1, padding=0, groups=1):
    oh = (height + 2 * padding - kernel_size) / stride + 1
    ow = (width + 2 * padding - kernel_size) / stride + 1
    return int(oh * ow * filters * in_channels / groups * kernel_size ** 2)
''')
right("a2-table", "classes for layers", "a dataclass for the state, a dispatch table of methods", r'''
from dataclasses import dataclass


@dataclass
class Walker:
    c: int
    h: int
    w: int

    def row(self, parameters, macs):
        return dict(size=(self.c, self.h, self.w), memory=4 * self.c * self.h * self.w,
                    parameters=parameters, MACs=macs)

    def shrink(self, k, s, p=0):
        self.h, self.w = ((n + 2 * p - k) // s + 1 for n in (self.h, self.w))

    def conv(self, filters, k, s, p):
        weights = filters * self.c * k * k
        self.shrink(k, s, p)
        self.c = filters
        return self.row(weights + filters, weights * self.h * self.w)

    def pool(self, k, s):
        self.shrink(k, s)
        return self.row(0, 0)

    def linear(self, outputs):
        weights = outputs * self.c * self.h * self.w
        self.c, self.h, self.w = outputs, 1, 1
        return self.row(weights + outputs, weights)


def cost_table(layers, channels, height, width):
    walker = Walker(channels, height, width)
    return [getattr(walker, kind)(*numbers) for kind, *numbers in layers]
''')
wrong("a2-table", "square images", "carries one side only", r'''
def cost_table(layers, channels, height, width):
    rows, c, n = [], channels, height
    for layer in layers:
        if layer[0] == "conv":
            _, f, k, s, p = layer
            n = (n + 2 * p - k) // s + 1
            rows.append({"size": (f, n, n), "memory": 4 * f * n * n, "parameters": f * (c * k * k + 1),
                         "MACs": f * n * n * c * k * k})
            c = f
        elif layer[0] == "pool":
            n = (n - layer[1]) // layer[2] + 1
            rows.append({"size": (c, n, n), "memory": 4 * c * n * n, "parameters": 0, "MACs": 0})
        else:
            o = layer[1]
            rows.append({"size": (o, 1, 1), "memory": 4 * o, "parameters": o * (c * n * n + 1), "MACs": o * c * n * n})
            c, n = o, 1
    return rows
''')
wrong("a2-table", "MACs of the input's positions", "MACs are computed before the size is brought up to date", r'''
def cost_table(layers, channels, height, width):
    table = []
    for name, *a in layers:
        params = macs = 0
        if name == "conv":
            f, k, s, p = a
            params, macs = f * (channels * k * k + 1), f * channels * k * k * height * width
            channels, height, width = f, (height + 2 * p - k) // s + 1, (width + 2 * p - k) // s + 1
        elif name == "pool":
            height, width = (height - a[0]) // a[1] + 1, (width - a[0]) // a[1] + 1
        else:
            macs = a[0] * channels * height * width
            params = macs + a[0]
            channels, height, width = a[0], 1, 1
        table.append({"size": (channels, height, width), "memory": channels * height * width * 4,
                      "parameters": params, "MACs": macs})
    return table
''')
right("a2-alexnet", "all by hand", "only arithmetic, typed in", r'''
alexnet = {
    "conv1": {"side": 64, "memory": 4 * 48 * 64 ** 2, "parameters": 48 * 3 * 11 ** 2 + 48, "MACs": 48 * 64 ** 2 * 3 * 11 ** 2},
    "pool2": {"side": 15, "memory": 4 * 160 * 15 ** 2, "parameters": 0, "MACs": 0},
    "conv4": {"side": 15, "memory": 4 * 240 * 15 ** 2, "parameters": 240 * 320 * 9 + 240, "MACs": 240 * 15 ** 2 * 320 * 9},
    "pool5": {"side": 7, "memory": 4 * 240 * 7 ** 2, "parameters": 0, "MACs": 0},
    "fc6": {"side": 1, "memory": 4 * 3072, "parameters": 3072 * (240 * 7 ** 2) + 3072, "MACs": 3072 * 240 * 7 ** 2},
}
''')
wrong("a2-alexnet", "pool5 of 2×2", "pools of 2×2: wrong sides from pool1 on", r'''
alexnet = {
    "conv1": {"side": 64, "memory": 4 * 48 * 64 * 64, "parameters": 48 * 364, "MACs": 48 * 64 * 64 * 363},
    "pool2": {"side": 16, "memory": 4 * 160 * 16 * 16, "parameters": 0, "MACs": 0},
    "conv4": {"side": 16, "memory": 4 * 240 * 16 * 16, "parameters": 240 * (2880 + 1), "MACs": 240 * 256 * 2880},
    "pool5": {"side": 8, "memory": 4 * 240 * 64, "parameters": 0, "MACs": 0},
    "fc6": {"side": 1, "memory": 4 * 3072, "parameters": 3072 * (240 * 64 + 1), "MACs": 3072 * 240 * 64},
}
''')
wrong("a2-alexnet", "weights without biases", "the parameters are the weights only", r'''
alexnet = {
    "conv1": {"side": 64, "memory": 786432, "parameters": 48 * 363, "MACs": 48 * 64 * 64 * 363},
    "pool2": {"side": 15, "memory": 4 * 160 * 225, "parameters": 0, "MACs": 0},
    "conv4": {"side": 15, "memory": 4 * 240 * 225, "parameters": 240 * 2880, "MACs": 240 * 225 * 2880},
    "pool5": {"side": 7, "memory": 4 * 240 * 49, "parameters": 0, "MACs": 0},
    "fc6": {"side": 1, "memory": 4 * 3072, "parameters": 3072 * 240 * 49, "MACs": 3072 * 240 * 49},
}
''')
right("a2-vgg", "a generator of rows", "a generator yields (stage, memory, parameters, MACs), summed with Counter", r'''
from collections import Counter


def walk():
    c, h, w = 3, 192, 320
    for stage, (n, f) in enumerate([(2, 48), (2, 96), (3, 192), (3, 384), (3, 384)], start=1):
        for _ in range(n):
            yield f"stage {stage}", 4 * f * h * w, f * (9 * c + 1), f * h * w * 9 * c
            c = f
        h, w = h // 2, w // 2
        yield f"stage {stage}", 4 * c * h * w, 0, 0
    n = c * h * w
    for out in (2048, 2048, 150):
        yield "classifier", 4 * out, out * n + out, out * n
        n = out


sums = {}
for where, memory, parameters, macs in walk():
    sums.setdefault(where, Counter()).update({"memory": memory, "parameters": parameters, "MACs": macs})
vgg = {where: dict(sums[where]) for where in ("stage 1", "stage 3", "stage 5", "classifier")}
''')
wrong("a2-vgg", "height and width halved once less", "the pool of a stage is taken at the beginning of the next: stage 3 at 96×160", r'''
def stage(c, f, n, h, w):
    memory = 4 * f * (n * h * w + h * w // 4)
    return {"memory": memory, "parameters": f * (9 * c + 1) + (n - 1) * f * (9 * f + 1),
            "MACs": h * w * 9 * f * (c + (n - 1) * f)}


vgg = {
    "stage 1": stage(3, 48, 2, 192, 320),
    "stage 3": stage(96, 192, 3, 96, 160),
    "stage 5": stage(384, 384, 3, 12, 20),
    "classifier": {"memory": 4 * (2048 + 2048 + 150), "parameters": 2048 * 23041 + 2048 * 2049 + 150 * 2049,
                   "MACs": 2048 * 23040 + 2048 * 2048 + 150 * 2048},
}
''')
right("a2-receptive", "recursion from the last layer", "recursive on layers[:-1]", r'''
def sees(layers):
    if not layers:
        return 1, 1, 0
    *before, (k, s, p, d) = layers
    size, jump, start = sees(before)
    return size + d * (k - 1) * jump, jump * s, start - jump * p
''')
wrong("a2-receptive", "no dilation", "the kernel's size without its dilation", r'''
def sees(layers):
    size, jump, start = 1, 1, 0
    for k, s, p, d in layers:
        size, jump, start = size + (k - 1) * jump, jump * s, start - p * jump
    return size, jump, start
''')
wrong("a2-receptive", "centre instead of start", "start as the centre of output 0, as in the well-known blog post", r'''
def sees(layers):
    size, jump, start = 1, 1, 0.5
    for k, s, p, d in layers:
        effective = d * (k - 1) + 1
        size += (effective - 1) * jump
        start += ((effective - 1) / 2 - p) * jump
        jump *= s
    return size, jump, int(start)
''')
right("a2-needed", "reduce from the end", "functools.reduce over the reversed layers, at least 1", r'''
from functools import reduce


def smallest_image(layers, outputs):
    return reduce(lambda n, layer: max((n - 1) * layer[1] + layer[0] - 2 * layer[2], 1), layers[::-1], outputs)
''')
wrong("a2-needed", "consumes the list", "layers.pop() empties the caller's list: a second call gives another answer", r'''
def smallest_image(layers, outputs):
    while layers:
        k, s, p = layers.pop()
        outputs = (outputs - 1) * s + k - 2 * p
    return outputs
''')
wrong("a2-needed", "padding on one side", "subtracts p once", r'''
def smallest_image(layers, outputs):
    for k, s, p in reversed(layers):
        outputs = (outputs - 1) * s + k - p
    return outputs
''')
right("a2-training", "membership sums", "booleans as numbers", r'''
def training_bytes(parameters, activations, batch, optimizer):
    slots = 2 + (optimizer in ("momentum", "adam")) + (optimizer == "adam")
    return (slots * parameters + activations * batch) << 2
''')
wrong("a2-training", "batch of parameters", "multiplies the gradients by the batch too", r'''
def training_bytes(parameters, activations, batch, optimizer):
    state = {"sgd": 0, "momentum": 1, "adam": 2}.get(optimizer, 0)
    return 4 * (parameters * (1 + state) + (parameters + activations) * batch)
''')
wrong("a2-training", "adam has one mean", "momentum and adam remember alike", r'''
def training_bytes(parameters, activations, batch, optimizer):
    n = parameters * 2
    if optimizer != "sgd":
        n += parameters
    return 4 * (n + batch * activations)
''')
right("a2-errata", "right numbers", "finished numbers only", r'''
errata = {
    "side of conv1": 59,
    "parameters of fc6": 24_579_072,
    "weights of the first layer": 27 * 10 ** 7,
    "MACs of the module": 324 * (73_728 + 93_312 + 33_600),
    "parameters of fc8": 307_350,
}
''')
wrong("a2-errata", "biases of fc6 forgotten", "fc6 without its biases", r'''
errata = {
    "side of conv1": 59,
    "parameters of fc6": 320 * 5 * 5 * 3072,
    "weights of the first layer": 180_000 * 1_500,
    "MACs of the module": 18 * 18 * (288 * 256 + 72 * 144 * 9 + 24 * 56 * 25),
    "parameters of fc8": 2048 * 150 + 150,
}
''')
wrong("a2-errata", "module without the pool's projection", "the 1×1 behind the pool is forgotten", r'''
errata = {
    "side of conv1": (240 + 4 - 11) // 4 + 1,
    "parameters of fc6": 320 * 25 * 3072 + 3072,
    "weights of the first layer": 180_000 * 1_500,
    "MACs of the module": 18 * 18 * (288 * (96 + 72 + 24) + 72 * 144 * 9 + 24 * 56 * 25),
    "parameters of fc8": 2048 * 150 + 150,
}
''')

# ---------------------------------------------------------------- a3

right("a3-accuracy", "NumPy mean of equality", "np.argmax, np.mean, float", r'''
import numpy as np


def accuracy(scores, labels):
    return float(np.mean(np.argmax(scores.detach().numpy(), axis=-1) == labels.numpy()))
''')
wrong("a3-accuracy", "integer division", "hits // n: 0 or 1", r'''
def accuracy(scores, labels):
    hits = (scores.argmax(dim=1) == labels).sum().item()
    return hits // len(labels)
''')
wrong("a3-accuracy", "sigmoid threshold", "counts scores above 0 for the label, not the largest", r'''
def accuracy(scores, labels):
    own = scores[torch.arange(len(labels)), labels]
    return (own > 0).float().mean().item()
''')
right("a3-lenet", "Keras-like build", "an OrderedDict of steps, kept out of the registry, run by a loop; frozen dataclass for the plan", r'''
from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    filters: int
    kernel: int
    padding: int


class LeNet16(nn.Module):
    PLANS = OrderedDict(conv1=Plan(6, 5, 2), conv2=Plan(12, 3, 0))

    def __init__(self, classes):
        super().__init__()
        channels = 1
        for name, plan in self.PLANS.items():
            self.add_module(name, nn.Conv2d(channels, plan.filters, plan.kernel, padding=plan.padding))
            channels = plan.filters
        self.fc1 = nn.Linear(channels * 9, 40)
        self.fc2 = nn.Linear(40, classes)

    def steps(self):
        for name in self.PLANS:
            yield getattr(self, name)
            yield torch.tanh
            yield lambda maps: F.avg_pool2d(maps, kernel_size=(2, 2), stride=(2, 2))
        yield from (torch.nn.Flatten(), self.fc1, torch.tanh, self.fc2)

    def forward(self, x):
        for step in self.steps():
            x = step(x)
        return x
''')
wrong("a3-lenet", "ReLU for tanh", "the activation of today", r'''
class LeNet16(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 12, 3)
        self.fc1 = nn.Linear(108, 40)
        self.fc2 = nn.Linear(40, classes)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))
''')
wrong("a3-lenet", "tanh in NumPy", "a NumPy tanh in the middle of forward: right values, no gradient before it", r'''
import numpy as np


class LeNet16(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 12, 3)
        self.fc1 = nn.Linear(108, 40)
        self.fc2 = nn.Linear(40, classes)

    def act(self, x):
        return torch.from_numpy(np.tanh(x.detach().numpy()))

    def forward(self, x):
        x = F.avg_pool2d(self.act(self.conv1(x)), 2)
        x = F.avg_pool2d(self.act(self.conv2(x)), 2)
        return self.fc2(self.act(self.fc1(x.flatten(1))))
''')
wrong("a3-lenet", "flattened by view(-1, 108) of a permuted map", "channels last before flattening, as TensorFlow does", r'''
class LeNet16(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 12, 3)
        self.fc1 = nn.Linear(3 * 3 * 12, 40)
        self.fc2 = nn.Linear(40, classes)

    def forward(self, x):
        x = F.avg_pool2d(self.conv1(x).tanh(), 2)
        x = F.avg_pool2d(self.conv2(x).tanh(), 2)
        x = x.permute(0, 2, 3, 1).reshape(-1, 108)
        return self.fc2(self.fc1(x).tanh())
''')
wrong("a3-lenet", "layers made in forward", "fc2 is made anew in every forward pass", r'''
class LeNet16(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.classes = classes
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 12, 3)
        self.fc1 = nn.Linear(108, 40)

    def forward(self, x):
        x = F.avg_pool2d(torch.tanh(self.conv1(x)), 2)
        x = F.avg_pool2d(torch.tanh(self.conv2(x)), 2)
        x = torch.tanh(self.fc1(torch.flatten(x, start_dim=1)))
        self.fc2 = nn.Linear(40, self.classes)
        return self.fc2(x)
''')
right("a3-lrn", "cumulative sums", "differences of cumsum over the padded squares", r'''
def local_response_norm(x, size, alpha, beta, k):
    half = size // 2
    channels = x.shape[1]
    squares = F.pad(x * x, (0, 0, 0, 0, half + 1, half))
    running = squares.cumsum(dim=1)
    energy = running[:, size:] - running[:, :channels]
    return x / (k + alpha * energy) ** beta
''')
right("a3-lrn", "band matrix", "a banded matrix of ones applied by einsum", r'''
def local_response_norm(x, size, alpha, beta, k):
    index = torch.arange(x.size(1))
    near = (index[:, None] - index[None, :]).abs().le(size // 2).to(x.dtype)
    energy = torch.einsum("cd,ndhw->nchw", near, x.pow(2))
    return x.div(energy.mul(alpha).add(k).pow(beta))
''')
wrong("a3-lrn", "neighbours in space", "sums over a size × size window of pixels instead of channels", r'''
def local_response_norm(x, size, alpha, beta, k):
    total = F.avg_pool2d(x ** 2, size, stride=1, padding=size // 2, count_include_pad=True) * size ** 2
    return x / (k + alpha * total) ** beta
''')
wrong("a3-lrn", "overwrites x", "works in place, channel after channel: later channels see what was already divided", r'''
def local_response_norm(x, size, alpha, beta, k):
    x = x.clone()
    half = size // 2
    for c in range(x.shape[1]):
        a, b = max(0, c - half), min(x.shape[1], c + half + 1)
        x[:, c] = x[:, c] / (k + alpha * (x[:, a:b] ** 2).sum(1)) ** beta
    return x
''')
right("a3-alexnet-block", "two halves by hand", "splits channels and weights and convolves each group", r'''
class AlexBlock(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, groups):
        super().__init__()
        self.groups = groups
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=(kernel_size - 1) // 2, groups=groups)

    def forward(self, x):
        maps = [
            F.conv2d(part, weight, bias, padding=self.conv.padding)
            for part, weight, bias in zip(x.chunk(self.groups, 1), self.conv.weight.chunk(self.groups), self.conv.bias.chunk(self.groups))
        ]
        return F.max_pool2d(torch.cat(maps, 1), (3, 3), stride=(2, 2)).relu()
''')
wrong("a3-alexnet-block", "ignores groups", "groups is not handed on", r'''
class AlexBlock(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, groups=1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.groups = groups

    def forward(self, x):
        return F.max_pool2d(F.relu(self.conv(x)), 3, 2)
''')
wrong("a3-alexnet-block", "pool with padding", "max_pool2d(3, 2, padding=1): the size of TensorFlow's SAME", r'''
class AlexBlock(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, groups):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups)

    def forward(self, x):
        return F.max_pool2d(F.relu(self.conv(x)), 3, stride=2, padding=1)
''')
right("a3-vgg-block", "pairs and a Sequential on the fly", "iterates over interleaved modules, max by amax over windows", r'''
class VGGBlock(nn.Module):
    def __init__(self, in_channels, out_channels, convs, last_kernel_size=3):
        super().__init__()
        kernels = [*[3] * (convs - 1), last_kernel_size]
        inputs = [in_channels, *[out_channels] * (convs - 1)]
        self.convs = nn.ModuleList(
            [nn.Conv2d(c, out_channels, k, padding="same") for c, k in zip(inputs, kernels)])

    def forward(self, x):
        for conv in iter(self.convs):
            x = torch.maximum(conv(x), torch.zeros(()))
        return x.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(-2, -1))
''')
wrong("a3-vgg-block", "1×1 with padding 1", "the last convolution has a padding of 1 whatever its kernel", r'''
class VGGBlock(nn.Module):
    def __init__(self, in_channels, out_channels, convs, last_kernel_size=3):
        super().__init__()
        self.convs = nn.ModuleList()
        for i in range(convs):
            self.convs.append(nn.Conv2d(in_channels if i == 0 else out_channels, out_channels,
                                        last_kernel_size if i == convs - 1 else 3, padding=1))

    def forward(self, x):
        for c in self.convs:
            x = F.relu(c(x))
        return F.max_pool2d(x, 2, 2)
''')
wrong("a3-vgg-block", "an odd one more", "the 1×1 is added after `convs` convolutions, not the last of them", r'''
class VGGBlock(nn.Module):
    def __init__(self, in_channels, out_channels, convs, last_kernel_size=3):
        super().__init__()
        layers = [nn.Conv2d(in_channels, out_channels, 3, padding=1)]
        for _ in range(convs - 1):
            layers.append(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        if last_kernel_size == 1:
            layers.append(nn.Conv2d(out_channels, out_channels, 1))
        self.convs = nn.ModuleList(layers)

    def forward(self, x):
        for conv in self.convs:
            x = conv(x).relu()
        return F.max_pool2d(x, 2)
''')
right("a3-merged-kernel", "scipy convolve2d", "the full convolution of SciPy, reduced in double", r'''
from functools import reduce

from scipy.signal import convolve2d


def merged_kernel(kernels):
    merged = reduce(convolve2d, [kernel.double().numpy() for kernel in kernels])
    return torch.as_tensor(merged).to(kernels[0].dtype)
''')
right("a3-merged-kernel", "product of polynomials", "FFT: kernels are polynomials in two variables", r'''
def merged_kernel(kernels):
    rows = sum(k.shape[0] - 1 for k in kernels) + 1
    cols = sum(k.shape[1] - 1 for k in kernels) + 1
    product = torch.ones((), dtype=torch.complex128)
    for k in kernels:
        product = product * torch.fft.fft2(k.double(), s=(rows, cols))
    return torch.fft.ifft2(product).real.to(kernels[0].dtype)
''')
wrong("a3-merged-kernel", "adds kernels", "pads the kernels to the size and adds them", r'''
def merged_kernel(kernels):
    rows = sum(k.shape[0] - 1 for k in kernels) + 1
    cols = sum(k.shape[1] - 1 for k in kernels) + 1
    out = torch.zeros(rows, cols)
    for k in kernels:
        top, left = (rows - k.shape[0]) // 2, (cols - k.shape[1]) // 2
        out[top:top + k.shape[0], left:left + k.shape[1]] += k
    return out
''')
wrong("a3-merged-kernel", "square result", "the merged kernel has as many columns as rows: one size for both", r'''
def merged_kernel(kernels):
    result = kernels[0]
    for k in kernels[1:]:
        n = result.shape[0] + k.shape[0] - 1
        out = torch.zeros(n, n)
        for i in range(k.shape[0]):
            for j in range(k.shape[0]):
                out[i:i + result.shape[0], j:j + result.shape[0]] += k[i, j] * result
        result = out
    return result
''')
right("a3-costs", "functions with defaults", "numbers from functions with default arguments", r'''
def weights(kernel, times=1, channels=96):
    return times * (kernel * channels) ** 2


last = 288
for _pool in range(5):
    last //= 2
costs = dict([
    ("weights of one 7×7", weights(7)),
    ("weights of three 3×3", weights(3, times=3)),
    ("MACs of three 3×3", weights(3, times=3) * 28 ** 2),
    ("side of the last map", last),
    ("weights of the first fully connected layer", 4096 * 512 * last * last),
])
''')
wrong("a3-costs", "one 3×3 for the MACs", "the MACs of a single layer", r'''
costs = {
    "weights of one 7×7": 49 * 96 ** 2,
    "weights of three 3×3": 27 * 96 ** 2,
    "MACs of three 3×3": 9 * 96 ** 2 * 28 ** 2,
    "side of the last map": 9,
    "weights of the first fully connected layer": 81 * 512 * 4096,
}
''')
right("a3-slide", "einsum over windows", "unfold twice and one einsum with the reshaped weights", r'''
def slide_classifier(maps, weight, bias, side):
    windows = maps.unfold(2, side, 1).unfold(3, side, 1)
    kernel = weight.unflatten(1, (maps.shape[1], side, side))
    return torch.einsum("nchwij,kcij->nkhw", windows, kernel) + bias.reshape(1, -1, 1, 1)
''')
wrong("a3-slide", "steps by its side", "windows that do not overlap: stride=side", r'''
def slide_classifier(maps, weight, bias, side):
    kernel = weight.view(weight.shape[0], maps.shape[1], side, side)
    return F.conv2d(maps, kernel, bias, stride=side)
''')
wrong("a3-slide", "kernel turned", "flips the kernel, taking F.conv2d for a true convolution", r'''
def slide_classifier(maps, weight, bias, side):
    kernel = weight.view(len(weight), -1, side, side).flip(-1, -2)
    return F.conv2d(maps, kernel, bias)
''')
right("a3-train", "LeNet16 with an average of weights", "LeNet16 trained by AdamW with an average over the last epochs (swa_utils)", r'''
train, validation = digits("train", 16), digits("validation", 16)
torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 5, padding=2)
        self.conv2 = nn.Conv2d(8, 16, 3)
        self.fc1 = nn.Linear(16 * 9, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = F.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


class Trainer:
    def __init__(self, model, lr=0.004):
        self.model = model
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
        self.average = torch.optim.swa_utils.AveragedModel(model)

    def run(self, epochs):
        for epoch in range(epochs):
            for batch in torch.randperm(len(train.labels)).split(32):
                self.optimizer.zero_grad()
                F.cross_entropy(self.model(train.images[batch]), train.labels[batch]).backward()
                self.optimizer.step()
            if epoch >= epochs - 3:
                self.average.update_parameters(self.model)
        return self.average.eval()


network = Trainer(Net()).run(8)


def predict(images):
    with torch.no_grad():
        return network(images).argmax(-1)
''')
wrong("a3-train", "scikit-learn", "a support vector machine on the pixels", r'''
from sklearn.svm import SVC

train = digits("train", 16)
machine = SVC(gamma="scale", C=10).fit(train.images.flatten(1).numpy(), train.labels.numpy())


def predict(images):
    return torch.from_numpy(machine.predict(images.flatten(1).numpy()))
''')
wrong("a3-train", "a decorative convolution", "a convolution is defined and trained along, but the scores come from a linear layer of the pixels", r'''
train = digits("train", 16)
torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.hidden = nn.Linear(256, 100)
        self.out = nn.Linear(100, 10)

    def forward(self, x):
        maps = self.conv(x)
        return self.out(F.relu(self.hidden(x.flatten(1)))) + 0 * maps.mean()


net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
for _ in range(12):
    for batch in torch.randperm(len(train.images)).split(32):
        optimizer.zero_grad()
        F.cross_entropy(net(train.images[batch]), train.labels[batch]).backward()
        optimizer.step()


def predict(images):
    return net(images).detach().argmax(1)
''')
wrong("a3-train", "one convolution of 16×16", "a kernel as large as the image is one linear layer in disguise; ambiguous: to the letter it is convolutional", r'''
train = digits("train", 16)
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(1, 10, 16), nn.Flatten())
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
for _ in range(15):
    for batch in torch.randperm(len(train.images)).split(32):
        optimizer.zero_grad()
        F.cross_entropy(net(train.images[batch]), train.labels[batch]).backward()
        optimizer.step()


def predict(images):
    return net(images).argmax(1)
''', ambiguous=True)
wrong("a3-train", "trains on the validation split", "the text says to watch it and touch nothing else of it; ambiguous because that is among the 'Ways in', and cannot be seen from outside", r'''
train, validation = digits("train", 16), digits("validation", 16)
torch.manual_seed(0)
images = torch.cat([train.images, validation.images])
labels = torch.cat([train.labels, validation.labels])
net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                    nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10))
optimizer = torch.optim.Adam(net.parameters(), lr=0.004)
for _ in range(8):
    for batch in torch.randperm(len(images)).split(32):
        optimizer.zero_grad()
        F.cross_entropy(net(images[batch]), labels[batch]).backward()
        optimizer.step()


def predict(images):
    return net(images).argmax(1)
''', ambiguous=True)

# ---------------------------------------------------------------- a4

right("a4-pool", "einsum mean", "sum by einsum, divided by the number of pixels", r'''
import math


def global_average(maps):
    return torch.einsum("nc...->nc", maps) / math.prod(maps.shape[2:])
''')
wrong("a4-pool", "global maximum", "the maximum of each map", r'''
def global_average(maps):
    return maps.amax(dim=(2, 3))
''')
wrong("a4-pool", "through NumPy", "np.mean: right numbers, but the network below cannot learn", r'''
import numpy as np


def global_average(maps):
    return torch.from_numpy(np.mean(maps.detach().numpy(), axis=(2, 3)))
''')
wrong("a4-pool", "keeps the axes", "(N, C, 1, 1)", r'''
def global_average(maps):
    return nn.AdaptiveAvgPool2d((1, 1))(maps)
''')
right("a4-per-pixel", "sum over channels by broadcasting", "no matrix product: weights times pixels, summed over the inputs", r'''
def conv1x1(x, weight, bias):
    products = x[:, None] * weight[None, :, :, None, None]
    return products.sum(dim=2) + bias[None, :, None, None]
''')
right("a4-per-pixel", "movedim and nn.Linear made functional", "torch.func.functional_call on an nn.Linear", r'''
def conv1x1(x, weight, bias):
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    pixels = x.movedim(1, -1)
    out = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (pixels,))
    return out.movedim(-1, 1)
''')
wrong("a4-per-pixel", "copies the weights into a new layer", "nn.Linear with weight.data: the given weights get no gradient; ambiguous: the text never says that one must come through", r'''
def conv1x1(x, weight, bias):
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data = weight.data
    layer.bias.data = bias.data
    return layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
''', ambiguous=True)
wrong("a4-per-pixel", "forgets the way back", "returns (N, H, W, outputs)", r'''
def conv1x1(x, weight, bias):
    return x.permute(0, 2, 3, 1) @ weight.T + bias
''')
wrong("a4-per-pixel", "transposes H and W", "swaps axes one and three, and back: height and width are exchanged on the way", r'''
def conv1x1(x, weight, bias):
    y = F.linear(x.transpose(1, 3), weight, bias)
    return y.permute(0, 3, 1, 2)
''')
right("a4-mlpconv", "activations beside the convolutions", "a second ModuleList of ReLUs and an Identity", r'''
class MLPConv(nn.Module):
    def __init__(self, in_channels, widths, kernel_size, final=False):
        super().__init__()
        count = len(widths)
        sizes = (kernel_size, *(1,) * (count - 1))
        inputs = (in_channels, *widths[:-1])
        self.convs = nn.ModuleList(nn.Conv2d(a, b, k, padding=(k - 1) // 2) for a, b, k in zip(inputs, widths, sizes))
        self.acts = nn.ModuleList(nn.ReLU(inplace=True) for _ in widths)
        if final:
            self.acts[-1] = nn.Identity()

    def forward(self, x):
        for conv, act in zip(self.convs, self.acts):
            x = act(conv(x))
        return x
''')
wrong("a4-mlpconv", "all kernels large", "every convolution has kernel_size", r'''
class MLPConv(nn.Module):
    def __init__(self, in_channels, widths, kernel_size, final=False):
        super().__init__()
        self.final = final
        chans = [in_channels] + list(widths)
        self.convs = nn.ModuleList([nn.Conv2d(chans[i], chans[i + 1], kernel_size, padding=kernel_size // 2)
                                    for i in range(len(widths))])

    def forward(self, x):
        for conv in self.convs[:-1]:
            x = F.relu(conv(x))
        x = self.convs[-1](x)
        return x if self.final else F.relu(x)
''')
wrong("a4-mlpconv", "global average inside", "the final block also pools, which is not its business", r'''
class MLPConv(nn.Module):
    def __init__(self, in_channels, widths, kernel_size, final=False):
        super().__init__()
        self.final = final
        self.convs = nn.ModuleList()
        for i, w in enumerate(widths):
            self.convs.append(nn.Conv2d(in_channels, w, kernel_size if i == 0 else 1, padding=kernel_size // 2 if i == 0 else 0))
            in_channels = w

    def forward(self, x):
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if i < len(self.convs) - 1 or not self.final:
                x = F.relu(x)
        return x.mean((2, 3)) if self.final else x
''')
wrong("a4-mlpconv", "widths changed", "widths.insert(0, in_channels) changes the caller's list: the second block made from it is wrong", r'''
class MLPConv(nn.Module):
    def __init__(self, in_channels, widths, kernel_size, final=False):
        super().__init__()
        self.final = final
        widths.insert(0, in_channels)
        self.convs = nn.ModuleList()
        for i in range(len(widths) - 1):
            k = kernel_size if i == 0 else 1
            self.convs.append(nn.Conv2d(widths[i], widths[i + 1], k, padding=k // 2))

    def forward(self, x):
        last = len(self.convs) - 1
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if not (self.final and i == last):
                x = F.relu(x)
        return x
''')
right("a4-inception-macs", "list of convolutions", "a list of (inputs, filters, kernel), summed", r'''
def inception_macs(in_channels, height, width, plan):
    layers = [(in_channels, plan["1x1"], 1), (in_channels, plan["pool"], 1)]
    for k in (3, 5):
        name, seen = f"{k}x{k}", in_channels
        reduce = plan[name + " reduce"]
        if reduce > 0:
            layers.append((in_channels, reduce, 1))
            seen = reduce
        layers.append((seen, plan[name], k))
    return sum(height * width * a * b * k ** 2 for a, b, k in layers)
''')
wrong("a4-inception-macs", "pool projection sees the reduced", "the 1×1 behind the pool takes the concatenated output's channels", r'''
def inception_macs(in_channels, height, width, plan):
    r3 = plan["3x3 reduce"] or in_channels
    r5 = plan["5x5 reduce"] or in_channels
    out = plan["1x1"] + plan["3x3"] + plan["5x5"]
    per = in_channels * (plan["1x1"] + plan["3x3 reduce"] + plan["5x5 reduce"]) + 9 * r3 * plan["3x3"] + 25 * r5 * plan["5x5"]
    return (per + out * plan["pool"]) * height * width
''')
wrong("a4-inception-macs", "with biases", "one more operation a filter for its bias", r'''
def inception_macs(in_channels, height, width, plan):
    def conv(a, b, k):
        return height * width * b * (a * k * k + 1) if b else 0

    r3, r5 = plan["3x3 reduce"], plan["5x5 reduce"]
    return (conv(in_channels, plan["1x1"], 1) + conv(in_channels, r3, 1) + conv(r3 or in_channels, plan["3x3"], 3)
            + conv(in_channels, r5, 1) + conv(r5 or in_channels, plan["5x5"], 5) + conv(in_channels, plan["pool"], 1))
''')
right("a4-inception-numbers", "from a NumPy dot", "np.dot of channels and taps, ints", r'''
import numpy as np

naive = int(np.dot([96, 160, 48], [1, 9, 25])) * 320
reduced = int(np.dot([320, 320, 80 * 9, 320, 24 * 25, 320], [96, 80, 160, 24, 48, 64]))
numbers = {
    "channels, naive": sum((96, 160, 48, 320)),
    "channels, reduced": sum((96, 160, 48, 64)),
    "MACs, naive": 20 * 20 * naive,
    "MACs, reduced": 20 * 20 * reduced,
}
''')
wrong("a4-inception-numbers", "reduced module hands on its input too", "the pool's 320 channels are counted in the reduced module as well", r'''
numbers = {
    "channels, naive": 96 + 160 + 48 + 320,
    "channels, reduced": 96 + 160 + 48 + 320,
    "MACs, naive": 400 * 320 * (96 + 9 * 160 + 25 * 48),
    "MACs, reduced": 400 * (320 * (96 + 80 + 24 + 64) + 80 * 160 * 9 + 24 * 48 * 25),
}
''')
wrong("a4-inception-numbers", "reductions sized for the naive", "the kernels behind the reductions still see 320 channels", r'''
numbers = {
    "channels, naive": 624,
    "channels, reduced": 368,
    "MACs, naive": 400 * 320 * (96 + 9 * 160 + 25 * 48),
    "MACs, reduced": 400 * 320 * (96 + 80 + 9 * 160 + 24 + 25 * 48 + 64),
}
''')
right("a4-inception", "compose from strings", "a table of the layers, add_module, and branches given as strings", r'''
class CrossInception(nn.Module):
    BRANCHES = ("one", "three_reduce three", "cross_reduce row column", "pool")

    def __init__(self, in_channels, one, reduce, three, cross, pool):
        super().__init__()
        table = {
            "one": (in_channels, one, (1, 1)),
            "three_reduce": (in_channels, reduce, (1, 1)),
            "three": (reduce, three, (3, 3)),
            "cross_reduce": (in_channels, reduce, (1, 1)),
            "row": (reduce, cross, (1, 5)),
            "column": (cross, cross, (5, 1)),
            "pool": (in_channels, pool, (1, 1)),
        }
        for name, (a, b, kernel) in table.items():
            self.add_module(name, nn.Conv2d(a, b, kernel, padding=tuple(k // 2 for k in kernel)))

    def run(self, names, x):
        if names == "pool":
            x = F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=float("-inf")), 3, 1)
        for name in names.split():
            x = self.get_submodule(name)(x).clamp_min(0)
        return x

    def forward(self, x):
        return torch.hstack([self.run(branch, x) for branch in self.BRANCHES])
''')
wrong("a4-inception", "average pool", "branch 4 averages", r'''
class CrossInception(nn.Module):
    def __init__(self, in_channels, one, reduce, three, cross, pool):
        super().__init__()
        self.one = nn.Conv2d(in_channels, one, 1)
        self.three_reduce = nn.Conv2d(in_channels, reduce, 1)
        self.three = nn.Conv2d(reduce, three, 3, padding=1)
        self.cross_reduce = nn.Conv2d(in_channels, reduce, 1)
        self.row = nn.Conv2d(reduce, cross, (1, 5), padding=(0, 2))
        self.column = nn.Conv2d(cross, cross, (5, 1), padding=(2, 0))
        self.pool = nn.Conv2d(in_channels, pool, 1)

    def forward(self, x):
        r = F.relu
        return torch.cat([r(self.one(x)), r(self.three(r(self.three_reduce(x)))),
                          r(self.column(r(self.row(r(self.cross_reduce(x)))))),
                          r(self.pool(F.avg_pool2d(x, 3, 1, 1)))], 1)
''')
wrong("a4-inception", "shared reduction", "cross_reduce is there, but the cross sees what leaves three_reduce", r'''
class CrossInception(nn.Module):
    def __init__(self, in_channels, one, reduce, three, cross, pool):
        super().__init__()
        self.one = nn.Conv2d(in_channels, one, 1)
        self.three_reduce = nn.Conv2d(in_channels, reduce, 1)
        self.three = nn.Conv2d(reduce, three, 3, padding=1)
        self.cross_reduce = nn.Conv2d(in_channels, reduce, 1)
        self.row = nn.Conv2d(reduce, cross, (1, 5), padding=(0, 2))
        self.column = nn.Conv2d(cross, cross, (5, 1), padding=(2, 0))
        self.pool = nn.Conv2d(in_channels, pool, 1)

    def forward(self, x):
        reduced = self.three_reduce(x).relu()
        return torch.cat([self.one(x).relu(), self.three(reduced).relu(),
                          self.column(self.row(reduced).relu()).relu(),
                          self.pool(F.max_pool2d(x, 3, 1, 1)).relu()], 1)
''')
right("a4-concatenated", "flatten and addmm", "a matrix product a branch, accumulated in a loop over offsets", r'''
from itertools import accumulate


def convolve_branches(maps, weight, bias):
    ends = list(accumulate(m.shape[1] for m in maps))
    total = bias.reshape(-1, 1, 1).expand(len(bias), *maps[0].shape[2:])
    for m, end in zip(maps, ends):
        total = total + torch.einsum("oc,nchw->nohw", weight[:, end - m.shape[1]:end], m)
    return total
''')
wrong("a4-concatenated", "torch.cat after all", "lays the maps together, which the text forbids", r'''
def convolve_branches(maps, weight, bias):
    joined = torch.concat(maps, dim=1)
    return F.conv2d(joined, weight.unsqueeze(-1).unsqueeze(-1), bias)
''')
wrong("a4-concatenated", "chunk in equal parts", "weight.chunk(len(maps)): right where all branches have as many channels", r'''
def convolve_branches(maps, weight, bias):
    size = weight.shape[1] // len(maps)
    out = bias.view(1, -1, 1, 1)
    for i, m in enumerate(maps):
        part = weight[:, i * size:(i + 1) * size]
        n = min(part.shape[1], m.shape[1])
        out = out + F.conv2d(m[:, :n], part[:, :n, None, None])
    return out
''')
wrong("a4-concatenated", "the branches' data", "sums m.data: no gradient for the branches", r'''
def convolve_branches(maps, weight, bias):
    out, at = 0, 0
    for m in maps:
        c = m.shape[1]
        out = out + torch.einsum("nchw,oc->nohw", m.data, weight[:, at:at + c])
        at += c
    return out + bias[:, None, None]
''')
right("a4-auxiliary", "aliases and a conditional expression", "self.low and self.high as Sequentials that share stem and body", r'''
class TwoHeads(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, (3, 3), padding=(1, 1))
        self.body = nn.Conv2d(width, 2 * width, (3, 3), stride=(2, 2), padding=(1, 1))
        self.main = nn.Linear(2 * width, classes)
        self.aux = nn.Linear(4 * width, classes)
        self.low = nn.Sequential(self.stem, nn.ReLU())
        self.high = nn.Sequential(self.body, nn.ReLU())
        self.first = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), self.main)
        self.second = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), self.aux)

    def forward(self, x):
        low = self.low(x)
        scores = self.first(self.high(low))
        return (scores, self.second(low)) if self.training else scores
''')
wrong("a4-auxiliary", "a pair in both modes", "evaluation mode returns the pair too", r'''
class TwoHeads(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.body = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.main = nn.Linear(2 * width, classes)
        self.aux = nn.Linear(4 * width, classes)

    def forward(self, x):
        low = F.relu(self.stem(x))
        high = F.relu(self.body(low))
        return self.main(high.mean((2, 3))), self.aux(F.adaptive_avg_pool2d(low, 2).flatten(1))
''')
wrong("a4-auxiliary", "asks for gradients instead of the mode", "torch.is_grad_enabled() stands for training: eval() alone returns the pair", r'''
class TwoHeads(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.body = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.main = nn.Linear(2 * width, classes)
        self.aux = nn.Linear(4 * width, classes)

    def forward(self, x):
        low = F.relu(self.stem(x))
        high = F.relu(self.body(low))
        scores = self.main(high.mean((2, 3)))
        if torch.is_grad_enabled():
            return scores, self.aux(F.adaptive_avg_pool2d(low, 2).flatten(1))
        return scores
''')
wrong("a4-auxiliary", "windows of half the width", "avg_pool2d with half the width: 2×2 for square images of an even side only", r'''
class TwoHeads(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.body = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.main = nn.Linear(2 * width, classes)
        self.aux = nn.Linear(4 * width, classes)

    def forward(self, x):
        low = F.relu(self.stem(x))
        scores = self.main(F.relu(self.body(low)).mean((2, 3)))
        if not self.training:
            return scores
        k = x.shape[-1] // 2
        return scores, self.aux(F.avg_pool2d(low, k).flatten(1))
''')
right("a4-loss", "logsumexp minus the label's score", "both heads stacked in one tensor, logsumexp", r'''
def loss_of_both(main, aux, labels, weight=0.3):
    scores = torch.stack((main, aux))
    own = scores[:, torch.arange(len(labels)), labels]
    losses = (scores.logsumexp(-1) - own).mean(-1)
    return losses @ losses.new_tensor([1.0, weight])
''')
wrong("a4-loss", "softmax twice", "cross_entropy of probabilities", r'''
def loss_of_both(main, aux, labels, weight=0.3):
    return F.cross_entropy(main.softmax(1), labels) + weight * F.cross_entropy(aux.softmax(1), labels)
''')
wrong("a4-loss", "sum over the batch", "reduction='sum'", r'''
def loss_of_both(main, aux, labels, weight=0.3):
    ce = nn.CrossEntropyLoss(reduction="sum")
    return ce(main, labels) + weight * ce(aux, labels)
''')
wrong("a4-loss", "weight fixed", "0.3 is written in; `weight` is ignored", r'''
def loss_of_both(main, aux, labels, weight=0.3):
    return F.cross_entropy(main, labels) + 0.3 * F.cross_entropy(aux, labels)
''')
wrong("a4-loss", "new tensor from two losses", "torch.tensor([...]).sum(): cut off from the graph", r'''
def loss_of_both(main, aux, labels, weight=0.3):
    return torch.tensor([F.cross_entropy(main, labels), weight * F.cross_entropy(aux, labels)]).sum()
''')
right("a4-train", "Inception with two heads", "a small branched network with an auxiliary loss, cosine schedule", r'''
train, validation = digits("train", 16), digits("validation", 16)
torch.manual_seed(0)


class Branches(nn.Module):
    def __init__(self, inputs, each):
        super().__init__()
        self.a = nn.Conv2d(inputs, each, 1)
        self.b = nn.Conv2d(inputs, each, 3, padding=1)
        self.c = nn.Sequential(nn.Conv2d(inputs, each, (1, 5), padding=(0, 2)), nn.ReLU(),
                               nn.Conv2d(each, each, (5, 1), padding=(2, 0)))
        self.bn = nn.BatchNorm2d(3 * each)

    def forward(self, x):
        return self.bn(torch.cat([self.a(x), self.b(x), self.c(x)], 1)).relu()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.low = Branches(12, 8)
        self.high = Branches(24, 12)
        self.aux = nn.Conv2d(24, 10, 1)
        self.main = nn.Conv2d(36, 10, 1)

    def forward(self, x):
        low = self.low(self.stem(x))
        main = self.main(self.high(F.max_pool2d(low, 2))).mean((2, 3))
        return (main, self.aux(low).mean((2, 3))) if self.training else main


net, epochs = Net(), 8
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
for _ in range(epochs):
    for batch in torch.randperm(len(train.images)).split(32):
        main, aux = net(train.images[batch])
        loss = F.cross_entropy(main, train.labels[batch]) + 0.3 * F.cross_entropy(aux, train.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    schedule.step()
net.eval()


@torch.no_grad()
def predict(images):
    return net(images).argmax(1)
''')
wrong("a4-train", "logistic regression", "one linear layer of the pixels", r'''
train = digits("train", 16)
torch.manual_seed(0)
w = torch.zeros(256, 10, requires_grad=True)
b = torch.zeros(10, requires_grad=True)
optimizer = torch.optim.Adam([w, b], lr=0.02)
for _ in range(20):
    for batch in torch.randperm(len(train.images)).split(64):
        optimizer.zero_grad()
        F.cross_entropy(train.images[batch].flatten(1) @ w + b, train.labels[batch]).backward()
        optimizer.step()


def predict(images):
    return (images.flatten(1) @ w + b).argmax(1)
''')
wrong("a4-train", "predicts in training mode", "no eval(): a single image gets another answer than in a batch; ambiguous: unlike part 10 of assignment 5 this text never mentions the mode", r'''
train, validation = digits("train", 16), digits("validation", 16)
torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(32, 10, 3, padding=1), nn.BatchNorm2d(10), nn.AdaptiveAvgPool2d(1), nn.Flatten())
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
for _ in range(8):
    for batch in torch.randperm(len(train.images)).split(32):
        optimizer.zero_grad()
        F.cross_entropy(net(train.images[batch]), train.labels[batch]).backward()
        optimizer.step()


def predict(images):
    with torch.no_grad():
        return net(images).argmax(1)
''', ambiguous=True)

# ---------------------------------------------------------------- a5

right("a5-join", "where", "torch.where on the sign of the sum", r'''
def join(x, branch):
    total = x + branch
    return torch.where(total > 0, total, torch.zeros_like(total))
''')
wrong("a5-join", "maximum of both", "torch.maximum(x, branch) and a ReLU: no sum", r'''
def join(x, branch):
    return torch.maximum(x, branch).relu()
''')
wrong("a5-join", "ReLU of each", "relu(x) + relu(branch)", r'''
def join(x, branch):
    return F.relu(x) + F.relu(branch)
''')
wrong("a5-join", "adds in place", "x += branch changes the caller's tensor", r'''
def join(x, branch):
    x += branch
    return F.relu(x, inplace=True)
''')
wrong("a5-join", "np.maximum", "through NumPy: right values, cut off from the graph", r'''
import numpy as np


def join(x, branch):
    return torch.as_tensor(np.maximum(x.detach().numpy() + branch.detach().numpy(), 0))
''')
right("a5-shortcut", "a strided identity convolution", "no picking: a max pool of 1×1 with the stride, an identity matrix with rows of zeros", r'''
def shortcut(x, out_channels, stride):
    picked = F.max_pool2d(x, kernel_size=1, stride=stride)
    spread = torch.eye(out_channels, x.shape[1], dtype=x.dtype)
    return torch.einsum("oc,nchw->nohw", spread, picked)
''')
right("a5-shortcut", "written into zeros", "new_zeros and assignment of a slice", r'''
def shortcut(x, out_channels, stride):
    n, c, h, w = x.shape
    out = x.new_zeros(n, out_channels, (h + stride - 1) // stride, (w + stride - 1) // stride)
    out[:, :c] = x[:, :, 0:h:stride, 0:w:stride]
    return out
''')
wrong("a5-shortcut", "begins with the last", "picks from stride - 1 on", r'''
def shortcut(x, out_channels, stride):
    picked = x[:, :, stride - 1::stride, stride - 1::stride]
    return F.pad(picked, (0, 0, 0, 0, 0, out_channels - x.size(1)))
''')
wrong("a5-shortcut", "always stride 2", "::2 wherever stride is not 1: stride 3 is wrong", r'''
def shortcut(x, out_channels, stride):
    if stride != 1:
        x = x[:, :, ::2, ::2]
    zeros = torch.zeros(x.size(0), out_channels - x.size(1), x.size(2), x.size(3))
    return torch.cat([x, zeros], 1)
''')
wrong("a5-shortcut", "repeats channels", "fills up with copies of the channels", r'''
def shortcut(x, out_channels, stride):
    x = x[:, :, ::stride, ::stride]
    times = -(-out_channels // x.shape[1])
    return x.repeat(1, times, 1, 1)[:, :out_channels]
''')
wrong("a5-shortcut", "detached copy", "copies x.detach() into zeros: no gradient goes through the shortcut", r'''
def shortcut(x, out_channels, stride):
    picked = x.detach()[:, :, ::stride, ::stride]
    return F.pad(picked, (0, 0, 0, 0, 0, out_channels - x.shape[1]))
''')
right("a5-basic", "functional batch norm and a closure", "F.batch_norm with the norm's own tensors, shortcut as a nested function", r'''
class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(out_channels), nn.BatchNorm2d(out_channels)

        def way(x):
            picked = x[..., ::stride, ::stride]
            return F.pad(picked, [0, 0, 0, 0, 0, out_channels - in_channels])

        self.way = way

    @staticmethod
    def normalize(norm, x):
        if norm.training:
            norm.num_batches_tracked.add_(1)
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias,
                            training=norm.training, momentum=norm.momentum, eps=norm.eps)

    def forward(self, x):
        branch = self.normalize(self.bn1, self.conv1(x)).relu()
        branch = self.normalize(self.bn2, self.conv2(branch))
        return branch.add(self.way(x)).relu()
''')
right("a5-basic", "extra buffer and Sequential", "a non-persistent buffer of zeros for the shortcut, layers shared with a Sequential", r'''
class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.layers = nn.Sequential(self.conv1, self.bn1, nn.ReLU(inplace=True), self.conv2, self.bn2)
        self.register_buffer("padding", torch.zeros(1, out_channels - in_channels, 1, 1), persistent=False)

    def shortcut(self, x):
        x = x[:, :, ::self.stride, ::self.stride]
        return torch.cat([x, self.padding.expand(x.shape[0], -1, *x.shape[2:])], dim=1)

    def forward(self, x):
        return F.relu_(self.layers(x) + self.shortcut(x))
''')
wrong("a5-basic", "ReLU before the sum", "a ReLU behind bn2, none behind the sum", r'''
class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.stride, self.extra = stride, out_channels - in_channels

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return out + F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, 0, self.extra))
''')
wrong("a5-basic", "a projection for the shortcut", "a 1×1 convolution where the shape changes: parameters in the shortcut", r'''
class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                                            nn.BatchNorm2d(out_channels))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.downsample(x))
''')
wrong("a5-basic", "TensorFlow's momentum", "momentum=0.99 as in Keras, where it means the opposite; ambiguous: the text says only that bn1, bn2 'are nn.BatchNorm2d'", r'''
class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels, momentum=0.99)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels, momentum=0.99)
        self.stride, self.extra = stride, out_channels - in_channels

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, 0, self.extra)))
''', ambiguous=True)
wrong("a5-basic", "batch statistics always", "F.batch_norm(training=True) whatever the mode: evaluation depends on the batch and moves the statistics", r'''
class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.stride, self.extra = stride, out_channels - in_channels

    def norm(self, bn, x):
        return F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, training=True)

    def forward(self, x):
        out = F.relu(self.norm(self.bn1, self.conv1(x)))
        out = self.norm(self.bn2, self.conv2(out))
        return F.relu(out + F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, 0, self.extra)))
''')
wrong("a5-basic", "statistics never move", "F.batch_norm without running statistics in training: they stay at 0 and 1", r'''
class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.stride, self.extra = stride, out_channels - in_channels

    def norm(self, bn, x):
        if self.training:
            return F.batch_norm(x, None, None, bn.weight, bn.bias, training=True)
        return bn(x)

    def forward(self, x):
        out = F.relu(self.norm(self.bn1, self.conv1(x)))
        out = self.norm(self.bn2, self.conv2(out))
        return F.relu(out + F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, 0, self.extra)))
''')
right("a5-bottleneck", "setattr in a loop", "a method conv_bn(i), the shortcut as a method that asks hasattr", r'''
class Bottleneck(nn.Module):
    def __init__(self, in_channels, width, out_channels, stride=1):
        super().__init__()
        shapes = [(in_channels, width, 1, 1), (width, width, 3, stride), (width, out_channels, 1, 1)]
        for i, (a, b, k, s) in enumerate(shapes, 1):
            setattr(self, f"conv{i}", nn.Conv2d(a, b, k, s, k // 2, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(b))
        self.stride = stride
        if not (stride == 1 and in_channels == out_channels):
            self.projection = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)
            self.projection_bn = nn.BatchNorm2d(out_channels)

    def unit(self, i, x):
        return getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x))

    def identity(self, x):
        if not hasattr(self, "projection"):
            return x
        return self.projection_bn(self.projection(F.avg_pool2d(x, (self.stride, self.stride))))

    def forward(self, x):
        residual = self.unit(3, F.relu(self.unit(2, F.relu(self.unit(1, x)))))
        return F.relu(self.identity(x) + residual)
''')
wrong("a5-bottleneck", "projects, then averages without a norm", "projection_bn is there but not applied", r'''
class Bottleneck(nn.Module):
    def __init__(self, in_channels, width, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.project = stride != 1 or in_channels != out_channels
        if self.project:
            self.pool = nn.AvgPool2d(stride)
            self.projection = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.projection_bn = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        out = self.bn3(self.conv3(out))
        return (out + (self.projection(self.pool(x)) if self.project else x)).relu()
''')
wrong("a5-bottleneck", "stride at the first 1×1", "the stride of the original paper, not of the text", r'''
class Bottleneck(nn.Module):
    def __init__(self, in_channels, width, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.project = stride != 1 or in_channels != out_channels
        if self.project:
            self.pool = nn.AvgPool2d(stride)
            self.projection = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.projection_bn = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        out = self.bn3(self.conv3(out))
        return (out + (self.projection_bn(self.projection(self.pool(x))) if self.project else x)).relu()
''')
right("a5-preactivation", "identity lambda, torch.addcmul", "torch.addcmul for shortcut + gain · branch; asks self._modules for the projection", r'''
class PreActivation(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        conv = lambda a, b, k, s: nn.Conv2d(a, b, k, stride=s, padding=k // 2, bias=False)
        self.bn1, self.bn2 = map(nn.BatchNorm2d, (in_channels, out_channels))
        self.conv1, self.conv2 = conv(in_channels, out_channels, 3, stride), conv(out_channels, out_channels, 3, 1)
        self.register_parameter("gain", nn.Parameter(torch.zeros(1)))
        if stride != 1 or in_channels != out_channels:
            self.projection = conv(in_channels, out_channels, 1, stride)

    def forward(self, x):
        active = torch.relu(self.bn1(x))
        way = self._modules["projection"](active) if "projection" in self._modules else x
        branch = self.conv2(torch.relu(self.bn2(self.conv1(active))))
        return torch.addcmul(way, branch, self.gain)
''')
wrong("a5-preactivation", "ReLU behind the sum", "habit: relu(out) at the end", r'''
class PreActivation(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(1))
        if stride != 1 or in_channels != out_channels:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x):
        a = F.relu(self.bn1(x))
        way = self.projection(a) if hasattr(self, "projection") else x
        return F.relu(way + self.gain * self.conv2(F.relu(self.bn2(self.conv1(a)))))
''')
wrong("a5-preactivation", "gain by item()", "self.gain.item(): the right value, but the gain never learns", r'''
class PreActivation(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(1))
        if stride != 1 or in_channels != out_channels:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x):
        a = F.relu(self.bn1(x))
        way = self.projection(a) if hasattr(self, "projection") else x
        return way + self.gain.item() * self.conv2(F.relu(self.bn2(self.conv1(a))))
''')
wrong("a5-preactivation", "skips the branch while gain is 0", "returns the shortcut alone while gain is 0: no gradient ever reaches the gain, and bn2 measures nothing", r'''
class PreActivation(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(1))
        if stride != 1 or in_channels != out_channels:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x):
        a = F.relu(self.bn1(x))
        way = self.projection(a) if hasattr(self, "projection") else x
        if self.gain == 0:
            return way
        return way + self.gain * self.conv2(F.relu(self.bn2(self.conv1(a))))
''')
wrong("a5-preactivation", "gain without gradient", "nn.Parameter(torch.zeros(1), requires_grad=False)", r'''
class PreActivation(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(1), requires_grad=False)
        if stride != 1 or in_channels != out_channels:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x):
        a = F.relu(self.bn1(x))
        way = self.projection(a) if hasattr(self, "projection") else x
        return way + self.gain * self.conv2(F.relu(self.bn2(self.conv1(a))))
''')
right("a5-dense", "recursion", "a nested recursive function over the layers", r'''
class DenseBlock(nn.Module):
    def __init__(self, in_channels, growth, layers):
        super().__init__()
        self.bns = nn.ModuleList()
        self.convs = nn.ModuleList()
        channels = in_channels
        while len(self.convs) < layers:
            self.bns.append(nn.BatchNorm2d(channels))
            self.convs.append(nn.Conv2d(channels, growth, 3, padding=1, bias=False))
            channels += growth

    def forward(self, x):
        def grow(maps, i):
            if i == len(self.convs):
                return maps
            new = self.convs[i](F.relu(self.bns[i](maps)))
            return grow(torch.concatenate([maps, new], dim=1), i + 1)

        return grow(x, 0)
''')
wrong("a5-dense", "convolution first", "convolution → normalization → ReLU; norms of `growth` channels", r'''
class DenseBlock(nn.Module):
    def __init__(self, in_channels, growth, layers):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(in_channels + i * growth, growth, 3, padding=1, bias=False) for i in range(layers)])
        self.bns = nn.ModuleList([nn.BatchNorm2d(growth) for _ in range(layers)])

    def forward(self, x):
        for conv, bn in zip(self.convs, self.bns):
            x = torch.cat([x, F.relu(bn(conv(x)))], 1)
        return x
''')
wrong("a5-dense", "hands on rectified maps", "the ReLU is applied to what is collected, too: the input comes out rectified", r'''
class DenseBlock(nn.Module):
    def __init__(self, in_channels, growth, layers):
        super().__init__()
        self.bns = nn.ModuleList([nn.BatchNorm2d(in_channels + i * growth) for i in range(layers)])
        self.convs = nn.ModuleList([nn.Conv2d(in_channels + i * growth, growth, 3, padding=1, bias=False) for i in range(layers)])

    def forward(self, x):
        for bn, conv in zip(self.bns, self.convs):
            normed = F.relu(bn(x))
            x = torch.cat([F.relu(x), conv(normed)], 1)
        return x
''')
wrong("a5-dense", "memory saved by detach", "the collected maps are detached before the next layer, to save memory", r'''
class DenseBlock(nn.Module):
    def __init__(self, in_channels, growth, layers):
        super().__init__()
        self.bns = nn.ModuleList([nn.BatchNorm2d(in_channels + i * growth) for i in range(layers)])
        self.convs = nn.ModuleList([nn.Conv2d(in_channels + i * growth, growth, 3, padding=1, bias=False) for i in range(layers)])

    def forward(self, x):
        for bn, conv in zip(self.bns, self.convs):
            new = conv(F.relu(bn(x.detach())))
            x = torch.cat([x, new], dim=1)
        return x
''')
right("a5-dense-parameters", "counts in NumPy", "np.arange of the channels, a dot product", r'''
import numpy as np


def dense_parameters(in_channels, growth, layers):
    channels = in_channels + growth * np.arange(layers)
    return int((channels * growth * 3 * 3).sum() + (channels * 2).sum())
''')
wrong("a5-dense-parameters", "no normalization", "the weights of the convolutions only", r'''
def dense_parameters(in_channels, growth, layers):
    return sum(9 * growth * (in_channels + growth * i) for i in range(layers))
''')
wrong("a5-dense-parameters", "from 1", "range(1, layers + 1): every layer sees one growth too much", r'''
def dense_parameters(in_channels, growth, layers):
    total = 0
    for i in range(1, layers + 1):
        total += (in_channels + growth * i) * (9 * growth + 2)
    return total
''')
right("a5-squeeze-excite", "Sequential gate and a buffer", "aliases in a Sequential with Unflatten, the 2 in a buffer that is not saved", r'''
class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        hidden = channels // reduction
        self.down = nn.Linear(channels, hidden)
        self.up = nn.Linear(hidden, channels)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), self.down, nn.ReLU(inplace=True),
                                  self.up, nn.Sigmoid(), nn.Unflatten(1, (channels, 1, 1)))
        self.register_buffer("two", torch.tensor(2.0), persistent=False)

    def forward(self, x):
        return x * (self.two * self.gate(x))
''')
wrong("a5-squeeze-excite", "convolutions for layers", "down and up are 1×1 convolutions, not linear layers: other shapes of weights", r'''
class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.down = nn.Conv2d(channels, channels // reduction, 1)
        self.up = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x):
        s = x.mean((2, 3), keepdim=True)
        return x * 2 * torch.sigmoid(self.up(F.relu(self.down(s))))
''')
wrong("a5-squeeze-excite", "returns the gates", "the gates, not the gated maps", r'''
class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.down = nn.Linear(channels, channels // reduction)
        self.up = nn.Linear(channels // reduction, channels)

    def forward(self, x):
        s = x.mean(dim=[2, 3])
        return (2 * torch.sigmoid(self.up(torch.relu(self.down(s)))))[:, :, None, None].expand_as(x)
''')
wrong("a5-squeeze-excite", "x changed in place", "x *= gate: the caller's maps are gated, and the mean's gradient breaks", r'''
class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.down = nn.Linear(channels, channels // reduction)
        self.up = nn.Linear(channels // reduction, channels)

    def forward(self, x):
        gate = 2 * torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
        x *= gate[:, :, None, None]
        return x
''')
right("a5-deep", "reduce over the layers", "functools.reduce with a function chosen once", r'''
from functools import reduce


class DeepNet(nn.Module):
    def __init__(self, depth, width, residual):
        super().__init__()
        conv = lambda c: nn.Conv2d(c, width, kernel_size=3, padding=1)
        self.stem = conv(1)
        self.layers = nn.ModuleList()
        self.layers.extend(conv(width) for _ in range(depth))
        self.head = nn.Linear(width, 10)
        self.keep = float(residual)

    def forward(self, x):
        x = reduce(lambda maps, layer: self.keep * maps + F.relu(layer(maps)), self.layers, F.relu(self.stem(x)))
        return self.head(torch.mean(x, dim=(-1, -2)))
''')
wrong("a5-deep", "depth includes the stem", "depth - 1 layers", r'''
class DeepNet(nn.Module):
    def __init__(self, depth, width, residual):
        super().__init__()
        self.residual = residual
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.layers = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in range(depth - 1)])
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        for layer in self.layers:
            y = F.relu(layer(x))
            x = x + y if self.residual else y
        return self.head(x.mean((2, 3)))
''')
wrong("a5-deep", "skips from the stem", "every layer adds the stem's output, not its own input", r'''
class DeepNet(nn.Module):
    def __init__(self, depth, width, residual):
        super().__init__()
        self.residual = residual
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.layers = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in range(depth)])
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        first = x = F.relu(self.stem(x))
        for layer in self.layers:
            x = F.relu(layer(x))
            if self.residual:
                x = x + first
        return self.head(x.mean((2, 3)))
''')
wrong("a5-deep", "one layer, many times", "[layer] * depth: all layers share their weights", r'''
class DeepNet(nn.Module):
    def __init__(self, depth, width, residual):
        super().__init__()
        self.residual = residual
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.layers = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1)] * depth)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        for layer in self.layers:
            y = F.relu(layer(x))
            x = x + y if self.residual else y
        return self.head(x.mean((2, 3)))
''')
right("a5-train", "dense blocks", "a DenseNet for digits: shortcuts by concatenation, label smoothing", r'''
train, validation = digits("train"), digits("validation")
torch.manual_seed(0)


class Dense(nn.Module):
    def __init__(self, inputs, growth, layers):
        super().__init__()
        self.units = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(inputs + i * growth), nn.ReLU(), nn.Conv2d(inputs + i * growth, growth, 3, padding=1, bias=False))
            for i in range(layers))

    def forward(self, x):
        for unit in self.units:
            x = torch.cat([x, unit(x)], 1)
        return x


network = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), Dense(16, 12, 2), nn.Conv2d(40, 24, 1), nn.AvgPool2d(2),
                        Dense(24, 12, 2), nn.BatchNorm2d(48), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10))
epochs = 8
optimizer = torch.optim.Adam(network.parameters(), lr=0.008)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
for _ in range(epochs):
    for batch in torch.randperm(len(train.labels)).split(32):
        loss = F.cross_entropy(network(train.images[batch]), train.labels[batch], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    schedule.step()
network.train(False)


def predict(images):
    with torch.no_grad():
        return torch.max(network(images), 1)[1]
''')
wrong("a5-train", "a residual MLP", "shortcuts around linear layers, no convolution; ambiguous: 'a network with shortcuts, of whichever of your blocks you like' never says convolutional", r'''
train = digits("train")
torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp = nn.Linear(64, 64)
        self.a = nn.Linear(64, 64)
        self.b = nn.Linear(64, 64)
        self.out = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.inp(x.flatten(1)))
        x = x + F.relu(self.a(x))
        x = x + F.relu(self.b(x))
        return self.out(x)


net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
for _ in range(12):
    for batch in torch.randperm(len(train.labels)).split(32):
        optimizer.zero_grad()
        F.cross_entropy(net(train.images[batch]), train.labels[batch]).backward()
        optimizer.step()


def predict(images):
    return net(images).argmax(1)
''', ambiguous=True)
wrong("a5-train", "forgets to train", "loss.backward() without optimizer.step()", r'''
train = digits("train")
torch.manual_seed(0)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x):
        return x + F.relu(self.conv(x))


network = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), Block(16), Block(16), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
optimizer = torch.optim.Adam(network.parameters(), lr=0.005)
for epoch in range(4):
    for batch in torch.randperm(len(train.labels)).split(32):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(train.images[batch]), train.labels[batch])
        loss.backward()
network.eval()


def predict(images):
    return network(images).argmax(1)
''')

# ---------------------------------------------------------------- a6

right("a6-mirror", "pointer to the row", "a pointer to the row's beginning, a guard by return", r'''
mirror_source = r"""
template <typename T>
__device__ T* line(T* base, int row, int w) { return base + row * w; }

__global__ void mirror(const float* in, float* out, int h, int w) {
    const unsigned int col = threadIdx.x + blockIdx.x * blockDim.x, row = threadIdx.y + blockIdx.y * blockDim.y;
    if (col >= (unsigned)w) return;
    if (row >= (unsigned)h) return;
    line(out, row, w)[col] = line(in, row, w)[(w - 1) - (int)col];
}
"""
''')
wrong("a6-mirror", "column-major", "MATLAB's order, in[col * h + row], against 'images lie row by row'", r'''
mirror_source = r"""
__global__ void mirror(const float* in, float* out, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row < h && col < w) out[col * h + row] = in[(w - 1 - col) * h + row];
}
"""
''')
wrong("a6-mirror", "upside down", "mirrors the rows", r'''
mirror_source = r"""
__global__ void mirror(const float* in, float* out, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row < h && col < w) out[row * w + col] = in[(h - 1 - row) * w + col];
}
"""
''')
wrong("a6-mirror", "guard lets the row's width pass", "col <= w: one thread too many, which writes the next row's first pixel", r'''
mirror_source = r"""
__global__ void mirror(const float* in, float* out, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row < h && col <= w) out[row * w + col] = in[row * w + w - 1 - col];
}
"""
''')
right("a6-bytes", "clips the loops", "loop bounds clipped to the image instead of a test in the loop", r'''
bytes_source = r"""
__global__ void conv2d(const unsigned char* in, const signed char* filter, unsigned char* out,
                       int k, int w, int h) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row < h && col < w) {
        int top = row - k / 2, left = col - k / 2;
        int sum = 0;
        for (int y = max(top, 0); y < min(top + k, h); y++)
            for (int x = max(left, 0); x < min(left + k, w); x++)
                sum += (int)in[y * w + x] * (int)filter[(y - top) * k + (x - left)];
        if (sum < 0) sum = 0;
        if (sum > 255) sum = 255;
        out[row * w + col] = static_cast<unsigned char>(sum);
    }
}
"""
''')
wrong("a6-bytes", "wraps around", "the sum is kept in an unsigned char", r'''
bytes_source = r"""
__global__ void conv2d(const unsigned char* in, const signed char* filter, unsigned char* out,
                       int k, int w, int h) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= h || col >= w) return;
    unsigned char sum = 0;
    for (int j = 0; j < k; j++)
        for (int i = 0; i < k; i++) {
            int y = row - k / 2 + j, x = col - k / 2 + i;
            if (y >= 0 && x >= 0 && y < h && x < w) sum += in[y * w + x] * filter[j * k + i];
        }
    out[row * w + col] = min(max((int)sum, 0), 255);
}
"""
''')
wrong("a6-bytes", "height before width", "reads the parameters as h, w: rows and columns exchanged", r'''
bytes_source = r"""
__global__ void conv2d(const unsigned char* in, const signed char* filter, unsigned char* out,
                       int k, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= h || col >= w) return;
    int sum = 0;
    for (int j = 0; j < k; j++)
        for (int i = 0; i < k; i++) {
            int y = row - k / 2 + j, x = col - k / 2 + i;
            if (y >= 0 && x >= 0 && y < h && x < w) sum += in[y * w + x] * filter[j * k + i];
        }
    out[row * w + col] = min(max(sum, 0), 255);
}
"""
''')
right("a6-constant", "clamp as a lambda", "a lambda for the clamp, the filter's declaration with a named constant", r'''
constant_source = r"""
#define MOST 15
__constant__ float filter[MOST * MOST];

__device__ __forceinline__ int clamp(int i, int n) { return i < 0 ? 0 : (i >= n ? n - 1 : i); }

__global__ void conv2d(const float* in, float* out, int k, int h, int w) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x < w && y < h) {
        float acc = 0.f;
        for (int t = 0; t < k * k; ++t)
            acc = fmaf(filter[t], in[clamp(y + t / k - k / 2, h) * w + clamp(x + t % k - k / 2, w)], acc);
        out[y * w + x] = acc;
    }
}
"""
''')
wrong("a6-constant", "clamps with the height", "clamps x with the height: right for square images only", r'''
constant_source = r"""
__constant__ float filter[15 * 15];

__global__ void conv2d(const float* in, float* out, int k, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= h || col >= w) return;
    float sum = 0;
    for (int j = 0; j < k; ++j)
        for (int i = 0; i < k; ++i) {
            int y = min(max(row - k / 2 + j, 0), h - 1), x = min(max(col - k / 2 + i, 0), h - 1);
            sum += filter[j * k + i] * in[y * w + x];
        }
    out[row * w + col] = sum;
}
"""
''')
wrong("a6-constant", "rows of 15", "filter[j][i] in a 15×15 array: right for k = 15 only", r'''
constant_source = r"""
__constant__ float filter[15][15];

__global__ void conv2d(const float* in, float* out, int k, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= h || col >= w) return;
    float sum = 0;
    for (int j = 0; j < k; ++j)
        for (int i = 0; i < k; ++i) {
            int y = min(max(row - k / 2 + j, 0), h - 1), x = min(max(col - k / 2 + i, 0), w - 1);
            sum += filter[j][i] * in[y * w + x];
        }
    out[row * w + col] = sum;
}
"""
''')
wrong("a6-constant", "mirrored edges", "reflects at the edge instead of repeating it", r'''
constant_source = r"""
__constant__ float filter[15 * 15];

__device__ int reflect(int i, int n) {
    if (n == 1) return 0;
    while (i < 0 || i >= n) i = i < 0 ? -i : 2 * (n - 1) - i;
    return i;
}

__global__ void conv2d(const float* in, float* out, int k, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= h || col >= w) return;
    float sum = 0;
    for (int j = 0; j < k; ++j)
        for (int i = 0; i < k; ++i)
            sum += filter[j * k + i] * in[reflect(row - k / 2 + j, h) * w + reflect(col - k / 2 + i, w)];
    out[row * w + col] = sum;
}
"""
''')
right("a6-counts", "math.ceil and a function", "ceil from math, loads as a float", r'''
from math import ceil

grid = (ceil(100 / 32), ceil(70 / 8))
threads = grid[0] * grid[1] * 32 * 8
tile = (32 + 2 * (7 // 2)) ** 2
counts = dict(zip((
    "threads launched", "idle threads", "sectors, along a row", "sectors, down a column",
    "global loads per output, tiled", "bytes of a tile"), (
    threads, threads - 70 * 100, 32 * 4 / 32, 32, tile / (32 * 32), tile * 4)))
''')
wrong("a6-counts", "halo on one side", "a tile of 35×35", r'''
counts = {
    "threads launched": 9216,
    "idle threads": 2216,
    "sectors, along a row": 4,
    "sectors, down a column": 32,
    "global loads per output, tiled": 35 ** 2 / 32 ** 2,
    "bytes of a tile": 35 ** 2 * 4,
}
''')
wrong("a6-counts", "one transaction a row", "128 bytes taken for one sector", r'''
counts = {
    "threads launched": 4 * 9 * 256,
    "idle threads": 4 * 9 * 256 - 7000,
    "sectors, along a row": 1,
    "sectors, down a column": 32,
    "global loads per output, tiled": 38 ** 2 / 32 ** 2,
    "bytes of a tile": 38 ** 2 * 4,
}
''')
right("a6-tiled", "two nested strided loops, padded rows", "the tile's rows are one word longer than needed, the guard only around the store", r'''
tiled_source = r"""
__constant__ float filter[15 * 15];

template <int K, int TILE>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    enum { R = K / 2, S = TILE + 2 * R };
    __shared__ float tile[S][S + 1];
    const int tx = threadIdx.x, ty = threadIdx.y;
    const int x0 = (int)blockIdx.x * TILE, y0 = (int)blockIdx.y * TILE;
    for (int y = ty; y < S; y += TILE) {
        const int from = max(0, min(h - 1, y0 + y - R)) * w;
        for (int x = tx; x < S; x += TILE) tile[y][x] = in[from + max(0, min(w - 1, x0 + x - R))];
    }
    __syncthreads();
    float sum = 0.0f;
    #pragma unroll
    for (int t = 0; t < K * K; ++t) sum += filter[t] * tile[ty + t / K][tx + t % K];
    if (x0 + tx < w && y0 + ty < h) out[(y0 + ty) * w + x0 + tx] = sum;
}
"""
''')
wrong("a6-tiled", "one pixel a thread", "loads the TILE × TILE pixels only and takes the halo from global memory", r'''
tiled_source = r"""
__constant__ float filter[15 * 15];

template <int K, int TILE>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    __shared__ float tile[TILE][TILE];
    int tx = threadIdx.x, ty = threadIdx.y;
    int col = (int)blockIdx.x * TILE + tx, row = (int)blockIdx.y * TILE + ty;
    tile[ty][tx] = in[min(row, h - 1) * w + min(col, w - 1)];
    __syncthreads();
    if (row >= h || col >= w) return;
    float sum = 0;
    for (int j = 0; j < K; ++j)
        for (int i = 0; i < K; ++i) {
            int y = ty + j - K / 2, x = tx + i - K / 2;
            float v;
            if (y >= 0 && y < TILE && x >= 0 && x < TILE)
                v = tile[y][x];
            else
                v = in[min(max(row + j - K / 2, 0), h - 1) * w + min(max(col + i - K / 2, 0), w - 1)];
            sum += filter[j * K + i] * v;
        }
    out[row * w + col] = sum;
}
"""
''', )
wrong("a6-tiled", "halo of one side", "a tile of TILE + K/2: reads past the end of the array", r'''
tiled_source = r"""
__constant__ float filter[15 * 15];

template <int K, int TILE>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    constexpr int S = TILE + K / 2;
    __shared__ float tile[S][S];
    int x0 = (int)blockIdx.x * TILE, y0 = (int)blockIdx.y * TILE;
    for (int y = threadIdx.y; y < S; y += TILE)
        for (int x = threadIdx.x; x < S; x += TILE)
            tile[y][x] = in[min(max(y0 + y - K / 2, 0), h - 1) * w + min(max(x0 + x - K / 2, 0), w - 1)];
    __syncthreads();
    int row = y0 + threadIdx.y, col = x0 + threadIdx.x;
    if (row >= h || col >= w) return;
    float sum = 0;
    for (int j = 0; j < K; ++j)
        for (int i = 0; i < K; ++i) sum += filter[j * K + i] * tile[threadIdx.y + j][threadIdx.x + i];
    out[row * w + col] = sum;
}
"""
''')
wrong("a6-tiled", "every thread loads everything", "each thread loads the whole tile: a race of equal values, and far too many loads", r'''
tiled_source = r"""
__constant__ float filter[15 * 15];

template <int K, int TILE>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    constexpr int S = TILE + K - 1;
    __shared__ float tile[S][S];
    int x0 = (int)blockIdx.x * TILE, y0 = (int)blockIdx.y * TILE;
    for (int y = 0; y < S; y++)
        for (int x = 0; x < S; x++)
            tile[y][x] = in[min(max(y0 + y - K / 2, 0), h - 1) * w + min(max(x0 + x - K / 2, 0), w - 1)];
    __syncthreads();
    int row = y0 + threadIdx.y, col = x0 + threadIdx.x;
    if (row >= h || col >= w) return;
    float sum = 0;
    for (int j = 0; j < K; ++j)
        for (int i = 0; i < K; ++i) sum += filter[j * K + i] * tile[threadIdx.y + j][threadIdx.x + i];
    out[row * w + col] = sum;
}
"""
''')
right("a6-coarsened", "a column of registers", "for each column of taps the ROWS + K - 1 words are read into registers, then used", r'''
coarsened_source = r"""
__constant__ float filter[15 * 15];

template <int K, int WIDTH, int STRIPS, int ROWS>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    constexpr int R = K / 2, SW = WIDTH + 2 * R, SH = STRIPS * ROWS + 2 * R;
    __shared__ float tile[SH][SW];
    const int x0 = (int)blockIdx.x * WIDTH, y0 = (int)blockIdx.y * STRIPS * ROWS;
    for (int y = threadIdx.y; y < SH; y += STRIPS)
        for (int x = threadIdx.x; x < SW; x += WIDTH)
            tile[y][x] = in[min(max(y0 + y - R, 0), h - 1) * w + min(max(x0 + x - R, 0), w - 1)];
    __syncthreads();

    float sum[ROWS];
    #pragma unroll
    for (int r = 0; r < ROWS; r++) sum[r] = 0;
    const int base = threadIdx.y * ROWS;
    #pragma unroll
    for (int i = 0; i < K; i++) {
        float column[ROWS + K - 1];
        #pragma unroll
        for (int y = 0; y < ROWS + K - 1; y++) column[y] = tile[base + y][threadIdx.x + i];
        #pragma unroll
        for (int j = 0; j < K; j++) {
            const float tap = filter[j * K + i];
            #pragma unroll
            for (int r = 0; r < ROWS; r++) sum[r] += tap * column[r + j];
        }
    }
    const int col = x0 + threadIdx.x;
    if (col >= w) return;
    #pragma unroll
    for (int r = 0; r < ROWS; r++)
        if (y0 + base + r < h) out[(y0 + base + r) * w + col] = sum[r];
}
"""
''')
wrong("a6-coarsened", "no guard on the rows", "the guard looks at the first row only: writes below the image", r'''
coarsened_source = r"""
__constant__ float filter[15 * 15];

template <int K, int WIDTH, int STRIPS, int ROWS>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    constexpr int R = K / 2, SW = WIDTH + 2 * R, SH = STRIPS * ROWS + 2 * R;
    __shared__ float tile[SH][SW];
    const int x0 = (int)blockIdx.x * WIDTH, y0 = (int)blockIdx.y * STRIPS * ROWS;
    for (int y = threadIdx.y; y < SH; y += STRIPS)
        for (int x = threadIdx.x; x < SW; x += WIDTH)
            tile[y][x] = in[min(max(y0 + y - R, 0), h - 1) * w + min(max(x0 + x - R, 0), w - 1)];
    __syncthreads();
    const int base = threadIdx.y * ROWS, col = x0 + threadIdx.x;
    if (y0 + base >= h || col >= w) return;
    float sum[ROWS] = {};
    #pragma unroll
    for (int y = 0; y < ROWS + K - 1; y++)
        #pragma unroll
        for (int i = 0; i < K; i++) {
            const float v = tile[base + y][threadIdx.x + i];
            #pragma unroll
            for (int r = 0; r < ROWS; r++)
                if (y - r >= 0 && y - r < K) sum[r] += filter[(y - r) * K + i] * v;
        }
    #pragma unroll
    for (int r = 0; r < ROWS; r++) out[(y0 + base + r) * w + col] = sum[r];
}
"""
''')
wrong("a6-coarsened", "straight from global memory", "registers are filled from global memory, without a tile", r'''
coarsened_source = r"""
__constant__ float filter[15 * 15];

template <int K, int WIDTH, int STRIPS, int ROWS>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    const int col = (int)blockIdx.x * WIDTH + threadIdx.x;
    const int first = ((int)blockIdx.y * STRIPS + threadIdx.y) * ROWS;
    if (col >= w || first >= h) return;
    float sum[ROWS] = {};
    #pragma unroll
    for (int y = 0; y < ROWS + K - 1; y++)
        #pragma unroll
        for (int i = 0; i < K; i++) {
            const float v = in[min(max(first + y - K / 2, 0), h - 1) * w + min(max(col + i - K / 2, 0), w - 1)];
            #pragma unroll
            for (int r = 0; r < ROWS; r++)
                if (y - r >= 0 && y - r < K) sum[r] += filter[(y - r) * K + i] * v;
        }
    for (int r = 0; r < ROWS; r++)
        if (first + r < h) out[(first + r) * w + col] = sum[r];
}
"""
''')

# ---------------------------------------------------------------- a7

right("a7-baseline", "Counter", "collections.Counter.most_common", r'''
from collections import Counter


def baseline(labels):
    (_, count), = Counter(labels.tolist()).most_common(1)
    return count / labels.numel()
''')
right("a7-baseline", "mode", "torch.mode and a mean", r'''
def baseline(labels):
    return labels.eq(labels.mode().values).double().mean()
''')
wrong("a7-baseline", "the count", "the number of images, not their share", r'''
def baseline(labels):
    return torch.bincount(labels).max().item()
''')
wrong("a7-baseline", "the class itself", "returns the most frequent class", r'''
def baseline(labels):
    return labels.mode().values.item()
''')
wrong("a7-baseline", "guessing in proportion", "the sum of squared shares: accuracy of drawing labels at random", r'''
def baseline(labels):
    shares = torch.bincount(labels) / len(labels)
    return (shares ** 2).sum().item()
''')
right("a7-few", "cumulative counts", "one-hot and cumsum: rank of each image within its class, no loop", r'''
def few(labels, each):
    member = labels[:, None] == labels.unique()[None]
    rank = (member.cumsum(0) * member).sum(1)
    return torch.nonzero(rank <= each, as_tuple=True)[0]
''')
right("a7-few", "defaultdict", "counts while walking, torch.tensor of a list", r'''
from collections import defaultdict


def few(labels, each):
    taken, chosen = defaultdict(int), []
    for index, label in enumerate(labels.tolist()):
        taken[label] += 1
        if taken[label] <= each:
            chosen.append(index)
    return torch.tensor(chosen, dtype=torch.long)
''')
wrong("a7-few", "a mask", "a boolean mask instead of indices", r'''
def few(labels, each):
    keep = torch.zeros(len(labels), dtype=torch.bool)
    for c in labels.unique():
        keep[(labels == c).nonzero().flatten()[:each]] = True
    return keep
''')
wrong("a7-few", "random images", "randperm: any images of each class, not the first", r'''
def few(labels, each):
    parts = []
    for c in labels.unique():
        mine = torch.where(labels == c)[0]
        parts.append(mine[torch.randperm(len(mine))[:each]])
    return torch.cat(parts).sort().values
''')
wrong("a7-few", "classes 0 to k", "range(len(unique)): a class whose number is missing in between is lost", r'''
def few(labels, each):
    k = len(labels.unique())
    parts = [(labels == c).nonzero().flatten()[:each] for c in range(k)]
    return torch.cat(parts).sort().values
''')
right("a7-head", "subclass-free setattr", "a helper make_head with an early return, setattr", r'''
def make_head(inputs, hidden, classes):
    if hidden == 0:
        return nn.Linear(inputs, classes)
    from collections import OrderedDict
    return nn.Sequential(OrderedDict([
        ("lift", nn.Linear(inputs, hidden)), ("act", nn.ReLU(inplace=True)), ("score", nn.Linear(hidden, classes))]))


def adapted(width, classes, hidden=0):
    network = Trunk(width)
    setattr(network, "fc", make_head(network.fc.weight.shape[1], hidden, classes))
    return network
''')
wrong("a7-head", "always a Sequential", "hidden=0 gives nn.Sequential(nn.Linear); ambiguous: 'a linear layer to `classes` scores', which it computes, but is not", r'''
def adapted(width, classes, hidden=0):
    net = Trunk(width)
    layers = [nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, classes)] if hidden else [nn.Linear(width, classes)]
    net.fc = nn.Sequential(*layers)
    return net
''', ambiguous=True)
wrong("a7-head", "no ReLU", "two linear layers without a ReLU between them", r'''
def adapted(width, classes, hidden=0):
    net = Trunk(width)
    net.fc = nn.Linear(width, classes) if hidden == 0 else nn.Sequential(nn.Linear(width, hidden), nn.Linear(hidden, classes))
    return net
''')
wrong("a7-head", "a new attribute", "the new head is self.head: fc still makes eight scores", r'''
def adapted(width, classes, hidden=0):
    net = Trunk(width)
    if hidden > 0:
        net.head = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, classes))
    else:
        net.head = nn.Linear(width, classes)
    return net
''')
wrong("a7-head", "layers outside of the head", "the layers live in a closure: fc has no parameters, the optimizer will not find any", r'''
def adapted(width, classes, hidden=0):
    net = Trunk(width)
    first, second = nn.Linear(width, hidden or classes), nn.Linear(hidden or classes, classes)

    class Head(nn.Module):
        def forward(self, x):
            return second(F.relu(first(x))) if hidden else first(x)

    net.fc = Head()
    return net
''')
right("a7-freeze", "prefixes", "startswith on the names of the frozen units", r'''
UNITS = (("conv1.", "bn1."), ("layer1.",), ("layer2.",), ("layer3.",), ("fc.",))


def trained(trainable, classes):
    network = load_trunk("patterns", classes)
    frozen = sum(UNITS[:5 - trainable], ())
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
    alive = [(n, p.numel()) for n, p in network.named_parameters() if p.requires_grad]
    names, sizes = map(list, zip(*alive))
    return names, sum(sizes)
''')
wrong("a7-freeze", "counts tensors", "the number of parameter tensors, not of values", r'''
def trained(trainable, classes):
    net = load_trunk("patterns", classes)
    units = [["conv1", "bn1"], ["layer1"], ["layer2"], ["layer3"], ["fc"]]
    keep = [name for unit in units[5 - trainable:] for name in unit]
    names = []
    for name, p in net.named_parameters():
        if name.split(".")[0] in keep:
            names.append(name)
        else:
            p.requires_grad_(False)
    return names, len(names)
''')
wrong("a7-freeze", "substrings", "looks for the units' names anywhere in a parameter's: conv1 and bn1 are found in every block", r'''
def trained(trainable, classes):
    net = load_trunk("patterns", classes)
    units = [["conv1", "bn1"], ["layer1"], ["layer2"], ["layer3"], ["fc"]]
    frozen = [name for unit in units[:5 - trainable] for name in unit]
    names, count = [], 0
    for name, p in net.named_parameters():
        if any(f in name for f in frozen):
            p.requires_grad = False
        else:
            names.append(name)
            count += p.numel()
    return names, count
''')
right("a7-frozen-norm", "overridden train of a subclass", "a Sequential subclass that refuses training mode", r'''
class Asleep(nn.Sequential):
    def train(self, mode=True):
        return super().train(False)


class FrozenTrunk(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.trunk = Asleep(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.trunk.train()
        for parameter in self.trunk.parameters():
            parameter.requires_grad = False
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)

    def train(self, mode=True):
        super().train(mode)
        return self

    def forward(self, x):
        return self.head(self.norm(self.trunk(x).flatten(2).mean(-1)))
''')
right("a7-frozen-norm", "no_grad around the frozen trunk", "the trunk runs under no_grad, its batch norm alone is put to sleep", r'''
class FrozenTrunk(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        for p in self.trunk.parameters():
            p.requires_grad_(False)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)
        self.trunk[1].eval()

    def train(self, mode=True):
        super().train(mode)
        for module in self.trunk.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.training = False
        return self

    def forward(self, x):
        with torch.no_grad():
            features = self.trunk(x).mean(dim=(2, 3))
        return self.head(self.norm(features))
''')
wrong("a7-frozen-norm", "in the constructor only", "trunk.eval() in __init__; train() puts it back into training mode", r'''
class FrozenTrunk(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.trunk.requires_grad_(False)
        self.trunk.eval()
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)

    def train(self, mode=True):
        super().train(mode)
        return self

    def forward(self, x):
        return self.head(self.norm(self.trunk(x).mean((2, 3))))
''')
wrong("a7-frozen-norm", "all frozen", "self.requires_grad_(False) at the end: the head does not learn either", r'''
class FrozenTrunk(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)
        self.requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        self.trunk.eval()
        return self

    def forward(self, x):
        return self.head(self.norm(self.trunk(x).mean((2, 3))))
''')
wrong("a7-frozen-norm", "not track_running_stats", "the trunk's norm has no running statistics: it uses the batch's in every mode", r'''
class FrozenTrunk(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
                                   nn.BatchNorm2d(width, track_running_stats=False), nn.ReLU())
        self.trunk.requires_grad_(False)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)

    def train(self, mode=True):
        super().train(mode)
        self.trunk.eval()
        return self

    def forward(self, x):
        return self.head(self.norm(self.trunk(x).mean((2, 3))))
''')
wrong("a7-frozen-norm", "self.eval()", "train() puts the whole network into evaluation mode, the head's norm too", r'''
class FrozenTrunk(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.trunk.requires_grad_(False)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)

    def train(self, mode=True):
        super().train(mode)
        for child in self.children():
            child.eval()
        return self

    def forward(self, x):
        return self.head(self.norm(self.trunk(x).mean((2, 3))))
''')
right("a7-rates", "accumulate", "itertools.accumulate from the head down, reversed, then zeros", r'''
from itertools import accumulate, repeat


def rates(units, learning_rate, decay, frozen=0):
    down = list(accumulate(repeat(decay, units - 1), lambda rate, d: rate * d, initial=learning_rate))
    up = down[::-1]
    up[:frozen] = [0] * frozen
    return up
''')
wrong("a7-rates", "decays upwards", "the lowest trained unit has the full rate and the head the smallest", r'''
def rates(units, learning_rate, decay, frozen=0):
    live = [learning_rate * decay ** i for i in range(units - frozen)]
    return [0] * frozen + live
''')
wrong("a7-rates", "divides", "lower units get larger rates", r'''
def rates(units, learning_rate, decay, frozen=0):
    return [0 if i < frozen else learning_rate / decay ** (units - 1 - i) for i in range(units)]
''')
wrong("a7-rates", "frozen left out", "returns rates for the trained units only", r'''
def rates(units, learning_rate, decay, frozen=0):
    return [learning_rate * decay ** (units - 1 - i) for i in range(frozen, units)]
''')
right("a7-features", "layer by layer", "calls the layers up to the pool, inference in chunks of 64", r'''
def features(images, trunk):
    net = load_trunk(trunk)
    net.train(False)
    body = nn.Sequential(*list(net.children())[:-1], nn.Flatten(1))
    with torch.no_grad():
        return torch.cat([body(part) for part in images.split(64)])
''')
right("a7-features", "fc as Identity, detach", "evaluation mode, Identity, detached afterwards", r'''
def features(images, trunk):
    network = load_trunk(trunk)
    network.fc = nn.Identity()
    network.eval()
    network.requires_grad_(False)
    return network(images).detach()
''')
wrong("a7-features", "the scores", "returns what leaves the head", r'''
@torch.no_grad()
def features(images, trunk):
    return load_trunk(trunk).eval()(images)
''')
wrong("a7-features", "maximum for mean", "64 numbers an image, but the maximum of each map in the place of the average pool", r'''
@torch.no_grad()
def features(images, trunk):
    net = load_trunk(trunk).eval()
    x = net.conv1(images)
    x = net.bn1(x).relu()
    x = net.layer3(net.layer2(net.layer1(x)))
    return x.amax(dim=(2, 3))
''')
right("a7-nearest-mean", "expanded square", "‖q - m‖² = ‖q‖² - 2 q·m + ‖m‖², in double; index_add for the means", r'''
def nearest_mean(features, labels, queries):
    classes = int(labels.max()) + 1
    f, q = features.double(), queries.double()
    sums = torch.zeros(classes, f.shape[1], dtype=f.dtype).index_add(0, labels, f)
    means = sums / torch.bincount(labels, minlength=classes)[:, None]
    return (means.pow(2).sum(1) - 2 * q @ means.T).argmin(1)
''')
right("a7-nearest-mean", "scikit-learn's NearestCentroid", "a library's classifier, turned back to a tensor", r'''
from sklearn.neighbors import NearestCentroid


def nearest_mean(features, labels, queries):
    if labels.max() == 0:
        return torch.zeros(len(queries), dtype=torch.long)
    model = NearestCentroid().fit(features.numpy(), labels.numpy())
    return torch.from_numpy(model.predict(queries.numpy())).long()
''')
wrong("a7-nearest-mean", "largest dot product", "scores by q·m alone", r'''
def nearest_mean(features, labels, queries):
    means = torch.stack([features[labels == c].mean(0) for c in range(int(labels.max()) + 1)])
    return (queries @ means.T).argmax(1)
''')
wrong("a7-nearest-mean", "Manhattan", "p=1", r'''
def nearest_mean(features, labels, queries):
    means = torch.stack([features[labels == c].mean(dim=0) for c in labels.unique()])
    return torch.cdist(queries, means, p=1).argmin(1)
''')
wrong("a7-nearest-mean", "median", "the median of the features instead of their mean", r'''
def nearest_mean(features, labels, queries):
    centres = torch.stack([features[labels == c].median(dim=0).values for c in range(int(labels.max()) + 1)])
    return torch.cdist(queries, centres).argmin(1)
''')
right("a7-train", "linear probe on shifted features", "features of shifted copies, a ridge-like linear probe by LBFGS, fused for predict", r'''
SHAPES = ("ell", "crescent", "star", "tee", "twins", "wedge")
train = patterns("train", 90, 16, classes=SHAPES, seed=7)
torch.manual_seed(0)


class Probe:
    def __init__(self, trunk):
        self.trunk = load_trunk(trunk).eval()
        self.trunk.fc = nn.Identity()
        self.head = nn.Linear(64, 6)

    def features(self, images):
        with torch.no_grad():
            return self.trunk(images)

    def fit(self, images, labels):
        moves = [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)]
        x = torch.cat([self.features(torch.roll(images, move, (2, 3))) for move in moves])
        y = labels.repeat(len(moves))
        self.mean, self.std = x.mean(0), x.std(0) + 1e-3
        x = (x - self.mean) / self.std
        optimizer = torch.optim.LBFGS(self.head.parameters(), max_iter=60)

        def closure():
            optimizer.zero_grad()
            loss = F.cross_entropy(self.head(x), y) + 0.01 * self.head.weight.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return self

    def __call__(self, images):
        with torch.no_grad():
            return self.head((self.features(images) - self.mean) / self.std)


probe = Probe("patterns").fit(train.images, train.labels)


def predict(images):
    return probe(images).argmax(dim=1)
''')
wrong("a7-train", "a probe on the other trunk", "the trunk of digits: far from 92 %", r'''
SHAPES = ("ell", "crescent", "star", "tee", "twins", "wedge")
train = patterns("train", 90, 16, classes=SHAPES, seed=7)
torch.manual_seed(0)
trunk = load_trunk("digits").eval()
trunk.fc = nn.Identity()
with torch.no_grad():
    x = trunk(train.images)
head = nn.Linear(64, 6)
optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
for _ in range(100):
    optimizer.zero_grad()
    F.cross_entropy(head(x), train.labels).backward()
    optimizer.step()


def predict(images):
    with torch.no_grad():
        return head(trunk(images)).argmax(1)
''')
wrong("a7-train", "nearest neighbour on pixels", "no trunk, no training", r'''
SHAPES = ("ell", "crescent", "star", "tee", "twins", "wedge")
train = patterns("train", 90, 16, classes=SHAPES, seed=7)


def predict(images):
    return train.labels[torch.cdist(images.flatten(1), train.images.flatten(1)).argmin(1)]
''')
wrong("a7-train", "from scratch", "a convolutional network without a trunk: 90 images are too few", r'''
SHAPES = ("ell", "crescent", "star", "tee", "twins", "wedge")
train = patterns("train", 90, 16, classes=SHAPES, seed=7)
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
                    nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 6))
optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
for _ in range(20):
    for batch in torch.randperm(90).split(30):
        optimizer.zero_grad()
        F.cross_entropy(net(train.images[batch]), train.labels[batch]).backward()
        optimizer.step()


def predict(images):
    return net(images).argmax(1)
''')

# ---------------------------------------------------------------- more of the over-clever

right("a1-edges", "complex kernel", "S + i·Sᵀ slides at once, the strength is the absolute value", r'''
import torch.nn.functional as F


def edge_strength(photo):
    s = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    grey = torch.einsum("chw->hw", photo) / photo.shape[0]
    both = torch.complex(s, s.T.contiguous())
    return F.conv2d(grey.to(both.dtype)[None, None], both[None, None])[0, 0].abs()
''')
right("a1-channels", "im2col in NumPy", "columns of all windows, one matrix product with the flattened filters", r'''
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def conv_layer(image, filters, bias):
    n, c, h, w = filters.shape
    view = sliding_window_view(image.detach().numpy(), (c, h, w))[0]
    columns = view.reshape(view.shape[0] * view.shape[1], -1)
    maps = filters.detach().numpy().reshape(n, -1) @ columns.T + bias.detach().numpy()[:, None]
    return torch.from_numpy(np.ascontiguousarray(maps)).reshape(n, *view.shape[:2])
''')
right("a1-loops", "one while loop", "one while loop over a flat index", r'''
def window_response(image, kernel, row, col):
    return (image[row:][:kernel.size(0), col:][:, :kernel.size(1)] * kernel).sum()


def conv2d_loops(image, kernel):
    rows, cols = (n - k + 1 for n, k in zip(image.size(), kernel.size()))
    out, place = torch.empty(rows * cols, dtype=image.dtype), 0
    while place < rows * cols:
        out[place] = window_response(image, kernel, place // cols, place % cols)
        place += 1
    return out.view(rows, cols)
''')
right("a3-lenet", "lazy layers and a dry run", "nn.LazyLinear, made real by a forward pass in the constructor", r'''
class LeNet16(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.LazyConv2d(6, 5, padding=2)
        self.conv2 = nn.LazyConv2d(12, 3)
        self.fc1 = nn.LazyLinear(40)
        self.fc2 = nn.LazyLinear(classes)
        with torch.no_grad():
            self(torch.zeros(1, 1, 16, 16))

    def forward(self, x):
        pool = lambda maps: maps.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).mean(dim=(-3, -1))
        x = pool(torch.tanh(self.conv1(x)))
        x = pool(torch.tanh(self.conv2(x)))
        return self.fc2(torch.tanh(self.fc1(x.flatten(start_dim=1))))
''')
right("a3-alexnet-block", "a subclass of Sequential", "nn.Sequential of an OrderedDict: forward is inherited", r'''
from collections import OrderedDict


class AlexBlock(nn.Sequential):
    def __init__(self, in_channels, out_channels, kernel_size, groups):
        super().__init__(OrderedDict(
            conv=nn.Conv2d(in_channels, out_channels, kernel_size, stride=1, padding="same", groups=groups, bias=True),
            relu=nn.ReLU(inplace=True),
            pool=nn.MaxPool2d(kernel_size=3, stride=2),
        ))
''')
right("a3-vgg-block", "pool before the last ReLU", "a maximum and a ReLU may be exchanged: the last ReLU works on a quarter of the pixels", r'''
class VGGBlock(nn.Module):
    def __init__(self, in_channels, out_channels, convs, last_kernel_size=3):
        super().__init__()

        def conv(i):
            k = last_kernel_size if i + 1 == convs else 3
            return nn.Conv2d(out_channels if i > 0 else in_channels, out_channels, k, padding=k // 2)

        self.convs = nn.ModuleList(map(conv, range(convs)))

    def forward(self, x):
        *lower, last = self.convs
        for layer in lower:
            x = layer(x).relu()
        return F.max_pool2d(last(x), 2).relu()
''')
right("a4-mlpconv", "1×1 layers by einsum", "the first convolution by F.conv2d, the others as matrices", r'''
class MLPConv(nn.Module):
    def __init__(self, in_channels, widths, kernel_size, final=False):
        super().__init__()
        first, *rest = widths
        self.convs = nn.ModuleList([nn.Conv2d(in_channels, first, kernel_size, padding="same")])
        for width in rest:
            self.convs.append(nn.Conv2d(self.convs[-1].out_channels, width, (1, 1)))
        self.rectified = len(widths) - bool(final)

    def forward(self, x):
        for number, conv in enumerate(self.convs, start=1):
            if number == 1:
                x = F.conv2d(x, conv.weight, conv.bias, padding=conv.weight.shape[-1] // 2)
            else:
                x = torch.einsum("nchw,oc->nohw", x, conv.weight[..., 0, 0]) + conv.bias.view(1, -1, 1, 1)
            if number <= self.rectified:
                x = F.relu(x)
        return x
''')
right("a4-inception", "three 1×1 in one", "the weights of the three first 1×1 layers are laid together for one convolution, then split", r'''
class CrossInception(nn.Module):
    def __init__(self, in_channels, one, reduce, three, cross, pool):
        super().__init__()
        self.one = nn.Conv2d(in_channels, one, 1)
        self.three_reduce = nn.Conv2d(in_channels, reduce, 1)
        self.three = nn.Conv2d(reduce, three, 3, padding=1)
        self.cross_reduce = nn.Conv2d(in_channels, reduce, 1)
        self.row = nn.Conv2d(reduce, cross, (1, 5), padding=(0, 2))
        self.column = nn.Conv2d(cross, cross, (5, 1), padding=(2, 0))
        self.pool = nn.Conv2d(in_channels, pool, 1)

    def forward(self, x):
        heads = self.one, self.three_reduce, self.cross_reduce
        joint = F.conv2d(x, torch.cat([h.weight for h in heads]), torch.cat([h.bias for h in heads])).relu()
        a, b, c = joint.split([h.out_channels for h in heads], dim=1)
        b = self.three(b).relu()
        c = self.column(self.row(c).relu()).relu()
        d = self.pool(F.max_pool2d(x, kernel_size=3, stride=1, padding=1)).relu()
        return torch.cat((a, b, c, d), dim=1)
''')
right("a4-auxiliary", "a NamedTuple of scores", "the pair is a NamedTuple, which is a pair", r'''
from typing import NamedTuple


class Scores(NamedTuple):
    main: torch.Tensor
    aux: torch.Tensor


class TwoHeads(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, padding="same")
        self.body = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.main = nn.Linear(2 * width, classes)
        self.aux = nn.Linear(4 * width, classes)

    def forward(self, x):
        low = F.relu(self.stem(x))
        main = self.main(F.relu(self.body(low)).flatten(2).mean(2))
        return Scores(main, self.aux(F.adaptive_avg_pool2d(low, 2).flatten(1))) if self.training else main
''')
right("a4-concatenated", "reduce over linear maps", "channels to the back, F.linear a branch, reduce(torch.add)", r'''
from functools import reduce


def convolve_branches(maps, weight, bias):
    columns = iter(weight.unbind(dim=1))

    def take(n):
        return [next(columns) for _ in range(n)]

    def response(m):
        return reduce(torch.add, (m[:, c, None] * w[:, None, None] for c, w in enumerate(take(m.shape[1]))))

    return reduce(torch.add, map(response, maps)) + bias[:, None, None]
''')
right("a4-loss", "modules of the loss", "nn.LogSoftmax and nn.NLLLoss, sum over zip", r'''
nll, log_softmax = nn.NLLLoss(), nn.LogSoftmax(dim=1)


def loss_of_both(main, aux, labels, weight=0.3):
    return sum(w * nll(log_softmax(scores), labels) for w, scores in zip((1.0, weight), (main, aux)))
''')
right("a5-basic", "batch norm by hand", "mean and variance of the batch and the running ones written out, under the norms' names", r'''
class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.stride, self.extra = stride, out_channels - in_channels

    @staticmethod
    def norm(bn, x):
        if bn.training:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
            n = x.numel() / x.shape[1]
            with torch.no_grad():
                bn.running_mean.lerp_(mean, bn.momentum)
                bn.running_var.lerp_(var * n / (n - 1), bn.momentum)
                bn.num_batches_tracked += 1
        else:
            mean, var = bn.running_mean, bn.running_var
        scale = bn.weight * (var + bn.eps).rsqrt()
        return x * scale[:, None, None] + (bn.bias - mean * scale)[:, None, None]

    def forward(self, x):
        out = self.norm(self.bn1, self.conv1(x)).relu()
        out = self.norm(self.bn2, self.conv2(out))
        return (out + F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, 0, self.extra))).relu()
''')
right("a5-bottleneck", "pool by windows, in-place sums", "the average of unfolded windows; out += identity; in-place ReLUs", r'''
class Bottleneck(nn.Module):
    def __init__(self, in_channels, width, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.stride = stride
        self.projection = self.projection_bn = None
        if stride != 1 or in_channels != out_channels:
            self.projection = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)
            self.projection_bn = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.projection is not None:
            s = self.stride
            identity = self.projection_bn(self.projection(x.unfold(2, s, s).unfold(3, s, s).mean((-1, -2))))
        out += identity
        return self.relu(out)
''')
right("a5-preactivation", "two shared Sequentials", "pre and branch as Sequentials of the named parts; gain multiplies from the right", r'''
class PreActivation(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.gain = nn.Parameter(torch.zeros(1))
        self.pre = nn.Sequential(self.bn1, nn.ReLU(inplace=True))
        self.branch = nn.Sequential(self.conv1, self.bn2, nn.ReLU(inplace=True), self.conv2)
        self.changes = stride != 1 or in_channels != out_channels
        if self.changes:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x):
        active = self.pre(x)
        out = self.branch(active) * self.gain
        out += self.projection(active) if self.changes else x
        return out
''')
right("a5-dense", "a prepared buffer", "writes the new maps into one tensor, reading clones, so that the backward pass stays whole", r'''
class DenseBlock(nn.Module):
    def __init__(self, in_channels, growth, layers):
        super().__init__()
        self.at = [in_channels + i * growth for i in range(layers + 1)]
        self.bns = nn.ModuleList([nn.BatchNorm2d(c) for c in self.at[:-1]])
        self.convs = nn.ModuleList([nn.Conv2d(c, growth, 3, padding=1, bias=False) for c in self.at[:-1]])

    def forward(self, x):
        n, c, h, w = x.shape
        out = x.new_zeros(n, self.at[-1], h, w)
        out[:, :c] = x
        for i, (bn, conv) in enumerate(zip(self.bns, self.convs)):
            out[:, self.at[i]:self.at[i + 1]] = conv(bn(out[:, :self.at[i]].clone()).relu())
        return out
''')
wrong("a5-dense", "a buffer without clones", "writes into the tensor that the norms saved: the backward pass raises an error", r'''
class DenseBlock(nn.Module):
    def __init__(self, in_channels, growth, layers):
        super().__init__()
        self.at = [in_channels + i * growth for i in range(layers + 1)]
        self.bns = nn.ModuleList([nn.BatchNorm2d(c) for c in self.at[:-1]])
        self.convs = nn.ModuleList([nn.Conv2d(c, growth, 3, padding=1, bias=False) for c in self.at[:-1]])

    def forward(self, x):
        n, c, h, w = x.shape
        out = x.new_zeros(n, self.at[-1], h, w)
        out[:, :c] = x
        for i, (bn, conv) in enumerate(zip(self.bns, self.convs)):
            out[:, self.at[i]:self.at[i + 1]] = conv(bn(out[:, :self.at[i]]).relu())
        return out
''')
right("a5-squeeze-excite", "image by image", "a list comprehension over the images of the batch", r'''
class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.down = nn.Linear(channels, channels // reduction)
        self.up = nn.Linear(channels // reduction, channels)

    def gate(self, means):
        z = F.linear(F.linear(means, self.down.weight, self.down.bias).relu(), self.up.weight, self.up.bias)
        return 2 / (1 + torch.exp(-z))

    def forward(self, x):
        return torch.stack([image * self.gate(image.mean((1, 2)))[:, None, None] for image in x])
''')
right("a5-deep", "a ModuleList that can be called", "a subclass of nn.ModuleList with a forward", r'''
class Stack(nn.ModuleList):
    residual = False

    def forward(self, x):
        for layer in self:
            y = F.relu(layer(x), inplace=True)
            x = torch.add(x, y) if self.residual else y
        return x


class DeepNet(nn.Module):
    def __init__(self, depth, width, residual):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding="same")
        self.layers = Stack(nn.Conv2d(width, width, 3, padding="same") for _ in range(depth))
        self.layers.residual = residual
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        maps = self.layers(self.stem(x).relu())
        return self.head(F.adaptive_avg_pool2d(maps, 1).flatten(1))
''')
right("a6-mirror", "restrict and a bool", "__restrict__ pointers, the guard kept in a bool, the source index computed once", r'''
mirror_source = r"""
__global__ void mirror(const float* __restrict__ in, float* __restrict__ out, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    bool inside = row < h && col < w;
    if (inside) {
        int start = row * w, other = start + w - 1 - col;
        float value = in[other];
        out[start + col] = value;
    }
}
"""
''')
right("a6-tiled", "2D tile, halo by four loads", "each thread loads up to four pixels, one a quadrant, with a loop over offsets of TILE", r'''
tiled_source = r"""
__constant__ float filter[15 * 15];

__device__ inline float nearest(const float* in, int y, int x, int h, int w) {
    y = y < 0 ? 0 : y > h - 1 ? h - 1 : y;
    x = x < 0 ? 0 : x > w - 1 ? w - 1 : x;
    return in[y * w + x];
}

template <int K, int TILE>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    constexpr int halo = K / 2;
    constexpr int edge = TILE + 2 * halo;
    __shared__ float tile[edge][edge];
    const int left = static_cast<int>(blockIdx.x) * TILE - halo;
    const int top = static_cast<int>(blockIdx.y) * TILE - halo;
    for (int dy = 0; dy < edge; dy += TILE)
        for (int dx = 0; dx < edge; dx += TILE) {
            const int y = threadIdx.y + dy, x = threadIdx.x + dx;
            if (y < edge && x < edge) tile[y][x] = nearest(in, top + y, left + x, h, w);
        }
    __syncthreads();
    const int col = left + halo + threadIdx.x, row = top + halo + threadIdx.y;
    if (col < w && row < h) {
        float total = 0.0f;
        const float* tap = filter;
        for (int j = 0; j < K; ++j)
            for (int i = 0; i < K; ++i) total += *tap++ * tile[threadIdx.y + j][threadIdx.x + i];
        out[row * w + col] = total;
    }
}
"""
''')
right("a7-frozen-norm", "functional norm in forward", "train() sets nothing: forward itself normalizes with the running statistics, whatever the mode", r'''
class FrozenTrunk(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        for p in self.trunk.parameters():
            p.requires_grad = False
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)

    def train(self, mode=True):
        super().train(mode)
        return self

    def forward(self, x):
        conv, bn, relu = self.trunk
        maps = F.batch_norm(conv(x), bn.running_mean, bn.running_var, bn.weight, bn.bias, False, 0.0, bn.eps)
        return self.head(self.norm(relu(maps).mean((2, 3))))
''')
right("a7-head", "type of the old head", "type(network.fc), sizes from the batch norm", r'''
def adapted(width, classes, hidden=0):
    network = Trunk(width)
    linear, inputs = type(network.fc), network.bn.num_features
    head = linear(inputs, hidden if hidden else classes)
    if hidden:
        head = nn.Sequential(head)
        head.append(nn.ReLU())
        head.append(linear(hidden, classes))
    network.fc = head
    return network
''')
right("a7-train", "the top on kept features", "layer3 and the head train on the kept features of layer2", r'''
SHAPES = ("ell", "crescent", "star", "tee", "twins", "wedge")
train = patterns("train", 90, 16, classes=SHAPES, seed=7)
torch.manual_seed(0)
net = load_trunk("patterns", 6)
net.eval()
low = nn.Sequential(net.conv1, net.bn1, nn.ReLU(), net.layer1, net.layer2)
top = nn.Sequential(net.layer3, nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.fc)
with torch.no_grad():
    shifted = torch.cat([torch.roll(train.images, move, (2, 3)) for move in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))])
    kept, labels = low(shifted), train.labels.repeat(5)
optimizer = torch.optim.AdamW(top.parameters(), lr=0.002, weight_decay=0.01)
for _ in range(12):
    for batch in torch.randperm(len(kept)).split(45):
        optimizer.zero_grad()
        F.cross_entropy(top(kept[batch]), labels[batch]).backward()
        optimizer.step()


def predict(images):
    with torch.no_grad():
        return top(low(images)).argmax(1)
''')
right("a7-frozen-norm", "asleep only after train()", "train() does what the hint says, but nobody calls it in the constructor: a network fresh from it is not asleep yet; ambiguous: 'whatever the mode' against the hint", r'''
class FrozenTrunk(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.trunk.requires_grad_(False)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)

    def train(self, mode=True):
        super().train(mode)
        self.trunk.train(False)
        return self

    def forward(self, x):
        return self.head(self.norm(self.trunk(x).mean(dim=(2, 3))))
''', ambiguous=True)
right("a4-pool", "a mean twice", "mean over the width, then over the height", r'''
def global_average(maps):
    return maps.mean(dim=-1).mean(dim=-1)
''')
right("a3-accuracy", "a generator over rows", "max by a key over Python lists", r'''
def accuracy(scores, labels):
    def answer(row):
        return max(range(len(row)), key=row.__getitem__)

    return sum(answer(row) == label for row, label in zip(scores.tolist(), labels.tolist())) / len(labels)
''')
right("a7-nearest-mean", "a dictionary of means", "one query after the other, min over a dict by distance", r'''
def nearest_mean(features, labels, queries):
    means = {int(c): features[labels == c].mean(0) for c in labels.unique()}
    return torch.tensor([min(means, key=lambda c: torch.dist(query, means[c]).item()) for query in queries])
''')
right("a5-join", "clamp in place of the sum's own tensor", "(x + branch).clamp_(min=0): in place, but on a new tensor", r'''
def join(x, branch):
    return (x + branch).clamp_(min=0)
''')
right("a2-side", "ceil by adding stride - 1", "PyTorch's own source, transcribed", r'''
def side(n, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    extra = stride - 1 if ceil_mode else 0
    out = (n + 2 * padding - dilation * (kernel_size - 1) - 1 + extra) // stride + 1
    if ceil_mode and (out - 1) * stride >= n + padding:
        out -= 1
    return out
''')
