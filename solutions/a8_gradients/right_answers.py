"""Right answers to assignment 8, independent of its references and of each other."""

import math
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F


def slopes_flat(a, x, h):
    def f(values):
        values = values.reshape(x.shape)
        return float((a * values**3).sum() + values.sum() ** 2)

    flat, found = x.flatten(), []
    for i in range(len(flat)):
        ahead, behind = flat.clone(), flat.clone()
        ahead[i] += h
        behind[i] -= h
        found.append((f(ahead) - f(behind)) / (2 * h))
    return torch.tensor(found, dtype=x.dtype).reshape(x.shape)


def slopes_numpy(a, x, h):
    a, x = a.numpy(), x.numpy().copy()
    found = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        before, values = x[place], []
        for step in (h, -h):
            x[place] = before + step
            values.append((a * x**3).sum() + x.sum() ** 2)
        x[place] = before
        found[place] = (values[0] - values[1]) / 2 / h
    return torch.from_numpy(found)


def slopes_known(a, x, h):
    """The error of the difference quotient of a cubic is known: a times the square of h."""
    return 3 * a * x**2 + a * h**2 + 2 * x.sum()


def linear_products(x, weight, bias, dout=None):
    if dout is None:
        return x @ weight.T + bias
    return dout @ weight, dout.T @ x, dout.sum(0)


def linear_einsum(x, weight, bias, dout=None):
    if dout is None:
        return torch.einsum("ni,oi->no", x, weight) + bias
    dx = torch.einsum("no,oi->ni", dout, weight)
    return [dx, torch.einsum("no,ni->oi", dout, x), torch.einsum("no->o", dout)]


def linear_numpy(x, weight, bias, dout=None):
    x, weight, bias = (tensor.numpy() for tensor in (x, weight, bias))
    if dout is None:
        return torch.from_numpy(np.dot(x, weight.T) + bias)
    dout = dout.numpy()
    outer = dout[:, :, None] * x[:, None, :]
    found = (np.dot(dout, weight), outer.sum(0), np.dot(np.ones(len(x)), dout))
    return tuple(map(torch.from_numpy, found))


def relu_masked(x, dout=None):
    if dout is None:
        return x.clamp(min=0)
    return dout * (x > 0)


def relu_filled(x, dout=None):
    if dout is None:
        return torch.maximum(x, torch.zeros_like(x))
    dx = dout.clone()
    dx[x <= 0] = 0
    return dx


def relu_where(x, dout=None):
    return torch.where(x > 0, x if dout is None else dout, 0.0)


def entropy_shifted(scores, labels):
    shifted = scores - scores.max(1, keepdim=True).values
    powers = shifted.exp()
    p = powers / powers.sum(1, keepdim=True)
    rows = torch.arange(len(scores))
    loss = (powers.sum(1).log() - shifted[rows, labels]).mean()
    p[rows, labels] -= 1
    return loss, p / len(scores)


def entropy_library(scores, labels):
    p = scores.softmax(1)
    hot = F.one_hot(labels, scores.shape[1])
    return F.cross_entropy(scores, labels).item(), (p - hot) / p.shape[0]


def entropy_numpy(scores, labels):
    scores = scores.numpy()
    largest = scores.max(axis=1, keepdims=True)
    logs = scores - largest - np.log(np.exp(scores - largest).sum(axis=1, keepdims=True))
    hot = np.eye(scores.shape[1])[labels.numpy()]
    loss = -(hot * logs).sum() / len(scores)
    return float(loss), torch.from_numpy((np.exp(logs) - hot) / len(scores))


def _windows(x, weight, stride, padding):
    padded = F.pad(x, [padding] * 4)
    return padded.unfold(2, weight.shape[2], stride).unfold(3, weight.shape[3], stride)


def conv_by_window(x, weight, bias, stride, padding, dout=None):
    """Place by place; on the way back every window adds to what it was made of."""
    (height, width), sides = weight.shape[2:], x.shape[2:]
    padded = torch.nn.functional.pad(x, [padding] * 4)
    rows = (padded.shape[2] - height) // stride + 1
    columns = (padded.shape[3] - width) // stride + 1
    out = torch.zeros(len(x), len(weight), rows, columns, dtype=x.dtype)
    dx, dw = torch.zeros_like(padded), torch.zeros_like(weight)
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride, j * stride
            window = padded[:, :, top : top + height, left : left + width]
            if dout is None:
                out[:, :, i, j] = torch.einsum("nchw,ochw->no", window, weight) + bias
                continue
            above = dout[:, :, i, j]
            dw += torch.einsum("no,nchw->ochw", above, window)
            dx[:, :, top : top + height, left : left + width] += torch.einsum(
                "no,ochw->nchw", above, weight
            )
    if dout is None:
        return out
    dx = dx[:, :, padding : padding + sides[0], padding : padding + sides[1]]
    return dx, dw, dout.sum((0, 2, 3))


def conv_by_shift(x, weight, bias, stride, padding, dout=None):
    """One product of maps for every number of the kernel."""
    padded = F.pad(x, (padding, padding, padding, padding))
    rows, columns = (
        (n - k) // stride + 1 for n, k in zip(padded.shape[2:], weight.shape[2:], strict=True)
    )
    out = bias[:, None, None].expand(len(x), -1, rows, columns).clone()
    dx, dw = torch.zeros_like(padded), torch.zeros_like(weight)
    for a, b in product(range(weight.shape[2]), range(weight.shape[3])):
        seen = (
            slice(None),
            slice(None),
            slice(a, a + (rows - 1) * stride + 1, stride),
            slice(b, b + (columns - 1) * stride + 1, stride),
        )
        if dout is None:
            out += torch.einsum("nchw,oc->nohw", padded[seen], weight[:, :, a, b])
        else:
            dw[:, :, a, b] = torch.einsum("nohw,nchw->oc", dout, padded[seen])
            dx[seen] += torch.einsum("nohw,oc->nchw", dout, weight[:, :, a, b])
    if dout is None:
        return out
    inner = slice(padding, -padding or None)
    return dx[:, :, inner, inner], dw, dout.sum(dim=(0, 2, 3))


def conv_turned(x, weight, bias, stride, padding, dout=None):
    """The way back as a convolution of the spread gradient with the kernel turned."""
    if dout is None:
        out = torch.einsum("ncijhw,ochw->noij", _windows(x, weight, stride, padding), weight)
        return out + bias.view(-1, 1, 1)
    height, width = weight.shape[2:]
    rows = x.shape[2] + 2 * padding - height + 1
    columns = x.shape[3] + 2 * padding - width + 1
    spread = dout.new_zeros(*dout.shape[:2], rows, columns)
    spread[:, :, ::stride, ::stride] = dout
    around = F.pad(spread, [width - 1, width - 1, height - 1, height - 1])
    windows = around.unfold(2, height, 1).unfold(3, width, 1)
    dx = torch.einsum("noijhw,ochw->ncij", windows, weight.flip(2, 3))
    dx = dx[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]]
    dw = torch.einsum("noij,ncijhw->ochw", dout, _windows(x, weight, stride, padding))
    return dx, dw, dout.flatten(2).sum((0, 2))


def conv_columns(x, weight, bias, stride, padding, dout=None):
    size = tuple(weight.shape[2:])
    columns = F.unfold(x, size, padding=padding, stride=stride)
    rows = (x.shape[2] + 2 * padding - size[0]) // stride + 1
    if dout is None:
        out = weight.flatten(1) @ columns + bias[:, None]
        return out.reshape(len(x), len(weight), rows, -1)
    above = dout.flatten(2)
    dw = (above @ columns.transpose(1, 2)).sum(0).view_as(weight)
    dcolumns = weight.flatten(1).T @ above
    dx = F.fold(dcolumns, tuple(x.shape[2:]), size, padding=padding, stride=stride)
    return dx, dw, above.sum((0, 2))


def conv_indexed(x, weight, bias, stride, padding, dout=None):
    """Columns by an index of pixels, and back by adding up at the same index."""
    padded = F.pad(x, [padding] * 4)
    number = torch.arange(padded[0].numel()).reshape(1, *padded.shape[1:])
    index = number.unfold(2, weight.shape[2], stride).unfold(3, weight.shape[3], stride)[0]
    index = index.permute(1, 2, 0, 3, 4)
    rows, columns = index.shape[:2]
    index = index.flatten(2).flatten(0, 1)
    taken = padded.flatten(1)[:, index]
    if dout is None:
        out = taken @ weight.flatten(1).T + bias
        return out.transpose(1, 2).reshape(len(x), len(weight), rows, columns)
    above = dout.flatten(2).transpose(1, 2)
    dw = torch.einsum("npo,npk->ok", above, taken).reshape(weight.shape)
    dpadded = torch.zeros_like(padded).flatten(1)
    dpadded.index_add_(1, index.flatten(), (above @ weight.flatten(1)).flatten(1))
    dx = dpadded.reshape(padded.shape)
    dx = dx[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]]
    return dx, dw, above.sum((0, 1))


def pool_loops(x, size, stride, dout=None):
    rows, columns = ((n - size) // stride + 1 for n in x.shape[2:])
    out, dx = x.new_zeros(*x.shape[:2], rows, columns), torch.zeros_like(x)
    for n, c, i, j in product(*map(range, out.shape)):
        window = x[n, c, i * stride : i * stride + size, j * stride : j * stride + size]
        row, column = divmod(int(window.flatten().argmax()), size)
        out[n, c, i, j] = window[row, column]
        if dout is not None:
            dx[n, c, i * stride + row, j * stride + column] += dout[n, c, i, j]
    return out if dout is None else dx


def pool_windows(x, size, stride, dout=None):
    windows = x.unfold(2, size, stride).unfold(3, size, stride).flatten(4)
    value, place = windows.max(-1)
    if dout is None:
        return value
    hot = F.one_hot(place, size * size) * dout[..., None]
    n, c, rows, columns, k = hot.shape
    parts = hot.permute(0, 1, 4, 2, 3).reshape(n, c * k, rows * columns)
    used = ((rows - 1) * stride + size, (columns - 1) * stride + size)
    dx = torch.zeros_like(x)
    dx[:, :, : used[0], : used[1]] = F.fold(parts, used, size, stride=stride)
    return dx


def pool_indices(x, size, stride, dout=None):
    out, index = F.max_pool2d(x, size, stride, return_indices=True)
    if dout is None:
        return out
    dx = torch.zeros_like(x).flatten(2)
    return dx.scatter_add(2, index.flatten(2), dout.flatten(2)).view_as(x)


def norm_formula(x, gamma, beta, mean, var, training, dout=None):
    """The gradient of x in one formula."""
    gamma, beta, running = (v.view(1, -1, 1, 1) for v in (gamma, beta, mean))
    axes, n = (0, 2, 3), x.numel() // x.shape[1]
    centre = x.mean(axes, keepdim=True) if training else running
    spread = ((x - centre) ** 2).mean(axes, keepdim=True) if training else var.view(1, -1, 1, 1)
    scale = 1 / torch.sqrt(spread + 1e-5)
    normal = (x - centre) * scale
    if dout is None:
        if training:
            mean = 0.9 * mean + 0.1 * centre.flatten()
            var = 0.9 * var + 0.1 * spread.flatten() * n / (n - 1)
        return gamma * normal + beta, mean, var
    dgamma, dbeta = (dout * normal).sum(axes), dout.sum(axes)
    dx = gamma * scale * dout
    if training:
        both = dbeta.view(1, -1, 1, 1) + normal * dgamma.view(1, -1, 1, 1)
        dx = gamma * scale * (dout - both / n)
    return dx, dgamma, dbeta


def norm_steps(x, gamma, beta, mean, var, training, dout=None):
    """Channels as rows; backward step by step, as the computation went."""
    rows = x.transpose(0, 1).flatten(1)
    shape = x.transpose(0, 1).shape

    def back(values):
        return values.reshape(shape).transpose(0, 1)

    m = rows.mean(1) if training else mean
    away = rows - m[:, None]
    v = away.square().mean(1) if training else var
    root = (v + 1e-5).sqrt()
    normal = away / root[:, None]
    if dout is None:
        out = back(gamma[:, None] * normal + beta[:, None])
        if not training:
            return out, mean, var
        return out, torch.lerp(mean, m, 0.1), torch.lerp(var, rows.var(1), 0.1)
    above = dout.transpose(0, 1).flatten(1)
    dnormal = above * gamma[:, None]
    daway = dnormal / root[:, None]
    if training:
        droot = -(dnormal * away).sum(1) / root**2
        dv = droot / (2 * root)
        daway = daway + dv[:, None] * 2 * away / rows.shape[1]
        daway = daway - daway.mean(1, keepdim=True)
    return back(daway), (above * normal).sum(1), above.sum(1)


def momentum_loop(weights, gradients, velocities, rate, momentum):
    new_weights, new_velocities = [], []
    for i in range(len(weights)):
        velocity = velocities[i] * momentum + gradients[i]
        new_velocities.append(velocity)
        new_weights.append(weights[i] - velocity * rate)
    return new_weights, new_velocities


def momentum_foreach(weights, gradients, velocities, rate, momentum):
    kept = torch._foreach_mul(velocities, momentum)
    new = torch._foreach_add(kept, gradients)
    return list(torch._foreach_sub(weights, torch._foreach_mul(new, rate))), list(new)


def momentum_copies(weights, gradients, velocities, rate, momentum):
    weights, velocities = ([t.clone() for t in ts] for ts in (weights, velocities))
    for w, g, v in zip(weights, gradients, velocities, strict=True):
        v.mul_(momentum).add_(g)
        w.sub_(v, alpha=rate)
    return weights, velocities


def lenet_parts(images, weights, labels=None):
    """Of the parts above, kept by name."""
    w = weights
    c1 = conv_columns(images, w["conv1.weight"], w["conv1.bias"], 1, 2)
    p1 = pool_windows(c1.clamp(min=0), 2, 2)
    c2 = conv_columns(p1, w["conv2.weight"], w["conv2.bias"], 1, 0)
    p2 = pool_windows(c2.clamp(min=0), 2, 2)
    flat = p2.flatten(1)
    h1 = linear_products(flat, w["fc1.weight"], w["fc1.bias"])
    h2 = linear_products(h1.relu(), w["fc2.weight"], w["fc2.bias"])
    scores = linear_products(h2.relu(), w["fc3.weight"], w["fc3.bias"])
    if labels is None:
        return scores
    loss, d = entropy_shifted(scores, labels)
    g = {}

    def keep(name, gradients):
        d, g[f"{name}.weight"], g[f"{name}.bias"] = gradients
        return d

    d = keep("fc3", linear_products(h2.relu(), w["fc3.weight"], w["fc3.bias"], d))
    d = relu_masked(h2, d)
    d = keep("fc2", linear_products(h1.relu(), w["fc2.weight"], w["fc2.bias"], d))
    d = relu_masked(h1, d)
    d = keep("fc1", linear_products(flat, w["fc1.weight"], w["fc1.bias"], d)).view_as(p2)
    d = relu_masked(c2, pool_windows(c2.clamp(min=0), 2, 2, d))
    d = keep("conv2", conv_columns(p1, w["conv2.weight"], w["conv2.bias"], 1, 0, d))
    d = relu_masked(c1, pool_windows(c1.clamp(min=0), 2, 2, d))
    keep("conv1", conv_columns(images, w["conv1.weight"], w["conv1.bias"], 1, 2, d))
    return loss, g


def lenet_listed(images, weights, labels=None):
    """A list of layers, each with what it does and how it goes back."""
    x, came = images, []
    layers = ("conv1", "pool", "conv2", "pool", "fc1", "fc2", "fc3")
    for layer in layers:
        came.append(x)
        if layer == "pool":
            x = pool_indices(x, 2, 2)
            continue
        more = (1, 2 if layer == "conv1" else 0) if "conv" in layer else ()
        function = conv_by_shift if more else linear_einsum
        x = x if more else x.flatten(1)
        x = function(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"], *more)
        x = x if layer == "fc3" else relu_filled(x)
    if labels is None:
        return x
    loss, above = entropy_numpy(x, labels)
    found, out = {}, x
    for layer, x in zip(layers[::-1], came[::-1], strict=True):
        if layer == "pool":
            above = pool_indices(x, 2, 2, above)
        else:
            above = above if layer == "fc3" else relu_filled(out, above)
            more = (1, 2 if layer == "conv1" else 0) if "conv" in layer else ()
            function = conv_by_shift if more else linear_einsum
            names = [f"{layer}.weight", f"{layer}.bias"]
            given = x if more else x.flatten(1)
            above, *both = function(given, *(weights[n] for n in names), *more, dout=above)
            found |= dict(zip(names, both, strict=True))
        above, out = above.reshape(x.shape), x
    return loss, {name: found[name] for name in weights}


def _read(rate, batch, epochs):
    """LeNet trained by the functions above, in PyTorch's layers."""
    from cnnlab.data import mnist

    train, generator = mnist("train"), torch.Generator().manual_seed(1)
    shapes = {"conv1": (6, 1, 5, 5), "conv2": (16, 6, 5, 5)}
    shapes |= {"fc1": (120, 400), "fc2": (84, 120), "fc3": (10, 84)}
    weights = {}
    for name, shape in shapes.items():
        drawn = torch.randn(shape, generator=generator)
        weights[f"{name}.weight"] = drawn * math.sqrt(2 / drawn[0].numel())
        weights[f"{name}.bias"] = torch.zeros(shape[0])
    velocities = [torch.zeros_like(w) for w in weights.values()]
    for _ in range(epochs):
        for chosen in torch.randperm(len(train), generator=generator).split(batch):
            _, found = lenet_parts(train.images[chosen], weights, train.labels[chosen])
            now = list(weights.values()), [found[name] for name in weights]
            moved, velocities = momentum_copies(*now, velocities, rate, 0.9)
            weights = dict(zip(weights, moved, strict=True))
    return weights


def _layers(weights):
    nn = torch.nn
    network = nn.Sequential()
    for name, weight in ((n.split(".")[0], w) for n, w in weights.items() if "weight" in n):
        if name == "fc1":
            network.append(nn.Flatten())
        o, i = weight.shape[:2]
        layer = nn.Conv2d(i, o, 5, padding=2 if name == "conv1" else 0)
        layer = layer if "conv" in name else nn.Linear(i, o)
        layer.load_state_dict({k: weights[f"{name}.{k}"] for k in ("weight", "bias")})
        network.append(layer)
        if name != "fc3":
            network.append(nn.ReLU())
        if "conv" in name:
            network.append(nn.MaxPool2d(2))
    return network


def trained_in_batches():
    return _layers(_read(0.05, 32, 3))


def trained_slowly():
    return _layers(_read(0.02, 16, 3))


ANSWERS = {
    "a8-numerical": (slopes_flat, slopes_numpy, slopes_known),
    "a8-linear": (linear_products, linear_einsum, linear_numpy),
    "a8-relu": (relu_masked, relu_filled, relu_where),
    "a8-cross-entropy": (entropy_shifted, entropy_library, entropy_numpy),
    "a8-conv-loops": (conv_by_window, conv_by_shift, conv_turned),
    "a8-conv-matrix": (conv_columns, conv_indexed),
    "a8-max-pool": (pool_loops, pool_windows, pool_indices),
    "a8-batch-norm": (norm_formula, norm_steps),
    "a8-momentum": (momentum_loop, momentum_foreach, momentum_copies),
    "a8-lenet": (lenet_parts, lenet_listed),
    "a8-train": (trained_in_batches, trained_slowly),
}
