"""Judge a written file against the original: what has it lost?"""
