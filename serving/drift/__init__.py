"""Drift without labels: compares the last answers with the bundle's histograms of the validation images."""
