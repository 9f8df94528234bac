"""Vocabularies with fewer tokens: which can be removed, and what a text becomes.

definition.py   the content of a tokenizer, and what each token stands for in a text
merges.py       the pair of tokens that a token of a byte pair encoding is made from
tokens.py       the tokens that can be removed, and in which order
scripts.py      the scripts and languages of tokens
trimmed.py      a tokenizer, or the header of a GGUF file, with the kept tokens alone
recoding.py     windows of the original's tokens, in the kept tokens
dimensions.py   the tensors that have a row for each token, in any model
config_ids.py   the numbers of tokens that configs state
smaller.py      a model with the kept tokens alone
"""
