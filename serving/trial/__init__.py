"""Whether a candidate model is as good as the active one, judged from their answers to the same images."""
