"""What a device could do at most: the peak that MFU (model FLOPs utilization) is a share of."""

from __future__ import annotations

import re
import time

import torch

from electra.train.evaluation import autocast

PEAK_TFLOPS = {
    "H200": 989.0,
    "H100 NVL": 835.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10": 125.0,
    "RTX A6000": 154.8,
    "RTX 4090": 165.2,
    "RTX 3090": 71.0,
}
"""Words of a GPU's name -> dense bf16 products accumulated in fp32, TFLOP/s; the first whose words are all there.

Source: NVIDIA's data sheets and (for the two GeForces) its Ada and GA102 white papers, without sparsity.
"""
_OTHERS = {"Ti", "SUPER", "Laptop", "D"}
"""Words that make another GPU of a name."""
_SECONDS = 1.0


def known_tflops(name: str) -> float | None:
    """A GPU's name -> its bf16 peak; None where the table has none."""
    words = set(re.split(r"[ -]", name))
    return None if words & _OTHERS else next((peak for key, peak in PEAK_TFLOPS.items() if set(key.split()) <= words), None)


def stated_tflops(given: float | None, device: torch.device, half: bool) -> float | None:
    """What the user says, else the table's for this GPU where it computes in bf16, else None."""
    if given is not None or device.type != "cuda" or not half:
        return given
    return known_tflops(torch.cuda.get_device_name(device))


def measured_tflops(device: torch.device, precision: str) -> float:
    """The rate of large matrix products on this device now, in the precision of training: about a second."""
    size = 8192 if device.type == "cuda" else 1024
    one, other = (torch.randn(size, size, device=device) for _ in range(2))
    best, started = float("inf"), time.monotonic()
    with torch.no_grad(), autocast(device, precision):
        while time.monotonic() - started < _SECONDS:
            start = time.perf_counter()
            product = one @ other
            product[0, 0].item()  # waits for the device
            best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e12
