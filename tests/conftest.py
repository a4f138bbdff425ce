"""One thread for each of the two test workers: two would fight over the cores."""

import torch

torch.set_num_threads(1)
