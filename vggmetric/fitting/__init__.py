"""Weights of the VGG metric from what people prefer: preferences, a convex model of choice, cross-validation."""
