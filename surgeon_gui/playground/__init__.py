"""The tab in which original and pruned model write on from the same prompt."""
