"""The codecs: a transform each way, a model of the latents, and one path through which both sides go."""
