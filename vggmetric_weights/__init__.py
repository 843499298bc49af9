"""Convolutions of VGG-16 and AlexNet as torchvision trained them, for the metrics of pim; data, no code."""
