"""Bank three, held out: written from the assignments' text alone, by somebody who has seen neither references nor checks."""

from answer import Bank

ANSWERS = Bank()
right, wrong = ANSWERS.right, ANSWERS.wrong


def but(code, old, new):
    """The same answer with one slip in it."""
    assert old in code, old
    return code.replace(old, new)


# ---------------------------------------------------------------- a1

right("a1-window", "as_strided", "a view with the image's own strides, then vdot", r'''
def window_response(image, kernel, row, col):
    image = image.contiguous()
    down, across = image.stride()
    window = image.as_strided(tuple(kernel.shape), (down, across), image.storage_offset() + row * down + col * across)
    return torch.dot(window.reshape(-1), kernel.reshape(-1))
''')
wrong("a1-window", "multiplies in place", "the window is a view, so the caller's image is spoiled", r'''
def window_response(image, kernel, row, col):
    window = image[row:row + kernel.shape[0], col:col + kernel.shape[1]]
    window *= kernel
    return window.sum().item()
''')
wrong("a1-window", "a square is assumed", "len(kernel) for both sides", r'''
def window_response(image, kernel, row, col):
    k = len(kernel)
    return (image[row:row + k, col:col + k] * kernel).sum()
''')
right("a1-output-size", "recursion", "one place and then the rest of the line", r'''
def output_size(n, k, padding=0, stride=1):
    line = n + 2 * padding
    return 0 if line < k else 1 + output_size(line - stride, k, 0, stride)
''')
right("a1-output-size", "ceiling by negation", "-(-a // b)", r'''
def output_size(n, k, padding=0, stride=1):
    return -(-(n + 2 * padding - k + 1) // stride)
''')
wrong("a1-output-size", "rounds to the nearest", "round() instead of floor", r'''
def output_size(n, k, padding=0, stride=1):
    return round((n - k + 2 * padding) / stride) + 1
''')
wrong("a1-output-size", "one added too early", "floor of (n - k + 1) / s, right for stride 1", r'''
def output_size(n, k, padding=0, stride=1):
    return (n - k + 2 * padding + 1) // stride
''')
right("a1-loops", "loops over the kernel", "shifted images, one for each tap", r'''
def conv2d_loops(image, kernel):
    (H, W), (h, w) = image.shape, kernel.shape
    total = 0
    for i, line in enumerate(kernel):
        for j, tap in enumerate(line):
            total = total + tap * image[i:H - h + 1 + i, j:W - w + 1 + j]
    return total
''')
right("a1-loops", "generators", "rows and columns from generators, stacked", r'''
def conv2d_loops(image, kernel):
    h, w = kernel.shape

    def numbers(band):
        for c in range(band.shape[1] - w + 1):
            yield torch.einsum("ij,ij", band[:, c:c + w], kernel)

    def bands():
        for r in range(image.shape[0] - h + 1):
            yield torch.stack(tuple(numbers(image[r:r + h])))

    return torch.stack(tuple(bands()))
''')
wrong("a1-loops", "stops one early", "range(H - h): the last row and column stay 0", r'''
def conv2d_loops(image, kernel):
    (H, W), (h, w) = image.shape, kernel.shape
    out = torch.zeros(H - h + 1, W - w + 1)
    for i in range(H - h):
        for j in range(W - w):
            out[i, j] = (image[i:i + h, j:j + w] * kernel).sum()
    return out
''')
wrong("a1-loops", "a layer with its weights set", "nn.Conv2d in a wrapper", r'''
class Slider(torch.nn.Module):
    def __init__(self, kernel):
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 1, tuple(kernel.shape), bias=False)
        self.layer.weight.data.copy_(kernel)

    def forward(self, image):
        return self.layer(image.unsqueeze(0))[0]


def conv2d_loops(image, kernel):
    return Slider(kernel)(image).detach()
''')
right("a1-flip", "stamps the kernel", "convolution's own definition: every pixel stamps the kernel, then the middle is cut out", r'''
def true_convolution(image, kernel):
    (H, W), (h, w) = image.shape, kernel.shape
    full = image.new_zeros(H + h - 1, W + w - 1)
    for i in range(h):
        for j in range(w):
            full[i:i + H, j:j + W] += kernel[i, j] * image
    return full[h - 1:H, w - 1:W]
''')
wrong("a1-flip", "a quarter turn", "rot90 once", r'''
def true_convolution(image, kernel):
    kernel = torch.rot90(kernel)
    h, w = kernel.shape
    rows = image.shape[0] - h + 1
    cols = image.shape[1] - w + 1
    return torch.tensor([[(image[r:r + h, c:c + w] * kernel).sum() for c in range(cols)] for r in range(rows)])
''')
wrong("a1-flip", "turns the image instead", "and does not turn the result back", r'''
def true_convolution(image, kernel):
    turned = torch.flip(image, (0, 1))
    h, w = kernel.shape
    windows = turned.unfold(0, h, 1).unfold(1, w, 1)
    return (windows * kernel).sum((2, 3))
''')
right("a1-vectorized", "vmap twice", "torch.vmap over both axes of windows", r'''
def conv2d_fast(image, kernel):
    windows = image.unfold(0, kernel.shape[0], 1).unfold(1, kernel.shape[1], 1)
    return torch.vmap(torch.vmap(lambda window: (window * kernel).sum()))(windows)
''')
right("a1-vectorized", "gathered by index", "four-axis index tensors", r'''
def conv2d_fast(image, kernel):
    h, w = kernel.shape
    row = torch.arange(image.shape[0] - h + 1)[:, None, None, None] + torch.arange(h)[None, None, :, None]
    col = torch.arange(image.shape[1] - w + 1)[None, :, None, None] + torch.arange(w)[None, None, None, :]
    return torch.tensordot(image[row, col], kernel, dims=2)
''')
right("a1-vectorized", "Fourier", "a product of spectra, in double precision", r'''
def conv2d_fast(image, kernel):
    (H, W), (h, w) = image.shape, kernel.shape
    spectrum = torch.fft.rfft2(image.double()) * torch.fft.rfft2(kernel.double(), s=(H, W)).conj()
    return torch.fft.irfft2(spectrum, s=(H, W))[:H - h + 1, :W - w + 1].float()
''')
wrong("a1-vectorized", "functools.reduce", "one step a tap all the same", r'''
from functools import reduce


def conv2d_fast(image, kernel):
    h, w = kernel.shape
    H, W = image.shape[0] - h + 1, image.shape[1] - w + 1
    shifted = lambda n: kernel[n // w, n % w] * image[n // w:n // w + H, n % w:n % w + W]
    return reduce(lambda total, n: total + shifted(n), range(h * w), torch.zeros(H, W))
''')
wrong("a1-vectorized", "the transpose", "sides exchanged in unfold, kernel transposed to fit", r'''
def conv2d_fast(image, kernel):
    h, w = kernel.shape
    windows = image.unfold(0, w, 1).unfold(1, h, 1)
    return (windows * kernel.T).sum((-2, -1))
''')
right("a1-padding", "a canvas and steps", "new_zeros, strided slices over the taps", r'''
def conv2d(image, kernel, padding=0, stride=1):
    H, W = image.shape
    canvas = image.new_zeros(H + 2 * padding, W + 2 * padding)
    canvas[padding:padding + H, padding:padding + W] = image
    out = 0
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            down = canvas[i:canvas.shape[0] - kernel.shape[0] + i + 1:stride]
            out = out + down[:, j:canvas.shape[1] - kernel.shape[1] + j + 1:stride] * kernel[i, j]
    return out
''')
wrong("a1-padding", "thins the image out", "image[::stride] before the kernel slides", r'''
import torch.nn.functional as F


def conv2d(image, kernel, padding=0, stride=1):
    image = F.pad(image, [padding] * 4)[::stride, ::stride]
    h, w = kernel.shape
    return torch.einsum("ijkl,kl->ij", image.unfold(0, h, 1).unfold(1, w, 1), kernel)
''')
wrong("a1-padding", "stride down only", "columns move by one", r'''
def conv2d(image, kernel, padding=0, stride=1):
    image = torch.nn.ZeroPad2d(padding)(image[None])[0]
    h, w = kernel.shape
    return torch.einsum("ijkl,kl->ij", image.unfold(0, h, stride).unfold(1, w, 1), kernel)
''')
wrong("a1-padding", "padding left and right", "F.pad's list has two numbers only", r'''
import torch.nn.functional as F


def conv2d(image, kernel, padding=0, stride=1):
    image = F.pad(image, (padding, padding))
    h, w = kernel.shape
    return torch.einsum("ijkl,kl->ij", image.unfold(0, h, stride).unfold(1, w, stride), kernel)
''')
right("a1-channels", "one einsum", "five letters and a bias", r'''
def conv_layer(image, filters, bias):
    *_, h, w = filters.shape
    windows = image.unfold(1, h, 1).unfold(2, w, 1)
    return torch.einsum("cyxij,fcij->fyx", windows, filters).add(bias.reshape(-1, 1, 1))
''')
wrong("a1-channels", "a bias a channel", "bias added before the channels are summed", r'''
def conv_layer(image, filters, bias):
    F_, C, h, w = filters.shape
    out = torch.zeros(F_, image.shape[1] - h + 1, image.shape[2] - w + 1)
    for f in range(F_):
        for c in range(C):
            out[f] += (image[c].unfold(0, h, 1).unfold(1, w, 1) * filters[f, c]).sum((2, 3)) + bias[f]
    return out
''')
wrong("a1-channels", "a mean over channels", "sum over the window, mean over channels", r'''
def conv_layer(image, filters, bias):
    h, w = filters.shape[2:]
    windows = image.unfold(1, h, 1).unfold(2, w, 1)
    maps = [(windows * f[:, None, None]).sum((3, 4)).mean(0) + b for f, b in zip(filters, bias)]
    return torch.stack(maps)
''')
right("a1-edges", "separable differences", "smoothed differences, hypot", r'''
def edge_strength(photo):
    g = photo.mean(dim=0)

    def smooth(t):
        return t[:-2] + 2 * t[1:-1] + t[2:]

    def change(t):
        return t[:, :-2] - t[:, 2:]

    return torch.hypot(smooth(change(g)), smooth(change(g.T)).T)
''')
wrong("a1-edges", "television's grey", "0.299, 0.587, 0.114 instead of the mean", r'''
def edge_strength(photo):
    g = 0.299 * photo[0] + 0.587 * photo[1] + 0.114 * photo[2]
    S = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    both = torch.stack((S, S.T)).unsqueeze(1)
    return torch.nn.functional.conv2d(g[None, None], both)[0].norm(dim=0)
''')
wrong("a1-edges", "sum of absolute values", "the quick approximation of the root", r'''
def edge_strength(photo):
    S = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    both = torch.stack((S, S.T)).unsqueeze(1)
    return torch.nn.functional.conv2d(photo.mean(0)[None, None], both)[0].abs().sum(0)
''')
right("a1-match", "max with a key", "a generator of places", r'''
import itertools


def best_match(image, feature):
    h, w = feature.shape

    def score(place):
        r, c = place
        return float((image[r:r + h, c:c + w] * feature).mean())

    places = itertools.product(range(image.shape[0] - h + 1), range(image.shape[1] - w + 1))
    row, col = max(places, key=score)
    return score((row, col)), row, col
''')
wrong("a1-match", "divmod by the image's width", "the map of scores is narrower", r'''
def best_match(image, feature):
    h, w = feature.shape
    scores = (image.unfold(0, h, 1).unfold(1, w, 1) * feature).mean((2, 3))
    row, col = divmod(int(scores.argmax()), image.shape[1])
    return float(scores.max()), row, col
''')
wrong("a1-match", "the strongest of either sign", "an exact negative wins as well", r'''
def best_match(image, feature):
    h, w = feature.shape
    scores = (image.unfold(0, h, 1).unfold(1, w, 1) * feature).mean((2, 3))
    at = scores.abs().argmax()
    row, col = divmod(int(at), scores.shape[1])
    return float(scores[row, col]), row, col
''')
right("a1-counts", "update", "dict.update with arithmetic", r'''
pixels, places = 200 * 150, (200 - 5 + 1) * (150 - 5 + 1)
counts = dict()
counts.update({"fc parameters": (3 * pixels + 1) * 64, "conv parameters": (3 * 5 * 5 + 1) * 64})
counts.update({"conv outputs": 64 * places, "conv MACs": 64 * places * 75})
''')
wrong("a1-counts", "MACs of one channel", "25 products an output instead of 75", r'''
counts = {
    "fc parameters": 200 * 150 * 3 * 64 + 64,
    "conv parameters": 64 * 3 * 25 + 64,
    "conv outputs": 64 * 196 * 146,
    "conv MACs": 64 * 196 * 146 * 25,
}
''')

# ---------------------------------------------------------------- a2

right("a2-memory", "math.prod", "a power of two for the units", r'''
import math

kilobytes = lambda channels, height, width: math.prod((channels, height, width)) * 2**-8
''')
wrong("a2-memory", "rounded down", "// 1024", r'''
def kilobytes(channels, height, width):
    return channels * height * width * 4 // 1024
''')
right("a2-side", "steps and a rest", "divmod, and the rest decides about the last window", r'''
def side(n, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    reach = (kernel_size - 1) * dilation + 1
    steps, rest = divmod(n + 2 * padding - reach, stride)
    begins = (steps + 1) * stride - padding
    return steps + 1 + (1 if ceil_mode and rest and begins < n else 0)
''')
wrong("a2-side", "nothing is dropped", "ceil without the rule about windows in the padding", r'''
import math


def side(n, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    rounded = math.ceil if ceil_mode else math.floor
    return rounded((n + 2 * padding - dilation * (kernel_size - 1) - 1) / stride) + 1
''')
wrong("a2-side", "drops one too few", "a window that begins right behind the last pixel is kept", r'''
import math


def side(n, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    rounded = math.ceil if ceil_mode else math.floor
    count = rounded((n + 2 * padding - dilation * (kernel_size - 1) - 1) / stride) + 1
    if ceil_mode and (count - 1) * stride - padding > n:
        count -= 1
    return count
''')
wrong("a2-side", "d times k", "a kernel dilated by d is taken to be d * k wide", r'''
def side(n, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    rest = n + 2 * padding - dilation * kernel_size
    count = (-(-rest // stride) if ceil_mode else rest // stride) + 1
    return count - 1 if ceil_mode and (count - 1) * stride >= n + padding else count
''')
right("a2-parameters", "asks a layer on meta", "torch's own layer, without memory", r'''
import torch


def conv_parameters(in_channels, filters, kernel_size, groups=1, bias=True):
    layer = torch.nn.Conv2d(in_channels, filters, kernel_size, groups=groups, bias=bias, device="meta")
    return sum(p.numel() for p in layer.parameters())
''')
wrong("a2-parameters", "both divided by groups", "each group counted once", r'''
def conv_parameters(in_channels, filters, kernel_size, groups=1, bias=True):
    h, w = kernel_size
    return (in_channels // groups) * (filters // groups) * h * w + filters * bias
''')
wrong("a2-parameters", "a bias a group", "biases divided with the filters", r'''
def conv_parameters(in_channels, filters, kernel_size, groups=1, bias=True):
    h, w = kernel_size
    return in_channels // groups * filters * h * w + (filters // groups if bias else 0)
''')
right("a2-macs", "counts with ranges", "len of range for the places", r'''
def conv_macs(in_channels, height, width, filters, kernel_size, stride=1, padding=0, groups=1):
    places = 1
    for pixels in (height, width):
        places *= len(range(-padding, pixels + padding - kernel_size + 1, stride))
    return places * filters * (in_channels // groups) * kernel_size**2
''')
wrong("a2-macs", "same size assumed", "height // stride, as if padded to fit", r'''
def conv_macs(in_channels, height, width, filters, kernel_size, stride=1, padding=0, groups=1):
    return (height // stride) * (width // stride) * filters * in_channels // groups * kernel_size**2
''')
wrong("a2-macs", "stride divides the work", "MACs at stride 1, divided by stride squared", r'''
def conv_macs(in_channels, height, width, filters, kernel_size, stride=1, padding=0, groups=1):
    rows, cols = height + 2 * padding - kernel_size + 1, width + 2 * padding - kernel_size + 1
    return rows * cols * filters * in_channels // groups * kernel_size**2 // stride**2
''')
TABLE = r'''
class Walker:
    def __init__(self, shape):
        self.shape, self.rows = tuple(shape), []

    def note(self, shape, parameters, macs):
        c, h, w = self.shape = shape
        self.rows.append({"size": shape, "memory": 4 * c * h * w, "parameters": parameters, "MACs": macs})

    def conv(self, filters, k, s, p):
        c, h, w = self.shape
        h, w = ((x + 2 * p - k) // s + 1 for x in (h, w))
        self.note((filters, h, w), filters * (c * k * k + 1), filters * h * w * c * k * k)

    def pool(self, k, s):
        c, h, w = self.shape
        self.note((c, (h - k) // s + 1, (w - k) // s + 1), 0, 0)

    def linear(self, outputs):
        c, h, w = self.shape
        self.note((outputs, 1, 1), outputs * (c * h * w + 1), outputs * c * h * w)


def cost_table(layers, channels, height, width):
    walker = Walker((channels, height, width))
    for kind, *numbers in layers:
        getattr(walker, kind)(*numbers)
    return walker.rows
'''
right("a2-table", "a class that walks", "getattr by the layer's kind", TABLE)
wrong("a2-table", "kilobytes", "memory in KB", but(TABLE, "4 * c * h * w,", "4 * c * h * w / 1024,"))
wrong("a2-table", "square images", "the width is computed from the height", but(TABLE, "for x in (h, w))", "for x in (h, h))"))
wrong("a2-table", "pools round up", "ceil instead of floor", but(TABLE, "(c, (h - k) // s + 1, (w - k) // s + 1)", "(c, -((k - h) // s) + 1, -((k - w) // s) + 1)"))
ALEX = r'''
def _conv(c, side, filters, k):
    return {"side": side, "memory": 4 * filters * side**2, "parameters": filters * (c * k * k + 1),
            "MACs": filters * side**2 * c * k * k}


def _pool(c, side):
    return {"side": side, "memory": 4 * c * side**2, "parameters": 0, "MACs": 0}


alexnet = {"conv1": _conv(3, 64, 48, 11), "pool2": _pool(160, 15), "conv4": _conv(320, 15, 240, 3), "pool5": _pool(240, 7)}
alexnet["fc6"] = {"side": 1, "memory": 4 * 3072, "parameters": 3072 * (240 * 7 * 7 + 1), "MACs": 3072 * 240 * 7 * 7}
'''
right("a2-alexnet", "two helpers", "rows from helper functions", ALEX)
wrong("a2-alexnet", "conv4 sees its own filters", "240 channels in instead of 320", but(ALEX, "_conv(320,", "_conv(240,"))
VGG = r'''
def _stage(c, filters, h, w, n, pool=True):
    memory = parameters = macs = 0
    for _ in range(n):
        memory += 4 * filters * h * w
        parameters += filters * (9 * c + 1)
        macs += filters * h * w * 9 * c
        c = filters
    memory += 4 * filters * (h // 2) * (w // 2) * pool
    return dict(memory=memory, parameters=parameters, MACs=macs)


vgg = {"stage 1": _stage(3, 48, 192, 320, 2), "stage 3": _stage(96, 192, 48, 80, 3), "stage 5": _stage(384, 384, 12, 20, 3)}
vgg["classifier"] = dict(zip(("memory", "parameters", "MACs"), (
    4 * (2048 + 2048 + 150),
    2048 * (384 * 60 + 1) + 2048 * 2049 + 150 * 2049,
    2048 * 384 * 60 + 2048 * 2048 + 150 * 2048,
)))
'''
right("a2-vgg", "a stage function", "a loop in a helper, zip for the classifier", VGG)
wrong("a2-vgg", "pools forgotten", "the pools' memory is left out", but(VGG, "pool=True", "pool=False"))
right("a2-receptive", "maps composed", "functools.reduce over affine maps", r'''
from functools import reduce


def sees(layers):
    def wider(field, layer):
        (size, jump, start), (k, s, p, d) = field, layer
        return size + (k - 1) * d * jump, jump * s, start - p * jump

    return reduce(wider, layers, (1, 1, 0))
''')
right("a2-receptive", "backwards", "from the output to the image, first and last pixel", r'''
def sees(layers):
    first, last, following = 0, 0, 1
    for k, s, p, d in reversed(layers):
        first, following = first * s - p, following * s - p
        last = last * s - p + (k - 1) * d
    return last - first + 1, following - first, first
''')
wrong("a2-receptive", "the stride comes too early", "a layer's own stride widens its own field", r'''
def sees(layers):
    size, jump, start = 1, 1, 0
    for k, s, p, d in layers:
        jump *= s
        size += (k - 1) * d * jump
        start -= p * jump
    return size, jump, start
''')
wrong("a2-receptive", "padding in image pixels", "start moves by p, not by p times jump", r'''
def sees(layers):
    size, jump, start = 1, 1, 0
    for k, s, p, d in layers:
        size, start, jump = size + (k - 1) * d * jump, start - p, jump * s
    return size, jump, start
''')
right("a2-needed", "tries one size after the other", "itertools.count and next", r'''
from itertools import count


def smallest_image(layers, outputs):
    def comes_out(n):
        for k, s, p in layers:
            n = (n + 2 * p - k) // s + 1
            if n < 1:
                return 0
        return n

    return next(n for n in count(1) if comes_out(n) >= outputs)
''')
wrong("a2-needed", "not reversed", "goes through the layers from the first", r'''
def smallest_image(layers, outputs):
    for k, s, p in layers:
        outputs = (outputs - 1) * s + k - 2 * p
    return outputs
''')
wrong("a2-needed", "the largest step", "outputs * stride: the largest image that makes so many, or near it", r'''
def smallest_image(layers, outputs):
    n = outputs
    for k, s, p in layers[::-1]:
        n = n * s - s + k - 2 * p + (s - 1)
    return n
''')
right("a2-training", "a list's index", "how many copies of the parameters", r'''
def training_bytes(parameters, activations, batch, optimizer):
    copies = 2 + ["sgd", "momentum", "adam"].index(optimizer)
    return 4 * (copies * parameters + batch * activations)
''')
wrong("a2-training", "gradients an image", "a gradient of each parameter for each image", r'''
def training_bytes(parameters, activations, batch, optimizer):
    extra = {"sgd": 0, "momentum": 1, "adam": 2}[optimizer]
    return 4 * (parameters * (1 + extra) + batch * (activations + parameters))
''')
right("a2-errata", "one by one", "assigned by key", r'''
errata = {}
errata["side of conv1"] = (240 + 2 * 2 - 11) // 4 + 1
errata["parameters of fc6"] = (320 * 5 * 5 + 1) * 3072
errata["weights of the first layer"] = 3 * 200 * 300 * 1500
errata["MACs of the module"] = 18 * 18 * (288 * (96 + 72 + 24 + 64) + 9 * 72 * 144 + 25 * 24 * 56)
errata["parameters of fc8"] = 2049 * 150
''')
wrong("a2-errata", "a grey image", "the three channels of the first layer are left out", r'''
errata = {
    "side of conv1": 59,
    "parameters of fc6": 320 * 25 * 3072 + 3072,
    "weights of the first layer": 200 * 300 * 1500,
    "MACs of the module": 324 * (288 * 256 + 9 * 72 * 144 + 25 * 24 * 56),
    "parameters of fc8": 307350,
}
''')

# ---------------------------------------------------------------- a3

right("a3-accuracy", "ranks by argsort", "the last of a sorted row", r'''
def accuracy(scores, labels):
    answer = scores.argsort(dim=1)[:, -1]
    return torch.count_nonzero(answer == labels).item() / len(labels)
''')
wrong("a3-accuracy", "in per cent", "times 100", r'''
def accuracy(scores, labels):
    return 100 * (scores.argmax(1) == labels).float().mean().item()
''')
wrong("a3-accuracy", "wrong axis", "argmax over the images", r'''
def accuracy(scores, labels):
    hits = sum(int(scores.argmax(0)[y] == n) for n, y in enumerate(labels.tolist()))
    return hits / len(labels)
''')
LENET = r'''
class LeNet16(nn.Module):
    def __init__(self, classes):
        super().__init__()
        plan = {"conv1": nn.Conv2d(1, 6, 5, padding=2), "conv2": nn.Conv2d(6, 12, 3),
                "fc1": nn.Linear(108, 40), "fc2": nn.Linear(40, classes)}
        for name, layer in plan.items():
            setattr(self, name, layer)
        self.steps = nn.Sequential(
            self.conv1, nn.Tanh(), nn.AvgPool2d(2),
            self.conv2, nn.Tanh(), nn.AvgPool2d(2),
            nn.Flatten(), self.fc1, nn.Tanh(),
            self.fc2,
        )

    def forward(self, x):
        return self.steps(x)
'''
right("a3-lenet", "setattr and a chain of aliases", "one Sequential that holds the named layers again", LENET)
right("a3-lenet", "inherited forward", "a base class runs what the child names", r'''
class Runner(nn.Module):
    convolutions, fulls = (), ()

    def forward(self, x):
        for name in self.convolutions:
            x = F.avg_pool2d(getattr(self, name)(x).tanh(), 2)
        x = x.reshape(x.size(0), -1)
        *hidden, last = self.fulls
        for name in hidden:
            x = torch.tanh(self.get_submodule(name)(x))
        return self.get_submodule(last)(x)


class LeNet16(Runner):
    convolutions, fulls = ("conv1", "conv2"), ("fc1", "fc2")

    def __init__(self, classes):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding="same"), nn.Conv2d(6, 12, (3, 3))
        self.fc1, self.fc2 = nn.Linear(12 * 3 * 3, 40), nn.Linear(40, classes)
''')
wrong("a3-lenet", "dropout added", "a well-meant nn.Dropout before the scores", but(LENET, "nn.Tanh(),\n            self.fc2,", "nn.Tanh(),\n            nn.Dropout(0.5), self.fc2,"))
wrong("a3-lenet", "no tanh behind fc1", "two linear layers in a row", but(LENET, "self.fc1, nn.Tanh(),", "self.fc1,"))
wrong("a3-lenet", "probabilities", "a softmax at the end", but(LENET, "self.fc2,", "self.fc2, nn.Softmax(dim=1),"))
wrong("a3-lenet", "trunk in no_grad", "the convolutions are run without gradients", but(LENET, "return self.steps(x)", "with torch.no_grad():\n            x = self.steps[:7](x)\n        return self.steps[7:](x)"))
right("a3-lrn", "a band of ones", "squares times a band matrix", r'''
def local_response_norm(x, size, alpha, beta, k):
    c = torch.arange(x.shape[1])
    band = ((c[:, None] - c).abs() <= size // 2).to(x.dtype)
    strength = torch.einsum("cd,ndhw->nchw", band, x.square())
    return x / torch.pow(k + alpha * strength, beta)
''')
wrong("a3-lrn", "a mean over the neighbours", "alpha over size, as PyTorch has it", r'''
def local_response_norm(x, size, alpha, beta, k):
    padded = F.pad(x**2, (0, 0, 0, 0, size // 2, size // 2))
    return x * (k + alpha * padded.unfold(1, size, 1).mean(-1)) ** -beta
''')
wrong("a3-lrn", "one neighbour less", "the slice ends at c + n // 2, exclusively", r'''
def local_response_norm(x, size, alpha, beta, k):
    half = size // 2
    maps = []
    for c in range(x.shape[1]):
        near = x[:, max(0, c - half):c + half]
        maps.append(x[:, c] / (k + alpha * near.pow(2).sum(1)) ** beta)
    return torch.stack(maps, dim=1)
''')
ALEXBLOCK = r'''
class AlexBlock(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, groups):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, groups=groups, padding="same")
        self.after = [nn.ReLU(), nn.MaxPool2d(3, 2)]

    def forward(self, x):
        for step in (self.conv, *self.after):
            x = step(x)
        return x
'''
right("a3-alexnet-block", "padding='same'", "steps without weights in a plain list", ALEXBLOCK)
wrong("a3-alexnet-block", "padding of 1", "keeps the size for 3×3 only", but(ALEXBLOCK, 'padding="same"', "padding=1"))
wrong("a3-alexnet-block", "pool padded", "padding=1 in the pool", but(ALEXBLOCK, "MaxPool2d(3, 2)", "MaxPool2d(3, 2, padding=1)"))
wrong("a3-alexnet-block", "no ReLU", "convolution and pool only", but(ALEXBLOCK, "nn.ReLU(), ", ""))
VGGBLOCK = r'''
class VGGBlock(nn.Module):
    def __init__(self, in_channels, out_channels, convs, last_kernel_size=3):
        super().__init__()
        sides = [3] * (convs - 1) + [last_kernel_size]
        inputs = [in_channels] + [out_channels] * (convs - 1)

        def layers():
            for c, k in zip(inputs, sides):
                yield nn.Conv2d(c, out_channels, k, padding=(k - 1) // 2)

        self.convs = nn.ModuleList(layers())
        self.pool = nn.MaxPool2d(2, 2)

    def forward(self, x):
        for conv in self.convs:
            x = conv(x).relu()
        return self.pool(x)
'''
right("a3-vgg-block", "a generator of layers", "ModuleList of a generator", VGGBLOCK)
wrong("a3-vgg-block", "one layer many times", "list multiplication: the layers after the first share their weights", r'''
class VGGBlock(nn.Module):
    def __init__(self, in_channels, out_channels, convs, last_kernel_size=3):
        super().__init__()
        first = nn.Conv2d(in_channels, out_channels, 3 if convs > 1 else last_kernel_size, padding="same")
        last = [nn.Conv2d(out_channels, out_channels, last_kernel_size, padding="same")] * (convs > 1)
        self.convs = nn.ModuleList([first] + [nn.Conv2d(out_channels, out_channels, 3, padding=1)] * (convs - 2) + last)

    def forward(self, x):
        for conv in self.convs:
            x = F.relu(conv(x))
        return F.max_pool2d(x, 2)
''')
wrong("a3-vgg-block", "a single layer is never last", "with one convolution its kernel is 3×3 whatever is asked", but(VGGBLOCK, "[3] * (convs - 1) + [last_kernel_size]", "[3] + [3] * (convs - 2) + [last_kernel_size]"))
wrong("a3-vgg-block", "ReLU once", "only in front of the pool", but(VGGBLOCK, "x = conv(x).relu()\n        return self.pool(x)", "x = conv(x)\n        return self.pool(x.relu())"))
right("a3-merged-kernel", "Fourier and reduce", "products of spectra", r'''
from functools import reduce


def merged_kernel(kernels):
    def together(a, b):
        size = (a.shape[0] + b.shape[0] - 1, a.shape[1] + b.shape[1] - 1)
        product = torch.fft.fft2(a.double(), s=size) * torch.fft.fft2(b.double(), s=size)
        return torch.fft.ifft2(product).real

    return reduce(together, kernels).to(kernels[0].dtype)
''')
right("a3-merged-kernel", "recursion and stamps", "head and tail", r'''
def merged_kernel(kernels):
    head, *tail = kernels
    if not tail:
        return head
    rest = merged_kernel(tail)
    (a, b), (h, w) = head.shape, rest.shape
    out = torch.zeros(a + h - 1, b + w - 1)
    for i in range(a):
        for j in range(b):
            out[i:i + h, j:j + w] += head[i, j] * rest
    return out
''')
wrong("a3-merged-kernel", "not turned", "conv2d slides the second kernel unturned: a correlation", r'''
def merged_kernel(kernels):
    merged = kernels[0]
    for kernel in kernels[1:]:
        h, w = kernel.shape
        merged = F.conv2d(F.pad(merged, (w - 1, w - 1, h - 1, h - 1))[None, None], kernel[None, None])[0, 0]
    return merged
''')
wrong("a3-merged-kernel", "empties the list", "kernels.pop(0): the caller's list is empty afterwards", r'''
def merged_kernel(kernels):
    merged = kernels.pop(0)
    while kernels:
        kernel = kernels.pop(0)
        h, w = kernel.shape
        padded = F.pad(merged, (w - 1, w - 1, h - 1, h - 1))
        merged = F.conv2d(padded[None, None], kernel.flip(0, 1)[None, None])[0, 0]
    return merged
''')
right("a3-costs", "a loop over names", "zip of names and numbers", r'''
_c, _m = 96 * 96, 28 * 28
_names = ("weights of one 7×7", "weights of three 3×3", "MACs of three 3×3", "side of the last map", "weights of the first fully connected layer")
costs = dict(zip(_names, (49 * _c, 27 * _c, 27 * _c * _m, 288 >> 5, 4096 * 512 * (288 >> 5) ** 2)))
''')
wrong("a3-costs", "the layer of 224", "7×7 remains for the larger image's weights", r'''
costs = {
    "weights of one 7×7": 49 * 96 * 96,
    "weights of three 3×3": 27 * 96 * 96,
    "MACs of three 3×3": 27 * 96 * 96 * 28 * 28,
    "side of the last map": 9,
    "weights of the first fully connected layer": 7 * 7 * 512 * 4096,
}
''')
right("a3-slide", "every window through the linear layer", "unfold, F.linear, movedim", r'''
def slide_classifier(maps, weight, bias, side):
    windows = maps.unfold(2, side, 1).unfold(3, side, 1).permute(0, 2, 3, 1, 4, 5)
    return torch.movedim(F.linear(windows.flatten(3), weight, bias), -1, 1)
''')
wrong("a3-slide", "channels last", "weights read as (side, side, C)", r'''
def slide_classifier(maps, weight, bias, side):
    kernel = weight.view(len(weight), side, side, -1).permute(0, 3, 1, 2)
    return F.conv2d(maps, kernel, bias)
''')
TRAIN = r'''
network = nn.Sequential(
    nn.Conv2d(1, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(24, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(48, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
    nn.Flatten(), nn.Linear(256, 10),
)
optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
epochs = 16
steps = epochs * ((len(train) + 31) // 32)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=steps)
network.train()
for _ in range(epochs):
    for batch in torch.randperm(len(train)).split(32):
        optimizer.zero_grad()
        F.cross_entropy(network(moved(train.images[batch])), train.labels[batch]).backward()
        optimizer.step()
        schedule.step()
network.eval()
'''
right("a3-train", "three norms and a pool", "OneCycleLR over batches", TRAIN)
wrong("a3-train", "not moved", "trained on the images as they are", but(TRAIN, "moved(train.images[batch])", "train.images[batch]"))

# ---------------------------------------------------------------- a4

right("a4-pool", "einsum over places", "sum by letters, divided", r'''
def global_average(maps):
    return torch.einsum("nchw->nc", maps) / maps[0, 0].numel()
''')
wrong("a4-pool", "squeezed", "a batch of one loses its axis", r'''
def global_average(maps):
    return nn.functional.adaptive_avg_pool2d(maps, 1).squeeze()
''')
wrong("a4-pool", "through .data", "no gradient reaches the maps", r'''
def global_average(maps):
    n, c = maps.shape[:2]
    return maps.data.view(n, c, -1).mean(dim=2)
''')
right("a4-per-pixel", "broadcast product", "no matrix product at all", r'''
def conv1x1(x, weight, bias):
    products = x.unsqueeze(1) * weight[None, :, :, None, None]
    return products.sum(dim=2) + bias[None, :, None, None]
''')
right("a4-per-pixel", "channels in front", "movedim and tensordot", r'''
def conv1x1(x, weight, bias):
    maps = torch.tensordot(weight, x, dims=([1], [1]))
    return maps.transpose(0, 1) + bias.view(-1, 1, 1)
''')
wrong("a4-per-pixel", "reshaped without moving", "(N, C, H, W) read as rows of C", r'''
def conv1x1(x, weight, bias):
    n, c, h, w = x.shape
    return (x.reshape(-1, c) @ weight.T + bias).reshape(n, -1, h, w)
''')
wrong("a4-per-pixel", "back by the wrong way", "transpose(1, 3), and permute back exchanges rows and columns", r'''
def conv1x1(x, weight, bias):
    return F.linear(x.transpose(1, 3), weight, bias).permute(0, 3, 1, 2)
''')
wrong("a4-per-pixel", "conv1d", "a convolution by another name", r'''
def conv1x1(x, weight, bias):
    return F.conv1d(x.flatten(2), weight[:, :, None], bias).unflatten(2, x.shape[2:])
''')
MLPCONV = r'''
class MLPConv(nn.Module):
    def __init__(self, in_channels, widths, kernel_size, final=False):
        super().__init__()
        self.final = final
        pairs = zip([in_channels, *widths], widths)
        self.convs = nn.ModuleList()
        for c, width in pairs:
            k = 1 if len(self.convs) else kernel_size
            self.convs.append(nn.Conv2d(c, width, k, padding=k // 2))

    def forward(self, x):
        *body, last = self.convs
        for conv in body:
            x = F.relu(conv(x))
        x = last(x)
        return x if self.final else F.relu(x)
'''
right("a4-mlpconv", "body and last", "star assignment on a ModuleList", MLPCONV)
wrong("a4-mlpconv", "final leaves out all", "no ReLU anywhere in a final block", but(MLPCONV, "x = F.relu(conv(x))", "x = conv(x) if self.final else F.relu(conv(x))"))
wrong("a4-mlpconv", "a plain list", "the layers are no part of the module", but(MLPCONV, "self.convs = nn.ModuleList()", "self.convs = []"))
wrong("a4-mlpconv", "padding everywhere", "1×1 layers are padded like the first", but(MLPCONV, "padding=k // 2", "padding=kernel_size // 2"))
right("a4-inception-macs", "a generator of layers", "pairs of inputs and weights", r'''
def inception_macs(in_channels, height, width, plan):
    def layers():
        yield in_channels, plan["1x1"], 1
        yield in_channels, plan["pool"], 1
        for side in (3, 5):
            name = f"{side}x{side}"
            thin = plan[f"{name} reduce"]
            yield in_channels, thin, 1
            yield thin or in_channels, plan[name], side * side

    return height * width * sum(a * b * taps for a, b, taps in layers())
''')
wrong("a4-inception-macs", "no reduction, no branch", "a missing 1×1 makes the branch free", r'''
def inception_macs(in_channels, height, width, plan):
    a = in_channels * (plan["1x1"] + plan["3x3 reduce"] + plan["5x5 reduce"] + plan["pool"])
    b = 9 * plan["3x3 reduce"] * plan["3x3"] + 25 * plan["5x5 reduce"] * plan["5x5"]
    return (a + b) * height * width
''')
wrong("a4-inception-macs", "the 1×1 are free", "reductions are not counted", r'''
def inception_macs(in_channels, height, width, plan):
    macs = in_channels * plan["1x1"] + in_channels * plan["pool"]
    for k in (3, 5):
        inputs = plan[f"{k}x{k} reduce"] or in_channels
        macs += inputs * plan[f"{k}x{k}"] * k**2
    return macs * height * width
''')
NUMBERS = r'''
_p = 20**2
numbers = {
    "channels, naive": 96 + 160 + 48 + 320,
    "channels, reduced": 96 + 160 + 48 + 64,
    "MACs, naive": _p * 320 * (96 + 9 * 160 + 25 * 48),
    "MACs, reduced": _p * (320 * (96 + 80 + 24 + 64) + 9 * 80 * 160 + 25 * 24 * 48),
}
'''
right("a4-inception-numbers", "factored", "common factors drawn out", NUMBERS)
wrong("a4-inception-numbers", "the pool's channels", "the naive pool hands on 320 channels, forgotten", but(NUMBERS, "96 + 160 + 48 + 320", "96 + 160 + 48"))
CROSS = r'''
class CrossInception(nn.Module):
    def __init__(self, in_channels, one, reduce, three, cross, pool):
        super().__init__()
        self.one = nn.Conv2d(in_channels, one, 1)
        self.three_reduce, self.three = nn.Conv2d(in_channels, reduce, 1), nn.Conv2d(reduce, three, 3, padding=1)
        self.cross_reduce = nn.Conv2d(in_channels, reduce, 1)
        self.row = nn.Conv2d(reduce, cross, (1, 5), padding=(0, 2))
        self.column = nn.Conv2d(cross, cross, (5, 1), padding=(2, 0))
        self.pool = nn.Conv2d(in_channels, pool, 1)
        def chain(*layers):
            return nn.Sequential(*[step for layer in layers for step in (layer, nn.ReLU())])
        self.branches = nn.ModuleList([
            chain(self.one),
            chain(self.three_reduce, self.three),
            chain(self.cross_reduce, self.row, self.column),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), chain(self.pool)),
        ])

    def forward(self, x):
        return torch.cat(tuple(branch(x) for branch in self.branches), 1)
'''
right("a4-inception", "branches of aliases", "a ModuleList of chains over the named layers", CROSS)
right("a4-inception", "written into slices", "an empty tensor, filled branch by branch", r'''
class CrossInception(nn.Module):
    def __init__(self, in_channels, one, reduce, three, cross, pool):
        super().__init__()
        conv = lambda a, b, *size: nn.Conv2d(a, b, size, padding=tuple(s // 2 for s in size))
        self.one, self.pool = conv(in_channels, one, 1, 1), conv(in_channels, pool, 1, 1)
        self.three_reduce, self.three = conv(in_channels, reduce, 1, 1), conv(reduce, three, 3, 3)
        self.cross_reduce, self.row = conv(in_channels, reduce, 1, 1), conv(reduce, cross, 1, 5)
        self.column = conv(cross, cross, 5, 1)
        self.sizes = one, three, cross, pool

    def run(self, x, *names):
        for name in names:
            x = torch.relu(getattr(self, name)(x))
        return x

    def forward(self, x):
        out = x.new_empty(len(x), sum(self.sizes), *x.shape[2:])
        parts = out.split(self.sizes, dim=1)
        start = 0
        for part, names in zip(parts, (["one"], ["three_reduce", "three"], ["cross_reduce", "row", "column"], ["pool"])):
            seen = F.max_pool2d(x, 3, 1, 1) if names == ["pool"] else x
            out[:, start:start + part.shape[1]] = self.run(seen, *names)
            start += part.shape[1]
        return out
''')
wrong("a4-inception", "a branch frozen", "requires_grad_(False) left over on the cross branch", but(CROSS, "chain(self.cross_reduce, self.row, self.column)", "chain(self.cross_reduce, self.row, self.column).requires_grad_(False)"))
wrong("a4-inception", "no ReLU in between", "one ReLU after the concatenation", but(but(CROSS, "for step in (layer, nn.ReLU())", "for step in (layer,)"), "for branch in self.branches), 1)", "for branch in self.branches), 1).relu()"))
wrong("a4-inception", "average pool", "the fourth branch averages", but(CROSS, "nn.MaxPool2d(3, 1, 1)", "nn.AvgPool2d(3, 1, 1)"))
right("a4-concatenated", "reduce with an offset", "functools.reduce over slices of the weight", r'''
import itertools


def convolve_branches(maps, weight, bias):
    ends = list(itertools.accumulate((m.shape[1] for m in maps), initial=0))
    total = bias[:, None, None]
    for m, a, b in zip(maps, ends, ends[1:]):
        total = total + torch.einsum("oc,nchw->nohw", weight[:, a:b], m)
    return total
''')
wrong("a4-concatenated", "a bias for each", "every branch brings the bias along", r'''
def convolve_branches(maps, weight, bias):
    parts = weight[..., None, None].split([m.shape[1] for m in maps], dim=1)
    return sum(F.conv2d(m, part, bias) for m, part in zip(maps, parts))
''')
wrong("a4-concatenated", "filled by slices", "lays the maps together in an empty tensor", r'''
def convolve_branches(maps, weight, bias):
    n, _, h, w = maps[0].shape
    everything = torch.empty(n, weight.shape[1], h, w)
    at = 0
    for m in maps:
        everything[:, at:at + m.shape[1]] = m
        at += m.shape[1]
    return F.conv2d(everything, weight[:, :, None, None], bias)
''')
HEADS = r'''
class TwoHeads(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, 1, 1)
        self.body = nn.Conv2d(width, width * 2, 3, 2, 1)
        self.main = nn.Linear(width * 2, classes)
        self.aux = nn.Linear(width * 4, classes)

    def features(self, x):
        low = self.stem(x).relu()
        return low, self.body(low).relu()

    def forward(self, x):
        low, high = self.features(x)
        answers = [self.main(high.mean(3).mean(2))]
        if self.training:
            answers.append(self.aux(F.adaptive_avg_pool2d(low, 2).flatten(1)))
        return tuple(answers) if self.training else answers[0]
'''
right("a4-auxiliary", "a list of answers", "appended in training", HEADS)
right("a4-auxiliary", "stages as Sequentials", "stem and body hold the ReLU as well", r'''
class TwoHeads(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU())
        self.main = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, classes))
        self.aux = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, classes))

    def forward(self, x):
        low = self.stem(x)
        scores = self.main(self.body(low))
        return (scores, self.aux(low)) if self.training else scores
''', ambiguous=True)
wrong("a4-auxiliary", "aux on detached maps", "the second head teaches the stem nothing", but(HEADS, "F.adaptive_avg_pool2d(low, 2)", "F.adaptive_avg_pool2d(low.detach(), 2)"))
wrong("a4-auxiliary", "aux first", "the pair is exchanged", but(HEADS, "return tuple(answers)", "return tuple(reversed(answers))"))
wrong("a4-auxiliary", "mode remembered", "self.training is looked at in __init__ only", but(but(HEADS, "self.aux = nn.Linear(width * 4, classes)", "self.aux = nn.Linear(width * 4, classes)\n        self.two = self.training"), "self.training:\n", "self.two:\n").replace("if self.training else answers[0]", "if self.two else answers[0]"))
wrong("a4-auxiliary", "main on detached maps", "the first head teaches the stem nothing", but(HEADS, "return low, self.body(low).relu()", "return low, self.body(low.detach()).relu()"))
right("a4-loss", "by hand", "log-sum-exp minus the score of the label", r'''
def loss_of_both(main, aux, labels, weight=0.3):
    def mean_loss(scores):
        return (scores.logsumexp(1) - scores.gather(1, labels[:, None])[:, 0]).mean()

    return mean_loss(main) + weight * mean_loss(aux)
''')
wrong("a4-loss", "a convex mixture", "(1 - weight) main + weight aux", r'''
def loss_of_both(main, aux, labels, weight=0.3):
    return torch.lerp(F.cross_entropy(main, labels), F.cross_entropy(aux, labels), weight)
''')
wrong("a4-loss", "rebuilt as a tensor", "torch.tensor of numbers: no gradient", r'''
def loss_of_both(main, aux, labels, weight=0.3):
    a, b = (F.cross_entropy(scores, labels).item() for scores in (main, aux))
    return torch.tensor(a + weight * b, requires_grad=True)
''')
right("a4-train", "NiN with pools", "1×1 between, global average, OneCycleLR", but(TRAIN, TRAIN[:TRAIN.index("optimizer =")], r'''
def _block(a, b):
    return [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(),
            nn.Conv2d(b, b, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]


network = nn.Sequential(
    *_block(1, 24), nn.MaxPool2d(2), *_block(24, 48), nn.MaxPool2d(2), *_block(48, 64),
    nn.Conv2d(64, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
)
'''))
wrong("a4-train", "a large linear layer", "flattens 1,024 values into a linear layer", but(but(TRAIN, "nn.AdaptiveAvgPool2d(2)", "nn.Identity()"), "nn.Linear(256, 10)", "nn.Linear(1024, 10)"))

# ---------------------------------------------------------------- a5

right("a5-join", "where", "torch.where on the sum", r'''
def join(x, branch):
    total = torch.add(x, branch)
    return torch.where(total > 0, total, torch.zeros_like(total))
''')
wrong("a5-join", "adds in place", "x += branch: the input is overwritten", r'''
def join(x, branch):
    x += branch
    return F.relu(x)
''')
wrong("a5-join", "ReLU on the branch", "then nothing after the sum", r'''
def join(x, branch):
    return x + torch.relu(branch)
''')
right("a5-shortcut", "a product with an eye", "1×1 convolution with an identity matrix", r'''
def shortcut(x, out_channels, stride):
    eye = torch.eye(out_channels, x.shape[1], dtype=x.dtype)
    return F.conv2d(x, eye[:, :, None, None], stride=stride)
''')
right("a5-shortcut", "index_select", "chosen rows and columns, new_zeros behind", r'''
def shortcut(x, out_channels, stride):
    n, c, h, w = x.shape
    x = x.index_select(2, torch.arange(0, h, stride)).index_select(3, torch.arange(0, w, stride))
    return torch.hstack((x, x.new_zeros(n, out_channels - c, *x.shape[2:])))
''')
wrong("a5-shortcut", "interpolate", "nearest, at 1/stride: rounds odd sides down", r'''
def shortcut(x, out_channels, stride):
    x = F.interpolate(x, size=(x.shape[2] // stride, x.shape[3] // stride)) if stride > 1 else x
    return F.pad(x, (0, 0, 0, 0, 0, out_channels - x.shape[1]))
''')
wrong("a5-shortcut", "zeros on both sides", "as in some implementations for CIFAR", r'''
def shortcut(x, out_channels, stride):
    extra = out_channels - x.shape[1]
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, extra // 2, extra - extra // 2))
''')
wrong("a5-shortcut", "average pool", "the mean of stride × stride instead of a pick", r'''
def shortcut(x, out_channels, stride):
    x = F.avg_pool2d(x, stride, ceil_mode=True)
    return torch.cat([x, torch.zeros(x.shape[0], out_channels - x.shape[1], *x.shape[2:])], dim=1)
''')
BASIC = r'''
class Normed(nn.Sequential):
    """A convolution and its norm."""


class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.stride, self.out_channels = stride, out_channels
        for i, (c, s) in enumerate([(in_channels, stride), (out_channels, 1)], start=1):
            self.add_module(f"conv{i}", nn.Conv2d(c, out_channels, 3, s, 1, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(out_channels))
        self.branch = nn.Sequential(Normed(self.conv1, self.bn1), nn.ReLU(), Normed(self.conv2, self.bn2))

    def side(self, x):
        extra = self.out_channels - x.shape[1]
        return F.pad(x[..., ::self.stride, ::self.stride], (0, 0, 0, 0, 0, extra))

    def forward(self, x):
        out = self.branch(x)
        return (out + self.side(x)).relu()
'''
right("a5-basic", "a subclass of Sequential", "add_module in a loop and nested aliases", BASIC)
wrong("a5-basic", "one norm for both", "bn2 is bn1 again", but(BASIC, "        self.branch =", "        self.bn2 = self.bn1\n        self.branch ="))
wrong("a5-basic", "norms in evaluation", "bn.eval() at the start of forward", but(BASIC, "out = self.branch(x)", "self.bn1.eval(), self.bn2.eval()\n        out = self.branch(x)"))
wrong("a5-basic", "another momentum", "BatchNorm2d(momentum=0.01)", but(BASIC, "nn.BatchNorm2d(out_channels)", "nn.BatchNorm2d(out_channels, momentum=0.01)"))
wrong("a5-basic", "the stride is conv2's", "conv1 keeps the size", but(BASIC, "[(in_channels, stride), (out_channels, 1)]", "[(in_channels, 1), (out_channels, stride)]"))
wrong("a5-basic", "no shortcut in the gradient", "side(x.detach())", but(BASIC, "self.side(x))", "self.side(x.detach()))"))
wrong("a5-basic", "rectifies its input", "a ReLU at the start of the branch", but(BASIC, "out = self.branch(x)", "out = self.branch(F.relu(x))"))
BOTTLE = r'''
class Bottleneck(nn.Module):
    def __init__(self, in_channels, width, out_channels, stride=1):
        super().__init__()
        c = lambda a, b, k=1, s=1: nn.Conv2d(a, b, k, s, k // 2, bias=False)
        self.conv1, self.bn1 = c(in_channels, width), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = c(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = c(width, out_channels), nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Identity()
        if (in_channels, 1) != (out_channels, stride):
            self.projection, self.projection_bn = c(in_channels, out_channels), nn.BatchNorm2d(out_channels)
            self.shortcut = nn.Sequential(nn.AvgPool2d(stride), self.projection, self.projection_bn)

    def forward(self, x):
        out = x
        for conv, bn in ((self.conv1, self.bn1), (self.conv2, self.bn2)):
            out = F.relu(bn(conv(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        out += self.shortcut(x)
        return F.relu(out, inplace=True)
'''
right("a5-bottleneck", "Identity or a chain", "shortcut is a module of its own, ReLUs in place", BOTTLE)
wrong("a5-bottleneck", "channels only", "stride with equal channels has no projection", but(BOTTLE, "if (in_channels, 1) != (out_channels, stride):", "if in_channels != out_channels:").replace("self.shortcut = nn.Identity()", "self.shortcut = nn.AvgPool2d(stride)"))
wrong("a5-bottleneck", "strided projection", "1×1 with the stride, no average", but(BOTTLE, "nn.AvgPool2d(stride), self.projection,", "self.projection,").replace("c(in_channels, out_channels), nn.BatchNorm2d(out_channels)\n            self.s", "c(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels)\n            self.s"))
wrong("a5-bottleneck", "the stride in conv1", "as in the paper of 2015", but(but(BOTTLE, "c(in_channels, width), nn", "c(in_channels, width, 1, stride), nn"), "c(width, width, 3, stride)", "c(width, width, 3)"))
PRE = r'''
class PreActivation(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.register_parameter("gain", nn.Parameter(torch.zeros(1)))
        self.register_module("projection", None)
        if stride > 1 or in_channels != out_channels:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x):
        active = self.bn1(x).relu()
        branch = self.conv2(self.bn2(self.conv1(active)).relu())
        shortcut = x if self.projection is None else self.projection(active)
        return torch.addcmul(shortcut, self.gain, branch)
'''
right("a5-preactivation", "register_parameter", "projection registered as None, addcmul", PRE)
wrong("a5-preactivation", "gain is a tensor", "requires a gradient, but is no parameter", but(PRE, 'self.register_parameter("gain", nn.Parameter(torch.zeros(1)))', "self.gain = torch.zeros(1, requires_grad=True)"))
wrong("a5-preactivation", "gain is a buffer", "register_buffer: saved, never learned", but(PRE, 'self.register_parameter("gain", nn.Parameter(torch.zeros(1)))', 'self.register_buffer("gain", torch.zeros(1))'))
wrong("a5-preactivation", "gain through .data", "the factor gets no gradient", but(PRE, "self.gain, branch)", "self.gain.data, branch)"))
wrong("a5-preactivation", "projects x itself", "not what leaves the first ReLU", but(PRE, "self.projection(active)", "self.projection(x)"))
wrong("a5-preactivation", "shortcut activated", "the identity starts behind the first ReLU", but(PRE, "shortcut = x if", "shortcut = active if"))
DENSE = r'''
class DenseBlock(nn.Module):
    def __init__(self, in_channels, growth, layers):
        super().__init__()
        inputs = range(in_channels, in_channels + growth * layers, growth)
        self.bns = nn.ModuleList(map(nn.BatchNorm2d, inputs))
        self.convs = nn.ModuleList(nn.Conv2d(c, growth, 3, padding=1, bias=False) for c in inputs)

    def grow(self, x, pairs):
        for bn, conv in pairs:
            return self.grow(torch.cat((x, conv(bn(x).relu())), dim=1), pairs)
        return x

    def forward(self, x):
        return self.grow(x, zip(self.bns, self.convs))
'''
right("a5-dense", "recursion over an iterator", "map and range in the constructor", DENSE)
wrong("a5-dense", "new maps in front", "the order of the concatenation", but(DENSE, "torch.cat((x, conv(bn(x).relu())), dim=1)", "torch.cat((conv(bn(x).relu()), x), dim=1)"))
wrong("a5-dense", "earlier maps detached", "collected without their gradients, to save memory", but(DENSE, "conv(bn(x).relu())", "conv(bn(x.detach()).relu())"))
wrong("a5-dense", "ReLU before the norm", "relu, then bn", but(DENSE, "bn(x).relu()", "bn(x.relu())"))
wrong("a5-dense", "activates in place", "relu_ on what may be kept: the input's own maps are rectified without a layer's norm", but(DENSE, "conv(bn(x).relu())", "conv(bn(x.relu_()))"))
right("a5-dense-parameters", "closed form", "the sum of an arithmetic series", r'''
def dense_parameters(in_channels, growth, layers):
    channels = layers * (2 * in_channels + (layers - 1) * growth) // 2
    return channels * (9 * growth + 2)
''')
wrong("a5-dense-parameters", "statistics counted", "four numbers a channel", r'''
def dense_parameters(in_channels, growth, layers):
    total = 0
    while layers:
        total += in_channels * (9 * growth + 4)
        in_channels, layers = in_channels + growth, layers - 1
    return total
''')
SE = r'''
class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.up = nn.Linear(channels // reduction, channels)
        self.down = nn.Linear(channels, channels // reduction)

    def forward(self, x):
        means = torch.einsum("nchw->nc", x) / (x.shape[-1] * x.shape[-2])
        gate = 2 * self.up(self.down(means).relu()).sigmoid()
        return torch.einsum("nchw,nc->nchw", x, gate)
'''
right("a5-squeeze-excite", "einsum twice", "squeezed and gated by letters", SE)
wrong("a5-squeeze-excite", "a gate to 1", "the factor 2 forgotten", but(SE, "gate = 2 * ", "gate = "))
wrong("a5-squeeze-excite", "one gate for the batch", "the mean goes over the images too", but(but(SE, '"nchw->nc", x) / (x.shape[-1] * x.shape[-2])', '"nchw->c", x)[None] / (x.numel() / x.shape[1])'), "x, gate)", "x, gate.expand(len(x), -1))"))
wrong("a5-squeeze-excite", "gates without gradient", "the gate is taken as a constant", but(SE, "x, gate)", "x, gate.data)"))
wrong("a5-squeeze-excite", "no ReLU between", "up(down(means))", but(SE, "self.down(means).relu()", "self.down(means)"))
DEEP = r'''
class DeepNet(nn.Module):
    def __init__(self, depth, width, residual):
        super().__init__()
        self.keep = float(residual)
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.layers = nn.ModuleList()
        while len(self.layers) < depth:
            self.layers.append(nn.Conv2d(width, width, 3, padding=1))
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        for layer in self.layers:
            x = self.keep * x + torch.relu(layer(x))
        return self.head(torch.amax(x, (2, 3)) * 0 + x.mean((2, 3)))
'''
right("a5-deep", "a factor of 0 or 1", "while loop, the shortcut multiplied", but(DEEP, "torch.amax(x, (2, 3)) * 0 + x.mean((2, 3))", "x.mean((2, 3))"))
DEEP = but(DEEP, "torch.amax(x, (2, 3)) * 0 + x.mean((2, 3))", "x.mean((2, 3))")
wrong("a5-deep", "ReLU after the sum", "relu(x + layer(x))", but(DEEP, "self.keep * x + torch.relu(layer(x))", "torch.relu(self.keep * x + layer(x))"))
wrong("a5-deep", "one layer, many times", "ModuleList([layer] * depth)", but(DEEP, "self.layers.append(nn.Conv2d(width, width, 3, padding=1))", "self.layers.extend([nn.Conv2d(width, width, 3, padding=1)] * depth)"))
wrong("a5-deep", "stem not activated", "no ReLU behind the stem", but(DEEP, "torch.relu(self.stem(x))", "self.stem(x)"))
wrong("a5-deep", "the largest value", "the head gets each map's maximum", but(DEEP, "x.mean((2, 3))", "x.amax((2, 3))"))
right("a5-train", "three residual blocks", "stride in the blocks, OneCycleLR", but(TRAIN, TRAIN[:TRAIN.index("optimizer =")], r'''
def _norm(a, b, k, s=1):
    return [nn.Conv2d(a, b, k, s, k // 2, bias=False), nn.BatchNorm2d(b)]


def _block(a, b, s):
    side = nn.Sequential(*_norm(a, b, 1, s)) if a != b or s > 1 else None
    branch = nn.Sequential(*_norm(a, b, 3, s), nn.ReLU(), *_norm(b, b, 3))
    return Residual(branch, side) if side else Residual(branch)


network = nn.Sequential(
    *_norm(1, 20, 3), nn.ReLU(), _block(20, 20, 1), _block(20, 40, 2), _block(40, 64, 2),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
)
'''))
wrong("a5-train", "no shortcut", "a plain network", TRAIN)

# ---------------------------------------------------------------- a6

right("a6-mirror", "strides over a grid", "loops that go on by the whole grid", '''
mirror_source = r"""
__global__ void mirror(const float* in, float* out, int h, int w) {
    for (int r = threadIdx.y + blockDim.y * blockIdx.y; r < h; r += blockDim.y * gridDim.y) {
        const float* from = in + r * w;
        float* to = out + r * w;
        for (int c = threadIdx.x + blockDim.x * blockIdx.x; c < w; c += blockDim.x * gridDim.x) to[w - 1 - c] = from[c];
    }
}
"""
''')
MIRROR = '''
mirror_source = r"""
__global__ void mirror(const float* in, float* out, int h, int w) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= w || y >= h)
        return;
    out[y * w + x] = in[(y + 1) * w - 1 - x];
}
"""
'''
wrong("a6-mirror", "guard with >", "one column and one row too many", but(MIRROR, "x >= w || y >= h", "x > w || y > h"))
wrong("a6-mirror", "blocks of 16", "the block's shape is taken for granted", but(MIRROR, "blockIdx.x * blockDim.x", "blockIdx.x * 16").replace("blockIdx.y * blockDim.y", "blockIdx.y * 16"))
wrong("a6-mirror", "upside down", "rows mirrored instead of columns", but(MIRROR, "in[(y + 1) * w - 1 - x]", "in[(h - 1 - y) * w + x]"))
BYTES = '''
bytes_source = r"""
__device__ int pixel(const unsigned char* in, int row, int col, int w, int h) {
    bool inside = 0 <= row && row < h && 0 <= col && col < w;
    return inside ? in[row * w + col] : 0;
}

__global__ void conv2d(const unsigned char* in, const signed char* filter, unsigned char* out,
                       int k, int w, int h) {
    int row = blockIdx.y * blockDim.y + threadIdx.y, col = blockIdx.x * blockDim.x + threadIdx.x;
    if (row < h && col < w) {
        int sum = 0;
        for (int t = 0; t < k * k; t++)
            sum += filter[t] * pixel(in, row - k / 2 + t / k, col - k / 2 + t % k, w, h);
        out[row * w + col] = (unsigned char)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
    }
}
"""
'''
right("a6-bytes", "a device function", "one loop over k * k taps", BYTES)
wrong("a6-bytes", "sum in a byte", "the sum wraps before it is clamped", but(BYTES, "int sum = 0;", "unsigned char sum = 0;"))
wrong("a6-bytes", "above only", "negative sums are not stopped", but(BYTES, "sum < 0 ? 0 : sum > 255", "sum > 255"))
wrong("a6-bytes", "filter turned round", "a true convolution", but(BYTES, "filter[t] *", "filter[k * k - 1 - t] *"))
wrong("a6-bytes", "height for width", "row * h", but(BYTES, "out[row * w + col]", "out[row * h + col]"))
CONSTANT = '''
constant_source = r"""
__constant__ float filter[15 * 15];

__device__ __forceinline__ int clamped(int i, int n) { return i < 0 ? 0 : (i >= n ? n - 1 : i); }

__global__ void conv2d(const float* in, float* out, int k, int h, int w) {
    int col = threadIdx.x + blockIdx.x * blockDim.x;
    int row = threadIdx.y + blockIdx.y * blockDim.y;
    if (row >= h || col >= w) return;
    const float* tap = filter;
    float sum = 0.f;
    for (int dy = -(k / 2); dy <= k / 2; ++dy) {
        const float* line = in + clamped(row + dy, h) * w;
        for (int dx = -(k / 2); dx <= k / 2; ++dx) sum = fmaf(*tap++, line[clamped(col + dx, w)], sum);
    }
    out[row * w + col] = sum;
}
"""
'''
right("a6-constant", "a pointer over the taps", "fmaf, offsets from -k/2 to k/2", CONSTANT)
wrong("a6-constant", "zeros outside", "the border darkens as in part 2", but(CONSTANT, "sum = fmaf(*tap++, line[clamped(col + dx, w)], sum);", "{ int c = col + dx, r = row + dy; float v = (r < 0 || r >= h || c < 0 || c >= w) ? 0.f : in[r * w + c]; sum += *tap++ * v; }"))
wrong("a6-constant", "clamped to n", "one past the end", but(CONSTANT, "(i >= n ? n - 1 : i)", "(i > n ? n : i)"))
wrong("a6-constant", "columns first", "taps read column by column", but(CONSTANT, "*tap++", "filter[(dx + k / 2) * k + dy + k / 2]"))
right("a6-counts", "names and numbers", "computed with ceil and zip", r'''
import math

_blocks = math.ceil(70 / 8) * math.ceil(100 / 32)
_tile = (32 + 7 // 2 * 2) ** 2
counts = dict(zip(counts, [_blocks * 256, _blocks * 256 - 7000, 128 / 32, 32, _tile / 32**2, _tile * 4]))
''')
wrong("a6-counts", "no halo", "the tile is as large as the block", r'''
counts = {
    "threads launched": 9 * 4 * 256,
    "idle threads": 9 * 4 * 256 - 7000,
    "sectors, along a row": 4,
    "sectors, down a column": 32,
    "global loads per output, tiled": 1,
    "bytes of a tile": 32 * 32 * 4,
}
''')
TILED = '''
tiled_source = r"""
__constant__ float filter[15 * 15];

template <int K, int TILE>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    constexpr int R = K / 2, SIDE = TILE + K - 1;
    __shared__ float tile[SIDE * SIDE];
    const int top = int(blockIdx.y) * TILE - R, left = int(blockIdx.x) * TILE - R;
    for (int i = threadIdx.y * TILE + threadIdx.x; i < SIDE * SIDE; i += TILE * TILE) {
        int r = min(max(top + i / SIDE, 0), h - 1), c = min(max(left + i % SIDE, 0), w - 1);
        tile[i] = in[r * w + c];
    }
    __syncthreads();
    int row = blockIdx.y * TILE + threadIdx.y, col = blockIdx.x * TILE + threadIdx.x;
    if (row < h && col < w) {
        float sum = 0;
        for (int t = 0; t < K * K; ++t)
            sum += filter[t] * tile[(threadIdx.y + t / K) * SIDE + threadIdx.x + t % K];
        out[row * w + col] = sum;
    }
}
"""
'''
right("a6-tiled", "a flat tile", "one loop over the tile's floats", TILED)
wrong("a6-tiled", "no barrier", "__syncthreads forgotten", but(TILED, "    __syncthreads();\n", ""))
wrong("a6-tiled", "leaves before loading", "threads outside the image return at once", but(but(TILED, "    for (int i = threadIdx.y", "    if (blockIdx.y * TILE + threadIdx.y >= h || blockIdx.x * TILE + threadIdx.x >= w) return;\n    for (int i = threadIdx.y"), "__syncthreads();", "__syncthreads();"))
wrong("a6-tiled", "unsigned corner", "blockIdx is not cast", but(TILED, "int top = int(blockIdx.y) * TILE - R, left = int(blockIdx.x) * TILE - R", "unsigned top = blockIdx.y * TILE - R, left = blockIdx.x * TILE - R").replace("max(top + i / SIDE, 0)", "max(top + i / SIDE, 0u)").replace("max(left + i % SIDE, 0)", "max(left + i % SIDE, 0u)").replace(", h - 1)", ", unsigned(h - 1))").replace(", w - 1)", ", unsigned(w - 1))"))
wrong("a6-tiled", "one pixel a thread", "the rim of the tile is loaded by nobody", but(TILED, "i < SIDE * SIDE; i += TILE * TILE", "i < TILE * TILE; i += TILE * TILE"))
COARSE = '''
coarsened_source = r"""
__constant__ float filter[15 * 15];

template <int K, int WIDTH, int STRIPS, int ROWS>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    constexpr int R = K / 2, W = WIDTH + 2 * R, H = STRIPS * ROWS + 2 * R;
    __shared__ float tile[H][W];
    const int top = (int)blockIdx.y * (STRIPS * ROWS), left = (int)blockIdx.x * WIDTH;
    for (int y = threadIdx.y; y < H; y += STRIPS)
        for (int x = threadIdx.x; x < W; x += WIDTH)
            tile[y][x] = in[max(0, min(h - 1, top + y - R)) * w + max(0, min(w - 1, left + x - R))];
    __syncthreads();
    const int first = threadIdx.y * ROWS, col = left + threadIdx.x;
    float sums[ROWS] = {};
#pragma unroll
    for (int dx = 0; dx < K; ++dx) {
        float taps[K];
#pragma unroll
        for (int j = 0; j < K; ++j) taps[j] = filter[j * K + dx];
#pragma unroll
        for (int y = 0; y < ROWS + K - 1; ++y) {
            const float v = tile[first + y][threadIdx.x + dx];
#pragma unroll
            for (int j = 0; j < K; ++j)
                if (y - j >= 0 && y - j < ROWS) sums[y - j] += taps[j] * v;
        }
    }
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
        if (top + first + i < h && col < w) out[(top + first + i) * w + col] = sums[i];
}
"""
'''
right("a6-coarsened", "column by column", "taps of a column in registers, then down the strip", COARSE)
wrong("a6-coarsened", "rows unguarded", "only the first of the rows is looked at", but(COARSE, "top + first + i < h && col", "top + first < h && col"))
wrong("a6-coarsened", "rows not shared", "each sum reads its own words from the tile", but(COARSE, '''        for (int y = 0; y < ROWS + K - 1; ++y) {
            const float v = tile[first + y][threadIdx.x + dx];
#pragma unroll
            for (int j = 0; j < K; ++j)
                if (y - j >= 0 && y - j < ROWS) sums[y - j] += taps[j] * v;
        }''', '''        for (int i = 0; i < ROWS; ++i)
            for (int j = 0; j < K; ++j) sums[i] += taps[j] * tile[first + i + j][threadIdx.x + dx];'''))

# ---------------------------------------------------------------- a7

right("a7-baseline", "mode", "torch.mode and a mean", r'''
def baseline(labels):
    favourite = torch.mode(labels).values
    return torch.eq(labels, favourite).double().mean()
''')
wrong("a7-baseline", "one in so many classes", "as if all classes were equally frequent", r'''
def baseline(labels):
    return 1 / len(set(labels.tolist()))
''')
wrong("a7-baseline", "the last class's share", "sorted by class, not by count", r'''
def baseline(labels):
    classes, counts = labels.unique(return_counts=True)
    return (counts[-1] / counts.sum()).item()
''')
right("a7-few", "a running count", "how many of its class came before, from one-hot sums", r'''
def few(labels, each):
    hot = labels[:, None] == labels.unique()
    place = hot.cumsum(0)[hot]
    return torch.nonzero(place <= each).flatten()
''')
wrong("a7-few", "class by class", "grouped, not in increasing order", r'''
def few(labels, each):
    return torch.cat([torch.where(labels == c)[0][:each] for c in labels.unique()])
''')
wrong("a7-few", "the last class is left out", "range(labels.max())", r'''
def few(labels, each):
    chosen = [i for c in range(int(labels.max())) for i in (labels == c).nonzero()[:each, 0].tolist()]
    return torch.tensor(sorted(chosen))
''')
HEAD = r'''
def adapted(width, classes, hidden=0):
    trunk = Trunk(width)
    sizes = [trunk.fc.in_features] + [hidden] * bool(hidden) + [classes]
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [nn.ReLU()] * bool(layers) + [nn.Linear(a, b)]
    trunk.fc = nn.Sequential(*layers) if hidden else layers[0]
    return trunk
'''
right("a7-head", "a list of sizes", "layers from pairs of sizes", HEAD)
wrong("a7-head", "only the number is changed", "fc.out_features = classes changes no weight", r'''
def adapted(width, classes, hidden=0):
    net = Trunk(width)
    if hidden:
        net.fc = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, classes))
    else:
        net.fc.out_features = classes
    return net
''')
wrong("a7-head", "behind the old head", "the eight old scores go into the new layer", r'''
def adapted(width, classes, hidden=0):
    net = Trunk(width)
    new = nn.Sequential(nn.Linear(8, hidden), nn.ReLU(), nn.Linear(hidden, classes)) if hidden else nn.Linear(8, classes)
    net.fc = nn.Sequential(net.fc, new)
    return net
''')
wrong("a7-head", "the trunk frozen", "by habit", but(HEAD, "    sizes =", "    trunk.requires_grad_(False)\n    sizes ="))
right("a7-freeze", "a filter over names", "the last units' prefixes", r'''
def trained(trainable, classes):
    units = [("conv1.", "bn1."), ("layer1.",), ("layer2.",), ("layer3.",), ("fc.",)]
    prefixes = sum(units[5 - trainable:], ())
    network = load_trunk("patterns", classes)
    for name, parameter in network.named_parameters():
        parameter.requires_grad = name.startswith(prefixes)
    alive = {n: p.numel() for n, p in network.named_parameters() if p.requires_grad}
    return list(alive), sum(alive.values())
''')
wrong("a7-freeze", "units[-0:]", "none means all", r'''
def trained(trainable, classes):
    net = load_trunk("patterns", classes)
    net.requires_grad_(False)
    units = [[net.conv1, net.bn1], [net.layer1], [net.layer2], [net.layer3], [net.fc]]
    for unit in units[-trainable:]:
        for part in unit:
            part.requires_grad_(True)
    live = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
    return [n for n, _ in live], sum(p.numel() for _, p in live)
''')
wrong("a7-freeze", "bn1 stays alive", "unit 1 is conv1 only", r'''
def trained(trainable, classes):
    net = load_trunk("patterns", classes)
    parts = [net.conv1, net.layer1, net.layer2, net.layer3, net.fc]
    for part in parts[:5 - trainable]:
        part.requires_grad_(False)
    live = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
    return [n for n, _ in live], sum(p.numel() for _, p in live)
''')
right("a7-frozen-norm", "a norm that stays", "a subclass whose train() always ends in evaluation", r'''
class Still(nn.BatchNorm2d):
    def train(self, mode=True):
        return super().train(False)


class FrozenTrunk(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), Still(width).eval(), nn.ReLU())
        self.norm, self.head = nn.BatchNorm1d(width), nn.Linear(width, classes)
        for parameter in self.trunk.parameters():
            parameter.requires_grad = False

    def train(self, mode=True):
        return super().train(mode)

    def forward(self, x):
        return self.head(self.norm(self.trunk(x).flatten(2).mean(-1)))
''')
FROZEN = r'''
class FrozenTrunk(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)
        self.trunk.requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        for part in self.trunk.modules():
            part.training = False
        return self

    def forward(self, x):
        return self.head(self.norm(self.trunk(x).mean((2, 3))))
'''
right("a7-frozen-norm", "the flag itself", "training = False in all parts of the trunk", FROZEN)
wrong("a7-frozen-norm", "an attribute", "self.trunk.requires_grad = False freezes nothing", but(FROZEN, "self.trunk.requires_grad_(False)", "self.trunk.requires_grad = False"))
wrong("a7-frozen-norm", "everything in evaluation", "norm stands still too", but(FROZEN, "for part in self.trunk.modules():", "for part in self.modules():"))
wrong("a7-frozen-norm", "momentum 0", "never moves, but normalizes with the batch", but(but(FROZEN, "nn.BatchNorm2d(width)", "nn.BatchNorm2d(width, momentum=0.0)"), "        for part in self.trunk.modules():\n            part.training = False\n", ""))
wrong("a7-frozen-norm", "no_grad alone", "the trunk's parameters still ask for a gradient", but(but(FROZEN, "        self.trunk.requires_grad_(False)\n", ""), "return self.head(self.norm(self.trunk(x).mean((2, 3))))", "with torch.no_grad():\n            seen = self.trunk(x).mean((2, 3))\n        return self.head(self.norm(seen))"))
wrong("a7-frozen-norm", "norm frozen too", "every batch norm's scale and shift", but(FROZEN, "self.trunk.requires_grad_(False)", "self.trunk.requires_grad_(False)\n        self.norm.requires_grad_(False)"))
right("a7-rates", "from the head down", "a deque filled from the left", r'''
from collections import deque


def rates(units, learning_rate, decay, frozen=0):
    found, rate = deque(), learning_rate
    for unit in reversed(range(units)):
        found.appendleft(rate if unit >= frozen else 0)
        rate *= decay
    return list(found)
''')
wrong("a7-rates", "the first unit learns fastest", "the decay runs upwards", r'''
def rates(units, learning_rate, decay, frozen=0):
    return [0.0] * frozen + [learning_rate * decay**i for i in range(units - frozen)]
''')
wrong("a7-rates", "decay from the first that trains", "the head gets less than the rate", r'''
def rates(units, learning_rate, decay, frozen=0):
    return [0 if i < frozen else learning_rate * decay ** (units - i) for i in range(units)]
''')
right("a7-features", "a hook", "what a forward pre-hook catches", r'''
def features(images, trunk):
    net, caught = load_trunk(trunk).eval(), {}
    handle = net.fc.register_forward_pre_hook(lambda module, inputs: caught.update(found=inputs[0]))
    with torch.inference_mode():
        net(images)
    handle.remove()
    return caught["found"].clone()
''')
wrong("a7-features", "in training mode", "the batch's own statistics", r'''
@torch.no_grad()
def features(images, trunk):
    net = load_trunk(trunk).train()
    net.fc = nn.Identity()
    return net(images)
''')
wrong("a7-features", "gradients kept", "no detach, no no_grad", r'''
def features(images, trunk):
    net = load_trunk(trunk).eval()
    net.fc = nn.Sequential()
    return net(images)
''')
wrong("a7-features", "always the same trunk", "the argument is not looked at", r'''
@torch.no_grad()
def features(images, trunk):
    net = load_trunk("patterns").eval()
    net.fc = nn.Identity()
    return net(images)
''')
right("a7-nearest-mean", "squares expanded", "|q|² - 2 q·m + |m|², index_add for the means", r'''
def nearest_mean(features, labels, queries):
    classes = int(labels.max()) + 1
    sums = torch.zeros(classes, features.shape[1]).index_add(0, labels, features)
    means = sums / torch.bincount(labels, minlength=classes)[:, None]
    return torch.argmin(means.square().sum(1) - 2 * queries @ means.T, dim=1)
''')
wrong("a7-nearest-mean", "the largest product", "no distance: long means win", r'''
def nearest_mean(features, labels, queries):
    means = torch.stack([features[labels == c].mean(0) for c in range(labels.max() + 1)])
    return (queries @ means.T).argmax(1)
''')
wrong("a7-nearest-mean", "the nearest image", "one neighbour instead of the class's mean", r'''
def nearest_mean(features, labels, queries):
    return labels[torch.cdist(queries, features).argmin(dim=1)]
''')
wrong("a7-nearest-mean", "the mean over axes", "features[labels == c].mean(): one number a class", r'''
def nearest_mean(features, labels, queries):
    means = torch.stack([features[labels == c].mean() for c in labels.unique()])
    return (queries.mean(1, keepdim=True) - means).abs().argmin(1)
''')
wrong("a7-train", "a linear layer on pixels", "no trunk at all", r'''
pixels = nn.Sequential(nn.Flatten(), nn.Linear(768, 6))
optimizer = torch.optim.AdamW(pixels.parameters(), 0.01)
for _ in range(150):
    loss = F.cross_entropy(pixels(train.images), train.labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def predict(images):
    with torch.no_grad():
        return pixels(images).argmax(1)
''')

# ---------------------------------------------------------------- a8

SLOPES = r'''


def slopes(a, x, h):
    return numerical_gradient(lambda x: (a * x**3).sum() + x.sum() ** 2, x, h)
'''
right("a8-numerical", "rows of a unit matrix", "torch.eye, reshaped to x", r'''
def numerical_gradient(f, x, h=1e-5):
    steps = h * torch.eye(x.numel(), dtype=x.dtype).reshape(-1, *x.shape)
    slope = [(f(x + step) - f(x - step)) / (2 * h) for step in steps]
    return torch.as_tensor(slope, dtype=x.dtype).reshape(x.shape)
''' + SLOPES)
wrong("a8-numerical", "ahead only", "one-sided difference", r'''
def numerical_gradient(f, x, h=1e-5):
    out = torch.zeros_like(x)
    for i in range(x.numel()):
        ahead = x.clone()
        ahead.view(-1)[i] += h
        out.view(-1)[i] = (f(ahead) - f(x)) / h
    return out
''' + SLOPES)
wrong("a8-numerical", "never put back", "x is moved and stays moved", r'''
def numerical_gradient(f, x, h=1e-5):
    out = torch.zeros_like(x)
    for i in range(x.numel()):
        x.view(-1)[i] += h
        ahead = f(x)
        x.view(-1)[i] -= 2 * h
        out.view(-1)[i] = (ahead - f(x)) / (2 * h)
    return out
''' + SLOPES)
wrong("a8-numerical", "one axis", "x[i] moves a whole row of a matrix", r'''
def numerical_gradient(f, x, h=1e-5):
    out = torch.zeros_like(x)
    for i in range(len(x)):
        step = torch.zeros_like(x)
        step[i] = h
        out[i] = (f(x + step) - f(x - step)) / (2 * h)
    return out
''' + SLOPES)
LINEAR = r'''
def linear(x, weight, bias, dout=None):
    if dout is not None:
        return (torch.einsum("no,oi->ni", dout, weight), torch.einsum("no,ni->oi", dout, x), torch.einsum("no->o", dout))
    return torch.addmm(bias, x, weight.mT)
'''
right("a8-linear", "three einsums", "addmm forward", LINEAR)
wrong("a8-linear", "bias averaged", "dbias is the mean over images", but(LINEAR, 'torch.einsum("no->o", dout)', "dout.mean(0)"))
wrong("a8-linear", "transposed gradient", "dweight has shape (I, O)", but(LINEAR, '"no,ni->oi"', '"no,ni->io"'))
wrong("a8-linear", "autograd's", "torch.autograd.grad does the work", r'''
def linear(x, weight, bias, dout=None):
    if dout is None:
        return x @ weight.T + bias
    with torch.enable_grad():
        inputs = [t.detach().clone().requires_grad_() for t in (x, weight, bias)]
        return torch.autograd.grad(linear(*inputs), inputs, dout)
''')
right("a8-relu", "a mask's sign", "sign of the output", r'''
def relu(x, dout=None):
    out = torch.clamp(x, min=0)
    return out if dout is None else torch.sign(out) * dout
''')
wrong("a8-relu", "passes at 0", ">= 0", r'''
def relu(x, dout=None):
    return x.clamp_min(0) if dout is None else dout.where(x >= 0, dout.new_zeros(()))
''')
wrong("a8-relu", "dout changed in place", "dout[x <= 0] = 0", r'''
def relu(x, dout=None):
    if dout is None:
        return x * (x > 0)
    dout[x <= 0] = 0
    return dout
''')
right("a8-cross-entropy", "log_softmax by hand", "nll by gather, gradient by scatter_add", r'''
def cross_entropy(scores, labels):
    n = scores.size(0)
    shifted = scores - scores.amax(dim=1, keepdim=True)
    log_p = shifted - torch.logsumexp(shifted, dim=1, keepdim=True)
    y = labels.unsqueeze(1)
    gradient = log_p.exp().scatter_add(1, y, -torch.ones_like(y, dtype=scores.dtype)) / n
    return -log_p.gather(1, y).mean(), gradient
''')
wrong("a8-cross-entropy", "a gradient of the sum", "the mean is forgotten on the way back", r'''
def cross_entropy(scores, labels):
    p = torch.softmax(scores, 1)
    loss = F.cross_entropy(scores, labels)
    p[range(len(labels)), labels] -= 1
    return loss, p
''')
wrong("a8-cross-entropy", "the batch's maximum", "one number subtracted from all images: small scores vanish", r'''
def cross_entropy(scores, labels):
    e = torch.exp(scores - scores.max())
    p = e / e.sum(1, keepdim=True)
    hot = torch.eye(scores.shape[1], dtype=scores.dtype)[labels]
    return -(p * hot).sum(1).log().mean(), (p - hot) / len(labels)
''')
CONV = r'''
def conv2d(x, weight, bias, stride, padding, dout=None):
    O, C, h, w = weight.shape
    N, _, H, W = x.shape
    padded = x.new_zeros(N, C, H + 2 * padding, W + 2 * padding)
    padded[:, :, padding:padding + H, padding:padding + W] = x
    rows, cols = (H + 2 * padding - h) // stride + 1, (W + 2 * padding - w) // stride + 1
    out = bias.view(1, -1, 1, 1).repeat(N, 1, rows, cols)
    dpadded, dweight = torch.zeros_like(padded), torch.zeros_like(weight)
    for i in range(rows):
        for j in range(cols):
            at = (slice(None), slice(None), slice(i * stride, i * stride + h), slice(j * stride, j * stride + w))
            if dout is None:
                out[:, :, i, j] += torch.einsum("nchw,ochw->no", padded[at], weight)
            else:
                dpadded[at] += torch.einsum("no,ochw->nchw", dout[:, :, i, j], weight)
                dweight += torch.einsum("no,nchw->ochw", dout[:, :, i, j], padded[at])
    if dout is None:
        return out
    return dpadded[:, :, padding:padding + H, padding:padding + W], dweight, dout.sum((0, 2, 3))
'''
right("a8-conv-loops", "a tuple of slices", "both ways in one pair of loops", CONV)
wrong("a8-conv-loops", "overwritten", "dx assigned, so that overlaps are lost", but(CONV, "dpadded[at] +=", "dpadded[at] ="))
wrong("a8-conv-loops", "cut from -p", "[p:-p], which is empty without padding", but(CONV, "return dpadded[:, :, padding:padding + H, padding:padding + W]", "return dpadded[:, :, padding:-padding, padding:-padding]"))
wrong("a8-conv-loops", "the images' mean", "weights' gradients divided by N", but(CONV, ", dweight, dout.sum((0, 2, 3))", ", dweight / N, dout.sum((0, 2, 3)) / N"))
MATRIX = r'''
def conv2d_fast(x, weight, bias, stride, padding, dout=None):
    size = weight.shape[2:]
    columns = F.unfold(x, size, padding=padding, stride=stride)
    matrix = weight.flatten(1)
    if dout is None:
        rows = (x.shape[2] + 2 * padding - size[0]) // stride + 1
        return (matrix @ columns + bias[:, None]).unflatten(2, (rows, -1))
    dout = dout.flatten(2)
    dcolumns = torch.einsum("of,nop->nfp", matrix, dout)
    dmatrix = torch.einsum("nop,nfp->of", dout, columns)
    dx = F.fold(dcolumns, x.shape[2:], size, padding=padding, stride=stride)
    return dx, dmatrix.reshape(weight.shape), dout.sum((0, 2))
'''
right("a8-conv-matrix", "unflatten", "einsum on columns", MATRIX)
wrong("a8-conv-matrix", "a square is assumed", "one side of the output for both", but(MATRIX, "(rows, -1)", "(rows, rows)").replace("(matrix @ columns + bias[:, None])", "(matrix @ columns + bias[:, None])[:, :, :rows * rows]"))
wrong("a8-conv-matrix", "conv_transpose2d", "a convolution of PyTorch's for dx", but(MATRIX, "dx = F.fold(dcolumns, x.shape[2:], size, padding=padding, stride=stride)", '''rest = [(n + 2 * padding - k) % stride for n, k in zip(x.shape[2:], size)]
    rows = (x.shape[2] + 2 * padding - size[0]) // stride + 1
    dx = F.conv_transpose2d(dout.unflatten(2, (rows, -1)), weight, None, stride, padding, rest)'''))
wrong("a8-conv-matrix", "last image's weight", "a loop over images, and = for +=", but(MATRIX, 'dmatrix = torch.einsum("nop,nfp->of", dout, columns)', "for d, c in zip(dout, columns):\n        dmatrix = d @ c.T"))
right("a8-max-pool", "winners by number", "return_indices and scatter_add", r'''
def max_pool(x, size, stride, dout=None):
    out, winners = F.max_pool2d(x, size, stride, return_indices=True)
    if dout is None:
        return out
    flat = x.new_zeros(*x.shape[:2], x.shape[2] * x.shape[3])
    return flat.scatter_add(2, winners.flatten(2), dout.flatten(2)).view_as(x)
''')
wrong("a8-max-pool", "max_unpool", "a pixel that wins twice gets one gradient only", r'''
def max_pool(x, size, stride, dout=None):
    out, winners = F.max_pool2d(x, size, stride, return_indices=True)
    if dout is None:
        return out
    dx = torch.zeros_like(x).flatten(2)
    dx.scatter_(2, winners.flatten(2), dout.flatten(2))
    return dx.reshape(x.shape)
''')
wrong("a8-max-pool", "all that are equal win", "a mask x == max", r'''
def max_pool(x, size, stride, dout=None):
    out = F.max_pool2d(x, size, stride)
    if dout is None:
        return out
    dx = torch.zeros_like(x)
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            r, c = i * stride, j * stride
            window = x[:, :, r:r + size, c:c + size]
            dx[:, :, r:r + size, c:c + size] += (window == out[:, :, i, j, None, None]) * dout[:, :, i, j, None, None]
    return dx
''')
NORM = r'''
def batch_norm(x, gamma, beta, mean, var, training, dout=None):
    each = lambda t: t.view(1, -1, 1, 1)
    axes, n = (0, 2, 3), x.numel() // x.shape[1]
    mu, sigma2 = (x.mean(axes), x.var(axes, unbiased=False)) if training else (mean, var)
    root = (sigma2 + 1e-5).rsqrt()
    hat = (x - each(mu)) * each(root)
    if dout is None:
        if training:
            mean, var = 0.9 * mean + 0.1 * mu, 0.9 * var + 0.1 * sigma2 * n / (n - 1)
        return each(gamma) * hat + each(beta), mean, var
    dgamma, dbeta = torch.sum(dout * hat, axes), torch.sum(dout, axes)
    dhat = dout
    if training:
        dhat = dout - each(dbeta) / n - hat * each(dgamma) / n
    return each(gamma * root) * dhat, dgamma, dbeta
'''
right("a8-batch-norm", "in terms of dgamma and dbeta", "the closed form", NORM)
wrong("a8-batch-norm", "n for n - 1", "the running variance takes the biased one", but(NORM, "0.1 * sigma2 * n / (n - 1)", "0.1 * sigma2"))
wrong("a8-batch-norm", "statistics are constants", "the gradient of evaluation in training too", but(NORM, "    if training:\n        dhat = dout", "    if False:\n        dhat = dout"))
wrong("a8-batch-norm", "momentum the other way", "0.1 of the old", but(NORM, "0.9 * mean + 0.1 * mu", "0.1 * mean + 0.9 * mu"))
wrong("a8-batch-norm", "statistics changed in place", "mean.mul_ on the caller's tensors", but(NORM, "mean, var = 0.9 * mean + 0.1 * mu, 0.9 * var + 0.1 * sigma2 * n / (n - 1)", "mean.mul_(0.9).add_(0.1 * mu)\n            var.mul_(0.9).add_(0.1 * sigma2 * n / (n - 1))"))
right("a8-momentum", "foreach", "torch._foreach on lists", r'''
def momentum_step(weights, gradients, velocities, rate, momentum):
    velocities = torch._foreach_add(torch._foreach_mul(velocities, momentum), gradients)
    return torch._foreach_add(weights, velocities, alpha=-rate), velocities
''')
wrong("a8-momentum", "the rate in the velocity", "v = m v + rate g, w = w - rate v", r'''
def momentum_step(weights, gradients, velocities, rate, momentum):
    velocities = [momentum * v + rate * g for v, g in zip(velocities, gradients)]
    return [w - rate * v for w, v in zip(weights, velocities)], velocities
''')
wrong("a8-momentum", "the old velocity", "the weight moves before the velocity", r'''
def momentum_step(weights, gradients, velocities, rate, momentum):
    moved = [w - rate * v for w, v in zip(weights, velocities)]
    return moved, [momentum * v + g for v, g in zip(velocities, gradients)]
''')
wrong("a8-momentum", "in place", "weights and velocities of the caller are changed", r'''
def momentum_step(weights, gradients, velocities, rate, momentum):
    for w, g, v in zip(weights, gradients, velocities):
        v *= momentum
        v += g
        w -= rate * v
    return weights, velocities
''')
LENET8 = r'''
PARTS = ("conv1", "conv2", "fc1", "fc2", "fc3")


def _conv(x, weight, bias, padding, dout=None):
    size = tuple(weight.shape[2:])
    columns = F.unfold(x, size, padding=padding)
    if dout is None:
        rows = x.shape[2] + 2 * padding - size[0] + 1
        return (weight.flatten(1) @ columns + bias[:, None]).unflatten(2, (rows, -1))
    d = dout.flatten(2)
    dx = F.fold(weight.flatten(1).T @ d, x.shape[2:], size, padding=padding)
    return dx, (d @ columns.mT).sum(0).view_as(weight), d.sum((0, 2))


def _full(x, weight, bias, dout=None):
    return x @ weight.T + bias if dout is None else (dout @ weight, dout.T @ x, dout.sum(0))


def lenet(images, weights, labels=None):
    own = lambda name: (weights[name + ".weight"], weights[name + ".bias"])
    tape, x = [], images
    for name in PARTS:
        if name == "fc1":
            tape.append(("shape", x.shape))
            x = x.flatten(1)
        if name.startswith("conv"):
            padding = 2 if name == "conv1" else 0
            tape.append((name, x, padding))
            x = _conv(x, *own(name), padding)
        else:
            tape.append((name, x, None))
            x = _full(x, *own(name))
        if name != "fc3":
            tape.append(("relu", x))
            x = x.clamp(min=0)
        if name.startswith("conv"):
            pooled, winners = F.max_pool2d(x, 2, return_indices=True)
            tape.append(("pool", x.shape, winners))
            x = pooled
    if labels is None:
        return x
    log_p = x.log_softmax(1)
    loss = F.nll_loss(log_p, labels)
    d = (log_p.exp() - F.one_hot(labels, x.shape[1])) / len(labels)
    gradients = {}
    for kind, *kept in reversed(tape):
        if kind == "shape":
            d = d.view(kept[0])
        elif kind == "relu":
            d = d * (kept[0] > 0)
        elif kind == "pool":
            shape, winners = kept
            flat = d.new_zeros(*shape[:2], shape[2] * shape[3])
            d = flat.scatter_add(2, winners.flatten(2), d.flatten(2)).view(shape)
        else:
            seen, padding = kept
            back = _full(seen, *own(kind), d) if padding is None else _conv(seen, *own(kind), padding, d)
            d, gradients[kind + ".weight"], gradients[kind + ".bias"] = back
    return loss, gradients
'''
right("a8-lenet", "a tape", "what was done is noted and undone in reverse", LENET8)
wrong("a8-lenet", "ReLU on the scores", "the last layer is rectified too", but(LENET8, 'if name != "fc3":', "if name:"))
wrong("a8-lenet", "mask forgotten", "no ReLU on the way back through the fully connected layers", but(LENET8, "d = d * (kept[0] > 0)", "d = d * (kept[0] > 0) if kept[0].dim() == 4 else d"))
wrong("a8-lenet", "no padding in conv1", "padding 0 in both convolutions", but(LENET8, 'padding = 2 if name == "conv1" else 0', "padding = 0"))
wrong("a8-train", "all weights of deviation 1", "far too large a start, so it diverges", r'''
shapes = {"conv1": (6, 1, 5, 5), "conv2": (16, 6, 5, 5), "fc1": (120, 400), "fc2": (84, 120), "fc3": (10, 84)}
weights = {}
for name, shape in shapes.items():
    weights[f"{name}.weight"], weights[f"{name}.bias"] = torch.randn(shape), torch.zeros(shape[0])
velocities = [torch.zeros_like(w) for w in weights.values()]
for batch in torch.randperm(1000).split(32):
    _, gradients = lenet(train.images[batch], weights, train.labels[batch])
    moved_on, velocities = momentum_step(list(weights.values()), [gradients[k] for k in weights], velocities, 0.05, 0.9)
    weights = dict(zip(weights, moved_on))
network = nn.Sequential()
for name, layer in {
    "conv1": nn.Conv2d(1, 6, 5, padding=2),
    "conv2": nn.Conv2d(6, 16, 5),
    "fc1": nn.Linear(400, 120),
    "fc2": nn.Linear(120, 84),
    "fc3": nn.Linear(84, 10),
}.items():
    layer.load_state_dict({kind: weights[f"{name}.{kind}"] for kind in ("weight", "bias")})
    network.append(layer)
    if name != "fc3":
        network.append(nn.ReLU())
    if name.startswith("conv"):
        network.append(nn.MaxPool2d(2))
    if name == "conv2":
        network.append(nn.Flatten())
''')
