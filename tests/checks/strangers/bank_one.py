"""Bank one: the careful engineer, and the user of Kaggle and of PyTorch's forum."""

from answer import Bank

ANSWERS = Bank()
right, wrong = ANSWERS.right, ANSWERS.wrong

# ---------------------------------------------------------------- a1

right("a1-window", "einsum on the slice", "an einsum in place of a product and a sum", r'''
def window_response(image, kernel, row, col):
    height, width = kernel.shape
    return torch.einsum("ij,ij->", image[row:row + height, col:col + width], kernel)
''')
right("a1-window", "plain loops to a float", "adds Python floats, returns a float", r'''
def window_response(image, kernel, row: int, col: int) -> float:
    total = 0.0
    for r, line in enumerate(kernel.tolist()):
        for c, weight in enumerate(line):
            total += weight * image[row + r, col + c].item()
    return total
''')
wrong("a1-window", "square kernels only", "takes the height of the kernel for its width too", r'''
def window_response(image, kernel, row, col):
    k = kernel.shape[0]
    return (image[row:row + k, col:col + k] * kernel).sum()
''')
wrong("a1-window", "centred window", "takes (row, col) as the centre of the window, as OpenCV does", r'''
def window_response(image, kernel, row, col):
    h, w = kernel.shape
    top, left = max(row - h // 2, 0), max(col - w // 2, 0)
    return (image[top:top + h, left:left + w] * kernel).sum()
''')
right("a1-output-size", "length of a range", "counts the starts with range()", r'''
def output_size(n, k, padding=0, stride=1):
    return len(range(0, n + 2 * padding - k + 1, stride))
''')
wrong("a1-output-size", "rounds up", "ceil instead of floor: a last step that leaves the image is taken", r'''
import math


def output_size(n, k, padding=0, stride=1):
    return math.ceil((n + 2 * padding - k) / stride) + 1
''')
wrong("a1-output-size", "rounds to the nearest", "round() agrees with floor for stride 1 and often for stride 2 (halves go to the even number), not for stride 3", r'''
def output_size(n, k, padding=0, stride=1):
    return round((n + 2 * padding - k) / stride) + 1
''')
right("a1-loops", "stacks of stacks", "nested helper, a nested comprehension and torch.stack", r'''
def conv2d_loops(image, kernel):
    (H, W), (h, w) = image.shape, kernel.shape

    def at(i, j):
        return torch.sum(image[i:i + h, j:j + w] * kernel)

    return torch.stack([torch.stack([at(i, j) for j in range(W - w + 1)]) for i in range(H - h + 1)])
''')
wrong("a1-loops", "F.conv2d in disguise", "PyTorch's own convolution, which the text forbids", r'''
import torch.nn.functional as F


def conv2d_loops(image, kernel):
    out = F.conv2d(image[None, None], kernel[None, None])
    return out[0, 0]
''')
wrong("a1-loops", "the shorter side for both", "both loops run over the shorter side: right for square results only", r'''
def conv2d_loops(image, kernel):
    H, W = image.shape
    h, w = kernel.shape
    n = min(H - h, W - w) + 1
    out = torch.zeros(H - h + 1, W - w + 1)
    for i in range(n):
        for j in range(n):
            out[i, j] = (image[i:i + h, j:j + w] * kernel).sum()
    return out
''')
right("a1-flip", "index reversed by arange", "turns the kernel by indexing with falling numbers, own loops", r'''
def true_convolution(image, kernel):
    h, w = kernel.shape
    turned = kernel[torch.arange(h - 1, -1, -1)][:, torch.arange(w - 1, -1, -1)]
    H, W = image.shape
    out = image.new_zeros(H - h + 1, W - w + 1)
    for r in range(h):
        for c in range(w):
            out += turned[r, c] * image[r:r + H - h + 1, c:c + W - w + 1]
    return out
''')
wrong("a1-flip", "transposes", "takes half a turn for a transposition", r'''
def conv2d_loops(image, kernel):
    h, w = kernel.shape
    out = torch.zeros(image.shape[0] - h + 1, image.shape[1] - w + 1)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = (image[i:i + h, j:j + w] * kernel).sum()
    return out


def true_convolution(image, kernel):
    return conv2d_loops(image, kernel.T)
''')
wrong("a1-flip", "flips the columns only", "fliplr: the rows keep their order", r'''
def true_convolution(image, kernel):
    kernel = torch.fliplr(kernel)
    h, w = kernel.shape
    return (image.unfold(0, h, 1).unfold(1, w, 1) * kernel).sum((2, 3))
''')
right("a1-vectorized", "tensordot", "tensordot over the last two axes of the windows", r'''
def conv2d_fast(image, kernel):
    return torch.tensordot(image.unfold(0, kernel.size(0), 1).unfold(1, kernel.size(1), 1), kernel, dims=2)
''')
right("a1-vectorized", "as_strided and a matrix product", "strides by hand, then windows @ kernel", r'''
def conv2d_fast(image, kernel):
    image = image.contiguous()
    (H, W), (h, w) = image.shape, kernel.shape
    oh, ow = H - h + 1, W - w + 1
    windows = torch.as_strided(image, (oh, ow, h, w), (W, 1, W, 1), image.storage_offset())
    return (windows.reshape(oh * ow, h * w) @ kernel.reshape(-1)).view(oh, ow)
''')
wrong("a1-vectorized", "a hidden comprehension", "a generator expression loops over the kernel's elements", r'''
def conv2d_fast(image, kernel):
    (H, W), (h, w) = image.shape, kernel.shape
    return sum(kernel[i // w, i % w] * image[i // w:i // w + H - h + 1, i % w:i % w + W - w + 1] for i in range(h * w))
''')
wrong("a1-vectorized", "kernel of the wrong axes", "unfold in the wrong order of sizes: right for square kernels only", r'''
def conv2d_fast(image, kernel):
    h, w = kernel.shape
    windows = image.unfold(0, w, 1).unfold(1, h, 1)
    return torch.einsum("ijba,ab->ij", windows, kernel)
''')
right("a1-padding", "frame of zeros by slicing", "copies the image into new_zeros, strided slices, a loop over the taps", r'''
def conv2d(image, kernel, padding=0, stride=1):
    H, W = image.shape
    h, w = kernel.shape
    framed = image.new_zeros((H + 2 * padding, W + 2 * padding))
    framed[padding:padding + H, padding:padding + W] = image
    rows, cols = (framed.shape[0] - h) // stride + 1, (framed.shape[1] - w) // stride + 1
    out = framed.new_zeros((rows, cols))
    for a in range(h):
        for b in range(w):
            patch = framed[a:a + stride * (rows - 1) + 1:stride, b:b + stride * (cols - 1) + 1:stride]
            out += kernel[a, b] * patch
    return out
''')
wrong("a1-padding", "stride across only", "the window moves by stride to the right, by 1 downwards", r'''
import torch.nn.functional as F


def conv2d(image, kernel, padding=0, stride=1):
    padded = F.pad(image, (padding,) * 4)
    h, w = kernel.shape
    return torch.einsum("ijab,ab->ij", padded.unfold(0, h, 1).unfold(1, w, stride), kernel)
''')
wrong("a1-padding", "pads one side twice", "all of the padding goes to the left and the top", r'''
import torch.nn.functional as F


def conv2d(image, kernel, padding=0, stride=1):
    padded = F.pad(image, (2 * padding, 0, 2 * padding, 0))
    h, w = kernel.shape
    return (padded.unfold(0, h, stride).unfold(1, w, stride) * kernel).sum(dim=(-1, -2))
''')
right("a1-channels", "one einsum", "windows of all channels and filters in one einsum", r'''
def conv_layer(image, filters, bias):
    windows = image.unfold(1, filters.shape[2], 1).unfold(2, filters.shape[3], 1)
    return torch.einsum("chwij,fcij->fhw", windows, filters) + bias.view(-1, 1, 1)
''')
wrong("a1-channels", "bias of every channel", "adds the bias once a channel, so C times", r'''
def conv_layer(image, filters, bias):
    n_filters, channels, h, w = filters.shape
    maps = []
    for f in range(n_filters):
        total = 0
        for c in range(channels):
            windows = image[c].unfold(0, h, 1).unfold(1, w, 1)
            total = total + (windows * filters[f, c]).sum((2, 3)) + bias[f]
        maps.append(total)
    return torch.stack(maps)
''')
wrong("a1-channels", "mean of the channels", "averages the channels' responses instead of summing", r'''
def conv_layer(image, filters, bias):
    windows = image.unfold(1, filters.shape[2], 1).unfold(2, filters.shape[3], 1)
    per_channel = torch.einsum("chwij,fcij->fchw", windows, filters)
    return per_channel.mean(dim=1) + bias[:, None, None]
''')
right("a1-edges", "two filters at once", "F.conv2d with two output channels, then the norm over them", r'''
import torch.nn.functional as F

SOBEL = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])


def edge_strength(photo):
    grey = photo.mean(dim=0, keepdim=True).unsqueeze(0)
    weights = torch.stack([SOBEL, SOBEL.t()]).unsqueeze(1)
    return F.conv2d(grey, weights).squeeze(0).norm(dim=0)
''')
wrong("a1-edges", "luminance weights", "the grey of television (0.299, 0.587, 0.114), not the mean", r'''
import torch.nn.functional as F


def edge_strength(photo):
    grey = 0.299 * photo[0] + 0.587 * photo[1] + 0.114 * photo[2]
    s = torch.tensor([[1., 0, -1], [2, 0, -2], [1, 0, -1]])
    gx = F.conv2d(grey[None, None], s[None, None])
    gy = F.conv2d(grey[None, None], s.T[None, None])
    return torch.sqrt(gx ** 2 + gy ** 2)[0, 0]
''')
wrong("a1-edges", "sum of absolute values", "the cheap substitute |gx| + |gy| for the root", r'''
import torch.nn.functional as F


def edge_strength(photo):
    g = photo.mean(0)[None, None]
    s = torch.tensor([[1., 0, -1], [2, 0, -2], [1, 0, -1]])
    return (F.conv2d(g, s[None, None]).abs() + F.conv2d(g, s.t()[None, None]).abs())[0, 0]
''')
right("a1-match", "unravel_index", "argmax of the flattened scores, torch.unravel_index, ints and a float", r'''
def best_match(image, feature):
    h, w = feature.shape
    scores = (image.unfold(0, h, 1).unfold(1, w, 1) * feature).mean(dim=(-2, -1))
    row, col = torch.unravel_index(scores.argmax(), scores.shape)
    return float(scores.max()), int(row), int(col)
''')
wrong("a1-match", "divides by the height of the image", "divmod of the flat index by the number of rows, not of columns", r'''
def best_match(image, feature):
    h, w = feature.shape
    scores = (image.unfold(0, h, 1).unfold(1, w, 1) * feature).sum((2, 3)) / feature.numel()
    row, col = divmod(scores.argmax().item(), scores.shape[0])
    return scores.max().item(), row, col
''')
wrong("a1-match", "best starts at zero", "finds nothing where every score is negative", r'''
def best_match(image, feature):
    h, w = feature.shape
    best = (0.0, 0, 0)
    for i in range(image.shape[0] - h + 1):
        for j in range(image.shape[1] - w + 1):
            score = (image[i:i + h, j:j + w] * feature).sum().item() / (h * w)
            if score > best[0]:
                best = (score, i, j)
    return best
''')
right("a1-counts", "names for everything", "local names, the dict built by dict(zip())", r'''
pixels, units, k = 3 * 200 * 150, 64, 5
places = (200 - k + 1) * (150 - k + 1)
per_filter = 3 * k ** 2
counts = dict(zip(
    ["fc parameters", "conv parameters", "conv outputs", "conv MACs"],
    [pixels * units + units, units * (per_filter + 1), units * places, units * places * per_filter],
))
''')
wrong("a1-counts", "one channel a filter", "filters of 5×5×1: forgets the depth of the image", r'''
counts = {
    "fc parameters": (200 * 150 * 3 + 1) * 64,
    "conv parameters": 64 * (5 * 5 + 1),
    "conv outputs": 64 * 196 * 146,
    "conv MACs": 64 * 196 * 146 * 5 * 5,
}
''')
wrong("a1-counts", "same padding", "the map keeps 200×150", r'''
counts = {
    "fc parameters": 200 * 150 * 3 * 64 + 64,
    "conv parameters": 64 * 3 * 5 * 5 + 64,
    "conv outputs": 64 * 200 * 150,
    "conv MACs": 64 * 200 * 150 * 75,
}
''')

# ---------------------------------------------------------------- a2

right("a2-memory", "shift and divide", "4 / 1024 = 1 / 256", r'''
def kilobytes(channels, height, width):
    return channels * height * width / 256
''')
wrong("a2-memory", "kilo is a thousand", "divides by 1000", r'''
def kilobytes(channels, height, width):
    return channels * height * width * 4 / 1000
''')
wrong("a2-memory", "whole kilobytes", "integer division rounds although the text says not to", r'''
def kilobytes(channels, height, width):
    return 4 * channels * height * width // 1024
''')
right("a2-side", "counts the windows", "walks along the side instead of a formula", r'''
def side(n, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    reach = dilation * (kernel_size - 1) + 1
    windows, begin = 0, -padding
    while True:
        fits = begin + reach <= n + padding
        partly = ceil_mode and windows > 0 and begin < n and begin - stride + reach < n + padding
        if not (fits or partly):
            return windows
        windows += 1
        begin += stride
''')
wrong("a2-side", "ceil mode without the drop", "keeps a window that begins in the right padding", r'''
import math


def side(n, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    rounding = math.ceil if ceil_mode else math.floor
    return rounding((n + 2 * padding - dilation * (kernel_size - 1) - 1) / stride) + 1
''')
wrong("a2-side", "dilation times the kernel", "the kernel reaches d·k pixels instead of d·(k - 1) + 1", r'''
def side(n, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    reach = dilation * kernel_size if dilation > 1 else kernel_size
    span = n + 2 * padding - reach
    out = (-(-span // stride) if ceil_mode else span // stride) + 1
    if ceil_mode and (out - 1) * stride >= n + padding:
        out -= 1
    return out
''')
right("a2-parameters", "math.prod", "product of the shape of the weight tensor", r'''
from math import prod


def conv_parameters(in_channels, filters, kernel_size, groups=1, bias=True):
    shape = (filters, in_channels // groups, *kernel_size)
    return prod(shape) + int(bias) * filters
''')
wrong("a2-parameters", "groups multiply", "every group has all filters: times g rather than divided", r'''
def conv_parameters(in_channels, filters, kernel_size, groups=1, bias=True):
    kh, kw = kernel_size
    count = groups * (in_channels // groups) * filters * kh * kw
    return count + filters if bias else count
''')
wrong("a2-parameters", "one bias for each input channel", "biases counted per input channel of a filter", r'''
def conv_parameters(in_channels, filters, kernel_size, groups=1, bias=True):
    kh, kw = kernel_size
    return filters * (in_channels // groups) * (kh * kw + (1 if bias else 0))
''')
right("a2-macs", "lambda for the side", "a nested lambda computes both sides", r'''
def conv_macs(in_channels, height, width, filters, kernel_size, stride=1, padding=0, groups=1):
    out = lambda n: 1 + (n + 2 * padding - kernel_size) // stride
    return out(height) * out(width) * filters * (in_channels // groups) * kernel_size ** 2
''')
wrong("a2-macs", "positions of the input", "multiplies by the input's area whatever the stride and padding", r'''
def conv_macs(in_channels, height, width, filters, kernel_size, stride=1, padding=0, groups=1):
    return height // stride * (width // stride) * filters * in_channels // groups * kernel_size ** 2
''')
wrong("a2-macs", "forgets the groups", "groups change nothing", r'''
def conv_macs(in_channels, height, width, filters, kernel_size, stride=1, padding=0, groups=1):
    h = (height + 2 * padding - kernel_size) // stride + 1
    w = (width + 2 * padding - kernel_size) // stride + 1
    return h * w * filters * in_channels * kernel_size * kernel_size
''')
right("a2-table", "match statement", "structural pattern matching, rows appended by a closure", r'''
def cost_table(layers, channels, height, width):
    rows = []

    def add(parameters, macs):
        rows.append({"size": (channels, height, width), "memory": 4 * channels * height * width,
                     "parameters": parameters, "MACs": macs})

    for layer in layers:
        match layer:
            case ("conv", filters, k, stride, padding):
                height = (height + 2 * padding - k) // stride + 1
                width = (width + 2 * padding - k) // stride + 1
                taps, channels = channels * k * k, filters
                add(filters * (taps + 1), filters * taps * height * width)
            case ("pool", k, stride):
                height, width = (height - k) // stride + 1, (width - k) // stride + 1
                add(0, 0)
            case ("linear", outputs):
                inputs = channels * height * width
                channels, height, width = outputs, 1, 1
                add(outputs * (inputs + 1), outputs * inputs)
    return rows
''')
wrong("a2-table", "linear keeps the map", "forgets that the map is 1×1 after a linear layer, so the second one is counted too large", r'''
def cost_table(layers, channels, height, width):
    table = []
    for kind, *args in layers:
        if kind == "conv":
            f, k, s, p = args
            height, width = (height + 2 * p - k) // s + 1, (width + 2 * p - k) // s + 1
            params, macs = f * (channels * k * k + 1), f * channels * k * k * height * width
            channels = f
            size = (channels, height, width)
        elif kind == "pool":
            k, s = args
            height, width = (height - k) // s + 1, (width - k) // s + 1
            params = macs = 0
            size = (channels, height, width)
        else:
            (out,) = args
            macs = channels * height * width * out
            params = macs + out
            channels, size = out, (out, 1, 1)
        table.append({"size": size, "memory": 4 * size[0] * size[1] * size[2], "parameters": params, "MACs": macs})
    return table
''')
wrong("a2-table", "one list, one dict", "the same dict is appended for every layer: all rows show the last", r'''
def cost_table(layers, channels, height, width):
    row, table = {}, []
    for layer in layers:
        if layer[0] == "conv":
            _, f, k, s, p = layer
            height, width = (height + 2 * p - k) // s + 1, (width + 2 * p - k) // s + 1
            weights = f * channels * k * k
            channels = f
            row["parameters"], row["MACs"] = weights + f, weights * height * width
        elif layer[0] == "pool":
            height, width = (height - layer[1]) // layer[2] + 1, (width - layer[1]) // layer[2] + 1
            row["parameters"], row["MACs"] = 0, 0
        else:
            weights = channels * height * width * layer[1]
            channels, height, width = layer[1], 1, 1
            row["parameters"], row["MACs"] = weights + layer[1], weights
        row["size"], row["memory"] = (channels, height, width), 4 * channels * height * width
        table.append(row)
    return table
''')
right("a2-alexnet", "rows from a loop", "computes all rows with own arithmetic and picks five", r'''
plan = [("conv1", 48, 11, 4, 2), ("pool1", 0, 3, 2, 0), ("conv2", 160, 5, 1, 2), ("pool2", 0, 3, 2, 0),
        ("conv3", 320, 3, 1, 1), ("conv4", 240, 3, 1, 1), ("conv5", 240, 3, 1, 1), ("pool5", 0, 3, 2, 0)]
c, n, rows = 3, 259, {}
for name, f, k, s, p in plan:
    n = (n + 2 * p - k) // s + 1
    taps = c * k * k if f else 0
    rows[name] = dict(side=n, memory=4 * (f or c) * n * n, parameters=f * (taps + 1), MACs=f * taps * n * n)
    c = f or c
rows["fc6"] = dict(side=1, memory=4 * 3072, parameters=3072 * (c * n * n + 1), MACs=3072 * c * n * n)
alexnet = {name: rows[name] for name in ("conv1", "pool2", "conv4", "pool5", "fc6")}
''')
wrong("a2-alexnet", "memory in KB", "the memory column is in kilobytes, the text wants bytes", r'''
alexnet = {
    "conv1": {"side": 64, "memory": 48 * 64 * 64 / 256, "parameters": 48 * (363 + 1), "MACs": 48 * 64 * 64 * 363},
    "pool2": {"side": 15, "memory": 160 * 15 * 15 / 256, "parameters": 0, "MACs": 0},
    "conv4": {"side": 15, "memory": 240 * 225 / 256, "parameters": 240 * (320 * 9 + 1), "MACs": 240 * 225 * 2880},
    "pool5": {"side": 7, "memory": 240 * 49 / 256, "parameters": 0, "MACs": 0},
    "fc6": {"side": 1, "memory": 3072 / 256, "parameters": 3072 * (240 * 49 + 1), "MACs": 3072 * 240 * 49},
}
''')
right("a2-vgg", "sums by hand", "the arithmetic written out, stage by stage", r'''
vgg = {
    "stage 1": {"memory": 4 * 48 * (2 * 192 * 320 + 96 * 160), "parameters": 48 * (28 + 433),
                "MACs": 192 * 320 * 48 * 9 * (3 + 48)},
    "stage 3": {"memory": 4 * 192 * (3 * 48 * 80 + 24 * 40), "parameters": 192 * (9 * (96 + 192 + 192) + 3),
                "MACs": 48 * 80 * 192 * 9 * (96 + 192 + 192)},
    "stage 5": {"memory": 4 * 384 * (3 * 12 * 20 + 6 * 10), "parameters": 3 * 384 * (9 * 384 + 1),
                "MACs": 12 * 20 * 3 * 384 * 384 * 9},
    "classifier": {"memory": 4 * (2048 + 2048 + 150),
                   "parameters": 2048 * (384 * 60 + 1) + 2048 * 2049 + 150 * 2049,
                   "MACs": 2048 * 384 * 60 + 2048 * 2048 + 150 * 2048},
}
''')
wrong("a2-vgg", "pools left out", "the memory of the pools is not in the sums", r'''
vgg = {
    "stage 1": {"memory": 4 * 48 * 2 * 192 * 320, "parameters": 48 * (28 + 433), "MACs": 192 * 320 * 48 * 9 * 51},
    "stage 3": {"memory": 4 * 192 * 3 * 48 * 80, "parameters": 192 * (9 * 480 + 3), "MACs": 48 * 80 * 192 * 9 * 480},
    "stage 5": {"memory": 4 * 384 * 3 * 12 * 20, "parameters": 3 * 384 * 3457, "MACs": 240 * 3 * 384 * 3456},
    "classifier": {"memory": 4 * (2048 + 2048 + 150),
                   "parameters": 2048 * 23041 + 2048 * 2049 + 150 * 2049,
                   "MACs": 2048 * 23040 + 2048 * 2048 + 150 * 2048},
}
''')
right("a2-receptive", "functools.reduce", "folds the layers with reduce", r'''
from functools import reduce


def sees(layers):
    def one_more(seen, layer):
        (size, jump, start), (k, s, p, d) = seen, layer
        return size + (k - 1) * d * jump, jump * s, start - p * jump

    return reduce(one_more, layers, (1, 1, 0))
''')
wrong("a2-receptive", "jump too early", "multiplies the jump before it is used", r'''
def sees(layers):
    size, jump, start = 1, 1, 0
    for k, s, p, d in layers:
        jump *= s
        size += (k - 1) * d * jump
        start -= p * jump
    return size, jump, start
''')
wrong("a2-receptive", "padding not scaled", "subtracts the padding in pixels of its own map", r'''
def sees(layers):
    size, jump, start = 1, 1, 0
    for k, s, p, d in layers:
        size += (k - 1) * d * jump
        start -= p
        jump *= s
    return size, jump, start
''')
right("a2-needed", "search upwards", "tries sides until one gives the outputs", r'''
def smallest_image(layers, outputs):
    def end(n):
        for k, s, p in layers:
            if n + 2 * p < k:
                return 0
            n = (n + 2 * p - k) // s + 1
        return n

    side = 1
    while end(side) < outputs:
        side += 1
    return side
''', )
wrong("a2-needed", "forwards instead of backwards", "goes through the layers from the first to the last", r'''
def smallest_image(layers, outputs):
    n = outputs
    for k, s, p in layers:
        n = (n - 1) * s + k - 2 * p
    return n
''')
wrong("a2-needed", "the largest one", "n · s + k - 1 - 2 p: the largest image that gives so many", r'''
def smallest_image(layers, outputs):
    n = outputs
    for k, s, p in reversed(layers):
        n = n * s + k - 1 - 2 * p
    return n
''')
right("a2-training", "Enum", "an Enum of what the optimizers remember", r'''
from enum import Enum


class Remembers(Enum):
    sgd = 0
    momentum = 1
    adam = 2


def training_bytes(parameters, activations, batch, optimizer):
    return 4 * ((2 + Remembers[optimizer].value) * parameters + batch * activations)
''')
wrong("a2-training", "numbers, not bytes", "forgets the four bytes a number", r'''
def training_bytes(parameters, activations, batch, optimizer):
    states = {"sgd": 0, "momentum": 1, "adam": 2}[optimizer]
    return parameters * (2 + states) + activations * batch
''')
wrong("a2-training", "no gradients", "counts the parameters once, without their gradients", r'''
def training_bytes(parameters, activations, batch, optimizer):
    copies = {"sgd": 1, "momentum": 2, "adam": 3}
    return 4 * (copies[optimizer] * parameters + activations * batch)
''')
right("a2-errata", "right, in words", "underscored numbers and arithmetic mixed", r'''
errata = dict.fromkeys(["side of conv1", "parameters of fc6", "weights of the first layer",
                        "MACs of the module", "parameters of fc8"])
errata["side of conv1"] = (240 + 2 * 2 - 11) // 4 + 1
errata["parameters of fc6"] = 3072 * (320 * 5 ** 2) + 3072
errata["weights of the first layer"] = 270_000_000
errata["MACs of the module"] = 18 ** 2 * sum(
    [288 * 96, 288 * 72, 72 * 144 * 3 ** 2, 288 * 24, 24 * 56 * 5 ** 2, 288 * 64])
errata["parameters of fc8"] = 2048 * 150 + 150
''')
wrong("a2-errata", "conv1 rounded up, rest right", "58.25 + 1 as 59.25 rounded up to 60 again; others right", r'''
import math

errata = {
    "side of conv1": math.ceil((240 + 4 - 11) / 4) + 1,
    "parameters of fc6": 320 * 25 * 3072 + 3072,
    "weights of the first layer": 3 * 200 * 300 * 1500,
    "MACs of the module": 324 * (288 * (96 + 72 + 24 + 64) + 72 * 144 * 9 + 24 * 56 * 25),
    "parameters of fc8": 2049 * 150,
}
''')

# ---------------------------------------------------------------- a3

right("a3-accuracy", "topk", "topk(1) instead of argmax, returns a float", r'''
def accuracy(scores, labels):
    _, best = scores.topk(1, dim=1)
    return best.squeeze(1).eq(labels).sum().item() / labels.numel()
''')
wrong("a3-accuracy", "argmax of the wrong axis", "the best image of each class", r'''
def accuracy(scores, labels):
    answers = scores.argmax(dim=0)
    n = min(len(answers), len(labels))
    return (answers[:n] == labels[:n]).float().mean().item()
''')
wrong("a3-accuracy", "percent", "a number from 0 to 100", r'''
def accuracy(scores, labels):
    return 100.0 * (scores.argmax(1) == labels).float().mean().item()
''')
right("a3-lenet", "alias in a Sequential", "the named layers, and the same layers once more in self.net", r'''
class LeNet16(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 12, 3)
        self.fc1 = nn.Linear(12 * 3 * 3, 40)
        self.fc2 = nn.Linear(40, classes)
        self.net = nn.Sequential(
            self.conv1, nn.Tanh(), nn.AvgPool2d(2),
            self.conv2, nn.Tanh(), nn.AvgPool2d(2),
            nn.Flatten(), self.fc1, nn.Tanh(), self.fc2,
        )

    def forward(self, x):
        return self.net(x)
''')
right("a3-lenet", "functional with padding='same'", "padding='same', F.avg_pool2d, flatten by view(len(x), -1)", r'''
class LeNet16(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=(5, 5), padding="same")
        self.conv2 = nn.Conv2d(6, 12, kernel_size=(3, 3), padding="valid")
        self.fc1, self.fc2 = nn.Linear(108, 40), nn.Linear(40, classes)

    def extract(self, x: torch.Tensor) -> torch.Tensor:
        for conv in (self.conv1, self.conv2):
            x = F.avg_pool2d(conv(x).tanh(), 2)
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(torch.tanh(self.fc1(self.extract(x).reshape(x.shape[0], -1))))
''')
wrong("a3-lenet", "softmax at the end", "the scores leave the network as probabilities", r'''
class LeNet16(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 12, 3)
        self.fc1 = nn.Linear(108, 40)
        self.fc2 = nn.Linear(40, classes)

    def forward(self, x):
        x = F.avg_pool2d(torch.tanh(self.conv1(x)), 2)
        x = F.avg_pool2d(torch.tanh(self.conv2(x)), 2)
        x = torch.tanh(self.fc1(x.flatten(1)))
        return F.softmax(self.fc2(x), dim=1)
''')
wrong("a3-lenet", "ten classes", "ignores `classes`: right for ten only", r'''
class LeNet16(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 12, 3)
        self.fc1 = nn.Linear(108, 40)
        self.fc2 = nn.Linear(40, 10)
        self.pool = nn.AvgPool2d(2, 2)

    def forward(self, x):
        x = self.pool(torch.tanh(self.conv1(x)))
        x = self.pool(torch.tanh(self.conv2(x)))
        return self.fc2(torch.tanh(self.fc1(torch.flatten(x, 1))))
''')
wrong("a3-lenet", "no_grad forward", "the decorator @torch.no_grad() stands over forward: nothing can be trained", r'''
class LeNet16(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 12, 3)
        self.fc1 = nn.Linear(108, 40)
        self.fc2 = nn.Linear(40, classes)

    @torch.no_grad()
    def forward(self, x):
        x = F.avg_pool2d(torch.tanh(self.conv1(x)), 2)
        x = F.avg_pool2d(torch.tanh(self.conv2(x)), 2)
        return self.fc2(torch.tanh(self.fc1(x.flatten(1))))
''')
wrong("a3-lenet", "squeezes the batch", "x.squeeze() after the pools loses the batch of one", r'''
class LeNet16(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 12, 3)
        self.fc1 = nn.Linear(108, 40)
        self.fc2 = nn.Linear(40, classes)

    def forward(self, x):
        x = F.avg_pool2d(torch.tanh(self.conv1(x)), 2)
        x = F.avg_pool2d(torch.tanh(self.conv2(x)), 2)
        return self.fc2(torch.tanh(self.fc1(x.flatten(1)))).squeeze()
''')
right("a3-lrn", "conv1d over the channels", "the windowed sum as a convolution of ones along the channel axis", r'''
def local_response_norm(x, size, alpha, beta, k):
    n, c, h, w = x.shape
    lines = x.square().permute(0, 2, 3, 1).reshape(-1, 1, c)
    sums = F.conv1d(lines, torch.ones(1, 1, size, dtype=x.dtype, device=x.device), padding=size // 2)
    sums = sums.reshape(n, h, w, c).permute(0, 3, 1, 2)
    return x * (k + alpha * sums).pow(-beta)
''')
wrong("a3-lrn", "PyTorch's formula", "divides alpha by n, as F.local_response_norm does", r'''
def local_response_norm(x, size, alpha, beta, k):
    return F.local_response_norm(x, size, alpha=alpha, beta=beta, k=k)
''')
wrong("a3-lrn", "wraps around", "torch.roll: the neighbours of the first channel are the last ones", r'''
def local_response_norm(x, size, alpha, beta, k):
    half = size // 2
    total = sum(torch.roll(x ** 2, shift, dims=1) for shift in range(-half, half + 1))
    return x / (k + alpha * total) ** beta
''')
right("a3-alexnet-block", "pads by F.pad", "the convolution has padding 0, the input is padded before it", r'''
class AlexBlock(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, groups):
        super().__init__()
        self.margin = [kernel_size // 2] * 4
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, groups=groups)

    def forward(self, x):
        return F.max_pool2d(self.conv(F.pad(x, self.margin)).clamp(min=0), 3, 2)
''')
wrong("a3-alexnet-block", "pool without overlap", "windows of 2×2 move by 2", r'''
class AlexBlock(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, groups):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2, stride=2)

    def forward(self, x):
        return self.pool(self.relu(self.conv(x)))
''')
wrong("a3-alexnet-block", "padding of five", "padding=2 whatever the kernel: right for 5×5", r'''
class AlexBlock(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, groups):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=2, groups=groups)

    def forward(self, x):
        return F.max_pool2d(F.relu(self.conv(x)), kernel_size=3, stride=2)
''')
wrong("a3-alexnet-block", "detached activation", "works on conv(x).data: no gradient reaches the convolution", r'''
class AlexBlock(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, groups):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups)

    def forward(self, x):
        x = self.conv(x)
        return F.max_pool2d(F.relu(x.data), 3, stride=2)
''')
right("a3-vgg-block", "helper and partial", "partial for the 3×3, a ModuleList filled by append", r'''
from functools import partial

conv3x3 = partial(nn.Conv2d, kernel_size=3, padding=1)


class VGGBlock(nn.Module):
    def __init__(self, in_channels, out_channels, convs, last_kernel_size=3):
        super().__init__()
        self.convs = nn.ModuleList()
        for index in range(convs - 1):
            self.convs.append(conv3x3(out_channels if index else in_channels, out_channels))
        last_input = in_channels if convs == 1 else out_channels
        self.convs.append(nn.Conv2d(last_input, out_channels, last_kernel_size, padding=last_kernel_size // 2))
        self.pool = nn.MaxPool2d(2)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        for conv in self.convs:
            x = self.act(conv(x))
        return self.pool(x)
''')
wrong("a3-vgg-block", "plain list", "self.convs is a Python list: its parameters are not found", r'''
class VGGBlock(nn.Module):
    def __init__(self, in_channels, out_channels, convs, last_kernel_size=3):
        super().__init__()
        sizes = [3] * (convs - 1) + [last_kernel_size]
        self.convs = []
        for size in sizes:
            self.convs.append(nn.Conv2d(in_channels, out_channels, size, padding=size // 2))
            in_channels = out_channels

    def forward(self, x):
        for conv in self.convs:
            x = F.relu(conv(x))
        return F.max_pool2d(x, 2)
''')
wrong("a3-vgg-block", "one ReLU for all", "the ReLU stands behind the loop", r'''
class VGGBlock(nn.Module):
    def __init__(self, in_channels, out_channels, convs, last_kernel_size=3):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels if i == 0 else out_channels, out_channels,
                      last_kernel_size if i == convs - 1 else 3,
                      padding=(last_kernel_size if i == convs - 1 else 3) // 2)
            for i in range(convs))

    def forward(self, x):
        for conv in self.convs:
            x = conv(x)
        return F.max_pool2d(F.relu(x), 2)
''')
wrong("a3-vgg-block", "the same layer again", "[conv] * n puts one convolution in several times: shared weights", r'''
class VGGBlock(nn.Module):
    def __init__(self, in_channels, out_channels, convs, last_kernel_size=3):
        super().__init__()
        first = [nn.Conv2d(in_channels, out_channels, 3, padding=1)]
        middle = [nn.Conv2d(out_channels, out_channels, 3, padding=1)] * (convs - 2)
        last = [nn.Conv2d(out_channels, out_channels, last_kernel_size, padding=last_kernel_size // 2)]
        if convs == 1:
            first, last = [], [nn.Conv2d(in_channels, out_channels, last_kernel_size, padding=last_kernel_size // 2)]
        self.convs = nn.ModuleList(first + middle + last)

    def forward(self, x):
        for conv in self.convs:
            x = conv(x).relu()
        return F.max_pool2d(x, 2)
''')
right("a3-merged-kernel", "transposed convolution", "conv_transpose2d spreads one kernel over the other", r'''
from functools import reduce


def merged_kernel(kernels):
    return reduce(lambda a, b: F.conv_transpose2d(a[None, None], b[None, None])[0, 0], kernels)
''')
wrong("a3-merged-kernel", "cross-correlates", "F.conv2d with full padding, but the second kernel is not turned round", r'''
def merged_kernel(kernels):
    result = kernels[0]
    for k in kernels[1:]:
        h, w = k.shape
        result = F.conv2d(result[None, None], k[None, None], padding=(h - 1, w - 1))[0, 0]
    return result
''')
wrong("a3-merged-kernel", "three exactly", "unpacks three kernels: nothing else works", r'''
def merged_kernel(kernels):
    def two(a, b):
        out = torch.zeros(a.shape[0] + b.shape[0] - 1, a.shape[1] + b.shape[1] - 1)
        for i in range(b.shape[0]):
            for j in range(b.shape[1]):
                out[i:i + a.shape[0], j:j + a.shape[1]] += a * b[i, j]
        return out

    first, second, third = kernels
    return two(two(first, second), third)
''')
right("a3-costs", "from layers", "asks real layers on the meta device for their numel", r'''
with torch.device("meta"):
    seven = nn.Conv2d(96, 96, 7, bias=False).weight.numel()
    three = 3 * nn.Conv2d(96, 96, 3, bias=False).weight.numel()
    side = 288 // 2 ** 5
    fc = nn.Linear(512 * side ** 2, 4096, bias=False).weight.numel()
costs = {
    "weights of one 7×7": seven,
    "weights of three 3×3": three,
    "MACs of three 3×3": three * 28 * 28,
    "side of the last map": side,
    "weights of the first fully connected layer": fc,
}
''')
wrong("a3-costs", "still seven by seven", "the first fully connected layer stays that of 224×224", r'''
costs = {
    "weights of one 7×7": 7 * 7 * 96 * 96,
    "weights of three 3×3": 3 * 3 * 3 * 96 * 96,
    "MACs of three 3×3": 3 * 9 * 96 * 96 * 28 * 28,
    "side of the last map": 288 / 32,
    "weights of the first fully connected layer": 7 * 7 * 512 * 4096,
}
''')
right("a3-slide", "unfold and F.linear", "F.unfold lays out the windows, F.linear classifies each", r'''
def slide_classifier(maps, weight, bias, side):
    n, c, h, w = maps.shape
    columns = F.unfold(maps, side)
    scores = F.linear(columns.transpose(1, 2), weight, bias)
    return scores.transpose(1, 2).reshape(n, -1, h - side + 1, w - side + 1)
''')
wrong("a3-slide", "channels last", "reads the weights as (classes, side, side, C): right for one channel", r'''
def slide_classifier(maps, weight, bias, side):
    c = maps.shape[1]
    kernel = weight.reshape(-1, side, side, c).permute(0, 3, 1, 2)
    return F.conv2d(maps, kernel, bias)
''')
wrong("a3-slide", "pools down instead", "adaptive pooling to side × side and one answer spread over the map", r'''
def slide_classifier(maps, weight, bias, side):
    n, c, h, w = maps.shape
    scores = F.adaptive_avg_pool2d(maps, side).flatten(1) @ weight.T + bias
    return scores[:, :, None, None].expand(-1, -1, h - side + 1, w - side + 1)
''')
right("a3-train", "small VGG, cosine", "two blocks, one-cycle learning rate, gentle noise as augmentation", r'''
train, validation = digits("train", 16), digits("validation", 16)
torch.manual_seed(0)

net = nn.Sequential(
    nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
    nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(24 * 16, 10),
)
epochs, size = 5, 32
optimizer = torch.optim.Adam(net.parameters())
steps = epochs * -(-len(train.images) // size)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
net.train()
for _ in range(epochs):
    for batch in torch.randperm(len(train.images)).split(size):
        x = train.images[batch]
        loss = F.cross_entropy(net(x + 0.05 * torch.randn_like(x)), train.labels[batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
net.eval()


@torch.inference_mode()
def predict(images):
    """The class of each image: (N, 1, 16, 16) to N whole numbers."""
    return net(images).argmax(dim=1)
''')
wrong("a3-train", "nearest neighbour", "no network at all: the label of the nearest training image", r'''
train = digits("train", 16)
known = train.images.flatten(1)


def predict(images):
    return train.labels[torch.cdist(images.flatten(1), known).argmin(dim=1)]
''')
wrong("a3-train", "MLP", "a network, trained well, but without any convolution", r'''
train = digits("train", 16)
torch.manual_seed(0)
net = nn.Sequential(nn.Flatten(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
for _ in range(15):
    for batch in torch.randperm(len(train.images)).split(32):
        loss = F.cross_entropy(net(train.images[batch]), train.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def predict(images):
    with torch.no_grad():
        return net(images).argmax(1)
''')
wrong("a3-train", "scores for classes", "predict returns the scores, not the classes", r'''
train = digits("train", 16)
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                    nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10))
opt = torch.optim.Adam(net.parameters(), lr=0.003)
for epoch in range(8):
    for idx in torch.randperm(len(train.images)).split(32):
        opt.zero_grad()
        F.cross_entropy(net(train.images[idx]), train.labels[idx]).backward()
        opt.step()


def predict(images):
    with torch.no_grad():
        return net(images)
''')

# ---------------------------------------------------------------- a4

right("a4-pool", "adaptive pool to a point", "nn.AdaptiveAvgPool2d(1), then flatten(1)", r'''
squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))


def global_average(maps):
    return squeeze(maps)
''')
wrong("a4-pool", "squeeze of everything", "squeeze() drops the batch of one and the single channel too", r'''
def global_average(maps):
    return F.adaptive_avg_pool2d(maps, 1).squeeze()
''')
wrong("a4-pool", "square maps", "divides by H·H", r'''
def global_average(maps):
    n, c, h, w = maps.shape
    return maps.flatten(2).sum(-1) / h ** 2
''')
right("a4-per-pixel", "matmul with broadcasting", "weight @ x.flatten(2): the matrix is broadcast over the batch", r'''
def conv1x1(x, weight, bias):
    n, _, h, w = x.shape
    return (weight @ x.flatten(2) + bias[:, None]).unflatten(2, (h, w))
''')
wrong("a4-per-pixel", "F.conv2d", "PyTorch's convolution, which the text forbids", r'''
def conv1x1(x, weight, bias):
    return F.conv2d(x, weight[..., None, None], bias)
''')
wrong("a4-per-pixel", "view instead of permute", "reshapes (N, C, H, W) to (N, H, W, C): the channels get mixed up with the pixels", r'''
def conv1x1(x, weight, bias):
    n, c, h, w = x.shape
    y = F.linear(x.reshape(n, h, w, c), weight, bias)
    return y.permute(0, 3, 1, 2)
''')
right("a4-mlpconv", "zip of the widths", "pairs of channels by zip, the ReLUs decided by the index", r'''
class MLPConv(nn.Module):
    def __init__(self, in_channels, widths, kernel_size, final=False):
        super().__init__()
        self.final = final
        pairs = list(zip([in_channels, *widths], widths))
        self.convs = nn.ModuleList(
            [nn.Conv2d(*pairs[0], kernel_size, padding=kernel_size // 2)]
            + [nn.Conv2d(*pair, kernel_size=1) for pair in pairs[1:]])

    def forward(self, x):
        *lower, top = self.convs
        for conv in lower:
            x = conv(x).relu_()
        x = top(x)
        return x if self.final else x.relu_()
''')
wrong("a4-mlpconv", "final forgets all ReLUs", "with final=True no ReLU is applied at all", r'''
class MLPConv(nn.Module):
    def __init__(self, in_channels, widths, kernel_size, final=False):
        super().__init__()
        self.act = nn.Identity() if final else nn.ReLU()
        self.convs = nn.ModuleList()
        for i, width in enumerate(widths):
            k = kernel_size if i == 0 else 1
            self.convs.append(nn.Conv2d(in_channels, width, k, padding=k // 2))
            in_channels = width

    def forward(self, x):
        for conv in self.convs:
            x = self.act(conv(x))
        return x
''')
wrong("a4-mlpconv", "always three layers", "builds three convolutions whatever `widths` says", r'''
class MLPConv(nn.Module):
    def __init__(self, in_channels, widths, kernel_size, final=False):
        super().__init__()
        self.final = final
        self.convs = nn.ModuleList([
            nn.Conv2d(in_channels, widths[0], kernel_size, padding=kernel_size // 2),
            nn.Conv2d(widths[0], widths[len(widths) // 2], 1),
            nn.Conv2d(widths[len(widths) // 2], widths[-1], 1),
        ])

    def forward(self, x):
        x = F.relu(self.convs[0](x))
        x = F.relu(self.convs[1](x))
        x = self.convs[2](x)
        return x if self.final else F.relu(x)
''')
wrong("a4-mlpconv", "detach between the layers", "each layer gets a detached input, only the last one learns", r'''
class MLPConv(nn.Module):
    def __init__(self, in_channels, widths, kernel_size, final=False):
        super().__init__()
        self.final = final
        channels = [in_channels] + list(widths)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, kernel_size if i == 0 else 1, padding=kernel_size // 2 if i == 0 else 0)
            for i, (a, b) in enumerate(zip(channels, channels[1:])))

    def forward(self, x):
        for i, conv in enumerate(self.convs):
            x = conv(x.detach())
            if not (self.final and i == len(self.convs) - 1):
                x = F.relu(x)
        return x
''')
right("a4-inception-macs", "or-chains", "plan[...] or in_channels decides what the large kernels see", r'''
def inception_macs(in_channels, height, width, plan):
    a, b = plan["3x3 reduce"], plan["5x5 reduce"]
    a_pixel = in_channels * (plan["1x1"] + a + b + plan["pool"])
    a_pixel += 9 * plan["3x3"] * (a or in_channels) + 25 * plan["5x5"] * (b or in_channels)
    return height * width * a_pixel
''')
wrong("a4-inception-macs", "zero channels", "without a reduction the large kernels cost nothing", r'''
def inception_macs(in_channels, height, width, plan):
    per_pixel = (in_channels * plan["1x1"]
                 + in_channels * plan["3x3 reduce"] + plan["3x3 reduce"] * plan["3x3"] * 9
                 + in_channels * plan["5x5 reduce"] + plan["5x5 reduce"] * plan["5x5"] * 25
                 + in_channels * plan["pool"])
    return per_pixel * height * width
''')
wrong("a4-inception-macs", "all or nothing", "one switch for both reductions: wrong where only one is there", r'''
def inception_macs(in_channels, height, width, plan):
    area = height * width
    if plan["3x3 reduce"] and plan["5x5 reduce"]:
        return area * (in_channels * (plan["1x1"] + plan["3x3 reduce"] + plan["5x5 reduce"] + plan["pool"])
                       + 9 * plan["3x3 reduce"] * plan["3x3"] + 25 * plan["5x5 reduce"] * plan["5x5"])
    return area * in_channels * (plan["1x1"] + 9 * plan["3x3"] + 25 * plan["5x5"] + plan["pool"])
''')
right("a4-inception-numbers", "update in two steps", "a dict, filled by update with keyword dicts", r'''
area, c = 20 * 20, 320
numbers = {}
numbers.update({"channels, naive": 96 + 160 + 48 + c, "channels, reduced": 96 + 160 + 48 + 64})
numbers.update({
    "MACs, naive": area * c * (96 + 160 * 3 * 3 + 48 * 5 * 5),
    "MACs, reduced": area * (c * (96 + 80 + 24 + 64) + 80 * 160 * 9 + 24 * 48 * 25),
})
''')
wrong("a4-inception-numbers", "the pool has no channels", "the naive module forgets the 320 channels of the pool", r'''
numbers = {
    "channels, naive": 96 + 160 + 48,
    "channels, reduced": 96 + 160 + 48 + 64,
    "MACs, naive": 400 * 320 * (96 + 1440 + 1200),
    "MACs, reduced": 400 * (320 * 264 + 80 * 1440 + 24 * 1200),
}
''')
right("a4-inception", "Sequentials that share the layers", "branches as Sequentials of the named layers, a ModuleList of branches", r'''
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

        def chain(*layers):
            out = []
            for layer in layers:
                out += [layer, nn.ReLU(inplace=True)]
            return nn.Sequential(*out)

        self.branches = nn.ModuleList([
            chain(self.one),
            chain(self.three_reduce, self.three),
            chain(self.cross_reduce, self.row, self.column),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), chain(self.pool)),
        ])

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], dim=1)
''')
wrong("a4-inception", "row and column swapped", "`row` is 5×1 and `column` 1×5", r'''
class CrossInception(nn.Module):
    def __init__(self, in_channels, one, reduce, three, cross, pool):
        super().__init__()
        self.one = nn.Conv2d(in_channels, one, 1)
        self.three_reduce = nn.Conv2d(in_channels, reduce, 1)
        self.three = nn.Conv2d(reduce, three, 3, padding=1)
        self.cross_reduce = nn.Conv2d(in_channels, reduce, 1)
        self.row = nn.Conv2d(reduce, cross, (5, 1), padding=(2, 0))
        self.column = nn.Conv2d(cross, cross, (1, 5), padding=(0, 2))
        self.pool = nn.Conv2d(in_channels, pool, 1)

    def forward(self, x):
        a = F.relu(self.one(x))
        b = F.relu(self.three(F.relu(self.three_reduce(x))))
        c = F.relu(self.column(F.relu(self.row(F.relu(self.cross_reduce(x))))))
        d = F.relu(self.pool(F.max_pool2d(x, 3, stride=1, padding=1)))
        return torch.cat([a, b, c, d], 1)
''')
wrong("a4-inception", "no ReLU between the crossbars", "row and column follow each other without an activation", r'''
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
        return torch.cat([
            self.one(x).relu(),
            self.three(self.three_reduce(x).relu()).relu(),
            self.column(self.row(self.cross_reduce(x).relu())).relu(),
            self.pool(F.max_pool2d(x, 3, 1, 1)).relu(),
        ], 1)
''')
wrong("a4-inception", "in-place on the shared input", "an in-place ReLU on x before the branches changes what all of them see, and the caller's tensor", r'''
class CrossInception(nn.Module):
    def __init__(self, in_channels, one, reduce, three, cross, pool):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.one = nn.Conv2d(in_channels, one, 1)
        self.three_reduce = nn.Conv2d(in_channels, reduce, 1)
        self.three = nn.Conv2d(reduce, three, 3, padding=1)
        self.cross_reduce = nn.Conv2d(in_channels, reduce, 1)
        self.row = nn.Conv2d(reduce, cross, (1, 5), padding=(0, 2))
        self.column = nn.Conv2d(cross, cross, (5, 1), padding=(2, 0))
        self.pool = nn.Conv2d(in_channels, pool, 1)

    def forward(self, x):
        x = self.relu(x)
        one = self.relu(self.one(x))
        three = self.relu(self.three(self.relu(self.three_reduce(x))))
        cross = self.relu(self.column(self.relu(self.row(self.relu(self.cross_reduce(x))))))
        pool = self.relu(self.pool(F.max_pool2d(x, 3, 1, 1)))
        return torch.cat((one, three, cross, pool), dim=1)
''')
right("a4-concatenated", "split of the weights", "weight.split by the branches' channels, a running sum", r'''
def convolve_branches(maps, weight, bias):
    parts = weight.split([m.shape[1] for m in maps], dim=1)
    out = bias[None, :, None, None]
    for m, part in zip(maps, parts):
        out = out + F.conv2d(m, part[:, :, None, None])
    return out
''')
wrong("a4-concatenated", "bias once a branch", "every branch adds the bias", r'''
def convolve_branches(maps, weight, bias):
    start, total = 0, 0
    for m in maps:
        stop = start + m.size(1)
        total = total + F.conv2d(m, weight[:, start:stop, None, None], bias)
        start = stop
    return total
''')
wrong("a4-concatenated", "a buffer for the concatenation", "lays the maps together all the same, by copying them into an empty tensor", r'''
def convolve_branches(maps, weight, bias):
    n, _, h, w = maps[0].shape
    everything = maps[0].new_empty(n, weight.shape[1], h, w)
    at = 0
    for m in maps:
        everything[:, at:at + m.shape[1]] = m
        at += m.shape[1]
    return F.conv2d(everything, weight[:, :, None, None], bias)
''')
right("a4-auxiliary", "main by mean over the last axes", "means by mean((-2, -1)), the aux scores only computed when asked for", r'''
class TwoHeads(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.body = nn.Conv2d(width, width * 2, 3, stride=2, padding=1)
        self.main = nn.Linear(width * 2, classes)
        self.aux = nn.Linear(width * 2 * 2, classes)

    def forward(self, x):
        low = self.stem(x).relu()
        scores = self.main(self.body(low).relu().mean((-2, -1)))
        if not self.training:
            return scores
        return scores, self.aux(F.adaptive_avg_pool2d(low, (2, 2)).flatten(1))
''')
wrong("a4-auxiliary", "aux from the high maps", "the auxiliary head hangs on the high maps' first channels", r'''
class TwoHeads(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.width = width
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.body = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.main = nn.Linear(2 * width, classes)
        self.aux = nn.Linear(4 * width, classes)

    def forward(self, x):
        low = F.relu(self.stem(x))
        high = F.relu(self.body(low))
        main = self.main(high.mean((2, 3)))
        if self.training:
            return main, self.aux(F.adaptive_avg_pool2d(high[:, :self.width], 2).flatten(1))
        return main
''')
wrong("a4-auxiliary", "aux detached from the stem", "low.detach(): the auxiliary loss cannot help the lower layers", r'''
class TwoHeads(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.body = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.main = nn.Linear(2 * width, classes)
        self.aux = nn.Linear(4 * width, classes)

    def forward(self, x):
        low = F.relu(self.stem(x))
        main = self.main(F.relu(self.body(low)).mean((2, 3)))
        if self.training:
            return main, self.aux(F.adaptive_avg_pool2d(low.detach(), 2).flatten(1))
        return main
''')
right("a4-loss", "log_softmax by hand", "nll from log_softmax and gather", r'''
def loss_of_both(main, aux, labels, weight=0.3):
    def nll(scores):
        return -scores.log_softmax(dim=-1).gather(1, labels.unsqueeze(1)).mean()

    return nll(main) + weight * nll(aux)
''')
wrong("a4-loss", "item()", "returns a Python number: the right value, but nothing can be trained with it", r'''
def loss_of_both(main, aux, labels, weight=0.3):
    criterion = nn.CrossEntropyLoss()
    return criterion(main, labels).item() + weight * criterion(aux, labels).item()
''')
wrong("a4-loss", "convex mix", "(1 - weight) · main + weight · aux", r'''
def loss_of_both(main, aux, labels, weight=0.3):
    return torch.lerp(F.cross_entropy(main, labels), F.cross_entropy(aux, labels), weight)
''')
right("a4-train", "NiN with batch norm", "MLPConv-like stacks with batch norm and a global average, eval before predict", r'''
train, validation = digits("train", 16), digits("validation", 16)
torch.manual_seed(0)


def block(a, b):
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(),
                         nn.Conv2d(b, b, 1), nn.ReLU())


net = nn.Sequential(block(1, 12), nn.MaxPool2d(2), block(12, 24), nn.MaxPool2d(2), block(24, 32),
                    nn.Conv2d(32, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
for epoch in range(8):
    for batch in torch.randperm(len(train.images)).split(32):
        optimizer.zero_grad()
        F.cross_entropy(net(train.images[batch]), train.labels[batch]).backward()
        optimizer.step()
net.eval()


def predict(images):
    with torch.no_grad():
        return net(images).max(dim=1).indices
''')
wrong("a4-train", "large fully connected layer", "convolutions, but a hidden layer of 200 units hangs on the flattened map", r'''
train, validation = digits("train", 16), digits("validation", 16)
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                    nn.Linear(8 * 8 * 8, 200), nn.ReLU(), nn.Linear(200, 10))
optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
for epoch in range(8):
    for batch in torch.randperm(len(train.images)).split(32):
        optimizer.zero_grad()
        F.cross_entropy(net(train.images[batch]), train.labels[batch]).backward()
        optimizer.step()


@torch.no_grad()
def predict(images):
    return net(images).argmax(1)
''')
wrong("a4-train", "class means", "no network: the nearest of ten mean images", r'''
train = digits("train", 16)
means = torch.stack([train.images[train.labels == c].mean(0).flatten() for c in range(10)])


def predict(images):
    return torch.cdist(images.flatten(1), means).argmin(1)
''')

# ---------------------------------------------------------------- a5

right("a5-join", "torch.add and threshold", "torch.add, then F.threshold at 0", r'''
def join(x, branch):
    return F.threshold(torch.add(x, branch), 0.0, 0.0)
''')
wrong("a5-join", "ReLU before the sum", "the ReLU sits on the branch", r'''
def join(x, branch):
    return x + F.relu(branch)
''')
wrong("a5-join", "sum under no_grad", "right values, without gradients: no network could be trained through it", r'''
def join(x, branch):
    with torch.no_grad():
        return torch.relu(x + branch)
''')
right("a5-shortcut", "cat with new_zeros", "slices with steps, then torch.cat with zeros of the right type", r'''
def shortcut(x, out_channels, stride):
    x = x[..., ::stride, ::stride]
    n, c, h, w = x.shape
    return torch.cat((x, x.new_zeros(n, out_channels - c, h, w)), dim=1)
''')
wrong("a5-shortcut", "average pool", "averages stride × stride pixels and loses the odd rest", r'''
def shortcut(x, out_channels, stride):
    x = F.avg_pool2d(x, stride)
    return F.pad(x, (0, 0, 0, 0, 0, out_channels - x.shape[1]))
''')
wrong("a5-shortcut", "pads on both sides", "half of the zeros before the channels of x, half behind, as in the old CIFAR code", r'''
def shortcut(x, out_channels, stride):
    extra = out_channels - x.shape[1]
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, extra // 2, extra - extra // 2))
''')
wrong("a5-shortcut", "interpolates", "F.interpolate to H // stride: right for even sizes with stride 2 only", r'''
def shortcut(x, out_channels, stride):
    n, c, h, w = x.shape
    x = F.interpolate(x, size=(h // stride, w // stride), mode="nearest")
    return F.pad(x, (0, 0, 0, 0, 0, out_channels - c))
''')
SHORTCUT = r'''
def shortcut(x, out_channels, stride):
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, out_channels - x.shape[1]))

'''
right("a5-basic", "torchvision style", "self.relu in place, out += identity", SHORTCUT + r'''
def conv3x3(in_planes, out_planes, stride=1):
    return nn.Conv2d(in_planes, out_planes, kernel_size=3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.stride = stride

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += shortcut(x, out.shape[1], self.stride)
        return self.relu(out)
''')
wrong("a5-basic", "adds to the input in place", "x += branch changes the input that conv1 saved for the backward pass", SHORTCUT + r'''
class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.same = in_channels == out_channels and stride == 1
        self.out_channels, self.stride = out_channels, stride

    def forward(self, x):
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if not self.same:
            x = shortcut(x, self.out_channels, self.stride)
        x += branch
        return F.relu_(x)
''')
wrong("a5-basic", "one norm used twice", "bn1 normalizes both convolutions, bn2 is there and never used", SHORTCUT + r'''
class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.args = out_channels, stride

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn1(self.conv2(out))
        return F.relu(out + shortcut(x, *self.args))
''')
wrong("a5-basic", "norms without running statistics", "track_running_stats=False: batch statistics in evaluation mode too", SHORTCUT + r'''
class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels, track_running_stats=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels, track_running_stats=False)
        self.stride = stride

    def forward(self, x):
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (out + shortcut(x, out.shape[1], self.stride)).relu()
''')
wrong("a5-basic", "biases in the convolutions", "bias=False forgotten", SHORTCUT + r'''
class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.stride, self.out_channels = stride, out_channels

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + shortcut(x, self.out_channels, self.stride))
''')
right("a5-bottleneck", "branch and way as Sequentials", "aliases: self.branch and self.way share the named layers", r'''
class Bottleneck(nn.Module):
    def __init__(self, in_channels, width, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.branch = nn.Sequential(self.conv1, self.bn1, nn.ReLU(), self.conv2, self.bn2, nn.ReLU(),
                                    self.conv3, self.bn3)
        self.way = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.projection_bn = nn.BatchNorm2d(out_channels)
            self.way = nn.Sequential(nn.AvgPool2d(stride, stride), self.projection, self.projection_bn)

    def forward(self, x):
        return (self.branch(x) + self.way(x)).relu()
''')
wrong("a5-bottleneck", "strided projection", "the projection has the stride, nothing is averaged", r'''
class Bottleneck(nn.Module):
    def __init__(self, in_channels, width, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.needs = stride != 1 or in_channels != out_channels
        if self.needs:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.projection_bn = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + (self.projection_bn(self.projection(x)) if self.needs else x))
''')
wrong("a5-bottleneck", "projection always there", "every block has a projection, even where the text wants the input itself", r'''
class Bottleneck(nn.Module):
    def __init__(self, in_channels, width, out_channels, stride=1):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.projection = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.projection_bn = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + self.projection_bn(self.projection(F.avg_pool2d(x, self.stride))))
''')
wrong("a5-bottleneck", "projection for the stride only", "a block that only changes its channels adds x as it is, which breaks or broadcasts", r'''
class Bottleneck(nn.Module):
    def __init__(self, in_channels, width, out_channels, stride=1):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        if stride > 1:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.projection_bn = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        if self.stride > 1:
            x = self.projection_bn(self.projection(F.avg_pool2d(x, self.stride)))
        return F.relu(x + y)
''')
right("a5-preactivation", "register_module with None", "projection is None where it is not needed; the channels and the stride compared as a pair", r'''
class PreActivation(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.gain = nn.Parameter(torch.zeros(1))
        self.projection = None
        if (in_channels, 1) != (out_channels, stride):
            self.projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x):
        pre = self.bn1(x).relu()
        out = self.conv2(self.bn2(self.conv1(pre)).relu())
        return (x if self.projection is None else self.projection(pre)) + self.gain * out
''')
wrong("a5-preactivation", "projects the raw input", "the projection sees x, not what leaves the first ReLU", r'''
class PreActivation(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.gain = nn.Parameter(torch.zeros(1))
        if in_channels != out_channels or stride != 1:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x):
        identity = self.projection(x) if hasattr(self, "projection") else x
        out = self.conv1(F.relu(self.bn1(x)))
        out = self.conv2(F.relu(self.bn2(out)))
        return identity + self.gain * out
''')
wrong("a5-preactivation", "gain begins at one", "torch.ones: a new block is not the identity", r'''
class PreActivation(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.gain = nn.Parameter(torch.ones(1))
        self.projects = in_channels != out_channels or stride != 1
        if self.projects:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x):
        first = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(first))))
        return (self.projection(first) if self.projects else x) + self.gain * out
''')
wrong("a5-preactivation", "the first ReLU is the shortcut", "where nothing changes the shortcut is what leaves the first ReLU, not x itself", r'''
class PreActivation(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.gain = nn.Parameter(torch.zeros(1))
        if in_channels != out_channels or stride != 1:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        else:
            self.projection = nn.Identity()

    def forward(self, x):
        first = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(first))))
        return self.projection(first) + self.gain * out
''')
wrong("a5-preactivation", "gain as a plain tensor", "gain is a buffer that does not learn", r'''
class PreActivation(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.register_buffer("gain", torch.zeros(1))
        self.projects = in_channels != out_channels or stride != 1
        if self.projects:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x):
        first = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(first))))
        return (self.projection(first) if self.projects else x) + self.gain * out
''')
right("a5-dense", "list of features, one cat a layer", "keeps a list of maps, concatenates where it is needed", r'''
class DenseBlock(nn.Module):
    def __init__(self, in_channels, growth, layers):
        super().__init__()
        widths = range(in_channels, in_channels + layers * growth, growth)
        self.bns = nn.ModuleList(map(nn.BatchNorm2d, widths))
        self.convs = nn.ModuleList(nn.Conv2d(c, growth, 3, padding=1, bias=False) for c in widths)

    def forward(self, x):
        collected = [x]
        for norm, conv in zip(self.bns, self.convs):
            seen = torch.cat(collected, dim=1)
            collected.append(conv(F.relu(norm(seen), inplace=True)))
        return torch.cat(collected, dim=1)
''')
wrong("a5-dense", "new maps in front", "the new maps are laid before the old ones", r'''
class DenseBlock(nn.Module):
    def __init__(self, in_channels, growth, layers):
        super().__init__()
        self.bns, self.convs = nn.ModuleList(), nn.ModuleList()
        for i in range(layers):
            c = in_channels + i * growth
            self.bns.append(nn.BatchNorm2d(c))
            self.convs.append(nn.Conv2d(c, growth, 3, padding=1, bias=False))

    def forward(self, x):
        for bn, conv in zip(self.bns, self.convs):
            x = torch.cat([conv(F.relu(bn(x))), x], 1)
        return x
''')
wrong("a5-dense", "only the new maps", "the block returns what the layers made, without the input", r'''
class DenseBlock(nn.Module):
    def __init__(self, in_channels, growth, layers):
        super().__init__()
        self.inputs = in_channels
        self.bns = nn.ModuleList([nn.BatchNorm2d(in_channels + i * growth) for i in range(layers)])
        self.convs = nn.ModuleList([nn.Conv2d(in_channels + i * growth, growth, 3, padding=1, bias=False)
                                    for i in range(layers)])

    def forward(self, x):
        for bn, conv in zip(self.bns, self.convs):
            x = torch.cat([x, conv(F.relu(bn(x)))], 1)
        return x[:, self.inputs:]
''')
wrong("a5-dense", "norms kept in evaluation mode", "calls bn.eval() in __init__ and train() is overridden: the running statistics never move", r'''
class DenseBlock(nn.Module):
    def __init__(self, in_channels, growth, layers):
        super().__init__()
        self.bns = nn.ModuleList([nn.BatchNorm2d(in_channels + i * growth) for i in range(layers)])
        self.convs = nn.ModuleList([nn.Conv2d(in_channels + i * growth, growth, 3, padding=1, bias=False)
                                    for i in range(layers)])

    def train(self, mode=True):
        super().train(mode)
        for bn in self.bns:
            bn.eval()
        return self

    def forward(self, x):
        for bn, conv in zip(self.bns, self.convs):
            x = torch.cat([x, conv(F.relu(bn(x)))], 1)
        return x
''')
right("a5-dense-parameters", "closed formula", "the arithmetic series summed by hand", r'''
def dense_parameters(in_channels, growth, layers):
    channels_in_all = layers * in_channels + growth * layers * (layers - 1) // 2
    return channels_in_all * (9 * growth + 2)
''')
wrong("a5-dense-parameters", "running statistics counted", "four numbers a channel: the running mean and variance too", r'''
def dense_parameters(in_channels, growth, layers):
    total = 0
    for i in range(layers):
        c = in_channels + i * growth
        total += 9 * c * growth + 4 * c
    return total
''')
wrong("a5-dense-parameters", "norm of the growth", "scale and shift counted for the growth maps instead of the layer's input", r'''
def dense_parameters(in_channels, growth, layers):
    return sum(9 * growth * (in_channels + i * growth) + 2 * growth for i in range(layers))
''')
right("a5-squeeze-excite", "1 + tanh", "2σ(z) = 1 + tanh(z / 2)", r'''
class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.down = nn.Linear(channels, channels // reduction)
        self.up = nn.Linear(channels // reduction, channels)

    def gate(self, x):
        z = self.up(self.down(x.mean(dim=(-2, -1))).relu())
        return 1 + torch.tanh(z / 2)

    def forward(self, x):
        return torch.einsum("nchw,nc->nchw", x, self.gate(x))
''')
wrong("a5-squeeze-excite", "gate from 0 to 1", "the factor 2 is forgotten", r'''
class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.down = nn.Linear(channels, channels // reduction)
        self.up = nn.Linear(channels // reduction, channels)

    def forward(self, x):
        s = F.adaptive_avg_pool2d(x, 1).flatten(1)
        s = torch.sigmoid(self.up(F.relu(self.down(s))))
        return x * s[:, :, None, None]
''')
wrong("a5-squeeze-excite", "gates of the whole batch", "the mean is taken over the batch too", r'''
class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.down = nn.Linear(channels, channels // reduction)
        self.up = nn.Linear(channels // reduction, channels)

    def forward(self, x):
        means = x.mean(dim=(0, 2, 3), keepdim=True).flatten(1)
        gate = 2 * self.up(self.down(means).relu()).sigmoid()
        return x * gate.view(1, -1, 1, 1)
''')
wrong("a5-squeeze-excite", "gate is detached", "the gate enters as .data: down and up never learn", r'''
class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.down = nn.Linear(channels, channels // reduction)
        self.up = nn.Linear(channels // reduction, channels)

    def forward(self, x):
        gate = 2 * torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
        return x.mul(gate.data[..., None, None])
''')
right("a5-deep", "step as a method", "chooses between two bound methods in __init__", r'''
class DeepNet(nn.Module):
    def __init__(self, depth, width, residual):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.layers = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in range(depth)])
        self.head = nn.Linear(width, 10)
        self.residual = bool(residual)

    def step(self, x, layer):
        return layer(x).relu() + (x if self.residual else 0)

    def forward(self, x):
        x = self.stem(x).relu()
        for layer in self.layers:
            x = self.step(x, layer)
        return self.head(x.mean((2, 3)))
''')
wrong("a5-deep", "ReLU of the sum", "relu(x + layer(x)) instead of x + relu(layer(x))", r'''
class DeepNet(nn.Module):
    def __init__(self, depth, width, residual):
        super().__init__()
        self.residual = residual
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        for layer in self.layers:
            x = F.relu(x + layer(x)) if self.residual else F.relu(layer(x))
        return self.head(x.mean((2, 3)))
''')
wrong("a5-deep", "always residual", "the flag is stored and never asked", r'''
class DeepNet(nn.Module):
    def __init__(self, depth, width, residual):
        super().__init__()
        self.residual = residual
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        for layer in self.layers:
            x = x + F.relu(layer(x))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))
''')
wrong("a5-deep", "in-place sum in the loop", "x += relu(layer(x)) overwrites what the layer saved: the backward pass fails", r'''
class DeepNet(nn.Module):
    def __init__(self, depth, width, residual):
        super().__init__()
        self.residual = residual
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        for layer in self.layers:
            if self.residual:
                x += F.relu(layer(x))
            else:
                x = F.relu(layer(x))
        return self.head(x.mean((2, 3)))
''')
right("a5-train", "two residual stages", "a ResNet of its own block class with a projection, eval before predict", r'''
train, validation = digits("train"), digits("validation")
torch.manual_seed(0)


class Residual(nn.Module):
    def __init__(self, a, b, stride):
        super().__init__()
        self.way = nn.Conv2d(a, b, 1, stride, bias=False)
        self.branch = nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(),
                                    nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b))

    def forward(self, x):
        return F.relu(self.way(x) + self.branch(x))


network = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), Residual(16, 16, 1), Residual(16, 32, 2),
                        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
optimizer = torch.optim.Adam(network.parameters(), lr=0.005)
for _ in range(8):
    for batch in torch.randperm(len(train.images)).split(32):
        optimizer.zero_grad()
        F.cross_entropy(network(train.images[batch]), train.labels[batch]).backward()
        optimizer.step()
network.eval()


def predict(images):
    with torch.no_grad():
        return network(images).argmax(1)
''')
wrong("a5-train", "no shortcuts", "a plain convolutional network: the text asks for shortcuts", r'''
train = digits("train")
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
                    nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32), nn.ReLU(),
                    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
for _ in range(8):
    for batch in torch.randperm(len(train.images)).split(32):
        optimizer.zero_grad()
        F.cross_entropy(net(train.images[batch]), train.labels[batch]).backward()
        optimizer.step()
net.eval()


def predict(images):
    with torch.no_grad():
        return net(images).argmax(1)
''')
wrong("a5-train", "nearest of three", "three nearest neighbours vote; no network", r'''
train = digits("train")
flat = train.images.flatten(1)


def predict(images):
    near = torch.cdist(images.flatten(1), flat).topk(3, largest=False).indices
    return train.labels[near].mode(dim=1).values
''')

# ---------------------------------------------------------------- a6

right("a6-mirror", "writes to the mirrored place", "thread (row, col) reads its own pixel and writes the mirrored one", r'''
mirror_source = r"""
__global__ void mirror(const float* in, float* out, int h, int w) {
    const int x = blockDim.x * blockIdx.x + threadIdx.x;
    const int y = blockDim.y * blockIdx.y + threadIdx.y;
    if (x < w && y < h) {
        out[(w - 1 - x) + y * w] = in[x + y * w];
    }
}
"""
''')
wrong("a6-mirror", "off by one", "reads in[row][w - col]: one too far, past the row's end at col 0", r'''
mirror_source = r"""
__global__ void mirror(const float* in, float* out, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row < h && col < w) out[row * w + col] = in[row * w + w - col];
}
"""
''')
wrong("a6-mirror", "no guard", "threads outside the image write too", r'''
mirror_source = r"""
__global__ void mirror(const float* in, float* out, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    out[row * w + col] = in[row * w + w - 1 - col];
}
"""
''')
wrong("a6-mirror", "blocks of 16", "16 in place of blockDim: right for 16×16 blocks only", r'''
mirror_source = r"""
#define BLOCK 16
__global__ void mirror(const float* in, float* out, int h, int w) {
    int col = blockIdx.x * BLOCK + threadIdx.x;
    int row = blockIdx.y * BLOCK + threadIdx.y;
    if (row < h && col < w) out[row * w + col] = in[row * w + w - 1 - col];
}
"""
''')
right("a6-bytes", "helper for the pixel", "a __device__ function returns 0 outside the image", r'''
bytes_source = r"""
__device__ int pixel(const unsigned char* in, int row, int col, int w, int h) {
    return row >= 0 && row < h && col >= 0 && col < w ? in[row * w + col] : 0;
}

__global__ void conv2d(const unsigned char* in, const signed char* filter, unsigned char* out,
                       int k, int w, int h) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (col >= w || row >= h) return;
    int half = k / 2, sum = 0;
    for (int j = 0; j < k; ++j)
        for (int i = 0; i < k; ++i)
            sum += filter[j * k + i] * pixel(in, row - half + j, col - half + i, w, h);
    out[row * w + col] = (unsigned char)min(255, max(0, sum));
}
"""
''')
wrong("a6-bytes", "clamps every step", "the running sum is clamped after each tap, not at the end", r'''
bytes_source = r"""
__global__ void conv2d(const unsigned char* in, const signed char* filter, unsigned char* out,
                       int k, int w, int h) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (col >= w || row >= h) return;
    int sum = 0;
    for (int j = 0; j < k; j++)
        for (int i = 0; i < k; i++) {
            int y = row - k / 2 + j, x = col - k / 2 + i;
            if (x >= 0 && x < w && y >= 0 && y < h) {
                sum += filter[j * k + i] * in[y * w + x];
                sum = min(max(sum, 0), 255);
            }
        }
    out[row * w + col] = sum;
}
"""
''')
wrong("a6-bytes", "filter turned round", "filter[k-1-j][k-1-i]: true convolution", r'''
bytes_source = r"""
__global__ void conv2d(const unsigned char* in, const signed char* filter, unsigned char* out,
                       int k, int w, int h) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (col >= w || row >= h) return;
    int sum = 0;
    for (int j = 0; j < k; j++)
        for (int i = 0; i < k; i++) {
            int y = row - k / 2 + j, x = col - k / 2 + i;
            if (x >= 0 && x < w && y >= 0 && y < h)
                sum += filter[(k - 1 - j) * k + (k - 1 - i)] * in[y * w + x];
        }
    out[row * w + col] = min(max(sum, 0), 255);
}
"""
''')
right("a6-constant", "running pointer into the filter", "tap index counts up, coordinates clamped by min and max", r'''
constant_source = r"""
__constant__ float filter[15 * 15];

__global__ void conv2d(const float* in, float* out, int k, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= h || col >= w) return;
    float sum = 0.0f;
    int tap = 0;
    for (int y = row - k / 2; y <= row + k / 2; ++y) {
        const float* line = in + min(max(y, 0), h - 1) * w;
        for (int x = col - k / 2; x <= col + k / 2; ++x)
            sum += filter[tap++] * line[min(max(x, 0), w - 1)];
    }
    out[row * w + col] = sum;
}
"""
''')
wrong("a6-constant", "zeros at the edge", "pixels outside count as 0, as in part 2", r'''
constant_source = r"""
__constant__ float filter[15 * 15];

__global__ void conv2d(const float* in, float* out, int k, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= h || col >= w) return;
    float sum = 0;
    for (int j = 0; j < k; ++j)
        for (int i = 0; i < k; ++i) {
            int y = row - k / 2 + j, x = col - k / 2 + i;
            if (y >= 0 && y < h && x >= 0 && x < w) sum += filter[j * k + i] * in[y * w + x];
        }
    out[row * w + col] = sum;
}
"""
''')
wrong("a6-constant", "everyone begins elsewhere", "each thread starts at another tap, so a warp reads many taps at once: no broadcast", r'''
constant_source = r"""
__constant__ float filter[15 * 15];

__global__ void conv2d(const float* in, float* out, int k, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= h || col >= w) return;
    float sum = 0;
    for (int j = 0; j < k; ++j)
        for (int n = 0; n < k; ++n) {
            int i = (n + threadIdx.x) % k;
            int y = min(max(row - k / 2 + j, 0), h - 1), x = min(max(col - k / 2 + i, 0), w - 1);
            sum += filter[j * k + i] * in[y * w + x];
        }
    out[row * w + col] = sum;
}
"""
''')
right("a6-counts", "ceil divisions", "-(-n // k) for the grid, all from names", r'''
bx, by = 32, 8
launched = -(-100 // bx) * -(-70 // by) * bx * by
halo = 32 + 7 - 1
counts = {
    "threads launched": launched,
    "idle threads": launched - 70 * 100,
    "sectors, along a row": 32 * 4 // 32,
    "sectors, down a column": 32,
    "global loads per output, tiled": halo ** 2 / 32 ** 2,
    "bytes of a tile": halo ** 2 * 4,
}
''')
wrong("a6-counts", "x and y exchanged", "32 rows and 8 columns a block, the rest right", r'''
launched = -(-100 // 8) * -(-70 // 32) * 256
counts = {
    "threads launched": launched,
    "idle threads": launched - 7000,
    "sectors, along a row": 4,
    "sectors, down a column": 32,
    "global loads per output, tiled": 38 * 38 / 1024,
    "bytes of a tile": 38 * 38 * 4,
}
''')
right("a6-tiled", "one loop over the flat tile", "threads load the tile as one long line, TILE·TILE at a time", r'''
tiled_source = r"""
__constant__ float filter[15 * 15];

template <int K, int TILE>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    constexpr int SIDE = TILE + K - 1;
    __shared__ float tile[SIDE * SIDE];
    const int top = (int)blockIdx.y * TILE - K / 2, left = (int)blockIdx.x * TILE - K / 2;
    for (int n = threadIdx.y * TILE + threadIdx.x; n < SIDE * SIDE; n += TILE * TILE) {
        int y = min(max(top + n / SIDE, 0), h - 1), x = min(max(left + n % SIDE, 0), w - 1);
        tile[n] = in[y * w + x];
    }
    __syncthreads();
    const int row = blockIdx.y * TILE + threadIdx.y, col = blockIdx.x * TILE + threadIdx.x;
    if (row < h && col < w) {
        float sum = 0.0f;
        for (int j = 0; j < K; ++j)
            for (int i = 0; i < K; ++i)
                sum += filter[j * K + i] * tile[(threadIdx.y + j) * SIDE + threadIdx.x + i];
        out[row * w + col] = sum;
    }
}
"""
''')
wrong("a6-tiled", "no barrier", "__syncthreads() is left out: a race", r'''
tiled_source = r"""
__constant__ float filter[15 * 15];

template <int K, int TILE>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    __shared__ float tile[TILE + K - 1][TILE + K - 1];
    int top = (int)blockIdx.y * TILE - K / 2, left = (int)blockIdx.x * TILE - K / 2;
    for (int y = threadIdx.y; y < TILE + K - 1; y += TILE)
        for (int x = threadIdx.x; x < TILE + K - 1; x += TILE)
            tile[y][x] = in[min(max(top + y, 0), h - 1) * w + min(max(left + x, 0), w - 1)];
    int row = blockIdx.y * TILE + threadIdx.y, col = blockIdx.x * TILE + threadIdx.x;
    if (row >= h || col >= w) return;
    float sum = 0;
    for (int j = 0; j < K; ++j)
        for (int i = 0; i < K; ++i) sum += filter[j * K + i] * tile[threadIdx.y + j][threadIdx.x + i];
    out[row * w + col] = sum;
}
"""
''')
wrong("a6-tiled", "early return", "threads outside the image return before they have loaded: holes in the tile", r'''
tiled_source = r"""
__constant__ float filter[15 * 15];

template <int K, int TILE>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    __shared__ float tile[TILE + K - 1][TILE + K - 1];
    int row = blockIdx.y * TILE + threadIdx.y, col = blockIdx.x * TILE + threadIdx.x;
    if (row >= h || col >= w) return;
    int top = (int)blockIdx.y * TILE - K / 2, left = (int)blockIdx.x * TILE - K / 2;
    for (int y = threadIdx.y; y < TILE + K - 1; y += TILE)
        for (int x = threadIdx.x; x < TILE + K - 1; x += TILE)
            tile[y][x] = in[min(max(top + y, 0), h - 1) * w + min(max(left + x, 0), w - 1)];
    __syncthreads();
    float sum = 0;
    for (int j = 0; j < K; ++j)
        for (int i = 0; i < K; ++i) sum += filter[j * K + i] * tile[threadIdx.y + j][threadIdx.x + i];
    out[row * w + col] = sum;
}
"""
''')
wrong("a6-tiled", "no tile at all", "reads global memory 25 times an output", r'''
tiled_source = r"""
__constant__ float filter[15 * 15];

template <int K, int TILE>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    int row = blockIdx.y * TILE + threadIdx.y, col = blockIdx.x * TILE + threadIdx.x;
    if (row >= h || col >= w) return;
    float sum = 0;
    #pragma unroll
    for (int j = 0; j < K; ++j)
        #pragma unroll
        for (int i = 0; i < K; ++i)
            sum += filter[j * K + i] * in[min(max(row + j - K / 2, 0), h - 1) * w + min(max(col + i - K / 2, 0), w - 1)];
    out[row * w + col] = sum;
}
"""
''')
right("a6-coarsened", "sums in registers, row by row", "each word of the tile goes into all sums that need it", r'''
coarsened_source = r"""
__constant__ float filter[15 * 15];

template <int K, int WIDTH, int STRIPS, int ROWS>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    constexpr int TW = WIDTH + K - 1, TH = STRIPS * ROWS + K - 1;
    __shared__ float tile[TH][TW];
    int top = (int)blockIdx.y * (STRIPS * ROWS), left = (int)blockIdx.x * WIDTH;
    for (int n = threadIdx.y * WIDTH + threadIdx.x; n < TH * TW; n += WIDTH * STRIPS) {
        int y = min(max(top + n / TW - K / 2, 0), h - 1);
        int x = min(max(left + n % TW - K / 2, 0), w - 1);
        tile[n / TW][n % TW] = in[y * w + x];
    }
    __syncthreads();
    float sums[ROWS];
    #pragma unroll
    for (int r = 0; r < ROWS; ++r) sums[r] = 0.0f;
    int first = threadIdx.y * ROWS;
    #pragma unroll
    for (int y = 0; y < ROWS + K - 1; ++y) {
        #pragma unroll
        for (int i = 0; i < K; ++i) {
            float value = tile[first + y][threadIdx.x + i];
            #pragma unroll
            for (int r = 0; r < ROWS; ++r)
                if (y - r >= 0 && y - r < K) sums[r] += filter[(y - r) * K + i] * value;
        }
    }
    int col = left + threadIdx.x;
    #pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        int row = top + first + r;
        if (row < h && col < w) out[row * w + col] = sums[r];
    }
}
"""
''')
wrong("a6-coarsened", "one output after the other", "ROWS outputs a thread, but each reads its 25 words anew", r'''
coarsened_source = r"""
__constant__ float filter[15 * 15];

template <int K, int WIDTH, int STRIPS, int ROWS>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    constexpr int TW = WIDTH + K - 1, TH = STRIPS * ROWS + K - 1;
    __shared__ float tile[TH][TW];
    int top = (int)blockIdx.y * (STRIPS * ROWS), left = (int)blockIdx.x * WIDTH;
    for (int y = threadIdx.y; y < TH; y += STRIPS)
        for (int x = threadIdx.x; x < TW; x += WIDTH)
            tile[y][x] = in[min(max(top + y - K / 2, 0), h - 1) * w + min(max(left + x - K / 2, 0), w - 1)];
    __syncthreads();
    int col = left + threadIdx.x;
    for (int r = 0; r < ROWS; ++r) {
        int row = top + threadIdx.y * ROWS + r;
        float sum = 0;
        for (int j = 0; j < K; ++j)
            for (int i = 0; i < K; ++i)
                sum += filter[j * K + i] * tile[threadIdx.y * ROWS + r + j][threadIdx.x + i];
        if (row < h && col < w) out[row * w + col] = sum;
    }
}
"""
''')
wrong("a6-coarsened", "rows interleaved wrongly", "a thread's outputs lie STRIPS rows apart when written, but one below the other when summed", r'''
coarsened_source = r"""
__constant__ float filter[15 * 15];

template <int K, int WIDTH, int STRIPS, int ROWS>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    constexpr int TW = WIDTH + K - 1, TH = STRIPS * ROWS + K - 1;
    __shared__ float tile[TH][TW];
    int top = (int)blockIdx.y * (STRIPS * ROWS), left = (int)blockIdx.x * WIDTH;
    for (int y = threadIdx.y; y < TH; y += STRIPS)
        for (int x = threadIdx.x; x < TW; x += WIDTH)
            tile[y][x] = in[min(max(top + y - K / 2, 0), h - 1) * w + min(max(left + x - K / 2, 0), w - 1)];
    __syncthreads();
    float sums[ROWS] = {};
    #pragma unroll
    for (int y = 0; y < ROWS + K - 1; ++y)
        #pragma unroll
        for (int i = 0; i < K; ++i) {
            float value = tile[threadIdx.y * ROWS + y][threadIdx.x + i];
            #pragma unroll
            for (int r = 0; r < ROWS; ++r)
                if (y >= r && y < r + K) sums[r] += filter[(y - r) * K + i] * value;
        }
    #pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        int row = top + threadIdx.y + r * STRIPS, col = left + threadIdx.x;
        if (row < h && col < w) out[row * w + col] = sums[r];
    }
}
"""
''')

# ---------------------------------------------------------------- a7

right("a7-baseline", "bincount", "bincount of the labels, its largest by their number", r'''
def baseline(labels):
    return torch.bincount(labels).max().item() / len(labels)
''')
wrong("a7-baseline", "chance", "one over the number of classes", r'''
def baseline(labels):
    return 1 / labels.unique().numel()
''')
wrong("a7-baseline", "the largest label", "counts the label with the largest number", r'''
def baseline(labels):
    return (labels == labels.max()).float().mean().item()
''')
right("a7-few", "nonzero of each class", "nonzero, cut, cat and sort", r'''
def few(labels, each):
    chosen = [torch.nonzero(labels == c).flatten()[:each] for c in labels.unique()]
    return torch.cat(chosen).sort().values
''')
wrong("a7-few", "grouped by class", "the indices class by class, not in increasing order", r'''
def few(labels, each):
    return torch.cat([torch.where(labels == c)[0][:each] for c in labels.unique()])
''')
wrong("a7-few", "cuts to the smallest class", "every class gives only as many as the rarest one has", r'''
def few(labels, each):
    each = min(each, int(labels.unique(return_counts=True)[1].min()))
    parts = [(labels == c).nonzero()[:each, 0] for c in labels.unique()]
    return torch.cat(parts).sort()[0]
''')
right("a7-head", "list of layers", "setattr-free: builds a list and unpacks it into nn.Sequential", r'''
def adapted(width, classes, hidden=0):
    network = Trunk(width)
    inputs = network.fc.in_features
    sizes = [inputs, hidden, classes] if hidden else [inputs, classes]
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    layers.pop()
    network.fc = nn.Sequential(*layers) if hidden else layers[0]
    return network
''')
wrong("a7-head", "behind the old head", "the new layer takes the eight old scores", r'''
def adapted(width, classes, hidden=0):
    network = Trunk(width)
    if hidden == 0:
        network.fc = nn.Sequential(network.fc, nn.Linear(8, classes))
    else:
        network.fc = nn.Sequential(network.fc, nn.Linear(8, hidden), nn.ReLU(), nn.Linear(hidden, classes))
    return network
''')
wrong("a7-head", "out_features only", "changes the attribute out_features; the weights are the old ones", r'''
def adapted(width, classes, hidden=0):
    network = Trunk(width)
    if hidden:
        network.fc = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, classes))
    else:
        network.fc.out_features = classes
    return network
''')
wrong("a7-head", "frozen trunk", "freezes the trunk too; ambiguous: the text neither asks for it nor forbids it ('Nothing is to be changed in it' is about the class)", r'''
def adapted(width, classes, hidden=0):
    network = Trunk(width)
    for parameter in network.parameters():
        parameter.requires_grad = False
    if hidden:
        network.fc = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, classes))
    else:
        network.fc = nn.Linear(width, classes)
    return network
''', ambiguous=True)
right("a7-freeze", "units as lists", "unfreezes unit by unit after freezing all", r'''
def trained(trainable, classes):
    net = load_trunk("patterns", classes)
    units = [(net.conv1, net.bn1), (net.layer1,), (net.layer2,), (net.layer3,), (net.fc,)]
    net.requires_grad_(False)
    for unit in units[len(units) - trainable:]:
        for part in unit:
            part.requires_grad_(True)
    live = {name: p.numel() for name, p in net.named_parameters() if p.requires_grad}
    return list(live), sum(live.values())
''')
wrong("a7-freeze", "minus zero", "units[-0:] is everything: wrong for trainable = 0 only; ambiguous: whether 0 is ever asked the text does not say", r'''
def trained(trainable, classes):
    net = load_trunk("patterns", classes)
    net.requires_grad_(False)
    units = [[net.conv1, net.bn1], [net.layer1], [net.layer2], [net.layer3], [net.fc]]
    for unit in units[-trainable:]:
        for module in unit:
            module.requires_grad_(True)
    names = [n for n, p in net.named_parameters() if p.requires_grad]
    return names, sum(p.numel() for p in net.parameters() if p.requires_grad)
''', ambiguous=True)
wrong("a7-freeze", "bn1 is a unit of its own", "slices the list of children: conv1 and bn1 count as two units", r'''
def trained(trainable, classes):
    net = load_trunk("patterns", classes)
    with_parameters = [m for m in net.children() if list(m.parameters())]
    for module in with_parameters[:len(with_parameters) - trainable]:
        module.requires_grad_(False)
    names = [n for n, p in net.named_parameters() if p.requires_grad]
    return names, sum(p.numel() for p in net.parameters() if p.requires_grad)
''')
wrong("a7-freeze", "norms stay frozen", "norm layers are left frozen because one freezes them when fine-tuning", r'''
def trained(trainable, classes):
    net = load_trunk("patterns", classes)
    net.requires_grad_(False)
    units = [["conv1", "bn1"], ["layer1"], ["layer2"], ["layer3"], ["fc"]][5 - trainable:]
    wanted = {name for unit in units for name in unit}
    names = []
    total = 0
    for name, p in net.named_parameters():
        if name.split(".")[0] in wanted and "bn" not in name:
            p.requires_grad_(True)
            names.append(name)
            total += p.numel()
    return names, total
''')
right("a7-frozen-norm", "trunk.eval in train", "the trunk is put into evaluation mode after super().train", r'''
class FrozenTrunk(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ).requires_grad_(False)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)
        self.train()

    def train(self, mode=True):
        super().train(mode)
        self.trunk.eval()
        return self

    def forward(self, x):
        return self.head(self.norm(self.trunk(x).mean((2, 3))))
''')
wrong("a7-frozen-norm", "learns all the same", "the modes are right, but the trunk's parameters are not frozen", r'''
class FrozenTrunk(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
                                   nn.BatchNorm2d(width), nn.ReLU())
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)

    def train(self, mode=True):
        super().train(mode)
        self.trunk.eval()
        return self

    def forward(self, x):
        return self.head(self.norm(self.trunk(x).mean((2, 3))))
''')
wrong("a7-frozen-norm", "everything in evaluation mode", "train() also stops the head's norm", r'''
class FrozenTrunk(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
                                   nn.BatchNorm2d(width), nn.ReLU())
        for p in self.trunk.parameters():
            p.requires_grad = False
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)

    def train(self, mode=True):
        super().train(mode)
        for module in self.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.eval()
        return self

    def forward(self, x):
        return self.head(self.norm(self.trunk(x).mean((2, 3))))
''')
wrong("a7-frozen-norm", "momentum zero", "momentum=0 keeps the statistics, but training mode still normalizes with the batch", r'''
class FrozenTrunk(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
                                   nn.BatchNorm2d(width, momentum=0.0), nn.ReLU())
        self.trunk.requires_grad_(False)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)

    def train(self, mode=True):
        super().train(mode)
        return self

    def forward(self, x):
        return self.head(self.norm(self.trunk(x).mean((2, 3))))
''')
right("a7-rates", "powers", "learning_rate · decay ** distance, a conditional expression for the frozen", r'''
def rates(units, learning_rate, decay, frozen=0):
    return [0.0 if i < frozen else learning_rate * decay ** (units - 1 - i) for i in range(units)]
''')
wrong("a7-rates", "head first", "the list begins with the head", r'''
def rates(units, learning_rate, decay, frozen=0):
    result = [learning_rate * decay ** i for i in range(units)]
    for i in range(units - frozen, units):
        result[i] = 0
    return result
''')
wrong("a7-rates", "one rate below the head", "all trained units below the head get the same rate", r'''
def rates(units, learning_rate, decay, frozen=0):
    trained = units - frozen
    return [0.0] * frozen + [learning_rate * decay] * (trained - 1) + [learning_rate] * min(trained, 1)
''')
right("a7-features", "forward pre-hook", "catches the input of fc with a hook, in evaluation mode", r'''
def features(images, trunk):
    network = load_trunk(trunk).eval()
    caught = []
    handle = network.fc.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
    with torch.no_grad():
        network(images)
    handle.remove()
    return caught[0]
''')
wrong("a7-features", "training mode", "no eval(): normalizes with the batch, and a batch of one differs", r'''
def features(images, trunk):
    network = load_trunk(trunk)
    network.fc = nn.Identity()
    with torch.no_grad():
        return network(images)
''')
wrong("a7-features", "with gradients", "evaluation mode, but the features hang on the graph", r'''
def features(images, trunk):
    network = load_trunk(trunk)
    network.eval()
    network.fc = nn.Identity()
    return network(images)
''')
wrong("a7-features", "one trunk for both", "always loads \"patterns\"", r'''
def features(images, trunk="patterns"):
    network = load_trunk("patterns").eval()
    network.fc = nn.Identity()
    with torch.no_grad():
        return network(images)
''')
wrong("a7-features", "standardized images", "subtracts the images' mean first although they are to be given as they are", r'''
def features(images, trunk):
    network = load_trunk(trunk).eval()
    network.fc = nn.Identity()
    images = (images - images.mean((0, 2, 3), keepdim=True)) / images.std((0, 2, 3), keepdim=True)
    with torch.no_grad():
        return network(images)
''')
right("a7-nearest-mean", "one-hot means", "the class means by a one-hot matrix product, distances by cdist", r'''
def nearest_mean(features, labels, queries):
    member = F.one_hot(labels).to(features)
    means = (member.T @ features) / member.sum(0).unsqueeze(1)
    return torch.cdist(queries, means).argmin(dim=1)
''')
wrong("a7-nearest-mean", "nearest neighbour", "the class of the nearest single image", r'''
def nearest_mean(features, labels, queries):
    return labels[torch.cdist(queries, features).argmin(1)]
''')
wrong("a7-nearest-mean", "cosine", "the largest cosine instead of the smallest Euclidean distance", r'''
def nearest_mean(features, labels, queries):
    means = torch.stack([features[labels == c].mean(0) for c in range(int(labels.max()) + 1)])
    return F.cosine_similarity(queries[:, None], means[None], dim=-1).argmax(1)
''')
right("a7-train", "fine-tuning with rates by depth", "all units with decaying rates, light shifts as augmentation, cosine", r'''
SHAPES = ("ell", "crescent", "star", "tee", "twins", "wedge")
train = patterns("train", 90, 16, classes=SHAPES, seed=7)
torch.manual_seed(0)
net = load_trunk("patterns", 6)
units = [[net.conv1, net.bn1], [net.layer1], [net.layer2], [net.layer3], [net.fc]]
groups = [{"params": [p for m in unit for p in m.parameters()], "lr": 0.006 * 0.6 ** (4 - i)}
          for i, unit in enumerate(units)]
optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
epochs = 30
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
net.train()
for _ in range(epochs):
    for batch in torch.randperm(90).split(30):
        x = train.images[batch]
        x = torch.roll(x, tuple(torch.randint(-1, 2, (2,)).tolist()), dims=(2, 3))
        optimizer.zero_grad()
        F.cross_entropy(net(x), train.labels[batch], label_smoothing=0.05).backward()
        optimizer.step()
    schedule.step()
net.eval()


def predict(images):
    with torch.no_grad():
        return net(images).argmax(1)
''')
wrong("a7-train", "from scratch, one linear layer", "a linear classifier on the pixels", r'''
SHAPES = ("ell", "crescent", "star", "tee", "twins", "wedge")
train = patterns("train", 90, 16, classes=SHAPES, seed=7)
torch.manual_seed(0)
net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 6))
optimizer = torch.optim.Adam(net.parameters(), lr=0.003, weight_decay=0.01)
for _ in range(60):
    for batch in torch.randperm(90).split(30):
        optimizer.zero_grad()
        F.cross_entropy(net(train.images[batch]), train.labels[batch]).backward()
        optimizer.step()


def predict(images):
    return net(images).argmax(1)
''')
wrong("a7-train", "more images drawn", "trains on 1500 further images; ambiguous: 'these 90 images and no others', but 'part 10 will show it', which a person reads", r'''
SHAPES = ("ell", "crescent", "star", "tee", "twins", "wedge")
many = patterns("train", 1500, 16, classes=SHAPES, seed=11)
torch.manual_seed(0)
net = load_trunk("patterns", 6)
optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
net.train()
for _ in range(2):
    for batch in torch.randperm(1500).split(50):
        optimizer.zero_grad()
        F.cross_entropy(net(many.images[batch]), many.labels[batch]).backward()
        optimizer.step()
net.eval()


def predict(images):
    with torch.no_grad():
        return net(images).argmax(1)
''', ambiguous=True)
