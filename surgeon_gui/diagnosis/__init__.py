"""Before you cut: what a diagnosis says of any target, without another measurement."""
