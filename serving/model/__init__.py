"""The model: decoding images to pixels, and predicting probabilities from pixels."""
