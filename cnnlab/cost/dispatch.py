"""Which rule an operation runs under, and what runs when there is none.

An operation is looked up by its name: as a rule of `cnnlab.cost.rules`, among those that have no
MACs (`FREE`), or not at all. The last two get their shapes from torch's meta device; the last
also its MACs from torch's own counter, and is marked as not counted where that knows nothing
either. A module whose forward is one operation (`LEAVES`) goes to its rule directly.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

from cnnlab.cost import rules
from cnnlab.cost.rules import activations, as_it_was, brackets, is_in_place, plain
from cnnlab.cost.trace import ShapeTensor, Trace, inside

# --- functions --------------------------------------------------------------------------------


def handler(func) -> Callable:
    """What runs for this function: a function of trace, func, args, kwargs."""
    name = _name(func)
    if name in ("__get__", "__set__"):
        return _property
    if name in VALUES:
        return _no_value
    if name == "__iter__":
        return lambda trace, func, args, kwargs: iter(args[0].unbind(0))
    rule, free = RULES.get(plain(name)), plain(name) in FREE
    if rule is not None:

        def run(trace, func, args, kwargs):
            result = rule(trace, name, *args, **kwargs)
            if result is NotImplemented:
                return from_meta(trace, func, args, kwargs, name, True)
            return result

        return run
    if not free and getattr(func, "__module__", "") in ("torch.nn.functional", "torch.functional"):
        body = inside(func)
        return lambda trace, func, args, kwargs: body(*args, **kwargs)
    return lambda trace, func, args, kwargs: from_meta(trace, func, args, kwargs, name, free)


def _name(func) -> str:
    """``add`` for ``__add__`` and ``__radd__``, ``add_`` for ``__iadd__``."""
    name = func.__name__.split(".")[0]  # "mul.default" is an overload of torch.ops
    match = _OPERATOR.fullmatch(name)
    if match is None:
        return name
    mode, word = match[1], _WORDS.get(match[2], match[2])
    if mode == "i":
        return word + "_"
    return "r" + word if mode == "r" and word in ("sub", "pow", "div") else word


_OPERATOR = re.compile(
    "__([ri]?)(add|sub|mul|truediv|floordiv|mod|pow|matmul|and|or|xor|lshift|rshift)__"
)
_WORDS = {"truediv": "div", "floordiv": "floor_divide", "mod": "remainder"}


def _no_value(trace, func, args, kwargs):
    raise trace.error(
        None,
        func.__name__.strip("_"),
        "needs the values of a tensor, and a trace has only shapes: the forward pass decides by "
        "its data",
    )


def _property(trace, func, args, kwargs):
    """Attributes that a shape tensor does not hold itself."""
    tensor, name = args[0], func.__self__.__name__
    if name in ("T", "mT", "H", "mH", "real", "imag"):
        return from_meta(trace, func, args, kwargs, name, True)
    if name == "data":
        return tensor
    if name.startswith("is_"):
        return tensor.device.type == name[3:]
    if name in ("itemsize", "nbytes"):
        return tensor.dtype.itemsize * (tensor.numel() if name == "nbytes" else 1)
    return None


# Operations whose result depends on values.
VALUES = {
    "item", "tolist", "numpy", "nonzero", "unique", "unique_consecutive", "_unique2",
    "masked_select", "bincount", "equal", "allclose", "is_nonzero", "__bool__", "__int__",
    "__float__", "__index__", "__complex__", "__array__", "__contains__",
}  # fmt: skip

_SAME_SHAPE = """relu relu6 leaky_relu elu selu celu gelu silu mish sigmoid hardsigmoid hardswish
    hardtanh tanh softplus softsign logsigmoid threshold rrelu tanhshrink hardshrink softshrink exp
    log log1p sqrt rsqrt abs neg sin cos erf square reciprocal clamp clamp_min clamp_max clip
    normalize"""
RULES: dict[str, Callable] = {
    "linear": rules.linear,
    "scaled_dot_product_attention": rules.attention,
    "batch_norm": rules.batch_norm,
    "layer_norm": rules.layer_norm,
    "mean": rules.mean,
    **{f"conv{n}d": rules.conv for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": rules.conv_transpose for n in (1, 2, 3)},
    **{f"avg_pool{n}d": rules.average_pool for n in (1, 2, 3)},
    **{f"max_pool{n}d{end}": rules.pool for n in (1, 2, 3) for end in ("", "_with_indices")},
    **{f"adaptive_avg_pool{n}d": rules.adaptive_pool for n in (1, 2, 3)},
    **{
        f"adaptive_max_pool{n}d{end}": rules.adaptive_pool
        for n in (1, 2, 3)
        for end in ("", "_with_indices")
    },
    **dict.fromkeys(("matmul", "mm", "bmm", "mv"), rules.matmul),
    **dict.fromkeys(("cat", "concat", "concatenate"), rules.concat),
    **dict.fromkeys(("to", "type_as", "cpu", "cuda", *rules.CASTS), rules.to),
    **dict.fromkeys(_SAME_SHAPE.split(), rules.same_shape),
    **dict.fromkeys(
        ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout",
         "feature_alpha_dropout"),
        rules.dropout,
    ),
    **dict.fromkeys(
        ("add", "sub", "rsub", "mul", "multiply", "div", "divide", "true_divide", "rdiv", "maximum",
         "minimum"),
        rules.elementwise,
    ),
}  # fmt: skip

# Operations that have no MACs by definition, with the kind that their rows are of.
_FREE = {
    "norm": "group_norm instance_norm rms_norm local_response_norm",
    "activation": "prelu softmax log_softmax softmin glu logit",
    "other": """mean sum prod max min amax amin aminmax argmax argmin std var std_mean var_mean norm
        vector_norm linalg_vector_norm logsumexp cumsum cumprod any all median mode quantile topk
        sort argsort eq ne lt gt le ge isnan isinf isfinite logical_and logical_or logical_not
        logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor and or xor invert where
        masked_fill masked_scatter lerp addcmul addcdiv pow rpow float_power remainder fmod
        floor_divide floor ceil round trunc sign sgn frac exp2 expm1 log2 log10 erfinv sinh cosh tan
        asin acos atan atan2 dist renorm _weight_norm stack vstack hstack dstack column_stack pad
        constant_pad_nd roll flip fliplr flipud rot90 interpolate upsample pixel_shuffle
        pixel_unshuffle channel_shuffle native_channel_shuffle gather scatter scatter_add
        index_select index_add index_copy index_put take take_along_dim embedding embedding_bag
        one_hot repeat tile repeat_interleave clone contiguous type copy fill zero new_zeros
        new_ones new_full new_empty new_tensor zeros_like ones_like full_like empty_like rand_like
        randn_like randint_like bernoulli uniform normal random tril triu unfold fold im2col col2im
        grid_sample affine_grid grid_sampler meshgrid combinations split chunk unbind getitem
        setitem reshape flatten max_unpool1d max_unpool2d max_unpool3d native_dropout""",
}
FREE = {name: kind for kind, names in _FREE.items() for name in names.split()}


def from_meta(trace, func, args, kwargs, name, free):
    """An operation without a rule: shape from the meta device, MACs from torch's counter."""
    tensors, label = rules.tensors_in((args, kwargs)), plain(name)
    try:
        result, outputs, views, macs = trace.on_meta(func, args, kwargs, count=not free)
    except Exception as error:
        if isinstance(error, NotImplementedError):
            text = "has no shape without values: torch's meta device cannot run it"
        else:
            shapes = ", ".join(brackets(tensor.shape) for tensor in tensors)
            text = f"cannot take {shapes}: {' '.join(str(error).split(chr(10))[0].split())}"
        raise trace.error(None, label, text) from error
    if not outputs:
        return result
    inputs, in_place = activations(tensors), is_in_place(name) and type(args[0]) is ShapeTensor
    if in_place:
        inputs = tuple(as_it_was(trace, t) if t is args[0] else t for t in inputs)
        result, outputs, views = args[0], [args[0]], None
    geometry = None
    if label in _GEOMETRIES and len(outputs) == 1:
        geometry = _GEOMETRIES[label](outputs[0], *args, **kwargs)
    if views:
        trace.emit("view", label, inputs, tuple(outputs), geometry=geometry or views, fresh=False)
    else:
        trace.emit(
            "matmul" if macs else FREE.get(label, "other"), label, inputs, tuple(outputs), macs,
            trace.take(*tensors), geometry, counted=free or macs > 0, fresh=not in_place,
        )  # fmt: skip
    return result


# --- how positions move in operations without a window (for the receptive field) --------------


def _sliced(output, input, index):
    """First element and step of each dimension, None unless the index has only slices."""
    index = list(index) if isinstance(index, tuple) else [index]
    axes = len(input.shape)
    if not all(isinstance(item, slice) or item is Ellipsis for item in index):
        return None
    if Ellipsis in index:
        place = index.index(Ellipsis)
        index[place : place + 1] = [slice(None)] * (axes - len(index) + 1)
    index += [slice(None)] * (axes - len(index))
    ranges = (item.indices(size) for item, size in zip(index, input.shape, strict=True))
    return tuple((start, step) for start, _, step in ranges)


def _padded(output, input, pad, *_, **__):
    axes = len(input.shape) - 2
    left = [*pad[0::2], *[0] * axes][:axes]
    return "pad", tuple(left[::-1])


def _interpolated(
    output, input, size=None, scale_factor=None, mode="nearest", align_corners=None, *_, **__
):
    pairs = zip(output.shape[2:], input.shape[2:], strict=True)
    factors = [divmod(new, old) for new, old in pairs]
    how = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "trilinear": "linear"}
    if align_corners or mode not in how or any(rest or not factor for factor, rest in factors):
        return None
    return how[mode], tuple(factor for factor, _ in factors)


def _shuffled(output, input, factor):
    return "nearest", (factor, factor)


_GEOMETRIES = {
    "getitem": _sliced,
    "pad": _padded,
    "interpolate": _interpolated,
    "pixel_shuffle": _shuffled,
}


# --- modules ----------------------------------------------------------------------------------


def module_call(module: nn.Module) -> Callable:
    """What a call of this module runs: a function of trace, module, path, and the arguments."""
    own = module.__dict__
    rule = LEAVES.get(type(module))
    if rule is None:
        return _wrapped if _WRAPPERS.get(type(module).__name__) in own["_modules"] else Trace.call
    if "forward" in own or (rule in _WEIGHTED and "weight" not in own["_parameters"]):
        return Trace.call  # a forward or a weight that comes from elsewhere
    if rule is _conv and module.padding_mode != "zeros":
        return Trace.call
    return rule


def _wrapped(trace, module, path, *args, **kwargs):
    """The module inside torch.compile, DataParallel or DistributedDataParallel."""
    return module._modules[_WRAPPERS[type(module).__name__]](*args, **kwargs)


_WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
}


def _conv(trace, module, path, input):
    own = module._parameters
    return rules.conv(
        trace, "", input, own.get("weight"), own.get("bias"), module.stride, module.padding,
        module.dilation, module.groups, path, type(module).__name__,
    )  # fmt: skip


def _linear(trace, module, path, input):
    own = module._parameters
    return rules.linear(trace, "", input, own.get("weight"), own.get("bias"), path, "Linear")


def _batch_norm(trace, module, path, input):
    label = type(module).__name__
    if len(input.shape) not in _BATCH_NORM_RANKS[label]:
        axes = int(label[-2])
        raise trace.error(path, label, rules.rank(axes, module.num_features, input.shape))
    own, mean = module._parameters, module._buffers.get("running_mean")
    return rules.batch_norm(
        trace, "", input, mean, None, own.get("weight"), own.get("bias"),
        module.training or mean is None, path=path, label=label,
    )  # fmt: skip


def _activation(trace, module, path, input):
    return rules.in_or_out_of_place(
        trace, "activation", type(module).__name__, input, getattr(module, "inplace", False),
        input.dtype, 0, path,
    )  # fmt: skip


def _dropout(trace, module, path, input):
    label = type(module).__name__
    return rules.dropout(trace, "", input, module.p, module.training, module.inplace, path, label)


def _max_pool(trace, module, path, input):
    label = type(module).__name__
    return rules.pool(
        trace, label, input, module.kernel_size, module.stride, module.padding, module.dilation,
        module.ceil_mode, module.return_indices, path, label,
    )  # fmt: skip


def _average_pool(trace, module, path, input):
    label = type(module).__name__
    return rules.average_pool(
        trace, label, input, module.kernel_size, module.stride, module.padding, module.ceil_mode,
        path=path, label=label,
    )  # fmt: skip


def _adaptive_pool(trace, module, path, input):
    label = type(module).__name__
    return rules.adaptive_pool(trace, label, input, module.output_size, False, path, label)


def _identity(trace, module, path, input):
    return input


_WEIGHTED = (_conv, _linear)
_BATCH_NORM_RANKS = {"BatchNorm1d": (2, 3), "BatchNorm2d": (4,), "BatchNorm3d": (5,)}
LEAVES: dict[type, Callable] = {
    nn.Linear: _linear,
    nn.Identity: _identity,
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _conv),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _batch_norm),
    **dict.fromkeys(
        (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid,
         nn.Hardsigmoid, nn.Hardswish, nn.Tanh),
        _activation,
    ),
    **dict.fromkeys((nn.Dropout, nn.Dropout2d), _dropout),
    **dict.fromkeys((nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d), _max_pool),
    **dict.fromkeys((nn.AvgPool2d, nn.AvgPool3d), _average_pool),
    **dict.fromkeys(
        (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d), _adaptive_pool
    ),
}  # fmt: skip
