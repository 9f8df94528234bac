"""Forms made from config dataclasses, and their inputs."""
