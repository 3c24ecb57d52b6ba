"""What is measured about a model's probabilities: temperature, label sets, energy, and what is usual."""
