"""Files that are no checkpoint, by their first bytes: what they are, and what to do."""

from __future__ import annotations

import re

_HEADS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself; run `git lfs pull` where it was cloned"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes; export its weights as safetensors or .npz"),
    (b"GGUF", "a GGUF file, of a language model; expected an image generator"),
    (b"\x89PNG\r\n\x1a\n", "a picture (PNG); expected the checkpoint of a generator"),
    (b"\xff\xd8\xff", "a picture (JPEG); expected the checkpoint of a generator"),
    (b"GIF8", "a picture (GIF); expected the checkpoint of a generator"),
    (b"RIFF", "a picture or sound (RIFF); expected the checkpoint of a generator"),
    (b"%PDF", "a PDF document; expected the checkpoint of a generator"),
    (b"\x1f\x8b", "packed by gzip; unpack it with `gunzip` first"),
    (b"\xfd7zXZ\x00", "packed by xz; unpack it with `unxz` first"),
    (b"BZh", "packed by bzip2; unpack it with `bunzip2` first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"(\xb5/\xfd", "packed by Zstandard; unpack it with `unzstd` first"),
    (b"\x7fELF", "a program; expected the checkpoint of a generator"),
    (b"MZ", "a program of Windows; expected the checkpoint of a generator"),
    (b"SQLite format 3", "a database (SQLite); expected the checkpoint of a generator"),
)
_WEB = re.compile(rb"\s*<(!doctype html|html|head|body)", re.IGNORECASE)
TEXT_SAMPLE = 4096


def described(view: memoryview) -> str:
    """What the file is, with advice: the rest of a sentence that begins with its name and `is`."""
    head = bytes(view[:TEXT_SAMPLE])
    if not head:
        return "empty; the download may have failed, so fetch it again"
    if not any(head):
        return "nothing but zeros at its beginning; the download may have failed, so fetch it again"
    for start, what in _HEADS:
        if head.startswith(start):
            return what
    if _WEB.match(head):
        return "a web page: the link led to a page about the file, not to the file; download it from there"
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it, and give the checkpoint that is in it"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model; expected the checkpoint of a generator"
    if head[:1] in (b"{", b"["):
        return "JSON text, perhaps the configuration beside a checkpoint; give the file that holds the weights"
    if _is_text(head):
        return "a text; expected the checkpoint of a generator"
    return (
        "of no format known here; expected a file of torch.save, a pickle of NVIDIA's code, safetensors, an OpenVINO "
        "graph (.xml) or arrays of numpy"
    )


def archive(names: list[str]) -> str:
    """What a zip archive that is no checkpoint holds, in the same form."""
    ends = {name.rpartition(".")[2].lower() for name in names if not name.endswith("/")}
    if not names:
        return "an empty zip archive; expected the checkpoint of a generator"
    if ends <= {"png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "json"}:
        return (
            f"a zip archive of {len(names)} pictures, as data sets come; expected the checkpoint of a generator that "
            f"was trained on them"
        )
    if inside := [name for name in names if name.endswith((".pt", ".pth", ".pkl", ".ckpt", ".safetensors"))]:
        return f"a zip archive with {inside[0]!r:.100} in it; unpack it, and give that file"
    if "word/document.xml" in names or "[Content_Types].xml" in names:
        return "an office document; expected the checkpoint of a generator"
    return f"a zip archive of {len(names)} other files ({names[0]!r:.60}, ...); expected the checkpoint of a generator"


def folder(names: list[str]) -> str:
    """What a folder holds, in the same form."""
    if "model_index.json" in names:
        return (
            "the folder of a diffusers pipeline; load its network with diffusers and give it to `rewrite.wrap`, or "
            "name one of its .safetensors files"
        )
    if "saved_model.pb" in names:
        return "a SavedModel of TensorFlow; export its weights as .npz"
    endings = (".pt", ".pth", ".pkl", ".ckpt", ".safetensors", ".bin", ".npz", ".xml")
    if inside := sorted(name for name in names if name.endswith(endings)):
        more = f", {inside[1]}" + (", ..." if len(inside) > 2 else "") if len(inside) > 1 else ""
        return f"a folder; give one of the files in it: {inside[0]}{more}"
    return "a folder without a checkpoint in it; give the file of one"


def _is_text(head: bytes) -> bool:
    # A sample that is not the whole may end inside a letter.
    for cut in range(4 if len(head) == TEXT_SAMPLE else 1):
        try:
            text = head[: len(head) - cut].decode()
        except UnicodeDecodeError:
            continue
        return all(letter.isprintable() or letter.isspace() for letter in text)
    return False


__all__ = ["archive", "described", "folder"]
