"""The Diagnosis tab."""
