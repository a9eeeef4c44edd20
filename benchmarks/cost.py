"""`cnnlab.summary` against the tools that count MACs: how fast, and what they count."""

import copy
import statistics
import warnings
from functools import partial

import torch
import torchinfo
import torchvision
from fvcore.nn import FlopCountAnalysis
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._report import interleaved, ratio, save, time
from cnnlab import summary

NETWORKS = (
    "alexnet", "vgg16", "googlenet", "resnet50", "resnet152", "densenet201", "efficientnet_b0",
    "mobilenet_v2",
)  # fmt: skip
SIZE = (3, 224, 224)
SAMPLE = 0.2  # seconds


def count_with_cnnlab(model) -> int:
    result = summary(model, SIZE)
    assert result.rows and result.total_params
    return result.total_macs


def count_with_flop_counter(model) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, *SIZE, device="meta"))
    return counter.get_total_flops() // 2


def count_with_torchinfo(model) -> int:
    x = torch.empty(1, *SIZE, device="meta")
    return torchinfo.summary(model, input_data=x, device="meta", verbose=0).total_mult_adds


def count_with_fvcore(model) -> int:
    analysis = FlopCountAnalysis(model, torch.zeros(1, *SIZE))
    return int(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total())


def print_with_cnnlab(model) -> str:
    return str(summary(model, SIZE))


def print_with_torchinfo(model) -> str:
    x = torch.empty(1, *SIZE, device="meta")
    return str(torchinfo.summary(model, input_data=x, device="meta", verbose=0))


def print_with_flop_counter(model) -> str:
    with FlopCounterMode(display=False, depth=99) as counter, torch.no_grad():
        model(torch.empty(1, *SIZE, device="meta"))
    return counter.get_table()


def main() -> None:
    warnings.simplefilter("ignore")
    rows, printing = [], []
    for name in NETWORKS:
        options = {"init_weights": False} if name == "googlenet" else {}
        model = torchvision.models.get_model(name, weights=None, **options).eval()
        meta = copy.deepcopy(model).to("meta")
        tools = {
            "cnnlab": partial(count_with_cnnlab, meta),
            "FlopCounterMode": partial(count_with_flop_counter, meta),
            "torchinfo": partial(count_with_torchinfo, meta),
            "fvcore": partial(count_with_fvcore, model),
        }
        counts = {tool: run() for tool, run in tools.items()}
        seconds = interleaved(tools, least=SAMPLE)
        ours, *peers = tools
        fastest = min(peers, key=lambda peer: statistics.median(seconds[peer]))
        speed = ratio(seconds[fastest], seconds[ours])
        single = interleaved({tool: tools[tool] for tool in (ours, fastest)})
        single = ratio(single[fastest], single[ours])
        print(f"{name}: {speed['times']:.1f} times as fast as {fastest}", flush=True)
        rows.append(
            [name, *map(time, seconds.values()), speed, single, fastest, counts[ours]]
            + [counts[peer] - counts[ours] for peer in peers]
        )
        printers = {
            "cnnlab": partial(print_with_cnnlab, meta),
            "FlopCounterMode": partial(print_with_flop_counter, meta),
            "torchinfo": partial(print_with_torchinfo, meta),
        }
        seconds = interleaved(printers)
        result = summary(meta, SIZE)
        alone = interleaved({"text": partial(str, result), "html": result._repr_html_})
        fastest = min(printers.keys() - {ours}, key=lambda peer: statistics.median(seconds[peer]))
        printing.append(
            [
                name,
                *map(time, seconds.values()),
                ratio(seconds[fastest], seconds[ours]),
                *map(time, alone.values()),
                len(result._repr_html_()) // 1024,
            ]
        )
    save(
        "cost_printing",
        title="Counting and printing",
        question="How long does it take until the table of one of torchvision's networks is there?",
        columns=[
            "network", *printers, "fastest other / cnnlab", "text alone", "HTML alone", "HTML, KB",
        ],
        rows=printing,
        packages=["torch", "torchvision", "torchinfo"],
        notes=[
            "Model on the meta device; the text is made, with all rows, and not shown. cnnlab's "
            "has a row for each operation, with its receptive field, the others' for each module.",
        ],
    )  # fmt: skip
    save(
        "cost",
        title="Counting parameters, memory and MACs",
        question="How long does it take to count one of torchvision's networks for a 224×224 "
        "image, and what is counted?",
        columns=[
            "network", *tools, "fastest other / cnnlab", "single calls", "which is",
            "MACs by cnnlab",
            *(f"{peer} - cnnlab" for peer in peers),
        ],
        rows=rows,
        packages=["torch", "torchvision", "torchinfo", "fvcore"],
        notes=[
            "cnnlab, FlopCounterMode and torchinfo on the meta device; fvcore cannot trace there "
            "and computes on the CPU. cnnlab makes its rows and totals; nothing is printed.",
            f"A time is the mean of as many calls in a row as take {SAMPLE} s. Single calls come "
            "each after a garbage collection and a call of the other tool: what a tool reads is "
            "not in the processor's caches then.",
            "MACs are multiply-adds of convolutions and linear layers without biases. torchinfo "
            "adds biases and one for each parameter of a batch norm, fvcore two for each output "
            "element of a batch norm and one for each input element of an adaptive pool.",
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
