"""Models of the Hugging Face Hub: fetched by a process that can be killed."""
