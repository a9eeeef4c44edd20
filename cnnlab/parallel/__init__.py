"""More than one device: AlexNet's two halves, and data parallelism with torch's own engine."""

from cnnlab.parallel.data_parallel import distribute, gradients, ring_all_reduce
from cnnlab.parallel.launch import launch
from cnnlab.parallel.model_parallel import TwoDeviceAlexNet
from cnnlab.parallel.scaling import Scaling, ScalingTable, all_reduce_bytes, scaling

__all__ = [
    "Scaling",
    "ScalingTable",
    "TwoDeviceAlexNet",
    "all_reduce_bytes",
    "distribute",
    "gradients",
    "launch",
    "ring_all_reduce",
    "scaling",
]
