"""Learned codecs: transforms, entropy models, integer tables, a range coder, and the codecs made of them."""
