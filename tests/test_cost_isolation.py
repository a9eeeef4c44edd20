"""A model that has been summarised is the model that it was: it is compared with its twin."""
# ruff: noqa: NPY002

import copy
import gc
import random
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from cnnlab.cost import Row, Summary, summary
from cnnlab.tracing.trace import Node, Op, ShapeTensor, Trace


def conv():
    return nn.Conv2d(3, 4, 3, padding=1)


class Keeper(nn.Module):
    """Keeps what it computes in a place of its own, in whatever way ``keep`` says."""

    def __init__(self, keep, **attributes):
        super().__init__()
        self.keep = keep
        self.conv = conv()
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        y = self.conv(x)
        self.keep(self, y)
        return y


@dataclass
class Store:
    items: list = field(default_factory=list)
    latest: object = None


class Slots:
    __slots__ = ("inside",)

    def __init__(self):
        self.inside = {"list": [1]}


class OfTheClass(nn.Module):
    seen: list = []  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, x):
        y = self.conv(x)
        self.seen.append(y)
        return y


def with_hook(store):
    model = nn.Sequential(conv(), nn.ReLU())
    model[0].register_forward_hook(lambda module, args, output: store.append(output))
    return model


def with_object_hook():
    class Recorder:
        def __init__(self):
            self.outputs = []

        def hook(self, module, args, output):
            self.outputs.append(output)

    model = nn.Sequential(conv(), nn.ReLU())
    model[1].register_forward_hook(Recorder().hook)
    return model


class InstallsHooks(nn.Module):
    """Records its hidden states with hooks that it installs in its forward pass."""

    def __init__(self, removes):
        super().__init__()
        self.body = nn.Sequential(conv(), nn.ReLU(), nn.Conv2d(4, 3, 1))
        self.removes = removes

    def forward(self, x):
        states = []
        handles = [
            layer.register_forward_hook(lambda module, args, output: states.append(output))
            for layer in self.body
        ]
        y = self.body(x)
        if self.removes:
            for handle in handles:
                handle.remove()
        return y, states


class Patched(nn.Module):
    """A submodule whose forward was replaced by a closure over the old one."""

    def __init__(self):
        super().__init__()
        self.conv = conv()
        before, calls = self.conv.forward, []

        def forward(x):
            calls.append(before(x))
            return calls[-1]

        self.conv.forward, self.calls = forward, calls

    def forward(self, x):
        return self.conv(x)


class Cycle(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv()
        self.plain = [self, {"again": self.conv}]

    def forward(self, x):
        self.plain[1]["y"] = self.plain[1]["again"](x)
        return self.plain[1]["y"]


class Statistics(nn.Module):
    """Changes buffers, parameters, its mode and the random state."""

    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(3)
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("table", torch.zeros(4, 4))
        self.plain = torch.zeros(3)
        self.array = np.zeros(2)
        self.count = 0

    def forward(self, x):
        self.count += 1
        self.calls += 1
        self.table.view(-1)[2] = 5
        self.table[0].add_(1)
        self.plain.add_(x.mean((0, 2, 3)))
        self.array[0] += 1
        with torch.no_grad():
            self.scale.mul_(2)
            self.scale.data.add_(1)
        torch.rand(2), random.random(), np.random.rand()
        y = self.bn(nn.functional.dropout(x)) * self.scale
        self.train(not self.training)
        return y


ODD = {
    "dict": lambda: Keeper(lambda m, y: m.cache.update(a=y, w=m.conv.weight.sum()), cache={}),
    "list": lambda: Keeper(lambda m, y: m.acts.append(y), acts=[]),
    "deque": lambda: Keeper(lambda m, y: m.acts.append(y), acts=deque(maxlen=2)),
    "OrderedDict": lambda: Keeper(lambda m, y: m.d.update(a=y), d=OrderedDict()),
    "set": lambda: Keeper(lambda m, y: m.s.add(y), s=set()),
    "nested": lambda: Keeper(lambda m, y: m.t[0]["x"][0].append(y), t=({"x": [[]]},)),
    "object": lambda: Keeper(lambda m, y: m.store.items.append(y), store=Store()),
    "attribute": lambda: Keeper(lambda m, y: setattr(m.store, "latest", y), store=Store()),
    "slots": lambda: Keeper(lambda m, y: m.store.inside["list"].append(y), store=Slots()),
    "submodule": lambda: Keeper(lambda m, y: setattr(m.conv, "last", y)),
    "new module": lambda: Keeper(lambda m, y: m.add_module("late", nn.ReLU())),
    "new buffer": lambda: Keeper(lambda m, y: m.register_buffer("late", y)),
    "replaced": lambda: Keeper(lambda m, y: setattr(m, "conv", nn.Identity())),
    "unregistered": lambda: Keeper(lambda m, y: m.plain[0](y).sum(), plain=[nn.Conv2d(4, 4, 1)]),
    "weight": lambda: Keeper(lambda m, y: setattr(m.conv.weight, "data", m.conv.weight * 2)),
    "class": OfTheClass,
    "hook": lambda: with_hook([]),
    "object's hook": with_object_hook,
    "installs hooks": lambda: InstallsHooks(removes=False),
    "removes hooks": lambda: InstallsHooks(removes=True),
    "patched": Patched,
    "cycle": Cycle,
    "statistics": Statistics,
}


def everything(model):
    """What can be reached from a model: its state, and all containers with what is in them."""
    seen, found, todo = set(), [], [model, *type(model).__mro__[:1]]
    while todo:
        value = todo.pop()
        if id(value) in seen or isinstance(value, (str, bytes, int, float, np.ndarray)):
            continue
        seen.add(id(value))
        found.append(value)
        if isinstance(value, dict):
            todo += value.values()
        elif isinstance(value, (list, tuple, set, deque)):
            todo += value
        elif callable(value) and getattr(value, "__closure__", None):
            todo += [cell.cell_contents for cell in value.__closure__]
        if hasattr(value, "__self__") and not isinstance(value.__self__, type(copy)):
            todo.append(value.__self__)
        if hasattr(value, "__slots__") and isinstance(value, Slots):
            todo.append(value.inside)
        if hasattr(value, "__dict__") and not isinstance(value, type(copy)):
            todo += dict(vars(value)).values()
    return found


def assert_unharmed(model, twin, run, call):
    """The model is like its twin that was never summarised, in state and in what it does."""
    before = [id(value) for value in everything(model)]
    sizes = [len(v) for v in everything(model) if isinstance(v, (dict, list, set, deque))]
    hooks = [len(m._forward_hooks) for m in model.modules()]
    state = copy.deepcopy(model.state_dict())
    versions = [t._version for t in model.state_dict(keep_vars=True).values()]
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    rng = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    mode = [m.training for m in model.modules()]
    run(model)
    assert torch.equal(torch.get_rng_state(), rng[0]) and random.getstate() == rng[1]
    assert np.random.get_state()[1].tolist() == rng[2]
    reached = everything(model)
    assert not any(isinstance(value, ShapeTensor) for value in reached)
    assert not any(type(v).__module__.startswith("cnnlab.cost") for v in reached)
    assert sorted(map(id, reached)) == sorted(before)
    assert [len(v) for v in reached if isinstance(v, (dict, list, set, deque))] == sizes
    assert [len(m._forward_hooks) for m in model.modules()] == hooks
    assert [m.training for m in model.modules()] == mode
    after = model.state_dict()
    assert list(after) == list(state) and all(torch.equal(after[k], state[k]) for k in state)
    assert [t._version for t in model.state_dict(keep_vars=True).values()] == versions
    copy.deepcopy(model)
    torch.manual_seed(5)
    got = call(model)
    torch.manual_seed(5)
    expected = call(twin)
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("values", [None, True], ids=["shapes", "values"])
@pytest.mark.parametrize("name", ODD)
def test_odd_models(name, values):
    torch.manual_seed(0)
    model = ODD[name]()
    torch.manual_seed(0)
    twin = ODD[name]()
    x = torch.ones(2, 3, 6, 6)
    assert_unharmed(model, twin, lambda m: summary(m, x, values=values), lambda m: m(x))


@pytest.mark.parametrize("name", ODD)
def test_odd_models_after_an_error(name):
    torch.manual_seed(0)
    model = nn.Sequential(OrderedDict(odd=ODD[name](), wrong=nn.Linear(7, 7)))
    torch.manual_seed(0)
    twin = nn.Sequential(OrderedDict(odd=ODD[name](), wrong=nn.Linear(7, 7)))
    x = torch.ones(2, 3, 6, 6)

    def run(m):
        with pytest.raises(ValueError):
            summary(m, x)

    assert_unharmed(model, twin, run, lambda m: m[0](x))


@pytest.mark.parametrize(
    "name", ["resnet18", "densenet121", "googlenet", "mobilenet_v3_small", "shufflenet_v2_x0_5",
             "vit_b_32", "swin_t", "maxvit_t"],
)  # fmt: skip
def test_zoo(name):
    options = {"init_weights": False} if name == "googlenet" else {}
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, **options).eval()
    twin = copy.deepcopy(model)
    x = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        assert_unharmed(model, twin, lambda m: summary(m, (3, 224, 224)), lambda m: m(x))


class Noting(nn.Module):
    """Keeps what it makes in a list that it shares with others."""

    def __init__(self, notes):
        super().__init__()
        self.notes, self.layer = notes, conv()

    def forward(self, x):
        self.notes.append(self.layer(x))


class Notes(nn.Module):
    def __init__(self):
        super().__init__()
        self.notes = []
        self.parts = nn.ModuleList([Noting(self.notes), Noting(self.notes)])

    def forward(self, x):
        for part in self.parts:
            part(x)
        return torch.cat(self.notes, 1)


def test_an_empty_list_that_modules_share_is_shared_in_the_double():
    model = Notes()
    result = summary(model, (3, 8, 8))
    assert result.output_shape == (1, 8, 8, 8) and model.notes == []


def looked_at(m):
    assert type(m) is nn.Conv2d
    return copy.deepcopy(m)


LOOKS = {
    "attribute": (lambda m, x: m(x)[..., :: m.stride[0]], (6, 6)),
    "weight": (lambda m, x: m(x) + m.weight.sum(), (6, 6)),
    "changed": (lambda m, x: setattr(m, "stride", (2, 2)) or m(x), (3, 3)),
    "removed": (lambda m, x: delattr(m, "bias") or m.register_parameter("bias", None) or m(x),
                (6, 6)),
    "variables": (lambda m, x: vars(m).update(stride=(3, 3)) or m(x), (2, 2)),
    "copied": (lambda m, x: looked_at(m)(x), (6, 6)),
    "hooked": (lambda m, x: m.register_forward_hook(lambda *a: a[2][..., 1:]) and m(x), (6, 5)),
    "by name": (lambda m, x: m(input=x), (6, 6)),
    "its forward": (lambda m, x: m.forward(x), (6, 6)),
    "replaced": (lambda m, x: setattr(m, "forward", lambda x: x[..., 2:]) or m(x), (6, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOKS)
def test_a_layer_is_what_it_is_however_it_is_looked_at(name):
    look, size = LOOKS[name]

    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv()

        def forward(self, x):
            return look(self.conv, x)

    model, twin = Looks(), conv()
    twin.load_state_dict(model.conv.state_dict())
    x = torch.ones(1, 3, 6, 6)
    result = summary(model, x)
    assert result.output_shape[2:] == size == tuple(copy.deepcopy(model)(x).shape[2:])
    assert model.conv.stride == (1, 1) and "forward" not in vars(model.conv)
    assert not model.conv._forward_hooks and type(model.conv) is nn.Conv2d
    torch.testing.assert_close(model.conv(x), twin(x), rtol=0, atol=0)


def test_a_summary_that_is_dropped_is_gone_at_once():
    """Without the garbage collector: nothing of it refers to itself."""
    model = nn.Sequential(conv(), nn.Sequential(nn.ReLU(), nn.Flatten()), nn.Linear(256, 2))

    def alive():
        return sum(type(o) in (Node, Op, Row, Summary, Trace) for o in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = alive()
        assert summary(model, (3, 8, 8)).rows
        assert alive() == before
    finally:
        gc.enable()


def test_hooks_run_as_in_a_forward_pass():
    """They see and change what goes in and comes out, of every kind of module."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(nn.ReLU()), nn.Conv2d(8, 2, 1))
    model[0].register_forward_pre_hook(lambda module, args: (args[0][:, :3],))
    model[1].register_forward_hook(lambda module, args, output: output.repeat(1, 2, 1, 1)[:, ::2])
    model[2].register_forward_hook(lambda module, args, output: output.mean((2, 3)))
    x = torch.zeros(2, 5, 9, 9)
    result = summary(model, x)
    assert result.output_shape == tuple(model(x).shape) == (2, 2)
    assert result.total_macs == 2 * 7 * 7 * (8 * 27 + 8 * 2)


def test_another_thread_may_run_the_model_meanwhile():
    model = ODD["statistics"]()
    net = nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()
    x, stop, wrong = torch.ones(1, 3, 8, 8), threading.Event(), []
    expected = net(x)

    def work():
        while not stop.is_set():
            try:
                if not torch.equal(net(x), expected):
                    wrong.append("other values")
            except Exception as error:  # whatever it is
                wrong.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(40):
        summary(net, (3, 8, 8))
        summary(model, (3, 8, 8), batch_size=2)
    stop.set()
    thread.join()
    assert not wrong


def test_summaries_in_several_threads():
    net = torchvision.models.resnet18().eval()
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(summary(net, (3, 64, 64)).total_macs))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1 and len(results) == 4


def test_a_tensor_that_outlives_its_trace_says_so():
    kept = []
    model = Keeper(lambda m, y: kept.append(y))

    class Leaks(nn.Module):
        def forward(self, x):
            GLOBAL.append(x)
            return x

    summary(Leaks(), (3, 4, 4))
    with pytest.raises(ValueError, match="of a summary that is over: it has no values"):
        GLOBAL.pop() + 1
    summary(model, (3, 4, 4))
    assert not kept


GLOBAL: list = []


class Exchanging(nn.Module):
    """Exchanges children while it runs, in the way that ``exchange`` says, and asks for them."""

    def __init__(self, exchange):
        super().__init__()
        self.exchange = exchange
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 8, 1)

    def forward(self, x):
        self.exchange(self)
        y = getattr(self, "first", None)
        y = x if y is None else y(x)
        return self.second(y[:, :3])


class Hidden(Exchanging):
    """Python finds an attribute of the class before a child of that name."""

    first = None


EXCHANGES = {
    "deleted": lambda net: delattr(net, "first"),
    "none": lambda net: setattr(net, "first", None),
    "another": lambda net: setattr(net, "first", nn.Conv2d(3, 6, 5, device="meta")),
    "in the dictionary": lambda net: net._modules.update(first=net.second),
    "taken out": lambda net: net._modules.pop("first"),
    "a new dictionary": lambda net: setattr(net, "_modules", {"second": net.second}),
    "an attribute": lambda net: net.__dict__.update(first=nn.Identity()),
}


@pytest.mark.parametrize("name", EXCHANGES)
def test_children_that_a_forward_pass_exchanges(name):
    net = Exchanging(EXCHANGES[name]).to("meta")
    twin = copy.deepcopy(net)
    result = summary(net, (3, 8, 8))
    y = twin(torch.empty(1, 3, 8, 8, device="meta"))
    assert result.output_shape == tuple(y.shape)
    assert list(net._modules) == ["first", "second"] and "first" not in vars(net)


class ReadsItself(Exchanging):
    def forward(self, x):
        assert not [value for value in vars(self).values() if isinstance(value, nn.Module)]
        return super().forward(x)


def test_children_are_no_attributes_for_who_looks():
    net = ReadsItself(lambda net: None).to("meta")
    assert summary(net, (3, 8, 8)).output_shape == (1, 8, 6, 6)


def test_an_attribute_of_the_class_hides_a_child():
    net = Hidden(lambda net: None).to("meta")
    assert summary(net, (3, 8, 8)).output_shape == (1, 8, 8, 8)
