"""Small exports that Surgeon recognizes as its own, and damage to files."""

from pathlib import Path

from surgeon_engine.api.export_marker import write_marker


def write_export(folder: Path) -> Path:
    """Write an export of two files, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "README.md").write_text("card")
    write_marker(folder)
    return folder


def flip(path: Path, at: int = -1) -> None:
    """Flip a bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
