"""Search the Hugging Face Hub and download its models, in processes of their own."""
