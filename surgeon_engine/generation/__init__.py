"""A prompt in, what two models write after it and how far apart they are out."""
