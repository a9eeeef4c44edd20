"""One launch on a GPU through the driver alone: under a checker it starts at once.

``python _launch.py FOLDER`` reads ``launch`` there, runs it, and leaves the output's bytes in
``output``.
"""

import ctypes
import pickle
import sys
from ctypes import byref, c_char_p, c_size_t, c_void_p
from pathlib import Path

DRIVER = ctypes.CDLL("libcuda.so.1")


def call(name: str, *arguments) -> None:
    """A call of the driver's; SystemExit with CUDA's name for the error."""
    if status := getattr(DRIVER, name)(*arguments):
        said = c_char_p()
        DRIVER.cuGetErrorName(status, byref(said))
        sys.exit(f"{name}: {(said.value or b'').decode()}")


def main(folder: Path) -> None:
    launch = pickle.loads((folder / "launch").read_bytes())
    context, module, kernel, device = c_void_p(), c_void_p(), c_void_p(), ctypes.c_int()
    call("cuInit", 0)
    call("cuDeviceGet", byref(device), 0)
    call("cuDevicePrimaryCtxRetain", byref(context), device)
    call("cuCtxSetCurrent", context)
    call("cuModuleLoadData", byref(module), launch["cubin"])
    call("cuModuleGetFunction", byref(kernel), module, launch["symbol"].encode())
    values = []
    for given, pointer in launch["arguments"]:
        if pointer:
            place = c_void_p()
            if given:
                call("cuMemAlloc_v2", byref(place), c_size_t(len(given)))
                call("cuMemcpyHtoD_v2", place, given, c_size_t(len(given)))
            values.append(place)
        else:
            values.append(ctypes.create_string_buffer(given, len(given)))
    for name, given in launch["constants"].items():
        place = c_void_p()
        call("cuModuleGetGlobal_v2", byref(place), None, module, name.encode())
        call("cuMemcpyHtoD_v2", place, given, c_size_t(len(given)))
    addresses = (c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
    call(
        "cuLaunchKernel", kernel, *launch["grid"], *launch["block"], launch["shared_bytes"], None,
        addresses, None,
    )  # fmt: skip
    call("cuCtxSynchronize")
    output = ctypes.create_string_buffer(len(launch["arguments"][launch["output"]][0]))
    call("cuMemcpyDtoH_v2", output, values[launch["output"]], c_size_t(len(output)))
    (folder / "output").write_bytes(output.raw)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
