"""A denoiser trained under DDP with a perceptual loss, and its distance over all pictures of all processes.

    torchrun --nproc-per-node 2 examples/train_ddp.py examples/reference.png

Nothing of the loss is synchronised: the metric is frozen. `pim.Accumulator` synchronises once, in `compute`.
"""

from __future__ import annotations

import argparse
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import pim

SIDE = 64  # pixels of a crop
NOISE = 0.1


def crops(path: str) -> torch.Tensor:
    """Cut a picture into squares, (N, 3, SIDE, SIDE), sRGB in [0, 1]."""
    picture = torch.from_numpy(pim.open_image(path).pixels).permute(2, 0, 1)
    squares = picture.unfold(1, SIDE, SIDE).unfold(2, SIDE, SIDE)  # (3, rows, columns, SIDE, SIDE)
    return squares.permute(1, 2, 0, 3, 4).reshape(-1, 3, SIDE, SIDE).contiguous()


def noisy(clean: torch.Tensor) -> torch.Tensor:
    """Add noise, and stay in [0, 1]."""
    return (clean + NOISE * torch.randn_like(clean)).clamp(0, 1)


def main() -> None:
    """Train, and print the mean distance before and after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--epochs", type=int, default=20)
    asked = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    dist.init_process_group("nccl" if on_gpu else "gloo")
    device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if on_gpu else "cpu")
    torch.manual_seed(dist.get_rank())  # every process draws other noise; DDP starts all networks alike

    data = TensorDataset(crops(asked.picture))
    sampler: DistributedSampler[tuple[torch.Tensor, ...]] = DistributedSampler(data)
    loader = DataLoader(data, batch_size=4, sampler=sampler)
    network = DistributedDataParallel(
        nn.Sequential(nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 3, 5, padding=2)).to(device)
    )
    loss = pim.loss.Distortion("pim").to(device)
    quality = pim.Accumulator(pim.load("pim", device=str(device)))
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)

    def measured() -> float:
        quality.reset()
        with torch.no_grad():
            for (batch,) in loader:
                clean = batch.to(device)
                quality.update(clean, network(noisy(clean)).clamp(0, 1))
        return quality.compute()  # every process has to call this

    before = measured()
    for epoch in range(asked.epochs):
        sampler.set_epoch(epoch)
        for (batch,) in loader:
            clean = batch.to(device)
            optimiser.zero_grad()
            loss(clean, network(noisy(clean))).backward()
            optimiser.step()
    after = measured()
    if dist.get_rank() == 0:
        print(f"pim before {before:.3f}, after {after:.3f}")
    dist.barrier()  # nobody leaves while another one still talks
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
