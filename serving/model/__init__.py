"""From encoded bytes to pixels (the decoder) and from pixels to probabilities (the predictor)."""
