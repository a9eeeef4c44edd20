"""Right answers to assignment 3, independent of its references and of each other."""

import copy
import math
from functools import cache

import torch
from torch import nn

from cnnlab.assignments.authoring import trained


def accuracy_loop(scores, labels):
    right = 0
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        if row.index(max(row)) == label:
            right += 1
    return right / len(labels)


def accuracy_sorted(scores, labels):
    best = scores.sort(dim=1, descending=True).indices[:, 0]
    return best.eq(labels).sum() / labels.numel()


class LeNetLayers(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(6, 12, kernel_size=3)
        self.fc1 = nn.Linear(108, 40)
        self.fc2 = nn.Linear(40, classes)
        self.act = nn.Tanh()
        self.pool = nn.AvgPool2d(2, 2)

    def forward(self, images):
        maps = self.pool(self.act(self.conv1(images)))
        maps = self.pool(self.act(self.conv2(maps)))
        hidden = self.act(self.fc1(maps.reshape(maps.shape[0], -1)))
        return self.fc2(hidden)


class LeNetFunctions(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 12, 3)
        self.fc1, self.fc2 = nn.Linear(12 * 9, 40), nn.Linear(40, classes)

    def forward(self, x):
        x = nn.functional.pad(x, [2] * 4)
        for conv in (self.conv1, self.conv2):
            x = conv(x).tanh()
            x = x.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
        return self.fc2(self.fc1(x.flatten(start_dim=1)).tanh())


def lrn_loop(x, size, alpha, beta, k):
    out = torch.empty_like(x)
    channels = x.shape[1]
    for c in range(channels):
        low, high = max(0, c - size // 2), min(channels, c + size // 2 + 1)
        total = (x[:, low:high] ** 2).sum(dim=1)
        out[:, c] = x[:, c] / (k + alpha * total) ** beta
    return out


def lrn_matrix(x, size, alpha, beta, k):
    place = torch.arange(x.shape[1])
    near = ((place[:, None] - place[None, :]).abs() <= size // 2).float()
    total = torch.einsum("cd,ndhw->nchw", near, x.square())
    return x * (k + alpha * total).pow(-beta)


class AlexLayers(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, groups):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding="same", groups=groups)
        self.rest = nn.Sequential(nn.ReLU(), nn.MaxPool2d(kernel_size=3, stride=2))

    def forward(self, x):
        return self.rest(self.conv(x))


class AlexTowers(nn.Module):
    """One convolution for each group, and the pool before the ReLU: maxima do not mind."""

    def __init__(self, in_channels, out_channels, kernel_size, groups):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, groups=groups)
        self.groups, self.border = groups, kernel_size // 2

    def forward(self, x):
        towers = zip(
            x.chunk(self.groups, 1),
            self.conv.weight.chunk(self.groups),
            self.conv.bias.chunk(self.groups),
            strict=True,
        )
        maps = [nn.functional.conv2d(i, w, b, padding=self.border) for i, w, b in towers]
        return nn.functional.max_pool2d(torch.cat(maps, 1), 3, stride=2).clamp(min=0)


class VGGLoop(nn.Module):
    def __init__(self, in_channels, out_channels, convs, last_kernel_size=3):
        super().__init__()
        self.convs = nn.ModuleList()
        for number in range(convs):
            size = last_kernel_size if number == convs - 1 else 3
            channels = in_channels if number == 0 else out_channels
            self.convs.append(nn.Conv2d(channels, out_channels, size, padding=size // 2))
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        for conv in self.convs:
            x = torch.relu(conv(x))
        return self.pool(x)


class VGGPopped(nn.Module):
    def __init__(self, in_channels, out_channels, convs, last_kernel_size=3):
        super().__init__()
        sizes = [3] * convs
        sizes[-1] = last_kernel_size
        layers = []
        for size in sizes:
            layers.append(nn.Conv2d(in_channels, out_channels, size, padding="same"))
            in_channels = out_channels
        self.convs = nn.Sequential(*layers)

    def forward(self, x):
        for conv in self.convs:
            x = conv(x).clamp(min=0)
        return x.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))


def merged_loops(kernels):
    merged = kernels[0]
    for kernel in kernels[1:]:
        h, w = kernel.shape
        out = torch.zeros(merged.shape[0] + h - 1, merged.shape[1] + w - 1)
        for i in range(h):
            for j in range(w):
                out[i : i + merged.shape[0], j : j + merged.shape[1]] += kernel[i, j] * merged
        merged = out
    return merged


def merged_fourier(kernels):
    height = sum(k.shape[0] - 1 for k in kernels) + 1
    width = sum(k.shape[1] - 1 for k in kernels) + 1
    spectrum = torch.ones(height, width // 2 + 1, dtype=torch.complex64)
    for kernel in kernels:
        spectrum = spectrum * torch.fft.rfft2(kernel, s=(height, width))
    return torch.fft.irfft2(spectrum, s=(height, width))


def merged_transposed(kernels):
    merged = torch.ones(1, 1, 1, 1)
    for kernel in kernels:
        merged = nn.functional.conv_transpose2d(merged, kernel[None, None])
    return merged[0, 0]


def costs_by_formula():
    channels, side = 96, 28
    small = 3 * (9 * channels**2)
    last = 288
    for _ in range(5):
        last //= 2
    return {
        "weights of one 7×7": 49 * channels**2,
        "weights of three 3×3": small,
        "MACs of three 3×3": small * side**2,
        "side of the last map": last,
        "weights of the first fully connected layer": last**2 * 512 * 4096,
    }


def costs_by_torch():
    seven = nn.Conv2d(96, 96, 7, device="meta").weight.numel()
    three = 3 * nn.Conv2d(96, 96, 3, device="meta").weight.numel()
    maps = torch.zeros(1, 512, 288, 288, device="meta")
    for _ in range(5):
        maps = nn.functional.max_pool2d(maps, 2)
    return {
        "weights of one 7×7": seven,
        "weights of three 3×3": three,
        "MACs of three 3×3": three * 28 * 28,
        "side of the last map": maps.shape[-1],
        "weights of the first fully connected layer": maps.numel() * 4096,
    }


def slide_loops(maps, weight, bias, side):
    rows, cols = maps.shape[2] - side + 1, maps.shape[3] - side + 1
    out = torch.zeros(maps.shape[0], weight.shape[0], rows, cols)
    for i in range(rows):
        for j in range(cols):
            window = maps[:, :, i : i + side, j : j + side].flatten(1)
            out[:, :, i, j] = window @ weight.T + bias
    return out


def slide_unfold(maps, weight, bias, side):
    rows = maps.shape[2] - side + 1
    columns = nn.functional.unfold(maps, side)
    scores = weight @ columns + bias[:, None]
    return scores.unflatten(2, (rows, -1))


def losses_of_scores():
    """The cross-entropy itself, of scores that say so."""

    def entropy(scores, label=0):
        return nn.functional.cross_entropy(torch.tensor([scores]), torch.tensor([label])).item()

    fourth = torch.tensor([1.0, 1.0, 1.0, 0.01]).log().neg().mean().item()
    return {
        "untrained, few classes": entropy([0.5] * 10),
        "untrained, many classes": entropy([0.0] * 1000),
        "one image of four wrong": fourth,
        "lowest after a softmax": entropy([1.0] + [0.0] * 9),
    }


def losses_of_probabilities():
    sure = math.exp(1) / (math.exp(1) + 9)
    likely = {"untrained, few classes": 1 / 10, "untrained, many classes": 1 / 1000}
    likely["lowest after a softmax"] = sure
    found = {name: -math.log(p) for name, p in likely.items()}
    return found | {"one image of four wrong": math.log(100) / 4}


def _trial(fit, asked, weight, train, validation, batch_size, epochs, rate):
    """The notebook's `trial`, of one loop or another."""
    torch.manual_seed(0)
    layer, batches = nn.Linear(weight.shape[1], weight.shape[0], bias=False), []
    layer.weight = nn.Parameter(weight.clone())
    norm = [nn.BatchNorm1d(weight.shape[1], affine=False)] if asked == "the validation" else []
    network = nn.Sequential(*norm, layer)
    network.register_forward_pre_hook(lambda _, x: batches.append(x[0]))
    losses, shares = fit(network, train, validation, batch_size, epochs, rate)
    step = (layer.weight - weight).detach()
    seen = [image.argmax().item() for image in torch.cat(batches) if image.any()]
    half = len(seen) // 2
    return {
        "the loss": losses,
        "the labels": (step.argmax(0), seen[:half] != seen[half:]),
        "the images": [seen.count(i) for i in range(weight.shape[1])],
        "the steps": step.abs().amax(0) / step.abs().max(),
        "the validation": shares,
    }[asked]


def mend_sliced(*question):
    def fit(network, train, validation, batch_size, epochs, rate):
        optimizer = torch.optim.SGD(network.parameters(), lr=rate)
        losses, shares = [], []
        for _ in range(epochs):
            network.train()
            order = torch.randperm(len(train[0]))
            images, labels = train[0][order], train[1][order]
            for i in range(0, len(images), batch_size):
                scores = network(images[i : i + batch_size])
                loss = nn.functional.cross_entropy(scores, labels[i : i + batch_size])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            network.eval()
            with torch.no_grad():
                guesses = network(validation[0]).argmax(1)
            shares.append((guesses == validation[1]).float().mean().item())
        return losses, shares

    return _trial(fit, *question)


def mend_loader(*question):
    """PyTorch's loader, a copy of the network for validation, and no optimizer."""

    def fit(network, train, validation, batch_size, epochs, rate):
        data = torch.utils.data.TensorDataset(*train)
        losses, shares = [], []
        for _ in range(epochs):
            for images, labels in torch.utils.data.DataLoader(data, batch_size, shuffle=True):
                logs = network(images).log_softmax(1)
                losses.append(-logs[range(len(labels)), labels].mean())
                parameters = list(network.parameters())
                gradients = torch.autograd.grad(losses[-1], parameters)
                with torch.no_grad():
                    for parameter, gradient in zip(parameters, gradients, strict=True):
                        parameter -= rate * gradient
            scores = copy.deepcopy(network).eval()(validation[0])
            shares.append(sum(scores.argmax(1) == validation[1]) / len(scores))
        return [loss.item() for loss in losses], shares

    return _trial(fit, *question)


def mend_afterwards(*question):
    """Gradients are forgotten after the step, and the mode is put back after validation."""

    def fit(network, train, validation, batch_size, epochs, rate):
        optimizer = torch.optim.SGD(network.parameters(), lr=rate)
        losses, shares = [], []
        network.train()
        for _ in range(epochs):
            for batch in torch.randperm(len(train[0])).split(batch_size):
                probabilities = network(train[0][batch]).softmax(1)
                loss = nn.functional.nll_loss(probabilities.log(), train[1][batch])
                loss.backward()
                optimizer.step()
                network.zero_grad()
                losses.append(loss.item())
            network.eval()
            with torch.no_grad():
                right = network(validation[0]).max(1).indices == validation[1]
            network.train()
            shares.append(right.double().mean().item())
        return losses, shares

    return _trial(fit, *question)


@cache
def read_with_gelu():
    return trained(
        nn.Sequential(
            *(nn.Conv2d(1, 12, 5, padding=2), nn.BatchNorm2d(12), nn.GELU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.GELU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(24 * 16, 10)),
        )
    )


@cache
def read_with_strides():
    steps = [(1, 12), (12, 24), (24, 48)]
    layers = [
        nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), nn.BatchNorm2d(o), nn.ReLU()) for i, o in steps
    ]
    return trained(nn.Sequential(*layers, nn.Dropout(0.1), nn.Flatten(), nn.Linear(48 * 4, 10)))


ANSWERS = {
    "a3-accuracy": (accuracy_loop, accuracy_sorted),
    "a3-lenet": (LeNetLayers, LeNetFunctions),
    "a3-lrn": (lrn_loop, lrn_matrix),
    "a3-alexnet-block": (AlexLayers, AlexTowers),
    "a3-vgg-block": (VGGLoop, VGGPopped),
    "a3-merged-kernel": (merged_loops, merged_fourier, merged_transposed),
    "a3-costs": (costs_by_formula, costs_by_torch),
    "a3-slide": (slide_loops, slide_unfold),
    "a3-losses": (losses_of_scores, losses_of_probabilities),
    "a3-mend": (mend_sliced, mend_loader, mend_afterwards),
    "a3-train": (read_with_gelu, read_with_strides),
}
