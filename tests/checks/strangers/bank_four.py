"""Bank four, held out: to the newest parts, from their text alone, fixed before it was tried."""

from answer import Bank

ANSWERS = Bank()
right, wrong = ANSWERS.right, ANSWERS.wrong


def but(code, *changes):
    """The same answer with one slip in it: each of the texts replaced by the next."""
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in code, old
        code = code.replace(old, new)
    return code


# ---------------------------------------------------------------- a3

LOSSES = r'''
losses = {
    "untrained, few classes": math.log(10),
    "untrained, many classes": math.log(1000),
    "one image of four wrong": -math.log(0.01) / 4,
    "lowest after a softmax": math.log(math.e + 9) - 1,
}
'''
right("a3-losses", "by the library", "F.cross_entropy of scores that fit", r'''
one = lambda scores: F.cross_entropy(torch.tensor([scores], dtype=torch.float64), torch.tensor([0]))
losses["untrained, few classes"] = one([0.0] * 10)
losses["untrained, many classes"] = one([5.0] * 1000).item()
losses["one image of four wrong"] = torch.tensor([1, 1, 1, 0.01], dtype=torch.float64).log().mean().neg()
losses["lowest after a softmax"] = one([1.0] + [0.0] * 9)
''')
right("a3-losses", "numpy and a helper", "numpy numbers, update of the table", r'''
import numpy as np


def loss_of(*probabilities):
    return -np.mean(np.log(probabilities))


losses.update({
    "untrained, few classes": loss_of(1 / 10),
    "untrained, many classes": loss_of(1e-3),
    "one image of four wrong": loss_of(1, 1, 1, 0.01),
    "lowest after a softmax": loss_of(np.e / (np.e + 9 * np.exp(0))),
})
''')
right("a3-losses", "the arithmetic", "as the text asks", LOSSES)
wrong("a3-losses", "base 10", "log10", but(LOSSES, "math.log(", "math.log10("))
wrong("a3-losses", "a sum", "four images summed", but(LOSSES, "-math.log(0.01) / 4", "-math.log(0.01)"))
wrong("a3-losses", "the mean probability", "the log of the mean, not the mean of the logs",
      but(LOSSES, "-math.log(0.01) / 4", "-math.log((1 + 1 + 1 + 0.01) / 4)"))
wrong("a3-losses", "zero", "it is thought that the loss can reach 0", but(LOSSES, "math.log(math.e + 9) - 1", "0.0"))
wrong("a3-losses", "ten others", "e + 10 in the denominator", but(LOSSES, "math.e + 9", "math.e + 10"))

TRIAL = r'''

def trial(part, weight, train, validation, batch_size, epochs, rate):
    """What `fit` does to one linear layer. Leave this function as it is."""
    torch.manual_seed(0)
    classes, inputs = weight.shape
    layer, batches = nn.Linear(inputs, classes, bias=False), []
    layer.weight = nn.Parameter(weight.clone())
    norm = [nn.BatchNorm1d(inputs, affine=False)] if part == "the validation" else []
    network = nn.Sequential(*norm, layer)
    network.register_forward_pre_hook(lambda _, x: batches.append(x[0]))
    losses, shares = fit(network, train, validation, batch_size, epochs, rate)
    step = (layer.weight - weight).detach()
    seen = [image.argmax().item() for image in torch.cat(batches) if image.any()]
    half = len(seen) // 2
    return {
        "the loss": losses,
        "the labels": (step.argmax(0), seen[:half] != seen[half:]),
        "the images": [seen.count(i) for i in range(inputs)],
        "the steps": step.abs().amax(0) / step.abs().max(),
        "the validation": shares,
    }[part]
'''
FIT = r'''
def fit(network, train, validation, batch_size, epochs, rate):
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    losses, shares = [], []
    for _ in range(epochs):
        network.train()
        order = torch.randperm(len(train[0]))
        images, labels = train[0][order], train[1][order]
        for start in range(0, len(images), batch_size):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(images[start:start + batch_size]), labels[start:start + batch_size])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        network.eval()
        with torch.no_grad():
            guesses = network(validation[0]).argmax(1)
        shares.append((guesses == validation[1]).float().mean().item())
    return losses, shares
'''
FIT += TRIAL
right("a3-mend", "mended in place", "the loop of the text", FIT)
right("a3-mend", "a loader", "DataLoader and TensorDataset, inference_mode", r'''
def fit(network, train, validation, batch_size, epochs, rate):
    from torch.utils.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(*train), batch_size=batch_size, shuffle=True)
    criterion, sgd = nn.CrossEntropyLoss(), torch.optim.SGD(network.parameters(), rate)
    batch_losses, val = [], []
    for epoch in range(epochs):
        network.train(True)
        for x, y in loader:
            loss = criterion(network(x), y)
            sgd.zero_grad(set_to_none=False)
            loss.backward()
            sgd.step()
            batch_losses += [float(loss)]
        network.train(False)
        with torch.inference_mode():
            hits = network(validation[0]).max(dim=1).indices.eq(validation[1])
        val += [hits.sum().item() / len(hits)]
    network.train()
    return batch_losses, val
''' + TRIAL)
right("a3-mend", "a step by hand", "no optimizer: p -= rate * grad, autograd.grad", r'''
def _share(network, images, labels):
    network.eval()
    with torch.no_grad():
        right = sum(int(network(x[None]).argmax()) == int(y) for x, y in zip(images, labels))
    network.train()
    return right / len(labels)


def fit(network, train, validation, batch_size, epochs, rate):
    network.train()
    losses, shares = [], []
    for _ in range(epochs):
        for index in torch.randperm(train[1].numel()).split(batch_size):
            loss = F.nll_loss(network(train[0][index]).log_softmax(dim=-1), train[1][index])
            weights = list(network.parameters())
            with torch.no_grad():
                for w, g in zip(weights, torch.autograd.grad(loss, weights)):
                    w -= rate * g
            losses.append(loss.detach().item())
        shares.append(_share(network, *validation))
    return losses, shares
''' + TRIAL)
right("a3-mend", "a class", "a trainer object, numpy's order, chunks, network(x) by keyword-free call", r'''
import numpy as np


class Trainer:
    def __init__(self, network, rate):
        self.network, self.losses, self.shares = network, [], []
        self.optimizer = torch.optim.SGD(params=network.parameters(), lr=rate, momentum=0.0)

    def batch(self, x, y):
        self.network.train()
        loss = F.cross_entropy(self.network(x), y, reduction="sum") / len(y)
        loss.backward()
        self.optimizer.step()
        self.network.zero_grad()
        self.losses.append(loss.item())

    @torch.no_grad()
    def validate(self, x, y):
        self.network.eval()
        self.shares.append(float(np.mean((self.network(x).argmax(-1) == y).numpy())))


def fit(network, train, validation, batch_size, epochs, rate):
    trainer = Trainer(network, rate)
    for _ in range(epochs):
        order = np.random.permutation(len(train[0]))
        while len(order):
            now, order = order[:batch_size], order[batch_size:]
            trainer.batch(train[0][now], train[1][now])
        trainer.validate(*validation)
    return trainer.losses, trainer.shares
''' + TRIAL)
wrong("a3-mend", "softmax stays", "two softmaxes", but(FIT, "network(images[start:start + batch_size])", "network(images[start:start + batch_size]).softmax(1)"))
wrong("a3-mend", "labels not moved", "labels in the old order", but(FIT, "train[1][order]", "train[1]"))
wrong("a3-mend", "the rest is dropped", "only whole batches", but(FIT, "range(0, len(images), batch_size)", "range(0, len(images) - batch_size + 1, batch_size)"))
wrong("a3-mend", "gradients add up", "no zero_grad", but(FIT, "            optimizer.zero_grad()\n", ""))
wrong("a3-mend", "cleared once an epoch", "zero_grad before the batches only", but(FIT, "            optimizer.zero_grad()\n", "", "        network.train()\n", "        network.train()\n        optimizer.zero_grad()\n"))
wrong("a3-mend", "validated in training mode", "no eval()", but(FIT, "        network.eval()\n", ""))
wrong("a3-mend", "stays in evaluation", "train() once, so that all epochs but the first train in evaluation mode", but(FIT, "        network.train()\n", "", "    losses, shares = [], []\n", "    losses, shares = [], []\n    network.train()\n"))
wrong("a3-mend", "one order for all epochs", "shuffled before the epochs", but(FIT, "        order = torch.randperm(len(train[0]))\n", "", "    losses, shares = [], []\n", "    losses, shares = [], []\n    order = torch.randperm(len(train[0]))\n"))
wrong("a3-mend", "drawn with repetition", "randint for randperm", but(FIT, "torch.randperm(len(train[0]))", "torch.randint(len(train[0]), (len(train[0]),))"))
wrong("a3-mend", "loss of an epoch", "the mean of the epoch's losses", but(FIT, "            losses.append(loss.item())\n", "        losses.append(loss.item())\n"))
wrong("a3-mend", "asked of the training images", "the share on the last batch's images", but(FIT, "network(validation[0]).argmax(1)", "network(images[:len(validation[1])]).argmax(1)"))
wrong("a3-mend", "a running mean of the shares", "validated once at the end", but(FIT, "        network.eval()\n        with torch.no_grad():\n            guesses = network(validation[0]).argmax(1)\n        shares.append((guesses == validation[1]).float().mean().item())\n", "    network.eval()\n    with torch.no_grad():\n        guesses = network(validation[0]).argmax(1)\n    shares = [(guesses == validation[1]).float().mean().item()] * epochs\n"))
wrong("a3-mend", "Adam", "another optimizer than the text's", but(FIT, "torch.optim.SGD", "torch.optim.Adam"))
wrong("a3-mend", "order not new in the images", "sorted: no shuffle at all", but(FIT, "torch.randperm(len(train[0]))", "torch.arange(len(train[0]))"))

# ---------------------------------------------------------------- a5

RESNET = r'''
class Block(nn.Module):
    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self, blocks, width, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.stages, channels = len(blocks), width
        for n, count in enumerate(blocks, 1):
            out = width * 2 ** (n - 1)
            stage = []
            for b in range(count):
                stage.append(Block(channels, out, 2 if n > 1 and b == 0 else 1))
                channels = out
            setattr(self, f"layer{n}", nn.Sequential(*stage))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for n in range(1, self.stages + 1):
            x = getattr(self, f"layer{n}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))
'''
right("a5-resnet", "as torchvision writes it", "relu and pool as parts, in place", RESNET)
right("a5-resnet", "functions and add_module", "F everywhere, mean of the axes, hasattr, children", r'''
class Block(nn.Module):
    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        conv = lambda i, k, s: nn.Conv2d(i, out_channels, k, stride=s, padding=k // 2, bias=False)
        self.conv1, self.bn1 = conv(in_channels, 3, stride), nn.BatchNorm2d(out_channels)
        self.conv2, self.bn2 = conv(out_channels, 3, 1), nn.BatchNorm2d(out_channels)
        if (in_channels, 1) != (out_channels, stride):
            self.add_module("downsample", nn.Sequential())
            self.downsample.append(conv(in_channels, 1, stride)).append(nn.BatchNorm2d(out_channels))

    def forward(self, x):
        shortcut = self.downsample(x) if hasattr(self, "downsample") else x
        return F.relu(shortcut + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class ResNet(nn.Module):
    def __init__(self, blocks, width, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels=3, out_channels=width, kernel_size=(7, 7), stride=(2, 2), padding=(3, 3), bias=False)
        self.bn1 = nn.BatchNorm2d(num_features=width)
        before, now = width, width
        self.names = []
        for i, number in enumerate(blocks):
            stage = nn.Sequential()
            for j in range(number):
                stage.add_module(str(j), Block(before, now, 1 + (i > 0 and j == 0)))
                before = now
            self.names.append("layer%d" % (i + 1))
            self.add_module(self.names[-1], stage)
            now *= 2
        self.fc = nn.Linear(before, classes, bias=True)

    def forward(self, images):
        maps = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), kernel_size=3, stride=2, padding=1)
        for name in self.names:
            maps = self.get_submodule(name)(maps)
        return F.linear(maps.mean(dim=(-2, -1)), self.fc.weight, self.fc.bias)
''')
right("a5-resnet", "a trunk beside the names", "nn.Sequential of the same parts, Identity for the shortcut's name elsewhere", r'''
class Block(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super(Block, self).__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=None)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding="same", bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.branch = nn.Sequential(self.conv1, self.bn1, nn.ReLU(), self.conv2, self.bn2)
        self.downsample = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(*[
                nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels)])

    def forward(self, x):
        return torch.relu(torch.add(self.branch(x), self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, blocks, width, classes):
        super(ResNet, self).__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        trunk = [self.conv1, self.bn1, nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)]
        widths = [width] + [width << n for n in range(len(blocks))]
        for n, many in enumerate(blocks):
            first = Block(widths[n], widths[n + 1], 2 if n else 1)
            rest = [Block(widths[n + 1], widths[n + 1]) for _ in range(many - 1)]
            setattr(self, f"layer{n + 1}", nn.Sequential(first, *rest))
            trunk.append(getattr(self, f"layer{n + 1}"))
        self.fc = nn.Linear(widths[-1], classes)
        self.trunk = nn.Sequential(*trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), self.fc)

    def forward(self, x):
        return self.trunk(x)
''')
right("a5-resnet", "a dataclass of settings and a helper", "stages made by a function, ModuleDict-free, reduce", r'''
from dataclasses import dataclass
from functools import reduce


@dataclass
class Stage:
    inputs: int
    outputs: int
    count: int
    stride: int

    def make(self):
        pairs = [(self.inputs, self.stride)] + [(self.outputs, 1)] * (self.count - 1)
        return nn.Sequential(*(Block(i, self.outputs, s) for i, s in pairs))


def conv_norm(i, o, k, s):
    return nn.Conv2d(i, o, k, s, (k - 1) // 2, bias=False), nn.BatchNorm2d(o)


class Block(nn.Module):
    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.conv1, self.bn1 = conv_norm(in_channels, out_channels, 3, stride)
        self.conv2, self.bn2 = conv_norm(out_channels, out_channels, 3, 1)
        self.needs = stride != 1 or in_channels != out_channels
        if self.needs:
            self.downsample = nn.Sequential(*conv_norm(in_channels, out_channels, 1, stride))

    def forward(self, x):
        y = self.bn1(self.conv1(x)).clamp(min=0)
        y = self.bn2(self.conv2(y))
        if self.needs:
            return (y + self.downsample(x)).clamp(min=0)
        return (y + x).clamp(min=0)


class ResNet(nn.Module):
    def __init__(self, blocks, width, classes):
        super().__init__()
        self.conv1, self.bn1 = conv_norm(3, width, 7, 2)
        plan = [Stage(width if n == 0 else width * 2 ** (n - 1), width * 2 ** n, b, 2 if n else 1) for n, b in enumerate(blocks)]
        for n, stage in enumerate(plan, start=1):
            setattr(self, f"layer{n}", stage.make())
        self.depth = len(plan)
        self.fc = nn.Linear(plan[-1].outputs, classes)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        x = reduce(lambda y, n: getattr(self, f"layer{n}")(y), range(1, self.depth + 1), x)
        return self.fc(x.flatten(2).mean(2))
''')
wrong("a5-resnet", "stride in the first stage too", "n > 1 forgotten", but(RESNET, "2 if n > 1 and b == 0 else 1", "2 if b == 0 else 1"))
wrong("a5-resnet", "stride in the second convolution", "conv1 keeps the size", but(RESNET, "out_channels, 3, stride, 1, bias", "out_channels, 3, 1, 1, bias", "out_channels, 3, 1, 1, bias=False)\n        self.bn2", "out_channels, 3, stride, 1, bias=False)\n        self.bn2"))
wrong("a5-resnet", "ReLU before the sum", "bn2, ReLU, then the sum", but(RESNET, "out = self.bn2(self.conv2(out))", "out = self.relu(self.bn2(self.conv2(out)))"))
wrong("a5-resnet", "no ReLU after the sum", "as in pre-activation", but(RESNET, "return self.relu(out)", "return out"))
wrong("a5-resnet", "a stem without ReLU", "conv, norm, pool", but(RESNET, "self.relu(self.bn1(self.conv1(x))))\n        for", "self.bn1(self.conv1(x)))\n        for"))
wrong("a5-resnet", "pool without padding", "max pool of 3 by 3, stride 2", but(RESNET, "MaxPool2d(3, 2, 1)", "MaxPool2d(3, 2)"))
wrong("a5-resnet", "a mean pool in the stem", "AvgPool2d for MaxPool2d", but(RESNET, "MaxPool2d(3, 2, 1)", "AvgPool2d(3, 2, 1)"))
wrong("a5-resnet", "the mean is a maximum", "AdaptiveMaxPool2d before fc", but(RESNET, "AdaptiveAvgPool2d", "AdaptiveMaxPool2d"))
wrong("a5-resnet", "shortcut by size only", "no downsample where only the channels change", but(RESNET, "if stride != 1 or in_channels != out_channels:", "if stride != 1:"))
wrong("a5-resnet", "shortcut by channels only", "no downsample where only the size changes", but(RESNET, "if stride != 1 or in_channels != out_channels:", "if in_channels != out_channels:"))
wrong("a5-resnet", "shortcut cut off", "detach: no gradient through the shortcut", but(RESNET, "out += identity", "out += identity.detach()"))
wrong("a5-resnet", "its own momentum", "batch norms with momentum 0.01", but(RESNET, "nn.BatchNorm2d(out_channels)\n        self.relu", "nn.BatchNorm2d(out_channels, momentum=0.01)\n        self.relu"))
wrong("a5-resnet", "three channels, then the width again", "stages of equal width", but(RESNET, "width * 2 ** (n - 1)", "width"))
wrong("a5-resnet", "one block fewer", "range(1, count)", but(RESNET, "range(count)", "range(max(count - 1, 1))"))
wrong("a5-resnet", "bias in the projection", "the shortcut's convolution has a bias", but(RESNET, "1, stride, bias=False", "1, stride"))
wrong("a5-resnet", "the norm runs twice", "bn1 for bn2, in the forward pass", but(RESNET, "self.bn2(self.conv2(out))", "self.bn1(self.conv2(out))"))

# ---------------------------------------------------------------- a8

SLOPES = r'''

def slopes(a, x, h):
    """Your numerical gradient of one polynomial: leave this function as it is."""
    return numerical_gradient(lambda x: (a * x**3).sum() + x.sum() ** 2, x, h)
'''
NUMERICAL = r'''
def numerical_gradient(f, x, h=1e-5):
    found = torch.zeros_like(x)
    for place in np.ndindex(*x.shape):
        step = torch.zeros_like(x)
        step[place] = h
        found[place] = (f(x + step) - f(x - step)) / (2 * h)
    return found
'''
NUMERICAL = "import numpy as np\n" + NUMERICAL + SLOPES
right("a8-numerical", "numpy's places", "np.ndindex and a step tensor", NUMERICAL)
right("a8-numerical", "a list, then a tensor", "flat places, clones, floats, torch.tensor at the end", r'''
def numerical_gradient(f, x, h=1e-5):
    def moved(i, by):
        y = x.clone()
        y.view(-1)[i] += by
        return float(f(y))

    numbers = [(moved(i, h) - moved(i, -h)) / 2 / h for i in range(x.numel())]
    return torch.tensor(numbers, dtype=x.dtype).reshape(x.shape)
''' + SLOPES)
right("a8-numerical", "recursion over the axes", "unbind and stack until a number is left", r'''
def numerical_gradient(f, x, h=1e-5):
    if x.dim() == 0:
        return (f(x + h) - f(x - h)) / (2 * h)

    def of_row(i):
        def g(row):
            rows = list(x.unbind())
            rows[i] = row
            return f(torch.stack(rows))
        return numerical_gradient(g, x[i], h)

    return torch.stack([of_row(i) for i in range(len(x))])
''' + SLOPES)
right("a8-numerical", "in numpy throughout", "arrays, nditer with multi_index, moved and put back in a copy", r'''
import numpy as np


def numerical_gradient(f, x, h=1e-5):
    array = x.detach().numpy().copy()
    grad = np.empty_like(array)
    it = np.nditer(array, flags=["multi_index"])
    while not it.finished:
        ix = it.multi_index
        old = array[ix]
        array[ix] = old + h
        plus = f(torch.from_numpy(array))
        array[ix] = old - h
        minus = f(torch.from_numpy(array))
        array[ix] = old
        grad[ix] = (plus - minus).item() / (2.0 * h)
        it.iternext()
    return torch.from_numpy(grad)
''' + SLOPES)
wrong("a8-numerical", "divided by h", "the way between the points is 2 h", but(NUMERICAL, "/ (2 * h)", "/ h"))
wrong("a8-numerical", "behind only", "f(x) - f(x - h)", but(NUMERICAL, "(f(x + step) - f(x - step)) / (2 * h)", "(f(x) - f(x - step)) / h"))
wrong("a8-numerical", "its own step", "h is not used", but(NUMERICAL, "step[place] = h", "h = 1e-5\n        step[place] = h"))
wrong("a8-numerical", "divided before subtracted", "precedence: f(a) - f(b) / 2h", but(NUMERICAL, "(f(x + step) - f(x - step)) / (2 * h)", "f(x + step) - f(x - step) / (2 * h)"))
wrong("a8-numerical", "flat", "the shape is lost", but(NUMERICAL, "    return found\n", "    return found.flatten()\n"))
wrong("a8-numerical", "steps add up", "one step tensor for all entries, never cleared", but(NUMERICAL, "        step = torch.zeros_like(x)\n", "", "    found =", "    step = torch.zeros_like(x)\n    found ="))

LINEAR = r'''
def linear(x, weight, bias, dout=None):
    if dout is None:
        return x @ weight.T + bias
    return dout @ weight, dout.T @ x, dout.sum(0)
'''
right("a8-linear", "three lines", "matrix products", LINEAR)
right("a8-linear", "broadcast", "products of all pairs, then sums", r'''
def linear(x, weight, bias, dout=None):
    if dout is None:
        return (x.unsqueeze(1) * weight.unsqueeze(0)).sum(dim=-1).add(bias)
    outer = dout.unsqueeze(2)
    return [(outer * weight).sum(1), (outer * x.unsqueeze(1)).sum(0), torch.sum(dout, dim=0)]
''')
right("a8-linear", "the bias as one more weight", "a column of ones", r'''
def linear(x, weight, bias, dout=None):
    ones = torch.ones(x.shape[0], 1, dtype=x.dtype)
    x1, w1 = torch.cat([x, ones], dim=1), torch.hstack([weight, bias[:, None]])
    if dout is not None:
        both = torch.tensordot(dout, x1, dims=([0], [0]))
        return torch.mm(dout, w1)[:, :-1], both[:, :-1], both[:, -1]
    return x1.mm(w1.t())
''')
right("a8-linear", "numpy inside", "from_numpy of np.dot", r'''
import numpy as np
from collections import namedtuple

Gradients = namedtuple("Gradients", "dx dweight dbias")


def linear(x, weight, bias, dout=None):
    if dout is None:
        return F.linear(x, weight, bias)
    d = dout.numpy()
    return Gradients(*map(torch.from_numpy, (np.dot(d, weight.numpy()), np.dot(d.T, x.numpy()), d.sum(axis=0))))
''')
wrong("a8-linear", "a row for the bias", "keepdim", but(LINEAR, "dout.sum(0)", "dout.sum(0, keepdim=True)"))
wrong("a8-linear", "one number for the bias", "all summed", but(LINEAR, "dout.sum(0)", "dout.sum()"))
wrong("a8-linear", "other order", "weight, bias, x", but(LINEAR, "return dout @ weight, dout.T @ x, dout.sum(0)", "return dout.T @ x, dout.sum(0), dout @ weight"))
wrong("a8-linear", "all averaged", "divided by the batch", but(LINEAR, "dout.T @ x, dout.sum(0)", "dout.T @ x / len(x), dout.sum(0) / len(x)"))
wrong("a8-linear", "image by image", "a loop where none is asked for", but(LINEAR, "dout.T @ x", "sum(torch.outer(d, row) for d, row in zip(dout, x))"))
wrong("a8-linear", "bias left out", "forward without the bias", but(LINEAR, " + bias", ""))

RELU = r'''
def relu(x, dout=None):
    if dout is None:
        return x.clamp(min=0)
    return dout * (x > 0)
'''
right("a8-relu", "clamp and a mask", "two lines", RELU)
right("a8-relu", "where", "torch.where both ways", r'''
def relu(x, dout=None):
    keep = torch.gt(x, 0)
    return torch.where(keep, x if dout is None else dout, 0.0)
''')
right("a8-relu", "absolute value", "(x + |x|) / 2 and heaviside", r'''
def relu(x, dout=None):
    if dout is None:
        return (x + x.abs()) / 2
    return torch.heaviside(x, x.new_tensor(0.0)).mul(dout)
''')
right("a8-relu", "masked_fill and nn.ReLU", "a module forward, a copy filled on the way back", r'''
def relu(x, dout=None):
    if dout is not None:
        dx = dout.clone()
        dx[x <= 0] = 0
        return dx
    return nn.ReLU()(x)
''')
wrong("a8-relu", "dout decides", "dout above 0", but(RELU, "(x > 0)", "(dout > 0)"))
wrong("a8-relu", "times x", "x remains in the gradient", but(RELU, "dout * (x > 0)", "dout * x.clamp(min=0)"))
wrong("a8-relu", "in place", "relu_", but(RELU, "x.clamp(min=0)", "x.clamp_(min=0)"))
wrong("a8-relu", "leaks", "0.01 of what is below", but(RELU, "x.clamp(min=0)", "torch.maximum(x, 0.01 * x)"))
wrong("a8-relu", "half at 0", "0.5 where x is 0", but(RELU, "(x > 0)", "((x > 0) + 0.5 * (x == 0))"))

ENTROPY = r'''
def cross_entropy(scores, labels):
    n = len(scores)
    shifted = scores - scores.max(dim=1, keepdim=True).values
    logs = shifted - shifted.exp().sum(1, keepdim=True).log()
    loss = -logs[torch.arange(n), labels].mean()
    dscores = logs.exp()
    dscores[torch.arange(n), labels] -= 1
    return loss, dscores / n
'''
right("a8-cross-entropy", "shifted by the maximum", "as in many courses", ENTROPY)
right("a8-cross-entropy", "logsumexp and one_hot", "the library's helpers, loss as a float", r'''
def cross_entropy(scores, labels):
    one_hot = F.one_hot(labels, num_classes=scores.size(1)).to(scores.dtype)
    each = torch.logsumexp(scores, dim=1) - (scores * one_hot).sum(dim=1)
    return float(each.mean()), (torch.softmax(scores, dim=1) - one_hot) / scores.size(0)
''')
right("a8-cross-entropy", "eye and einsum", "rows of a unit matrix, lists", r'''
def cross_entropy(scores, labels):
    targets = torch.eye(scores.shape[1], dtype=scores.dtype)[labels]
    top = torch.amax(scores, 1)[:, None]
    e = torch.exp(scores - top)
    total = torch.einsum("nc->n", e)
    loss = (torch.log(total) + top.squeeze(1) - torch.einsum("nc,nc->n", scores, targets)).sum() / labels.numel()
    grad = torch.sub(e / total.unsqueeze(-1), targets).div(labels.numel())
    return [loss, grad]
''')
right("a8-cross-entropy", "scipy's habits", "numpy arrays in and out again", r'''
import numpy as np


def cross_entropy(scores, labels):
    s, y = np.asarray(scores), np.asarray(labels)
    s = s - s.max(axis=-1, keepdims=True)
    z = np.exp(s)
    p = z / z.sum(axis=-1, keepdims=True)
    rows = np.arange(s.shape[0])
    loss = np.mean(np.log(z.sum(-1)) - s[rows, y])
    np.subtract.at(p, (rows, y), 1.0)
    return loss, torch.from_numpy(p / s.shape[0])
''')
wrong("a8-cross-entropy", "log of the softmax", "a probability of 0 has no logarithm", but(ENTROPY, "    logs = shifted - shifted.exp().sum(1, keepdim=True).log()\n", "    logs = (shifted.exp() / shifted.exp().sum(1, keepdim=True)).log()\n"))
wrong("a8-cross-entropy", "a clamp against infinity", "probabilities from 1e-12 up", but(ENTROPY, "    logs = shifted - shifted.exp().sum(1, keepdim=True).log()\n", "    logs = (shifted.exp() / shifted.exp().sum(1, keepdim=True)).clamp(min=1e-12).log()\n"))
wrong("a8-cross-entropy", "the other sign", "one-hot minus softmax", but(ENTROPY, "return loss, dscores / n", "return loss, -dscores / n"))
wrong("a8-cross-entropy", "a mean over all entries", "divided by N times C", but(ENTROPY, "dscores / n", "dscores / scores.numel()"))
wrong("a8-cross-entropy", "all pairs", "scores[:, labels] takes every label of every image", but(ENTROPY, "-logs[torch.arange(n), labels].mean()", "-logs[:, labels].mean()"))
wrong("a8-cross-entropy", "shifted in place", "the caller's scores are changed", but(ENTROPY, "    shifted = scores - scores.max(dim=1, keepdim=True).values\n", "    shifted = scores.sub_(scores.max(dim=1, keepdim=True).values)\n"))
wrong("a8-cross-entropy", "each class shifted", "the maximum of a column", but(ENTROPY, "scores.max(dim=1, keepdim=True)", "scores.max(dim=0, keepdim=True)"))
wrong("a8-cross-entropy", "a loop", "image by image", r'''
def cross_entropy(scores, labels):
    loss, rows = 0.0, []
    for row, label in zip(scores, labels):
        logs = row - row.logsumexp(0)
        loss = loss - logs[label]
        d = logs.exp()
        d[label] = d[label] - 1
        rows.append(d)
    return loss / len(scores), torch.stack(rows) / len(scores)
''')

LOOPS = r'''
def conv2d(x, weight, bias, stride, padding, dout=None):
    N, C, H, W = x.shape
    O, _, h, w = weight.shape
    xp = F.pad(x, (padding, padding, padding, padding))
    rows = (H + 2 * padding - h) // stride + 1
    cols = (W + 2 * padding - w) // stride + 1
    if dout is None:
        out = x.new_zeros(N, O, rows, cols)
        for i in range(rows):
            for j in range(cols):
                window = xp[:, :, i * stride:i * stride + h, j * stride:j * stride + w]
                out[:, :, i, j] = torch.einsum("ncrs,ocrs->no", window, weight) + bias
        return out
    dxp, dweight = torch.zeros_like(xp), torch.zeros_like(weight)
    for i in range(rows):
        for j in range(cols):
            top, left, d = i * stride, j * stride, dout[:, :, i, j]
            dxp[:, :, top:top + h, left:left + w] += torch.einsum("no,ocrs->ncrs", d, weight)
            dweight += torch.einsum("no,ncrs->ocrs", d, xp[:, :, top:top + h, left:left + w])
    return dxp[:, :, padding:padding + H, padding:padding + W], dweight, dout.sum((0, 2, 3))
'''
right("a8-conv-loops", "einsum at each place", "two loops, accumulated in place", LOOPS)
right("a8-conv-loops", "calls linear", "each window a small linear layer, itertools.product", r'''
from itertools import product


def padded(x, p):
    n, c, h, w = x.shape
    bigger = x.new_zeros((n, c, h + 2 * p, w + 2 * p))
    bigger[:, :, p:p + h, p:p + w] = x
    return bigger


def places(x, weight, stride, padding):
    (height, width), (kh, kw) = x.shape[2:], weight.shape[2:]
    for i, j in product(range((height + 2 * padding - kh) // stride + 1), range((width + 2 * padding - kw) // stride + 1)):
        yield i, j, (..., slice(i * stride, i * stride + kh), slice(j * stride, j * stride + kw))


def conv2d(x, weight, bias, stride, padding, dout=None):
    big, flat = padded(x, padding), weight.flatten(1)
    spots = list(places(x, weight, stride, padding))
    if dout is None:
        values = [linear(big[at].flatten(1), flat, bias) for _, _, at in spots]
        return torch.stack(values, dim=-1).unflatten(-1, (spots[-1][0] + 1, spots[-1][1] + 1))
    grads = [torch.zeros_like(big), torch.zeros_like(flat), torch.zeros_like(bias)]
    for i, j, at in spots:
        dwindow, dflat, dbias = linear(big[at].flatten(1), flat, bias, dout=dout[..., i, j])
        grads[0][at] += dwindow.view_as(big[at])
        grads[1] = grads[1] + dflat
        grads[2] = grads[2] + dbias
    if padding:
        grads[0] = grads[0][:, :, padding:-padding, padding:-padding]
    return grads[0], grads[1].view_as(weight), grads[2]
''')
right("a8-conv-loops", "six loops in numpy", "number by number, pixels of the padding skipped", r'''
import numpy as np


def conv2d(x, weight, bias, stride, padding, dout=None):
    X, K, b = x.numpy(), weight.numpy(), bias.numpy()
    N, C, H, W = X.shape
    O, _, kh, kw = K.shape
    oh = 1 + (H + 2 * padding - kh) // stride
    ow = 1 + (W + 2 * padding - kw) // stride
    y = np.zeros((N, O, oh, ow))
    dX, dK = np.zeros_like(X), np.zeros_like(K)
    D = None if dout is None else dout.numpy()
    for o in range(O):
        for i in range(oh):
            for j in range(ow):
                y[:, o, i, j] = b[o]
                for r in range(kh):
                    for s in range(kw):
                        row, col = i * stride + r - padding, j * stride + s - padding
                        if not (0 <= row < H and 0 <= col < W):
                            continue
                        y[:, o, i, j] += X[:, :, row, col] @ K[o, :, r, s]
                        if D is not None:
                            dX[:, :, row, col] += np.outer(D[:, o, i, j], K[o, :, r, s])
                            dK[o, :, r, s] += D[:, o, i, j] @ X[:, :, row, col]
    if D is None:
        return torch.from_numpy(y)
    return torch.from_numpy(dX), torch.from_numpy(dK), torch.from_numpy(D.sum(axis=(0, 2, 3)))
''')
right("a8-conv-loops", "while and tensordot", "counters, stacked rows, dbias gathered place by place", r'''
def conv2d(x, weight, bias, stride, padding, dout=None):
    kh, kw = weight.shape[-2:]
    xp = torch.nn.functional.pad(input=x, pad=[padding] * 4, mode="constant", value=0.0)
    if dout is not None:
        dxp = torch.zeros(xp.shape, dtype=x.dtype)
        dw, db = 0 * weight, 0 * bias
    rows, top, i = [], 0, 0
    while top + kh <= xp.shape[2]:
        row, left, j = [], 0, 0
        while left + kw <= xp.shape[3]:
            patch = xp[:, :, top:top + kh, left:left + kw]
            if dout is None:
                row.append(torch.tensordot(patch, weight, dims=([1, 2, 3], [1, 2, 3])) + bias)
            else:
                g = dout[:, :, i, j]
                dxp[:, :, top:top + kh, left:left + kw] += torch.tensordot(g, weight, dims=1)
                dw = dw + torch.tensordot(g.T, patch, dims=1)
                db = db + g.sum(0)
            left, j = left + stride, j + 1
        rows.append(row)
        top, i = top + stride, i + 1
    if dout is None:
        return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    n, c, height, width = x.shape
    return dxp.narrow(2, padding, height).narrow(3, padding, width), dw, db
''')
wrong("a8-conv-loops", "cut from the corner", "the first H by W of the padded gradient", but(LOOPS, "dxp[:, :, padding:padding + H, padding:padding + W]", "dxp[:, :, :H, :W]"))
wrong("a8-conv-loops", "padding kept", "the gradient of the padded image", but(LOOPS, "dxp[:, :, padding:padding + H, padding:padding + W]", "dxp"))
wrong("a8-conv-loops", "flipped on the way back", "a kernel turned by 180 degrees for dx", but(LOOPS, '"no,ocrs->ncrs", d, weight)', '"no,ocrs->ncrs", d, weight.flip(2, 3))'))
wrong("a8-conv-loops", "stride forgotten on the way back", "windows one pixel apart", but(LOOPS, "top, left, d = i * stride, j * stride, dout", "top, left, d = i, j, dout"))
wrong("a8-conv-loops", "rounded up", "ceil of the size", but(LOOPS, "(H + 2 * padding - h) // stride", "-(-(H + 2 * padding - h) // stride)"))
wrong("a8-conv-loops", "a mean over the places", "dbias averaged", but(LOOPS, "dout.sum((0, 2, 3))", "dout.sum(0).mean((1, 2))"))
wrong("a8-conv-loops", "the last window's weight", "= for +=", but(LOOPS, "dweight += ", "dweight = "))
wrong("a8-conv-loops", "no bias", "forward without it", but(LOOPS, " + bias\n", "\n"))
wrong("a8-conv-loops", "the image that is not padded", "dweight from x", but(LOOPS, "d, xp[:, :, top:top + h, left:left + w])", "d, F.pad(x, (0, 2 * padding, 0, 2 * padding))[:, :, top:top + h, left:left + w])"))
wrong("a8-conv-loops", "sides swapped", "w rows and h columns of a window", but(LOOPS, "O, _, h, w = weight.shape", "O, _, w, h = weight.shape"))
wrong("a8-conv-loops", "the library's gradients", "torch.nn.grad", r'''
def conv2d(x, weight, bias, stride, padding, dout=None):
    if dout is None:
        return torch.conv2d(x, weight, bias, stride, padding)
    dx = nn.grad.conv2d_input(x.shape, weight, dout, stride, padding)
    return dx, nn.grad.conv2d_weight(x, weight.shape, dout, stride, padding), dout.sum((0, 2, 3))
''')
wrong("a8-conv-loops", "autograd behind own windows", "backward of the own forward", but(LOOPS, "    dxp, dweight = torch.zeros_like", "    with torch.enable_grad():\n        given = [t.detach().clone().requires_grad_() for t in (x, weight, bias)]\n        conv2d(*given, stride, padding).backward(dout)\n    return tuple(t.grad for t in given)\n    dxp, dweight = torch.zeros_like"))

MATRIX = r'''
def conv2d_fast(x, weight, bias, stride, padding, dout=None):
    N, C, H, W = x.shape
    O, _, h, w = weight.shape
    rows = (H + 2 * padding - h) // stride + 1
    cols = (W + 2 * padding - w) // stride + 1
    columns = F.unfold(x, (h, w), padding=padding, stride=stride)
    matrix = weight.reshape(O, -1)
    if dout is None:
        return (matrix @ columns + bias[:, None]).reshape(N, O, rows, cols)
    d = dout.reshape(N, O, -1)
    dx = F.fold(matrix.T @ d, (H, W), (h, w), padding=padding, stride=stride)
    dweight = (d @ columns.transpose(1, 2)).sum(0).reshape(weight.shape)
    return dx, dweight, d.sum((0, 2))
'''
right("a8-conv-matrix", "batched products", "unfold and fold", MATRIX)
right("a8-conv-matrix", "one product for the batch", "columns of all images side by side", r'''
def conv2d_fast(x, weight, bias, stride, padding, dout=None):
    (n, c, height, width), (o, _, kh, kw) = x.shape, weight.shape
    how = dict(kernel_size=(kh, kw), padding=padding, stride=stride)
    cols = nn.Unfold(**how)(x).permute(1, 0, 2).reshape(c * kh * kw, -1)
    k = weight.view(o, c * kh * kw)
    if dout is None:
        out = torch.addmm(bias.view(-1, 1), k, cols)
        oh = (height + 2 * padding - kh) // stride + 1
        return out.view(o, n, oh, -1).transpose(0, 1)
    d = dout.transpose(0, 1).flatten(1)
    dcols = (k.t() @ d).view(k.size(1), n, -1).permute(1, 0, 2)
    return nn.Fold((height, width), **how)(dcols), torch.mm(d, cols.t()).view_as(weight), d.sum(1)
''')
right("a8-conv-matrix", "Tensor.unfold and einsum", "views of windows; fold for the way back", r'''
def windows(x, shape, stride, padding):
    x = F.pad(x, (padding,) * 4)
    return x.unfold(2, shape[2], stride).unfold(3, shape[3], stride)


def conv2d_fast(x, weight, bias, stride, padding, dout=None):
    view = windows(x, weight.shape, stride, padding)
    if dout is None:
        return torch.einsum("ncijrs,ocrs->noij", view, weight) + bias.reshape(1, -1, 1, 1)
    dweight = torch.einsum("noij,ncijrs->ocrs", dout, view)
    dcolumns = torch.einsum("noij,ocrs->ncrsij", dout, weight).flatten(4).flatten(1, 3)
    dx = F.fold(dcolumns, x.shape[2:], weight.shape[2:], 1, padding, stride)
    return dx, dweight, torch.einsum("noij->o", dout)
''')
right("a8-conv-matrix", "rows for columns", "transposed: a linear layer on windows, whose own gradients are used", r'''
def conv2d_fast(x, weight, bias, stride, padding, dout=None):
    n, o = x.shape[0], weight.shape[0]
    kernel = tuple(weight.shape[2:])
    patches = F.unfold(x, kernel, padding=padding, stride=stride).mT
    places = patches.shape[1]
    patches = patches.reshape(n * places, -1)
    if dout is None:
        flat = linear(patches, weight.reshape(o, -1), bias)
        across = (x.shape[3] + 2 * padding - kernel[1]) // stride + 1
        return flat.reshape(n, places, o).mT.reshape(n, o, places // across, across)
    flat = dout.flatten(2).mT.reshape(n * places, o)
    dpatches, dw, db = linear(patches, weight.reshape(o, -1), bias, flat)
    dx = F.fold(dpatches.reshape(n, places, -1).mT, x.shape[-2:], kernel, padding=padding, stride=stride)
    return dx, dw.reshape(weight.shape), db
''')
wrong("a8-conv-matrix", "height and width swapped", "fold to (W, H)", but(MATRIX, "(H, W), (h, w)", "(W, H), (h, w)"))
wrong("a8-conv-matrix", "fold without padding", "not cut", but(MATRIX, "(h, w), padding=padding, stride=stride)\n    dweight", "(h, w), stride=stride)\n    dweight"))
wrong("a8-conv-matrix", "first image only", "d[0]", but(MATRIX, "(d @ columns.transpose(1, 2)).sum(0)", "(d @ columns.transpose(1, 2))[0]"))
wrong("a8-conv-matrix", "mean over the batch", "dweight averaged", but(MATRIX, ".sum(0).reshape(weight", ".mean(0).reshape(weight"))
wrong("a8-conv-matrix", "columns cut through", "reshape where a permute is needed", but(MATRIX, "(d @ columns.transpose(1, 2)).sum(0)", "dout.transpose(0, 1).reshape(O, -1) @ columns.reshape(C * h * w, -1).T"))
wrong("a8-conv-matrix", "image by image", "a loop", but(MATRIX, "(d @ columns.transpose(1, 2)).sum(0)", "sum(d[n] @ columns[n].T for n in range(N))"))
wrong("a8-conv-matrix", "bias of the places", "dbias summed over images only", but(MATRIX, "d.sum((0, 2))", "d.sum((0, 2), keepdim=True)"))
wrong("a8-conv-matrix", "calls the loops", "conv2d of part 5", r'''
def conv2d_fast(x, weight, bias, stride, padding, dout=None):
    return conv2d(x, weight, bias, stride, padding, dout)
''')
wrong("a8-conv-matrix", "PyTorch's convolution forward", "F.conv2d", but(MATRIX, "(matrix @ columns + bias[:, None]).reshape(N, O, rows, cols)", "F.conv2d(x, weight, bias, stride, padding)"))
wrong("a8-conv-matrix", "out as a square", "the root of the number of places", but(MATRIX, "reshape(N, O, rows, cols)", "reshape(N, O, round((rows * cols) ** 0.5), -1)"))

POOL = r'''
def max_pool(x, size, stride, dout=None):
    if dout is None:
        return F.max_pool2d(x, size, stride)
    _, winners = F.max_pool2d(x, size, stride, return_indices=True)
    dx = torch.zeros_like(x).flatten(2)
    dx.scatter_add_(2, winners.flatten(2), dout.flatten(2))
    return dx.view_as(x)
'''
right("a8-max-pool", "winners scattered", "return_indices", POOL)
right("a8-max-pool", "windows and argmax", "loops over places, argmax of flat windows, divmod", r'''
def max_pool(x, size, stride, dout=None):
    n, c, height, width = x.shape
    dx = x.new_zeros(x.shape)
    rows = []
    for i, top in enumerate(range(0, height - size + 1, stride)):
        row = []
        for j, left in enumerate(range(0, width - size + 1, stride)):
            flat = x[:, :, top:top + size, left:left + size].reshape(n, c, size * size)
            best = flat.argmax(dim=2)
            row.append(flat.gather(2, best[..., None]).squeeze(2))
            if dout is not None:
                mask = torch.arange(size * size) == best[..., None]
                dx[:, :, top:top + size, left:left + size] += (mask * dout[:, :, i, j, None]).view(n, c, size, size)
        rows.append(torch.stack(row, -1))
    return dx if dout is not None else torch.stack(rows, -2)
''')
right("a8-max-pool", "unfold, one_hot, fold", "no loop, channels in the batch", r'''
def max_pool(x, size, stride, dout=None):
    n, c, h, w = x.shape
    columns = F.unfold(x.reshape(n * c, 1, h, w), size, stride=stride)
    if dout is None:
        return columns.amax(1).reshape(n, c, (h - size) // stride + 1, (w - size) // stride + 1)
    winners = F.one_hot(columns.argmax(1), size * size).transpose(1, 2).to(dout.dtype)
    return F.fold(winners * dout.reshape(n * c, 1, -1), (h, w), size, stride=stride).reshape(x.shape)
''')
right("a8-max-pool", "number by number", "a comparison that only a larger one wins, numpy", r'''
import numpy as np


def max_pool(x, size, stride, dout=None):
    a = x.numpy()
    n, c, h, w = a.shape
    oh, ow = 1 + (h - size) // stride, 1 + (w - size) // stride
    out, dx = np.full((n, c, oh, ow), -np.inf), np.zeros(a.shape)
    for index in np.ndindex(out.shape):
        b, k, i, j = index
        window = a[b, k, i * stride:i * stride + size, j * stride:j * stride + size]
        r, s = np.unravel_index(window.argmax(), window.shape)
        out[index] = window[r, s]
        if dout is not None:
            dx[b, k, i * stride + r, j * stride + s] += dout[index].item()
    return torch.tensor(out) if dout is None else torch.tensor(dx)
''')
wrong("a8-max-pool", "the last of equals", "argmax of the turned window", r'''
def max_pool(x, size, stride, dout=None):
    if dout is None:
        return F.max_pool2d(x, size, stride)
    turned = x.flip(2, 3)
    n, c, h, w = x.shape
    columns = F.unfold(x.reshape(n * c, 1, h, w), size, stride=stride)
    last = size * size - 1 - columns.flip(1).argmax(1)
    winners = F.one_hot(last, size * size).transpose(1, 2).to(dout.dtype)
    return F.fold(winners * dout.reshape(n * c, 1, -1), (h, w), size, stride=stride).reshape(x.shape)
''')
wrong("a8-max-pool", "shared among equals", "the gradient is divided", r'''
def max_pool(x, size, stride, dout=None):
    n, c, h, w = x.shape
    columns = F.unfold(x.reshape(n * c, 1, h, w), size, stride=stride)
    top = columns.amax(1, keepdim=True)
    if dout is None:
        return top.reshape(n, c, (h - size) // stride + 1, -1)
    mask = (columns == top).to(x.dtype)
    mask = mask / mask.sum(1, keepdim=True)
    return F.fold(mask * dout.reshape(n * c, 1, -1), (h, w), size, stride=stride).reshape(x.shape)
''')
wrong("a8-max-pool", "stride is size", "the stride is not used", but(POOL, "size, stride", "size", "def max_pool(x, size", "def max_pool(x, size, stride"))
wrong("a8-max-pool", "the last window wins", "scatter_, which overwrites", but(POOL, "scatter_add_", "scatter_"))
wrong("a8-max-pool", "half windows", "ceil_mode", but(POOL, "size, stride)", "size, stride, ceil_mode=True)", "return_indices=True", "return_indices=True, ceil_mode=True"))
wrong("a8-max-pool", "never below 0", "a maximum that begins at 0", but(POOL, "return F.max_pool2d(x, size, stride)", "return F.max_pool2d(x, size, stride).clamp(min=0)"))
wrong("a8-max-pool", "to every pixel", "the gradient of a mean pool", but(POOL, "dx.scatter_add_(2, winners.flatten(2), dout.flatten(2))", "return F.fold(F.unfold(dout.flatten(0, 1)[:, None], 1).expand(-1, size * size, -1) / size**2, x.shape[2:], size, stride=stride).view_as(x)"))
wrong("a8-max-pool", "the operator below", "aten's own backward", r'''
def max_pool(x, size, stride, dout=None):
    out, winners = F.max_pool2d(x, size, stride, return_indices=True)
    if dout is None:
        return out
    return torch.ops.aten.max_pool2d_with_indices_backward(
        dout, x, [size, size], [stride, stride], [0, 0], [1, 1], False, winners)
''')

NORM = r'''
def batch_norm(x, gamma, beta, mean, var, training, dout=None):
    axes, eps = (0, 2, 3), 1e-5
    n = x.numel() // x.shape[1]
    c = lambda v: v.reshape(1, -1, 1, 1)
    mu = x.mean(axes) if training else mean
    sigma2 = ((x - c(mu)) ** 2).mean(axes) if training else var
    inv = 1 / torch.sqrt(sigma2 + eps)
    xhat = (x - c(mu)) * c(inv)
    if dout is None:
        out = c(gamma) * xhat + c(beta)
        if training:
            mean = 0.9 * mean + 0.1 * mu
            var = 0.9 * var + 0.1 * sigma2 * n / (n - 1)
        return out, mean, var
    dgamma, dbeta = (dout * xhat).sum(axes), dout.sum(axes)
    dxhat = dout * c(gamma)
    if not training:
        return dxhat * c(inv), dgamma, dbeta
    dvar = (dxhat * (x - c(mu))).sum(axes) * -0.5 * inv**3
    dmu = -(dxhat * c(inv)).sum(axes)
    dx = dxhat * c(inv) + c(dvar) * 2 * (x - c(mu)) / n + c(dmu) / n
    return dx, dgamma, dbeta
'''
right("a8-batch-norm", "the paper's steps", "dvar, dmu, dx", NORM)
right("a8-batch-norm", "two functions and early returns", "var_mean, lerp, F.batch_norm forward on copies", r'''
EPS = 1e-5


def back_in_training(dout, centred, inv, gamma):
    d = dout * gamma
    along = (d * centred).mean((0, 2, 3), keepdim=True) * inv.square()
    return inv * (d - d.mean((0, 2, 3), keepdim=True) - centred * along)


def batch_norm(x, gamma, beta, mean, var, training, dout=None):
    if dout is None and training:
        running = mean.clone(), var.clone()
        out = F.batch_norm(x, *running, weight=gamma, bias=beta, training=True, momentum=0.1, eps=EPS)
        return (out, *running)
    if dout is None:
        return F.batch_norm(x, mean, var, gamma, beta, False, eps=EPS), mean, var
    g = gamma[None, :, None, None]
    if training:
        v, m = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
    else:
        v, m = var[None, :, None, None], mean[None, :, None, None]
    centred, inv = x - m, torch.rsqrt(v + EPS)
    dx = back_in_training(dout, centred, inv, g) if training else dout * g * inv
    return dx, (dout * centred * inv).sum((0, 2, 3)), dout.sum((0, 2, 3))
''')
right("a8-batch-norm", "one row a channel", "transposed to (C, n), var with n - 1 by the library", r'''
def batch_norm(x, gamma, beta, mean, var, training, dout=None):
    channels = x.shape[1]

    def rows(t):
        return t.permute(1, 0, 2, 3).reshape(channels, -1)

    def images(t):
        return t.reshape(channels, x.shape[0], *x.shape[2:]).permute(1, 0, 2, 3)

    r = rows(x)
    n = r.shape[1]
    if training:
        m, v = r.mean(1), r.var(1, unbiased=False)
        new = torch.lerp(mean, m, 0.1), torch.lerp(var, r.var(1), 0.1)
    else:
        m, v, new = mean, var, (mean, var)
    deviation = torch.sqrt(v + 1e-5).unsqueeze(1)
    z = (r - m.unsqueeze(1)) / deviation
    if dout is None:
        return images(torch.addcmul(beta.unsqueeze(1), gamma.unsqueeze(1), z)), new[0], new[1]
    d = rows(dout)
    dg, db = torch.einsum("cn,cn->c", d, z), d.sum(1)
    if training:
        d = d - db.unsqueeze(1) / n - z * dg.unsqueeze(1) / n
    return images(gamma.unsqueeze(1) / deviation * d), dg, db
''')
right("a8-batch-norm", "numpy and keywords", "sums and squares, keepdims", r'''
import numpy as np


def batch_norm(x, gamma, beta, mean, var, training, dout=None):
    X, g, b = x.numpy(), gamma.numpy().reshape(-1, 1, 1), beta.numpy().reshape(-1, 1, 1)
    axis = (0, 2, 3)
    count = X.size / X.shape[1]
    if training:
        mu, s2 = X.mean(axis=axis, keepdims=True), X.var(axis=axis, keepdims=True)
    else:
        mu, s2 = mean.numpy().reshape(1, -1, 1, 1), var.numpy().reshape(1, -1, 1, 1)
    sd = np.sqrt(s2 + 1e-5)
    hat = (X - mu) / sd
    if dout is not None:
        D = dout.numpy()
        parts = g / sd * D
        if training:
            parts -= parts.mean(axis=axis, keepdims=True)
            parts -= hat * (parts * hat).mean(axis=axis, keepdims=True)
        return torch.from_numpy(parts), torch.from_numpy((D * hat).sum(axis)), torch.from_numpy(D.sum(axis))
    if training:
        mean = mean * 0.9 + torch.from_numpy(mu.ravel()) * 0.1
        var = var * 0.9 + torch.from_numpy(X.var(axis=axis, ddof=1)) * 0.1
    return torch.from_numpy(g * hat + b), mean, var
''')
wrong("a8-batch-norm", "epsilon outside", "sqrt(var) + eps", but(NORM, "1 / torch.sqrt(sigma2 + eps)", "1 / (torch.sqrt(sigma2) + eps)"))
wrong("a8-batch-norm", "batch in evaluation", "always the batch's mean", but(NORM, "mu = x.mean(axes) if training else mean", "mu = x.mean(axes)"))
wrong("a8-batch-norm", "moves in evaluation", "running statistics updated always", but(NORM, "        if training:\n            mean", "        mu, sigma2 = x.mean(axes), x.var(axes, unbiased=False)\n        if True:\n            mean"))
wrong("a8-batch-norm", "mean's path forgotten", "no dmu", but(NORM, " + c(dmu) / n", ""))
wrong("a8-batch-norm", "variance's path forgotten", "no dvar", but(NORM, " + c(dvar) * 2 * (x - c(mu)) / n", ""))
wrong("a8-batch-norm", "x for x-hat", "dgamma from x", but(NORM, "(dout * xhat).sum(axes)", "(dout * x).sum(axes)"))
wrong("a8-batch-norm", "means for sums", "dgamma and dbeta averaged", but(NORM, "(dout * xhat).sum(axes), dout.sum(axes)", "(dout * xhat).mean(axes), dout.mean(axes)"))
wrong("a8-batch-norm", "n counts the images", "N for N H W", but(NORM, "n = x.numel() // x.shape[1]", "n = x.shape[0]"))
wrong("a8-batch-norm", "training's gradient in evaluation", "one formula for both", but(NORM, "    if not training:\n        return dxhat * c(inv), dgamma, dbeta\n", ""))
wrong("a8-batch-norm", "n - 1 everywhere", "normalized with the unbiased variance", but(NORM, "((x - c(mu)) ** 2).mean(axes) if", "((x - c(mu)) ** 2).sum(axes) / (n - 1) if", "sigma2 * n / (n - 1)", "sigma2"))
wrong("a8-batch-norm", "gamma forgotten", "dxhat is dout", but(NORM, "dxhat = dout * c(gamma)", "dxhat = dout"))
wrong("a8-batch-norm", "square root forgotten in the way back", "inv squared for inv cubed", but(NORM, "inv**3", "inv**2"))

MOMENTUM = r'''
def momentum_step(weights, gradients, velocities, rate, momentum):
    velocities = [momentum * v + g for v, g in zip(velocities, gradients)]
    weights = [w - rate * v for w, v in zip(weights, velocities)]
    return weights, velocities
'''
right("a8-momentum", "two comprehensions", "zip", MOMENTUM)
right("a8-momentum", "recursion", "the first, then the rest", r'''
def momentum_step(weights, gradients, velocities, rate, momentum):
    if not weights:
        return [], []
    (w, *ws), (g, *gs), (v, *vs) = weights, gradients, velocities
    v = torch.add(g, v, alpha=momentum)
    later_w, later_v = momentum_step(ws, gs, vs, rate, momentum)
    return [torch.sub(w, v, alpha=rate)] + later_w, [v] + later_v
''')
right("a8-momentum", "copies, then in place", "clone, mul_, add_; a dict on the way", r'''
def momentum_step(weights, gradients, velocities, rate, momentum):
    state = {i: (w.clone(), v.clone()) for i, (w, v) in enumerate(zip(weights, velocities))}
    for i, g in enumerate(gradients):
        state[i][1].mul_(momentum).add_(g)
        state[i][0].sub_(rate * state[i][1])
    return [state[i][0] for i in state], [state[i][1] for i in state]
''')
wrong("a8-momentum", "Nesterov", "a step ahead", but(MOMENTUM, "w - rate * v for w, v in zip(weights, velocities)", "w - rate * (g + momentum * v) for w, v, g in zip(weights, velocities, gradients)"))
wrong("a8-momentum", "a running mean", "(1 - momentum) g", but(MOMENTUM, "momentum * v + g", "momentum * v + (1 - momentum) * g"))
wrong("a8-momentum", "uphill", "w + rate v", but(MOMENTUM, "w - rate * v", "w + rate * v"))
wrong("a8-momentum", "velocities first", "returned in the other order", but(MOMENTUM, "return weights, velocities", "return velocities, weights"))
wrong("a8-momentum", "the velocity is not kept", "the gradient moves the weight, the velocity is only noted", but(MOMENTUM, "w - rate * v for w, v in zip(weights, velocities)", "w - rate * g for w, g in zip(weights, gradients)"))
wrong("a8-momentum", "torch.optim", "SGD does it", r'''
def momentum_step(weights, gradients, velocities, rate, momentum):
    own = [nn.Parameter(w.clone()) for w in weights]
    sgd = torch.optim.SGD(own, lr=rate, momentum=momentum)
    for p, g, v in zip(own, gradients, velocities):
        p.grad = g.clone()
        sgd.state[p]["momentum_buffer"] = v.clone()
    sgd.step()
    return [p.detach() for p in own], [sgd.state[p]["momentum_buffer"] for p in own]
''')

LENET = r'''
def lenet(images, weights, labels=None):
    w = weights
    c1 = conv2d_fast(images, w["conv1.weight"], w["conv1.bias"], 1, 2)
    r1 = relu(c1)
    p1 = max_pool(r1, 2, 2)
    c2 = conv2d_fast(p1, w["conv2.weight"], w["conv2.bias"], 1, 0)
    r2 = relu(c2)
    p2 = max_pool(r2, 2, 2)
    flat = p2.reshape(len(images), -1)
    f1 = linear(flat, w["fc1.weight"], w["fc1.bias"])
    r3 = relu(f1)
    f2 = linear(r3, w["fc2.weight"], w["fc2.bias"])
    r4 = relu(f2)
    scores = linear(r4, w["fc3.weight"], w["fc3.bias"])
    if labels is None:
        return scores
    loss, d = cross_entropy(scores, labels)
    g = {}
    d, g["fc3.weight"], g["fc3.bias"] = linear(r4, w["fc3.weight"], w["fc3.bias"], d)
    d = relu(f2, d)
    d, g["fc2.weight"], g["fc2.bias"] = linear(r3, w["fc2.weight"], w["fc2.bias"], d)
    d = relu(f1, d)
    d, g["fc1.weight"], g["fc1.bias"] = linear(flat, w["fc1.weight"], w["fc1.bias"], d)
    d = max_pool(r2, 2, 2, d.reshape(p2.shape))
    d = relu(c2, d)
    d, g["conv2.weight"], g["conv2.bias"] = conv2d_fast(p1, w["conv2.weight"], w["conv2.bias"], 1, 0, d)
    d = max_pool(r1, 2, 2, d)
    d = relu(c1, d)
    _, g["conv1.weight"], g["conv1.bias"] = conv2d_fast(images, w["conv1.weight"], w["conv1.bias"], 1, 2, d)
    return loss, g
'''
right("a8-lenet", "line by line", "every value has a name", LENET)
right("a8-lenet", "closures on a stack", "each step leaves its way back", r'''
def lenet(images, weights, labels=None):
    back, gradients = [], {}

    def step(function, x, *rest, name=None):
        def undo(d):
            if name is None:
                return function(x, *rest, dout=d)
            d, gradients[name + ".weight"], gradients[name + ".bias"] = function(
                x, weights[name + ".weight"], weights[name + ".bias"], *rest, dout=d)
            return d

        back.append(undo)
        own = () if name is None else (weights[name + ".weight"], weights[name + ".bias"])
        return function(x, *own, *rest)

    x = images
    for name, padding in (("conv1", 2), ("conv2", 0)):
        x = step(max_pool, step(relu, step(conv2d_fast, x, 1, padding, name=name)), 2, 2)
    shape = x.shape
    x = x.flatten(1)
    back.append(lambda d: d.view(shape))
    for name in ("fc1", "fc2"):
        x = step(relu, step(linear, x, name=name))
    x = step(linear, x, name="fc3")
    if labels is None:
        return x
    loss, d = cross_entropy(x, labels)
    while back:
        d = back.pop()(d)
    return loss.item() if hasattr(loss, "item") else loss, gradients
''')
right("a8-lenet", "a class of layers", "objects with forward and backward; pool before ReLU", r'''
class Layer:
    def __init__(self, weights, name, *settings):
        self.settings, self.name = settings, name
        self.w, self.b = weights[f"{name}.weight"], weights[f"{name}.bias"]

    @property
    def function(self):
        return conv2d if self.w.ndim == 4 else linear

    def forward(self, x):
        if self.w.ndim == 2:
            self.shape, x = x.shape, x.reshape(x.shape[0], -1)
        self.x = x
        y = self.function(x, self.w, self.b, *self.settings)
        self.y = y
        if self.w.ndim == 4:
            y = max_pool(y, 2, 2)
        self.z = y
        return y if self.name == "fc3" else relu(y)

    def backward(self, d, into):
        if self.name != "fc3":
            d = relu(self.z, dout=d)
        if self.w.ndim == 4:
            d = max_pool(self.y, 2, 2, dout=d)
        d, into[f"{self.name}.weight"], into[f"{self.name}.bias"] = self.function(
            self.x, self.w, self.b, *self.settings, dout=d)
        return d.reshape(self.shape) if self.w.ndim == 2 else d


def lenet(images, weights, labels=None):
    plan = [Layer(weights, "conv1", 1, 2), Layer(weights, "conv2", 1, 0)]
    plan += [Layer(weights, name) for name in ("fc1", "fc2", "fc3")]
    x = images
    for layer in plan:
        x = layer.forward(x)
    if labels is not None:
        loss, d = cross_entropy(x, labels)
        gradients = {}
        for layer in reversed(plan):
            d = layer.backward(d, gradients)
        return loss, {key: gradients[key] for key in weights}
    return x
''')
wrong("a8-lenet", "no mask behind the pools", "relu's way back left out in the convolutions", but(LENET, "    d = relu(c2, d)\n", "", "    d = relu(c1, d)\n", ""))
wrong("a8-lenet", "no mask behind fc2", "its ReLU lets all pass on the way back", but(LENET, "d = relu(f2, d)", "d = relu(f2 * 0 + 1, d)"))
wrong("a8-lenet", "the smallest wins", "the second pool's way back is asked of -c2", but(LENET, "max_pool(r2, 2, 2, d.reshape", "max_pool(-c2, 2, 2, d.reshape"))
wrong("a8-lenet", "padding in both", "conv2 padded too", but(LENET, '"conv2.bias"], 1, 0', '"conv2.bias"], 1, 2'))
wrong("a8-lenet", "no ReLU after fc2", "fc3 of f2", but(LENET, "r4 = relu(f2)", "r4 = f2", "d = relu(f2, d)", "d = d"))
wrong("a8-lenet", "channels last in the flattening", "permuted before it is flattened", but(LENET, "p2.reshape(len(images), -1)", "p2.permute(0, 2, 3, 1).reshape(len(images), -1)", "d.reshape(p2.shape)", "d.reshape(p2.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)"))
wrong("a8-lenet", "gradients of a list", "a list for the dict", but(LENET, "return loss, g\n", "return loss, list(g.values())\n"))
wrong("a8-lenet", "summed loss", "not the mean", but(LENET, "loss, d = cross_entropy(scores, labels)", "loss, d = cross_entropy(scores, labels)\n    loss, d = loss * len(labels), d * len(labels)"))
wrong("a8-lenet", "detached weights and autograd", "PyTorch's backward", r'''
def lenet(images, weights, labels=None):
    with torch.enable_grad():
        own = {k: v.detach().clone().requires_grad_(labels is not None) for k, v in weights.items()}
        x = F.max_pool2d(F.relu(conv2d_fast(images, own["conv1.weight"], own["conv1.bias"], 1, 2)), 2)
        x = F.max_pool2d(F.relu(conv2d_fast(x, own["conv2.weight"], own["conv2.bias"], 1, 0)), 2).flatten(1)
        x = F.relu(F.linear(x, own["fc1.weight"], own["fc1.bias"]))
        x = F.relu(F.linear(x, own["fc2.weight"], own["fc2.bias"]))
        x = F.linear(x, own["fc3.weight"], own["fc3.bias"])
        if labels is None:
            return x
        loss = F.cross_entropy(x, labels)
        loss.backward()
    return loss.detach(), {k: v.grad for k, v in own.items()}
''')

TRAIN8 = r'''
def start(*shape):
    return torch.randn(*shape) * (2 / (torch.Size(shape[1:]).numel())) ** 0.5


weights = {}
for name, shape in {"conv1": (6, 1, 5, 5), "conv2": (16, 6, 5, 5), "fc1": (120, 400), "fc2": (84, 120), "fc3": (10, 84)}.items():
    weights[name + ".weight"], weights[name + ".bias"] = start(*shape), torch.zeros(shape[0])
names = list(weights)
velocities = [torch.zeros_like(weights[n]) for n in names]
for epoch in range(3):
    for batch in torch.randperm(len(train.images)).split(32):
        loss, gradients = lenet(train.images[batch], weights, train.labels[batch])
        new, velocities = momentum_step([weights[n] for n in names], [gradients[n] for n in names], velocities, 0.05, 0.9)
        weights = dict(zip(names, new))
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
'''
right("a8-train", "as the text proposes", "three epochs, 0.05, 0.9", TRAIN8)
wrong("a8-train", "not trained", "the weights of the start", but(TRAIN8, "range(3)", "range(0)"))
wrong("a8-train", "labels not moved", "each image with another's label", but(TRAIN8, "train.labels[batch])", "train.labels[:len(batch)])"))

# ---------------------------------------------------------------- a9

READ = r'''
def read(layer):
    """A layer's kind, its numbers, and its settings."""
    settings = layer[-1] if isinstance(layer[-1], dict) else {}
    return layer[0], [n for n in layer[1:] if n is not settings], settings

'''
SHAPE = READ + r'''
def shape_after(layer, shape):
    kind, numbers, settings = read(layer)
    padding, dilation = settings.get("padding", 0), settings.get("dilation", 1)
    if kind == "Conv2d":
        _, out, kernel = numbers
        stride = settings.get("stride", 1)
        reach = dilation * (kernel - 1) + 1
        return (out, *((n + 2 * padding - reach) // stride + 1 for n in shape[1:]))
    if kind in ("MaxPool2d", "AvgPool2d"):
        kernel = numbers[0]
        stride = settings.get("stride", kernel)
        return (shape[0], *((n + 2 * padding - kernel) // stride + 1 for n in shape[1:]))
    if kind == "AdaptiveAvgPool2d":
        return (shape[0], 1, 1)
    if kind == "Flatten":
        size = 1
        for n in shape:
            size *= n
        return (size,)
    if kind == "Linear":
        return (numbers[1],)
    if kind == "Residual":
        for inner in numbers[0]:
            shape = shape_after(inner, shape)
    return tuple(shape)
'''
right("a9-shape", "early returns", "one if a kind", SHAPE)
right("a9-shape", "match", "structural patterns on the tuple itself", READ + r'''
from math import prod


def slide(n, kernel, stride=1, padding=0, dilation=1, groups=1):
    return (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def shape_after(layer, shape):
    match layer:
        case ("Conv2d", _, out, kernel):
            return out, slide(shape[1], kernel), slide(shape[2], kernel)
        case ("Conv2d", _, out, kernel, dict() as how):
            return out, slide(shape[1], kernel, **how), slide(shape[2], kernel, **how)
        case ("MaxPool2d" | "AvgPool2d", kernel, *how):
            how = {"stride": kernel} | (how[0] if how else {})
            return shape[0], slide(shape[1], kernel, **how), slide(shape[2], kernel, **how)
        case ("AdaptiveAvgPool2d", 1):
            return shape[0], 1, 1
        case ("Flatten",):
            return (prod(shape),)
        case ("Linear", _, out):
            return (out,)
        case ("Residual", branch, *_):
            return shape_after(branch[0], shape) if len(branch) == 1 else shape_after(
                ("Residual", branch[1:]), shape_after(branch[0], shape))
        case _:
            return shape
''')
right("a9-shape", "a table of functions", "a dict of lambdas, reduce, math.floor", READ + r'''
import math
from functools import reduce


def window(n, k, s):
    k = s.get("dilation", 1) * (k - 1) + 1
    return math.floor((n - k + 2 * s.get("padding", 0)) / s["stride"]) + 1


def pool(numbers, shape, s):
    s = {**{"stride": numbers[0]}, **s}
    return (shape[0],) + tuple(window(n, numbers[0], s) for n in shape[1:])


SHAPES = {
    "Conv2d": lambda numbers, shape, s: (numbers[1],) + tuple(window(n, numbers[2], {"stride": 1} | s) for n in shape[1:]),
    "MaxPool2d": pool,
    "AvgPool2d": pool,
    "AdaptiveAvgPool2d": lambda numbers, shape, s: (*shape[:1], numbers[0], numbers[0]),
    "Flatten": lambda numbers, shape, s: (reduce(lambda a, b: a * b, shape, 1),),
    "Linear": lambda numbers, shape, s: (*shape[:-1], numbers[-1]),
    "Residual": lambda numbers, shape, s: reduce(lambda before, layer: shape_after(layer, before), numbers[0], shape),
}


def shape_after(layer, shape):
    kind, numbers, settings = read(layer)
    return tuple(SHAPES.get(kind, lambda numbers, shape, s: shape)(numbers, shape, settings))
''')
wrong("a9-shape", "pools move by one", "stride 1 unless told", but(SHAPE, 'settings.get("stride", kernel)', 'settings.get("stride", 1)'))
wrong("a9-shape", "dilation left out", "the kernel's own size", but(SHAPE, "reach = dilation * (kernel - 1) + 1", "reach = kernel"))
wrong("a9-shape", "dilation times kernel", "reach too large by dilation - 1", but(SHAPE, "reach = dilation * (kernel - 1) + 1", "reach = dilation * kernel"))
wrong("a9-shape", "padding once", "one side", but(SHAPE, "n + 2 * padding - reach", "n + padding - reach"))
wrong("a9-shape", "no padding in pools", "2 p forgotten there", but(SHAPE, "n + 2 * padding - kernel", "n - kernel"))
wrong("a9-shape", "a shortcut changes nothing", "Residual gives its input's shape", but(SHAPE, "            shape = shape_after(inner, shape)", "            pass"))
wrong("a9-shape", "the branch's last layer", "asked of the block's input", but(SHAPE, "        for inner in numbers[0]:\n            shape = shape_after(inner, shape)", "        return shape_after(numbers[0][-1], shape)"))
wrong("a9-shape", "the mean has no sides", "(C,) after the global pool", but(SHAPE, "return (shape[0], 1, 1)", "return (shape[0],)"))
wrong("a9-shape", "made and run", "the layer on the meta device", READ + r'''
def shape_after(layer, shape):
    kind, numbers, settings = read(layer)
    if kind == "Residual":
        for inner in numbers[0]:
            shape = shape_after(inner, shape)
        return tuple(shape)
    module = getattr(nn, kind)(*numbers, **settings).to("meta").eval()
    return tuple(module(torch.zeros(1, *shape, device="meta")).shape[1:])
''')
wrong("a9-shape", "square maps", "one side for both", but(SHAPE, "// stride + 1 for n in shape[1:]", "// stride + 1 for n in (shape[1], shape[1])"))

BUILD = r'''
def build(layers):
    network = nn.Sequential()
    for layer in layers:
        kind, numbers, settings = read(layer)
        if kind == "Residual":
            network.append(Residual(*[build(way) for way in numbers]))
        else:
            network.append(getattr(nn, kind)(*numbers, **settings))
    return network
'''
right("a9-build", "append", "a loop", BUILD)
right("a9-build", "map and unpacking", "one layer made by a helper that takes the tuple apart", r'''
def make(kind, *rest):
    *numbers, last = rest or ({},)
    if not isinstance(last, dict):
        numbers, last = [*numbers, last], {}
    if kind != "Residual":
        return nn.__dict__[kind](*numbers, **last)
    return Residual(*map(build, numbers))


def build(layers):
    return nn.Sequential(*(make(*layer) for layer in layers))
''')
right("a9-build", "add_module", "enumerate; if and elif; a shortcut only where one is given", r'''
def build(layers):
    parts = []
    for layer in layers:
        name, arguments, keywords = layer[0], list(layer[1:]), dict()
        if len(arguments) > 0 and type(arguments[-1]) is dict:
            keywords = arguments.pop()
        if name == "Residual" and len(arguments) == 2:
            part = Residual(branch=build(arguments[0]), shortcut=build(arguments[1]))
        elif name == "Residual":
            part = Residual(build(arguments[0]))
        else:
            part = getattr(torch.nn, name)(*arguments, **keywords)
        parts.append(part)
    network = nn.Sequential()
    for i, part in enumerate(parts):
        network.add_module(f"{i}", part)
    return network
''')
wrong("a9-build", "shortcut left out", "the branch only", but(BUILD, "*[build(way) for way in numbers]", "build(numbers[0])"))
wrong("a9-build", "settings left out", "PyTorch's defaults", but(BUILD, "(*numbers, **settings)", "(*numbers)"))
wrong("a9-build", "a list of modules", "ModuleList", but(BUILD, "nn.Sequential()", "nn.ModuleList()"))
wrong("a9-build", "a branch without its sum", "Residual is the branch", but(BUILD, "network.append(Residual(*[build(way) for way in numbers]))", "network.append(build(numbers[0]))"))
wrong("a9-build", "two ways swapped", "shortcut first", but(BUILD, "for way in numbers", "for way in numbers[::-1]"))
wrong("a9-build", "names of its own", "an OrderedDict of kinds", r'''
from collections import OrderedDict


def build(layers):
    parts = OrderedDict()
    for i, layer in enumerate(layers):
        kind, numbers, settings = read(layer)
        ways = [build(n) for n in numbers] if kind == "Residual" else []
        parts[f"{kind}{i}"] = Residual(*ways) if ways else getattr(nn, kind)(*numbers, **settings)
    return nn.Sequential(parts)
''')
wrong("a9-build", "no bias anywhere", "convolutions without", but(BUILD, "(*numbers, **settings)", '(*numbers, **settings, **({"bias": False} if kind == "Conv2d" else {}))'))
wrong("a9-build", "takes the list apart", "pops from the caller's list", but(BUILD, "    for layer in layers:\n", "    while layers:\n        layer = layers.pop(0)\n"))

MACS = r'''
def count_macs(layers, shape):
    total = 0
    for layer in layers:
        kind, numbers, settings = read(layer)
        after = shape_after(layer, shape)
        if kind == "Conv2d":
            inputs, outputs, kernel = numbers
            total += inputs // settings.get("groups", 1) * kernel**2 * outputs * after[1] * after[2]
        elif kind == "Linear":
            total += numbers[0] * numbers[1]
        elif kind in ("MaxPool2d", "AvgPool2d"):
            total += numbers[0] ** 2 * after[0] * after[1] * after[2]
        elif kind == "AdaptiveAvgPool2d":
            total += shape[0] * shape[1] * shape[2]
        elif kind == "Residual":
            for way in numbers:
                total += count_macs(way, shape)
        shape = after
    return total
'''
right("a9-macs", "a walk", "shape_after and a sum", MACS)
right("a9-macs", "recursion", "first layer and the rest; groups in the weights' count", r'''
import math


def count_macs(layers, shape):
    if len(layers) == 0:
        return 0
    head, *tail = layers
    kind, numbers, settings = read(head)
    after = shape_after(head, shape)

    def own():
        if kind == "Residual":
            return sum(count_macs(way, shape) for way in numbers)
        if kind == "Conv2d":
            per_filter = numbers[0] * numbers[2] * numbers[2] / settings.get("groups", 1)
            return int(per_filter) * math.prod(after)
        if kind == "Linear":
            return math.prod(numbers[:2])
        if kind.endswith("Pool2d"):
            return math.prod(shape) if kind.startswith("Adaptive") else numbers[0] ** 2 * math.prod(after)
        return 0

    return own() + count_macs(tail, after)
''')
right("a9-macs", "hooks", "the built network is run on zeros; sizes read from its tensors", r'''
def count_macs(layers, shape):
    counts = []

    def note(module, inputs, output):
        x = inputs[0]
        if isinstance(module, nn.Conv2d):
            counts.append(module.weight[0].numel() * output[0].numel())
        elif isinstance(module, nn.Linear):
            counts.append(module.weight.numel())
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            counts.append(x[0].numel())
        elif isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
            counts.append(output[0].numel() * module.kernel_size ** 2)

    network = build(layers).eval()
    handles = [m.register_forward_hook(note) for m in network.modules()]
    with torch.no_grad():
        network(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    return sum(counts)
''')
right("a9-macs", "a counter object", "a dataclass that keeps shape and total", r'''
from dataclasses import dataclass


@dataclass
class Meter:
    shape: tuple
    macs: int = 0

    def pass_through(self, layer):
        kind, numbers, settings = read(layer)
        before, self.shape = self.shape, tuple(shape_after(layer, self.shape))
        count = getattr(self, "_" + kind.lower(), None)
        if count:
            self.macs += count(before, numbers, settings)
        return self

    def _conv2d(self, before, numbers, settings):
        cin, cout, k = numbers
        g = settings.get("groups", 1)
        return g * (cin // g) * (cout // g) * k * k * self.shape[-1] * self.shape[-2]

    def _linear(self, before, numbers, settings):
        return numbers[0] * numbers[1]

    def _maxpool2d(self, before, numbers, settings):
        c, h, w = self.shape
        return c * h * w * numbers[0] * numbers[0]

    _avgpool2d = _maxpool2d

    def _adaptiveavgpool2d(self, before, numbers, settings):
        c, h, w = before
        return c * h * w

    def _residual(self, before, numbers, settings):
        return sum(count_macs(way, before) for way in numbers)


def count_macs(layers, shape):
    meter = Meter(tuple(shape))
    for layer in layers:
        meter = meter.pass_through(layer)
    return meter.macs
''')
wrong("a9-macs", "groups left out", "as if every filter saw all channels", but(MACS, 'inputs // settings.get("groups", 1)', "inputs"))
wrong("a9-macs", "biases too", "one more a pixel", but(MACS, "after[1] * after[2]\n        elif kind == \"Linear\"", "after[1] * after[2] + outputs * after[1] * after[2]\n        elif kind == \"Linear\""))
wrong("a9-macs", "the shortcut is free", "the branch only", but(MACS, "for way in numbers:", "for way in numbers[:1]:"))
wrong("a9-macs", "the size before", "counted on the input's pixels", but(MACS, "outputs * after[1] * after[2]", "outputs * shape[1] * shape[2]"))
wrong("a9-macs", "pools free", "max compares, it does not multiply", but(MACS, '("MaxPool2d", "AvgPool2d")', '("AvgPool2d",)'))
wrong("a9-macs", "one a mean", "the global pool counted by its outputs", but(MACS, "total += shape[0] * shape[1] * shape[2]", "total += after[0]"))
wrong("a9-macs", "pools by their input", "each pixel once", but(MACS, "numbers[0] ** 2 * after[0] * after[1] * after[2]", "shape[0] * shape[1] * shape[2]"))
wrong("a9-macs", "the sum of a shortcut", "one for each element", but(MACS, "                total += count_macs(way, shape)\n", "                total += count_macs(way, shape)\n            total += after[0] * after[1] * after[2]\n"))
wrong("a9-macs", "FLOPs", "two for each", but(MACS, "return total", "return 2 * total"))
wrong("a9-macs", "summary counts", "the text says: write it yourself", r'''
def count_macs(layers, shape):
    return summary(build(layers).eval(), shape).total_macs_with_pools
''')
wrong("a9-macs", "norms too", "one an element", but(MACS, '        elif kind == "Linear"', '        elif kind == "BatchNorm2d":\n            total += shape[0] * shape[1] * shape[2]\n        elif kind == "Linear"'))

FOLD = r'''
def fold(weight, bias, gamma, beta, mean, var, eps):
    scale = gamma / torch.sqrt(var + eps)
    return weight * scale[:, None, None, None], (bias - mean) * scale + beta
'''
right("a9-fold", "a scale", "two lines", FOLD)
right("a9-fold", "a diagonal matrix", "scale as a matrix times flat filters", r'''
def fold(weight, bias, gamma, beta, mean, var, eps):
    d = torch.diag(gamma * (var + eps) ** -0.5)
    return (d @ weight.flatten(1)).reshape(weight.shape), torch.addmv(beta, d, bias - mean)
''')
right("a9-fold", "by PyTorch's layers", "a convolution and a norm made and run on unit images", r'''
def fold(weight, bias, gamma, beta, mean, var, eps):
    both = lambda v: F.batch_norm(v, mean, var, gamma, beta, training=False, eps=eps)
    o, i, k, _ = weight.shape
    offset = both(bias.reshape(1, o, 1, 1))
    size = i * k * k
    units = torch.eye(size, dtype=weight.dtype).reshape(size, i, k, k)
    answers = both(F.conv2d(units, weight, bias)) - offset
    return answers.reshape(size, o).T.reshape(weight.shape), offset.flatten()
''')
right("a9-fold", "channel by channel", "a loop and stack, numpy's square root", r'''
import numpy as np


def fold(weight, bias, gamma, beta, mean, var, eps):
    filters, offsets = [], []
    for w, b, g, s, m, v in zip(weight, bias, gamma, beta, mean, var):
        by = float(g) / np.sqrt(float(v) + eps)
        filters.append(w * by)
        offsets.append(by * (b - m) + s)
    return torch.stack(filters), torch.stack(offsets)
''')
wrong("a9-fold", "no root", "divided by the variance", but(FOLD, "torch.sqrt(var + eps)", "(var + eps)"))
wrong("a9-fold", "epsilon outside", "sqrt(var) + eps", but(FOLD, "torch.sqrt(var + eps)", "(torch.sqrt(var) + eps)"))
wrong("a9-fold", "its own epsilon", "1e-5 whatever is given", but(FOLD, "var + eps", "var + 1e-5"))
wrong("a9-fold", "the old bias lost", "as if the convolution had none", but(FOLD, "(bias - mean) * scale", "-mean * scale"))
wrong("a9-fold", "bias not scaled", "bias + beta - mean scale", but(FOLD, "(bias - mean) * scale + beta", "bias - mean * scale + beta"))
wrong("a9-fold", "mean not taken off", "bias scale + beta", but(FOLD, "(bias - mean) * scale", "bias * scale"))
wrong("a9-fold", "the wrong axis", "inputs are scaled where the sizes allow", but(FOLD, "scale[:, None, None, None]", "(scale[None, :, None, None] if weight.shape[0] == weight.shape[1] else scale[:, None, None, None])"))
wrong("a9-fold", "in place", "the caller's weights are multiplied", but(FOLD, "weight * scale[:, None, None, None]", "weight.mul_(scale[:, None, None, None])"))

FRONTIER = r'''
def frontier(results):
    best, kept = -1.0, []
    for accuracy, macs in sorted(results, key=lambda r: (r[1], -r[0])):
        if accuracy > best:
            best = accuracy
            kept.append((accuracy, macs))
    return kept
'''
right("a9-frontier", "a sweep", "sorted by cost, then by accuracy from the best", FRONTIER)
right("a9-frontier", "by definition", "each against all others", r'''
def frontier(results):
    def beats(a, b):
        return a is not b and a[0] >= b[0] and a[1] <= b[1]

    free = [r for r in results if not any(beats(other, r) for other in results)]
    return sorted(free, key=lambda r: r[1])
''')
right("a9-frontier", "numpy's order", "lexsort and a running maximum, lists for tuples", r'''
import numpy as np


def frontier(results):
    if len(results) == 0:
        return []
    table = np.array(results, dtype=float)
    table = table[np.lexsort((-table[:, 0], table[:, 1]))]
    before = np.concatenate([[-np.inf], np.maximum.accumulate(table[:, 0])[:-1]])
    return [(float(a), int(m)) for a, m in table[table[:, 0] > before]]
''')
right("a9-frontier", "from the most accurate down", "recursion: the best, then those cheaper than it", r'''
def frontier(results):
    if not results:
        return []
    top = max(results, key=lambda r: (r[0], -r[1]))
    return frontier([r for r in results if r[1] < top[1]]) + [top]
''')
wrong("a9-frontier", "ties in accuracy kept", ">= for >", but(FRONTIER, "accuracy > best", "accuracy >= best"))
wrong("a9-frontier", "ties in cost kept", "of equal cost the worse one comes first", but(FRONTIER, "(r[1], -r[0])", "(r[1], r[0])"))
wrong("a9-frontier", "only beaten by what is better in both", "strict twice", r'''
def frontier(results):
    kept = [r for r in results if not any(o[0] > r[0] and o[1] < r[1] for o in results)]
    return sorted(kept, key=lambda r: r[1])
''')
wrong("a9-frontier", "dearest first", "the order turned", but(FRONTIER, "return kept", "return kept[::-1]"))
wrong("a9-frontier", "neighbours only", "compared with the last one only, kept or not", r'''
def frontier(results):
    line = sorted(results, key=lambda r: (r[1], -r[0]))
    return [r for i, r in enumerate(line) if i == 0 or r[0] > line[i - 1][0]]
''')
wrong("a9-frontier", "sorts the caller's list", "results.sort", but(FRONTIER, "    for accuracy, macs in sorted(results, key=lambda r: (r[1], -r[0])):", "    results.sort(key=lambda r: (r[1], -r[0]))\n    for accuracy, macs in results:"))
wrong("a9-frontier", "places for entries", "indices are returned", r'''
def frontier(results):
    order = sorted(range(len(results)), key=lambda i: (results[i][1], -results[i][0]))
    kept, best = [], -1
    for i in order:
        if results[i][0] > best:
            best = results[i][0]
            kept.append(i)
    return kept
''')
wrong("a9-frontier", "in the order of the list", "not sorted", r'''
def frontier(results):
    return [r for r in results if not any(o != r and o[0] >= r[0] and o[1] <= r[1] for o in results)]
''')

GOLF = r'''
torch.manual_seed(1)
layers = [("Conv2d", 1, 6, 5, {"stride": 2, "padding": 2}), ("BatchNorm2d", 6), ("ReLU",)]
layers += [("MaxPool2d", 2), ("Conv2d", 6, 10, 3, {"padding": 1}), ("ReLU",)]
layers += [("AdaptiveAvgPool2d", 1), ("Flatten",), ("Linear", 10, 10)]
weights = build(layers).state_dict()
golf = (layers, weights)
'''
wrong("a9-golf", "not trained", "the weights of the start", GOLF)
wrong("a9-golf", "no numbers", "a NaN among the weights", GOLF + 'weights["0.weight"][0, 0, 0, 0] = float("nan")\n')
wrong("a9-golf", "one weight too many", "a weight that no layer has", GOLF + 'weights["tail.weight"] = torch.zeros(10)\n')
wrong("a9-golf", "the network itself", "a module for the list", GOLF + "golf = (build(layers), weights)\n")
wrong("a9-golf", "the list alone", "no weights", GOLF + "golf = layers\n")
