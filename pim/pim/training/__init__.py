"""Training PIM on pairs of video frames, without labels."""
