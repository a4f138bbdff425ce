"""``make bench``: run every benchmark and print one table for each. Nothing here is a test."""

import importlib
import os
import sys

import torch

NAMES = ["b4_vae", "banana_flows", "hmc", "conv_vae", "mixtures"]

if __name__ == "__main__":
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {device}, {os.cpu_count()} cores\n")
    for name in sys.argv[1:] or NAMES:
        importlib.import_module(f"benchmarks.{name}").main()
