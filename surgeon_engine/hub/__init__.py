"""Download models of the Hugging Face Hub in a process that can be killed."""
