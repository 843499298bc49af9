"""A denoiser trained with Lightning and a perceptual loss, whose distance is logged in every epoch.

    pip install lightning 'pim-metric[torchmetrics]'
    python examples/train_lightning.py examples/reference.png

`pim.TorchMetric` is a `torchmetrics.Metric`: Lightning resets it, and under DDP makes one mean of all processes.
"""

from __future__ import annotations

import argparse

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from train_ddp import crops, noisy

import pim


class Denoiser(lightning.LightningModule):
    """Two convolutions, the loss, and what is measured."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 3, 5, padding=2))
        self.loss = pim.loss.Distortion("pim")
        self.distance = pim.TorchMetric("pim")

    def training_step(self, batch: tuple[Tensor], index: int) -> Tensor:
        """Give the loss of a batch; the reference comes first."""
        (clean,) = batch
        loss: Tensor = self.loss(clean, self.network(noisy(clean)))
        return loss

    def validation_step(self, batch: tuple[Tensor], index: int) -> None:
        """Measure a batch; as everywhere in torchmetrics, the reference comes second."""
        (clean,) = batch
        self.distance.update(self.network(noisy(clean)).clamp(0, 1), clean)
        self.log("pim", self.distance, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Train the network; loss and metric have no parameters of their own."""
        return torch.optim.Adam(self.parameters(), 3e-3)


def main() -> None:
    """Train, and print the mean distance before and after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--epochs", type=int, default=20)
    asked = parser.parse_args()
    lightning.seed_everything(0)
    loader = DataLoader(TensorDataset(crops(asked.picture)), batch_size=4)
    trainer = lightning.Trainer(
        max_epochs=asked.epochs, logger=False, enable_checkpointing=False, enable_model_summary=False
    )
    model = Denoiser()
    (before,) = trainer.validate(model, loader, verbose=False)
    trainer.fit(model, loader)
    (after,) = trainer.validate(model, loader, verbose=False)
    print(f"pim before {before['pim']:.3f}, after {after['pim']:.3f}")


if __name__ == "__main__":
    main()
