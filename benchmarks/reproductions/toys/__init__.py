"""Sources whose optimal codes are known, and codes that are trained on them."""
