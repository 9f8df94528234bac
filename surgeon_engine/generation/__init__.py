"""Generate text with two models and compare their predictions at each token."""
