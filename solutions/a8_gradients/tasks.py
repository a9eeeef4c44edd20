"""Tasks of assignment 8: forward, backward, and a network without autograd."""

from functools import cache
from itertools import product

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.assignments.authoring import between, draw
from cnnlab.checks.task import Case, Misconception, Task
from cnnlab.data import mnist

# How one can be seen to have a gradient computed: calls of autograd, and what runs below them.
AUTOGRAD = (
    "backward",
    "grad",
    "vjp",
    "jvp",
    "jacobian",
    "jacrev",
    "jacfwd",
    "requires_grad_",
    "threshold_backward",
    "native_batch_norm_backward",
    "max_pool2d_with_indices_backward",
    "nll_loss_backward",
)

MANY = 16  # images or channels: a loop over them is seen


def _draw(rng, *shape):
    """As `draw`, in double precision."""
    return draw(rng, *shape).double().round(decimals=4)


def _gradients(function, dout, *inputs):
    """What autograd says: the gradients of the sum of ``function(*inputs) * dout``."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    return torch.autograd.grad(function(*leaves), leaves, dout)


def _but(right, forward=None, backward=None):
    """An answer like ``right`` with another forward or another backward."""

    def answer(*args, dout=None):
        if dout is None:
            return (forward or right)(*args)
        return backward(*args, dout) if backward else right(*args, dout=dout)

    return answer


# --- the numerical gradient ---


def _cubic(a, x):
    return (a * x**3).sum() + x.sum() ** 2


def _steps(x, h):
    """For each entry of x its place and a tensor that is h there and 0 elsewhere."""
    for place in product(*map(range, x.shape)):
        step = torch.zeros_like(x)
        step[place] = h
        yield place, step


def _slopes(a, x, h, ahead=1.0, behind=1.0, over=2.0):
    """Differences of values ``ahead`` and ``behind`` by so many h, divided by ``over`` h."""
    found = torch.zeros_like(x)
    for place, step in _steps(x, h):
        difference = _cubic(a, x + ahead * step) - _cubic(a, x - behind * step)
        found[place] = difference / (over * h)
    return found


def _not_put_back(a, x, h):
    x, found = x.clone(), torch.zeros_like(x)
    for place, step in _steps(x, h):
        found[place] = (_cubic(a, x + step) - _cubic(a, x - step)) / (2 * h)
        x = x + step
    return found


def _left_behind(a, x, h):
    x, found = x.clone(), torch.zeros_like(x)
    for place, step in _steps(x, h):
        found[place] = (_cubic(a, x + step) - _cubic(a, x - step)) / (2 * h)
        x = x - step
    return found


def _all_at_once(a, x, h):
    slope = (_cubic(a, x + h) - _cubic(a, x - h)) / (2 * h)
    return torch.full_like(x, slope.item())


def _first_row_only(a, x, h):
    found = torch.zeros_like(x)
    found[:1] = _slopes(a, x, h)[:1]
    return found


def _slopes_cases(rng):
    for shape in ((3,), (1,), (5,)):
        yield Case("a vector", (_draw(rng, *shape), _draw(rng, *shape), 0.5))
    for shape, h in (((2, 3), 0.5), ((3, 2), 0.25), ((2, 1, 2, 2), 0.5)):
        yield Case("more axes", (_draw(rng, *shape), _draw(rng, *shape), h))


NUMERICAL = Task(
    id="a8-numerical",
    kind="function",
    entry="slopes",
    points={"a vector": 4, "more axes": 4},
    reference=_slopes,
    cases=_slopes_cases,
    forbidden=AUTOGRAD,
    misconceptions=(
        Misconception(
            "forward difference",
            lambda a, x, h: _slopes(a, x, h, behind=0.0, over=1.0),
            "Take f a step ahead and a step behind: (f(x + h) - f(x - h)) / 2h.",
        ),
        Misconception(
            "backward difference",
            lambda a, x, h: _slopes(a, x, h, ahead=0.0, over=1.0),
            "Take f a step ahead as well as a step behind: (f(x + h) - f(x - h)) / 2h.",
        ),
        Misconception(
            "divided by h",
            lambda a, x, h: _slopes(a, x, h, over=1.0),
            "The two points lie 2h apart: divide by 2h.",
        ),
        Misconception(
            "not divided",
            lambda a, x, h: 2 * h * _slopes(a, x, h),
            "A slope is the difference of f divided by the way between the points, 2h.",
        ),
        Misconception(
            "multiplied by h / 2",
            lambda a, x, h: h * h * _slopes(a, x, h),
            "`/ 2 * h` divides by 2 and multiplies by h: write `/ (2 * h)`.",
        ),
        Misconception(
            "half a step",
            lambda a, x, h: _slopes(a, x, h, ahead=0.5, behind=0.5),
            "The steps are h long, and the points 2h apart.",
        ),
        Misconception(
            "sign turned",
            lambda a, x, h: -_slopes(a, x, h),
            "The value ahead minus the value behind, not the other way round.",
        ),
        Misconception(
            "entry not put back",
            _not_put_back,
            "Put an entry back before you move the next one: only one of them may be away from x.",
        ),
        Misconception(
            "entry left at the lower value",
            _left_behind,
            "After the step behind, put the entry back to where it was.",
        ),
        Misconception(
            "all entries moved at once",
            _all_at_once,
            "Move one entry at a time: each has a slope of its own.",
        ),
        Misconception(
            "first row only",
            _first_row_only,
            "Go through every entry, whatever number of axes x has.",
        ),
        Misconception(
            "exact slope",
            lambda a, x, h: 3 * a * x**2 + 2 * x.sum(),
            "Here the difference quotient itself is asked, for a step as large as `h` says.",
        ),
    ),
)


# --- the linear layer ---


def _linear(x, weight, bias, dout=None):
    if dout is None:
        return F.linear(x, weight, bias)
    return _gradients(F.linear, dout, x, weight, bias)


def _linear_cases(rng):
    for batch, inputs, outputs in ((3, 4, 2), (1, 3, 5), (2, 3, 3), (MANY, 2, 2)):
        args = (_draw(rng, batch, inputs), _draw(rng, outputs, inputs), _draw(rng, outputs))
        yield Case("forward", args)
    for batch, inputs, outputs in ((3, 4, 2), (4, 2, 5), (3, 3, 3), (1, 3, 2), (MANY, 2, 2)):
        args = (_draw(rng, batch, inputs), _draw(rng, outputs, inputs), _draw(rng, outputs))
        note = "a batch of one" if batch == 1 else ""
        yield Case("backward", args, {"dout": _draw(rng, batch, outputs)}, note)


def _linear_but(change):
    """The linear layer with its gradients changed."""

    def backward(x, weight, bias, dout):
        return change(*_linear(x, weight, bias, dout=dout), x, weight, dout)

    return _but(_linear, backward=backward)


LINEAR = Task(
    id="a8-linear",
    kind="function",
    entry="linear",
    points={"forward": 2, "backward": 6},
    reference=_linear,
    cases=_linear_cases,
    forbidden=(*AUTOGRAD, "loop"),
    misconceptions=(
        Misconception(
            "weight not transposed",
            _but(_linear, lambda x, weight, bias: x @ weight + bias),
            "The weight is (outputs, inputs): x has to meet its transpose.",
        ),
        Misconception(
            "bias left out",
            _but(_linear, lambda x, weight, bias: x @ weight.T),
            "Add the bias to every row.",
        ),
        Misconception(
            "bias not summed over the batch",
            _linear_but(lambda dx, dw, db, x, w, d: (dx, dw, d)),
            "One bias serves every image of the batch: its gradient is the sum over them.",
        ),
        Misconception(
            "bias averaged over the batch",
            _linear_but(lambda dx, dw, db, x, w, d: (dx, dw, d.mean(0))),
            "The gradients of the images are summed; the mean is the loss's business.",
        ),
        Misconception(
            "averaged over the batch",
            _linear_but(lambda dx, dw, db, x, w, d: (dx, dw / len(x), db / len(x))),
            "The gradients of the images are summed; the mean is the loss's business.",
        ),
        Misconception(
            "bias summed over everything",
            _linear_but(lambda dx, dw, db, x, w, d: (dx, dw, d.sum())),
            "Sum over the batch only: every output has a bias of its own.",
        ),
        Misconception(
            "gradient of the weight transposed",
            _linear_but(lambda dx, dw, db, x, w, d: (dx, dw.T, db)),
            "A gradient has the shape of what it belongs to: (outputs, inputs).",
        ),
        Misconception(
            "transposed weight in the gradient of x",
            _linear_but(lambda dx, dw, db, x, w, d: (d @ w.T, dw, db)),
            "Forward multiplies by the transpose of the weight; backward by the weight itself.",
        ),
        Misconception(
            "gradients in another order",
            _linear_but(lambda dx, dw, db, x, w, d: (dw, dx, db)),
            "Return the gradients in the order of the arguments: x, weight, bias.",
        ),
        Misconception(
            "dout ignored",
            _linear_but(lambda dx, dw, db, x, w, d: _linear(x, w, db, dout=torch.ones_like(d))),
            "What comes from above is multiplied by: that is the chain rule.",
        ),
        Misconception(
            "dout missing in the gradient of x",
            _linear_but(lambda dx, dw, db, x, w, d: (w.sum(0).expand_as(x).clone(), dw, db)),
            "What comes from above is multiplied by the weight: that is the chain rule.",
        ),
        Misconception(
            "gradient of one image",
            _linear_but(lambda dx, dw, db, x, w, d: (dx, d[-1:].T @ x[-1:], db)),
            "Every image of the batch adds to the gradient of the weight.",
        ),
    ),
)


# --- ReLU ---


def _relu(x, dout=None):
    if dout is None:
        return x.relu()
    return _gradients(torch.relu, dout, x)[0]


def _relu_cases(rng):
    yield Case("forward", (_draw(rng, 2, 3),))
    yield Case("forward", (_draw(rng, 1, 2, 2, 3),))
    yield Case("forward", (_draw(rng, MANY, 2),))
    for shape in ((3, 4), (2, 2, 2, 3), (1, 5), (MANY, 2)):
        yield Case("backward", (_draw(rng, *shape),), {"dout": _draw(rng, *shape)})
    x = _draw(rng, 2, 4)
    x[0, between(rng, 0, 3)] = x[1, between(rng, 0, 3)] = 0
    yield Case("backward", (x,), {"dout": _draw(rng, 2, 4)}, "some values are exactly 0")


RELU = Task(
    id="a8-relu",
    kind="function",
    entry="relu",
    points={"forward": 1, "backward": 3},
    reference=_relu,
    cases=_relu_cases,
    forbidden=(*AUTOGRAD, "loop"),
    misconceptions=(
        Misconception(
            "absolute value",
            _but(_relu, torch.abs),
            "What is below 0 becomes 0, not positive.",
        ),
        Misconception(
            "mask instead of values",
            _but(_relu, lambda x: (x > 0).to(x.dtype)),
            "What is above 0 stays as it is; 1 is its derivative.",
        ),
        Misconception(
            "a small slope below zero",
            _but(_relu, lambda x: F.leaky_relu(x, 0.01)),
            "What is below 0 becomes 0.",
        ),
        Misconception(
            "gradient passes everywhere",
            _but(_relu, backward=lambda x, dout: dout.clone()),
            "Where x was not positive the output does not change with it: no gradient there.",
        ),
        Misconception(
            "gradient passes at zero",
            _but(_relu, backward=lambda x, dout: dout * (x >= 0)),
            "At exactly 0 the gradient is 0 by the text: the mask is x > 0.",
        ),
        Misconception(
            "gradient masked by itself",
            _but(_relu, backward=lambda x, dout: dout.relu()),
            "The sign of x decides what passes, not that of the gradient.",
        ),
        Misconception(
            "gradient masked twice",
            _but(_relu, backward=lambda x, dout: dout.relu() * (x > 0)),
            "A negative gradient passes as well: only the sign of x decides.",
        ),
        Misconception(
            "gradient times the output",
            _but(_relu, backward=lambda x, dout: dout * x.relu()),
            "The derivative above 0 is 1, not x.",
        ),
        Misconception(
            "dout ignored",
            _but(_relu, backward=lambda x, dout: (x > 0).to(x.dtype)),
            "Multiply the derivative by what comes from above.",
        ),
        Misconception(
            "gradient passes below zero",
            _but(_relu, backward=lambda x, dout: dout * (x <= 0)),
            "The gradient passes where x is above 0, not below.",
        ),
        Misconception(
            "derivative of the absolute value",
            _but(_relu, backward=lambda x, dout: dout * x.sign()),
            "Below 0 the derivative is 0, not -1.",
        ),
    ),
)


# --- softmax and cross-entropy ---


def _cross_entropy(scores, labels, loss=F.cross_entropy):
    leaf = scores.clone().requires_grad_()
    value = loss(leaf, labels)
    return value.item(), torch.autograd.grad(value, leaf)[0]


def _labels(rng, batch, classes):
    return torch.from_numpy(rng.integers(0, classes, batch))


def _hot(scores, labels):
    return F.one_hot(labels, scores.shape[1]).to(scores.dtype)


def _cross_entropy_cases(rng):
    for batch, classes in ((3, 4), (5, 3), (3, 3)):
        yield Case("a batch", (_draw(rng, batch, classes), _labels(rng, batch, classes)))
    for classes in (3, 5):
        yield Case("a batch of one", (_draw(rng, 1, classes), _labels(rng, 1, classes)))
    for shift in (900.0, -900.0):
        scores = _draw(rng, 3, 4) + shift
        yield Case("large scores", (scores, _labels(rng, 3, 4)), note=f"scores around {shift:g}")
    scores = _draw(rng, 3, 4) + torch.tensor([[900.0], [-900.0], [0.0]])
    yield Case("large scores", (scores, _labels(rng, 3, 4)), note="scores around 900, -900 and 0")
    labels = _labels(rng, 3, 4)
    scores = _draw(rng, 3, 4) - 800 * _hot(_draw(rng, 3, 4), labels)
    yield Case("large scores", (scores, labels), note="true classes 800 below the others")


def _loss_and(change):
    """The right loss with a gradient made of the probabilities and the true classes."""

    def answer(scores, labels):
        loss, _ = _cross_entropy(scores, labels)
        return loss, change(scores.softmax(1), _hot(scores, labels), len(scores))

    return answer


def _log_of(change):
    """The right gradient with the logarithm of the probabilities."""

    def answer(scores, labels):
        loss = F.nll_loss(change(scores.softmax(1)).log(), labels)
        return loss.item(), _cross_entropy(scores, labels)[1]

    return answer


def _with_loss(loss):
    return lambda scores, labels: _cross_entropy(scores, labels, loss)


CROSS_ENTROPY = Task(
    id="a8-cross-entropy",
    kind="function",
    entry="cross_entropy",
    points={"a batch": 5, "a batch of one": 1, "large scores": 2},
    reference=_cross_entropy,
    cases=_cross_entropy_cases,
    forbidden=(*AUTOGRAD, "loop"),
    misconceptions=(
        Misconception(
            "sum over the batch",
            _with_loss(lambda s, y: F.cross_entropy(s, y, reduction="sum")),
            "The loss is the mean over the batch, and its gradient is that of a mean.",
        ),
        Misconception(
            "gradient not divided by the batch",
            _loss_and(lambda p, hot, n: p - hot),
            "The loss is a mean over the batch: its gradient is divided by the batch too.",
        ),
        Misconception(
            "loss summed, its gradient averaged",
            lambda s, y: (len(s) * _cross_entropy(s, y)[0], _cross_entropy(s, y)[1]),
            "The loss itself is the mean over the batch as well.",
        ),
        Misconception(
            "divided by all scores",
            _with_loss(lambda s, y: F.cross_entropy(s, y) / s.shape[1]),
            "The mean is over the images; each has one loss, whatever the number of classes.",
        ),
        Misconception(
            "gradient divided by all scores",
            _loss_and(lambda p, hot, n: (p - hot) / p.numel()),
            "Divide by the number of images only.",
        ),
        Misconception(
            "gradient turned",
            _loss_and(lambda p, hot, n: (hot - p) / n),
            "The probabilities minus the 1 of the true class, not the other way round.",
        ),
        Misconception(
            "true class not subtracted",
            _loss_and(lambda p, hot, n: p / n),
            "At the true class 1 is subtracted from the probability.",
        ),
        Misconception(
            "one subtracted everywhere",
            _loss_and(lambda p, hot, n: (p - 1) / n),
            "1 is subtracted at the true class only.",
        ),
        Misconception(
            "gradient at the true class only",
            _loss_and(lambda p, hot, n: (p - hot) * hot / n),
            "The other scores are in the softmax's denominator: they have gradients too.",
        ),
        Misconception(
            "true class only, by the logarithm",
            _loss_and(lambda p, hot, n: -hot / n),
            "The loss is -score + log of the sum of all exponentials: derive both.",
        ),
        Misconception(
            "softmax over the batch",
            _with_loss(lambda s, y: F.nll_loss(s.log_softmax(0), y)),
            "The probabilities of one image sum to 1: the softmax runs along the classes.",
        ),
        Misconception(
            "logarithm to base two",
            _with_loss(lambda s, y: F.cross_entropy(s, y) / 0.6931471805599453),
            "The natural logarithm: `torch.log`.",
        ),
        Misconception(
            "sign of the loss",
            _with_loss(lambda s, y: -F.cross_entropy(s, y)),
            "The loss is minus the logarithm: it is never negative.",
        ),
        Misconception(
            "logarithm of a probability of 0",
            _log_of(lambda p: p),
            "Far below the others, a class gets a probability of exactly 0, which has no "
            "logarithm. Write the logarithm of the fraction as a difference.",
        ),
        Misconception(
            "probability kept above a least one",
            _log_of(lambda p: p.clamp(min=1e-12)),
            "A least probability hides how large the loss is: write the logarithm of the fraction "
            "as a difference.",
        ),
        Misconception(
            "no logarithm",
            _with_loss(lambda s, y: 1 - (s.softmax(1) * _hot(s, y)).sum(1).mean()),
            "Cross-entropy is minus the logarithm of the probability of the true class.",
        ),
    ),
)


# --- convolution ---


def _conv(x, weight, bias, stride, padding, dout=None):
    def forward(x, weight, bias):
        return F.conv2d(x, weight, bias, stride, padding)

    if dout is None:
        return forward(x, weight, bias)
    return _gradients(forward, dout, x, weight, bias)


def _layer(rng, images, filters, stride, padding):
    return (_draw(rng, *images), _draw(rng, *filters), _draw(rng, filters[0]), stride, padding)


def _conv_cases(rng):
    for images, filters, stride, padding in (
        ((2, 2, 4, 5), (3, 2, 3, 2), 1, 0),
        ((1, 1, 3, 3), (2, 1, 2, 2), 1, 1),
        ((2, 2, 6, 5), (2, 2, 3, 3), 2, 1),
        ((1, 2, 5, 5), (1, 2, 1, 1), 3, 0),
        ((MANY, 1, 2, 3), (1, 1, 2, 2), 1, 0),
    ):
        yield Case("forward", _layer(rng, images, filters, stride, padding))
    for part, images, filters, stride, padding in (
        ("backward", (2, 2, 4, 5), (3, 2, 3, 3), 1, 0),
        ("backward", (3, 1, 4, 3), (2, 1, 2, 2), 1, 0),
        ("backward", (1, 2, 4, 4), (2, 2, 2, 3), 1, 0),
        ("backward", (MANY, 1, 2, 3), (1, 1, 2, 2), 1, 0),
        ("backward with padding", (2, 2, 4, 3), (2, 2, 3, 3), 1, 1),
        ("backward with padding", (1, 1, 3, 4), (2, 1, 3, 3), 1, 2),
        ("backward with a stride", (2, 2, 5, 6), (2, 2, 3, 3), 2, 0),
        ("backward with a stride", (2, 1, 7, 5), (2, 1, 3, 3), 3, 1),
        ("backward with a stride", (1, 2, 6, 7), (2, 2, 2, 2), 2, 1),
    ):
        args = _layer(rng, images, filters, stride, padding)
        dout = _draw(rng, *_conv(*args).shape)
        note = "a batch of one" if images[0] == 1 else ""
        yield Case(part, args, {"dout": dout}, note)


def _conv_but(change):
    """Convolution with its gradients changed: ``change(dx, dw, db, *args, dout)``."""
    return _but(_conv, backward=lambda *args: change(*_conv(*args[:-1], dout=args[-1]), *args))


def _conv_of(weights):
    """The gradient of the images that other weights would give."""
    return _conv_but(
        lambda dx, dw, db, x, w, b, s, p, d: (_conv(x, weights(w), b, s, p, dout=d)[0], dw, db)
    )


def _padded(x, weight, bias, stride, padding, dout):
    """The gradients where the padding is not cut from that of the images."""
    return _conv(F.pad(x, [padding] * 4), weight, bias, stride, 0, dout=dout)


def _cut_at_the_end(x, weight, bias, stride, padding, dout):
    dx, dw, db = _padded(x, weight, bias, stride, padding, dout)
    return dx[:, :, : x.shape[2], : x.shape[3]].clone(), dw, db


def _side_by_side(x, weight, bias, stride, padding, dout):
    """Gradients of windows that lie one pixel apart, whatever the stride."""
    spread = torch.zeros_like(_conv(x, weight, bias, 1, padding))
    spread[:, :, : dout.shape[2], : dout.shape[3]] = dout
    return _conv(x, weight, bias, 1, padding, dout=spread)


def _windows_overwritten(x, weight, bias, stride, padding, dout):
    _, dw, db = _conv(x, weight, bias, stride, padding, dout=dout)
    dx = torch.zeros_like(F.pad(x, [padding] * 4))
    height, width = weight.shape[2:]
    for i, j in product(*map(range, dout.shape[2:])):
        rows = slice(i * stride, i * stride + height)
        columns = slice(j * stride, j * stride + width)
        dx[:, :, rows, columns] = torch.einsum("no,ochw->nchw", dout[:, :, i, j], weight)
    cut = dx[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]]
    return cut.clone(), dw, db


def _last_image(x, weight, bias, stride, padding, dout):
    dx, _, db = _conv(x, weight, bias, stride, padding, dout=dout)
    return dx, _conv(x[-1:], weight, bias, stride, padding, dout=dout[-1:])[1], db


CONV_BANK = (
    Misconception(
        "bias left out",
        _but(_conv, lambda x, w, b, s, p: _conv(x, w, None, s, p)),
        "Add to each map the bias of its filter.",
    ),
    Misconception(
        "padding ignored",
        _but(_conv, lambda x, w, b, s, p: _conv(x, w, b, s, 0)),
        "Lay `padding` zeros around the images first.",
    ),
    Misconception(
        "stride ignored",
        _but(_conv, lambda x, w, b, s, p: _conv(x, w, b, 1, p)),
        "The window moves `stride` pixels at a time.",
    ),
    Misconception(
        "kernel turned",
        _but(_conv, lambda x, w, b, s, p: _conv(x, w.flip(-1, -2), b, s, p)),
        "A layer does not turn its kernel on the way forward.",
    ),
    Misconception(
        "kernel not turned on the way back",
        _conv_of(lambda w: w.flip(-1, -2)),
        "Seen as a convolution of `dout`, the way back uses the kernel turned by half a turn.",
    ),
    Misconception(
        "kernel transposed instead of turned",
        _conv_of(lambda w: w.mT.flip(-1, -2)),
        "The kernel is turned by half a turn, `flip(-1, -2)`: rows and columns stay what they are.",
    ),
    Misconception(
        "bias not summed over the batch",
        _conv_but(lambda dx, dw, db, x, w, b, s, p, d: (dx, dw, d.sum((2, 3)))),
        "The bias is added to every image: its gradient is summed over the batch, too.",
    ),
    Misconception(
        "bias not summed over the places",
        _conv_but(lambda dx, dw, db, x, w, b, s, p, d: (dx, dw, d.sum(0))),
        "The bias is added at every place of its map: its gradient is summed over all of them.",
    ),
    Misconception(
        "bias averaged",
        _conv_but(lambda dx, dw, db, x, w, b, s, p, d: (dx, dw, d.mean((0, 2, 3)))),
        "Gradients of what is used many times are summed, not averaged.",
    ),
    Misconception(
        "weight of the last image",
        _but(_conv, backward=_last_image),
        "Every image adds to the gradient of the weight: sum over the batch.",
    ),
    Misconception(
        "weight averaged over the batch",
        _conv_but(lambda dx, dw, db, x, w, b, s, p, d: (dx, dw / len(x), db)),
        "The gradients of the images are summed; the mean is the loss's business.",
    ),
    Misconception(
        "padding not cut",
        _but(_conv, backward=_padded),
        "The gradient of the padding belongs to nobody: cut it off, `dx` has the shape of x.",
    ),
    Misconception(
        "padding cut at one end",
        _but(_conv, backward=_cut_at_the_end),
        "The padding lies on all sides: the images begin at row and column `padding`.",
    ),
    Misconception(
        "stride ignored on the way back",
        _but(_conv, backward=_side_by_side),
        "The gradient at (i, j) belongs to the window that begins at (i * stride, j * stride).",
    ),
    Misconception(
        "windows overwritten",
        _but(_conv, backward=_windows_overwritten),
        "Windows overlap, and a pixel gets something from each: `+=`, not `=`.",
    ),
    Misconception(
        "dout ignored",
        _conv_but(
            lambda dx, dw, db, x, w, b, s, p, d: _conv(x, w, b, s, p, dout=torch.ones_like(d))
        ),
        "Multiply by what comes from above, place by place.",
    ),
)


def _columns(x, weight, stride, padding):
    return F.unfold(x, tuple(weight.shape[2:]), padding=padding, stride=stride)


def _channels_last(x, weight, bias, stride, padding):
    rows = weight.permute(0, 2, 3, 1).flatten(1)
    out = rows @ _columns(x, weight, stride, padding) + bias[:, None]
    return out.reshape(_conv(x, weight, bias, stride, padding).shape)


def _mixed(x, weight, bias, stride, padding, dout):
    dx, _, db = _conv(x, weight, bias, stride, padding, dout=dout)
    columns = _columns(x, weight, stride, padding).transpose(0, 1).flatten(1)
    return dx, (dout.reshape(len(weight), -1) @ columns.T).reshape(weight.shape), db


CONV_PARTS = {
    "forward": 3,
    "backward": 4,
    "backward with padding": 2,
    "backward with a stride": 3,
}
CONV_LOOPS = Task(
    id="a8-conv-loops",
    kind="function",
    entry="conv2d",
    points=CONV_PARTS,
    reference=_conv,
    cases=_conv_cases,
    forbidden=(*AUTOGRAD, "convolution"),
    misconceptions=CONV_BANK,
)


CONV_MATRIX = Task(
    id="a8-conv-matrix",
    kind="function",
    entry="conv2d_fast",
    points=CONV_PARTS,
    reference=_conv,
    cases=_conv_cases,
    forbidden=(*AUTOGRAD, "convolution", "loop"),
    misconceptions=(
        *CONV_BANK,
        Misconception(
            "columns in another order",
            _but(_conv, _channels_last),
            "A column of `unfold` goes channel by channel, row by row, as `weight.flatten(1)`.",
        ),
        Misconception(
            "batch and filters mixed",
            _but(_conv, backward=_mixed),
            "`dout` is (N, O, ...): exchange its first two axes before the batch becomes columns.",
        ),
    ),
)


# --- the largest of a window ---


def _pool(x, size, stride, dout=None):
    if dout is None:
        return F.max_pool2d(x, size, stride)
    return _gradients(lambda x: F.max_pool2d(x, size, stride), dout, x)[0]


def _largest(window):
    return window == window.amax((2, 3), keepdim=True)


def _one(mask, turned=False):
    """The first of the marked places of each window; the last, where turned."""
    flat = mask.flatten(2).flip(-1) if turned else mask.flatten(2)
    flat = flat & (flat.cumsum(-1) == 1)
    return (flat.flip(-1) if turned else flat).view_as(mask)


def _shared(share, keep=lambda before, mask: before):
    """A backward that gives each window's gradient out by ``share(window)``."""

    def backward(x, size, stride, dout):
        dx = torch.zeros_like(x)
        for i, j in product(*map(range, dout.shape[2:])):
            rows, columns = (slice(k * stride, k * stride + size) for k in (i, j))
            window, given = x[:, :, rows, columns], dout[:, :, i, j, None, None]
            part, before = share(window), dx[:, :, rows, columns]
            dx[:, :, rows, columns] = keep(before, part) + part * given
        return dx

    return _but(_pool, backward=backward)


def _pool_cases(rng):
    for shape, size, stride in (((2, 2, 4, 6), 2, 2), ((1, 1, 5, 7), 2, 2), ((1, 2, 5, 6), 3, 2)):
        yield Case("forward", (_draw(rng, *shape), size, stride))
    yield Case("forward", (-_draw(rng, 1, 2, 4, 4).abs(), 2, 2), note="all below 0")
    for part, shape, size, stride in (
        ("backward", (2, 2, 4, 6), 2, 2),
        ("backward", (1, 2, 5, 7), 2, 2),
        ("backward", (1, 1, 7, 8), 2, 3),
        ("windows that overlap", (2, 2, 7, 6), 3, 2),
        ("windows that overlap", (1, 2, 5, 6), 3, 1),
    ):
        x, note = _draw(rng, *shape), "a batch of one" if shape[0] == 1 else ""
        dout = _draw(rng, *_pool(x, size, stride).shape)
        yield Case(part, (x, size, stride), {"dout": dout}, note)
    for shape, size, stride in (((2, 2, 4, 6), 2, 2), ((1, 2, 6, 6), 3, 3)):
        x = torch.from_numpy(rng.integers(0, 3, shape)).double()
        dout = _draw(rng, *_pool(x, size, stride).shape)
        yield Case("equal values", (x, size, stride), {"dout": dout}, "with equal values")


POOL = Task(
    id="a8-max-pool",
    kind="function",
    entry="max_pool",
    points={"forward": 2, "backward": 3, "windows that overlap": 2, "equal values": 1},
    reference=_pool,
    cases=_pool_cases,
    forbidden=AUTOGRAD,
    misconceptions=(
        Misconception(
            "mean of the window",
            _but(_pool, lambda x, size, stride: F.avg_pool2d(x, size, stride)),
            "The largest value of each window, not the mean.",
        ),
        Misconception(
            "smallest of the window",
            _but(_pool, lambda x, size, stride: -F.max_pool2d(-x, size, stride)),
            "The largest value of each window, not the smallest.",
        ),
        Misconception(
            "stride ignored",
            _but(_pool, lambda x, size, stride: F.max_pool2d(x, size, size)),
            "Windows lie `stride` pixels apart, which need not be their size.",
        ),
        Misconception(
            "windows beyond the edge",
            _but(_pool, lambda x, size, stride: F.max_pool2d(x, size, stride, ceil_mode=True)),
            "A window that does not fit into the image is not taken.",
        ),
        Misconception(
            "never below 0",
            _but(_pool, lambda x, size, stride: F.max_pool2d(x, size, stride).clamp(min=0)),
            "The largest value of a window may be below 0: begin with its first, or -infinity.",
        ),
        Misconception(
            "gradient to the whole window",
            _shared(torch.ones_like),
            "Only the largest value of a window reaches the output: only it gets the gradient.",
        ),
        Misconception(
            "gradient averaged over the window",
            _shared(lambda window: torch.full_like(window, 1 / window[0, 0].numel())),
            "That is average pooling: here only the largest value gets the gradient.",
        ),
        Misconception(
            "gradient to all equal values",
            _shared(_largest),
            "Of equal values the first in reading order gets the gradient, and no other.",
        ),
        Misconception(
            "gradient shared among equal values",
            _shared(lambda w: _largest(w) / _largest(w).sum((2, 3), keepdim=True)),
            "Of equal values the first in reading order gets all of it: the text says so.",
        ),
        Misconception(
            "gradient to the last of equal values",
            _shared(lambda window: _one(_largest(window), turned=True)),
            "Of equal values the first in reading order gets the gradient: the text says so.",
        ),
        Misconception(
            "windows overwritten",
            _shared(lambda window: _one(_largest(window)), lambda before, mask: 0 * before),
            "Where windows overlap a pixel gets something from each: `+=`, not `=`.",
        ),
        Misconception(
            "place overwritten",
            _shared(lambda window: _one(_largest(window)), lambda before, mask: before * ~mask),
            "A pixel that is the largest of two windows gets the sum of both gradients.",
        ),
        Misconception(
            "gradient times the value",
            _shared(lambda window: _one(_largest(window)) * window),
            "The derivative of the largest value by itself is 1.",
        ),
        Misconception(
            "dout ignored",
            _but(
                _pool,
                backward=lambda x, size, stride, dout: _pool(
                    x, size, stride, dout=torch.ones_like(dout)
                ),
            ),
            "Multiply by what comes from above.",
        ),
    ),
)


# --- batch normalization ---


def _norm(x, gamma, beta, mean, var, training, dout=None):
    mean, var = mean.clone(), var.clone()

    def forward(x, gamma, beta):
        return F.batch_norm(x, mean, var, gamma, beta, training, 0.1, 1e-5)

    if dout is None:
        return forward(x, gamma, beta), mean, var
    return _gradients(forward, dout, x, gamma, beta)


def _wide(vector):
    return vector[:, None, None]


def _by_hand(axes=(0, 2, 3), spread=0, kept=1, old=0.9, root=lambda v: (v + 1e-5).sqrt()):
    """A forward with the batch's statistics along ``axes``, ``spread`` and ``kept`` corrected."""

    def forward(x, gamma, beta, mean, var, training):
        if not training:
            out = _wide(gamma) * (x - _wide(mean)) / root(_wide(var)) + _wide(beta)
            return out, mean.clone(), var.clone()
        centre = x.mean(axes, keepdim=True)
        width = root(x.var(axes, correction=spread, keepdim=True))
        new = (x.mean((0, 2, 3)), x.var((0, 2, 3), correction=kept))
        running = (old * a + (1 - old) * b for a, b in zip((mean, var), new, strict=True))
        return _wide(gamma) * (x - centre) / width + _wide(beta), *running

    return _but(_norm, forward)


def _swapped(when):
    """A forward that takes one mode for the other where the mode is ``when``."""

    def forward(x, gamma, beta, mean, var, training):
        _, *running = _norm(x, gamma, beta, mean, var, training)
        other = training if training != when else not training
        return _norm(x, gamma, beta, mean, var, other)[0], *running

    return _but(_norm, forward)


def _statistics_unmoved(x, gamma, beta, mean, var, training):
    return _norm(x, gamma, beta, mean, var, training)[0], mean.clone(), var.clone()


def _norm_but(change, mode=(True, False)):
    """Batch norm with its gradients changed in the given modes.

    ``change(dx, dgamma, dbeta, x, dout, normal, slope)``, where ``normal`` is the normalized input
    and ``slope`` what the batch's deviation divides ``gamma`` by.
    """

    def backward(x, gamma, beta, mean, var, training, dout):
        found = _norm(x, gamma, beta, mean, var, training, dout=dout)
        if training not in mode:
            return found
        if training:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        width = _wide(var + 1e-5).sqrt()
        return change(*found, x, dout, (x - _wide(mean)) / width, _wide(gamma) / width)

    return _but(_norm, backward=backward)


def _mean(tensor):
    return tensor.mean((0, 2, 3), keepdim=True)


def _other_mode(mode):
    def backward(x, gamma, beta, mean, var, training, dout):
        right = _norm(x, gamma, beta, mean, var, training, dout=dout)
        other = _norm(x, gamma, beta, mean, var, not training, dout=dout)
        return (other[0], *right[1:]) if training == mode else right

    return _but(_norm, backward=backward)


def _without_gamma(x, gamma, *more):
    *more, dout = more
    right = _norm(x, gamma, *more, dout=dout)
    return _norm(x, torch.ones_like(gamma), *more, dout=dout)[0], *right[1:]


def _norm_cases(rng):
    for part, training in (("training", True), ("evaluation", False)):
        for way in ("forward", "backward"):
            for shape in ((3, 2, 2, 3), (1, 3, 3, 3), (4, 2, 1, 2), (MANY, MANY, 1, 1)):
                channels = shape[1]
                x = _draw(rng, *shape) + _wide(_draw(rng, channels))
                x[:, 0] *= 0.01
                var = _draw(rng, channels).abs() + 0.5
                var[0] *= 1e-4
                vectors = (_draw(rng, channels) for _ in range(3))
                args = (x, *vectors, var, training)
                more = {"dout": _draw(rng, *shape)} if way == "backward" else {}
                note = "a channel that hardly varies"
                yield Case(f"{way} in {part}", args, more, note)


NORM = Task(
    id="a8-batch-norm",
    kind="function",
    entry="batch_norm",
    points={
        "forward in training": 3,
        "backward in training": 5,
        "forward in evaluation": 1,
        "backward in evaluation": 3,
    },
    reference=_norm,
    cases=_norm_cases,
    forbidden=(*AUTOGRAD, "loop"),
    misconceptions=(
        Misconception(
            "statistics of the batch in evaluation",
            _swapped(False),
            "In evaluation the running mean and variance are used, not those of the batch.",
        ),
        Misconception(
            "running statistics in training",
            _swapped(True),
            "In training the mean and variance of the batch are used.",
        ),
        Misconception(
            "running statistics not moved",
            _but(_norm, _statistics_unmoved),
            "In training the running statistics move: return 0.9 of the old and 0.1 of the new.",
        ),
        Misconception(
            "running statistics moved too far",
            _by_hand(old=0.1),
            "0.9 of the old and 0.1 of the new, not the other way round.",
        ),
        Misconception(
            "normalized by the corrected variance",
            _by_hand(spread=1),
            "What normalizes is the mean of the squares: `correction=0`. Only the running variance "
            "has n - 1.",
        ),
        Misconception(
            "running variance not corrected",
            _by_hand(kept=0),
            "The running variance takes the variance with n - 1, `correction=1`.",
        ),
        Misconception(
            "epsilon left out",
            _by_hand(root=torch.sqrt),
            "1e-5 is added to the variance.",
        ),
        Misconception(
            "epsilon outside the root",
            _by_hand(root=lambda v: v.sqrt() + 1e-5),
            "1e-5 is added to the variance, under the root.",
        ),
        Misconception(
            "statistics of each place",
            _by_hand(axes=0),
            "A channel has one mean and one variance, over the images and all places.",
        ),
        Misconception(
            "statistics of each image",
            _by_hand(axes=(2, 3)),
            "Mean and variance are those of the batch, over the images too.",
        ),
        Misconception(
            "mean's path left out",
            _norm_but(
                lambda dx, dg, db, x, d, n, slope: (slope * (d - n * _mean(d * n)), dg, db), (True,)
            ),
            "The mean depends on every x of its channel: it takes the mean of `dout` off.",
        ),
        Misconception(
            "variance's path left out",
            _norm_but(lambda dx, dg, db, x, d, n, slope: (slope * (d - _mean(d)), dg, db), (True,)),
            "The variance depends on every x of its channel, too.",
        ),
        Misconception(
            "mean and variance taken for constants",
            _norm_but(lambda dx, dg, db, x, d, n, slope: (slope * d, dg, db), (True,)),
            "Mean and variance depend on x: the gradient goes through them as well.",
        ),
        Misconception(
            "running statistics in the gradient",
            _other_mode(True),
            "In training the output does not depend on the running statistics at all: its gradient "
            "cannot either.",
        ),
        Misconception(
            "gradient of training in evaluation",
            _other_mode(False),
            "In evaluation mean and variance are constants: x is only scaled.",
        ),
        Misconception(
            "gamma missing in the gradient of x",
            _but(_norm, backward=_without_gamma),
            "The normalized x was multiplied by gamma: so is its gradient.",
        ),
        Misconception(
            "gradient of gamma from x itself",
            _norm_but(lambda dx, dg, db, x, d, n, slope: (dx, (d * x).sum((0, 2, 3)), db)),
            "gamma is multiplied by the *normalized* x.",
        ),
        Misconception(
            "gradients of gamma and beta averaged",
            _norm_but(
                lambda dx, dg, db, x, d, n, slope: (dx, (d * n).mean((0, 2, 3)), d.mean((0, 2, 3)))
            ),
            "gamma and beta are used at every place: their gradients are summed.",
        ),
        Misconception(
            "gradients of gamma and beta summed over the batch only",
            _norm_but(lambda dx, dg, db, x, d, n, slope: (dx, (d * n).sum(0), d.sum(0))),
            "gamma and beta serve all places of their channel: sum over these, too.",
        ),
    ),
)


# --- gradient descent with momentum ---


def _momentum(weights, gradients, velocities, rate, momentum):
    new = [momentum * v + g for v, g in zip(velocities, gradients, strict=True)]
    return [w - rate * v for w, v in zip(weights, new, strict=True)], new


def _momentum_cases(rng):
    for part, shapes in (
        ("the first step", ((2, 3), (3,))),
        ("the first step", ((4,),)),
        ("later steps", ((2, 3), (3,), (1, 2, 2))),
        ("later steps", ((3, 2),)),
        ("later steps", ((2,), (2, 2))),
    ):
        weights, gradients, velocities = ([_draw(rng, *s) for s in shapes] for _ in range(3))
        if part == "the first step":
            velocities = [torch.zeros_like(v) for v in velocities]
        rate, momentum = between(rng, 1, 8) / 20, between(rng, 60, 95) / 100
        yield Case(part, (weights, gradients, velocities, rate, momentum))


def _each(step):
    """An answer that does ``step(w, g, v, rate, momentum)``, giving (w, v), to each weight."""

    def answer(weights, gradients, velocities, rate, momentum):
        found = [
            step(*each, rate, momentum) for each in zip(weights, gradients, velocities, strict=True)
        ]
        return [w for w, _ in found], [v for _, v in found]

    return answer


MOMENTUM = Task(
    id="a8-momentum",
    kind="function",
    entry="momentum_step",
    points={"the first step": 2, "later steps": 2},
    reference=_momentum,
    cases=_momentum_cases,
    forbidden=("SGD", *AUTOGRAD),
    misconceptions=(
        Misconception(
            "uphill",
            _each(lambda w, g, v, r, m: (w + r * (m * v + g), m * v + g)),
            "Subtract: the gradient points to where the loss grows.",
        ),
        Misconception(
            "momentum ignored",
            _each(lambda w, g, v, r, m: (w - r * g, g.clone())),
            "The velocity keeps `momentum` of what it was.",
        ),
        Misconception(
            "velocity not moved before the step",
            _each(lambda w, g, v, r, m: (w - r * v, m * v + g)),
            "First the velocity takes the gradient up, then the weights move with it.",
        ),
        Misconception(
            "velocity not kept",
            _each(lambda w, g, v, r, m: (w - r * (m * v + g), v.clone())),
            "Return the new velocity: the next step begins with it.",
        ),
        Misconception(
            "rate in the velocity",
            _each(lambda w, g, v, r, m: (w - (m * v + r * g), m * v + r * g)),
            "The velocity takes the gradient as it is; the rate multiplies the step.",
        ),
        Misconception(
            "gradient weakened",
            _each(lambda w, g, v, r, m: (w - r * (m * v + (1 - m) * g), m * v + (1 - m) * g)),
            "The gradient is added in full, as torch.optim.SGD does it: no factor 1 - momentum.",
        ),
        Misconception(
            "gradient multiplied by the momentum",
            _each(lambda w, g, v, r, m: (w - r * m * (v + g), m * (v + g))),
            "The momentum multiplies the old velocity only.",
        ),
        Misconception(
            "Nesterov's step",
            _each(lambda w, g, v, r, m: (w - r * (g + m * (m * v + g)), m * v + g)),
            "The weights move by the velocity itself: that was Nesterov's momentum.",
        ),
        Misconception(
            "velocity added in full",
            _each(lambda w, g, v, r, m: (w - r * (v + g), v + g)),
            "The velocity keeps only `momentum` of what it was.",
        ),
        Misconception(
            "rate left out",
            _each(lambda w, g, v, r, m: (w - (m * v + g), m * v + g)),
            "The step is the velocity times the rate.",
        ),
        Misconception(
            "velocity subtracts the gradient",
            _each(lambda w, g, v, r, m: (w - r * (m * v - g), m * v - g)),
            "The velocity adds the gradient; the minus stands before the step.",
        ),
        Misconception(
            "velocities first",
            lambda *args: _momentum(*args)[::-1],
            "Return the new weights first, then the velocities.",
        ),
    ),
)


# --- LeNet ---

NAMES = tuple(
    f"{layer}.{kind}"
    for layer in ("conv1", "conv2", "fc1", "fc2", "fc3")
    for kind in ("weight", "bias")
)


def _scores(
    images,
    weights,
    first=torch.relu,
    act=torch.relu,
    pool=F.max_pool2d,
    flat=lambda x: x.flatten(1),
    end=lambda x: x,
):
    conv1, conv2, fc1, fc2, fc3 = (
        (weights[f"{layer}.weight"], weights[f"{layer}.bias"])
        for layer in ("conv1", "conv2", "fc1", "fc2", "fc3")
    )
    x = pool(first(F.conv2d(images, *conv1, padding=2)), 2)
    x = flat(pool(first(F.conv2d(x, *conv2)), 2))
    return end(F.linear(act(F.linear(act(F.linear(x, *fc1)), *fc2)), *fc3))


def _lenet(images, weights, labels=None, loss=F.cross_entropy, **steps):
    if labels is None:
        return _scores(images, weights, **steps)
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in weights.items()}
    value = loss(_scores(images, leaves, **steps), labels)
    found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    pairs = zip(leaves.items(), found, strict=True)
    return value.item(), {n: torch.zeros_like(w) if g is None else g for (n, w), g in pairs}


def _lenet_weights(rng, height, width, channels=(2, 2), hidden=(6, 5), classes=3):
    first, second = channels
    flat = second * ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2)
    shapes = [(first, 1, 5, 5), (second, first, 5, 5)]
    shapes += [(o, i) for i, o in zip((flat, *hidden), (*hidden, classes), strict=True)]
    weights = {}
    for name, shape in zip(NAMES[::2], shapes, strict=True):
        drawn = _draw(rng, *shape)
        weights[name] = drawn * (2 / drawn[0].numel()) ** 0.5
        weights[name.replace("weight", "bias")] = 0.2 * _draw(rng, shape[0]).abs()
    return weights


def _lenet_cases(rng):
    for batch, height, width in ((2, 12, 12), (1, 13, 16), (3, 16, 12)):
        weights = _lenet_weights(rng, height, width)
        yield Case("scores", (_draw(rng, batch, 1, height, width), weights))
    for batch, height, width in ((4, 12, 16), (1, 13, 15), (3, 18, 12)):
        weights = _lenet_weights(rng, height, width)
        images, labels = _draw(rng, batch, 1, height, width), _labels(rng, batch, 3)
        note = "a batch of one" if batch == 1 else ""
        yield Case("loss and gradients", (images, weights), {"labels": labels}, note)
    # Small numbers, so that a pool has its winner among values between 0 and 1.
    weights = _lenet_weights(rng, 12, 14)
    weights = {n: 0.3 * w if n.startswith("conv") else w for n, w in weights.items()}
    images, labels = _draw(rng, 4, 1, 12, 14), _labels(rng, 4, 3)
    yield Case("loss and gradients", (images, weights), {"labels": labels}, "small weights")


def _lenet_forward(**steps):
    def answer(images, weights, labels=None):
        if labels is None:
            return _scores(images, weights, **steps)
        return _lenet(images, weights, labels)

    return answer


def _lenet_backward(change=lambda gradients: gradients, **steps):
    """Scores and loss are right; the gradients are those of other steps, changed."""

    def answer(images, weights, labels=None):
        if labels is None:
            return _scores(images, weights)
        loss, _ = _lenet(images, weights, labels)
        return loss, change(_lenet(images, weights, labels, **steps)[1])

    return answer


def _through(forward, backward):
    """The value of ``forward`` with the gradient of ``backward``."""
    return lambda *args: backward(*args) + (forward(*args) - backward(*args)).detach()


def _summed(scores, labels):
    return F.cross_entropy(scores, labels, reduction="sum")


LENET = Task(
    id="a8-lenet",
    kind="function",
    entry="lenet",
    points={"scores": 3, "loss and gradients": 7},
    reference=_lenet,
    cases=_lenet_cases,
    forbidden=(*AUTOGRAD, "convolution"),
    misconceptions=(
        Misconception(
            "no ReLU after the convolutions",
            _lenet_forward(first=lambda x: x),
            "A ReLU follows each convolution.",
        ),
        Misconception(
            "no ReLU between the linear layers",
            _lenet_forward(act=lambda x: x),
            "A ReLU follows fc1 and fc2.",
        ),
        Misconception(
            "ReLU at the end",
            _lenet_forward(end=torch.relu),
            "Scores may be negative: no ReLU after fc3.",
        ),
        Misconception(
            "softmax at the end",
            _lenet_forward(end=lambda x: x.softmax(1)),
            "Return scores; the softmax is a part of the loss.",
        ),
        Misconception(
            "average pooling",
            _lenet_forward(pool=F.avg_pool2d),
            "This LeNet takes the largest of each window.",
        ),
        Misconception(
            "flattened channels last",
            _lenet_forward(flat=lambda x: x.permute(0, 2, 3, 1).flatten(1)),
            "Flatten (N, C, H, W) as it lies: channel by channel.",
        ),
        Misconception(
            "ReLU's gradient left out after the convolutions",
            _lenet_backward(first=_through(torch.relu, lambda x: x)),
            "On the way back, too, a ReLU stands before each convolution: mask the gradient.",
        ),
        Misconception(
            "ReLU's gradient left out between the linear layers",
            _lenet_backward(act=_through(torch.relu, lambda x: x)),
            "On the way back the gradient passes the ReLUs of fc2 and fc1: mask it there.",
        ),
        Misconception(
            "pool's gradient spread",
            _lenet_backward(pool=_through(F.max_pool2d, F.avg_pool2d)),
            "The gradient goes back to the largest of each window only.",
        ),
        Misconception(
            "convolutions not reached",
            _lenet_backward(flat=lambda x: x.flatten(1).detach()),
            "Go on below the linear layers: unflatten `dx` and take it through the pools and "
            "convolutions.",
        ),
        Misconception(
            "gradient unflattened channels last",
            _lenet_backward(
                flat=_through(lambda x: x.flatten(1), lambda x: x.permute(0, 2, 3, 1).flatten(1))
            ),
            "Give the gradient the shape that the maps had: a reshape, without a permutation.",
        ),
        Misconception(
            "gradients summed over the batch",
            _lenet_backward(loss=_summed),
            "The loss is a mean: begin with the gradient that `cross_entropy` gives.",
        ),
        Misconception(
            "biases without a gradient",
            _lenet_backward(
                lambda found: {
                    n: torch.zeros_like(g) if n.endswith("bias") else g for n, g in found.items()
                }
            ),
            "The biases learn as well.",
        ),
        Misconception(
            "gradients turned",
            _lenet_backward(lambda found: {n: -g for n, g in found.items()}),
            "Return the gradients themselves; the minus belongs to the step.",
        ),
    ),
)


# --- trained ---


def lenet_of_layers():
    """LeNet of PyTorch's layers, as the notebook hands it in."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


@cache
def _trained():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network, train = lenet_of_layers(), mnist("train")
        optimizer = torch.optim.SGD(network.parameters(), 0.05, 0.9)
        for _ in range(4):
            for batch in torch.randperm(len(train)).split(32):
                optimizer.zero_grad()
                F.cross_entropy(network(train.images[batch]), train.labels[batch]).backward()
                optimizer.step()
    return network.eval()


def _train_cases(rng):
    test = mnist("test")
    chosen = rng.permutation(len(test))[:500]
    # Half precision is all that the student's edition keeps of the images.
    yield Case("very good", (test.images[chosen].half().float(), test.labels[chosen]))


TRAIN = Task(
    id="a8-train",
    kind="weights",
    entry="network",
    points={"better than guessing": 2, "good": 2, "very good": 2},
    bands={"better than guessing": 0.5, "good": 0.8, "very good": 0.9},
    structure=("convolutions",),
    reference=_trained,
    cases=_train_cases,
)

TASKS = (
    NUMERICAL,
    LINEAR,
    RELU,
    CROSS_ENTROPY,
    CONV_LOOPS,
    CONV_MATRIX,
    POOL,
    NORM,
    MOMENTUM,
    LENET,
    TRAIN,
)
