"""Item models of Qt: a model means the language model everywhere else."""
